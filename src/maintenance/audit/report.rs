//! What an audit found, as data.

use serde::Serialize;

use crate::log::digest::Digest;
use crate::maintenance::finding::AuditFault;
use crate::maintenance::salvage::report::SalvageReport;
use crate::model::id::Seq;

/// Names that a remark spells out.
const NAMES_SHOWN: usize = 5;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// How many records are good before the first broken frame; all of them where no frame is broken.
    pub records: u64,
    /// The hash that ends them.
    pub head: Digest,
    /// The digest of the state they fold to.
    pub digest: Digest,
    /// What is wrong, in the order of the log; nothing behind the first broken frame can be judged.
    pub faults: Vec<AuditFault>,
    /// Bytes behind everything that was ever acknowledged, which are not a frame: a write that was cut off, or is under way.
    /// The next writer keeps them aside and cuts them off. Not a fault.
    pub tail: Option<AuditFault>,
    /// The snapshots that hold what the log folds to: how many records each covers, newest first.
    pub snapshots: Vec<u64>,
    /// What is not a fault, but good to know.
    pub remarks: Vec<AuditRemark>,
    /// How many of the records that are known to have existed can be read, before and behind a fault.
    pub known: RecordCounts,
    /// What could not be checked, because the ledger is sealed and its keys were not given.
    pub unchecked: Option<Unchecked>,
}

/// The records that are known to have existed, each counted once, as [`Salvage`](crate::salvage::Salvage) counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordCounts {
    /// Proven to be what was written, with text or values, or without what was erased of them.
    pub intact: u64,
    /// Proven to be what was written, but its text or values are not, or are missing.
    pub damaged: u64,
    /// Known to have existed, and not proven: the record is changed or gone.
    pub unreadable: u64,
}

impl RecordCounts {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.intact + self.damaged + self.unreadable
    }

    pub(super) fn of(report: &SalvageReport) -> RecordCounts {
        let readable: u64 = report.intact.iter().map(|range| range.to.0 - range.from.0 + 1).sum();
        let damaged = report.items_lost.len() as u64; // each is of another record that can be read
        RecordCounts { intact: readable - damaged, damaged, unreadable: report.records - readable }
    }
}

/// What an audit without keys does not check in a sealed ledger. Everything else was: the hash chain, the order and spelling of
/// records, where their sealed texts and values stand, that none is missing against the rule, the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    /// Sealed texts and values: neither what they hold nor whether that is what their records committed to, and no rule that
    /// needs it (B1, B4, E3, E4, G4).
    pub items: u64,
    /// Snapshots, which are sealed as a whole.
    pub snapshots: u64,
}

impl std::fmt::Display for Unchecked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unchecked { items, snapshots } = self;
        write!(
            f,
            "without the key ring {items} sealed texts and values and {snapshots} snapshots were not checked; the hash chain, \
             the records and the state were"
        )
    }
}

/// Something that an audit saw and that is not a fault: the next opening for writing corrects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditRemark {
    /// This number of whole records follows those that `HEAD` acknowledges: a buffered writer is at work or
    /// was killed. Readers do not show them before a writer has made them durable.
    BehindHead(u64),
    /// Erasures that are recorded and not finished: every answer says *erased*, and files may still hold what they cover.
    PendingErasures(Vec<Seq>),
    /// Files that say what a follower took out of its files, and are damaged. Unless a later one is whole, the next writer removes it again;
    /// how many items and which segments it was is lost.
    DamagedReceipts(Vec<String>),
    /// One of the two slots of `HEAD` is damaged, cut or gone: it rotted, or a write was cut off. The other slot holds.
    HeadSlot,
    /// The file `LOCK` is missing: it was removed, or the ledger was copied without it. The next writer makes it.
    LockMissing,
    /// What no ledger makes lies among the ledger's files. It is not read, changed or removed, also where an erasure removes files.
    Foreign(Vec<String>),
}

impl std::fmt::Display for AuditRemark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuditRemark::BehindHead(records) => write!(
                f,
                "HEAD does not acknowledge the last {records} of these records yet, and readers stop before them: a writer is at \
                 work, or was killed; the next writer makes them durable"
            ),
            AuditRemark::PendingErasures(erasures) => {
                let list: Vec<String> = erasures.iter().map(Seq::to_string).collect();
                write!(
                    f,
                    "what is erased may still be in the files, for not all of that is finished (erasures at {}); the next writer \
                     finishes it",
                    list.join(", ")
                )
            }
            AuditRemark::HeadSlot => f.write_str(
                "a part of HEAD is damaged or missing, or a write of it was cut off; what is left of it suffices, and the next \
                 writer renews it",
            ),
            AuditRemark::LockMissing => f.write_str(
                "the file LOCK is missing; it must never be removed while a writer is at work, and the next writer makes it",
            ),
            AuditRemark::Foreign(names) => {
                write!(f, "what is not the ledger's lies among its files and is left alone: {}", some_of(names))
            }
            AuditRemark::DamagedReceipts(names) => {
                write!(f, "receipts of what was taken out of the files are damaged: {}", some_of(names))
            }
        }
    }
}

fn some_of(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}
