#![doc = include_str!("../README.md")]
//!
//! # The layers
//!
//! | layer | files | knows nothing of |
//! |---|---|---|
//! | 0 vocabulary | `limits id time value operation policy visible` | the log |
//! | 1 the log | `digest codec frame record row chain` | persons |
//! | 2 the fold | `state/` | storage, texts, values |
//! | 3 the walk | `replay` | disks |
//! | 4 the shell | `storage/ directory entropy dictionary log mention answer book page as_of explain why history whynot lists view content diff matching compare what_if snapshot/ verdict recovery audit backup/ salvage/ draft budget writer ledger removal erasure find stats preview reader options device shared` | SDKs |
//! | beside | `import/ graph/ testing/` | each other |
//!
//! Imports point inward; `tests/layering.rs` checks it. `docs/architecture.md` is the book.

mod answer;
mod as_of;
mod audit;
mod backup;
mod book;
mod budget;
mod chain;
mod codec;
mod compare;
mod content;
mod device;
mod dictionary;
mod diff;
mod digest;
mod directory;
mod draft;
mod entropy;
mod erasure;
mod excerpt;
mod explain;
mod find;
mod frame;
#[cfg(feature = "graph")]
pub mod graph;
mod history;
mod id;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "encryption")]
mod keys;
mod ledger;
pub mod limits;
mod lists;
mod log;
mod matching;
mod mention;
mod operation;
mod options;
mod page;
mod policy;
mod postings;
mod preview;
mod reader;
mod record;
mod recovery;
mod removal;
mod replay;
mod row;
mod salvage;
mod seal;
mod shared;
mod snapshot;
mod spots;
mod state;
mod stats;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod value;
mod verdict;
mod view;
mod visible;
mod what_if;
mod why;
mod whynot;
mod writer;

pub use crate::answer::*;
pub use crate::audit::{Audit, AuditFault, AuditRemark, AuditReport, ErasureFault, RecordCounts, Unchecked};
pub use crate::backup::{Backup, BackupError, BackupReport};
pub use crate::book::{Became, Book, MemoryUse, Persons, Resolution};
pub use crate::chain::{Chain, ChainError, Checkpoint, CheckpointError};
pub use crate::content::*;
pub use crate::device::Device;
pub use crate::diff::*;
pub use crate::digest::{Digest, DigestError};
pub use crate::directory::{FORMAT_VERSION, IdentityError};
pub use crate::entropy::{Entropy, OsEntropy, SeededEntropy};
pub use crate::erasure::{EraseError, ErasureRequest, ErasureSubject, Receipt, ReceiptSegment};
pub use crate::explain::{Claim, ExplainedStep, Explanation, ExplanationError, NamedId};
pub use crate::history::{HistoryEntry, Subject};
pub use crate::id::*;
#[cfg(feature = "encryption")]
pub use crate::keys::{KeyProvider, StoredKeys};
pub use crate::ledger::*;
pub use crate::log::{Fault, FaultKind};
pub use crate::operation::*;
pub use crate::options::{CreateError, LedgerOptions};
pub use crate::page::{Ask, Cursor, CursorError, Page, PageError};
pub use crate::policy::*;
pub use crate::preview::{Preview, PreviewError};
pub use crate::reader::LedgerReader;
pub use crate::record::*;
pub use crate::recovery::{OpenError, Recovery, Torn, Witness};
pub use crate::replay::{Replay, Step};
pub use crate::row::Record;
pub use crate::salvage::*;
pub use crate::seal::KeysError;
pub use crate::shared::{LedgerGuard, SharedLedger};
pub use crate::snapshot::{IgnoredSnapshot, Snapshot, SnapshotError, SnapshotFault};
pub use crate::state::{
    Called, Device as DeviceState, DeviceEffect, EventCounts, Link, NotParted, Notices, Outcome, Past,
    PersonNo, PersonView, Property, Refusal, State, Undone, Written,
};
pub use crate::stats::{FileSize, FileSizes, KindSize, Stats};
pub use crate::storage::{
    Access, Displaced, Files, LedgerPlace, Lock, Memory, NotAFile, Occupant, Reserved, Storage,
};
pub use crate::time::*;
pub use crate::value::*;
pub use crate::view::View;
pub use crate::visible::visible;
pub use crate::what_if::{WhatIf, WhatIfError};
pub use crate::why::{Beaten, PropertyWrite, WhyProperty};
pub use crate::whynot::{Barrier, WhyNot, WhyNotStep};
pub use crate::writer::Durability;

/// The program of the tutorial about undoing runs as an example; that of the one about erasing does in `erasure.rs`.
#[cfg(doctest)]
#[doc = include_str!("../docs/undo.md")]
struct Tutorial;
