//! Components: which records name an id or a device, and those records read one by one, to refold a component
//! or to answer a question about it.

use std::sync::MutexGuard;

use crate::directory::LOG;
use crate::excerpt::{Excerpt, Node};
use crate::frame::Frame;
use crate::id::Seq;
use crate::limits::MAX_COMPONENT_BYTES;
use crate::log::walk::{Checks, Passed};
use crate::log::{Fault, FaultKind, Log, locked};
use crate::postings::Postings;
use crate::row::{Record, Rows};
use crate::spots::Spots;
use crate::state::Past;

/// How the records of a component are found and read.
#[derive(Debug, Default)]
pub(super) struct Index {
    postings: Postings,
    spots: Spots,
}

impl Index {
    /// Bytes held, counting capacity.
    pub(super) fn memory(&self) -> usize {
        self.postings.memory() + self.spots.memory()
    }

    fn note(&mut self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        for row in &rows.rows {
            if u64::from(row.seq) == self.postings.covered() {
                self.postings.note(Record::new(row, rows, frame.body, frame.payload));
            }
        }
        self.spots.note(rows, frame.body, place);
    }
}

impl Log {
    /// What folding a frame's records needs of the past: for each that refolds a component, that component's
    /// records before it. Empty for almost every frame.
    pub(crate) fn past(&self, frame: &Frame<'_>, rows: &Rows) -> Result<Past, Fault> {
        let mut past = Past::default();
        if !rows.refolds {
            return Ok(past);
        }
        let first = frame.header.first_seq;
        let mut index = self.index(first)?;
        let Index { postings, spots } = index.as_mut().expect("asked for just now");
        for row in &rows.rows {
            if row.refolds() {
                let read = |seq, show: &mut dyn FnMut(Record<'_>)| match rows.at(seq) {
                    Some(row) => {
                        show(Record::new(row, rows, frame.body, frame.payload));
                        Ok(())
                    }
                    None => self.show(seq, postings, spots, show),
                };
                let before = postings.component(Node::Id(row.id), row.seq, MAX_COMPONENT_BYTES, read)?;
                past.insert(row.seq, before.ok_or_else(|| too_large(row.seq))?);
            }
            if u64::from(row.seq) == postings.covered() {
                postings.note(Record::new(row, rows, frame.body, frame.payload));
            }
        }
        Ok(past)
    }

    /// Indexes a frame's records, if an index is kept and all before them are in it; else they are read when
    /// a question needs them.
    pub(crate) fn note(&self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        if let Some(index) = locked(&self.index).as_mut() {
            index.note(frame, rows, place);
        }
    }

    /// Forgets the index: records were noted that did not come to be, or lie elsewhere now.
    pub(crate) fn forget_index(&self) {
        *locked(&self.index) = None;
    }

    /// Keeps an index from here on, whether or not a question needs it.
    pub(crate) fn keep_index(&mut self) {
        *locked(&self.index) = Some(Index::default());
    }

    /// The index of at least the first `records` records; those not covered yet are read now.
    fn index(&self, records: u64) -> Result<MutexGuard<'_, Option<Index>>, Fault> {
        let mut kept = locked(&self.index);
        let index = kept.get_or_insert_default();
        let covered = index.postings.covered();
        if covered < records {
            let (chain, start) = self.before(covered);
            let checks = Checks { commitments: false, open: false, upto: Some(records), witnesses: &[] };
            self.check(chain, start, checks, |Passed { frame, rows, place, .. }| {
                index.note(&frame, rows, (place.segment, place.offset));
                Ok(true)
            })?;
        }
        Ok(kept)
    }

    /// Asks the index of the first `records` records.
    fn ask<T>(&self, records: u64, ask: impl FnOnce(&Index) -> Result<T, Fault>) -> Result<T, Fault> {
        ask(self.index(records)?.as_ref().expect("asked for just now"))
    }

    /// The records below `end` of the component that holds `seed`, and all policies before it.
    pub(crate) fn component(&self, seed: Node, end: u64) -> Result<Excerpt, Fault> {
        self.component_within(seed, end, MAX_COMPONENT_BYTES)
    }

    fn component_within(&self, seed: Node, end: u64, most: usize) -> Result<Excerpt, Fault> {
        let below = u32::try_from(end).expect("MAX_RECORDS bounds it");
        self.ask(end, |Index { postings, spots }| {
            let found =
                postings.component(seed, below, most, |seq, show| self.show(seq, postings, spots, show))?;
            found.ok_or_else(|| too_large(below.saturating_sub(1)))
        })
    }

    /// The records below `end` that name an id or a device, ascending. The definition of an id is not among
    /// them.
    pub(crate) fn naming(&self, node: Node, end: u64) -> Result<Vec<u32>, Fault> {
        let mut naming: Vec<u32> = self.ask(end, |Index { postings, .. }| {
            Ok(postings.of(node).filter(|seq| u64::from(*seq) < end).collect())
        })?;
        naming.reverse();
        Ok(naming)
    }

    /// Shows a record for the sake of its body: nothing of its payload is hidden, so it stays apart from [`Log::window`].
    fn show(
        &self,
        seq: u32,
        postings: &Postings,
        spots: &Spots,
        show: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), Fault> {
        let file = |segment: usize| self.segments.get(segment).map(|segment| segment.name.clone());
        if let Some(mut near) = spots.read(seq, &*self.storage, file) {
            if let (Some(device), Some(row)) = (postings.device_defined(seq), near.row_mut(seq)) {
                row.number(device);
            }
            show(near.record(seq).expect("a spot holds the record it was read for"));
            return Ok(());
        }
        let seq = Seq(seq.into());
        let mut shown = locked(&self.shown);
        if shown.as_ref().is_none_or(|window| window.record(seq).is_none()) {
            *shown = Some(self.read_window(seq)?);
        }
        let window = shown.as_ref().expect("read just now");
        show(window.record(seq).expect("a window holds the record it was read for"));
        Ok(())
    }
}

fn too_large(seq: u32) -> Fault {
    let (seq, file) = (u64::from(seq), LOG.to_owned());
    Fault { file, offset: 0, records: seq, kind: FaultKind::ComponentTooLarge { seq } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};

    #[test]
    fn a_component_has_room_up_to_the_limit_and_not_a_byte_more() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let at = Timestamp::from_micros(0).unwrap();
        for phone in ["a", "b", "c"] {
            let ann = DistinctId::new("ann").unwrap();
            ledger.append(Operation::identify(at, ann, Some(Source::new(phone)))).unwrap();
        }
        let (log, seed) = (&ledger.log, Node::Id(ledger.id_no("b").unwrap()));
        let end = ledger.checkpoint().records;
        let whole = log.component(seed, end).unwrap();
        assert_eq!(whole.records().len(), 4, "the policy and three links");
        let within = |most| log.component_within(seed, end, most);
        assert_eq!(within(whole.bytes()).unwrap().records().len(), 4);
        let kind = within(whole.bytes() - 1).unwrap_err().kind;
        assert!(matches!(kind, FaultKind::ComponentTooLarge { seq } if seq == end - 1));
    }
}
