//! The ledger: the one that writes. It numbers, frames, makes durable, and only then folds and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::book::Book;
use crate::chain::Checkpoint;
use crate::digest::Digest;
use crate::directory::{
    HEAD, HeadSlot, Identity, LEDGER, LOG, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::draft::{Draft, Drafted, Finished, fresh_id, says_the_same};
use crate::entropy::{Entropy, OsEntropy};
use crate::frame::{self, Frame, Header};
use crate::id::LedgerId;
use crate::id::{DeviceId, OperationId, Seq, Tenant};
use crate::limits::{
    DEFAULT_SEGMENT_BYTES, MAX_BATCH_OPERATIONS, MAX_FRAME_BYTES, MAX_FRAME_RECORDS, MAX_PERSON_KEYS,
    MAX_RECORDS, MIN_SEGMENT_BYTES,
};
use crate::log::{Fault, Segment, Walk};
use crate::operation::{Operation, OperationError};
use crate::policy::{Policy, PolicyError};
use crate::record::{Body, Change, CutOff, DeviceNo, IdNo, KeyNo, Other, StoredPolicy, Verb};
use crate::recovery::{
    OpenError, Recovery, Torn, Verdict, begin, cut_torn, fold_and_judge, inspect_torn, unrecorded_cut,
};
use crate::replay::{Replay, Step};
use crate::state::{Outcome, PersonNo, State};
use crate::storage::{Files, Lock, Memory, Storage};
use crate::time::Timestamp;

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync: an acknowledged record outlives a power cut.
    #[default]
    Immediate,
    /// As `Immediate`, and `HEAD` is synced too: even damage to the very last record is told from a torn tail.
    Witnessed,
    /// Once written: durable after [`Ledger::flush`], or when the ledger is closed.
    Buffered,
}

/// How to create or open a ledger.
///
/// ```
/// use identity_ledger::{Durability, LedgerOptions, Policy, Tenant};
/// let dir = std::env::temp_dir().join(format!("identity-ledger-doc-{}", std::process::id()));
/// let ledger = LedgerOptions::new()
///     .durability(Durability::Buffered)
///     .create(&dir, Tenant::default(), Policy::default())?;
/// drop(ledger);
/// let ledger = LedgerOptions::new().open(&dir)?;
/// assert_eq!(ledger.checkpoint().records, 1);
/// # drop(ledger); std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct LedgerOptions<'p> {
    durability: Durability,
    segment_bytes: Option<u64>,
    entropy: Option<Box<dyn Entropy>>,
    expect: Option<Checkpoint>,
    progress: Option<&'p mut dyn FnMut(u64)>,
}

impl std::fmt::Debug for LedgerOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerOptions").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// A ledger open for writing. One at a time; it holds the lock until it is dropped.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let visitor = Source::new("visitor-7");
/// ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(visitor)))?;
/// assert_eq!(ledger.resolve("visitor-7"), ledger.resolve("ann"));
///
/// // A refusal is an answer, not an error: it is recorded, with its rule.
/// let appended = ledger.append(Operation::alias(at, DistinctId::new("ann")?, Source::new("null")))?;
/// assert_eq!(appended.outcome().unwrap().refusal.unwrap().rule(), "B2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ledger {
    book: Book,
    writer: Writer,
    recovery: Recovery,
}

/// A ledger opened for reading: no lock, no write, so a copy on a read-only mount will do.
#[derive(Debug)]
pub struct LedgerReader {
    book: Book,
    recovery: Recovery,
}

/// The writing half of a ledger.
struct Writer {
    entropy: Box<dyn Entropy>,
    durability: Durability,
    /// How many records are known to be durable.
    durable: u64,
    /// How often HEAD was written.
    turn: u64,
    /// What devices last said with an identify or set (F3).
    last_calls: BTreeMap<DeviceNo, Digest>,
    /// Why nothing may be written any more.
    poisoned: Option<String>,
    /// Held until the ledger is closed.
    _lock: Lock,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("durability", &self.durability)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is recorded, and this is what it did or was refused.
    Recorded {
        /// Its record.
        seq: Seq,
        /// What it did.
        outcome: Outcome,
    },
    /// It was recorded before, word for word (G4). Nothing was written.
    Duplicate {
        /// The record.
        seq: Seq,
    },
    /// Another operation was recorded under its id (G4). Nothing was written.
    Conflict {
        /// The record.
        seq: Seq,
    },
    /// Its device said just that before (F3). Nothing was written.
    Ignored,
}

impl Appended {
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

/// Why a ledger cannot be created. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is a ledger already.
    #[error("{place} is a ledger already; open it, or choose another directory")]
    Exists {
        /// Where.
        place: String,
    },
    /// The directory holds something else.
    #[error("{place} is not empty and no ledger; choose an empty or new directory")]
    NotEmpty {
        /// Where.
        place: String,
    },
    /// The policy is out of its bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The segment size is out of its bounds.
    #[error("segments of {found} bytes are too small; expected at least {MIN_SEGMENT_BYTES}")]
    SegmentTooSmall {
        /// What was asked.
        found: u64,
    },
    /// The new ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error("{place} cannot be created: {source}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// Why operations were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One operation is out of bounds. Nothing of the batch was recorded.
    #[error("operation {index}: {source}")]
    Operation {
        /// Its place in the batch, from 0.
        index: usize,
        /// Why.
        source: OperationError,
    },
    /// One operation could give a person too many properties. Nothing of the batch was recorded.
    #[error(
        "operation {index}: the person could have {found} property keys; expected at most {MAX_PERSON_KEYS}"
    )]
    TooManyPersonKeys {
        /// Its place in the batch, from 0.
        index: usize,
        /// How many: exact for a single operation, at most so many inside a batch.
        found: usize,
    },
    /// The batch is too long or too large. Nothing was recorded; send it in parts.
    #[error(
        "the batch has {operations} operations in {records} records of {bytes} bytes; expected at most {MAX_BATCH_OPERATIONS}, {MAX_FRAME_RECORDS} and {MAX_FRAME_BYTES}"
    )]
    BatchTooLarge {
        /// How many operations.
        operations: usize,
        /// How many records they need.
        records: u64,
        /// How many bytes they need.
        bytes: u64,
    },
    /// The policy is out of its bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The ledger is full.
    #[error("the ledger holds {MAX_RECORDS} records, which is the limit; begin another")]
    Full,
    /// An earlier record, needed to tell a duplicate from a conflict, cannot be read back. Nothing was recorded.
    #[error("the log cannot be read back: {0}")]
    Unreadable(Box<Fault>),
    /// The disk failed while the operations were written: whether they are recorded is known only after reopening.
    #[error("whether record {seq} and later ones are durable is unknown: {source}; reopen the ledger")]
    Indeterminate {
        /// The first record in doubt.
        seq: u64,
        /// What failed.
        source: io::Error,
    },
    /// An earlier write failed; nothing more is written through this handle.
    #[error("this ledger stopped writing after a failure ({cause}); reopen it")]
    Poisoned {
        /// What failed.
        cause: String,
    },
}

impl<'p> LedgerOptions<'p> {
    /// Immediate durability, the system's randomness, segments of 64 MiB.
    pub fn new() -> LedgerOptions<'p> {
        LedgerOptions::default()
    }

    /// When an append is acknowledged.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> LedgerOptions<'p> {
        self.durability = durability;
        self
    }

    /// Size in bytes at which a segment is closed; recorded when the ledger is created, ignored when it is opened.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> LedgerOptions<'p> {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Where salts and generated ids come from.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> LedgerOptions<'p> {
        self.entropy = Some(Box::new(entropy));
        self
    }

    /// A head that was seen before: opening fails if the log does not pass through it.
    #[must_use]
    pub fn expect(mut self, checkpoint: Checkpoint) -> LedgerOptions<'p> {
        self.expect = Some(checkpoint);
        self
    }

    /// Called with the bytes of log read so far while a ledger is opened.
    #[must_use]
    pub fn progress(mut self, progress: &'p mut dyn FnMut(u64)) -> LedgerOptions<'p> {
        self.progress = Some(progress);
        self
    }

    /// Creates a ledger in `dir`, which must be empty or not exist yet. It appears whole or not at all.
    ///
    /// # Errors
    /// [`CreateError`]; then nothing is left behind, unless syncing the parent directory was what failed.
    pub fn create(
        mut self,
        dir: impl AsRef<Path>,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let dir = dir.as_ref();
        let place = dir.display().to_string();
        let failed = |source| CreateError::Io { place: place.clone(), source };
        if dir.join(LEDGER).exists() {
            return Err(CreateError::Exists { place });
        }
        if dir.exists() && dir.read_dir().map_err(failed)?.next().is_some() {
            return Err(CreateError::NotEmpty { place });
        }
        let identity = self.identity(tenant, &policy)?;
        let name = dir.file_name().map_or("ledger".into(), |name| name.to_string_lossy());
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let building = parent.join(format!(".{name}.new-{}", identity.ledger.0.simple()));
        std::fs::create_dir(&building).map_err(failed)?;
        let built = build(&Files::writable(&building), &identity, &policy)
            .and_then(|()| std::fs::rename(&building, dir))
            .and_then(|()| Files::read_only(parent).sync_dir(""));
        if let Err(source) = built {
            std::fs::remove_dir_all(&building).ok(); // the cause is what the caller needs to know
            return Err(failed(source));
        }
        Ok(self.open(dir)?)
    }

    /// Creates a ledger in a storage that has no files yet.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create_in(
        mut self,
        storage: Arc<dyn Storage>,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let place = storage.describe();
        let failed = |source| CreateError::Io { place: place.clone(), source };
        let identity = self.identity(tenant, &policy)?;
        if storage.len(LEDGER).map_err(failed)?.is_some() {
            return Err(CreateError::Exists { place });
        }
        build(&*storage, &identity, &policy).map_err(failed)?;
        Ok(self.open_in(storage)?)
    }

    fn identity(&mut self, tenant: Tenant, policy: &Policy) -> Result<Identity, CreateError> {
        policy.check()?;
        let segment_bytes = self.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES);
        if segment_bytes < MIN_SEGMENT_BYTES {
            return Err(CreateError::SegmentTooSmall { found: segment_bytes });
        }
        let entropy = self.entropy.get_or_insert_with(|| Box::new(OsEntropy::default()));
        let ledger = LedgerId(uuid::Builder::from_random_bytes(entropy.array()).into_uuid());
        Ok(Identity { ledger, tenant, segment_bytes })
    }

    /// Opens a ledger for writing: takes the lock, replays and verifies the whole log, cuts off a torn tail.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing was changed.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        let files = Files::writable(dir.as_ref());
        Identity::read(&files, true)?; // before the lock file is made in a directory that is no ledger
        self.open_in(Arc::new(files))
    }

    /// Opens a ledger in any storage for writing.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing was changed.
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Ledger, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        Identity::read(&*storage, true)?;
        let Some(lock) = storage.lock().map_err(failed)? else {
            return Err(OpenError::Locked { place });
        };
        let (mut book, witnesses) = begin(&storage, true, self.expect)?;
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let verdict = fold_and_judge(&mut book, &witnesses, None, progress)?;
        let records = book.checkpoint().records;
        let newest = witnesses.slots.first();
        let mut recovery = Recovery {
            torn: None,
            unproven_records: records - newest.map_or(records, |slot| slot.records),
            head_missing: newest.is_none(),
        };
        recovery.torn = match verdict {
            Verdict::Torn(fault) => Some(cut_torn(&mut book, &fault).map_err(failed)?),
            Verdict::Whole => unrecorded_cut(&book).map_err(failed)?,
        };
        let writer = Writer {
            entropy: self.entropy.unwrap_or_else(|| Box::new(OsEntropy::default())),
            durability: self.durability,
            durable: newest.map_or(0, |slot| slot.records),
            turn: newest.map_or(0, |slot| slot.turn),
            last_calls: BTreeMap::new(),
            poisoned: None,
            _lock: lock,
        };
        let mut ledger = Ledger { book, writer, recovery };
        ledger.settle().map_err(failed)?;
        Ok(ledger)
    }

    /// Opens a ledger for reading: shows what was durable when it was opened, and writes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<LedgerReader, OpenError> {
        self.read_in(Arc::new(Files::read_only(dir.as_ref())))
    }

    /// Folds a ledger from its bytes alone, up to what was durable, and shows each record to `each`. No text is looked at, so
    /// none is held: the quickest way to a digest. With `commitments` every payload item is checked too.
    ///
    /// # Errors
    /// [`OpenError`]; the first fault of the log is [`OpenError::Untrusted`].
    pub fn replay(
        self,
        dir: impl AsRef<Path>,
        commitments: bool,
        each: impl FnMut(Step<'_>),
    ) -> Result<Replay, OpenError> {
        let storage: Arc<dyn Storage> = Arc::new(Files::read_only(dir.as_ref()));
        let place = storage.describe();
        let (Book { log, mut replay, .. }, witnesses) = begin(&storage, false, self.expect)?;
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let upto = witnesses.durable();
        let walk = Walk { commitments, upto, witnesses: &witnesses.checkpoints, progress };
        log.walk(&mut replay, walk, each)
            .map_err(|fault| OpenError::Untrusted { place: place.clone(), fault: Box::new(fault) })?;
        let (found, expected) = (replay.chain().checkpoint().records, upto.unwrap_or(0));
        if found < expected {
            return Err(OpenError::RolledBack { place, found, expected });
        }
        Ok(replay)
    }

    /// Opens a ledger in any storage for reading.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read_in(self, storage: Arc<dyn Storage>) -> Result<LedgerReader, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        let (mut book, witnesses) = begin(&storage, false, self.expect)?;
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let head_missing = witnesses.slots.is_empty();
        let upto = witnesses.durable().filter(|_| !head_missing); // without HEAD the frames alone say what there is
        let verdict = fold_and_judge(&mut book, &witnesses, upto, progress)?;
        let mut recovery = Recovery { head_missing, ..Recovery::default() };
        if let Verdict::Torn(fault) = verdict {
            recovery.torn = Some(inspect_torn(&book, &fault).map_err(failed)?);
        }
        Ok(LedgerReader { book, recovery })
    }
}

/// Writes the files of a new ledger: one segment with the genesis record, `HEAD`, and last `LEDGER`, which makes it one.
fn build(storage: &dyn Storage, identity: &Identity, policy: &Policy) -> io::Result<()> {
    let mut replay = Replay::new(identity.ledger, &identity.tenant);
    let mut body = Vec::new();
    crate::codec::encode(&Body::Genesis(Box::new(StoredPolicy::from(policy))), &mut body);
    let segment = segment_name(0);
    let previous = *replay.chain().head();
    let header = SegmentHeader { ledger: identity.ledger, first_seq: 0, previous };
    let mut bytes = header.to_bytes().to_vec();
    let body_len = u32::try_from(body.len()).expect("a policy fits a record");
    let header = Header { body_len, payload_len: 0, first_seq: 0, records: 1, durable: 0 };
    frame::write(header, &body, &[], identity.ledger, &previous, &mut bytes);
    replay.frame(&bytes[SEGMENT_HEADER_BYTES..], true, |_| {}).expect("a genesis record begins its chain");
    let Checkpoint { records, head } = replay.chain().checkpoint();

    for (file, content) in [(&segment[..], &bytes[..]), (HEAD, &[]), (LEDGER, &identity.to_bytes())] {
        storage.create(file)?;
        storage.write_at(file, 0, content)?;
        if file == HEAD {
            HeadSlot { ledger: identity.ledger, turn: 1, records, head }.write(storage)?;
        }
        storage.sync(file)?;
    }
    storage.sync_dir(LOG)?;
    storage.sync_dir("")
}

impl Ledger {
    /// Creates a ledger in `dir`; see [`LedgerOptions::create`].
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(dir: impl AsRef<Path>, tenant: Tenant, policy: Policy) -> Result<Ledger, CreateError> {
        LedgerOptions::new().create(dir, tenant, policy)
    }

    /// Opens a ledger for writing; see [`LedgerOptions::open`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        LedgerOptions::new().open(dir)
    }

    /// A ledger in memory, for tests and for folding without keeping.
    ///
    /// # Errors
    /// [`CreateError`] when the policy is out of its bounds.
    pub fn in_memory(tenant: Tenant, policy: Policy) -> Result<Ledger, CreateError> {
        LedgerOptions::new().create_in(Arc::new(Memory::new()), tenant, policy)
    }

    /// What opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// How many records are known to be durable.
    pub fn durable_records(&self) -> u64 {
        self.writer.durable
    }

    /// Records one operation and gives what it did.
    ///
    /// # Errors
    /// [`AppendError`]; unless it is `Indeterminate`, nothing was recorded.
    pub fn append(&mut self, operation: Operation) -> Result<Appended, AppendError> {
        let mut appended = self.append_batch(std::slice::from_ref(&operation))?;
        Ok(appended.pop().expect("one operation in, one answer out"))
    }

    /// Records operations as one: all of them or none. Refusals and duplicates are answers and stop nobody.
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
        let Ledger { book, writer, .. } = self;
        let ledger = book.ledger_id();
        let Book { log, replay, dictionaries, seen, .. } = book;
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, &mut *writer.entropy);
        let mut answers = Vec::with_capacity(operations.len());
        let mut keys = KeyBudget::new(operations.len() == 1);
        for (index, operation) in operations.iter().enumerate() {
            let known = match operation.id {
                Some(id) => match before(&draft, log, seen, id, operation) {
                    Ok(known) => known,
                    Err(fault) => {
                        draft.discard();
                        return Err(AppendError::Unreadable(Box::new(fault)));
                    }
                },
                None => None,
            };
            if let Some(known) = known {
                answers.push(Answer::Known(known));
                continue;
            }
            if let Err(source) = draft.check_fresh(operation) {
                draft.discard();
                return Err(AppendError::Operation { index, source });
            }
            match draft.operation(operation, &writer.last_calls) {
                Drafted::Ignored => answers.push(Answer::Known(Appended::Ignored)),
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
        let mut outcomes = outcomes.into_iter();
        let answer = |answer| match answer {
            Answer::Known(known) => known,
            Answer::Recorded(seq) => {
                let outcome = outcomes.next().expect("each recorded operation has one outcome");
                Appended::Recorded { seq, outcome }
            }
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Makes a new device, with a fresh UUIDv7 that is its device id, anonymous id and current id (F1), and records it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn new_device(&mut self, at: Timestamp) -> Result<DeviceId, AppendError> {
        self.check_health()?;
        let Ledger { book, writer, .. } = self;
        let ledger = book.ledger_id();
        let fresh = fresh_id(at, &mut *writer.entropy);
        let device = DeviceId::new(fresh.into_string()).expect("a distinct id's bounds are a device id's");
        let Book { replay, dictionaries, .. } = book;
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, &mut *writer.entropy);
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
        let Ledger { book, writer, .. } = self;
        let seq = writer.durable;
        match writer.flush(book) {
            Ok(()) => Ok(book.checkpoint()),
            Err(source) => Err(writer.poison(seq, source)),
        }
    }

    fn check_health(&self) -> Result<(), AppendError> {
        match &self.writer.poisoned {
            None => Ok(()),
            Some(cause) => Err(AppendError::Poisoned { cause: cause.clone() }),
        }
    }

    /// Adds one record that is no operation.
    fn append_record(&mut self, body: &Body) -> Result<Seq, AppendError> {
        self.check_health()?;
        let seq = Seq(self.state().records());
        let mut bytes = Vec::new();
        crate::codec::encode(body, &mut bytes);
        let lengths = self.book.dictionaries.lengths();
        let last_calls = BTreeMap::new();
        self.commit(Finished { records: 1, body: bytes, payload: Vec::new(), last_calls }, lengths)?;
        Ok(seq)
    }

    /// Frame, disk, fold: in this order. The texts of `finished` are in the dictionaries already; should the disk fail they
    /// are taken back to `lengths`.
    fn commit(&mut self, finished: Finished, lengths: [u32; 4]) -> Result<Vec<Outcome>, AppendError> {
        let Finished { records, body, payload, last_calls } = finished;
        if records == 0 {
            return Ok(Vec::new());
        }
        let Ledger { book, writer, .. } = self;
        let first_seq = book.checkpoint().records;
        if first_seq + u64::from(records) > MAX_RECORDS {
            book.dictionaries.truncate(lengths);
            return Err(AppendError::Full);
        }
        let header = Header {
            body_len: u32::try_from(body.len()).expect("a frame is at most 16 MiB"),
            payload_len: u32::try_from(payload.len()).expect("a frame is at most 16 MiB"),
            first_seq,
            records,
            durable: writer.durable,
        };
        let mut bytes = Vec::with_capacity(header.frame_len());
        let ledger = book.ledger_id();
        frame::write(header, &body, &payload, ledger, book.replay.chain().head(), &mut bytes);
        let frame = Frame::parse(&bytes, ledger).expect("what frame::write writes, Frame::parse reads");
        let before = book.replay.chain().clone();
        let (segment, offset) = match writer.write(book, &bytes) {
            Ok(place) => place,
            Err(source) => {
                book.dictionaries.truncate(lengths);
                return Err(writer.poison(first_seq, source));
            }
        };
        book.log.mark(&before, segment, offset);
        book.replay.accept(&frame, false).expect("a draft fits its chain");
        if writer.durability != Durability::Buffered
            && let Err(source) = writer.acknowledge(book)
        {
            // The records are written and may well be durable: fold them, so that reads agree with the chain, and say so.
            fold(book, &frame, &mut Vec::new());
            return Err(writer.poison(first_seq, source));
        }
        writer.last_calls.extend(last_calls);
        let mut outcomes = Vec::with_capacity(records as usize);
        fold(book, &frame, &mut outcomes);
        Ok(outcomes)
    }

    /// After opening: what follows the last known durable record is made durable, and a cut is recorded.
    fn settle(&mut self) -> io::Result<()> {
        let Ledger { book, writer, recovery } = self;
        let records = book.checkpoint().records;
        if writer.durable < records || recovery.head_missing || recovery.torn.is_some() {
            if recovery.head_missing && book.log.storage().len(HEAD)?.is_none() {
                book.log.storage().create(HEAD)?;
                book.log.storage().sync_dir("")?;
            }
            writer.flush(book)?;
        }
        if let Some(Torn { bytes, digest, .. }) = &recovery.torn {
            let body = Body::Recovered(CutOff { bytes: *bytes, digest: digest.0 });
            self.append_record(&body).map_err(io::Error::other)?;
            let Ledger { book, writer, .. } = self;
            writer.flush(book)?;
        }
        Ok(())
    }
}

/// Folds the accepted frame into the state; the dictionaries have its texts already.
fn fold(book: &mut Book, frame: &Frame<'_>, outcomes: &mut Vec<Outcome>) {
    let Book { replay, seen, .. } = book;
    replay.fold(frame, |step| {
        if let Some(outcome) = step.outcome {
            outcomes.push(*outcome);
            if let Some(id) = step.record.operation_id() {
                seen.insert(id, step.record.row.seq);
            }
        }
    });
}

enum Answer {
    Known(Appended),
    Recorded(Seq),
}

/// G4: what was said under this id before, in the log or earlier in the batch.
fn before(
    draft: &Draft<'_>,
    log: &crate::log::Log,
    seen: &crate::dictionary::Seen,
    id: OperationId,
    operation: &Operation,
) -> Result<Option<Appended>, Fault> {
    let judge = |seq: Seq, same: bool| {
        Some(if same { Appended::Duplicate { seq } } else { Appended::Conflict { seq } })
    };
    if let Some((seq, body, item)) = draft.named(id) {
        let same = says_the_same(operation, body, Some(item), draft.dictionaries());
        return Ok(judge(*seq, same));
    }
    for seq in seen.candidates(id) {
        let seq = Seq(seq.into());
        let window = log.window(seq)?;
        let record = window.checked(seq)?;
        if record.operation_id() == Some(id) {
            let same = says_the_same(operation, &record.body(), record.item(), draft.dictionaries());
            return Ok(judge(seq, same));
        }
    }
    Ok(None)
}

/// E4's bound on a person's keys, before anything is folded. Exact for one operation; inside a batch an upper bound, for
/// earlier operations of the batch are not folded yet.
struct KeyBudget {
    alone: bool,
    /// A union of the persons and ids that this batch names: toward the root.
    parents: BTreeMap<Node, Node>,
    /// At roots: how many keys their persons have, and which the batch may add.
    keys: BTreeMap<Node, (usize, BTreeSet<KeyNo>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Person(PersonNo),
    Id(IdNo),
}

impl KeyBudget {
    fn new(alone: bool) -> KeyBudget {
        KeyBudget { alone, parents: BTreeMap::new(), keys: BTreeMap::new() }
    }

    fn spend(&mut self, state: &State, body: &Body) -> Result<(), usize> {
        let Some(head) = body.head() else { return Ok(()) };
        let other = match body.other() {
            Other::Id(id) => Some(id),
            _ => None,
        };
        if other.is_none() && body.changes().is_empty() {
            return Ok(());
        }
        let found = if self.alone {
            let bound =
                state.keys_of(head.id) + other.map_or(0, |id| state.keys_of(id)) + body.changes().len();
            if bound > MAX_PERSON_KEYS { state.keys_after(body) } else { bound }
        } else {
            self.bound(state, head.id, other, body.changes())
        };
        if found > MAX_PERSON_KEYS { Err(found) } else { Ok(()) }
    }

    /// How many keys the person of `id` may have after this and the earlier operations of the batch.
    fn bound(&mut self, state: &State, id: IdNo, other: Option<IdNo>, changes: &[Change]) -> usize {
        let root = self.root(state, id);
        if let Some(from) = other.map(|other| self.root(state, other)).filter(|from| *from != root) {
            let (theirs, added) = self.keys.remove(&from).unwrap_or_default();
            let (keys, more) = self.keys.entry(root).or_default();
            *keys += theirs;
            more.extend(added);
            self.parents.insert(from, root);
        }
        let (keys, more) = self.keys.entry(root).or_default();
        more.extend(changes.iter().filter(|change| change.verb != Verb::UNSET).map(|change| change.key));
        *keys + more.len()
    }

    fn root(&mut self, state: &State, id: IdNo) -> Node {
        let known = (id.index() < state.ids().len()).then(|| state.person(id)).flatten();
        let mut node = known.map_or(Node::Id(id), Node::Person);
        if !self.parents.contains_key(&node) && !self.keys.contains_key(&node) {
            self.keys.insert(node, (state.keys_of(id), BTreeSet::new()));
        }
        while let Some(parent) = self.parents.get(&node) {
            node = *parent;
        }
        node
    }
}

impl Writer {
    fn poison(&mut self, seq: u64, source: io::Error) -> AppendError {
        self.poisoned = Some(source.to_string());
        AppendError::Indeterminate { seq, source }
    }

    /// Writes a frame at the end of the log, in a new segment if the last is full; gives where.
    fn write(&mut self, book: &mut Book, bytes: &[u8]) -> io::Result<(usize, u64)> {
        let storage = Arc::clone(book.log.storage());
        let full = |segment: &Segment| {
            let used = segment.len > SEGMENT_HEADER_BYTES as u64;
            used && segment.len + bytes.len() as u64 > book.identity.segment_bytes
        };
        if book.log.segments().last().is_none_or(full) {
            if !book.log.segments().is_empty() {
                self.flush(book)?; // a segment begins only after the last is durable
            }
            let Checkpoint { records, head } = book.checkpoint();
            let name = segment_name(records);
            let header = SegmentHeader { ledger: book.ledger_id(), first_seq: records, previous: head };
            storage.create(&name)?;
            storage.write_at(&name, 0, &header.to_bytes())?;
            storage.sync(&name)?;
            storage.sync_dir(LOG)?;
            book.log.segments_mut().push(Segment { name, len: SEGMENT_HEADER_BYTES as u64 });
        }
        let index = book.log.segments().len() - 1;
        let segment = &mut book.log.segments_mut()[index];
        let offset = segment.len;
        storage.write_at(&segment.name, offset, bytes)?;
        segment.len += bytes.len() as u64;
        Ok((index, offset))
    }

    /// Makes the log durable and notes it in `HEAD`.
    fn acknowledge(&mut self, book: &Book) -> io::Result<()> {
        let storage = book.log.storage();
        if let Some(segment) = book.log.segments().last() {
            storage.sync(&segment.name)?;
        }
        let Checkpoint { records, head } = book.checkpoint();
        self.durable = records;
        self.turn += 1;
        HeadSlot { ledger: book.ledger_id(), turn: self.turn, records, head }.write(&**storage)?;
        if self.durability == Durability::Witnessed {
            storage.sync(HEAD)?;
        }
        Ok(())
    }

    /// Makes the log and `HEAD` durable.
    fn flush(&mut self, book: &Book) -> io::Result<()> {
        self.acknowledge(book)?;
        book.log.storage().sync(HEAD)
    }
}

impl Drop for Ledger {
    /// Closes the ledger: what is written becomes durable. Call [`Ledger::flush`] first to hear of a failure.
    fn drop(&mut self) {
        if self.writer.poisoned.is_none() {
            self.flush().ok();
        }
    }
}

impl LedgerReader {
    /// Opens a ledger for reading; see [`LedgerOptions::open_read_only`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<LedgerReader, OpenError> {
        LedgerOptions::new().open_read_only(dir)
    }

    /// What opening found; a reader changes nothing.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl Deref for Ledger {
    type Target = Book;
    fn deref(&self) -> &Book {
        &self.book
    }
}

impl Deref for LedgerReader {
    type Target = Book;
    fn deref(&self) -> &Book {
        &self.book
    }
}
