//! Storage in a directory of real files where the system has no directory handles: with what std has everywhere, and nothing else.
//!
//! It promises less than the storage of Unix systems. Each call finds the directory by its path, so a directory that is moved under an
//! open writer is written to again where the path leads then. New files get the permissions that the system gives them. A name is as
//! durable as the file system makes it: [`Storage::sync_dir`] has nothing to call.
#![expect(clippy::disallowed_types, reason = "the shell: the one place that touches files")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Lock, NotAFile, Occupant, Storage, fill, named};

/// The writer's lock file; never renamed, never removed.
const LOCK: &str = "LOCK";

/// Files kept open at once: a log of many segments must not use up the process's descriptors.
const MAX_OPEN_FILES: usize = 64;

/// A directory of files, found by its path at each call.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    writable: bool,
    access: Access,
    /// Files stay open: the log appends to one of them a million times.
    open: Mutex<BTreeMap<String, Arc<Mutex<File>>>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// The files under `path`, for reading and writing.
    pub fn writable(path: impl Into<PathBuf>) -> Files {
        Files { path: path.into(), writable: true, access: Access::default(), open: Mutex::default() }
    }

    /// The files under `path`, for reading only: nothing is ever written, so a read-only mount will do.
    pub fn read_only(path: impl Into<PathBuf>) -> Files {
        Files { writable: false, ..Files::writable(path) }
    }

    /// Who may read files that are made here. This system has no such permissions: it is remembered and changes nothing.
    #[must_use]
    pub fn access(self, access: Access) -> Files {
        Files { access, ..self }
    }

    /// The path of the directory, as it was given.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The length of what has a name; `None` if nothing has. Only regular files count.
    fn look(&self, file: &str) -> io::Result<Option<u64>> {
        let found = match fs::symlink_metadata(self.path.join(file)) {
            Ok(metadata) if metadata.is_file() => return Ok(Some(metadata.len())),
            Ok(metadata) if metadata.is_dir() => "a directory",
            Ok(metadata) if metadata.is_symlink() => "a symbolic link",
            Ok(_) => "neither a file nor a directory",
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(named(file)(error)),
        };
        Err(NotAFile { file: file.to_owned(), found, expected: "a file" }.into())
    }

    fn open_file(&self, file: &str, options: &OpenOptions) -> io::Result<File> {
        self.look(file)?;
        options.open(self.path.join(file)).map_err(named(file))
    }

    fn file(&self, file: &str) -> io::Result<Arc<Mutex<File>>> {
        let mut open = locked(&self.open);
        if let Some(held) = open.get(file) {
            return Ok(Arc::clone(held));
        }
        if open.len() >= MAX_OPEN_FILES {
            open.clear(); // a sync through another handle covers what was written through these
        }
        let opened = self.open_file(file, OpenOptions::new().read(true).write(self.writable))?;
        let held = Arc::new(Mutex::new(opened));
        open.insert(file.to_owned(), Arc::clone(&held));
        Ok(held)
    }

    /// What a name in this directory stands for.
    pub(super) fn occupant(&self, name: &OsStr) -> io::Result<Occupant> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Files::read_only(path).list("").map(Occupant::Directory),
            Ok(_) => Ok(Occupant::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory in this one.
    pub(super) fn create_dir(&self, name: &OsStr) -> io::Result<Files> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(named(&name.to_string_lossy()))?;
        Ok(Files::writable(path).access(self.access))
    }

    /// Gives a directory in this one another name, instead of the empty directory that may have it.
    pub(super) fn rename_dir(&self, name: &OsStr, to: &OsStr) -> io::Result<()> {
        let (from, to) = (self.path.join(name), self.path.join(to));
        match fs::remove_dir(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error), // not empty, not a directory
            _ => fs::rename(from, to),
        }
    }
}

impl Storage for Files {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.look(file)
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let held = self.file(file)?;
        let mut held = locked(&held);
        held.seek(SeekFrom::Start(offset)).map_err(named(file))?;
        fill(out, |_, rest| held.read(rest)).map_err(named(file))
    }

    fn create(&self, file: &str) -> io::Result<()> {
        if let Some((dir, _)) = file.rsplit_once('/') {
            match fs::create_dir(self.path.join(dir)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(named(dir)(error)),
                _ => {}
            }
        }
        let made = self.open_file(file, OpenOptions::new().read(true).write(true).create_new(true))?;
        locked(&self.open).insert(file.to_owned(), Arc::new(Mutex::new(made)));
        Ok(())
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let held = self.file(file)?;
        let mut held = locked(&held);
        held.seek(SeekFrom::Start(offset)).and_then(|_| held.write_all(bytes)).map_err(named(file))
    }

    fn sync(&self, file: &str) -> io::Result<()> {
        let held = self.file(file)?;
        locked(&held).sync_data().map_err(named(file))
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.look(file)?; // refuses what is not a file
        locked(&self.open).remove(file);
        fs::remove_file(self.path.join(file)).map_err(named(file))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.look(to)?; // as for removing
        let mut open = locked(&self.open);
        open.remove(to);
        open.remove(file);
        fs::rename(self.path.join(file), self.path.join(to)).map_err(named(file))
    }

    fn refresh(&self) {
        locked(&self.open).clear();
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        // Not `LEDGER` beside it, as on Unix: where locks bind, a locked file cannot be read by others.
        let lock = self.open_file(LOCK, OpenOptions::new().read(true).write(true).create(true))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(named(LOCK)(error)),
        }
        locked(&self.open).clear(); // until now another writer may have changed what was opened
        Ok(Some(Lock::new(lock)))
    }

    fn lacks_lock(&self) -> io::Result<bool> {
        Ok(self.look(LOCK)?.is_none())
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}
