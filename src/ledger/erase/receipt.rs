//! Receipts: what can be filed about an erasure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use crate::log::body::{Body, ErasureCompletion, Removal, RewrittenSegment};
use crate::log::digest::Digest;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::reader::Reader;
use crate::store::layout::{RECEIPTS, segment_name};
use crate::store::receipts;
use crate::store::segments::{Fault, FaultKind};
use serde::Serialize;

/// What can be filed about an erasure. It names no person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The erasure's record.
    pub seq: Seq,
    /// When it was asked for.
    pub time: Timestamp,
    /// Why; `None` if no reason was given, or it was erased.
    pub reason: Option<String>,
    /// The numbers of the ids whose texts and values it erased. They stay, as do links, events and counts.
    pub ids: Vec<u32>,
    /// The numbers of the devices whose texts it erased.
    pub devices: Vec<u32>,
    /// The records it names one by one: those that were rectified, whose reason was erased, or that shared ids said for its ids (D13).
    pub records: Vec<u32>,
    /// The keys it was limited to; none if it covered everything.
    pub keys: Vec<String>,
    /// How many events go with its ids (G2). They still do.
    pub events: u64,
    /// Whether nothing it covers is left in any file of this copy.
    pub done: bool,
    /// The record that says so; `None` before that, and in a ledger that follows a log: there a file beside the chain says it.
    pub done_seq: Option<Seq>,
    /// How many payload items it covers that no earlier one did; known when it is done, unless the file that says so is damaged.
    pub items: Option<u64>,
    /// The segments that were rewritten, for it and for those that were finished with it.
    pub segments: Vec<ReceiptSegment>,
}

/// A segment that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptSegment {
    /// The file, as the ledger names it.
    pub file: String,
    /// How long it was.
    pub bytes_before: u64,
    /// How long it was afterwards.
    pub bytes_after: u64,
    /// The digest of the file before.
    pub before: Digest,
    /// And afterwards; a later erasure changes it again.
    pub after: Digest,
}

impl From<&RewrittenSegment> for ReceiptSegment {
    fn from(segment: &RewrittenSegment) -> ReceiptSegment {
        let RewrittenSegment { first_seq, bytes_before, bytes_after, before, after } = *segment;
        let (before, after) = (Digest(before), Digest(after));
        ReceiptSegment { file: segment_name(first_seq), bytes_before, bytes_after, before, after }
    }
}

impl Reader {
    /// All erasures, in their order: what was asked, whether it is done, and what is left.
    ///
    /// # Errors
    /// [`Fault`] when they cannot be read back from the log.
    pub fn erasures(&self) -> Result<Vec<Receipt>, Fault> {
        self.receipts(|_| true)
    }

    /// Those of some erase records. First what was asked is read, then what completed it: each frame of either once.
    pub(crate) fn receipts(&self, is_wanted: impl Fn(u32) -> bool) -> Result<Vec<Receipt>, Fault> {
        let records = self.state().records(); // a reader as of a record knows later erasures too, and their records not
        let erasures = self.state().erasures();
        let list = erasures.list().filter(|(erase, _)| u64::from(*erase) < records);
        let list = list.filter(|(erase, _)| is_wanted(*erase));
        let list = list.map(|(erase, done)| (erase, done.filter(|done| u64::from(*done) < records)));
        let receipts = list.map(|(erase, done)| self.receipt(Seq(erase.into()), done));
        let mut receipts = receipts.collect::<Result<Vec<Receipt>, Fault>>()?;
        let beside = self.receipts_beside()?;
        let mut completions: BTreeMap<DoneBy, Completion> = BTreeMap::new();
        for receipt in &mut receipts {
            let by = match (receipt.done_seq, receipt.done) {
                (Some(done), _) => DoneBy::Record(done),
                (None, true) => {
                    let file = beside.partition_point(|last| u64::from(*last) < receipt.seq.0);
                    DoneBy::File(beside.get(file).copied().unwrap_or(u32::MAX))
                }
                (None, false) => continue,
            };
            let completion = match completions.entry(by) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.completion(by)?),
            };
            receipt.items = completion.items.get(&receipt.seq).copied();
            receipt.segments.clone_from(&completion.segments);
        }
        Ok(receipts)
    }

    /// The files beside the chain that say what is done, by their last erasures, ascending; none but in a ledger that follows a log.
    fn receipts_beside(&self) -> Result<Vec<u32>, Fault> {
        match self.followed() {
            Some(_) => receipts::list(&**self.log.storage()).map_err(|source| self.unreadable(source)),
            None => Ok(Vec::new()),
        }
    }

    fn unreadable(&self, source: io::Error) -> Fault {
        let records = self.checkpoint().records;
        Fault { file: RECEIPTS.to_owned(), offset: 0, records, kind: FaultKind::Io(source) }
    }

    /// What was asked, as its record says.
    pub(crate) fn receipt(&self, seq: Seq, done: Option<u32>) -> Result<Receipt, Fault> {
        let window = self.log.window(seq, self.state().erasures())?;
        let record = window.checked(seq)?;
        let Body::Erase(erasure) = record.body() else { return Err(self.differs("erasures")) }; // the fold lists erase records only
        let reason = record.item().and_then(|item| std::str::from_utf8(item).ok()).map(str::to_owned);
        Ok(Receipt {
            seq,
            time: erasure.time(),
            reason,
            ids: erasure.ids.iter().map(|id| id.0).collect(),
            devices: erasure.devices.iter().map(|device| device.device.0).collect(),
            events: erasure.ids.iter().map(|id| self.state().events_of_id(*id).events).sum(),
            keys: erasure.keys.iter().map(|key| self.key_name(*key)).collect(),
            records: erasure.records,
            done: done.is_some() || self.state().erasures().is_done_beside(seq.0 as u32), // a record that was found
            done_seq: done.map(|done| Seq(done.into())),
            items: None,
            segments: Vec::new(),
        })
    }

    /// What the record says that completed erasures, and those right before it: together they tell of one removal. Or what a file beside
    /// the chain says.
    fn completion(&self, done: DoneBy) -> Result<Completion, Fault> {
        let (mut completion, mut next) = (Completion::default(), None);
        match done {
            DoneBy::Record(seq) => next = Some(seq),
            DoneBy::File(last) => {
                let taken = receipts::read(&**self.log.storage(), self.ledger_id(), last);
                let taken = taken.map_err(|source| self.unreadable(source))?;
                let parts = taken.into_iter().flat_map(|taken| taken.removals.into_iter().rev());
                parts.for_each(|removal| completion.add(removal));
            }
        }
        while let Some(at) = next {
            let window = self.log.window(at, self.state().erasures())?;
            let Body::EraseDone(removal) = window.checked(at)?.body() else { break };
            completion.add(*removal);
            next = at.0.checked_sub(1).map(Seq);
        }
        Ok(completion)
    }
}

/// What says that erasures are done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DoneBy {
    /// A record.
    Record(Seq),
    /// The receipt whose last erasure is this one.
    File(u32),
}

/// What one removal did.
#[derive(Default)]
struct Completion {
    /// How many items, by erase record.
    items: BTreeMap<Seq, u64>,
    segments: Vec<ReceiptSegment>,
}

impl Completion {
    /// Adds the part right before those that were added.
    fn add(&mut self, removal: Removal) {
        for ErasureCompletion { erase, items } in removal.erasures {
            self.items.entry(Seq(erase.into())).or_insert(items);
        }
        self.segments.splice(0..0, removal.segments.iter().map(ReceiptSegment::from));
    }
}
