//! A ledger that many threads share: they write in turn, wait for the disk together, and read beside each other.

use std::sync::{Arc, PoisonError};

use crate::ledger::Ledger;
use crate::ledger::appended::{Answers, Appended};
use crate::ledger::delivery::{Delivered, Delivery, FollowError};
use crate::ledger::device::Device;
use crate::ledger::erase::receipt::Receipt;
use crate::ledger::erase::request::ErasureRequest;
use crate::ledger::error::{AppendError, EraseError, SnapshotError};
use crate::ledger::group::{Shared, SyncCounts};
use crate::ledger::recovery::Recovery;
use crate::ledger::snapshot::Snapshot;
use crate::ledger::ticket::Ticket;
use crate::ledger::writer::Durability;
use crate::log::chain::Checkpoint;
use crate::model::id::{DeviceId, Seq};
use crate::model::limits::MAX_WAITING_RECORDS;
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::query::answer::Profile;
use crate::query::reader::{Reader, Resolution};
use crate::store::segments::Fault;

/// A ledger that many threads share; cheap to clone, closed with the last clone.
///
/// A writer has the ledger for itself while its operations are judged, written and folded, which takes
/// microseconds. The sync takes long, and it is shared: one thread syncs what all have written by then, and
/// the others wait for it. Writers that come meanwhile share the next sync. An append returns as with
/// [`Ledger`]: with [`Durability::Immediate`] once its records outlive a power cut.
///
/// Reads do not wait for that sync. They do wait where the ledger itself syncs while it writes: at the end of a full segment, for a flush
/// or an erasure. Writers wait for reads, so what takes long is asked of a [`SharedLedger::detached`] reader. Reads see records as soon as
/// they are written, which is a moment before their writer hears that they are durable; [`SharedLedger::durable_records`] says up to where all is. A sync that fails is the last: every waiting append returns
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

impl SharedLedger {
    /// Shares a ledger.
    pub fn new(mut ledger: Ledger) -> SharedLedger {
        let durability = std::mem::replace(&mut ledger.writer.durability, Durability::Buffered);
        SharedLedger { shared: Shared::new(ledger, durability) }
    }

    /// The ledger again, for one thread. `None`, and this clone is gone, if others or [`Ticket`]s are left. A ledger that stopped writing, because a
    /// sync failed or a thread panicked, does not write again here either.
    pub fn into_inner(self) -> Option<Ledger> {
        Arc::into_inner(self.shared).map(Shared::into_inner)
    }

    /// Asks the ledger something, beside other readers. Writers wait meanwhile, so be brief.
    ///
    /// What `ask` calls on the reader is of one moment: no record comes in between. It must not call this ledger: a thread that waits for
    /// itself waits for ever.
    pub fn read<T>(&self, ask: impl FnOnce(&Reader) -> T) -> T {
        // A thread that panicked while it had the ledger for itself has stopped it: nothing more is written, and it answers as it is.
        ask(self.shared.ledger().read().unwrap_or_else(PoisonError::into_inner).reader())
    }

    /// What answers are made from, as it is now, for questions that take long: no writer waits for them, and the reader stays as it is.
    /// An erasure ends what it reads in the log; see [`Reader::detached`].
    ///
    /// Writers wait while it is copied. That takes the memory of the ledger's state, some 200 bytes a distinct id, and about the time that
    /// the machine needs to copy it. A server that asks often keeps one for a while.
    ///
    /// ```
    /// # use identity_ledger::{DistinctId, Ledger, Operation, Policy, SharedLedger, Tenant, Timestamp};
    /// # let ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default())?);
    /// let at = Timestamp::from_micros(0)?;
    /// let _ = ledger.append(Operation::properties(at, DistinctId::new("ann")?))?;
    /// let reader = ledger.detached();
    /// for person in reader.persons() {
    ///     let _ = ledger.append(Operation::properties(at, DistinctId::new("bob")?))?; // with `read`, this thread would wait for itself
    ///     println!("{}", person?.person_id);
    /// }
    /// assert_eq!((reader.persons().count(), ledger.detached().persons().count()), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn detached(&self) -> Reader {
        self.read(Reader::detached)
    }

    /// Builds what `history`, `why-not`, graphs, retracts and splits look records up by, as
    /// [`LedgerOptions::index_records`](crate::LedgerOptions::index_records) does, beside writers. Without it the first of them reads the log,
    /// and writers wait meanwhile. Returns at once if it is there. An erasure that writes segments again forgets it, and ends its making.
    /// Of callers at the same time one builds it, and the others wait for it.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn index_records(&self) -> Result<(), Fault> {
        if self.read(|reader| reader.log.has_index()) {
            return Ok(());
        }
        let _one = self.shared.indexing();
        let begun = self.read(|reader| {
            (!reader.log.has_index()).then(|| (reader.log.detached(), reader.checkpoint().records))
        });
        let Some((log, records)) = begun else { return Ok(()) };
        let built = log.build_index(records);
        self.read(|reader| match built {
            Ok(()) if !log.is_ended() && !reader.log.has_index() => {
                reader.log.adopt_index(&log);
                Ok(())
            }
            Err(_) if log.is_ended() => Ok(()),
            built => built,
        })
    }

    /// As [`Ledger::snapshot`], beside writers: they wait while what it holds is copied, as for [`SharedLedger::detached`]. An erasure stops
    /// the making, and it begins again.
    ///
    /// Those that [`LedgerOptions::snapshot_every`](crate::LedgerOptions::snapshot_every) asks for are made on a thread of their own.
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let group = self.shared.group();
        loop {
            let begin = |guard: &mut LedgerGuard<'_>| {
                guard
                    .finish_erasures(&mut |_| {})
                    .map_err(|error| SnapshotError::Erasure(Box::new(error)))?;
                let begun = guard.ledger.begin_snapshot().ok_or_else(|| guard.ledger.writer.site.clone());
                Ok::<_, SnapshotError>(begun)
            };
            match self.record(u64::MAX, begin)?.done? {
                Ok(begun) => {
                    if let Some(made) = group.make_snapshot(begun)? {
                        return Ok(made);
                    }
                }
                Err(site) => site.wait(),
            }
        }
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
        let Written { done, wrote, records } = self.record(u64::MAX, work)?;
        // A duplicate of what is not durable yet waits too; and what was written before an error is as good as anything else.
        if done.is_err() && !wrote {
            return done;
        }
        let synced = self.shared.group().wait(records);
        let done = done?;
        synced?;
        Ok(done)
    }

    /// As [`SharedLedger::write`], but returns as soon as it is written, with a [`Ticket`] that says when it is durable. One thread can so
    /// keep many writes going, and an async function waits for none of them: a ticket is a future, for any runtime.
    ///
    /// ```
    /// # use identity_ledger::{DistinctId, Ledger, Operation, Policy, SharedLedger, Tenant, Timestamp};
    /// # let ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default())?);
    /// let (at, ann) = (Timestamp::from_micros(0)?, DistinctId::new("ann")?);
    /// let ticket = ledger.submit(|ledger| ledger.append(Operation::properties(at, ann)))?;
    /// // Others are served here. An async function says `ticket.await` instead.
    /// assert!(ticket.wait()?.outcome().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What `work` gives; what it wrote before is recorded, and durable with the next sync. [`AppendError::Busy`] while
    /// [`MAX_WAITING_RECORDS`] or more are not durable yet: nothing was recorded then.
    pub fn submit<T, E: From<AppendError>>(
        &self,
        work: impl FnOnce(&mut LedgerGuard<'_>) -> Result<T, E>,
    ) -> Result<Ticket<T>, E> {
        let Written { done, records, .. } = self.record(MAX_WAITING_RECORDS, work)?;
        Ok(Ticket::new(Arc::clone(&self.shared), records, done?))
    }

    /// Does some work alone, unless `most` records or more wait for the disk.
    fn record<T, E: From<AppendError>>(
        &self,
        most: u64,
        work: impl FnOnce(&mut LedgerGuard<'_>) -> Result<T, E>,
    ) -> Result<Written<T, E>, E> {
        let group = self.shared.group();
        let mut ledger = self.shared.ledger().write().unwrap_or_else(PoisonError::into_inner);
        ledger.check_health()?;
        ledger.note_snapshot();
        let before = ledger.reader().checkpoint().records;
        let waiting = group.waiting(before);
        if waiting >= most {
            return Err(AppendError::Busy { waiting }.into());
        }
        let mut guard = LedgerGuard { ledger: &mut ledger, is_done: false };
        let done = work(&mut guard);
        guard.is_done = true;
        drop(guard);
        let records = ledger.reader().checkpoint().records;
        if records > before {
            group.note_written(&ledger);
        }
        let due = if ledger.is_snapshot_due() { ledger.begin_snapshot() } else { None };
        drop(ledger);
        if let Some(begun) = due {
            group.make_snapshot_beside(begun);
        }
        Ok(Written { done, wrote: records > before, records })
    }

    /// Counts how this ledger and its disk keep up with each other.
    pub fn sync_counts(&self) -> SyncCounts {
        self.shared.group().counts()
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
    pub fn append_batch(&self, operations: &[Operation]) -> Result<Answers, AppendError> {
        self.write(|ledger| ledger.append_batch(operations))
    }

    /// As [`Ledger::append_each`].
    ///
    /// # Errors
    /// As there.
    pub fn append_each(
        &self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        self.write(|ledger| ledger.append_each(operations))
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
        self.shared.group().durable_records()
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
}

/// What some work with the ledger came to.
struct Written<T, E> {
    done: Result<T, E>,
    /// Whether there are more records than before.
    wrote: bool,
    /// How many there are.
    records: u64,
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
    pub fn append_batch(&mut self, operations: &[Operation]) -> Result<Answers, AppendError> {
        self.ledger.append_batch(operations)
    }

    /// As [`Ledger::append_each`].
    ///
    /// # Errors
    /// As there.
    pub fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        self.ledger.append_each(operations)
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

    /// As [`Ledger::erase_at`].
    ///
    /// # Errors
    /// As there.
    pub fn erase_at(
        &mut self,
        delivery: &Delivery<'_>,
        request: &ErasureRequest,
    ) -> Result<Delivered<Vec<Seq>, EraseError>, FollowError> {
        self.ledger.erase_at(delivery, request)
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
