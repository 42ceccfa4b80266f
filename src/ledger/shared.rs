//! A ledger that many threads share: they write in turn, wait for the disk together, and read beside each other.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::delivery::{Delivered, Delivery, FollowError};
use crate::ledger::device::Device;
use crate::ledger::erase::ErasureRequest;
use crate::ledger::erase::receipt::Receipt;
use crate::ledger::error::{AppendError, EraseError, SnapshotError};
use crate::ledger::recovery::Recovery;
use crate::ledger::snapshot::Snapshot;
use crate::ledger::writer::{Disk, Durability};
use crate::log::chain::Checkpoint;
use crate::model::id::{DeviceId, LedgerId, Seq};
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::query::answer::Profile;
use crate::query::reader::{Reader, Resolution};
use crate::store::segments::Fault;
use crate::store::storage::Storage;

/// A ledger that many threads share; cheap to clone, closed with the last clone.
///
/// A writer has the ledger for itself while its operations are judged, written and folded, which takes
/// microseconds. The sync takes long, and it is shared: one thread syncs what all have written by then, and
/// the others wait for it. Writers that come meanwhile share the next sync. An append returns as with
/// [`Ledger`]: with [`Durability::Immediate`] once its records outlive a power cut.
///
/// Reads do not wait for that sync. They do wait where the ledger itself syncs while it writes: at the end of a full segment, for a flush,
/// a snapshot or an erasure. They see records as soon as they are written, which is a moment before their writer hears that
/// they are durable; [`SharedLedger::durable_records`] says up to where all is. A sync that fails is the last: every waiting append returns
/// [`AppendError::Indeterminate`], and this ledger never writes again. It releases the lock, so the ledger can be opened again while
/// clones of this one are left; those answer as before.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, SharedLedger, Tenant, Timestamp};
///
/// let ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default())?);
/// std::thread::scope(|scope| {
///     for name in ["ann", "bob", "eve"] {
///         let ledger = ledger.clone();
///         scope.spawn(move || {
///             let id = DistinctId::new(name).expect("it is short");
///             let at = Timestamp::from_micros(0).expect("1970 is in range");
///             let appended = ledger.append(Operation::properties(at, id)).expect("the disk is fine");
///             assert!(appended.outcome().is_some());
///         });
///     }
/// });
/// assert_eq!(ledger.read(|reader| reader.persons().count()), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedLedger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: RwLock<Ledger>,
    /// What each append waits for.
    durability: Durability,
    id: LedgerId,
    storage: Arc<dyn Storage>,
    disk: Disk,
    syncs: Mutex<Syncs>,
    /// Signalled whenever a sync ends.
    ended: Condvar,
}

/// How far writing and syncing have come.
#[derive(Debug)]
struct Syncs {
    /// The end of what is written, and the segment that holds it; those before it are durable.
    written: (Checkpoint, String),
    /// How many records are durable, in the sense of the ledger's durability.
    durable: u64,
    /// Whether a thread is at it.
    running: bool,
    /// Why there will be no more.
    failed: Option<String>,
}

impl SharedLedger {
    /// Shares a ledger.
    pub fn new(mut ledger: Ledger) -> SharedLedger {
        let durability = std::mem::replace(&mut ledger.writer.durability, Durability::Buffered);
        let syncs = Syncs {
            written: end_of(&ledger),
            durable: ledger.durable_records(),
            running: false,
            failed: None,
        };
        let shared = Shared {
            durability,
            id: ledger.reader().ledger_id(),
            storage: Arc::clone(ledger.reader.log.storage()),
            disk: ledger.writer.disk.clone(),
            ledger: RwLock::new(ledger),
            syncs: Mutex::new(syncs),
            ended: Condvar::new(),
        };
        SharedLedger { shared: Arc::new(shared) }
    }

    /// The ledger again, for one thread. `None`, and this clone is gone, if others are left. A ledger that stopped writing, because a
    /// sync failed or a thread panicked, does not write again here either.
    pub fn into_inner(self) -> Option<Ledger> {
        let Shared { ledger, durability, .. } = Arc::into_inner(self.shared)?;
        let mut ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        ledger.writer.durability = durability;
        Some(ledger)
    }

    /// Asks the ledger something, beside other readers. Writers wait meanwhile, so be brief.
    ///
    /// What `ask` calls on the reader is of one moment: no record comes in between. It must not call this ledger: a thread that waits for
    /// itself waits for ever.
    pub fn read<T>(&self, ask: impl FnOnce(&Reader) -> T) -> T {
        // A thread that panicked while it had the ledger for itself has stopped it: nothing more is written, and it answers as it is.
        ask(self.shared.ledger.read().unwrap_or_else(PoisonError::into_inner).reader())
    }

    /// Has the ledger for itself, and returns when all that was written by then is durable: several appends, a [`Ledger::device`] that
    /// speaks, a retract, an erasure. As with [`SharedLedger::read`], `work` must not call this ledger. Nothing of it is atomic but what
    /// [`Ledger`] says is.
    ///
    /// ```
    /// # use identity_ledger::{Changes, DeviceId, DistinctId, Ledger, Policy, SharedLedger, Tenant, Timestamp};
    /// # let ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default())?);
    /// let (at, phone, ann) = (Timestamp::from_micros(0)?, DeviceId::new("phone-1")?, DistinctId::new("ann")?);
    /// let appended = ledger.write(|ledger| ledger.device(phone).identify(at, ann, Changes::default()))?;
    /// assert!(appended.outcome().is_some());
    /// assert!(ledger.resolve("ann").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `work` gets a guard, not the ledger: two ledgers that were exchanged would each write into the other's directory.
    ///
    /// ```compile_fail
    /// # use identity_ledger::{AppendError, Ledger, SharedLedger};
    /// fn exchange(one: &SharedLedger, other: &mut Ledger) -> Result<(), AppendError> {
    ///     one.write(|one| Ok(std::mem::swap::<Ledger>(one, other)))
    /// }
    /// ```
    ///
    /// # Errors
    /// What `work` gives; else [`AppendError::Indeterminate`] if the sync fails, and [`AppendError::Poisoned`] from then on.
    pub fn write<T, E: From<AppendError>>(
        &self,
        work: impl FnOnce(&mut LedgerGuard<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (done, wrote, records) = {
            let mut ledger = self.shared.ledger.write().unwrap_or_else(PoisonError::into_inner);
            ledger.check_health()?;
            let mut ledger = LedgerGuard { ledger: &mut ledger, is_done: false };
            let before = ledger.reader().checkpoint().records;
            let done = work(&mut ledger);
            ledger.is_done = true;
            let records = ledger.reader().checkpoint().records;
            if records > before {
                self.syncs().written = end_of(ledger.ledger);
            }
            (done, records > before, records)
        };
        // A duplicate of what is not durable yet waits too; and what was written before an error is as good as anything else.
        if self.shared.durability == Durability::Buffered || (done.is_err() && !wrote) {
            return done;
        }
        let synced = self.wait(records);
        let done = done?;
        synced?;
        Ok(done)
    }

    /// As [`Ledger::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, operation: Operation) -> Result<Appended, AppendError> {
        self.write(|ledger| ledger.append(operation))
    }

    /// As [`Ledger::append_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn append_batch(&self, operations: &[Operation]) -> Result<Vec<Appended>, AppendError> {
        self.write(|ledger| ledger.append_batch(operations))
    }

    /// As [`Ledger::append_at`].
    ///
    /// # Errors
    /// As there.
    pub fn append_at(
        &self,
        delivery: &Delivery<'_>,
        operations: &[Operation],
    ) -> Result<Delivered, FollowError> {
        self.write(|ledger| ledger.append_at(delivery, operations))
    }

    /// As [`Ledger::set_policy`].
    ///
    /// # Errors
    /// As there.
    pub fn set_policy(&self, policy: &Policy) -> Result<Seq, AppendError> {
        self.write(|ledger| ledger.set_policy(policy))
    }

    /// As [`Ledger::flush`]: also what was written `Buffered`, and `HEAD`.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<Checkpoint, AppendError> {
        self.write(|ledger| ledger.flush())
    }

    /// Returns how many records are durable, as [`Ledger::durable_records`] does.
    pub fn durable_records(&self) -> u64 {
        self.shared.disk.durable()
    }

    /// Returns whose id this is, as [`Reader::resolve`] does.
    pub fn resolve(&self, distinct_id: &str) -> Option<Resolution> {
        self.read(|reader| reader.resolve(distinct_id))
    }

    /// Returns whose id this was right after a record, as [`Reader::person_as_of`] does.
    pub fn person_as_of(&self, distinct_id: &str, seq: Seq) -> Option<Resolution> {
        self.read(|reader| reader.person_as_of(distinct_id, seq))
    }

    /// As [`Reader::profile`].
    ///
    /// # Errors
    /// As there.
    pub fn profile(&self, distinct_id: &str) -> Result<Option<Profile>, Fault> {
        self.read(|reader| reader.profile(distinct_id))
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.shared.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when `records` records are durable: this thread syncs, or another does.
    fn wait(&self, records: u64) -> Result<(), AppendError> {
        let mut syncs = self.syncs();
        loop {
            if syncs.durable >= records {
                return Ok(());
            }
            if let Some(cause) = &syncs.failed {
                let source = io::Error::other(cause.clone());
                return Err(AppendError::Indeterminate { seq: syncs.durable, source });
            }
            if syncs.running {
                syncs = self.shared.ended.wait(syncs).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            syncs.running = true;
            let (upto, segment) = syncs.written.clone();
            drop(syncs);
            let mut turn = Turn { ledger: self, ended: Err("a thread panicked while it synced".to_owned()) };
            turn.ended =
                self.sync(upto, &segment).map(|()| upto.records).map_err(|source| source.to_string());
            drop(turn);
            syncs = self.syncs();
        }
    }

    /// Makes durable what is written up to a checkpoint. While the disk works, others read and write.
    fn sync(&self, upto: Checkpoint, segment: &str) -> io::Result<()> {
        let Shared { storage, disk, id, durability, .. } = &*self.shared;
        disk.sync(&**storage, *id, (upto, segment), *durability)
    }
}

/// A thread's turn at the disk. However it ends, all who wait hear of it.
struct Turn<'l> {
    ledger: &'l SharedLedger,
    /// Up to where all is durable; or why there will be no more.
    ended: Result<u64, String>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Shared { ledger, disk, ended, .. } = &*self.ledger.shared;
        let mut syncs = self.ledger.syncs();
        syncs.running = false;
        let failed = match &self.ended {
            Ok(records) => {
                syncs.durable = syncs.durable.max(*records);
                None
            }
            Err(cause) => {
                disk.poison(cause.clone());
                syncs.failed = Some(cause.clone());
                Some(cause.clone())
            }
        };
        drop(syncs);
        ended.notify_all();
        if let Some(cause) = failed {
            // A thread that writes at this moment does not yet know: the lock is released when it is done.
            ledger.write().unwrap_or_else(PoisonError::into_inner).writer.stop(cause);
        }
    }
}

/// A shared ledger while one thread has it for itself: what [`Ledger`] writes, and, as a [`Reader`], what it answers.
#[derive(Debug)]
pub struct LedgerGuard<'l> {
    ledger: &'l mut Ledger,
    /// Whether the thread's work returned. If it did not, it panicked.
    is_done: bool,
}

impl LedgerGuard<'_> {
    /// As [`Ledger::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, operation: Operation) -> Result<Appended, AppendError> {
        self.ledger.append(operation)
    }

    /// As [`Ledger::append_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn append_batch(&mut self, operations: &[Operation]) -> Result<Vec<Appended>, AppendError> {
        self.ledger.append_batch(operations)
    }

    /// As [`Ledger::append_at`].
    ///
    /// # Errors
    /// As there.
    pub fn append_at(
        &mut self,
        delivery: &Delivery<'_>,
        operations: &[Operation],
    ) -> Result<Delivered, FollowError> {
        self.ledger.append_at(delivery, operations)
    }

    /// As [`Ledger::set_policy_at`].
    ///
    /// # Errors
    /// As there.
    pub fn set_policy_at(
        &mut self,
        delivery: &Delivery<'_>,
        policy: &Policy,
    ) -> Result<Delivered, FollowError> {
        self.ledger.set_policy_at(delivery, policy)
    }

    /// Returns a device that speaks, as [`Ledger::device`] does.
    pub fn device(&mut self, id: DeviceId) -> Device<'_> {
        self.ledger.device(id)
    }

    /// As [`Ledger::new_device`].
    ///
    /// # Errors
    /// As there.
    pub fn new_device(&mut self, at: Timestamp) -> Result<DeviceId, AppendError> {
        self.ledger.new_device(at)
    }

    /// As [`Ledger::set_policy`].
    ///
    /// # Errors
    /// As there.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<Seq, AppendError> {
        self.ledger.set_policy(policy)
    }

    /// As [`Ledger::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> Result<Checkpoint, AppendError> {
        self.ledger.flush()
    }

    /// As [`Ledger::snapshot`].
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(&mut self) -> Result<Snapshot, SnapshotError> {
        self.ledger.snapshot()
    }

    /// Returns why the last snapshot was not made, as [`Ledger::snapshot_error`] does.
    pub fn snapshot_error(&self) -> Option<&SnapshotError> {
        self.ledger.snapshot_error()
    }

    /// As [`Ledger::erase`].
    ///
    /// # Errors
    /// As there.
    pub fn erase(&mut self, requests: &[ErasureRequest]) -> Result<Vec<Receipt>, EraseError> {
        self.ledger.erase(requests)
    }

    /// As [`Ledger::begin_erasures`].
    ///
    /// # Errors
    /// As there.
    pub fn begin_erasures(&mut self, requests: &[ErasureRequest]) -> Result<Vec<Seq>, EraseError> {
        self.ledger.begin_erasures(requests)
    }

    /// As [`Ledger::finish_erasures`].
    ///
    /// # Errors
    /// As there.
    pub fn finish_erasures(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Vec<Receipt>, EraseError> {
        self.ledger.finish_erasures(progress)
    }

    /// As [`Ledger::refuse_erased_ids`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "encryption")]
    pub fn refuse_erased_ids(&mut self, refuse: bool) -> Result<(), crate::log::payload::KeysError> {
        self.ledger.refuse_erased_ids(refuse)
    }

    /// Returns what opening found, as [`Ledger::recovery`] does.
    pub fn recovery(&self) -> &Recovery {
        self.ledger.recovery()
    }

    /// The reader of the ledger: every question that can be asked of it.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        self.ledger.reader()
    }
}

impl Drop for LedgerGuard<'_> {
    /// A panic may have come between any two steps of a write: what the ledger holds in memory is not to be written on.
    fn drop(&mut self) {
        if !self.is_done {
            self.ledger.writer.stop("a thread panicked while it wrote".to_owned());
        }
    }
}

/// The end of the log, and the segment that holds it.
fn end_of(ledger: &Ledger) -> (Checkpoint, String) {
    let segment = ledger.reader.log.segments().last().expect("a ledger has its genesis record");
    (ledger.checkpoint(), segment.name.clone())
}
