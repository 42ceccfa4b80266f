//! Memory whose calls fail at a countdown: the smallest disk that fails. `testing::disk` has the one that also knows what a
//! power cut leaves.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use identity_ledger::storage::{Lock, Memory, Storage};

/// Never, as a countdown.
pub(crate) const NEVER: i64 = i64::MAX;

/// Fails the call at the countdown, or all from there on.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) inner: Memory,
    pub(crate) calls_left: AtomicI64,
    /// Whether all calls after the first failure fail too.
    for_ever: bool,
    /// Whether a failing write leaves half of its bytes behind.
    half: bool,
    /// Whether calls that change nothing count and fail too.
    reads: bool,
}

impl Failing {
    /// Fails the call of that number, from 0, among those that change something.
    pub(crate) fn at(inner: Memory, call: i64) -> Failing {
        Failing { inner, calls_left: AtomicI64::new(call), for_ever: false, half: false, reads: false }
    }

    /// And every call after it, if so.
    pub(crate) fn for_ever(self, for_ever: bool) -> Failing {
        Failing { for_ever, ..self }
    }

    /// A failing write leaves half of its bytes behind, if so.
    pub(crate) fn half(self, half: bool) -> Failing {
        Failing { half, ..self }
    }

    /// Reads count, and fail, too.
    pub(crate) fn reads(self) -> Failing {
        Failing { reads: true, ..self }
    }

    fn check(&self) -> io::Result<()> {
        let left = self.calls_left.fetch_sub(1, Ordering::SeqCst);
        let fails = left == 0 || left < 0 && self.for_ever;
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn check_read(&self) -> io::Result<()> {
        if self.reads { self.check() } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.check_read().and_then(|()| self.inner.list(dir))
    }
    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.check_read().and_then(|()| self.inner.len(file))
    }
    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.check_read().and_then(|()| self.inner.read_at(file, offset, out))
    }
    fn create(&self, file: &str) -> io::Result<()> {
        self.check().and_then(|()| self.inner.create(file))
    }
    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.check() {
            if self.half {
                self.inner.write_at(file, offset, &bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.inner.write_at(file, offset, bytes)
    }
    fn sync(&self, file: &str) -> io::Result<()> {
        self.check().and_then(|()| self.inner.sync(file))
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.check().and_then(|()| self.inner.sync_dir(dir))
    }
    fn remove(&self, file: &str) -> io::Result<()> {
        self.check().and_then(|()| self.inner.remove(file))
    }
    fn rename(&self, file: &str, to: &str) -> io::Result<()> {
        self.check().and_then(|()| self.inner.rename(file, to))
    }
    fn lock(&self) -> io::Result<Option<Lock>> {
        self.inner.lock()
    }
    fn describe(&self) -> String {
        "a failing disk".to_owned()
    }
}
