//! Receipts: what can be filed about an erasure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::log::body::{Body, ErasureCompletion, RewrittenSegment};
use crate::log::digest::Digest;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::query::reader::Reader;
use crate::store::layout::segment_name;
use crate::store::segments::Fault;
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
    /// The record that says that nothing it covers is left in any file; `None` before that.
    pub done_seq: Option<Seq>,
    /// How many payload items it covers that no earlier one did; known when it is done.
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
        let list = self.state().erasures().list().filter(|(erase, _)| u64::from(*erase) < records);
        let list = list.filter(|(erase, _)| is_wanted(*erase));
        let list = list.map(|(erase, done)| (erase, done.filter(|done| u64::from(*done) < records)));
        let receipts = list.map(|(erase, done)| self.receipt(Seq(erase.into()), done));
        let mut receipts = receipts.collect::<Result<Vec<Receipt>, Fault>>()?;
        let mut completions: BTreeMap<Seq, Completion> = BTreeMap::new();
        for receipt in &mut receipts {
            let Some(done) = receipt.done_seq else { continue };
            let completion = match completions.entry(done) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.completion(done)?),
            };
            receipt.items = completion.items.get(&receipt.seq).copied();
            receipt.segments.clone_from(&completion.segments);
        }
        Ok(receipts)
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
            done_seq: done.map(|done| Seq(done.into())),
            items: None,
            segments: Vec::new(),
        })
    }

    /// What the record says that completed erasures, and those right before it: together they tell of one removal.
    pub(crate) fn completion(&self, done: Seq) -> Result<Completion, Fault> {
        let (mut completion, mut next) = (Completion::default(), Some(done));
        while let Some(at) = next {
            let window = self.log.window(at, self.state().erasures())?;
            let Body::EraseDone(removal) = window.checked(at)?.body() else { break };
            for ErasureCompletion { erase, items } in removal.erasures {
                completion.items.entry(Seq(erase.into())).or_insert(items);
            }
            completion.segments.splice(0..0, removal.segments.iter().map(ReceiptSegment::from));
            next = at.0.checked_sub(1).map(Seq);
        }
        Ok(completion)
    }
}

/// What one removal did.
#[derive(Default)]
pub(crate) struct Completion {
    /// How many items, by erase record.
    pub(crate) items: BTreeMap<Seq, u64>,
    pub(crate) segments: Vec<ReceiptSegment>,
}
