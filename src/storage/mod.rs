//! Storage: the few things a ledger asks of a disk. A ledger's files have names such as `log/00000000000000000000.seg`.

mod file;
mod memory;

pub use file::Files;
pub use memory::Memory;

use std::fmt::Debug;
use std::io;

/// Where a ledger's bytes live.
///
/// Implementations may be shared by threads. An `Ok` from a method that changes something means that later reads see it;
/// only [`Storage::sync`] and [`Storage::sync_dir`] promise that it outlives a power cut. There is no way to
/// cut a file: what must lose its end is rewritten and renamed.
pub trait Storage: Debug + Send + Sync {
    /// The names in a directory (`""` is the ledger's own), in no order; empty if there is no such directory.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// The length of a file in bytes; `None` if there is none.
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
    /// Takes the writer's lock; `None` if another holds it.
    fn lock(&self) -> io::Result<Option<Lock>>;
    /// How messages name this place.
    fn describe(&self) -> String;
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
