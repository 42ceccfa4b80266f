//! Audit: everything a stranger can check about a log, checked. Never repairs, never writes.
//!
//! Beyond what opening checks (hashes, order, spelling, commitments) it recomputes from the texts and values still present
//! what the writer recorded: classes of ids (B4), kinds of events (E3), the ids devices spoke for (F2), and all bounds.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::book::{Book, absorb, values_of};
use crate::chain::Checkpoint;
use crate::dictionary::{Dictionaries, Seen};
use crate::digest::Digest;
use crate::directory::{HEAD, LOG};
use crate::id::{OperationId, Seq};
use crate::limits::{MAX_OPERATION_BYTES, MAX_OPERATION_KEYS, MAX_PERSON_KEYS};
use crate::log::{Fault, FaultKind, Walk};
use crate::policy::FirstMention;
use crate::record::{Body, Flags, IdNo, KeyNo, NameNo, Other, StoredClass};
use crate::recovery::{OpenError, begin, known_durable};
use crate::replay::Step;
use crate::snapshot::{Checks, IgnoredSnapshot};
use crate::state::{Device, Outcome, Said, Undone};
use crate::storage::{Files, Storage};
use crate::verdict::{Finding, Met, Verdict, judge};

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// How many records are good.
    pub records: u64,
    /// The hash that ends them.
    pub head: Digest,
    /// The digest of the state they fold to.
    pub digest: Digest,
    /// What is wrong, in the order of the log; nothing behind the first broken frame can be judged.
    pub faults: Vec<AuditFault>,
    /// Bytes behind everything that was ever acknowledged, which are no frame: a write that was cut off, or is under way.
    /// The next writer keeps them aside and cuts them off. No fault.
    pub tail: Option<AuditFault>,
    /// The snapshots that hold what the log folds to: how many records each covers, newest first.
    pub snapshots: Vec<u64>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

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

/// An audit: a replay, watched.
///
/// ```
/// use identity_ledger::{Audit, Ledger, Policy, Tenant};
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
    /// By event name number, the flags its text decides; `None` once erased.
    kinds: Vec<Option<Flags>>,
    /// As they were before the record at hand.
    devices: Vec<Device>,
    /// Operation ids that may stand twice: (id, earlier record, later record).
    doubles: Vec<(OperationId, Seq, Seq)>,
}

/// What a definition defines.
#[derive(Debug)]
enum Definition {
    /// An id, its class, and the class it should have by how it is first mentioned; `None` once its text is erased.
    Id(IdNo, StoredClass, Option<[(FirstMention, StoredClass); 3]>),
    /// A device that begins with this id.
    Device(IdNo),
    Key(KeyNo),
    Name(NameNo),
}

/// Faults that are listed; a log with more is beyond reading them.
const MAX_FAULTS: usize = 100;

impl Audit {
    /// Audits the ledger in `dir`, read-only. `expect` is a head seen before; the log must pass through it.
    ///
    /// # Errors
    /// [`OpenError`] when it is no ledger, needs a newer reader, or the disk fails. Damage is no error but the answer.
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
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        let (mut book, witnesses) = begin(&storage, false, expect)?;
        let checkpoints = &witnesses.checkpoints;
        let mut audit = Audit::default();
        let mut tail = None;
        let mut broken = false;
        let mut checks = Checks::begin(&*storage, book.ledger_id(), &witnesses.snapshots);
        let walk = Walk { commitments: true, upto: None, witnesses: checkpoints, progress };
        let Book { log, replay, .. } = &mut book;
        let each = |step: Step<'_>| {
            checks.step(step);
            audit.step(step);
        };
        match log.open(replay, walk, each) {
            Ok(()) => audit.settle(None),
            Err(Fault { kind: FaultKind::Io(source), .. }) => return Err(failed(source)),
            Err(fault) => {
                let (known, sealed) = known_durable(&book, &witnesses, &fault).map_err(failed)?;
                let begun = fault.records > 0;
                let all_there = fault.records >= known.records;
                let verdict = judge(Finding { met: Met::from(&fault.kind), begun, all_there, sealed });
                let Fault { file, offset, records, kind } = fault;
                let seq = Seq(records);
                if verdict == Verdict::Torn && !witnesses.slots.is_empty() {
                    tail = Some(AuditFault { file, offset: Some(offset), seq, what: kind.to_string() });
                } else {
                    broken = true;
                    audit.fault(file, Some(offset), seq, kind.to_string());
                }
            }
        }
        audit.confirm_doubles(&book);
        let Checkpoint { records, head } = book.checkpoint();
        let durable = witnesses.durable().records;
        if durable > records && audit.faults.is_empty() {
            let what = format!(
                "the log ends with {records} records, but {durable} were seen durable: it was rolled back"
            );
            audit.fault(HEAD.to_owned(), None, Seq(records), what);
        }
        if witnesses.slots.is_empty() {
            let what = "HEAD is missing or damaged: nothing but the frames says what was durable".to_owned();
            audit.fault(HEAD.to_owned(), None, Seq(records), what);
        }
        let (bad, snapshots) = checks.finish(&book, &audit.dictionaries, broken);
        for IgnoredSnapshot { file, why } in bad {
            audit.fault(file, None, Seq(records), why.to_string());
        }
        let (digest, faults) = (book.state().digest(), audit.faults);
        Ok(AuditReport { records, head, digest, faults, tail, snapshots })
    }

    fn fault(&mut self, file: String, offset: Option<u64>, seq: Seq, what: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(AuditFault { file, offset, seq, what });
        }
    }

    fn wrong(&mut self, seq: Seq, what: &str) {
        self.fault(LOG.to_owned(), None, seq, what.to_owned());
    }

    fn step(&mut self, step: Step<'_>) {
        let seq = step.record.seq();
        if step.record.is_erased() {
            self.wrong(seq, "its payload is missing, and no record erased it");
        }
        if let Some(id) = step.record.operation_id() {
            let earlier = self.seen.candidates(id).map(|earlier| (id, Seq(earlier.into()), seq));
            self.doubles.extend(earlier);
        }
        if !absorb(&mut self.dictionaries, &mut self.seen, step) {
            self.wrong(seq, "its text is out of bounds (B1), or has a number already");
        }
        match self.definition(step) {
            Some(definition) => self.pending.push((seq, definition)),
            None => {
                self.settle(Some(&step.record.body()));
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
                Definition::Id(IdNo(last(step.state.ids().len())), class, classes)
            }
            Body::DefineDevice(id, _) => {
                self.devices.push(Device::anonymous(id));
                Definition::Device(id)
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
    fn settle(&mut self, body: Option<&Body>) {
        let pending = std::mem::take(&mut self.pending);
        let begins_device = |id: IdNo| {
            let defined = |(_, definition): &(Seq, Definition)| matches!(definition, Definition::Device(first) if *first == id);
            pending.iter().any(defined) || matches!(body, Some(Body::Reset(head, ..)) if head.id == id)
        };
        let target = body.and_then(Body::head).map(|head| head.id);
        let other = body.map_or(Other::None, Body::other);
        for (seq, definition) in &pending {
            let needed = match definition {
                Definition::Id(id, ..) => {
                    target == Some(*id) || other == Other::Id(*id) || begins_device(*id)
                }
                Definition::Device(_) => true,
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
                let identifies = matches!(body, Some(Body::Identify(..)));
                let mention = if begins_device(*id) {
                    FirstMention::Device
                } else if identifies && other == Other::Id(*id) && target != Some(*id) {
                    FirstMention::IdentifySource
                } else {
                    FirstMention::Plain
                };
                if classes.iter().any(|(of, expected)| *of == mention && expected != class) {
                    self.wrong(*seq, "the class of its id is not what text and first mention give (B4)");
                }
            }
        }
    }

    fn operation(&mut self, seq: Seq, step: Step<'_>) {
        let body = step.record.body();
        let Some(head) = body.head() else { return };
        let said = Said::of(step.record.row);
        if let Some(device) = head.device
            && !self.devices[device.index()].could_say(said)
        {
            self.wrong(seq, "its device did not speak for this id then (F2)");
        }
        for device in said.devices() {
            self.devices[device.index()].follow(said);
        }
        if matches!(step.outcome, Some(Outcome { undone: Some(Undone::Retracted { .. }), .. })) {
            self.devices = step.state.devices().to_vec(); // what devices said may have been taken back (H1)
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

    /// G4: no operation id stands twice. Looks at the records whose ids seemed equal.
    fn confirm_doubles(&mut self, book: &Book) {
        for (id, earlier, later) in std::mem::take(&mut self.doubles) {
            let Ok(window) = book.log.window(earlier) else { continue }; // the walk has listed what is unreadable
            let same = window.checked(earlier).is_ok_and(|record| record.operation_id() == Some(id));
            if same {
                self.wrong(later, &format!("its operation id {id} stands in record {earlier} already (G4)"));
            }
        }
    }
}
