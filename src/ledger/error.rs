//! Why a ledger did not do what it was asked: append, erase, snapshot.

use std::io;

use crate::log::payload::KeysError;
use crate::model::id::{PersonId, Seq};
use crate::model::limits::{
    MAX_BATCH_OPERATIONS, MAX_FRAME_BYTES, MAX_FRAME_RECORDS, MAX_OPERATION_KEYS, MAX_PERSON_KEYS,
    MAX_REASON_BYTES, MAX_RECORDS, MAX_WAITING_RECORDS,
};
use crate::model::operation::OperationError;
use crate::model::policy::PolicyError;
use crate::store::segments::{Fault, FaultKind};

/// Why operations were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One operation is out of bounds. Nothing of the batch was recorded.
    #[error("operation {index}: {source}")]
    Operation {
        /// Its place in the batch, from 0.
        index: usize,
        /// Which bound the operation breaks.
        source: OperationError,
    },
    /// One operation could give a person too many properties. Nothing of the batch was recorded.
    #[error(
        "operation {index}: the person could have {found} property keys; expected at most {MAX_PERSON_KEYS}"
    )]
    TooManyPersonKeys {
        /// Its place in the batch, from 0.
        index: usize,
        /// How many: exact for a single operation, an upper bound inside a batch.
        found: usize,
    },
    /// The batch is too long or too large. Nothing was recorded; send it in parts.
    #[error(
        "the batch has {operations} operations in {records} records of {bytes} bytes; expected at most {MAX_BATCH_OPERATIONS}, {MAX_FRAME_RECORDS} and {MAX_FRAME_BYTES}"
    )]
    BatchTooLarge {
        /// How many operations.
        operations: usize,
        /// How many records they need.
        records: u64,
        /// How many bytes they need.
        bytes: u64,
    },
    /// The policy is out of its bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The ledger follows a log, and takes nothing that did not come from it. Nothing was recorded.
    #[error(
        "this ledger follows the log `{log}`, up to position {position} so far, and records nothing else; send it to that log instead"
    )]
    Follows {
        /// The name of the log.
        log: String,
        /// Up to which position it is in the ledger.
        position: u64,
    },
    /// The ledger is full.
    #[error("the ledger holds {MAX_RECORDS} records, which is the limit; begin another")]
    Full,
    /// An earlier record, needed to tell a duplicate from a conflict, cannot be read back. Nothing was recorded.
    #[error("the log cannot be read back: {0}")]
    Unreadable(Box<Fault>),
    /// The ledger was opened from a snapshot, and the log says something else. Retracts and splits are held against the log first.
    #[error("{0}; nothing was recorded")]
    Unproven(Box<Fault>),
    /// The disk failed while the operations were written: whether they are recorded is known only after reopening.
    #[error("whether record {seq} and later ones are durable is unknown: {source}; reopen the ledger")]
    Indeterminate {
        /// The first record in doubt.
        seq: u64,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Too many records wait for the disk. Nothing was recorded; try again a little later.
    #[error(
        "{waiting} records wait for the disk; expected fewer than {MAX_WAITING_RECORDS}; try again a little later"
    )]
    Busy {
        /// How many records wait.
        waiting: u64,
    },
    /// An earlier write failed; nothing more is written through this handle.
    #[error("this ledger stopped writing after a failure ({cause}); reopen it")]
    Poisoned {
        /// The first failure of this handle, as text.
        cause: String,
    },
}

impl AppendError {
    /// Whether it is about the operations: fewer, or others, could be recorded.
    #[must_use]
    pub fn is_about_operations(&self) -> bool {
        matches!(
            self,
            AppendError::Operation { .. }
                | AppendError::TooManyPersonKeys { .. }
                | AppendError::BatchTooLarge { .. }
        )
    }

    /// The same about the operation at another place of a batch.
    pub(crate) fn of_operation(mut self, place: usize) -> AppendError {
        if let AppendError::Operation { index, .. } | AppendError::TooManyPersonKeys { index, .. } = &mut self
        {
            *index = place;
        }
        self
    }
}

/// Why something is not erased, or not out of the files yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// There is no such id; one that is erased has no text to be found by.
    #[error("request {index}: the ledger knows no distinct id `{id}`; nothing was erased")]
    UnknownId {
        /// The request's place in the list, from 0.
        index: usize,
        /// The distinct id that was asked for.
        id: String,
    },
    /// The request names no id.
    #[error("request {index}: it names no distinct id; nothing was erased")]
    NoIds {
        /// The request's place in the list, from 0.
        index: usize,
    },
    /// There is no such person.
    #[error("request {index}: the ledger knows no person {id}; nothing was erased")]
    UnknownPerson {
        /// The request's place in the list, from 0.
        index: usize,
        /// The public id that was asked for.
        id: PersonId,
    },
    /// The record is not an erasure, or it gave no reason.
    #[error("request {index}: record {seq} gives no reason for an erasure; nothing was erased")]
    NoReason {
        /// The request's place in the list, from 0.
        index: usize,
        /// The record that was asked for.
        seq: Seq,
    },
    /// No record of the subject has a value of these keys.
    #[error(
        "request {index}: no record has a value of these keys that is not erased yet; nothing was erased"
    )]
    NoValues {
        /// The request's place in the list, from 0.
        index: usize,
    },
    /// It names too many keys.
    #[error(
        "request {index}: it names {found} property keys; expected at most {MAX_OPERATION_KEYS}; nothing was erased"
    )]
    TooManyKeys {
        /// The request's place in the list, from 0.
        index: usize,
        /// How many of them the ledger knows.
        found: usize,
    },
    /// A log delivered it, and it does not fit one frame. Each request of an ordinary ledger takes as many frames as it needs.
    #[error(
        "request {index}: it takes {records} records of {bytes} bytes; in a ledger that follows a log expected at most {MAX_FRAME_RECORDS} and {MAX_FRAME_BYTES}; \
         nothing was erased: name fewer ids, or the ids without keys"
    )]
    TooLarge {
        /// The request's place in the list, from 0.
        index: usize,
        /// How many records it needs.
        records: u64,
        /// How many bytes they need.
        bytes: u64,
    },
    /// The reason is too long.
    #[error(
        "request {index}: the reason has {found} bytes; expected at most {MAX_REASON_BYTES}; nothing was erased"
    )]
    LongReason {
        /// The request's place in the list, from 0.
        index: usize,
        /// How long it is.
        found: usize,
    },
    /// The records could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The key ring cannot be stored. Nothing was erased.
    #[error("{0}; nothing was erased")]
    Keys(KeysError),
    /// What is erased is hidden and out of the log, and its keys could not be destroyed. Finishing can be tried again, and opening does.
    #[error(
        "{0}. What was to be erased is hidden and out of the log; its keys are not destroyed yet, the next opening for writing tries again"
    )]
    KeysLeft(KeysError),
    /// The log cannot be read back.
    #[error("the log cannot be read back: {0}")]
    Unreadable(Box<Fault>),
    /// The ledger was opened from a snapshot, and the log says something else: what the request is about is not certain.
    #[error("{0}; nothing was erased")]
    Unproven(Box<Fault>),
    /// What is erased could not be taken out of every file. Every answer says that it is erased; finishing can be tried again,
    /// and opening does.
    #[error("what is erased is not out of every file yet: {source}; the next opening continues with it")]
    Removal {
        /// The error of the operating system.
        source: io::Error,
    },
}

impl EraseError {
    /// Whether it is about the request, and so the same for every ledger with these records; any other error is one of this ledger's files.
    #[must_use]
    pub fn is_about_request(&self) -> bool {
        match self {
            EraseError::UnknownId { .. }
            | EraseError::NoIds { .. }
            | EraseError::UnknownPerson { .. }
            | EraseError::NoReason { .. }
            | EraseError::NoValues { .. }
            | EraseError::TooManyKeys { .. }
            | EraseError::TooLarge { .. }
            | EraseError::LongReason { .. } => true,
            EraseError::Append(_)
            | EraseError::Keys(_)
            | EraseError::KeysLeft(_)
            | EraseError::Unreadable(_)
            | EraseError::Unproven(_)
            | EraseError::Removal { .. } => false,
        }
    }
}

impl From<Fault> for EraseError {
    fn from(fault: Fault) -> EraseError {
        match fault.kind {
            FaultKind::Unproven { .. } => EraseError::Unproven(Box::new(fault)),
            _ => EraseError::Unreadable(Box::new(fault)),
        }
    }
}

/// Why no snapshot was made. The ledger itself continues, unless the flush before it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The records to cover could not be made durable.
    #[error(transparent)]
    Flush(#[from] AppendError),
    /// An erasure that was begun could not be finished, and a snapshot would hold what it erases.
    #[error("{0}, and no snapshot is made before that is done")]
    Erasure(Box<EraseError>),
    /// The file could not be written, or older ones not be removed. The ledger is as it was.
    #[error("the snapshot {file} could not be made: {source}")]
    Io {
        /// The file of the snapshot, named from the ledger's directory.
        file: String,
        /// The error of the operating system.
        source: io::Error,
    },
}
