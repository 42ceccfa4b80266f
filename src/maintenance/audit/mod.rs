//! Audit: everything a stranger can check about a log, checked. Never repairs, never writes.
//!
//! Beyond what opening checks (hashes, order, spelling, commitments) it recomputes from the texts and values still present
//! what the writer recorded: classes of ids (B4), kinds of events (E3), the ids devices spoke for (F2), and all bounds.

mod definitions;
mod erasures;
mod operations;
pub(crate) mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::fold::replay::Step;
use crate::fold::{Absences, DeviceState};
use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::{Listing, MAX_LOOKS, OpenError, Witnesses, begin, known_durable};
use crate::ledger::snapshot::{Checks, IgnoredSnapshot};
use crate::log::body::{Flags, Followed, IdNo, KeyNo, NameNo, Restated, StoredClass};
use crate::log::chain::Checkpoint;
use crate::log::payload::{Keys, KeysError};
use crate::log::record::Row;
use crate::maintenance::audit::report::{AuditRemark, AuditReport, RecordCounts, Unchecked};
use crate::maintenance::finding::{AuditFault, ErasureFault};
use crate::maintenance::salvage::Salvage;
use crate::model::id::Seq;
use crate::model::policy::FirstMention;
use crate::query::diff::first_mention::PendingDefinitions;
use crate::query::reader::{Reader, index_texts, settle_texts};
use crate::store::dictionary::{Dictionaries, Seen};
use crate::store::layout::{self, HEAD, HeadSlot, Identity, LOG};
use crate::store::receipts;
use crate::store::segments::{Fault, FaultKind, Walk};
use crate::store::storage::{Files, Storage};
use crate::store::verdict::{Finding, Met, Verdict, judge};

/// An audit: a replay, watched.
///
/// ```
/// use identity_ledger::{Ledger, Policy, Tenant};
/// use identity_ledger::audit::Audit;
/// let dir = std::env::temp_dir().join(format!("identity-ledger-audit-{}", std::process::id()));
/// drop(Ledger::create(&dir, Tenant::default(), Policy::default())?);
/// assert!(Audit::run(&dir, None, &mut |_| {})?.is_ok());
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Audit {
    faults: Vec<AuditFault>,
    dictionaries: Dictionaries,
    seen: Seen,
    /// Definitions since the last operation: each is made because that operation needs it.
    pending: Vec<(Seq, Definition)>,
    /// The ids and devices among them.
    unmentioned: PendingDefinitions,
    /// By event name number, the flags its text decides; `None` once erased.
    kinds: Vec<Option<Flags>>,
    /// As they were before the record at hand.
    devices: Vec<DeviceState>,
    /// Records without their items.
    absences: Absences,
    absent: Vec<u32>,
    /// Records whose items are there and whose keys were destroyed.
    destroyed: Vec<Row>,
    /// By id, the first record that speaks for it and has its item, or `NONE`.
    present: Vec<u32>,
    /// By erasure, the first record it covers that has its item.
    incomplete: BTreeMap<u32, u32>,
    /// By device, its definition.
    device_definitions: Vec<u32>,
    /// What is left of records, each with the restate record that says so.
    restated: Vec<(Seq, Restated, Option<Vec<u8>>)>,
    /// Whether a component was refolded: then persons may have changed that no record's outcome names.
    refolded: bool,
    /// The position of the followed log, as it was before the record at hand.
    followed: Option<Followed>,
}

/// One walk through the log, and what it found.
struct Look {
    report: AuditReport,
    /// How many records are before the frame that ended it; `None` if it came to the end.
    broken_at: Option<u64>,
}

impl Look {
    /// What this look found of a log that a writer changed meanwhile, without the faults that a later look does not find
    /// again. Both came equally far.
    fn confirmed_by(self, later: &AuditReport) -> AuditReport {
        let mut report = self.report;
        report.faults.retain(|fault| later.faults.iter().any(|again| again.is_same(fault)));
        report
    }
}

/// Stands for "none" among record numbers.
pub(super) const NONE: u32 = u32::MAX;

/// Faults that are listed; a log with more is beyond reading them.
const MAX_FAULTS: usize = 100;

/// What a definition defines.
#[derive(Debug)]
enum Definition {
    /// An id, its class, and the class it should have by how it is first mentioned; `None` once its text is erased.
    Id(IdNo, StoredClass, Option<[(FirstMention, StoredClass); 2]>),
    Device,
    Key(KeyNo),
    Name(NameNo),
}

impl Audit {
    /// Audits the ledger in `dir`, read-only. `expect` is a head seen before; the log must pass through it.
    ///
    /// # Errors
    /// [`OpenError`] when it is not a ledger, needs a newer reader, or the disk fails. Damage is not an
    /// error: it is the answer.
    pub fn run(
        dir: &Path,
        expect: Option<Checkpoint>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<AuditReport, OpenError> {
        Audit::run_in(Arc::new(Files::read_only(dir)), expect, progress)
    }

    /// Audits the ledger in a storage.
    ///
    /// # Errors
    /// As [`Audit::run`].
    pub fn run_in(
        storage: Arc<dyn Storage>,
        expect: Option<Checkpoint>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<AuditReport, OpenError> {
        let options = LedgerOptions::new().progress(progress);
        expect.into_iter().fold(options, LedgerOptions::expect).audit_in(storage)
    }

    /// Audits a ledger whose items these keys open.
    pub(crate) fn run_with(
        storage: Arc<dyn Storage>,
        expect: Option<Checkpoint>,
        keys: &Keys,
        progress: &mut dyn FnMut(u64),
    ) -> Result<AuditReport, OpenError> {
        // A writer that erases beside the audit rewrites files that were read before, and then the parts do not fit. What a look
        // finds is wrong if nothing was written meanwhile, or if the next look finds it again.
        let mut last: Option<Look> = None;
        for _ in 0..MAX_LOOKS {
            let (reader, witnesses) = begin(&storage, false, expect)?;
            let listing = Listing::of(&reader, &witnesses);
            let look = match Audit::look(reader, &witnesses, keys, progress) {
                Err(OpenError::Io { .. }) if !listing.is_current(&storage)? => continue,
                look => look?,
            };
            let is_settled = look.report.is_ok() || listing.is_current(&storage)?;
            let mut report = match last {
                _ if is_settled => look.report,
                Some(last) if last.broken_at == look.broken_at => last.confirmed_by(&look.report),
                _ => {
                    last = Some(look);
                    continue;
                }
            };
            if !report.is_ok() {
                let identity = Identity::read(&*storage, false)?;
                let counted =
                    Salvage::look_through(Arc::clone(&storage), identity, keys.clone(), expect, progress);
                let failed = |source| OpenError::Io { place: storage.describe(), source };
                report.known = RecordCounts::of(counted.map_err(failed)?.report());
            }
            return Ok(report);
        }
        Err(OpenError::Busy { place: storage.describe(), looks: MAX_LOOKS })
    }

    /// Walks once through the log and judges all that it finds.
    fn look(
        mut reader: Reader,
        witnesses: &Witnesses,
        keys: &Keys,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Look, OpenError> {
        let storage = Arc::clone(reader.log.storage());
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        reader.log.set_keys(keys.clone());
        let checkpoints = &witnesses.checkpoints;
        let mut tail = None;
        let mut broken_at = None;
        let is_unopened = reader.is_sealed() && keys.is_none();
        let snapshots = if is_unopened { &[][..] } else { &witnesses.snapshots };
        let mut checks = Checks::begin(&*storage, reader.ledger_id(), keys, snapshots);
        let seen = checks.key().map_or_else(Seen::default, Seen::new);
        let mut audit = Audit { seen, ..Audit::default() };
        let mut unopened = 0;
        let walk =
            Walk { commitments: true, upto: None, cut: false, witnesses: checkpoints, hide: None, progress };
        let Reader { log, replay, .. } = &mut reader;
        let each = |step: Step<'_>| {
            checks.step(step);
            audit.step(step);
            unopened += u64::from(is_unopened && step.record.stored_item().is_some());
        };
        match log.walk(replay, walk, each) {
            Ok(()) => audit.settle(None),
            Err(Fault { kind: FaultKind::Io(source), .. }) => return Err(failed(source)),
            Err(fault) => {
                let (known, sealed) = known_durable(&reader, witnesses, &fault).map_err(failed)?;
                let begun = fault.records > 0;
                let all_there = fault.records >= known.records;
                let verdict = judge(Finding { met: Met::from(&fault.kind), begun, all_there, sealed });
                let Fault { file, offset, records, kind } = fault;
                let seq = Seq(records);
                if verdict == Verdict::TornTail && !witnesses.slots.is_empty() {
                    tail = Some(AuditFault {
                        file,
                        offset: Some(offset),
                        seq,
                        what: kind.to_string(),
                        erasure: None,
                    });
                } else {
                    broken_at = Some(records);
                    audit.fault(file, Some(offset), seq, kind.to_string());
                }
            }
        }
        let again = settle_texts(&mut audit.dictionaries, reader.state());
        audit.wrong_texts(again);
        audit.confirm_doubles(&reader);
        audit.confirm_restated(&reader);
        reader.replay.done_beside(witnesses.done_beside());
        audit.judge_erasures(&reader, broken_at.is_some(), &witnesses.snapshots);
        let Checkpoint { records, head } = reader.checkpoint();
        let durable = witnesses.durable().records;
        if durable > records && broken_at.is_none() {
            let what = format!(
                "the log ends with {records} records, but {durable} were seen durable: it was rolled back"
            );
            audit.fault(HEAD.to_owned(), None, Seq(records), what);
        }
        if witnesses.slots.is_empty() {
            let what = "HEAD is missing or damaged: nothing but the frames says what was durable".to_owned();
            audit.fault(HEAD.to_owned(), None, Seq(records), what);
        }
        audit.dictionaries.compact();
        let (bad, snapshots) = checks.finish(&reader, &audit.dictionaries, &audit.seen, broken_at.is_some());
        for IgnoredSnapshot { file, why } in bad {
            audit.fault(file, None, Seq(records), why.to_string());
        }
        let (digest, faults) = (reader.state().digest(), audit.faults);
        let mut remarks = Vec::new();
        let behind = witnesses.head().map_or(0, |head| records.saturating_sub(head));
        remarks.extend((behind > 0).then_some(AuditRemark::BehindHead(behind)));
        let pending: Vec<Seq> = reader.state().erasures().pending().map(|seq| Seq(seq.into())).collect();
        remarks.extend((!pending.is_empty()).then_some(AuditRemark::PendingErasures(pending)));
        let [_, damaged] = receipts::judged(&*storage, reader.ledger_id()).map_err(failed)?;
        let damaged: Vec<String> = damaged.into_iter().map(layout::receipt_name).collect();
        remarks.extend((!damaged.is_empty()).then_some(AuditRemark::DamagedReceipts(damaged)));
        let is_torn = || HeadSlot::is_torn(&*storage, reader.ledger_id()).map_err(failed);
        // Twice: a writer may be at work on a slot.
        let torn = !witnesses.slots.is_empty() && is_torn()? && is_torn()?;
        remarks.extend(torn.then_some(AuditRemark::HeadSlot));
        remarks.extend(storage.lacks_lock().map_err(failed)?.then_some(AuditRemark::LockMissing));
        let foreign = layout::foreign(&*storage).map_err(failed)?;
        remarks.extend((!foreign.is_empty()).then_some(AuditRemark::Foreign(foreign)));
        let known = RecordCounts { intact: records, damaged: 0, unreadable: 0 };
        let unchecked = Unchecked { items: unopened, snapshots: witnesses.snapshots.len() as u64 };
        let unchecked = is_unopened.then_some(unchecked);
        let report =
            AuditReport { records, head, digest, faults, tail, snapshots, remarks, known, unchecked };
        Ok(Look { report, broken_at })
    }

    fn fault(&mut self, file: String, offset: Option<u64>, seq: Seq, what: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(AuditFault { file, offset, seq, what, erasure: None });
        }
    }

    fn erasure_fault(&mut self, file: &str, seq: Seq, what: String, erasure: ErasureFault) {
        if self.faults.len() < MAX_FAULTS {
            let erasure = Some(erasure);
            self.faults.push(AuditFault { file: file.to_owned(), offset: None, seq, what, erasure });
        }
    }

    fn wrong_texts(&mut self, records: Vec<u32>) {
        for seq in records {
            self.wrong(Seq(seq.into()), "its text is out of bounds (B1), or has a number already");
        }
    }

    fn wrong(&mut self, seq: Seq, what: &str) {
        self.fault(LOG.to_owned(), None, seq, what.to_owned());
    }

    fn step(&mut self, step: Step<'_>) {
        let seq = step.record.seq();
        self.note_item(step);
        let wrong = index_texts(&mut self.dictionaries, &mut self.seen, step);
        self.wrong_texts(wrong);
        match self.definition(step) {
            Some(definition) => self.pending.push((seq, definition)),
            None => {
                if !self.pending.is_empty() {
                    self.settle(Some((step.record.row, &step.record.body())));
                }
                self.operation(seq, step);
            }
        }
    }
}

impl LedgerOptions<'_> {
    /// Audits a ledger; see [`crate::audit::Audit`].
    ///
    /// # Errors
    /// As [`crate::audit::Audit::run`].
    pub fn audit(self, dir: impl AsRef<Path>) -> Result<AuditReport, OpenError> {
        self.audit_in(Arc::new(Files::read_only(dir.as_ref())))
    }

    /// Audits the ledger in a storage.
    ///
    /// # Errors
    /// As [`crate::audit::Audit::run`].
    pub fn audit_in(self, storage: Arc<dyn Storage>) -> Result<AuditReport, OpenError> {
        let keys = match self.unlock(&*storage, &Identity::read(&*storage, false)?) {
            Err(KeysError::Sealed { .. }) => None, // the report says what was not checked
            unlocked => unlocked?,
        };
        let mut silent = |_| {};
        Audit::run_with(storage, self.expect, &keys, self.progress.unwrap_or(&mut silent))
    }
}
