//! Storage in a directory of real files: plain reads and writes at offsets, no memory maps, one lock file.
#![expect(clippy::disallowed_types, reason = "the shell: the one place that touches files")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Lock, Storage};

/// The writer's lock file; never renamed, never removed.
const LOCK: &str = "LOCK";

/// Files kept open at once: a log of many segments must not use up the process's descriptors.
const MAX_OPEN_FILES: usize = 64;

/// A directory of files.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    writable: bool,
    /// Whether others on this machine may not read what is made here.
    secret: bool,
    /// Files stay open: the log appends to one of them a million times.
    open: Mutex<BTreeMap<String, Arc<File>>>,
}

impl Files {
    /// The files under `root`, for reading and writing.
    pub fn writable(root: impl Into<PathBuf>) -> Files {
        Files { root: root.into(), writable: true, secret: false, open: Mutex::default() }
    }

    /// The files under `root`, for reading only: nothing is ever written, so a read-only mount will do.
    pub fn read_only(root: impl Into<PathBuf>) -> Files {
        Files { writable: false, ..Files::writable(root) }
    }

    /// The files under `root`, for reading and, where the file system lets it, writing; new ones are for their owner alone.
    #[cfg(feature = "encryption")]
    pub(crate) fn secret(root: impl Into<PathBuf>) -> Files {
        Files { secret: true, ..Files::writable(root) }
    }

    /// Returns the directory that holds the files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(file) = open.get(name) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= MAX_OPEN_FILES {
            open.clear();
        }
        let path = self.root.join(name);
        let opened = match OpenOptions::new().read(true).write(self.writable).open(&path) {
            // Who only reads a ledger need not be able to change its keys.
            Err(error) if self.secret && is_forbidden(&error) => File::open(&path),
            opened => opened,
        };
        let file = Arc::new(opened?);
        open.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Storage for Files {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.root.join(file)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let file = self.file(file)?;
        let mut filled = 0;
        while filled < out.len() {
            match file.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn create(&self, file: &str) -> io::Result<()> {
        let path = self.root.join(file);
        let parent = path.parent().expect("a file in the ledger's directory has a parent");
        if !parent.exists() {
            fs::create_dir(parent)?;
            self.sync_dir("")?;
        }
        let mut options = OpenOptions::new();
        if self.secret {
            options.mode(0o600);
        }
        let opened = options.read(true).write(true).create_new(true).open(&path)?;
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        open.insert(file.to_owned(), Arc::new(opened));
        Ok(())
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &str) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(file);
        fs::remove_file(self.root.join(file))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        open.remove(to);
        open.remove(file);
        fs::rename(self.root.join(file), self.root.join(to))
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.root.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}
