//! Where a ring file lies: its directory, with links resolved once, its lock, and its mode and owner, which a ring that replaces it
//! keeps. Files are opened by name for each call: what another process put there in the meantime is seen.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::system;
use crate::store::storage::{Lock, Storage, fill};

/// As many links lead to a ring at most.
const MAX_LINKS: usize = 40;
/// How often taking the lock is tried while its file is replaced.
const LOCK_ATTEMPTS: usize = 10;

/// A directory with a ring in it. Calls name files of the directory, as those of every storage do.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    ring: String,
    locked: Mutex<Locked>,
}

#[derive(Debug, Default)]
struct Locked {
    /// What tells the lock file from others, once it was locked.
    identity: Option<(u64, u64)>,
    /// Whether the lock file was made here.
    made: bool,
}

/// An error of some kind that names a file.
fn named(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{} {what}", path.display()))
}

fn not_a_file(path: &Path) -> io::Error {
    named(io::ErrorKind::InvalidInput, path, "is not a regular file")
}

impl Place {
    /// The place of this ring, which need not be there; its directory must be.
    pub(super) fn of(path: &Path) -> io::Result<Place> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => path = parent(&path).join(fs::read_link(&path)?),
                Ok(metadata) if !metadata.is_file() => return Err(not_a_file(&path)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    let name = path.file_name().and_then(|name| name.to_str());
                    let name = name.ok_or_else(|| {
                        named(io::ErrorKind::InvalidInput, &path, "does not name a file in UTF-8")
                    })?;
                    let dir = fs::canonicalize(parent(&path)).map_err(|error| {
                        named(error.kind(), parent(&path), "is not a directory that can be used")
                    })?;
                    return Ok(Place { dir, ring: name.to_owned(), locked: Mutex::default() });
                }
            }
        }
        Err(named(io::ErrorKind::InvalidInput, &path, "is behind too many links"))
    }

    /// The ring's name in its directory.
    pub(super) fn ring(&self) -> &str {
        &self.ring
    }

    /// The ring's path, without links.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.ring)
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join(format!("{}.lock", self.ring))
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether the lock that was taken still keeps others out: its file is where they look for it.
    fn check_lock(&self) -> io::Result<()> {
        let Some(held) = self.locked().identity else { return Ok(()) };
        let path = self.lock_path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if system::identity(&metadata) == Some(held) => Ok(()),
            _ => Err(named(
                io::ErrorKind::Other,
                &path,
                "was removed or replaced while a writer held it, so another writer may have the ring; close every writer, then reopen",
            )),
        }
    }

    /// The metadata of a regular file here; `None` if there is none.
    fn metadata(&self, file: &str) -> io::Result<Option<Metadata>> {
        let path = self.dir.join(file);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
            Ok(_) => Err(not_a_file(&path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A regular file here that is to be read, or written to, from an offset on.
    fn open(&self, file: &str, write: bool, offset: u64) -> io::Result<impl Read + Write + use<>> {
        self.metadata(file)?.ok_or(io::ErrorKind::NotFound)?;
        let mut opened = OpenOptions::new().read(true).write(write).open(self.dir.join(file))?;
        opened.seek(SeekFrom::Start(offset))?;
        Ok(opened)
    }

    /// Gives a new file the mode and the owner of the ring, if there is one.
    fn keep_owner(&self, file: &Path) -> io::Result<()> {
        let Some(ring) = self.metadata(&self.ring)? else { return Ok(()) };
        system::keep(file, &ring, &self.path())
    }
}

/// The directory of a path.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Storage for Place {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.dir.join(dir))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(self.metadata(file)?.map(|metadata| metadata.len()))
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut file = self.open(file, false, offset)?;
        fill(out, |_, rest| file.read(rest))
    }

    fn create(&self, file: &str) -> io::Result<()> {
        self.check_lock()?;
        let path = self.dir.join(file);
        let made = system::private(OpenOptions::new().write(true).create_new(true)).open(&path)?;
        drop(made);
        self.keep_owner(&path).inspect_err(|_| drop(fs::remove_file(&path))) // the cause is what the caller needs to know
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.open(file, true, offset)?.write_all(bytes)
    }

    fn sync(&self, file: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.dir.join(file))?.sync_data()
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        system::sync_dir(&self.dir.join(dir))
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.check_lock()?;
        fs::remove_file(self.dir.join(file))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.check_lock()?;
        fs::rename(self.dir.join(file), self.dir.join(to))
    }

    /// The lock of this ring: a file beside it, which a ring that replaces it leaves alone.
    fn lock(&self) -> io::Result<Option<Lock>> {
        let path = self.lock_path();
        for _ in 0..LOCK_ATTEMPTS {
            let mut options = OpenOptions::new();
            let (file, made) = match system::private(options.read(true).write(true).create_new(true))
                .open(&path)
            {
                Ok(file) => {
                    self.keep_owner(&path).inspect_err(|_| drop(fs::remove_file(&path)))?;
                    (file, true)
                }
                Err(error) if matches!(self.metadata(&format!("{}.lock", self.ring)), Ok(Some(_))) => {
                    match OpenOptions::new().read(true).open(&path) {
                        Ok(file) => (file, false),
                        Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                        Err(_) => {
                            return Err(named(error.kind(), &path, &format!("cannot be locked: {error}")));
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            // Another may have removed the file between its opening and its locking.
            let held = system::identity(&file.metadata()?);
            if fs::symlink_metadata(&path).is_ok_and(|there| system::identity(&there) == held) {
                let mut locked = self.locked();
                *locked = Locked { identity: held, made: made || locked.made };
                return Ok(Some(Lock::new(file)));
            }
        }
        Err(named(io::ErrorKind::ResourceBusy, &path, "is replaced all the time, and cannot be locked"))
    }

    fn describe(&self) -> String {
        self.dir.display().to_string()
    }
}

impl Place {
    /// Removes the lock file, if it was made here: its ring is of no ledger.
    pub(super) fn forget_lock(&self) -> io::Result<()> {
        let made = std::mem::take(&mut *self.locked()).made;
        if made { fs::remove_file(self.lock_path()) } else { Ok(()) }
    }
}
