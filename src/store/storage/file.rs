//! Storage in a directory of real files: plain reads and writes at offsets, no memory maps, one writer's lock.
//!
//! The directory is opened once, and everything is done relative to that handle: a rename of the directory cannot redirect a write
//! into another. Below it no link is followed, and only regular files are opened: a pipe or a device could hang, or swallow bytes.
#![expect(clippy::disallowed_types, reason = "the shell: the one place that touches files")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::{Access, Displaced, Lock, NotAFile, Occupant, Storage, fill, named};
use crate::store::layout::{LEDGER, PARTIAL};

/// The writer's lock file; never renamed, never removed.
const LOCK: &str = "LOCK";

/// Files kept open at once: a log of many segments must not use up the process's descriptors.
const MAX_OPEN_FILES: usize = 64;

/// Longest `LEDGER` that is compared.
const LEDGER_BYTES: usize = 4_096;

/// A pipe must not block its opener, and no terminal may become the process's own.
const ANY_FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of files. It is opened by the first call that needs it; from then on every call works in that directory, whatever
/// becomes of its path.
///
/// A writer that holds the lock finds out if the path leads elsewhere: see [`Displaced`].
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    writable: bool,
    access: Access,
    root: Mutex<Option<Arc<Root>>>,
    /// Files stay open: the log appends to one of them a million times.
    open: Mutex<BTreeMap<String, Arc<Held>>>,
    /// What this storage's writer has locked, as long as it does.
    locked: Mutex<Weak<Locked>>,
}

/// The directory, open.
#[derive(Debug)]
struct Root {
    dir: Arc<OwnedFd>,
    stat: Stat,
    /// Its path when it was opened; the process may change its working directory later.
    path: PathBuf,
}

/// An open file.
#[derive(Debug)]
struct Held {
    file: File,
    stat: Stat,
    written: Mutex<Written>,
}

/// What was written to an open file.
#[derive(Debug)]
struct Written {
    /// Whether anything was, since the last sync.
    pending: bool,
    /// How long the file is, unless another program writes to it.
    len: u64,
}

impl Held {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a writer holds: `LOCK`, and `LEDGER`, so that removing the first lets no second writer in.
#[derive(Debug)]
struct Locked {
    lock: Held,
    ledger: Option<(Held, Vec<u8>)>,
}

/// The permissions and the owner that a new file gets.
struct Owned {
    mode: Mode,
    /// As `LEDGER` has them. Only the superuser can give files away, and should: else the ledger's user could not read them.
    by: Option<(Uid, Gid)>,
}

impl Owned {
    /// What a directory gets: a user who may read it may also look up names in it.
    fn directory(self) -> Owned {
        let search = Mode::from_raw_mode(self.mode.as_raw_mode() >> 2) & Mode::from_bits_truncate(0o111);
        Owned { mode: self.mode | search, ..self }
    }

    fn give(&self, made: &impl AsFd) -> io::Result<()> {
        let stat = rustix::fs::fstat(made)?;
        if let Some((user, group)) = self.by
            && (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)) != (user, group)
        {
            rustix::fs::fchown(made, Some(user), Some(group)).ok(); // see `by`
        }
        if Mode::from_raw_mode(stat.st_mode) & Mode::from_bits_truncate(0o777) != self.mode {
            rustix::fs::fchmod(made, self.mode).ok(); // some file systems know no modes
        }
        Ok(())
    }
}

impl Access {
    fn mode(self) -> Mode {
        Mode::from_bits_truncate(match self {
            Access::Owner => 0o600,
            Access::Group => 0o640,
            Access::Everyone => 0o644,
        })
    }
}

/// Whether two looks saw the same file or directory.
fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What a directory entry is, if it is not what was expected.
fn expect(file: &str, stat: &Stat, expected: FileType) -> Result<(), NotAFile> {
    let named = |kind| match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of a kind that is not known",
    };
    let found = FileType::from_raw_mode(stat.st_mode);
    if found == expected {
        return Ok(());
    }
    Err(NotAFile { file: file.to_owned(), found: named(found), expected: named(expected) })
}

impl Files {
    /// The files under `path`, for reading and writing.
    pub fn writable(path: impl Into<PathBuf>) -> Files {
        Files {
            path: path.into(),
            writable: true,
            access: Access::default(),
            root: Mutex::default(),
            open: Mutex::default(),
            locked: Mutex::default(),
        }
    }

    /// The files under `path`, for reading only: nothing is ever written, so a read-only mount will do.
    pub fn read_only(path: impl Into<PathBuf>) -> Files {
        Files { writable: false, ..Files::writable(path) }
    }

    /// Who may read files that are made here, as long as there is no `LEDGER`: later files get the permissions that it has.
    #[must_use]
    pub fn access(self, access: Access) -> Files {
        Files { access, ..self }
    }

    /// The path of the directory, as it was given.
    pub fn root(&self) -> &Path {
        &self.path
    }

    fn held(&self) -> io::Result<Arc<Root>> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = &*root {
            return Ok(Arc::clone(root));
        }
        let path = std::path::absolute(&self.path)?;
        let dir = retry_on_intr(|| rustix::fs::openat(CWD, &path, DIRECTORY, Mode::empty()))?;
        let stat = rustix::fs::fstat(&dir)?;
        Ok(Arc::clone(root.insert(Arc::new(Root { dir: Arc::new(dir), stat, path }))))
    }

    /// A directory of the ledger: its own, or one in it.
    fn dir(&self, dir: &str) -> io::Result<Arc<OwnedFd>> {
        let root = self.held()?;
        if dir.is_empty() {
            return Ok(Arc::clone(&root.dir));
        }
        match retry_on_intr(|| {
            rustix::fs::openat(&root.dir, dir, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        }) {
            Ok(opened) => Ok(Arc::new(opened)),
            Err(errno) => {
                let stat = rustix::fs::statat(&root.dir, dir, AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(Ok(()), |stat| expect(dir, &stat, FileType::Directory))?;
                Err(named(dir)(errno.into()))
            }
        }
    }

    /// The directory that a file lies in, and its name there.
    fn place<'n>(&self, file: &'n str) -> io::Result<(Arc<OwnedFd>, &'n str)> {
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        Ok((self.dir(dir)?, name))
    }

    /// What has a name; `None` if nothing has.
    fn look(&self, file: &str) -> io::Result<Option<Stat>> {
        let (dir, name) = match self.place(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            place => place?,
        };
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(named(file)(errno.into())),
        }
    }

    fn open_file(&self, file: &str, flags: OFlags, mode: Mode) -> io::Result<Held> {
        let (dir, name) = self.place(file)?;
        match retry_on_intr(|| rustix::fs::openat(&dir, name, flags | ANY_FILE, mode)) {
            Ok(opened) => {
                let stat = rustix::fs::fstat(&opened)?;
                expect(file, &stat, FileType::RegularFile)?;
                let written = Mutex::new(Written { pending: false, len: size(&stat) });
                Ok(Held { file: File::from(opened), stat, written })
            }
            Err(errno) => {
                self.look(file)?.map_or(Ok(()), |stat| expect(file, &stat, FileType::RegularFile))?;
                Err(named(file)(errno.into()))
            }
        }
    }

    fn file(&self, file: &str) -> io::Result<Arc<Held>> {
        let mut open = self.cache();
        if let Some(held) = open.get(file) {
            return Ok(Arc::clone(held));
        }
        if open.len() >= MAX_OPEN_FILES {
            open.retain(|_, held| held.written().pending); // what was written to these must be synced through them
        }
        let flags = if self.writable { OFlags::RDWR } else { OFlags::RDONLY };
        let held = Arc::new(self.open_file(file, flags, Mode::empty())?);
        open.insert(file.to_owned(), Arc::clone(&held));
        Ok(held)
    }

    fn cache(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Held>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that a writer's files are where it found them: the path leads to the directory that is open, `LOCK` is the file that is
    /// locked, and `LEDGER` the one that was read. Without a writer there is nothing to check.
    fn check_place(&self) -> io::Result<()> {
        let Some(locked) = self.locked.lock().unwrap_or_else(PoisonError::into_inner).upgrade() else {
            return Ok(());
        };
        let (root, place) = (self.held()?, self.describe());
        match rustix::fs::stat(&root.path) {
            Ok(found) if same(&found, &root.stat) => {}
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => return Err(Displaced::Directory { place }.into()),
            Err(errno) => return Err(named(&place)(errno.into())),
        }
        let moved = |name: &str, held: &Held| {
            self.look(name).map(|found| !found.is_some_and(|found| same(&found, &held.stat)))
        };
        if moved(LOCK, &locked.lock)? {
            return Err(Displaced::Lock { place }.into());
        }
        // A copy that forgets gives its `LEDGER` another name meanwhile.
        if let Some((ledger, bytes)) = &locked.ledger
            && (moved(LEDGER, ledger)? && moved(PARTIAL, ledger)? || content(ledger)? != *bytes)
        {
            return Err(Displaced::Ledger { place }.into());
        }
        Ok(())
    }

    /// Checks that no other program changed a file that is written here.
    fn check_file(&self, file: &str, held: &Held, len: u64) -> io::Result<()> {
        let stat = rustix::fs::fstat(&held.file)?;
        let what = if size(&stat) != len {
            format!("it has {} bytes; expected {len}", size(&stat))
        } else if stat.st_nlink > 1 {
            format!(
                "it has {} names (hard links), and each would be written; give it a copy of its own",
                stat.st_nlink
            )
        } else {
            return Ok(());
        };
        Err(Displaced::File { place: self.describe(), file: file.to_owned(), what }.into())
    }

    /// What a new file gets: the permissions of `LEDGER`, once there is one.
    fn owned(&self) -> io::Result<Owned> {
        let ledger = self.look(LEDGER)?.filter(|stat| expect(LEDGER, stat, FileType::RegularFile).is_ok());
        Ok(ledger.map_or(Owned { mode: self.access.mode(), by: None }, |stat| Owned {
            mode: (Mode::from_raw_mode(stat.st_mode) & Mode::from_bits_truncate(0o666))
                | Access::Owner.mode(),
            by: Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))),
        }))
    }

    /// What a name in this directory stands for.
    pub(super) fn occupant(&self, name: &OsStr) -> io::Result<Occupant> {
        match rustix::fs::statat(&self.held()?.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Files::read_only(self.path.join(name)).list("").map(Occupant::Directory)
            }
            Ok(_) => Ok(Occupant::Other),
            Err(Errno::NOENT) => Ok(Occupant::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a directory in this one, and opens it.
    pub(super) fn create_dir(&self, name: &OsStr) -> io::Result<Files> {
        let root = self.held()?;
        let owned = self.owned()?.directory();
        let made = rustix::fs::mkdirat(&root.dir, name, owned.mode)
            .and_then(|()| rustix::fs::openat(&root.dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()));
        let dir = made.map_err(|errno| named(&name.to_string_lossy())(errno.into()))?;
        owned.give(&dir)?;
        let files = Files::writable(self.path.join(name)).access(self.access);
        let (stat, path) = (rustix::fs::fstat(&dir)?, std::path::absolute(&files.path)?);
        *files.root.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(Root { dir: Arc::new(dir), stat, path }));
        Ok(files)
    }

    /// Gives a directory in this one another name, instead of the empty directory that may have it.
    pub(super) fn rename_dir(&self, name: &OsStr, to: &OsStr) -> io::Result<()> {
        let dir = &self.held()?.dir;
        Ok(rustix::fs::renameat(dir, name, dir, to)?)
    }
}

fn content(held: &Held) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LEDGER_BYTES];
    let read = held.file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn try_lock(held: &Held) -> io::Result<bool> {
    match held.file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Storage for Files {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let opened = match self.dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(Some(name).filter(|name| name != "." && name != ".."));
        }
        Ok(names)
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        let Some(stat) = self.look(file)? else { return Ok(None) };
        expect(file, &stat, FileType::RegularFile)?;
        Ok(Some(size(&stat)))
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let held = self.file(file)?;
        fill(out, |filled, rest| held.file.read_at(rest, offset + filled as u64)).map_err(named(file))
    }

    fn create(&self, file: &str) -> io::Result<()> {
        self.check_place()?;
        if let Some((dir, _)) = file.rsplit_once('/')
            && self.look(dir)?.is_none()
        {
            self.create_dir(OsStr::new(dir))?;
            self.sync_dir("")?;
        }
        let owned = self.owned()?;
        let held = self.open_file(file, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, owned.mode)?;
        owned.give(&held.file)?;
        self.cache().insert(file.to_owned(), Arc::new(held));
        Ok(())
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let held = self.file(file)?;
        let mut written = held.written();
        if !written.pending {
            self.check_file(file, &held, written.len)?;
            written.pending = true;
        }
        let done = held.file.write_all_at(bytes, offset);
        written.len = match &done {
            Ok(()) => written.len.max(offset + bytes.len() as u64),
            Err(_) => held.file.metadata().map_or(written.len, |metadata| metadata.len()),
        };
        done.map_err(named(file))
    }

    fn sync(&self, file: &str) -> io::Result<()> {
        self.check_place()?;
        loop {
            let held = self.file(file)?;
            let mut written = held.written();
            self.check_file(file, &held, written.len)?;
            if !self.look(file)?.is_some_and(|found| same(&found, &held.stat)) {
                drop(written);
                // Another thread of this program may have renamed a file over it; else another program did.
                if self.cache().get(file).is_some_and(|open| Arc::ptr_eq(open, &held)) {
                    let what = "its name leads to another file".to_owned();
                    return Err(
                        Displaced::File { place: self.describe(), file: file.to_owned(), what }.into()
                    );
                }
                continue;
            }
            written.pending = false;
            drop(written);
            return held.file.sync_data().map_err(named(file));
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.check_place()?;
        Ok(rustix::fs::fsync(self.dir(dir)?)?)
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        self.check_place()?;
        self.len(file)?; // refuses what is not a file
        let (dir, name) = self.place(file)?;
        let mut open = self.cache();
        open.remove(file);
        rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(|errno| named(file)(errno.into()))
    }

    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.check_place()?;
        self.len(to)?; // as for removing
        let ((dir, name), (to_dir, to_name)) = (self.place(file)?, self.place(to)?);
        let mut open = self.cache();
        open.remove(to);
        open.remove(file);
        rustix::fs::renameat(&dir, name, &to_dir, to_name).map_err(|errno| named(file)(errno.into()))
    }

    fn refresh(&self) {
        self.cache().retain(|_, held| held.written().pending);
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        // `LEDGER` first: a second writer is refused before it makes a `LOCK` where one was removed.
        let ledger = match self.open_file(LEDGER, OFlags::RDWR, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None, // a backup that is not complete
            ledger => {
                let ledger = ledger?;
                if !try_lock(&ledger)? {
                    return Ok(None);
                }
                let bytes = content(&ledger)?;
                Some((ledger, bytes))
            }
        };
        let owned = self.owned()?;
        let is_new = self.look(LOCK)?.is_none();
        let lock = self.open_file(LOCK, OFlags::RDWR | OFlags::CREATE, owned.mode)?;
        if is_new {
            owned.give(&lock.file)?;
        }
        if !try_lock(&lock)? {
            return Ok(None);
        }
        self.cache().clear(); // until now another writer may have changed what was opened
        let locked = Arc::new(Locked { lock, ledger });
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&locked);
        self.check_place()?; // it may have moved between opening and locking
        Ok(Some(Lock::new(locked)))
    }

    fn sync_name(&self) -> io::Result<()> {
        let root = self.held()?;
        match retry_on_intr(|| rustix::fs::openat(&root.dir, "..", DIRECTORY, Mode::empty())) {
            Ok(parent) => Ok(rustix::fs::fsync(parent)?),
            Err(Errno::ACCESS) => Ok(()), // a process that may not read the directory above cannot sync it
            Err(errno) => Err(named("..")(errno.into())),
        }
    }

    fn lacks_lock(&self) -> io::Result<bool> {
        Ok(self.look(LOCK)?.is_none())
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}
