//! Options: how a ledger is created, opened, read, or replayed from its bytes alone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::fold::replay::{Replay, Step};
use crate::ledger::Ledger;
use crate::ledger::delivery::{Beginning, Delivery};
use crate::ledger::error::EraseError;
use crate::ledger::questions::pass_questions_on;
use crate::ledger::recovery::{
    DurableUpTo, Judged, MAX_LOOKS, OpenError, Recovery, begin, fold_and_judge, inspect_torn, keep_torn,
    refuse, resume, unrecorded_cut, write_anew,
};
use crate::ledger::snapshot::Resumed;
use crate::ledger::trace;
use crate::ledger::writer::{Durability, Writer};
use crate::log::chain::Checkpoint;
use crate::log::payload::{Keys, KeysError};
use crate::model::id::CopyId;
use crate::query::reader::Reader;
use crate::store::clock::{self, Clock, SystemClock};
use crate::store::dictionary::{FingerprintKey, Seen};
use crate::store::entropy::{Entropy, OsEntropy, SeededEntropy};
#[cfg(feature = "encryption")]
use crate::store::keys::{self, KeyProvider, KeysAtHand};
use crate::store::layout::Identity;
use crate::store::segments::{FaultKind, Log, Walk};
use crate::store::storage::{Access, Files, Storage};

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
    pub(super) segment_bytes: Option<u64>,
    pub(super) entropy: Option<Box<dyn Entropy>>,
    pub(super) clock: Option<Box<dyn Clock>>,
    pub(super) beginning: Option<Beginning>,
    pub(crate) expect: Option<Checkpoint>,
    threads: Option<usize>,
    pub(crate) progress: Option<&'p mut (dyn FnMut(u64) + Send)>,
    ignore_snapshots: bool,
    snapshot_every: Option<u64>,
    index_records: bool,
    pub(super) access: Access,
    #[cfg(feature = "encryption")]
    pub(super) keys: Option<Arc<dyn KeyProvider>>,
    adopt_keys: bool,
}

impl std::fmt::Debug for LedgerOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerOptions").field("durability", &self.durability).finish_non_exhaustive()
    }
}

impl<'p> LedgerOptions<'p> {
    /// Immediate durability, the system's randomness and clock, segments of 64 MiB.
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

    /// What says when a frame is recorded. Unless chosen, the system's clock. A frame's time is the later of what it says and the
    /// time of the frame before: a clock that goes back does no harm.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> LedgerOptions<'p> {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Makes a ledger come out the same twice, for tests and examples: chance follows from the seed ([`SeededEntropy`]), and the clock
    /// counts the microseconds of 2026 from when the ledger was created or opened. Anyone who knows the seed can guess the salts.
    #[must_use]
    pub fn seeded(self, seed: u64) -> LedgerOptions<'p> {
        self.entropy(SeededEntropy::new(seed)).clock(clock::counting())
    }

    /// Creates a ledger that follows a log from behind a position on: it takes [`Ledger::append_at`](crate::Ledger::append_at) and no write
    /// of another kind. Its id comes from the delivery's seed, and its first record has the delivery's time; so followers that are created by one
    /// delivery, for one tenant and with one policy, begin alike. Ignored when a ledger is opened: it follows
    /// what it was created to follow.
    #[must_use]
    pub fn follow(mut self, delivery: &Delivery<'_>) -> LedgerOptions<'p> {
        self.beginning = Some(delivery.beginning());
        self
    }

    /// A checkpoint that was kept elsewhere: opening fails if the log does not pass through it. The log is folded from its first
    /// record, for only the chain proves what the answers rest on; snapshots still say how many records were durable.
    #[must_use]
    pub fn expect(mut self, checkpoint: Checkpoint) -> LedgerOptions<'p> {
        self.expect = Some(checkpoint);
        self
    }

    /// How many threads opening and replaying may use: 1, or 2 to read and check ahead of the fold. More change nothing; no
    /// number changes what comes out. Unless chosen, 2 where there are two cores.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> LedgerOptions<'p> {
        self.threads = Some(threads);
        self
    }

    /// Opens by folding the whole log, for writing or for reading, and looks at no snapshot. What is made later is made as ever.
    #[must_use]
    pub fn without_snapshots(mut self) -> LedgerOptions<'p> {
        self.ignore_snapshots = true;
        self
    }

    /// Makes a snapshot whenever the ledger has `records` more records than the last one covers: right after
    /// the append that reaches this number, before that append returns, and at no other time. It flushes
    /// first, in every durability mode.
    ///
    /// The append is answered as without it. If a snapshot cannot be made, [`Ledger::snapshot_error`] says
    /// why, and the next attempt follows after `records` more records. 0 never makes one, which is also the
    /// default; see [`Ledger::snapshot`].
    ///
    /// A [`SharedLedger`](crate::SharedLedger) begins it at the same place and makes it on a thread of its own; no append waits until it is made.
    #[must_use]
    pub fn snapshot_every(mut self, records: u64) -> LedgerOptions<'p> {
        self.snapshot_every = Some(records).filter(|records| *records > 0);
        self
    }

    /// Indexes the records by the ids and devices they name, from opening on: [`crate::Reader::history`], [`crate::Reader::why_not`],
    /// retracts and splits then cost what their component of possible links costs, the first of them too.
    ///
    /// Without it the first such question reads the log once, without folding it, and keeps the index from there on. It takes
    /// 8 bytes for each id that a record names, and 4 for each id: see [`crate::answer::MemoryUse`].
    #[must_use]
    pub fn index_records(mut self) -> LedgerOptions<'p> {
        self.index_records = true;
        self
    }

    /// Who may read the files of a ledger that [`LedgerOptions::create`] makes. Files that are made later get the owner, the group and
    /// the permissions of `LEDGER`, so this is ignored when a ledger is opened.
    #[must_use]
    pub fn access(mut self, access: Access) -> LedgerOptions<'p> {
        self.access = access;
        self
    }

    /// Where the keys of a sealed ledger are kept. A ledger that is created with keys is sealed: its texts and values are
    /// written encrypted, each under a key of its own, and erasing destroys their keys. A ledger created without them is not, and
    /// stays so; for one keys mean nothing.
    ///
    /// Needs the feature `encryption`. See [`KeyProvider`], and `docs/guarantees.md` for what it protects from.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn keys(mut self, provider: Arc<dyn KeyProvider>) -> LedgerOptions<'p> {
        self.keys = Some(provider);
        self
    }

    /// Opens for writing a copy that the key ring does not belong to, and makes the ring this copy's: from there on no other copy of
    /// the ledger can be written with it. For the copy that takes the place of one that is lost. Nothing happens if it does not open.
    ///
    /// The whole log is folded. What was erased in the other copy is recorded as erased here ([`Recovery::erased_since`]), and the keys of
    /// all that this log says is erased are destroyed, also if an older ring still had them. If both copies stay in use, take
    /// [`LedgerOptions::fork_keys`] instead.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn adopt_keys(mut self) -> LedgerOptions<'p> {
        self.adopt_keys = true;
        self
    }

    /// Gives the copy of a sealed ledger in `dir` a key ring of its own, in `to`, and opens it for writing with that: it opens all that the
    /// ring of these options opens now, which stays as it is, and belongs to the other copy as before.
    ///
    /// From here on an erasure in the one copy does not reach the other: a request to be forgotten has to be made in both. The new ring
    /// also opens backups from before, whatever is erased with the other one.
    ///
    /// # Errors
    /// [`OpenError`]. Unless the copy has the new ring already, and only its opening failed, no ring is left in `to`.
    #[cfg(feature = "encryption")]
    pub fn fork_keys(self, dir: impl AsRef<Path>, to: Arc<dyn KeyProvider>) -> Result<Ledger, OpenError> {
        let files = Files::writable(dir.as_ref());
        Identity::read(&files, true)?; // before the lock file is made in a directory that is not a ledger
        self.fork_keys_in(Arc::new(files), to)
    }

    /// As [`LedgerOptions::fork_keys`], for a copy in any storage.
    ///
    /// # Errors
    /// As [`LedgerOptions::fork_keys`].
    #[cfg(feature = "encryption")]
    pub fn fork_keys_in(
        mut self,
        storage: Arc<dyn Storage>,
        to: Arc<dyn KeyProvider>,
    ) -> Result<Ledger, OpenError> {
        let Identity { ledger, sealed, .. } = Identity::read(&*storage, true)?;
        let place = storage.describe();
        if !sealed {
            return Err(KeysError::NotSealed { place }.into());
        }
        let Some(from) = self.keys.replace(Arc::clone(&to)) else {
            return Err(KeysError::Sealed { place }.into());
        };
        let entropy = self.entropy.get_or_insert_with(|| Box::new(OsEntropy::default()));
        let unowned = KeysAtHand::fork(&*from, &*to, ledger, &mut **entropy)?;
        let opened = self.adopt_keys().open_in(storage);
        opened.inspect_err(|_| keys::discard_unowned(&*to, ledger, unowned))
    }

    /// Called with the bytes of log read so far while a ledger is opened.
    #[must_use]
    pub fn progress(mut self, progress: &'p mut (dyn FnMut(u64) + Send)) -> LedgerOptions<'p> {
        self.progress = Some(progress);
        self
    }

    fn prepare(&self, log: &mut Log) {
        if let Some(threads) = self.threads {
            log.set_ahead(threads > 1);
        }
        if self.index_records {
            log.keep_index();
        }
    }

    /// Whether keys were given.
    pub(super) fn seals(&self) -> bool {
        #[cfg(feature = "encryption")]
        return self.keys.is_some();
        #[cfg(not(feature = "encryption"))]
        false
    }

    /// What opens a ledger's items, for a reader.
    pub(crate) fn unlock(&self, storage: &dyn Storage, identity: &Identity) -> Result<Keys, KeysError> {
        self.unlock_with(storage, identity, false)
    }

    /// What opens a ledger's items, for a reader that can do without.
    pub(crate) fn unlock_if_given(
        &self,
        storage: &dyn Storage,
        identity: &Identity,
    ) -> Result<Keys, KeysError> {
        if self.seals() { self.unlock(storage, identity) } else { Ok(None) }
    }

    /// What opens a ledger's items and seals new ones, for a writer. The ring is this copy's, or is about to be.
    pub(crate) fn unlock_to_write(
        &self,
        storage: &dyn Storage,
        identity: &Identity,
    ) -> Result<Keys, KeysError> {
        let place = || storage.describe();
        if self.adopt_keys && !identity.sealed {
            return Err(KeysError::NotSealed { place: place() });
        }
        let keys = self.unlock_with(storage, identity, true)?;
        match &keys {
            Some(sealer) if !sealer.is_home() && !self.adopt_keys => {
                Err(KeysError::OtherCopy { place: place(), keys: sealer.describe() })
            }
            _ => Ok(keys),
        }
    }

    #[cfg_attr(
        not(feature = "encryption"),
        expect(unused_variables, reason = "without ciphers nothing is written sealed")
    )]
    pub(crate) fn unlock_with(
        &self,
        storage: &dyn Storage,
        identity: &Identity,
        to_write: bool,
    ) -> Result<Keys, KeysError> {
        if !identity.sealed {
            return Ok(None);
        }
        let place = storage.describe();
        #[cfg(feature = "encryption")]
        if let Some(provider) = self.keys.clone() {
            let copy = CopyId::read(storage, identity.ledger);
            let copy = copy.map_err(|source| KeysError::Copy { place, source })?;
            let load = if to_write { KeysAtHand::load_to_write } else { KeysAtHand::load };
            return Ok(Some(Arc::new(load(provider, identity, copy)?)));
        }
        Err(KeysError::Sealed { place })
    }

    /// Whether opening looks at snapshots. Those of a copy that the ring does not belong to may show what was erased elsewhere.
    fn uses_snapshots(&self, reader: &Reader) -> bool {
        !self.ignore_snapshots && reader.log.keys().as_ref().is_none_or(|sealer| sealer.is_home())
    }

    /// Holds a key ring against the log that was folded: makes it this copy's if that was asked for, and refuses one that is older than an erasure.
    fn settle_keys(&self, reader: &Reader, entropy: &mut dyn Entropy) -> Result<(), OpenError> {
        let Some(sealer) = reader.log.keys() else { return Ok(()) };
        if self.adopt_keys {
            sealer.probe()?; // once this copy has another name, its own ring is another's until it is stored
            let (storage, copy) = (reader.log.storage(), CopyId(entropy.array()));
            let written = copy.write(&**storage, reader.ledger_id());
            written.map_err(|source| OpenError::Io { place: storage.describe(), source })?;
            return Ok(sealer.adopt(copy)?);
        }
        let done = reader.state().erasures().last_done().map(u64::from);
        match done.filter(|seq| *seq >= sealer.forgotten()) {
            Some(seq) => Err(KeysError::Stale { keys: sealer.describe(), seq }.into()),
            None => Ok(()),
        }
    }

    /// Opens a ledger for writing: takes the lock, continues from the newest good snapshot, replays and
    /// verifies the log behind it (without one: the whole log), cuts off a torn tail.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing was changed.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        let files = Files::writable(dir.as_ref());
        Identity::read(&files, true)?; // before the lock file is made in a directory that is not a ledger
        self.open_in(Arc::new(files))
    }

    /// Opens a ledger in any storage for writing.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing was changed.
    pub fn open_in(mut self, storage: Arc<dyn Storage>) -> Result<Ledger, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        Identity::read(&*storage, true)?;
        let Some(lock) = storage.lock().map_err(failed)? else {
            return Err(OpenError::Locked { place });
        };
        let (mut reader, mut witnesses) = begin(&storage, true, self.expect)?;
        reader.log.set_keys(self.unlock_to_write(&*storage, &reader.identity)?);
        if let Some(sealer) = reader.log.keys().as_ref().filter(|_| !self.adopt_keys) {
            witnesses.hold_to_ring(sealer.reached());
        }
        self.prepare(&mut reader.log);
        let uses_snapshots = self.uses_snapshots(&reader) && !self.adopt_keys;
        let mut entropy = self.entropy.take().unwrap_or_else(|| Box::new(OsEntropy::default()));
        // Drawn even if a snapshot brings its own key: what is drawn later, the salts, must not depend on snapshots.
        reader.seen = Seen::new(FingerprintKey::from_bytes(&entropy.array()));
        let resumed = if uses_snapshots { resume(&mut reader, &mut witnesses) } else { Resumed::default() };
        let mut silent = |_| {};
        let progress = self.progress.take().unwrap_or(&mut silent);
        let Judged { torn, destroyed } = fold_and_judge(&mut reader, &witnesses, None, progress)?;
        // Its texts would be missing before the log says that they are erased, and other followers had them then.
        if let Some(gone) = destroyed.first().filter(|_| reader.followed().is_some()) {
            return Err(OpenError::FollowerOlderThanKeys { place, seq: gone.row.seq.into() });
        }
        self.settle_keys(&reader, &mut *entropy)?;
        let records = reader.checkpoint().records;
        let newest = witnesses.slots.first();
        let mut recovery = Recovery {
            torn: None,
            unproven_records: records - newest.map_or(records, |slot| slot.records),
            head_missing: newest.is_none(),
            from_snapshot: resumed.from,
            snapshots_ignored: resumed.ignored,
            erasures_pending: reader.erasures_pending(),
            erased_since: destroyed.len(),
            keys_not_stored: None,
        };
        recovery.torn = match torn {
            Some(fault) => Some(keep_torn(&mut reader, &fault).map_err(failed)?),
            None => unrecorded_cut(&reader).map_err(failed)?,
        };
        if recovery.is_unclean_end()
            && let Some(last) = reader.log.segments().last()
        {
            write_anew(&*storage, &last.name, last.len).map_err(failed)?;
        }
        if let Some(sealer) = reader.log.keys() {
            sealer.go_on_from(records, entropy.array())?;
        }
        let locks = (reader.log.keys().as_ref().and_then(|sealer| sealer.take_lock()), lock);
        let clock = self.clock.take().unwrap_or_else(|| Box::new(SystemClock));
        let writer = Writer::new(entropy, clock, self.durability, newest, locks);
        let mut ledger = Ledger::settled(reader, writer, recovery, self.snapshot_every).map_err(failed)?;
        trace::opened(ledger.reader.ledger_id(), records, &ledger.recovery);
        let erased =
            ledger.erase_destroyed(destroyed).and_then(|()| ledger.roll_erasures_forward(self.adopt_keys));
        match erased.and_then(|()| ledger.try_keys().map_err(EraseError::KeysLeft)) {
            Ok(()) => Ok(ledger),
            // The log can be written, and what is erased is hidden: only its keys wait.
            Err(EraseError::KeysLeft(error)) => {
                ledger.recovery.keys_not_stored = Some(error.to_string());
                Ok(ledger)
            }
            Err(EraseError::Removal { source }) => Err(failed(source)),
            Err(EraseError::Unreadable(fault) | EraseError::Unproven(fault)) => {
                Err(OpenError::Untrusted { place, fault })
            }
            Err(error) => Err(failed(io::Error::other(error))),
        }
    }

    /// Opens a ledger for reading: shows what was durable when it was opened, and writes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<ReadOnlyLedger, OpenError> {
        self.read_in(Arc::new(Files::read_only(dir.as_ref())))
    }

    /// Folds a ledger from its log alone, never from a snapshot, up to what was durable, and shows each record to `each`. No text is looked at, so
    /// none is held: the quickest way to a digest. With `commitments` every payload item is checked too;
    /// without them, a sealed ledger can be folded without its keys.
    ///
    /// # Errors
    /// [`OpenError`]; the first fault of the log is [`OpenError::Untrusted`], unless the disk failed or the history is another.
    pub fn replay(
        self,
        dir: impl AsRef<Path>,
        commitments: bool,
        each: impl FnMut(Step<'_>),
    ) -> Result<Replay, OpenError> {
        let storage: Arc<dyn Storage> = Arc::new(Files::read_only(dir.as_ref()));
        let place = storage.describe();
        let (Reader { identity, mut log, mut replay, .. }, witnesses) = begin(&storage, false, self.expect)?;
        match self.unlock(&*storage, &identity) {
            Err(KeysError::Sealed { .. }) if !commitments => {} // the state folds from what is not sealed
            unlocked => log.set_keys(unlocked?),
        }
        self.prepare(&mut log);
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let DurableUpTo { records: expected, by } = witnesses.durable();
        let walk = Walk {
            commitments,
            upto: (expected > 0).then_some(expected),
            cut: false,
            witnesses: &witnesses.checkpoints,
            hide: None,
            progress,
        };
        log.walk(&mut replay, walk, each)
            .map_err(|fault| refuse(place.clone(), &witnesses, Box::new(fault)))?;
        let found = replay.chain().checkpoint().records;
        if found < expected {
            return Err(OpenError::RolledBack { place, found, expected, by });
        }
        Ok(replay)
    }

    /// Opens a ledger in any storage for reading.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read_in(mut self, storage: Arc<dyn Storage>) -> Result<ReadOnlyLedger, OpenError> {
        let mut head = None;
        for _ in 0..MAX_LOOKS {
            let before = head.take();
            match self.read_once(&storage, &mut head) {
                // A writer erased while this was read: segments are newer than the HEAD that was looked at
                // before them. The newer HEAD has the record that permits it.
                Err(OpenError::Untrusted { fault, .. })
                    if matches!(fault.kind, FaultKind::PayloadMissing { .. }) && before != head => {}
                read => return read,
            }
        }
        Err(OpenError::Busy { place: storage.describe(), looks: MAX_LOOKS })
    }

    fn read_once(
        &mut self,
        storage: &Arc<dyn Storage>,
        head: &mut Option<u64>,
    ) -> Result<ReadOnlyLedger, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        let (mut reader, mut witnesses) = begin(storage, false, self.expect)?;
        *head = witnesses.head();
        reader.log.set_keys(self.unlock(&**storage, &reader.identity)?);
        self.prepare(&mut reader.log);
        let resumed = if self.uses_snapshots(&reader) {
            resume(&mut reader, &mut witnesses)
        } else {
            Resumed::default()
        };
        let mut silent = |_| {};
        let progress: &mut dyn FnMut(u64) = match &mut self.progress {
            Some(progress) => &mut **progress,
            None => &mut silent,
        };
        let head_missing = witnesses.slots.is_empty();
        let upto = witnesses.head().map(|head| head.max(witnesses.durable().records)); // without HEAD the frames alone say
        let Judged { torn, destroyed } = fold_and_judge(&mut reader, &witnesses, upto, progress)?;
        if let Some(gone) = destroyed.first() {
            return Err(OpenError::OlderThanKeys { place, seq: gone.row.seq.into() });
        }
        let mut recovery = Recovery {
            head_missing,
            from_snapshot: resumed.from,
            snapshots_ignored: resumed.ignored,
            erasures_pending: reader.erasures_pending(),
            ..Recovery::default()
        };
        if let Some(fault) = torn {
            recovery.torn = Some(inspect_torn(&reader, &fault).map_err(failed)?);
        }
        let again = Again {
            threads: self.threads,
            ignore_snapshots: self.ignore_snapshots,
            index_records: self.index_records,
            #[cfg(feature = "encryption")]
            keys: self.keys.clone(),
        };
        Ok(ReadOnlyLedger { reader, recovery, again })
    }

    /// Reads on where a reader stopped; `None` if what it has read lies elsewhere by now.
    fn read_on(&self, reader: &mut Reader) -> Result<Option<Judged>, OpenError> {
        let storage = Arc::clone(reader.log.storage());
        let (mut later, witnesses) = begin(&storage, false, Some(reader.checkpoint()))?;
        later.log.set_keys(self.unlock(&*storage, &later.identity)?);
        if !reader.log.extend(later.log) {
            return Ok(None);
        }
        let upto = witnesses.head().map(|head| head.max(witnesses.durable().records));
        let judged = fold_and_judge(reader, &witnesses, upto, &mut |_| {})?;
        reader.forget_names();
        Ok(Some(judged))
    }
}

impl Ledger {
    /// Opens a ledger for writing; see [`LedgerOptions::open`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        LedgerOptions::new().open(dir)
    }
}

/// What opens a ledger for reading once more: of [`LedgerOptions`] what readers look at, and threads may share.
#[derive(Debug)]
struct Again {
    threads: Option<usize>,
    ignore_snapshots: bool,
    index_records: bool,
    #[cfg(feature = "encryption")]
    keys: Option<Arc<dyn KeyProvider>>,
}

impl Again {
    fn options(&self) -> LedgerOptions<'static> {
        LedgerOptions {
            threads: self.threads,
            ignore_snapshots: self.ignore_snapshots,
            index_records: self.index_records,
            #[cfg(feature = "encryption")]
            keys: self.keys.clone(),
            ..LedgerOptions::default()
        }
    }
}

/// A ledger opened for reading: no lock, no write, so a copy on a read-only mount will do.
#[derive(Debug)]
pub struct ReadOnlyLedger {
    reader: Reader,
    recovery: Recovery,
    again: Again,
}

impl ReadOnlyLedger {
    /// Reads what became durable since this was opened or refreshed last, and gives how many records that were. The ledger must still have
    /// the past that was read: this is checked as [`LedgerOptions::expect`] checks it.
    ///
    /// Cost: that of the new records, and a look at the sorted operation ids. After an erasure, which writes the log again, the ledger is
    /// opened again.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use identity_ledger::storage::Memory;
    /// use identity_ledger::{DistinctId, LedgerOptions, Operation, Policy, Source, Tenant, Timestamp};
    /// let disk = Arc::new(Memory::new());
    /// let mut writer = LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default())?;
    /// let mut reader = LedgerOptions::new().read_in(disk)?;
    /// let at = Timestamp::from_micros(0)?;
    /// let _ = writer.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
    /// assert_eq!(reader.reader().resolve("ann"), None);
    /// assert_eq!(reader.refresh()?, 3); // two definitions, and the operation
    /// assert_eq!(reader.reader().resolve("ann"), writer.reader().resolve("ann"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`OpenError`], as opening has it. Then the reader shows what it showed, or some of what was new too; it can be refreshed again.
    pub fn refresh(&mut self) -> Result<u64, OpenError> {
        let ReadOnlyLedger { reader, again, .. } = self;
        let (mut options, before) = (again.options(), reader.checkpoint());
        // Where a writer erases meanwhile, what is read on may lack what it erases: opening knows how to look again.
        let read_on = options.read_on(reader);
        if !matches!(read_on, Ok(Some(Judged { torn: None, ref destroyed })) if destroyed.is_empty()) {
            let storage = Arc::clone(reader.log.storage());
            options.expect = Some(before);
            let ReadOnlyLedger { reader, recovery, .. } = options.read_in(storage)?;
            (self.reader, self.recovery) = (reader, recovery);
        }
        self.recovery.erasures_pending = self.reader.erasures_pending();
        Ok(self.reader.checkpoint().records - before.records)
    }

    /// Opens a ledger for reading; see [`LedgerOptions::open_read_only`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<ReadOnlyLedger, OpenError> {
        LedgerOptions::new().open_read_only(dir)
    }

    /// What opening found; a reader changes nothing.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

pass_questions_on!(ReadOnlyLedger);

#[cfg(test)]
mod tests {
    use super::*;

    /// A server hands a ledger to the thread that opens it, and many threads ask one that is only read.
    #[test]
    fn options_and_ledgers_go_to_other_threads() {
        fn is_send<T: Send>() {}
        fn is_shared<T: Send + Sync>() {}
        is_send::<LedgerOptions<'_>>();
        is_send::<Ledger>();
        is_shared::<ReadOnlyLedger>();
    }
}
