//! Snapshots: what a ledger knows at one record, in a file, so that opening need not fold the log from its first record.
//!
//! Caches, and nothing else: a log without them means the same, and whatever is odd about one is a reason to ignore it. The
//! file holds the state's canonical bytes and what the shell needs beside it: texts, operation ids, places in the log.
//! `docs/format.md` has the byte tables.

mod check;
mod make;
mod read;
mod resume;
mod site;

use std::io;

use crate::store::layout::{SNAPSHOTS, covered_by};
use crate::store::segments::SnapshotFault;
use crate::store::storage::Storage;

pub(crate) use check::Checks;
pub(crate) use make::{Begun, make, purge};
pub(crate) use resume::{Resumed, resume};
pub(crate) use site::Site;

const MAGIC: [u8; 8] = *b"\x89ILP\r\n\x1a\n";
const HEADER_BYTES: usize = 232;
const MARK_BYTES: usize = 76;
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

/// The snapshots there are, newest first. Files that are none are not looked at.
pub(crate) fn list(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = storage.list(SNAPSHOTS)?.iter().filter_map(|name| covered_by(name)).collect();
    found.sort_unstable_by_key(|records| std::cmp::Reverse(*records));
    Ok(found)
}
