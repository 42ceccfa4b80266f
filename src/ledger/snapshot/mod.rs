//! Snapshots: what a ledger knows at one record, in a file, so that opening need not fold the log from its first record.
//!
//! Caches, and nothing else: a log without them means the same, and whatever is odd about one is a reason to ignore it. The
//! file holds the state's canonical bytes and what the shell needs beside it: texts, operation ids, places in the log.
//! `docs/format.md` has the byte tables.

mod check;
mod make;
mod prove;
mod read;
mod resume;

use std::io;

use crate::fold::Unsound;
use crate::ledger::AppendError;
use crate::ledger::erase::EraseError;
use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::model::id::LedgerId;
use crate::store::layout::{SNAPSHOTS, WHOLE, covered_by};
use crate::store::storage::Storage;

pub(crate) use check::Checks;
pub(crate) use make::{make, purge};
pub(crate) use prove::Proof;
pub(crate) use resume::{Resumed, resume};

const MAGIC: [u8; 8] = *b"\x89ILP\r\n\x1a\n";
const HEADER_BYTES: usize = 224;
const MARK_BYTES: usize = 68;
const ENTRY_BYTES: usize = 8;
const DIGEST_BYTES: usize = 32;
/// Read or written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The file, as the ledger names it.
    pub file: String,
    /// How many records it covers.
    pub records: u64,
    /// How long it is.
    pub bytes: u64,
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

/// A snapshot that opening did not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredSnapshot {
    /// The file, as the ledger names it.
    pub file: String,
    /// What is wrong with it.
    pub why: SnapshotFault,
}

impl std::fmt::Display for IgnoredSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// The file cannot be read.
    #[error("it cannot be read: {what}")]
    Unreadable {
        /// What the disk said.
        what: String,
    },
    /// The bytes are not those that were written.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What shows it.
        what: &'static str,
    },
    /// Another version wrote it.
    #[error("its {what} is {found}; expected {expected}")]
    Version {
        /// Which of the versions in the header differs.
        what: &'static str,
        /// What stands there.
        found: u32,
        /// What this program writes.
        expected: u32,
    },
    /// It was made of another ledger.
    #[error("it was made of ledger {found}; expected {expected}")]
    Foreign {
        /// Whose it is.
        found: LedgerId,
        /// Whose it should be.
        expected: LedgerId,
    },
    /// It is whole and says what no writer writes.
    #[error("it is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The state in it is not the one it was made of.
    #[error("its state has digest {found}; expected {expected}")]
    State {
        /// What its bytes give.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// It does not hold what the log says.
    #[error("its {what} are not those of the log")]
    Differs {
        /// What of it.
        what: &'static str,
    },
    /// The log ends before its place: records that were durable are gone.
    #[error("it was made of {expected} durable records, but the log ends with {found}: it was rolled back")]
    Ahead {
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The log has no frame that ends where the snapshot was made.
    #[error("the log does not pass through {expected}, where it was made")]
    Elsewhere {
        /// Where the snapshot was made.
        expected: Checkpoint,
    },
    /// The log does not pass through a place that `HEAD` saw, as far as the snapshot tells where to look.
    #[error("from it the log cannot be shown to pass through {expected}, which was seen before")]
    Witness {
        /// What was seen.
        expected: Checkpoint,
    },
}

impl From<Unsound> for SnapshotFault {
    fn from(Unsound(what): Unsound) -> SnapshotFault {
        SnapshotFault::Malformed { what }
    }
}

/// The name of the snapshot that covers `records` records.
pub(crate) fn name(records: u64) -> String {
    format!("{SNAPSHOTS}/{records:020}{WHOLE}")
}

/// The snapshots there are, newest first. Files that are none are not looked at.
pub(crate) fn list(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = storage.list(SNAPSHOTS)?.iter().filter_map(|name| covered_by(name)).collect();
    found.sort_unstable_by_key(|records| std::cmp::Reverse(*records));
    Ok(found)
}
