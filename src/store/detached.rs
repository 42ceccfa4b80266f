//! The files of a ledger as a detached reader has them, beside a writer: an erasure writes segments again, and what lay where the reader looks
//! lies elsewhere then, or is gone.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::storage::{Lock, Storage};

/// How often what readers beside a ledger know was about to end: something is erased, or the ledger is closed and others may erase.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rewrites(Arc<AtomicU64>);

impl Rewrites {
    /// Said before it is done.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a detached reader reads by. It writes nothing.
#[derive(Debug)]
pub(crate) struct DetachedFiles {
    files: Arc<dyn Storage>,
    rewrites: Rewrites,
    /// The rewrites before it was detached.
    known: u64,
}

/// A reader's time is over: the log is not, or may not be, what it was when the reader was made.
#[derive(Debug)]
pub(crate) struct Ended;

impl std::error::Error for Ended {}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "since this reader was opened or detached, something was erased from the log, or the ledger was closed; make another",
        )
    }
}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> io::Error {
        io::Error::other(ended)
    }
}

impl DetachedFiles {
    pub(crate) fn of(files: Arc<dyn Storage>, rewrites: Rewrites) -> DetachedFiles {
        DetachedFiles { files, known: rewrites.count(), rewrites }
    }

    /// What was read, unless the files may have been others by then.
    fn still<T>(&self, read: io::Result<T>) -> io::Result<T> {
        if self.rewrites.count() == self.known { read } else { Err(Ended.into()) }
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "a detached reader writes nothing"))
}

impl Storage for DetachedFiles {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.still(self.files.list(dir))
    }

    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.still(self.files.len(file))
    }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.still(self.files.read_at(file, offset, out))
    }

    fn create(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn write_at(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        read_only()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        read_only()
    }

    fn describe(&self) -> String {
        self.files.describe()
    }
}
