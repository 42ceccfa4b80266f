#![doc = include_str!("../README.md")]
//!
//! # The layers
//!
//! | folder | what it is for |
//! |---|---|
//! | `model/` | what can be said: names, times, values, operations, the policy, every limit |
//! | `log/` | the log as bytes: frames, records, payloads, the chain; knows nothing of persons |
//! | `fold/` | what the log means; pure, knows nothing of storage |
//! | `store/` | the files of a ledger; the only folder that touches disks, clocks and chance |
//! | `query/` | what can be asked; reads, never writes |
//! | `ledger/` | who writes: appends, recovery, snapshots, erasing |
//! | `maintenance/` | audit, backup, salvage; never repairs a ledger where it lies |
//! | `graph/` | pictures of how a person came to be |
//! | `import/` | what SDKs send, as operations |
//! | `testing/` | the reference model, the laws, disks that fail |
//!
//! A folder imports those above it in this list, never those below; `tests/layering.rs` checks it. `docs/architecture.md` says why.

mod fold;
mod ledger;
mod log;
mod maintenance;
mod model;
mod query;
mod store;

#[cfg(feature = "graph")]
pub mod graph;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "testing")]
pub mod testing;

pub use crate::model::id::{
    DeviceId, DistinctId, EventName, IdError, LedgerId, OperationId, PersonId, PropertyKey, Seq, Tenant,
};
pub use crate::model::limits;
pub use crate::model::operation::{
    Actor, Changes, Dialect, ImportFixups, Operation, OperationError, PersonProfiles, Processing, Request,
    Sdk, Source, SplitMode, Target,
};
pub use crate::model::policy::{FirstMention, IdClass, Policy, PolicyError, Preset, Survivor, UuidIds};
pub use crate::model::time::{Timestamp, TimestampError};
pub use crate::model::value::{Properties, Value, ValueError};
pub use crate::model::visible::visible;

pub use crate::log::body::{
    Body, Change, Commitment, CutOff, DeviceNo, ErasedDevice, Erasure, ErasureCompletion, Flags, IdNo, KeyNo,
    LinkSource, NameNo, OperationHeader, PropertyChanges, Removal, Restated, RewrittenSegment, SplitOff,
    StoredClass, StoredPolicy, Verb,
};
pub use crate::log::chain::{Chain, ChainError, Checkpoint, CheckpointError};
pub use crate::log::digest::{Digest, DigestError};
pub use crate::log::payload::KeysError;
pub use crate::log::record::Record;

pub use crate::fold::replay::{Replay, Step};
pub use crate::fold::{
    Correction, DeviceEffect, DeviceState, EventCounts, Link, NotParted, Notices, Outcome, Past,
    PersonIdBasis, PersonNo, PersonView, Property, PropertyCounts, Refusal, State,
};

pub use crate::store::entropy::{Entropy, OsEntropy, SeededEntropy};
#[cfg(feature = "encryption")]
pub use crate::store::keys::{KeyProvider, StoredKeys};
pub use crate::store::layout::{FORMAT_VERSION, IdentityError};
pub use crate::store::segments::{Fault, FaultKind};
pub use crate::store::storage::{
    Access, Displaced, Files, LedgerPlace, Lock, Memory, NotAFile, Occupant, Reserved, Storage,
};

pub use crate::query::answer::{
    EffectAnswer, EventAnswer, EventMode, NoticeAnswer, OutcomeAnswer, Profile, PropertyAnswer,
};
pub use crate::query::diff::content::{
    Content, ContentDevice, ContentEvents, ContentId, ContentPerson, PersonFacts,
};
pub use crate::query::diff::view::Name;
pub use crate::query::diff::view::View;
pub use crate::query::diff::what_if::{WhatIf, WhatIfError};
pub use crate::query::diff::{
    Counts, DeviceDiff, Diff, DiffMismatch, EventRef, EventTally, EventsDiff, IdDiff, MergedPerson,
    PersonDiff, PersonPart, PropertyDiff, RefusalDiff, RefusalHere, RenamedPerson, SplitPerson,
};
pub use crate::query::explain::ids::{ExplainedStep, Explanation, ExplanationError, NamedId, RecordedLink};
pub use crate::query::explain::property::{PropertyWrite, Superseded, WhyProperty};
pub use crate::query::explain::why_not::{Barrier, WhyNot, WhyNotStep};
pub use crate::query::history::{HistoryEntry, Subject};
pub use crate::query::page::{Cursor, CursorError, Page, PageError, PageRequest};
pub use crate::query::reader::{MemoryUse, PersonStatus, Persons, Reader, Resolution};
pub use crate::query::stats::{FileSize, FileSizes, KindSize, Stats};

pub use crate::ledger::device::Device;
pub use crate::ledger::erase::{ErasureRequest, ErasureSubject, Receipt, ReceiptSegment};
pub use crate::ledger::error::AppendError;
pub use crate::ledger::error::EraseError;
pub use crate::ledger::error::SnapshotError;
pub use crate::ledger::open::ReadOnlyLedger;
pub use crate::ledger::open::{CreateError, LedgerOptions};
pub use crate::ledger::preview::{Preview, PreviewError};
pub use crate::ledger::recovery::{DurabilityEvidence, OpenError, Recovery, TornTail};
pub use crate::ledger::shared::{LedgerGuard, SharedLedger};
pub use crate::ledger::snapshot::{IgnoredSnapshot, Snapshot};
pub use crate::ledger::writer::Durability;
pub use crate::ledger::{Appended, Ledger};
pub use crate::store::segments::SnapshotFault;

pub use crate::maintenance::audit::{Audit, AuditRemark, AuditReport, RecordCounts, Unchecked};
pub use crate::maintenance::backup::{Backup, BackupError, BackupReport};
pub use crate::maintenance::finding::AuditFault;
pub use crate::maintenance::finding::ErasureFault;
pub use crate::maintenance::salvage::{
    BytePlace, ItemLoss, Lost, LostItem, Named, Salvage, SalvageError, SalvageReport, SalvagedChange,
    SalvagedRecord, SeqRange, Testimony, Unerased,
};

/// The program of the tutorial about undoing runs as an example; that of the one about erasing does in `erasure.rs`.
#[cfg(doctest)]
#[doc = include_str!("../docs/undo.md")]
struct Tutorial;
