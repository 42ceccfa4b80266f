//! Faults: where a log is not what it should be, and what was found there.

use std::io;

use crate::log::chain::{ChainError, Checkpoint};
use crate::model::id::LedgerId;
use crate::model::limits::MAX_COMPONENT_BYTES;
use crate::store::detached::Ended;
use crate::store::layout::FORMAT_VERSION;
use crate::store::segments::SnapshotFault;

/// The first fault of a log: where it is and what was found.
#[derive(Debug, thiserror::Error)]
#[error("{file} at byte {offset}, after {records} good record{}: {kind}", if *.records == 1 { "" } else { "s" })]
pub struct Fault {
    /// The file, as the ledger names it.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many records before it are good.
    pub records: u64,
    /// What is wrong.
    #[source]
    pub kind: FaultKind,
}

impl Fault {
    /// Whether nothing is wrong, and the reader's time is over: since it was opened or detached, something was erased from the log, or the ledger
    /// that it was detached from was closed. Another reader answers.
    pub fn is_ended(&self) -> bool {
        matches!(&self.kind, FaultKind::Io(error) if error.get_ref().is_some_and(|error| error.is::<Ended>()))
    }
}

/// What is wrong at a place in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The bytes there are not a frame, or not the frame that belongs there.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The segment's header is damaged or cut.
    #[error("the segment's header is damaged")]
    SegmentHeader,
    /// The segment is of another format version.
    #[error(
        "the segment has format version {found}; this version reads {FORMAT_VERSION} only. Export its ledger's operations with the \
         program that wrote it, and import them into a new ledger"
    )]
    SegmentVersion {
        /// The format version that stands there.
        found: u16,
    },
    /// The segment belongs to another ledger.
    #[error("the segment belongs to ledger {found}; expected {expected}")]
    ForeignSegment {
        /// Whose it is.
        found: LedgerId,
        /// Whose it should be.
        expected: LedgerId,
    },
    /// The segment does not follow what is before it.
    #[error(
        "the segment continues a log of {found} records; expected {expected}: a segment is missing or in the wrong place"
    )]
    WrongSegment {
        /// The first record the segment announces.
        found: u64,
        /// The record due.
        expected: u64,
    },
    /// The segment follows another history.
    #[error("the segment does not follow the frame before it: the log was spliced")]
    Spliced,
    /// The log does not pass through a head that was seen before.
    #[error("another history: {expected} was seen, and no frame here ends with it")]
    Forked {
        /// The head that was seen.
        expected: Checkpoint,
    },
    /// A text is not valid or defined twice; no writer does that.
    #[error("record {seq} defines a text that is out of bounds, or that has a number already")]
    Text {
        /// The defining record.
        seq: u64,
    },
    /// A payload item is gone, and no record erased it.
    #[error("the payload of record {seq} is missing, and no record erased it")]
    PayloadMissing {
        /// The seq of the record whose payload item is missing.
        seq: u64,
    },
    /// A payload item is there, although its erasure is said to be complete.
    #[error(
        "the payload of record {seq} is there, although record {erase} erased it and the erasure is said to be done"
    )]
    ErasureIncomplete {
        /// The seq of the record whose payload item is there.
        seq: u64,
        /// The seq of the erasure.
        erase: u64,
    },
    /// More records hang together than can be refolded (H1, H2).
    #[error(
        "the records that hang together with record {seq} have more than {MAX_COMPONENT_BYTES} bytes, which is the most that can be refolded"
    )]
    ComponentTooLarge {
        /// The last record that may be one of them.
        seq: u64,
    },
    /// The ledger was opened from a snapshot, and the log says something else.
    #[error("{why}, and the ledger was opened from it; remove this file, or open without snapshots")]
    Unproven {
        /// In what the snapshot differs from the log.
        why: SnapshotFault,
    },
    /// There is no log at all.
    #[error("there is no segment; expected at least log/00000000000000000000.seg")]
    NoSegment,
    /// The disk failed. That is never taken for the end of the log.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}
