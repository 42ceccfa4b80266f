//! The ledger: the one that writes. It numbers, frames, makes durable, and only then folds and answers.

pub(crate) mod create;
pub(crate) mod dedupe;
pub(crate) mod device;
pub(crate) mod devices;
pub(crate) mod draft;
pub(crate) mod erase;
pub(crate) mod error;
pub(crate) mod key_budget;
pub(crate) mod open;
pub(crate) mod preview;
pub(crate) mod questions;
pub(crate) mod recovery;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::io;

use crate::fold::{Erasures, Outcome, Past};
use crate::ledger::dedupe::is_same_operation;
use crate::ledger::draft::{Aim, Draft, Drafted, Finished, KnownIds, Named, fresh_id};
use crate::ledger::error::{AppendError, SnapshotError};
use crate::ledger::key_budget::KeyBudget;
use crate::ledger::questions::pass_questions_on;
use crate::ledger::recovery::{Recovery, TornTail};
use crate::ledger::snapshot::Snapshot;
use crate::ledger::writer::{Durability, Writer};
use crate::log::body::{Body, CutOff, IdNo, StoredPolicy};
use crate::log::chain::Checkpoint;
use crate::log::frame::{self, Frame, Header};
use crate::log::payload::{self, KeysError};
use crate::log::record::Rows;
use crate::model::id::{DeviceId, DistinctId, OperationId, Seq};
use crate::model::limits::{MAX_BATCH_OPERATIONS, MAX_FRAME_BYTES, MAX_FRAME_RECORDS, MAX_RECORDS};
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::query::reader::{Reader, recorded};
use crate::store::dictionary::{Dictionaries, Seen};
use crate::store::layout::{HEAD, LOG};
use crate::store::segments::{Fault, FaultKind, Log};

/// A ledger open for writing. One at a time: it holds the lock until it is dropped, or until a failure stops it
/// ([`AppendError::Poisoned`]). From then on it only answers, and the ledger can be opened again beside it.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let visitor = Source::new("visitor-7");
/// let appended = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(visitor)))?;
/// assert!(appended.outcome().unwrap().refusal.is_none());
/// assert_eq!(ledger.resolve("visitor-7"), ledger.resolve("ann"));
///
/// // A refusal is an answer, not an error: it is recorded, with its rule.
/// let appended = ledger.append(Operation::alias(at, DistinctId::new("ann")?, Source::new("null")))?;
/// assert_eq!(appended.outcome().unwrap().refusal.unwrap().rule(), "B2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ledger {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) recovery: Recovery,
    pub(crate) snapshots: Cadence,
}

/// When snapshots are made.
#[derive(Debug, Default)]
pub(crate) struct Cadence {
    /// After how many more records the next one is made; `None` makes none.
    every: Option<u64>,
    /// How many records there were when one was made or tried last.
    last: u64,
    /// Why the last one that was to be made by itself was not.
    pub(crate) error: Option<SnapshotError>,
}

/// What became of an operation.
#[must_use = "an operation can be refused, or not be recorded at all, without an error: look at the outcome"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is recorded, and this is what it did or was refused.
    Recorded {
        /// The operation's record.
        seq: Seq,
        /// What it did.
        outcome: Outcome,
    },
    /// It was recorded before, word for word (G4). Nothing was written.
    Duplicate {
        /// The earlier record of the same operation.
        seq: Seq,
    },
    /// Another operation was recorded under its id (G4). Nothing was written.
    Conflict {
        /// The earlier record that has the same operation id.
        seq: Seq,
    },
    /// Its device said just that before (F3). Nothing was written.
    Ignored,
}

impl Appended {
    /// What an operation is whose id record `seq` has, whether or not it says the same.
    fn again(seq: Seq, same: bool) -> Appended {
        if same { Appended::Duplicate { seq } } else { Appended::Conflict { seq } }
    }

    /// What the operation did, if it was recorded.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Appended::Recorded { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// The record, of this operation or of the one before it.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Appended::Recorded { seq, .. } | Appended::Duplicate { seq } | Appended::Conflict { seq } => {
                Some(*seq)
            }
            Appended::Ignored => None,
        }
    }
}

impl Ledger {
    /// What opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// How many records are known to be durable.
    pub fn durable_records(&self) -> u64 {
        self.writer.disk.durable()
    }

    /// Records one operation and gives what it did.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn append(&mut self, operation: Operation) -> Result<Appended, AppendError> {
        let mut appended = self.append_batch(std::slice::from_ref(&operation))?;
        Ok(appended.pop().expect("one operation in, one answer out"))
    }

    /// Records operations as one: all of them or none. Refusals and duplicates are answers; they stop
    /// nothing.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn append_batch(&mut self, operations: &[Operation]) -> Result<Vec<Appended>, AppendError> {
        self.check_health()?;
        if operations.len() > MAX_BATCH_OPERATIONS {
            return Err(AppendError::BatchTooLarge { operations: operations.len(), records: 0, bytes: 0 });
        }
        for (index, operation) in operations.iter().enumerate() {
            operation.check().map_err(|source| AppendError::Operation { index, source })?;
        }
        if operations.iter().any(Operation::refolds) {
            self.reader.prove_texts().map_err(unproven)?; // it names ids and records that must be those that were meant
        }
        let Ledger { reader, writer, .. } = self;
        let ledger = reader.ledger_id();
        let Reader { log, replay, dictionaries, seen, .. } = reader;
        let foreseen = prefetch(operations, dictionaries, seen);
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, &mut *writer.entropy, log.keys());
        let mut answers = Vec::with_capacity(operations.len());
        let mut keys = KeyBudget::new(operations.len() == 1);
        for (index, (operation, Foreseen { ids, in_log })) in operations.iter().zip(foreseen).enumerate() {
            let judged = (|| {
                let erasures = replay.state().erasures();
                let aim = draft.aim(
                    operation,
                    |id| recorded(log, erasures, seen, id),
                    |seq| read(log, erasures, seq),
                )?;
                let known = |id| {
                    let recorded = || if in_log { recorded(log, erasures, seen, id) } else { Ok(None) };
                    let aim = aim.as_ref().ok().copied().flatten();
                    before(&draft, log, erasures, recorded, id, operation, aim)
                };
                Ok((operation.id.map_or(Ok(None), known)?, aim))
            })();
            let (known, aim) = match judged {
                Ok(judged) => judged,
                Err(fault) => {
                    draft.discard();
                    return Err(AppendError::Unreadable(Box::new(fault)));
                }
            };
            if let Some(known) = known {
                answers.push(Answer::KnownIds(known));
                continue;
            }
            let aim = match aim.and_then(|aim| draft.check_fresh(operation).map(|()| aim)) {
                Ok(aim) => aim,
                Err(source) => {
                    draft.discard();
                    return Err(AppendError::Operation { index, source });
                }
            };
            let drafted = draft.operation(operation, ids, aim, &writer.last_calls);
            if let Some(source) = draft.refused() {
                draft.discard();
                return Err(AppendError::Operation { index, source });
            }
            match drafted {
                Drafted::Ignored => answers.push(Answer::KnownIds(Appended::Ignored)),
                Drafted::Record(seq, body) => {
                    if let Err(found) = keys.spend(replay.state(), &body) {
                        draft.discard();
                        return Err(AppendError::TooManyPersonKeys { index, found });
                    }
                    answers.push(Answer::Recorded(seq));
                }
            }
        }
        let frame_bytes = draft.body.len() + draft.payload.len();
        if frame_bytes > MAX_FRAME_BYTES - 128 || draft.records > MAX_FRAME_RECORDS {
            let (records, bytes) = (draft.records.into(), frame_bytes as u64);
            draft.discard();
            return Err(AppendError::BatchTooLarge { operations: operations.len(), records, bytes });
        }
        let lengths = draft.lengths();
        let finished = draft.finish();
        let outcomes = self.commit(finished, lengths)?;
        let refolded = outcomes.iter().any(|(_, outcome)| outcome.undone.is_some());
        let mut outcomes = outcomes.into_iter();
        let answer = |answer| match answer {
            Answer::KnownIds(known) => known,
            Answer::Recorded(seq) => {
                let (_, outcome) = outcomes
                    .find(|(of, _)| *of == seq) // a reset that the draft added stands between (H3)
                    .expect("each recorded operation has one outcome");
                Appended::Recorded { seq, outcome }
            }
        };
        let appended = answers.into_iter().map(answer).collect();
        if let (true, Some(last)) = (refolded, operations.last()) {
            self.reset_devices(last.time);
        }
        Ok(appended)
    }

    /// Makes a new device, with a fresh UUIDv7 that is its device id, anonymous id and current id (F1), and records it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn new_device(&mut self, at: Timestamp) -> Result<DeviceId, AppendError> {
        self.check_health()?;
        let Ledger { reader, writer, .. } = self;
        let ledger = reader.ledger_id();
        let fresh = fresh_id(at, &mut *writer.entropy);
        let device = DeviceId::new(fresh.into_string()).expect("a distinct id's bounds are a device id's");
        let Reader { log, replay, dictionaries, .. } = reader;
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, &mut *writer.entropy, log.keys());
        draft.device_no(&device);
        let lengths = draft.lengths();
        let finished = draft.finish();
        self.commit(finished, lengths)?;
        Ok(device)
    }

    /// Changes the policy from here on (A3); classes and sizes that exist stay as they are.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<Seq, AppendError> {
        policy.check()?;
        self.append_record(&Body::SetPolicy(Box::new(StoredPolicy::from(policy))))
    }

    /// Makes everything written so far durable, `HEAD` included.
    ///
    /// # Errors
    /// [`AppendError::Indeterminate`], and from then on `Poisoned`.
    pub fn flush(&mut self) -> Result<Checkpoint, AppendError> {
        self.check_health()?;
        let Ledger { reader, writer, .. } = self;
        let seq = writer.disk.durable();
        match writer.flush(reader) {
            Ok(()) => Ok(reader.checkpoint()),
            Err(source) => Err(poison(writer, seq, source)),
        }
    }

    /// Makes everything written so far durable, and then a snapshot of it, so that the next opening need not replay what it
    /// covers. Of older snapshots one is kept. Erasures that were begun are finished first: a snapshot holds texts.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use identity_ledger::{Ledger, LedgerOptions, Policy, Tenant};
    /// # use identity_ledger::storage::Memory;
    /// let disk = Arc::new(Memory::new());
    /// let mut ledger = LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default())?;
    /// let made = ledger.snapshot()?;
    /// assert_eq!(made.records, ledger.checkpoint().records);
    /// drop(ledger);
    /// let ledger = LedgerOptions::new().open_in(disk)?;
    /// assert_eq!(ledger.recovery().from_snapshot, Some(made.records));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SnapshotError`]; unless it is `Flush`, the ledger continues as before.
    pub fn snapshot(&mut self) -> Result<Snapshot, SnapshotError> {
        self.finish_erasures(&mut |_| {}).map_err(|error| SnapshotError::Erasure(Box::new(error)))?;
        self.make_snapshot()
    }

    pub(crate) fn make_snapshot(&mut self) -> Result<Snapshot, SnapshotError> {
        self.flush()?;
        self.snapshots.last = self.checkpoint().records;
        snapshot::make(&self.reader, &self.recovery.snapshots_ignored)
    }

    /// Why the last snapshot that [`LedgerOptions::snapshot_every`](crate::LedgerOptions::snapshot_every) asked for was not made; `None` if it was, or none was due.
    pub fn snapshot_error(&self) -> Option<&SnapshotError> {
        self.snapshots.error.as_ref()
    }

    fn snapshot_if_due(&mut self) {
        let due = |every| self.checkpoint().records >= self.snapshots.last + every;
        if self.snapshots.every.is_some_and(due) && !self.reader.state().erasures().is_pending() {
            self.snapshots.error = self.make_snapshot().err();
        }
    }

    pub(crate) fn check_health(&self) -> Result<(), AppendError> {
        self.writer.disk.poisoned().map_or(Ok(()), |cause| Err(AppendError::Poisoned { cause }))
    }

    /// Adds one record that is not an operation.
    pub(crate) fn append_record(&mut self, body: &Body) -> Result<Seq, AppendError> {
        self.check_health()?;
        let seq = Seq(self.reader.state().records());
        let mut bytes = Vec::new();
        crate::log::codec::encode(body, &mut bytes);
        let lengths = self.reader.dictionaries.lengths();
        let (last_calls, payload) = (BTreeMap::new(), Vec::new());
        self.commit(Finished { records: 1, body: bytes, payload, last_calls }, lengths)?;
        Ok(seq)
    }

    /// Frame, disk, fold: in this order. The texts of `finished` are in the dictionaries already; if the disk
    /// fails, these are cut back to `lengths`.
    pub(crate) fn commit(
        &mut self,
        finished: Finished,
        lengths: [u32; 4],
    ) -> Result<Vec<(Seq, Outcome)>, AppendError> {
        let Finished { records, body, payload, last_calls } = finished;
        if records == 0 {
            return Ok(Vec::new());
        }
        let Ledger { reader, writer, .. } = self;
        let first_seq = reader.checkpoint().records;
        if first_seq + u64::from(records) > MAX_RECORDS {
            reader.dictionaries.truncate(lengths);
            return Err(AppendError::Full);
        }
        let header = Header {
            body_len: u32::try_from(body.len()).expect("a frame is at most 16 MiB"),
            payload_len: u32::try_from(payload.len()).expect("a frame is at most 16 MiB"),
            first_seq,
            records,
            durable: writer.disk.durable(),
        };
        let mut bytes = Vec::with_capacity(header.frame_len());
        let ledger = reader.ledger_id();
        frame::write(header, &body, &payload, ledger, reader.replay.chain().head(), &mut bytes);
        let frame = Frame::parse(&bytes, ledger).expect("what frame::write writes, Frame::parse reads");
        let (before, mut rows) = (reader.replay.chain().clone(), Rows::default());
        let mut after = before.clone();
        after.accept(&frame, &mut rows).expect("a draft fits its chain");
        let mut plain = Vec::new();
        let frame = payload::open(reader.log.keys(), frame, &mut rows, &mut plain)
            .expect("what was sealed just now opens");
        // What the fold needs of earlier records is read before anything is written: a disk that fails now changes nothing.
        let past = match reader.log.past(&frame, &rows) {
            Ok(past) => past,
            Err(fault) => {
                reader.log.forget_index();
                reader.dictionaries.truncate(lengths);
                return Err(AppendError::Unreadable(Box::new(fault)));
            }
        };
        let (segment, offset) = match writer.write(reader, &bytes) {
            Ok(place) => place,
            Err(source) => {
                reader.log.forget_index();
                reader.dictionaries.truncate(lengths);
                return Err(poison(writer, first_seq, source));
            }
        };
        reader.log.mark(&before, segment, offset);
        reader.log.note(&frame, &rows, (segment, offset));
        reader.replay.advance(after);
        let acknowledged = match writer.durability {
            Durability::Buffered => Ok(()),
            _ => writer.acknowledge(reader),
        };
        // Acknowledged or not, the records are written and may well be durable: reads agree with the chain.
        let mut outcomes = Vec::with_capacity(records as usize);
        fold(reader, &frame, &mut rows, &past, &mut outcomes);
        acknowledged.map_err(|source| poison(writer, first_seq, source))?;
        writer.last_calls.extend(last_calls);
        self.snapshot_if_due();
        Ok(outcomes)
    }

    /// A ledger just opened: what follows the last known durable record is made durable, and a cut is recorded.
    pub(crate) fn settled(
        reader: Reader,
        writer: Writer,
        recovery: Recovery,
        snapshot_every: Option<u64>,
    ) -> io::Result<Ledger> {
        let last = recovery.from_snapshot.unwrap_or(0);
        let mut ledger =
            Ledger { reader, writer, recovery, snapshots: Cadence { last, ..Cadence::default() } };
        ledger.settle()?;
        ledger.snapshots.every = snapshot_every;
        Ok(ledger)
    }

    /// Stores in the key ring of a sealed ledger how far the log is durable, so that a copy with another history is told from this one.
    /// Everything must be durable. Gives whether something had to be stored.
    pub(crate) fn settle_keys(&self) -> Result<bool, KeysError> {
        let Some(sealer) = self.reader.log.keys() else { return Ok(false) };
        sealer.reach(self.checkpoint());
        sealer.settle()
    }

    /// As [`Ledger::settle_keys`], and if nothing had to be stored, tries whether it could be.
    pub(crate) fn try_keys(&self) -> Result<(), KeysError> {
        match self.reader.log.keys() {
            Some(sealer) if !self.settle_keys()? => sealer.probe(),
            _ => Ok(()),
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        let Ledger { reader, writer, recovery, .. } = self;
        // A writer that was killed may have made files and not lived to make their names durable. What follows relies on them.
        reader.log.storage().sync_dir(LOG)?;
        reader.log.storage().sync_dir("")?;
        reader.log.storage().sync_name()?;
        let records = reader.checkpoint().records;
        if writer.disk.durable() < records || recovery.head_missing || recovery.torn.is_some() {
            if recovery.head_missing && reader.log.storage().len(HEAD)?.is_none() {
                reader.log.storage().create(HEAD)?;
                reader.log.storage().sync_dir("")?;
            }
            writer.flush(reader)?;
        }
        if let Some(TornTail { bytes, digest, .. }) = &recovery.torn {
            let body = Body::Recovered(CutOff { bytes: *bytes, digest: digest.0 });
            self.append_record(&body).map_err(io::Error::other)?;
            let Ledger { reader, writer, .. } = self;
            writer.flush(reader)?;
        }
        Ok(())
    }
}

/// Folds the accepted frame into the state; the dictionaries have its texts already.
fn fold(
    reader: &mut Reader,
    frame: &Frame<'_>,
    rows: &mut Rows,
    past: &Past,
    outcomes: &mut Vec<(Seq, Outcome)>,
) {
    let Reader { replay, seen, .. } = reader;
    let mut erasures = Vec::new();
    replay.fold(frame, rows, past, |step| {
        if step.record.row.is_erasure() {
            erasures.push(step.record.body());
        }
        if let Some(outcome) = step.outcome {
            outcomes.push((step.record.seq(), *outcome));
            if let Some(id) = step.record.operation_id() {
                seen.insert(id, step.record.row.seq);
            }
        }
    });
    erasures.iter().for_each(|body| reader.forget(body));
}

/// Stops writing after a write that failed: whether it was done is unknown.
pub(crate) fn poison(writer: &mut Writer, seq: u64, source: io::Error) -> AppendError {
    writer.stop(source.to_string());
    AppendError::Indeterminate { seq, source }
}

fn unproven(fault: Fault) -> AppendError {
    match fault.kind {
        FaultKind::Unproven { .. } => AppendError::Unproven(Box::new(fault)),
        _ => AppendError::Unreadable(Box::new(fault)),
    }
}

enum Answer {
    KnownIds(Appended),
    Recorded(Seq),
}

/// What the log knows of one operation of a batch.
struct Foreseen {
    ids: KnownIds,
    /// Whether a record may have its id: a fingerprint says so.
    in_log: bool,
}

/// Looks up what a batch names, all of it before any is drafted: memory that one look waits for is waited for by many together.
fn prefetch(operations: &[Operation], dictionaries: &Dictionaries, seen: &Seen) -> Vec<Foreseen> {
    let texts = operations.iter().flat_map(|operation| operation.ids().into_iter().flatten());
    let texts: Vec<&str> = texts.map(DistinctId::as_str).collect();
    let mut numbers = dictionaries.ids.find_all(&texts).into_iter();
    let mut number =
        |id: Option<&DistinctId>| id.and_then(|_| numbers.next().expect("each text was looked up")).map(IdNo);
    let of = |operation: &Operation| {
        let ids = KnownIds(operation.ids().map(&mut number));
        Foreseen { ids, in_log: operation.id.is_some_and(|id| seen.may_have(id)) }
    };
    operations.iter().map(of).collect()
}

/// G4: what was said under this id before, in the log, where `recorded` looks, or earlier in the batch.
fn before(
    draft: &Draft<'_>,
    log: &Log,
    erasures: &Erasures,
    recorded: impl FnOnce() -> Result<Option<Seq>, Fault>,
    id: OperationId,
    operation: &Operation,
    aim: Option<Aim>,
) -> Result<Option<Appended>, Fault> {
    if let Some(Named { seq, body, item, .. }) = draft.named(id) {
        let same = is_same_operation(operation, aim, body, Some(item), draft.dictionaries());
        return Ok(Some(Appended::again(*seq, same)));
    }
    let Some(seq) = recorded()? else { return Ok(None) };
    again(log, erasures, draft.dictionaries(), seq, operation, aim).map(Some)
}

/// G4: what an operation is that has the id of the one recorded as `seq`.
pub(crate) fn again(
    log: &Log,
    erasures: &Erasures,
    dictionaries: &Dictionaries,
    seq: Seq,
    operation: &Operation,
    aim: Option<Aim>,
) -> Result<Appended, Fault> {
    let window = log.window(seq, erasures)?;
    let record = window.checked(seq)?;
    let same = is_same_operation(operation, aim, &record.body(), record.item(), dictionaries);
    Ok(Appended::again(seq, same))
}

pub(crate) fn read(log: &Log, erasures: &Erasures, seq: Seq) -> Result<Body, Fault> {
    Ok(log.window(seq, erasures)?.checked(seq)?.body())
}

impl Drop for Ledger {
    /// Closes the ledger: what is written becomes durable. Call [`Ledger::flush`] first to hear of a failure.
    fn drop(&mut self) {
        if self.writer.disk.poisoned().is_none() && self.flush().is_ok() {
            self.settle_keys().ok(); // the ring then knows less of the log, and is as good
        }
    }
}

pass_questions_on!(Ledger);
