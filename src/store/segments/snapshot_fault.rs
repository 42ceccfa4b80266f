//! What is wrong with a snapshot: a fault of a file, as those of segments are.

use crate::fold::Unsound;
use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::model::id::LedgerId;

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
    DurabilityEvidence {
        /// What was seen.
        expected: Checkpoint,
    },
}

impl From<Unsound> for SnapshotFault {
    fn from(Unsound(what): Unsound) -> SnapshotFault {
        SnapshotFault::Malformed { what }
    }
}
