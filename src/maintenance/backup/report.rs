//! What a backup says when it is done, and why there is none.

use std::io;

use serde::Serialize;

use crate::log::chain::Checkpoint;
use crate::log::payload::{Keys, KeysError};
use crate::model::id::{LedgerId, Seq};
use crate::store::layout::{Identity, IdentityError};
use crate::store::segments::Fault;
use crate::store::storage::Storage;

/// Longest `LEDGER`; a tenant has at most 255 bytes.
pub(super) const LEDGER_BYTES: u64 = 4_096;
/// Written at a time.
pub(super) const WRITE_BYTES: usize = 1 << 20;

/// Gives the keys that open a ledger's items, if there are any.
pub(super) type Unlock<'u> = dyn Fn(&dyn Storage, &Identity) -> Result<Keys, KeysError> + 'u;

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Where the copy ends. Kept elsewhere, it proves later that the copy is whole.
    pub checkpoint: Checkpoint,
    /// Bytes of log that were there from an earlier backup, and are still what the source says.
    pub kept_bytes: u64,
    /// Bytes of log that were copied now.
    pub copied_bytes: u64,
    /// How many sealed items of the ledger were copied as they are, because no keys were given to open them: whether they are intact
    /// is not known. 0 with keys, and for a ledger that is not sealed.
    pub unopened_items: u64,
    /// Erasures that the copy holds and that are not finished in it, by record: its files may still hold what they cover. A
    /// later backup, or a writer that opens the copy, finishes them.
    pub pending_erasures: Vec<Seq>,
}

/// Why there is no backup. The copy was not touched, or ends at a checkpoint of the ledger; after `Io` or `Busy` it may be
/// [unfinished](IdentityError::Unfinished).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is not a ledger, or not one that this version can read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The keys that were given are not those of the ledger, or cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The source is damaged.
    #[error(
        "{place} is damaged and was not copied on: {fault}; see `verify`, and restore it from an older backup"
    )]
    Damaged {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// What was found.
        fault: Box<Fault>,
    },
    /// The source ends before what its `HEAD` saw durable.
    #[error(
        "{place} was rolled back: it ends with record count {found}, but its HEAD saw {expected}; find the newer copy"
    )]
    RolledBack {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The copy's place lies in a ledger, or the ledger in it.
    #[error("{dest} is, holds or lies in the ledger {place}; choose a place outside it")]
    Inside {
        /// The source ledger, as its storage describes itself.
        place: String,
        /// Where the copy should be.
        dest: String,
    },
    /// There is something else where the copy should be.
    #[error("{dest} holds {found}, which is not part of a backup; choose an empty or new directory")]
    NotEmpty {
        /// Where the copy should be.
        dest: String,
        /// What is there.
        found: String,
    },
    /// There is another ledger where the copy should be.
    #[error("{dest} is a copy of ledger {found}; expected {expected}; choose another directory")]
    OtherLedger {
        /// Where the copy should be.
        dest: String,
        /// Whose copy is there.
        found: LedgerId,
        /// Whose copy was to be made.
        expected: LedgerId,
    },
    /// The copy and the source have different histories.
    #[error(
        "{dest} holds another history from record {records} on; one of the two was written to on its own: keep both, \
         and make a new backup elsewhere"
    )]
    Forked {
        /// Where the copy is.
        dest: String,
        /// How many records they share.
        records: u64,
    },
    /// The copy has records that the source does not have.
    #[error(
        "{dest} has {records} records, more than the ledger's {source_records}: the ledger was rolled back, or it is the older of the two"
    )]
    Ahead {
        /// Where the copy is.
        dest: String,
        /// How many it has.
        records: u64,
        /// How many the source has.
        source_records: u64,
    },
    /// The copy is not what was copied.
    #[error(
        "the copy in {dest} is damaged: {what}, after {records} good record{}; make a new one elsewhere",
        if *.records == 1 { "" } else { "s" }
    )]
    DamagedCopy {
        /// Where the copy is.
        dest: String,
        /// How many of its records are good.
        records: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Another backup, or a writer, is at work on the copy.
    #[error("{dest} is in use by another backup or writer; wait for it")]
    Locked {
        /// Where the copy is.
        dest: String,
    },
    /// A writer rewrote segments each time the ledger was read. The copy may hold what was erased meanwhile.
    #[error(
        "{place} changed under the backup {looks} times in a row: a writer erases all the time; run the backup again when it is \
         done, for the copy may hold what was erased meanwhile"
    )]
    Busy {
        /// Which ledger.
        place: String,
        /// How often it was read.
        looks: u32,
    },
    /// A disk failed. Run the backup again: it continues where it stopped.
    #[error("{place}: {source}; run the backup again, it continues where it stopped")]
    Io {
        /// The ledger or the copy whose disk failed, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}
