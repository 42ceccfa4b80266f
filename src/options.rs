//! Options: how a ledger is created, opened, read, or replayed from its bytes alone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::audit::{Audit, AuditReport};
use crate::book::Book;
use crate::chain::Checkpoint;
use crate::dictionary::{FingerprintKey, Seen};
use crate::directory::{
    HEAD, HeadSlot, Identity, LEDGER, LOG, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::entropy::{Entropy, OsEntropy};
use crate::erasure::EraseError;
use crate::frame::{self, Header};
use crate::id::{LedgerId, Tenant};
#[cfg(feature = "encryption")]
use crate::keys::{KeyProvider, KeysAtHand};
use crate::ledger::Ledger;
use crate::limits::{DEFAULT_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::log::{FaultKind, Log, Walk};
use crate::policy::{Policy, PolicyError};
use crate::reader::LedgerReader;
use crate::record::{Body, StoredPolicy};
use crate::recovery::{
    Judged, Known, OpenError, Recovery, begin, fold_and_judge, inspect_torn, keep_torn, refuse, resume,
    unrecorded_cut, write_anew,
};
use crate::replay::{Replay, Step};
use crate::salvage::{Salvage, SalvageError};
use crate::seal::{Keys, KeysError};
use crate::snapshot::Resumed;
use crate::storage::{Access, FilePlace, Files, LedgerPlace, Occupant, Reserved, Storage};
use crate::writer::{Durability, Writer};

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
    threads: Option<usize>,
    progress: Option<&'p mut dyn FnMut(u64)>,
    ignore_snapshots: bool,
    snapshot_every: Option<u64>,
    index_records: bool,
    access: Access,
    #[cfg(feature = "encryption")]
    keys: Option<Arc<dyn KeyProvider>>,
}

impl std::fmt::Debug for LedgerOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerOptions").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// Why a ledger cannot be created. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is a ledger already.
    #[error("{place} is a ledger already; open it, or choose another directory")]
    Exists {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The directory holds something else.
    #[error("{place} is not empty and does not contain a ledger; choose an empty or new directory")]
    NotEmpty {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The directory lies in another ledger.
    #[error("{place} lies in the ledger {ledger}; choose a place outside it")]
    Inside {
        /// The directory, as its storage describes itself.
        place: String,
        /// The ledger that it lies in.
        ledger: String,
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
    /// The keys of a sealed ledger cannot be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The new ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error("{place} cannot be created: {source}")]
    Io {
        /// The directory, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
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

    /// How many threads opening and replaying may use: 1, or 2 to read and check ahead of the fold. More change nothing; no
    /// number changes what comes out. Unless chosen, 2 where there are two cores.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> LedgerOptions<'p> {
        self.threads = Some(threads);
        self
    }

    /// Opens by folding the whole log, and looks at no snapshot. What is made later is made as ever.
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
    #[must_use]
    pub fn snapshot_every(mut self, records: u64) -> LedgerOptions<'p> {
        self.snapshot_every = Some(records).filter(|records| *records > 0);
        self
    }

    /// Indexes the records by the ids and devices they name, from opening on: [`crate::Book::history`], [`crate::Book::why_not`],
    /// retracts and splits then cost what their component of possible links costs, the first of them too.
    ///
    /// Without it the first such question reads the log once, without folding it, and keeps the index from there on. It takes
    /// 8 bytes for each id that a record names, and 4 for each id: see [`crate::MemoryUse`].
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
        self,
        dir: impl AsRef<Path>,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let dir = dir.as_ref();
        let failed = |source| CreateError::Io { place: dir.display().to_string(), source };
        if let Some(Reserved::Inside(ledger)) = Reserved::of(dir).map_err(failed)? {
            let (place, ledger) = (dir.display().to_string(), ledger.display().to_string());
            return Err(CreateError::Inside { place, ledger });
        }
        let place = FilePlace::new(dir, self.access).map_err(failed)?;
        self.create_at(&place, tenant, policy)
    }

    /// Creates a ledger at a place, as [`LedgerOptions::create`] does: it is built beside the place and renamed.
    ///
    /// # Errors
    /// As there.
    pub fn create_at(
        mut self,
        place: &dyn LedgerPlace,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Ledger, CreateError> {
        let failed = |source| CreateError::Io { place: place.describe(), source };
        match place.look().map_err(failed)? {
            Occupant::Directory(names) if names.iter().any(|name| name == LEDGER) => {
                return Err(CreateError::Exists { place: place.describe() });
            }
            Occupant::Directory(names) if !names.is_empty() => {
                return Err(CreateError::NotEmpty { place: place.describe() });
            }
            Occupant::Other => return Err(CreateError::NotEmpty { place: place.describe() }),
            Occupant::Directory(_) | Occupant::Nothing => {}
        }
        let identity = self.identity(tenant, &policy)?;
        let tag = identity.ledger.0.simple().to_string();
        let built = place.build(&tag).and_then(|storage| build(&*storage, &identity, &policy));
        if let Err(source) = built.and_then(|()| place.put(&tag)).and_then(|()| place.sync()) {
            place.discard(&tag).ok(); // the cause is what the caller needs to know
            return Err(failed(source));
        }
        Ok(self.open_in(place.storage())?)
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
        if storage.len(LEDGER).map_err(failed)?.is_some() {
            return Err(CreateError::Exists { place });
        }
        let identity = self.identity(tenant, &policy)?;
        build(&*storage, &identity, &policy).map_err(failed)?;
        Ok(self.open_in(storage)?)
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
    fn seals(&self) -> bool {
        #[cfg(feature = "encryption")]
        return self.keys.is_some();
        #[cfg(not(feature = "encryption"))]
        false
    }

    /// What opens a ledger's items.
    pub(crate) fn unlock(&self, storage: &dyn Storage, identity: &Identity) -> Result<Keys, KeysError> {
        if !identity.sealed {
            return Ok(None);
        }
        #[cfg(feature = "encryption")]
        if let Some(provider) = &self.keys {
            return Ok(Some(Arc::new(KeysAtHand::load(Arc::clone(provider), identity)?)));
        }
        Err(KeysError::Sealed { place: storage.describe() })
    }

    fn identity(&mut self, tenant: Tenant, policy: &Policy) -> Result<Identity, CreateError> {
        policy.check()?;
        let segment_bytes = self.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES);
        if segment_bytes < MIN_SEGMENT_BYTES {
            return Err(CreateError::SegmentTooSmall { found: segment_bytes });
        }
        let entropy = self.entropy.get_or_insert_with(|| Box::new(OsEntropy::default()));
        let ledger = LedgerId(uuid::Builder::from_random_bytes(entropy.array()).into_uuid());
        #[cfg(feature = "encryption")]
        if let Some(provider) = &self.keys {
            KeysAtHand::create(Arc::clone(provider), ledger, &mut **entropy)?;
        }
        let sealed = self.seals();
        Ok(Identity { ledger, tenant, segment_bytes, sealed })
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
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Ledger, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        Identity::read(&*storage, true)?;
        let Some(lock) = storage.lock().map_err(failed)? else {
            return Err(OpenError::Locked { place });
        };
        let (mut book, mut witnesses) = begin(&storage, true, self.expect)?;
        book.log.set_keys(self.unlock(&*storage, &book.identity)?);
        self.prepare(&mut book.log);
        let mut entropy = self.entropy.unwrap_or_else(|| Box::new(OsEntropy::default()));
        // Drawn even if a snapshot brings its own key: what is drawn later, the salts, must not depend on snapshots.
        book.seen = Seen::new(FingerprintKey::from_bytes(&entropy.array()));
        let resumed =
            if self.ignore_snapshots { Resumed::default() } else { resume(&mut book, &mut witnesses) };
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let Judged { torn, destroyed } = fold_and_judge(&mut book, &witnesses, None, progress)?;
        let records = book.checkpoint().records;
        let newest = witnesses.slots.first();
        let mut recovery = Recovery {
            torn: None,
            unproven_records: records - newest.map_or(records, |slot| slot.records),
            head_missing: newest.is_none(),
            from_snapshot: resumed.from,
            snapshots_ignored: resumed.ignored,
            erasures_pending: pending(&book),
            erased_since: destroyed.len(),
        };
        recovery.torn = match torn {
            Some(fault) => Some(keep_torn(&mut book, &fault).map_err(failed)?),
            None => unrecorded_cut(&book).map_err(failed)?,
        };
        if recovery.is_unclean_end()
            && let Some(last) = book.log.segments().last()
        {
            write_anew(&*storage, &last.name, last.len).map_err(failed)?;
        }
        if let Some(sealer) = book.log.keys() {
            sealer.go_on_from(records, entropy.array()).map_err(failed)?;
        }
        let writer = Writer::new(entropy, self.durability, newest, lock);
        let mut ledger = Ledger::settled(book, writer, recovery, self.snapshot_every).map_err(failed)?;
        match ledger.erase_destroyed(destroyed).and_then(|()| ledger.roll_erasures_forward()) {
            Ok(()) => Ok(ledger),
            Err(EraseError::Removal { source }) => Err(failed(source)),
            Err(EraseError::Unreadable(fault)) => Err(OpenError::Untrusted { place, fault }),
            Err(error) => Err(failed(io::Error::other(error))),
        }
    }

    /// Opens a ledger for reading: shows what was durable when it was opened, and writes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<LedgerReader, OpenError> {
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
        let (Book { identity, mut log, mut replay, .. }, witnesses) = begin(&storage, false, self.expect)?;
        match self.unlock(&*storage, &identity) {
            Err(KeysError::Sealed { .. }) if !commitments => {} // the state folds from what is not sealed
            unlocked => log.set_keys(unlocked?),
        }
        self.prepare(&mut log);
        let mut silent = |_| {};
        let progress = self.progress.unwrap_or(&mut silent);
        let Known { records: expected, by } = witnesses.durable();
        let walk = Walk {
            commitments,
            upto: (expected > 0).then_some(expected),
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

    /// Audits a ledger; see [`crate::Audit`].
    ///
    /// # Errors
    /// As [`crate::Audit::run`].
    pub fn audit(self, dir: impl AsRef<Path>) -> Result<AuditReport, OpenError> {
        self.audit_in(Arc::new(Files::read_only(dir.as_ref())))
    }

    /// Audits the ledger in a storage.
    ///
    /// # Errors
    /// As [`crate::Audit::run`].
    pub fn audit_in(self, storage: Arc<dyn Storage>) -> Result<AuditReport, OpenError> {
        let keys = self.unlock(&*storage, &Identity::read(&*storage, false)?)?;
        let mut silent = |_| {};
        Audit::run_with(storage, self.expect, &keys, self.progress.unwrap_or(&mut silent))
    }

    /// Looks through a damaged ledger; see [`Salvage`].
    ///
    /// # Errors
    /// As [`Salvage::look`].
    pub fn salvage(self, dir: impl AsRef<Path>) -> Result<Salvage, SalvageError> {
        self.salvage_in(Arc::new(Files::read_only(dir.as_ref())))
    }

    /// Looks through a damaged ledger in a storage.
    ///
    /// # Errors
    /// As [`Salvage::look`].
    pub fn salvage_in(mut self, storage: Arc<dyn Storage>) -> Result<Salvage, SalvageError> {
        let mut silent = |_| {};
        let progress = self.progress.take();
        let expect = self.expect;
        let unlock = |storage: &dyn Storage, identity: &Identity| self.unlock(storage, identity);
        Salvage::look_with(storage, expect, &unlock, progress.unwrap_or(&mut silent))
    }

    /// Opens a ledger in any storage for reading.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read_in(mut self, storage: Arc<dyn Storage>) -> Result<LedgerReader, OpenError> {
        let mut head = None;
        loop {
            let before = head.take();
            match self.read_once(&storage, &mut head) {
                // A writer erased while this was read: segments are newer than the HEAD that was looked at
                // before them. The newer HEAD has the record that permits it.
                Err(OpenError::Untrusted { fault, .. })
                    if matches!(fault.kind, FaultKind::PayloadMissing { .. }) && before != head => {}
                read => return read,
            }
        }
    }

    fn read_once(
        &mut self,
        storage: &Arc<dyn Storage>,
        head: &mut Option<u64>,
    ) -> Result<LedgerReader, OpenError> {
        let place = storage.describe();
        let failed = |source| OpenError::Io { place: place.clone(), source };
        let (mut book, mut witnesses) = begin(storage, false, self.expect)?;
        *head = witnesses.head();
        book.log.set_keys(self.unlock(&**storage, &book.identity)?);
        self.prepare(&mut book.log);
        let resumed =
            if self.ignore_snapshots { Resumed::default() } else { resume(&mut book, &mut witnesses) };
        let mut silent = |_| {};
        let progress: &mut dyn FnMut(u64) = match &mut self.progress {
            Some(progress) => &mut **progress,
            None => &mut silent,
        };
        let head_missing = witnesses.slots.is_empty();
        let upto = witnesses.head().map(|head| head.max(witnesses.durable().records)); // without HEAD the frames alone say
        let Judged { torn, destroyed } = fold_and_judge(&mut book, &witnesses, upto, progress)?;
        if let Some(gone) = destroyed.first() {
            return Err(OpenError::OlderThanKeys { place, seq: gone.row.seq.into() });
        }
        let mut recovery = Recovery {
            head_missing,
            from_snapshot: resumed.from,
            snapshots_ignored: resumed.ignored,
            erasures_pending: pending(&book),
            ..Recovery::default()
        };
        if let Some(fault) = torn {
            recovery.torn = Some(inspect_torn(&book, &fault).map_err(failed)?);
        }
        Ok(LedgerReader::new(book, recovery))
    }
}

/// How many erasures are begun and not finished.
fn pending(book: &Book) -> usize {
    book.state().erasures().list().filter(|(_, done)| done.is_none()).count()
}

/// Writes the files of a new ledger: one segment with the genesis record, `HEAD`, and last `LEDGER`, which makes it one.
fn build(storage: &dyn Storage, identity: &Identity, policy: &Policy) -> io::Result<()> {
    let mut replay = identity.replay();
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

    // `LEDGER` comes last and all at once, so that wherever a crash falls there is a whole ledger or none.
    let building = format!("{LEDGER}.new");
    let files = [(&segment[..], &bytes[..]), (HEAD, &[]), (&building, &identity.to_bytes())];
    for (file, content) in files {
        storage.create(file)?;
        storage.write_at(file, 0, content)?;
        if file == HEAD {
            HeadSlot { ledger: identity.ledger, turn: 1, records, head }.write(storage)?;
        }
        storage.sync(file)?;
    }
    storage.sync_dir(LOG)?;
    storage.sync_dir("")?;
    storage.rename(&building, LEDGER)?;
    storage.sync_dir("")
}
