//! Appending: a batch is drafted, what was recorded before is left out, and the rest is committed as one frame.

use std::collections::BTreeMap;

use crate::fold::{Erasures, Outcome};
use crate::ledger::Ledger;
use crate::ledger::appended::{Answers, Appended};
use crate::ledger::dedupe::before;
use crate::ledger::delivery::{Delivery, chance};
use crate::ledger::draft::{Draft, Drafted, Finished, KnownIds, fresh_id};
use crate::ledger::error::AppendError;
use crate::ledger::key_budget::KeyBudget;
use crate::ledger::writer::Durability;
use crate::log::body::{Body, IdNo, StoredPolicy};
use crate::log::encode::BodyWriter;
use crate::model::id::{DeviceId, DistinctId, Seq};
use crate::model::limits::{MAX_BATCH_OPERATIONS, MAX_FRAME_BYTES, MAX_FRAME_RECORDS};
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::query::reader::{Reader, recorded};
use crate::store::dictionary::{Dictionaries, Seen};
use crate::store::segments::{Fault, FaultKind, Log};

impl Ledger {
    /// Records one operation and gives what it did.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn append(&mut self, operation: Operation) -> Result<Appended, AppendError> {
        let answers = self.append_batch(std::slice::from_ref(&operation))?;
        Ok(answers.into_iter().next().expect("one operation in, one answer out"))
    }

    /// Records operations as one: all of them or none. Refusals and duplicates are answers; they stop
    /// nothing.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn append_batch(&mut self, operations: &[Operation]) -> Result<Answers, AppendError> {
        self.check_local()?;
        self.check_batch(operations)?;
        let (answers, finished) = self.draft(operations, None)?;
        let outcomes = self.commit(finished)?;
        let refolded = outcomes.iter().any(|(_, outcome)| outcome.undone.is_some());
        if let (true, Some(last)) = (refolded, operations.last()) {
            self.reset_devices(last.time);
        }
        Ok(answer(answers, outcomes))
    }

    /// Records the operations that the ledger takes, in their order, and answers each of the others with its error: for operations of many
    /// senders, of whom one must not spoil the batch of all.
    ///
    /// It is one frame, made durable once, if the ledger takes all of them. A batch that it does not take as a whole is halved until it is
    /// clear which operation is to blame, and each part is a frame; all of them are made durable together at the end.
    ///
    /// ```
    /// # use identity_ledger::{DistinctId, Ledger, Operation, Policy, SplitMode, Tenant, Timestamp};
    /// # let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let (at, ann) = (Timestamp::from_micros(0)?, DistinctId::new("ann")?);
    /// let split = Operation::split(at, ann.clone(), [DistinctId::new("bob")?], SplitMode::Each);
    /// let answers = ledger.append_each(&[Operation::properties(at, ann), split])?;
    /// assert!(answers[0].is_ok());
    /// let error = answers[1].as_ref().unwrap_err().to_string();
    /// assert_eq!(error, "operation 1: id `bob` was never written; expected an id that was");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AppendError`] if nothing more can be recorded: the ledger is full, or a disk fails. Operations before may be recorded then.
    pub fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        self.check_local()?;
        let before = self.checkpoint().records;
        let durability = std::mem::replace(&mut self.writer.durability, Durability::Buffered);
        let mut answers = Vec::with_capacity(operations.len());
        let recorded = self.append_parts(operations, &mut answers);
        self.writer.durability = durability;
        let Ledger { reader, writer, .. } = self;
        let is_owed = durability != Durability::Buffered && reader.checkpoint().records > before;
        let acknowledged = match writer.disk.poisoned() {
            None if is_owed => writer.acknowledge(reader).map_err(|source| writer.poison(before, source)),
            _ => Ok(()),
        };
        recorded.and(acknowledged).map(|()| Answers::new(answers))
    }

    /// The ledger's word on a whole batch may blame the wrong operation: its bound on a person's keys is exact only for one.
    fn append_parts(
        &mut self,
        operations: &[Operation],
        answers: &mut Vec<Result<Appended, AppendError>>,
    ) -> Result<(), AppendError> {
        match self.append_batch(operations) {
            Ok(appended) => answers.extend(appended.into_iter().map(Ok)),
            Err(error) if !error.is_about_operations() => return Err(error),
            Err(error) if operations.len() == 1 => answers.push(Err(error.of_operation(answers.len()))),
            Err(_) => {
                let (first, last) = operations.split_at(operations.len() / 2);
                self.append_parts(first, answers)?;
                self.append_parts(last, answers)?;
            }
        }
        Ok(())
    }

    /// Checks what needs no look at the log: sizes, bounds, and that texts which are named are those of the log.
    pub(super) fn check_batch(&self, operations: &[Operation]) -> Result<(), AppendError> {
        if operations.len() > MAX_BATCH_OPERATIONS {
            return Err(AppendError::BatchTooLarge { operations: operations.len(), records: 0, bytes: 0 });
        }
        for (index, operation) in operations.iter().enumerate() {
            operation.check().map_err(|source| AppendError::Operation { index, source })?;
        }
        if operations.iter().any(Operation::refolds) {
            self.reader.prove_texts().map_err(unproven)?; // it names ids and records that must be those that were meant
        }
        Ok(())
    }

    /// Drafts the frame of a batch, and says what becomes of each operation. What was delivered at a position of a followed log depends
    /// on nothing that is this writer's alone: its chance comes with it, and no device is known to have said anything before (F3).
    pub(super) fn draft(
        &mut self,
        operations: &[Operation],
        delivery: Option<&Delivery<'_>>,
    ) -> Result<(Vec<Answer>, Finished), AppendError> {
        let Ledger { reader, writer, .. } = self;
        let (mut delivered, nothing) = (delivery.map(Delivery::entropy), BTreeMap::new());
        let (entropy, nonces) = chance(&mut delivered, &mut *writer.entropy);
        let last_calls = if delivery.is_some() { &nothing } else { &writer.last_calls };
        let ledger = reader.ledger_id();
        let Reader { log, replay, dictionaries, seen, .. } = reader;
        let erasures = replay.state().erasures();
        let foreseen = prefetch(operations, dictionaries, seen);
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, entropy, log.keys());
        draft.nonces = nonces;
        let mut answers = Vec::with_capacity(operations.len());
        let mut keys = KeyBudget::new(operations.len() == 1);
        for (index, (operation, Foreseen { ids, in_log })) in operations.iter().zip(foreseen).enumerate() {
            let unreadable = |fault| AppendError::Unreadable(Box::new(fault));
            let refused = |source| AppendError::Operation { index, source };
            let aim = draft
                .aim(operation, |id| recorded(log, erasures, seen, id), |seq| read(log, erasures, seq))
                .map_err(unreadable)?;
            if let Some(id) = operation.id {
                let in_log = || if in_log { recorded(log, erasures, seen, id) } else { Ok(None) };
                let aim = aim.as_ref().ok().copied().flatten();
                let known = before(&draft, log, erasures, in_log, id, operation, aim).map_err(unreadable)?;
                if let Some(known) = known {
                    answers.push(Answer::Known(known));
                    continue;
                }
            }
            let aim = aim.map_err(refused)?;
            draft.check_fresh(operation).map_err(refused)?;
            let drafted = draft.operation(operation, ids, aim, last_calls);
            // What a key ring refuses is one copy's choice.
            if let Some(source) = draft.refused().filter(|_| delivery.is_none()) {
                return Err(refused(source));
            }
            answers.push(match drafted {
                Drafted::Ignored => Answer::Known(Appended::Ignored),
                Drafted::Record(seq, body) => {
                    keys.spend(replay.state(), &body)
                        .map_err(|found| AppendError::TooManyPersonKeys { index, found })?;
                    Answer::Recorded(seq)
                }
            });
        }
        Ok((answers, end(draft, delivery, operations.len())?))
    }

    /// Makes a new device, with a fresh UUIDv7 that is its device id, anonymous id and current id (F1), and records it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn new_device(&mut self, at: Timestamp) -> Result<DeviceId, AppendError> {
        self.check_local()?;
        let Ledger { reader, writer, .. } = self;
        let ledger = reader.ledger_id();
        let fresh = fresh_id(at, &mut *writer.entropy);
        let device = DeviceId::new(fresh.into_string()).expect("a distinct id's bounds are a device id's");
        let Reader { log, replay, dictionaries, .. } = reader;
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, &mut *writer.entropy, log.keys());
        draft.device_no(&device);
        let finished = draft.finish();
        self.commit(finished)?;
        Ok(device)
    }

    /// Changes the policy from here on (A3); classes, kinds and sizes that exist stay as they are. Kinds of ids keep their places (D12).
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<Seq, AppendError> {
        policy.check_after(self.reader.policy())?;
        self.append_record(&Body::SetPolicy(Box::new(StoredPolicy::from(policy))))
    }

    /// Adds one record that is not an operation.
    pub(crate) fn append_record(&mut self, body: &Body) -> Result<Seq, AppendError> {
        self.check_local()?;
        let seq = Seq(self.reader.state().records());
        self.commit(self.finished(std::slice::from_ref(body), None))?;
        Ok(seq)
    }

    /// The frame of records that name no new text and have no payload items.
    pub(super) fn finished(&self, bodies: &[Body], recorded_at: Option<Timestamp>) -> Finished {
        Finished {
            records: bodies.len() as u32, // one or two
            body: BodyWriter::of(bodies),
            payload: Vec::new(),
            last_calls: BTreeMap::new(),
            recorded_at,
            lengths: self.reader.dictionaries.lengths(),
        }
    }
}

/// Ends a draft of this many operations; what a log delivered, with its position. A frame holds only so much.
pub(super) fn end(
    mut draft: Draft<'_>,
    delivery: Option<&Delivery<'_>>,
    operations: usize,
) -> Result<Finished, AppendError> {
    if let Some(delivery) = delivery {
        draft.push(&delivery.record());
    }
    let (records, bytes) = (draft.body.records(), draft.body.len() + draft.payload.len());
    if bytes > MAX_FRAME_BYTES - 128 || records > MAX_FRAME_RECORDS {
        return Err(AppendError::BatchTooLarge { operations, records: records.into(), bytes: bytes as u64 });
    }
    let mut finished = draft.finish();
    if let Some(Delivery { recorded_at, .. }) = delivery {
        finished.recorded_at = Some(*recorded_at);
        finished.last_calls.clear();
    }
    Ok(finished)
}

/// The answers to a batch, in its order. `outcomes` are those of its records, ascending.
pub(super) fn answer(answers: Vec<Answer>, outcomes: Vec<(Seq, Outcome)>) -> Answers {
    let mut outcomes = outcomes.into_iter();
    let answer = |answer| match answer {
        Answer::Known(known) => known,
        Answer::Recorded(seq) => {
            let (_, outcome) = outcomes
                .find(|(of, _)| *of == seq) // a reset that the draft added stands between (H3)
                .expect("each recorded operation has one outcome");
            Appended::Recorded { seq, outcome }
        }
    };
    Answers::new(answers.into_iter().map(answer).collect())
}

pub(crate) fn unproven(fault: Fault) -> AppendError {
    match fault.kind {
        FaultKind::Unproven { .. } => AppendError::Unproven(Box::new(fault)),
        _ => AppendError::Unreadable(Box::new(fault)),
    }
}

/// What becomes of an operation of a batch, as far as its draft says.
pub(super) enum Answer {
    /// It is not recorded.
    Known(Appended),
    /// It will be this record.
    Recorded(Seq),
}

/// What the log knows of one operation of a batch.
pub(crate) struct Foreseen {
    pub(crate) ids: KnownIds,
    /// Whether a record may have its id: a fingerprint says so.
    pub(crate) in_log: bool,
}

/// Looks up what a batch names, all of it before any is drafted: memory that one look waits for is waited for by many together.
pub(crate) fn prefetch(operations: &[Operation], dictionaries: &Dictionaries, seen: &Seen) -> Vec<Foreseen> {
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

pub(crate) fn read(log: &Log, erasures: &Erasures, seq: Seq) -> Result<Body, Fault> {
    Ok(log.window(seq, erasures)?.checked(seq)?.body())
}
