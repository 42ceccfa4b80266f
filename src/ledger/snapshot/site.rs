//! The site where a snapshot is made beside a ledger that writes: one at a time, and none while something is erased.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::ledger::error::SnapshotError;

/// Where snapshots of a ledger are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    is_taken: bool,
    /// How often what is made here was to be stopped.
    stops: u64,
    /// What became of the last one that a thread made by itself: whether it was made.
    ended: Option<Result<bool, SnapshotError>>,
}

impl Site {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self, mut known: MutexGuard<'_, Known>) -> Taken {
        known.is_taken = true;
        Taken { site: self.clone(), stops: known.stops }
    }

    /// The site, unless a snapshot is being made.
    pub(crate) fn try_take(&self) -> Option<Taken> {
        let known = self.known();
        (!known.is_taken).then(|| self.taken(known))
    }

    /// Returns when no snapshot is being made.
    pub(crate) fn wait(&self) {
        drop(self.free());
    }

    fn free(&self) -> MutexGuard<'_, Known> {
        let free = self.0.changed.wait_while(self.known(), |known| known.is_taken);
        free.unwrap_or_else(PoisonError::into_inner)
    }

    /// The site, once the snapshot that is being made was given up. What holds it asks for no lock of the ledger.
    pub(crate) fn clear(&self) -> Taken {
        self.known().stops += 1;
        self.taken(self.free())
    }

    /// Says what became of a snapshot that a thread made by itself: whether it was made.
    pub(crate) fn end(&self, ended: Result<bool, SnapshotError>) {
        self.known().ended = Some(ended);
    }

    /// What became of it, once.
    pub(crate) fn take_ended(&self) -> Option<Result<bool, SnapshotError>> {
        self.known().ended.take()
    }
}

/// The site, for one who makes a snapshot, or keeps others from it.
#[derive(Debug)]
pub(crate) struct Taken {
    site: Site,
    stops: u64,
}

impl Taken {
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Whether what is being made is to be given up.
    pub(crate) fn is_stopped(&self) -> bool {
        self.site.known().stops != self.stops
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.site.known().is_taken = false;
        self.site.0.changed.notify_all();
    }
}
