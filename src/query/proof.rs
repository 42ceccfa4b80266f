//! The proof: how much of the snapshot that a reader continued from was held against its log.

use std::sync::{Mutex, MutexGuard};

use crate::store::segments::Fault;

/// How much of a snapshot was held against the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// Which number stands for which text, which records are retracted, and which erase.
    Texts,
    Everything,
}

/// The snapshot that a reader continued from, and how much of it is proven.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// How many records it covers; `None` if the reader was folded from its log.
    pub(super) snapshot: Option<u64>,
    held: Mutex<Held>,
}

impl Clone for Proof {
    fn clone(&self) -> Proof {
        Proof { snapshot: self.snapshot, held: Mutex::new(*self.held()) }
    }
}

impl Proof {
    /// Of a snapshot of `records` records nothing is proven yet.
    pub(crate) fn due(records: u64) -> Proof {
        Proof { snapshot: Some(records), held: Mutex::default() }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.snapshot.is_none() || *self.held() == Held::Everything
    }

    /// Runs `prove` unless so much is proven already. Who asks meanwhile waits for the answer.
    pub(super) fn once(&self, much: Held, prove: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let mut held = self.held();
        if self.snapshot.is_some() && *held < much {
            prove()?;
            *held = much;
        }
        Ok(())
    }
}
