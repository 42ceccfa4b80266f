//! Audit: everything a stranger can check about a log, checked. Never repairs, never writes.
//!
//! Beyond what opening checks (hashes, order, spelling, commitments) it recomputes from the texts and values still present
//! what the writer recorded: classes of ids (B4), kinds of events (E3), the ids devices spoke for (F2), and all bounds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::maintenance::finding::{AuditFault, ErasureFault};

use serde::Serialize;

use crate::fold::replay::Step;
use crate::fold::{Absences, Correction, DeviceState, Outcome, Said};
use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::{Listing, MAX_LOOKS, OpenError, Witnesses, begin, known_durable};
use crate::ledger::snapshot::{Checks, IgnoredSnapshot};
use crate::log::body::{
    Body, ErasedDevice, ErasureCompletion, Flags, IdNo, KeyNo, LinkSource, NameNo, Restated, StoredClass,
};
use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::log::payload::{Keys, KeysError};
use crate::log::record::Row;
use crate::maintenance::salvage::Salvage;
use crate::maintenance::salvage::report::SalvageReport;
use crate::model::id::{OperationId, Seq};
use crate::model::limits::{MAX_OPERATION_BYTES, MAX_OPERATION_KEYS, MAX_PERSON_KEYS, MAX_REASON_BYTES};
use crate::model::policy::FirstMention;
use crate::model::value::Value;
use crate::query::diff::first_mention::PendingDefinitions;
use crate::query::reader::{Reader, index_texts};
use crate::query::values::values_of;
use crate::store::dictionary::{Dictionaries, Seen};
use crate::store::layout::{self, HEAD, HeadSlot, Identity, LOG};
use crate::store::segments::{Fault, FaultKind, Walk};
use crate::store::storage::{Files, Storage};
use crate::store::verdict::{Finding, Met, Verdict, judge};

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

/// The records that are known to have existed, each counted once, as [`Salvage`] counts them.
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

    fn of(report: &SalvageReport) -> RecordCounts {
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
    /// One of the two slots of `HEAD` is damaged, cut or gone: it rotted, or a write was cut off. The other slot holds.
    HeadSlot,
    /// The file `LOCK` is missing: it was removed, or the ledger was copied without it. The next writer makes it.
    LockMissing,
    /// What no ledger makes lies among the ledger's files. It is not read, changed or removed, also where an erasure removes files.
    Foreign(Vec<String>),
}

/// Names that a remark spells out.
const NAMES_SHOWN: usize = 5;

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
                let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
                let more = names.len().saturating_sub(NAMES_SHOWN);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                write!(f, "what is not the ledger's lies among its files and is left alone: {shown}{more}")
            }
        }
    }
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

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
    /// Operation ids that may stand twice: (id, earlier record, later record).
    doubles: Vec<(OperationId, Seq, Seq)>,
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

/// What a definition defines.
#[derive(Debug)]
enum Definition {
    /// An id, its class, and the class it should have by how it is first mentioned; `None` once its text is erased.
    Id(IdNo, StoredClass, Option<[(FirstMention, StoredClass); 3]>),
    Device,
    Key(KeyNo),
    Name(NameNo),
}

/// Stands for "none" among record numbers.
const NONE: u32 = u32::MAX;

/// Faults that are listed; a log with more is beyond reading them.
const MAX_FAULTS: usize = 100;

impl Audit {
    /// Audits the ledger in `dir`, read-only. `expect` is a head seen before; the log must pass through it.
    ///
    /// # Errors
    /// [`OpenError`] when it is not a ledger, needs a newer reader, or the disk fails. Damage is not an
    /// error: it is the answer.
    pub fn run(
        dir: &Path,
        expect: Option<Checkpoint>,
        progress: &mut dyn FnMut(u64),
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
        progress: &mut dyn FnMut(u64),
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
        let mut audit = Audit::default();
        let mut tail = None;
        let mut broken_at = None;
        let is_unopened = reader.is_sealed() && keys.is_none();
        let snapshots = if is_unopened { &[][..] } else { &witnesses.snapshots };
        let mut checks = Checks::begin(&*storage, reader.ledger_id(), keys, snapshots);
        let mut unopened = 0;
        let walk = Walk { commitments: true, upto: None, witnesses: checkpoints, hide: None, progress };
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
        audit.confirm_doubles(&reader);
        audit.confirm_restated(&reader);
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
        let (bad, snapshots) = checks.finish(&reader, &audit.dictionaries, broken_at.is_some());
        for IgnoredSnapshot { file, why } in bad {
            audit.fault(file, None, Seq(records), why.to_string());
        }
        let (digest, faults) = (reader.state().digest(), audit.faults);
        let mut remarks = Vec::new();
        let behind = witnesses.head().map_or(0, |head| records.saturating_sub(head));
        remarks.extend((behind > 0).then_some(AuditRemark::BehindHead(behind)));
        let pending = reader.state().erasures().list().filter(|(_, done)| done.is_none());
        let pending: Vec<Seq> = pending.map(|(seq, _)| Seq(seq.into())).collect();
        remarks.extend((!pending.is_empty()).then_some(AuditRemark::PendingErasures(pending)));
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

    fn wrong(&mut self, seq: Seq, what: &str) {
        self.fault(LOG.to_owned(), None, seq, what.to_owned());
    }

    fn step(&mut self, step: Step<'_>) {
        let seq = step.record.seq();
        self.note_item(step);
        if let Some(id) = step.record.operation_id() {
            let earlier = self.seen.candidates(id).map(|earlier| (id, Seq(earlier.into()), seq));
            self.doubles.extend(earlier);
        }
        if !index_texts(&mut self.dictionaries, &mut self.seen, step) {
            self.wrong(seq, "its text is out of bounds (B1), or has a number already");
        }
        match self.definition(step) {
            Some(definition) => self.pending.push((seq, definition)),
            None => {
                self.settle(Some((step.record.row, &step.record.body())));
                self.operation(seq, step);
            }
        }
    }

    /// Reads a definition; `None` for any other record.
    fn definition(&mut self, step: Step<'_>) -> Option<Definition> {
        let text = step.record.item().and_then(|item| std::str::from_utf8(item).ok());
        let last = |count: usize| u32::try_from(count - 1).expect("MAX_RECORDS bounds every number");
        Some(match step.record.body() {
            Body::DefineId(class, _) => {
                let mentions = [FirstMention::Plain, FirstMention::IdentifySource, FirstMention::Device];
                let policy = step.state.policy();
                let classes = text.map(|text| mentions.map(|m| (m, policy.classify(text, m).into())));
                let id = IdNo(last(step.state.ids().len()));
                self.unmentioned.id(id);
                Definition::Id(id, class, classes)
            }
            Body::DefineDevice(id, _) => {
                self.device_definitions.push(step.record.row.seq);
                self.devices.push(DeviceState::anonymous(id));
                self.unmentioned.device(id);
                Definition::Device
            }
            Body::DefineKey(_) => Definition::Key(KeyNo(last(self.dictionaries.keys.len() as usize))),
            Body::DefineName(_) => {
                self.kinds.push(text.map(Flags::of_event));
                Definition::Name(NameNo(last(self.kinds.len())))
            }
            _ => return None,
        })
    }

    /// B4: each definition must be needed by the operation after it, or make a device; and an id's class must be what its
    /// text and first mention give. Other records, and the end, need no definition.
    fn settle(&mut self, next: Option<(&Row, &Body)>) {
        let pending = std::mem::take(&mut self.pending);
        let unmentioned = std::mem::take(&mut self.unmentioned);
        let (row, body) = next.unzip();
        let target = body.and_then(Body::head).map(|head| head.id);
        let other = body.map_or(LinkSource::None, Body::other);
        for (seq, definition) in &pending {
            let needed = match definition {
                Definition::Id(id, ..) => {
                    target == Some(*id) || other == LinkSource::Id(*id) || unmentioned.begins_device(*id, row)
                }
                Definition::Device => true,
                Definition::Key(key) => {
                    body.is_some_and(|body| body.changes().iter().any(|change| change.key == *key))
                }
                Definition::Name(name) => {
                    matches!(body, Some(Body::Capture(_, Some(named), _)) if named == name)
                }
            };
            if !needed {
                self.wrong(*seq, "it defines something that the next operation does not name");
            }
            if let Definition::Id(id, class, Some(classes)) = definition {
                let mention = unmentioned.first_mention(*id, row);
                if classes.iter().any(|(of, expected)| *of == mention && expected != class) {
                    self.wrong(*seq, "the class of its id is not what text and first mention give (B4)");
                }
            }
        }
    }

    fn operation(&mut self, seq: Seq, step: Step<'_>) {
        let body = step.record.body();
        let Some(head) = body.head() else { return self.erasure(seq, step, &body) };
        let said = Said::of(step.record.row);
        if let Some(device) = head.device
            && !self.devices[device.index()].could_say(said)
        {
            self.wrong(seq, "its device did not speak for this id then (F2)");
        }
        for device in said.devices() {
            self.devices[device.index()].follow(said);
        }
        if matches!(step.outcome, Some(Outcome { undone: Some(Correction::Retracted { .. }), .. })) {
            // What devices of its component said may have been retracted (H1).
            for device in step.state.devices_refolded() {
                self.devices[device.index()] = *step.state.device(*device);
            }
        }
        if let Body::Capture(_, name, _) = &body {
            let kind = |flags: Flags| (flags.has(Flags::GROUP_IDENTIFY), flags.has(Flags::QUIET));
            let named = name.map_or(Some(Flags::default()), |name| self.kinds[name.index()]);
            if named.is_some_and(|named| kind(named) != kind(head.flags)) {
                self.wrong(seq, "its kind of event is not what the event's name says (E3)");
            }
        }
        if body.changes().len() > MAX_OPERATION_KEYS {
            self.wrong(seq, "it names more property keys than the limit (E4)");
        }
        if let Some(item) = step.record.item() {
            match values_of(step.record, item) {
                None => {
                    self.wrong(seq, "its values are not canonical, or not those its changes announce (E4)")
                }
                Some(values) => {
                    let large = item.len() > MAX_OPERATION_BYTES + size_of::<OperationId>();
                    if large || values.iter().any(|value| value.check().is_err()) {
                        self.wrong(seq, "its values exceed a limit (E4)");
                    }
                }
            }
        }
        let person = step.outcome.and_then(|outcome| outcome.person);
        if person.is_some_and(|person| step.state.view(person).properties.len() > MAX_PERSON_KEYS) {
            self.wrong(seq, "its person has more property keys than the limit (E4)");
        }
    }

    // -- erasures, H3 ----------------------------------------------------------------------------------------------

    fn note_item(&mut self, step: Step<'_>) {
        let row = step.record.row;
        if row.is_destroyed() {
            self.destroyed.push(*row);
        }
        if row.is_erased() && !row.is_destroyed() {
            self.absences.see(row, step.state.erasures());
            self.absent.push(row.seq);
        } else if row.has_item() && row.speaks_for_id() {
            let place = row.id.index();
            if self.present.len() <= place {
                self.present.resize(place + 1, NONE);
            }
            self.present[place] = self.present[place].min(row.seq);
        }
    }

    /// A record of an erasure: that it names what it may, and what it covers that is still there.
    fn erasure(&mut self, seq: Seq, step: Step<'_>, body: &Body) {
        match body {
            Body::Erase(erasure) => {
                let definition = |device: &ErasedDevice| self.device_definitions.get(device.device.index());
                if erasure.devices.iter().any(|device| definition(device) != Some(&device.defined)) {
                    self.wrong(seq, "it names another record than the one that defines its device (H3)");
                }
                let reason = step.record.item().map(|item| std::str::from_utf8(item).map(str::len));
                if reason.is_some_and(|reason| reason.map_or(true, |len| len == 0 || len > MAX_REASON_BYTES))
                {
                    self.wrong(seq, "its reason is not a text, or exceeds a limit (H3)");
                }
                let spoken = erasure.ids.iter().filter_map(|id| self.present.get(id.index())).copied();
                let defined = erasure.ids.iter().map(|id| step.state.defined_by(*id).0 as u32);
                let devices = erasure.devices.iter().map(|device| device.defined);
                let named = defined.chain(devices).chain(erasure.records.iter().copied());
                let present = named.filter(|record| self.absent.binary_search(record).is_err());
                let first = spoken.filter(|record| *record != NONE).chain(present).min();
                self.incomplete.extend(first.map(|record| (step.record.row.seq, record)));
            }
            Body::EraseDone(removal) => {
                let list = step.state.erasures();
                let done =
                    |removed: &ErasureCompletion| list.done_by(removed.erase) == Some(step.record.row.seq);
                if !removal.erasures.iter().all(done) {
                    self.wrong(
                        seq,
                        "it completes an erasure that does not exist, or was complete before (H3)",
                    );
                }
            }
            Body::Restate(restated) => {
                let item = step.record.item().map(<[u8]>::to_vec);
                self.restated.push((seq, (**restated).clone(), item));
            }
            _ => {}
        }
    }

    /// What is left of a record speaks for the same id, and has the values that are not erased.
    fn confirm_restated(&mut self, reader: &Reader) {
        let erasures = reader.state().erasures();
        for (seq, restated, item) in std::mem::take(&mut self.restated) {
            let record = Seq(restated.record.into());
            let Ok(window) = reader.log.window(record, erasures) else { continue }; // the walk has listed what is unreadable
            let Some(record) = window.record(record) else { continue };
            let count = record.changes().iter().filter(|change| change.verb.has_value()).count();
            let places = restated.erased.iter().all(|place| usize::from(*place) < count);
            let same = record.is_operation() && record.row.id == restated.id && places;
            if !same || !record.is_erased() {
                self.wrong(seq, "it is not what is left of the record it names (H3)");
                continue;
            }
            let left = item.map(|item| {
                let mut at = 0;
                let values = (0..count - restated.erased.len()).map(|_| Value::decode(&item, &mut at));
                values.filter(Result::is_ok).count() == count - restated.erased.len() && at == item.len()
            });
            if left == Some(false)
                || left.is_none() && restated.item.is_none() && restated.erased.len() != count
            {
                self.wrong(seq, "its values are not those that are left of the record it names (H3)");
            }
        }
    }

    /// The rule: an item is absent if and only if an erasure covers it. Of a log that is broken before its end it cannot be
    /// said what a later record erases.
    fn judge_erasures(&mut self, reader: &Reader, broken: bool, snapshots: &[u64]) {
        let erasures = reader.state().erasures();
        if !broken && let Some(seq) = self.absences.unlicensed(erasures) {
            let what = FaultKind::PayloadMissing { seq }.to_string();
            self.erasure_fault(LOG, Seq(seq), what, ErasureFault::PayloadMissing);
        }
        let older = |row: &&Row| !broken && erasures.of(row).is_none();
        if let Some(seq) = self.destroyed.iter().find(older).map(|row| Seq(row.seq.into())) {
            let what =
                "its key is destroyed, and no record erased it: this copy is older than its keys".to_owned();
            self.erasure_fault(LOG, seq, what, ErasureFault::OlderThanKeys);
        }
        for (erase, seq) in std::mem::take(&mut self.incomplete) {
            if erasures.is_done(erase) {
                let (seq, erase) = (u64::from(seq), u64::from(erase));
                let what = FaultKind::ErasureIncomplete { seq, erase }.to_string();
                self.erasure_fault(
                    LOG,
                    Seq(seq),
                    what,
                    ErasureFault::ErasureIncomplete { erase: Seq(erase) },
                );
            }
        }
        let done =
            erasures.list().filter(|(_, done)| done.is_some()).map(|(erase, _)| u64::from(erase)).max();
        for records in snapshots {
            if let Some(erase) = done.filter(|erase| records <= erase) {
                let file = crate::store::layout::snapshot_name(*records);
                let what =
                    format!("it was made before record {erase}, and may hold what that erased: remove it");
                let stale = ErasureFault::StaleSnapshot { erase: Seq(erase) };
                self.erasure_fault(&file, Seq(*records), what, stale);
            }
        }
    }

    /// G4: no operation id stands twice. Looks at the records whose ids seemed equal.
    fn confirm_doubles(&mut self, reader: &Reader) {
        for (id, earlier, later) in std::mem::take(&mut self.doubles) {
            let Ok(window) = reader.log.window(earlier, reader.state().erasures()) else { continue }; // the walk has listed what is unreadable
            let same = window.checked(earlier).is_ok_and(|record| record.operation_id() == Some(id));
            if same {
                self.wrong(later, &format!("its operation id {id} stands in record {earlier} already (G4)"));
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
