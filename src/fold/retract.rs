//! A retract (H1): which records count as never asked.

use std::collections::BTreeSet;

use crate::fold::outcome::Refusal;
use crate::log::component::ComponentRecords;
use crate::log::kind::Kind;
use crate::log::record::{Record, Row};
use crate::model::id::Seq;

/// H1: whether a record may be retracted now.
pub(super) fn refuse_retract(before: &ComponentRecords, row: &Row, target: u32) -> Option<Refusal> {
    let fitting =
        before.record(target).is_some_and(|record| record.row.is_operation() && record.row.id == row.id);
    if !fitting {
        return Some(Refusal::NotRetractable { by: Seq(row.seq.into()) });
    }
    let by = before.retracting(target)?;
    Some(Refusal::AlreadyRetracted { by: Seq(by.into()) })
}

impl ComponentRecords {
    /// The records that count as never asked (H1). A retract that is itself retracted retracts nothing.
    pub(crate) fn retracted(&self) -> BTreeSet<u32> {
        let marked = self.marked_retracted();
        self.records()
            .zip(marked)
            .filter_map(|(record, retracted)| retracted.then_some(record.row.seq))
            .collect()
    }

    /// The same, as a mark for each record.
    pub(super) fn marked_retracted(&self) -> Vec<bool> {
        let mut retracted = vec![false; self.records().len()];
        // From the end: what retracts a record stands behind it.
        for (place, record) in self.records().enumerate().rev() {
            if record.row.kind == Kind::Retract
                && !retracted[place]
                && let Some(target) = self.retracts(record)
            {
                retracted[target] = true;
            }
        }
        retracted
    }

    /// The place of the record that a retract names, if it can be retracted.
    pub(super) fn retracts(&self, record: Record<'_>) -> Option<usize> {
        let place = self.place(record.row.target()?)?;
        let found = self.row(place);
        (found.is_operation() && found.id == record.row.id).then_some(place)
    }

    /// The record by which `target` is retracted.
    pub(super) fn retracting(&self, target: u32) -> Option<u32> {
        let of =
            |record: &Record<'_>| record.row.target() == Some(target) && self.retracts(*record).is_some();
        if !self.records().any(|record| of(&record)) {
            return None; // most: nothing was retracted twice
        }
        let retracted = self.marked_retracted();
        let mut standing = self.records().zip(retracted).filter(|(_, retracted)| !retracted);
        standing.find(|(record, _)| of(record)).map(|(record, _)| record.row.seq)
    }
}
