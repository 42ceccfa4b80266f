#![doc = include_str!("../README.md")]
//!
//! # From a program
//!
//! `cargo add identity-ledger`. It needs Rust 1.89. Files are safest on a Unix: docs/guarantees.md has what other systems lack.
//!
//! | feature | gives |
//! |---|---|
//! | none | the ledger: appends, questions, audit, backup, salvage, erasing |
//! | `import` | readers of what SDKs send: `ops` lines and PostHog's formats |
//! | `encryption` | sealed ledgers, and key rings that erasing makes forget |
//! | `tracing` | events for `tracing`: openings, frames, syncs, snapshots, erasures, what stops a ledger |
//! | `export` | tables as Parquet, Arrow, CSV and JSON Lines, and a log as `ops` lines |
//! | `proofs` | signed checkpoints, and proofs of one answer for those who do not have the ledger |
//! | `testing` | the reference model, laws under your policy, disks that fail |
//! | `arbitrary` | histories and operations as arguments of a fuzz target |
//!
//! | I want to | call |
//! |---|---|
//! | create, open, read a ledger | [`Ledger::create`], [`Ledger::open`], [`ReadOnlyLedger::open`], and [`LedgerOptions`] for more |
//! | record what was asked | [`Ledger::append`], [`Ledger::append_batch`]; look at each [`Appended`] |
//! | record what a device's SDK said | [`Ledger::device`] |
//! | follow a log that other servers follow too | [`LedgerOptions::follow`], [`Ledger::append_at`] |
//! | share a ledger between threads | [`SharedLedger`]; [`SharedLedger::submit`] returns before the disk does |
//! | take events of SDKs over HTTP | `import::Request` (feature `import`), [`Ledger::append_each`]; `docs/embedding.md` |
//! | know who an id is | [`Ledger::resolve`], [`Ledger::profile`]; as of a record [`Reader::person_as_of`], [`Reader::profile_as_of`] |
//! | know why | [`Ledger::explain`], [`Ledger::why_property`], [`Ledger::why_not`], [`Reader::history`] |
//! | fold a log record by record | [`Reader::replay`], [`LedgerOptions::replay`] |
//! | undo | [`Operation::retract`], [`Operation::split`]; first [`Reader::preview`] |
//! | ask what another policy would have done | [`Reader::what_if`] |
//! | forget a person | [`Ledger::erase`] |
//! | export tables, or what changed in them | [`Reader::export`], [`Reader::export_as_of`], [`Reader::changes`] |
//! | check everything | [`audit::Audit`], and [`Checkpoint`] kept elsewhere |
//! | sign a checkpoint, prove one answer to others | `Reader::prover` (feature `proofs`); `docs/proofs.md` |
//! | copy, or rescue | [`backup::Backup`], [`salvage::Salvage`] |
//!
//! Calls block on the disk. From an async runtime call them where blocking is allowed, such as tokio's `spawn_blocking`; a
//! [`SharedLedger`] is cloned into each task. What [`SharedLedger::submit`] returns is a future, and blocks no thread. Tests with the
//! feature `testing` fold much: build dependencies optimised in debug builds too, `[profile.dev.package."*"] opt-level = 2`.
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
//! | `export/` | what a log means as tables of rows, for a data warehouse |
//! | `proof/` | signed checkpoints, and proofs of one answer that others check without the ledger |
//! | `ledger/` | who writes: appends, recovery, snapshots, erasing |
//! | `maintenance/` | audit, backup, salvage; never repairs a ledger where it lies |
//! | `import/` | what SDKs send, as operations |
//! | `testing/` | the reference model, the laws, disks that fail |
//!
//! A folder imports those above it in this list, never those below; `tests/house/layering.rs` checks it. `docs/architecture.md` says why.

pub mod export;
pub mod fold;
mod ledger;
pub mod log;
mod maintenance;
pub mod model;
mod query;
mod store;

#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "proofs")]
pub mod proof;
#[cfg(feature = "testing")]
pub mod testing;

pub use crate::fold::{Notices, Outcome, Refusal};
pub use crate::ledger::Ledger;
pub use crate::ledger::appended::{Answers, Appended};
pub use crate::ledger::create::CreateError;
pub use crate::ledger::device::Device;
pub use crate::ledger::error::AppendError;
pub use crate::ledger::open::{LedgerOptions, ReadOnlyLedger};
pub use crate::ledger::recovery::{OpenError, Recovery};
pub use crate::ledger::shared::{LedgerGuard, SharedLedger};
pub use crate::ledger::snapshot::Snapshot;
pub use crate::ledger::writer::Durability;
pub use crate::log::chain::Checkpoint;
pub use crate::model::id::{
    DeviceId, DistinctId, EventName, IdError, OperationId, PersonId, PropertyKey, Seq, Tenant,
};
/// The crate of [`OperationId`]'s UUID, in the version that this crate uses.
pub use uuid;

pub use crate::model::class::IdClass;
pub use crate::model::limits;
pub use crate::model::operation::{
    Actor, Changes, Operation, OperationError, Processing, Request, Source, SplitMode, Target,
};
pub use crate::model::policy::{Policy, PolicyError, Preset};
pub use crate::model::time::Timestamp;
pub use crate::model::value::{Properties, Value};
pub use crate::model::visible::visible;
pub use crate::query::answer::{EventAnswer, OutcomeAnswer, Profile};
pub use crate::query::explain::ids::Explanation;
pub use crate::query::page::{Cursor, Page, PageRequest};
pub use crate::query::reader::{Reader, Resolution};

/// The shapes of answers, and what a ledger holds, counted.
pub mod answer {
    pub use crate::query::answer::{EffectAnswer, EventMode, NoticeAnswer, PropertyAnswer};
    pub use crate::query::mapping::{
        Comparison, ComparisonCounts, Difference, DifferenceExplainer, DifferenceKind, DifferenceReason,
        Mapping, MappingError,
    };
    pub use crate::query::page::{CursorError, PageError};
    pub use crate::query::reader::{MemoryUse, PersonStatus, Persons};
    pub use crate::query::report::{
        KindHeld, LargePerson, NotedId, Report, SharedId, Stitched, Touched, Worst,
    };
    pub use crate::query::stats::{FileSize, FileSizes, KindSize, Stats};
}

/// Differences: between two points, two policies, two ledgers; what a retract, split or reclassification would change.
pub mod diff {
    pub use crate::ledger::preview::{Preview, PreviewError};
    pub use crate::query::diff::content::{
        Content, ContentDevice, ContentEvents, ContentId, ContentPerson, PersonFacts,
    };
    pub use crate::query::diff::view::{Name, View};
    pub use crate::query::diff::what_if::{WhatIf, WhatIfError};
    pub use crate::query::diff::{
        Counts, DeviceDiff, Diff, DiffMismatch, EventRef, EventTally, EventsDiff, IdDiff, MergedPerson,
        PersonDiff, PersonPart, PropertyDiff, RefusalDiff, RefusalHere, RenamedPerson, SplitPerson,
    };
}

/// Why two ids are one person, why a property has its value, what keeps two ids apart, and which records touched an id.
pub mod explain {
    pub use crate::query::explain::ids::{ExplainedStep, ExplanationError, NamedId, RecordedLink};
    pub use crate::query::explain::property::{PropertyWrite, Superseded, WhyProperty};
    pub use crate::query::explain::why_not::{Barrier, Remedy, WhyNot, WhyNotStep};
    pub use crate::query::history::{HistoryEntry, HistoryPages, Subject};
}

/// The identity graph of a person: ids, devices, and the records that link them.
pub mod graph {
    pub use crate::query::graph::{Edge, EdgeKind, EdgeRecord, Graph, Node, NodeKind};
}

/// Following a log elsewhere, such as a stream that many servers read: what it delivers, and what became of that.
pub mod follow {
    pub use crate::ledger::delivery::{Delivered, Delivery, FollowError};
    pub use crate::log::body::Followed;
    pub use crate::model::id::LogName;
}

/// Erasing: requests, receipts, errors (rule H3).
pub mod erase {
    pub use crate::ledger::erase::receipt::Receipt;
    pub use crate::ledger::erase::receipt::ReceiptSegment;
    pub use crate::ledger::erase::request::{ErasurePreview, ErasureRequest, ErasureSubject};
    pub use crate::ledger::error::EraseError;
}

/// Waiting for the disk: tickets of a shared ledger, and how it keeps up.
pub mod sharing {
    pub use crate::ledger::group::SyncCounts;
    pub use crate::ledger::ticket::Ticket;
}

/// Snapshots, and what opening found at the end of a log.
pub mod snapshot {
    pub use crate::ledger::error::SnapshotError;
    pub use crate::ledger::recovery::{DurabilityEvidence, TornTail};
    pub use crate::ledger::snapshot::IgnoredSnapshot;
    pub use crate::store::segments::SnapshotFault;
}

/// Where the bytes of a ledger live: the storage trait, its implementations, chance, clocks, key rings, and faults by place.
pub mod storage {
    pub use crate::store::clock::{Clock, SystemClock};
    pub use crate::store::entropy::{Entropy, OsEntropy, SeededEntropy};
    #[cfg(feature = "encryption")]
    pub use crate::store::keys::{KeyProvider, StoredKeys};
    pub use crate::store::layout::{FORMAT_VERSION, IdentityError};
    pub use crate::store::segments::{Fault, FaultKind};
    pub use crate::store::storage::{
        Access, Displaced, Files, LedgerPlace, Lock, Memory, NotAFile, Occupant, Reserved, Storage,
    };
}

/// The check that believes nothing: everything that can be recomputed, recomputed.
pub mod audit {
    pub use crate::maintenance::audit::Audit;
    pub use crate::maintenance::audit::report::{AuditRemark, AuditReport, RecordCounts, Unchecked};
    pub use crate::maintenance::finding::{AuditFault, ErasureFault};
}

/// A verified copy, also of a ledger at work.
pub mod backup {
    pub use crate::maintenance::backup::{Backup, BackupError, BackupReport};
}

/// What of a damaged ledger can be proven.
pub mod salvage {
    pub use crate::maintenance::salvage::report::{
        BytePlace, Lost, SalvageReport, SeqRange, Testimony, Unerased,
    };
    pub use crate::maintenance::salvage::{
        ItemLoss, LostItem, Named, Salvage, SalvageError, SalvagedChange, SalvagedRecord,
    };
}

/// The program of the tutorial about undoing runs as an example; that of the one about erasing does in `erasure.rs`.
#[cfg(doctest)]
#[doc = include_str!("../docs/undo.md")]
struct Tutorial;
