//! A disk at which threads wait until they are let through, so that a test decides what runs beside what.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use identity_ledger::storage::{Memory, Storage};

use super::hand_on::hands_on;

/// A place where threads wait until they are let through.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// Whether it is closed, and how many threads have come since it was.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Door {
    pub(crate) fn close(&self) {
        *self.state.lock().unwrap() = (true, 0);
    }

    /// Opens it and gives how many threads had come.
    pub(crate) fn open(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.0 = false;
        self.changed.notify_all();
        state.1
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.0).unwrap());
    }

    /// Returns once this many threads have come since the door was closed.
    pub(crate) fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.1 < count).unwrap());
    }
}

/// A disk whose syncs and writes wait until they are let through.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    disk: Memory,
    syncs: Door,
    pub(crate) writes: Door,
    /// Syncs of snapshots alone.
    pub(crate) snapshots: Door,
    /// Whether those fail.
    pub(crate) fails_snapshots: AtomicBool,
    pub(crate) is_broken: AtomicBool,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    pub(crate) fn close(&self) {
        self.syncs.close();
    }

    pub(crate) fn open(&self) -> usize {
        self.syncs.open()
    }

    /// How many syncs have come since the gate was closed.
    pub(crate) fn come(&self) -> usize {
        self.syncs.state.lock().unwrap().1
    }

    /// Opens the gate; a sync that comes through panics.
    pub(crate) fn break_down(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
        self.open();
    }

    /// Returns once this many syncs have come since the gate was closed.
    pub(crate) fn wait_for(&self, count: usize) {
        self.syncs.wait_for(count);
    }
}

impl Storage for Gate {
    hands_on! { disk: list len read_at create sync_dir remove rename lock describe }

    fn sync(&self, file: &str) -> io::Result<()> {
        if file.starts_with("snap/") {
            self.snapshots.pass();
            if self.fails_snapshots.load(Ordering::SeqCst) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space"));
            }
        } else {
            self.syncs.pass();
        }
        assert!(!self.is_broken.load(Ordering::SeqCst), "on purpose");
        self.disk.sync(file)
    }

    fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes.pass();
        self.disk.write_at(file, offset, bytes)
    }
}
