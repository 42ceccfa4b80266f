//! Components: which records name an id or a device, and those records read one by one, to refold a component
//! or to answer a question about it.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};

use crate::store::segments::index::Index;

use crate::fold::Past;
use crate::log::component::{ComponentRecords, Node, nodes_of};
use crate::log::frame::Frame;
use crate::log::record::{Record, Rows};
use crate::model::id::Seq;
use crate::model::limits::MAX_COMPONENT_BYTES;
use crate::store::block_index::Spots;
use crate::store::layout::LOG;
use crate::store::postings::{Component, Postings};
use crate::store::segments::walk::{Checks, Passed};
use crate::store::segments::{Fault, FaultKind, Log, locked};

/// How many components are kept that retracts and splits asked for last: a run of corrections asks for few again and again.
const KEPT_COMPONENTS: usize = 8;
/// Most bytes of records of a component that is kept; of a larger one the records are read again each time.
const KEPT_BYTES: usize = 64 << 20;

impl Log {
    /// What folding a frame's records needs of the past: for each that refolds a component, that component's
    /// records before it. Empty for almost every frame.
    pub(crate) fn past(&self, frame: &Frame<'_>, rows: &Rows) -> Result<Past, Fault> {
        let mut past = Past::default();
        if !rows.refolds() {
            return Ok(past);
        }
        let first = frame.header.first_seq;
        let mut index = self.index(first)?;
        let Index { postings, spots, kept, read } = index.as_mut().expect("asked for just now");
        // Where in `past` the component of each that is kept is.
        let mut places: Vec<Option<usize>> = vec![None; kept.len()];
        for record in rows.records(frame) {
            let row = record.row;
            if row.refolds() {
                let seeds = nodes_of(record);
                let found = kept.iter().position(|component| component.serves(Node::Id(row.id), row.seq));
                let (mut component, place) = match found {
                    Some(found) => (kept.remove(found), places.remove(found)),
                    None => (Component::default(), None),
                };
                let (from, had) = (component.end, component.excerpt.records().len());
                let show = |seq, show: &mut dyn FnMut(Record<'_>)| {
                    *read += 1;
                    match rows.record(seq, frame.body, frame.payload) {
                        Some(record) => {
                            show(record);
                            Ok(())
                        }
                        None => self.show(seq, postings, spots, show),
                    }
                };
                if !postings.extend(&mut component, seeds, row.seq, MAX_COMPONENT_BYTES, show)? {
                    return Err(too_large(row.seq));
                }
                let reaches_back = component.excerpt.records().skip(had).any(|record| record.row.seq < from);
                let place = match place {
                    Some(place) if !reaches_back => place,
                    // Earlier records of the frame asked for it before it was joined with another.
                    Some(before) => past.next(Some((before, component.excerpt.first(had)))),
                    None => past.next(None),
                };
                past.expect(row.seq, place);
                Arc::make_mut(&mut component.excerpt).sort(had);
                kept.push(component);
                places.push(Some(place));
                if kept.len() > KEPT_COMPONENTS {
                    let oldest = kept.remove(0);
                    if let Some(place) = places.remove(0) {
                        past.hold(place, oldest.excerpt);
                    }
                }
            }
            if u64::from(row.seq) == postings.covered() {
                postings.note(record);
            }
        }
        for (component, place) in kept.iter().zip(places) {
            if let Some(place) = place {
                past.hold(place, Arc::clone(&component.excerpt));
            }
        }
        kept.retain(|component| component.excerpt.bytes() <= KEPT_BYTES);
        Ok(past)
    }

    /// Indexes a frame's records, if an index is kept and all before them are in it; else they are read when
    /// a question needs them.
    pub(crate) fn note(&self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        if let Some(index) = locked(&self.index).as_mut() {
            index.note(frame, rows, place);
        }
    }

    /// How many records were read for retracts and splits since the index was begun.
    #[cfg(test)]
    pub(crate) fn read_for_components(&self) -> u64 {
        locked(&self.index).as_ref().map_or(0, |index| index.read)
    }

    /// Forgets the index: records were noted that did not come to be, or lie elsewhere now.
    pub(crate) fn forget_index(&self) {
        *locked(&self.index) = None;
    }

    /// Keeps an index from here on, whether or not a question needs it.
    pub(crate) fn keep_index(&mut self) {
        *locked(&self.index) = Some(Index::default());
    }

    /// Whether records can be looked up by what they name without reading the log first.
    pub(crate) fn has_index(&self) -> bool {
        locked(&self.index).is_some()
    }

    /// Indexes the first `records` records.
    pub(crate) fn build_index(&self, records: u64) -> Result<(), Fault> {
        self.index(records).map(drop)
    }

    /// Takes over the index of a detached log, which lacks only what was written since: that is read when a question needs it.
    pub(crate) fn adopt_index(&self, detached: &Log) {
        *locked(&self.index) = locked(&detached.index).take();
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
    pub(crate) fn component(&self, seed: Node, end: u64) -> Result<ComponentRecords, Fault> {
        self.component_within([seed].into(), end, MAX_COMPONENT_BYTES)
    }

    /// The same for a retract or split that would be record `end`. A split may name ids of several components.
    pub(crate) fn component_before(&self, record: Record<'_>, end: u64) -> Result<ComponentRecords, Fault> {
        self.component_within(nodes_of(record), end, MAX_COMPONENT_BYTES)
    }

    fn component_within(
        &self,
        seeds: BTreeSet<Node>,
        end: u64,
        most: usize,
    ) -> Result<ComponentRecords, Fault> {
        let below = u32::try_from(end).expect("MAX_RECORDS bounds it");
        self.ask(end, |Index { postings, spots, .. }| {
            let found =
                postings.component(seeds, below, most, |seq, show| self.show(seq, postings, spots, show))?;
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
            if let Some(device) = postings.device_defined(seq) {
                near.number(seq, device);
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

    use crate::storage::Memory;
    use crate::{DistinctId, Ledger, LedgerOptions, Operation, Policy, Source, Target, Tenant, Timestamp};

    /// However many corrections ask for a component: one by one, on opening, and when the log is verified.
    #[test]
    fn corrections_read_each_record_of_their_component_once() {
        let storage = Arc::new(Memory::new());
        let mut ledger =
            LedgerOptions::new().create_in(storage.clone(), Tenant::default(), Policy::default()).unwrap();
        let at = Timestamp::from_micros(0).unwrap();
        let link = |n: usize| {
            let phone = format!("phone {n}");
            Operation::identify(at, DistinctId::new("ann").unwrap(), Some(Source::new(&phone)))
        };
        let links: Vec<Operation> = (0..50).map(link).collect();
        let links: Vec<Seq> =
            ledger.append_batch(&links).unwrap().iter().map(|appended| appended.seq().unwrap()).collect();
        let retract = |seq: &Seq| Operation::retract(at, Target::Record(*seq));
        for seq in &links[..30] {
            let _ = ledger.append(retract(seq)).unwrap();
        }
        drop(ledger.append_batch(&links[30..].iter().map(retract).collect::<Vec<_>>()).unwrap());
        // The policy, 50 links, and each retract for those behind it.
        let most = 1 + 50 + 50;
        assert!(
            ledger.reader.log.read_for_components() <= most,
            "{}",
            ledger.reader.log.read_for_components()
        );
        ledger.flush().unwrap();
        let opened = LedgerOptions::new().read_in(storage).unwrap();
        assert!(
            (1..=most).contains(&opened.reader().log.read_for_components()),
            "{}",
            opened.reader().log.read_for_components()
        );
    }

    /// One frame links a component to another between its corrections.
    #[test]
    fn corrections_of_a_frame_know_what_their_component_was_before_each() {
        let at = Timestamp::from_micros(0).unwrap();
        let id = |text: &str| DistinctId::new(text).unwrap();
        let merge = |a: &str, b: &str| Operation::merge_dangerously(at, id(a), Source::new(b));
        let operations = [merge("ann", "a1"), merge("ann", "a2"), merge("bob", "b1"), merge("bob", "b2")];
        let digests = [1, 9].map(|batch| {
            let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
            let appended = ledger.append_batch(&operations).unwrap();
            let seq = |place: usize| appended[place].seq().unwrap();
            let retract = |place: usize| Operation::retract(at, Target::Record(seq(place)));
            let run =
                [retract(0), merge("ann", "bob"), retract(2), merge("ann", "cat"), retract(1), retract(3)];
            for operations in run.chunks(batch) {
                drop(ledger.append_batch(operations).unwrap());
            }
            ledger.reader().state().digest()
        });
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn a_component_has_room_up_to_the_limit_and_not_a_byte_more() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let at = Timestamp::from_micros(0).unwrap();
        for phone in ["a", "b", "c"] {
            let ann = DistinctId::new("ann").unwrap();
            let _ = ledger.append(Operation::identify(at, ann, Some(Source::new(phone)))).unwrap();
        }
        let (log, seed) = (&ledger.reader.log, Node::Id(ledger.reader().id_no("b").unwrap()));
        let end = ledger.checkpoint().records;
        let whole = log.component(seed, end).unwrap();
        assert_eq!(whole.records().len(), 4, "the policy and three links");
        let within = |most| log.component_within([seed].into(), end, most);
        assert_eq!(within(whole.bytes()).unwrap().records().len(), 4);
        let kind = within(whole.bytes() - 1).unwrap_err().kind;
        assert!(matches!(kind, FaultKind::ComponentTooLarge { seq } if seq == end - 1));
    }
}
