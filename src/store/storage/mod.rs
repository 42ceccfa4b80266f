//! Storage: the few things a ledger asks of a disk. A ledger's files have names such as `log/00000000000000000000.seg`.

mod file;
mod memory;
mod place;

pub use file::Files;
pub use memory::Memory;
pub use place::{LedgerPlace, Occupant, Reserved};

pub(crate) use place::FilePlace;

use std::fmt::Debug;
use std::io;

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
