//! Storage: the few things a ledger asks of a disk. A ledger's files have names such as `log/00000000000000000000.seg`.

#[cfg(unix)]
mod file;
#[cfg(not(unix))]
#[path = "portable.rs"]
mod file;
mod memory;
mod place;
#[cfg(all(unix, test))]
#[expect(dead_code, unreachable_pub, reason = "tested on this system, used on others")]
mod portable;

pub use file::Files;
pub use memory::Memory;
pub use place::Reserved;

pub(crate) use place::FilePlace;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// Where a ledger's bytes live.
///
/// Implementations may be shared by threads. An `Ok` from a method that changes something means that later reads see it;
/// only [`Storage::sync`] and [`Storage::sync_dir`] promise that it outlives a power cut. There is no way to
/// cut a file: what must lose its end is rewritten and renamed.
pub trait Storage: Debug + Send + Sync {
    /// The names in a directory (`""` is the ledger's own), in no order; empty if there is no such directory. Of all that lies
    /// there: a name that is not UTF-8 has U+FFFD in it, and no file of a ledger does.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// The length of a file in bytes; `None` if there is none. Only regular files count: for a link, a pipe or a directory the error
    /// holds a [`NotAFile`], here and in every other method that is given a file.
    fn len(&self, file: &str) -> io::Result<Option<u64>>;
    /// Fills `out` from `offset` on as far as the file reaches; gives how much that was.
    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Makes an empty file, and its directory if need be; an error if the file exists.
    fn create(&self, file: &str) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`. The log only ever writes at its end; `HEAD` overwrites its slots.
    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes and length durable. A failure is final: nothing is known of the bytes any more.
    fn sync(&self, file: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Removes a file: only what is kept elsewhere too, such as a tail that recovery has copied, or a cache.
    fn remove(&self, file: &str) -> io::Result<()>;
    /// Renames a file within its directory, replacing the file that may have that name already. At every
    /// moment, and after a power cut, there is the one or the other, whole. Durable after
    /// [`Storage::sync_dir`].
    fn rename(&self, file: &str, to: &str) -> io::Result<()>;
    /// Lets later reads see the files that have their names now: a file that was kept open may have been replaced since.
    /// Nothing to do for a storage that keeps none open.
    fn refresh(&self) {}
    /// Takes the writer's lock; `None` if another holds it.
    fn lock(&self) -> io::Result<Option<Lock>>;
    /// Makes the name of the ledger's own directory durable, where it has one.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }
    /// Whether the file that the writer's lock is taken on is missing, although a writer had this storage.
    ///
    /// # Errors
    /// When that cannot be seen.
    fn lacks_lock(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// How messages name this place.
    fn describe(&self) -> String;
}

/// A name in a directory, where a ledger is to lie. Ledgers are built beside their place and renamed, so that there is a whole one
/// or none.
pub trait LedgerPlace: Debug + Send + Sync {
    /// What has the name now.
    ///
    /// # Errors
    /// When that cannot be seen, or the directory that the place is in does not exist.
    fn look(&self) -> io::Result<Occupant>;
    /// Makes an empty directory of the name.
    ///
    /// # Errors
    /// When it cannot be made, or something has the name.
    fn create(&self) -> io::Result<()>;
    /// Makes an empty directory beside the place, to build in; `tag` makes its name unique.
    ///
    /// # Errors
    /// When it cannot be made.
    fn build(&self, tag: &str) -> io::Result<Arc<dyn Storage>>;
    /// Gives what was built the name, instead of the empty directory that may have it. Durable after [`LedgerPlace::sync`].
    ///
    /// # Errors
    /// When it cannot be renamed, or something else has the name.
    fn put(&self, tag: &str) -> io::Result<()>;
    /// Removes what was built and did not get the name.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn discard(&self, tag: &str) -> io::Result<()>;
    /// Makes the name durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> io::Result<()>;
    /// The storage under the name.
    fn storage(&self) -> Arc<dyn Storage>;
    /// How messages name this place.
    fn describe(&self) -> String;
}

/// What has the name of a [`LedgerPlace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing has this name.
    Nothing,
    /// A directory; the names in it.
    Directory(Vec<String>),
    /// Something else, such as a file or a link to nothing.
    Other,
}

/// Who may read the files of a ledger that is created. Only their owner may write them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Their owner alone: mode 0600 for files, 0700 for directories.
    #[default]
    Owner,
    /// Their owner and their group: 0640 and 0750.
    Group,
    /// Every user of the machine: 0644 and 0755.
    Everyone,
}

impl Access {
    /// All of them, each with its name.
    pub const ALL: [(&'static str, Access); 3] =
        [("owner", Access::Owner), ("group", Access::Group), ("everyone", Access::Everyone)];
}

/// Something other than expected has the name of a ledger's file or directory. It is inside the [`io::Error`] that says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is {found}; expected {expected}; move it away, or put the original back")]
pub struct NotAFile {
    /// The name, as the ledger spells it.
    pub file: String,
    /// What has that name.
    pub found: &'static str,
    /// What should have it.
    pub expected: &'static str,
}

/// The files of a ledger were moved or replaced while a writer had it open. It is inside the [`io::Error`] that the writer got;
/// nothing more is written through that writer, and what was acknowledged as durable is in the files that were moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Displaced {
    /// The path leads to another directory, or to none.
    #[error(
        "{place} is not the directory that this writer opened: it was moved, removed or replaced; find out which copy is the true one"
    )]
    Directory {
        /// The path of the directory, as it was given.
        place: String,
    },
    /// The writer's lock is gone from its place.
    #[error(
        "{place}/LOCK is not the file that this writer locked: it was removed or replaced; see that there is no other writer"
    )]
    Lock {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// The file that says which ledger it is.
    #[error(
        "{place}/LEDGER was removed, replaced or changed while this writer had it open; find out whose files these are"
    )]
    Ledger {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// A file that is written.
    #[error(
        "{place}/{file} was moved, replaced or changed by another program: {what}; find out which program, and run `verify`"
    )]
    File {
        /// The ledger, as its storage describes itself.
        place: String,
        /// The file, named from the ledger's directory.
        file: String,
        /// What shows it.
        what: String,
    },
}

impl From<Displaced> for io::Error {
    fn from(displaced: Displaced) -> io::Error {
        io::Error::other(displaced)
    }
}

impl From<NotAFile> for io::Error {
    fn from(found: NotAFile) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, found)
    }
}

/// An error that names its file.
fn named(file: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| match error.get_ref() {
        Some(_) => error,
        None => io::Error::new(error.kind(), format!("{file}: {error}")),
    }
}

/// Fills `out` by calls that may each read less than is asked for, and are given how much is there. Gives how much came before the end.
pub(crate) fn fill(
    out: &mut [u8],
    mut read: impl FnMut(usize, &mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match read(filled, &mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether something other than a file has a file's name.
pub(crate) fn is_not_a_file(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
}

/// Removes a file. What has its name and is not a file stays: it is not the ledger's. Gives whether a file was removed.
pub(crate) fn remove_file(storage: &dyn Storage, file: &str) -> io::Result<bool> {
    match storage.remove(file) {
        Err(error) if is_not_a_file(&error) => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// The length of a file; `None` if there is none, or if what has its name is not a file.
pub(crate) fn file_len(storage: &dyn Storage, file: &str) -> io::Result<Option<u64>> {
    match storage.len(file) {
        Err(error) if is_not_a_file(&error) => Ok(None),
        len => len,
    }
}

/// The writer's lock, held until it is dropped.
pub struct Lock(#[expect(dead_code, reason = "held, not looked at")] Box<dyn Send + Sync>);

impl Lock {
    /// A lock that is released when `held` is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> Lock {
        Lock(Box::new(held))
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
pub(crate) fn read_all(storage: &dyn Storage, file: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(len) = storage.len(file)? else { return Ok(None) };
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{file} has {len} bytes; expected at most {limit}"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    let read = storage.read_at(file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a ledger relies on, whatever it lies on. A second view of the same place is what another program has.
    fn keeps_its_word(storage: &dyn Storage, second: &dyn Storage) {
        assert_eq!((storage.list("").unwrap(), storage.len("a").unwrap()), (vec![], None));
        assert_eq!(storage.list("log").unwrap(), [""; 0], "no such directory");
        assert_eq!(storage.read_at("a", 0, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::NotFound);
        storage.create("log/a").unwrap();
        storage.create("log/b").unwrap();
        assert_eq!(storage.create("log/a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        storage.write_at("log/a", 0, b"first words").unwrap();
        storage.write_at("log/a", 6, b"lines, longer").unwrap();
        storage.write_at("log/b", 0, b"b").unwrap();
        storage.sync("log/a").unwrap();
        storage.sync_dir("log").unwrap();
        assert_eq!(storage.len("log/a").unwrap(), Some(19));
        let mut bytes = [0; 32];
        for view in [storage, second] {
            assert_eq!((view.read_at("log/a", 13, &mut bytes).unwrap(), &bytes[..6]), (6, &b"longer"[..]));
            assert_eq!(view.read_at("log/a", 19, &mut bytes).unwrap(), 0, "at the end");
        }
        storage.rename("log/b", "log/a").unwrap();
        second.refresh();
        for view in [storage, second] {
            let names = view.list("log").unwrap();
            assert_eq!(
                (names, view.len("log/b").unwrap(), view.len("log/a").unwrap()),
                (vec!["a".to_owned()], None, Some(1))
            );
            assert_eq!((view.read_at("log/a", 0, &mut bytes).unwrap(), bytes[0]), (1, b'b'));
        }
        storage.remove("log/a").unwrap();
        assert!(storage.list("log").unwrap().is_empty());
        let lock = storage.lock().unwrap().unwrap();
        assert!(second.lock().unwrap().is_none(), "one writer");
        assert!(!second.lacks_lock().unwrap());
        drop(lock);
        assert!(second.lock().unwrap().is_some());
    }

    #[test]
    fn every_storage_keeps_its_word() {
        let memory = Memory::new();
        keeps_its_word(&memory, &memory);
        let dir = tempfile::tempdir().unwrap();
        let of = |name| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            dir.path().join(name)
        };
        let path = of("files");
        keeps_its_word(&Files::writable(&path), &Files::writable(&path));
        #[cfg(unix)]
        {
            let path = of("portable");
            keeps_its_word(&portable::Files::writable(&path), &portable::Files::writable(&path));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_portable_directory_follows_no_link_and_replaces_only_empty_directories() {
        use std::ffi::OsStr;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("elsewhere"), "theirs").unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("LEDGER")).unwrap();
        let files = portable::Files::writable(dir.path());
        assert!(is_not_a_file(&files.len("LEDGER").unwrap_err()));
        assert!(is_not_a_file(&files.write_at("LEDGER", 0, b"ours").unwrap_err()));
        assert!(is_not_a_file(&files.remove("LEDGER").unwrap_err()));
        let name = OsStr::new;
        let built = files.create_dir(name("built")).unwrap();
        built.create("a").unwrap();
        assert_eq!(files.occupant(name("built")).unwrap(), Occupant::Directory(vec!["a".to_owned()]));
        assert_eq!(files.occupant(name("LEDGER")).unwrap(), Occupant::Other);
        assert_eq!(files.occupant(name("place")).unwrap(), Occupant::Nothing);
        files.create_dir(name("place")).unwrap();
        files.rename_dir(name("built"), name("place")).unwrap();
        assert_eq!(files.occupant(name("place")).unwrap(), Occupant::Directory(vec!["a".to_owned()]));
        files.create_dir(name("other")).unwrap();
        files.rename_dir(name("other"), name("place")).unwrap_err();
        assert_eq!(files.occupant(name("place")).unwrap(), Occupant::Directory(vec!["a".to_owned()]));
    }
}
