//! The index: which records name an id or a device, where records lie, and the components that were asked for last.

use crate::log::frame::Frame;
use crate::log::record::Rows;
use crate::store::block_index::Spots;
use crate::store::postings::{Component, Postings};

/// How the records of a component are found and read.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) postings: Postings,
    pub(super) spots: Spots,
    /// The components that were asked for last, the latest at the end.
    pub(super) kept: Vec<Component>,
    /// How many records were read for components. Tests bound the work by it.
    pub(super) read: u64,
}

impl Index {
    /// Bytes held, counting capacity.
    pub(super) fn memory(&self) -> usize {
        let kept: usize = self.kept.iter().map(Component::memory).sum();
        self.postings.memory() + self.spots.memory() + kept
    }

    pub(super) fn note(&mut self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        for record in rows.records(frame) {
            if record.seq().0 == self.postings.covered() {
                self.postings.note(record);
            }
        }
        self.spots.note(rows, frame.body, place);
    }
}
