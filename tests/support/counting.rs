//! Memory that counts the bytes that are read: a test bounds work by them, not by time.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use identity_ledger::storage::{Lock, Memory, Storage};

/// Memory that counts the bytes that are read.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    inner: Memory,
    read: AtomicU64,
}

impl Counting {
    /// The bytes that were read since this was asked last.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl Storage for Counting {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.inner.len(file)
    }
    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(file, offset, out)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
    fn create(&self, file: &str) -> io::Result<()> {
        self.inner.create(file)
    }
    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(file, offset, bytes)
    }
    fn sync(&self, file: &str) -> io::Result<()> {
        self.inner.sync(file)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn remove(&self, file: &str) -> io::Result<()> {
        self.inner.remove(file)
    }
    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.inner.rename(file, to)
    }
    fn lock(&self) -> io::Result<Option<Lock>> {
        self.inner.lock()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}
