//! What a salvage found, as data.

use crate::log::chain::Checkpoint;
use crate::maintenance::finding::AuditFault;
use crate::maintenance::salvage::record::LostItem;
use crate::model::id::Seq;
use serde::Serialize;

/// Records by number, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeqRange {
    /// The first record of the range.
    pub from: Seq,
    /// The last record of the range.
    pub to: Seq,
}

/// Records that are known to have existed and cannot be proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The first lost record.
    pub from: Seq,
    /// The last lost record.
    pub to: Seq,
    /// Where they should be; `None` where no file is left that could hold them.
    pub place: Option<BytePlace>,
    /// Why they are lost.
    pub why: &'static str,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BytePlace {
    /// The file, as the ledger names it.
    pub file: String,
    /// Where they begin.
    pub offset: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// A text, or the values, of a record, that is there although it was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unerased {
    /// The record that wrote it.
    pub seq: Seq,
    /// The record that erased it.
    pub erase: Seq,
}

/// A witness that says how many records existed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Testimony {
    /// How many records.
    pub records: u64,
    /// Who says so, as [`DurabilityEvidence`](crate::snapshot::DurabilityEvidence) is shown.
    pub by: String,
}

/// What a salvage found. `intact` and `lost` together are records 0 to `records` - 1, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SalvageReport {
    /// How many records are known to have existed.
    pub records: u64,
    /// Where the part before the first fault ends: what the salvaged ledger is rolled back to, on purpose.
    pub prefix: Checkpoint,
    /// The first fault of the log.
    pub first_fault: Option<AuditFault>,
    /// Records that are proven, in the prefix or behind it.
    pub intact: Vec<SeqRange>,
    /// Records that are not.
    pub lost: Vec<Lost>,
    /// Texts and values of intact records that are not what was written.
    pub items_lost: Vec<LostItem>,
    /// Texts and values before the first fault that are there although their erasure is said to be done: a file from before the
    /// erasure lies in the log. The salvaged ledger holds them too.
    pub unerased: Vec<Unerased>,
    /// Bytes at the end that no witness calls durable and that prove nothing: a write that was cut off. Not
    /// lost.
    pub unacknowledged: Vec<BytePlace>,
    /// Frames that prove themselves but stand where another proven frame does: of another history, and left aside.
    pub contradicting_frames: u64,
    /// Who says that how many records existed.
    pub witnesses: Vec<Testimony>,
    /// Erasures proven behind the first fault: the salvaged ledger gets them again behind the prefix, without
    /// their reasons and without what key-scoped ones left of a value.
    pub carried_erasures: u64,
    /// Where the salvaged ledger ends: with the prefix, or behind the erasures that were carried.
    pub ledger: Checkpoint,
}

impl SalvageReport {
    /// Whether every record known is intact, with its texts and values, and without those that were erased.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.items_lost.is_empty() && self.unerased.is_empty()
    }
}
