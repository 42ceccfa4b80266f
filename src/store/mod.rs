//! Where a ledger lives: files, headers, segments, texts by number, and what the end of a log means.
//!
//! Files, clocks and chance are used in this folder and nowhere below it.

pub(crate) mod block_index;
pub(crate) mod clock;
pub(crate) mod detached;
pub(crate) mod dictionary;
pub(crate) mod entropy;
#[cfg(feature = "encryption")]
pub(crate) mod keys;
pub(crate) mod layout;
pub(crate) mod postings;
pub(crate) mod receipts;
pub(crate) mod segments;
pub(crate) mod storage;
pub(crate) mod verdict;
