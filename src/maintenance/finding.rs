//! A finding: one thing that is wrong with a ledger, and where.

use serde::Serialize;

use crate::model::id::Seq;
use crate::store::layout::LOG;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFault {
    /// The file, as the ledger names it.
    pub file: String,
    /// Where in it, in bytes; `None` where only the record is known.
    pub offset: Option<u64>,
    /// The record, or the first that cannot be read.
    pub seq: Seq,
    /// What was found and what was expected.
    pub what: String,
    /// Whether a payload item is absent or present against the rule (H3).
    pub erasure: Option<ErasureFault>,
}

impl AuditFault {
    /// Whether two looks at a log have found the same fault. Of a file that is not the log only its name is compared: the
    /// records are counted differently each time a log has grown.
    pub(crate) fn is_same(&self, other: &AuditFault) -> bool {
        let is_log = self.file.starts_with(LOG);
        self.file == other.file && self.erasure == other.erasure && (!is_log || self.seq == other.seq)
    }
}

/// A payload item is absent if and only if an erasure covers it (H3). How that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErasureFault {
    /// It is absent, and no record erased it: it was taken out of the file.
    PayloadMissing,
    /// It is there, although this record erased it and the erasure is said to be done.
    ErasureIncomplete {
        /// The record of the erasure.
        erase: Seq,
    },
    /// It is there, its key is destroyed, and no record erased it: this copy of the ledger is older than its keys.
    OlderThanKeys,
    /// A snapshot covers less than this erasure, which is said to be done: it may hold what is erased.
    StaleSnapshot {
        /// The record of the erasure.
        erase: Seq,
    },
}

impl std::fmt::Display for AuditFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {}", self.seq)?;
        match self.offset {
            Some(offset) => write!(f, " ({} at byte {offset}): {}", self.file, self.what),
            None if self.file == LOG => write!(f, ": {}", self.what),
            None => write!(f, " ({}): {}", self.file, self.what),
        }
    }
}
