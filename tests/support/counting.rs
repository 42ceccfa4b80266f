//! Memory that counts the bytes that are read: a test bounds work by them, not by time.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use identity_ledger::storage::{Memory, Storage};

use super::hand_on::hands_on;

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
    hands_on! { inner: list len create write_at sync sync_dir remove rename lock describe }

    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(file, offset, out)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
