//! Group commit: threads and tickets that wait for the disk share its syncs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::Waker;
use std::thread;

use crate::ledger::Ledger;
use crate::ledger::error::{AppendError, SnapshotError};
use crate::ledger::snapshot::{Begun, Snapshot};
use crate::ledger::trace;
use crate::ledger::writer::{Disk, Durability};
use crate::log::chain::Checkpoint;
use crate::model::id::LedgerId;
use crate::store::storage::Storage;

/// A ledger, and who waits for its disk.
#[derive(Debug)]
pub(crate) struct Shared {
    ledger: RwLock<Ledger>,
    /// Held while the index of records is built: one builds it, and others wait for it.
    indexing: Mutex<()>,
    group: Member,
}

impl Shared {
    /// `durability` is what the appends of the group wait for. The ledger itself waits for nothing.
    pub(crate) fn new(mut ledger: Ledger, durability: Durability) -> Arc<Shared> {
        ledger.snapshots.is_beside = true;
        let syncs = Syncs {
            written: end_of(&ledger),
            durable: ledger.durable_records(),
            running: false,
            failed: None,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            has_thread: false,
            is_closed: false,
            counts: SyncCounts::default(),
        };
        Arc::new_cyclic(|shared| {
            let group = Group {
                shared: Weak::clone(shared),
                durability,
                id: ledger.reader().ledger_id(),
                storage: Arc::clone(ledger.reader.log.storage()),
                disk: ledger.writer.disk.clone(),
                syncs: Mutex::new(syncs),
                changed: Condvar::new(),
            };
            let (ledger, indexing) = (RwLock::new(ledger), Mutex::default());
            Shared { ledger, indexing, group: Member(Arc::new(group)) }
        })
    }

    pub(crate) fn ledger(&self) -> &RwLock<Ledger> {
        &self.ledger
    }

    pub(crate) fn indexing(&self) -> MutexGuard<'_, ()> {
        self.indexing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group.0
    }

    pub(crate) fn into_inner(self) -> Ledger {
        let mut ledger = self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        ledger.writer.durability = self.group.0.durability;
        ledger.alone()
    }
}

/// The share of the ledger in its group: without it, the group's thread ends.
#[derive(Debug)]
struct Member(Arc<Group>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.syncs().is_closed = true;
        self.0.changed.notify_all();
    }
}

/// How a shared ledger and its disk keep up with each other. Counted since it was shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SyncCounts {
    /// Syncs that ended well. Those that the ledger makes by itself, such as at the end of a segment, are not counted.
    pub syncs: u64,
    /// Records that these syncs made durable, together; by `syncs`, the size of a group.
    pub records: u64,
    /// The most records that one of them made durable.
    pub largest_group: u64,
    /// Records that are written and not durable yet.
    pub waiting_records: u64,
    /// Tickets that are awaited and not durable yet.
    pub waiting_tickets: u64,
    /// Whether the ledger stopped writing after a failure. It has released its lock and can be opened again.
    pub failed: bool,
}

#[derive(Debug)]
pub(crate) struct Group {
    shared: Weak<Shared>,
    /// What each append waits for.
    durability: Durability,
    id: LedgerId,
    storage: Arc<dyn Storage>,
    disk: Disk,
    syncs: Mutex<Syncs>,
    /// Signalled whenever a sync ends, a ticket is awaited, or the ledger is closed.
    changed: Condvar,
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
    /// Who is to be woken when this many records are durable, by ticket.
    tickets: BTreeMap<(u64, u64), Waker>,
    next_ticket: u64,
    /// Whether the group has a thread of its own, which syncs for tickets that are awaited.
    has_thread: bool,
    is_closed: bool,
    counts: SyncCounts,
}

impl Group {
    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable_records(&self) -> u64 {
        self.disk.durable()
    }

    /// How many of `written` records wait for the disk.
    pub(crate) fn waiting(&self, written: u64) -> u64 {
        if self.durability == Durability::Buffered { 0 } else { written.saturating_sub(self.syncs().durable) }
    }

    pub(crate) fn note_written(&self, ledger: &Ledger) {
        self.syncs().written = end_of(ledger);
    }

    /// Makes a snapshot beside the ledger, once all of it is durable; `None` if it was given up for an erasure.
    pub(crate) fn make_snapshot(&self, begun: Begun) -> Result<Option<Snapshot>, SnapshotError> {
        let last = begun.reader.log.segments().last().expect("a ledger has its genesis record");
        let upto = (begun.reader.checkpoint(), &last.name[..]);
        if let Err(source) = self.disk.sync(&*self.storage, self.id, upto, Durability::Witnessed) {
            drop(begun); // what stops the ledger waits for it
            self.stop(source.to_string());
            return Err(AppendError::Indeterminate { seq: self.durable_records(), source }.into());
        }
        let made = begun.make();
        trace::snapshot(self.id, begun.reader.checkpoint().records, made.as_ref().map(|_| ()));
        made
    }

    /// Makes a snapshot on a thread of its own, which does not keep the ledger from being closed.
    pub(crate) fn make_snapshot_beside(self: &Arc<Group>, begun: Begun) {
        let (group, site, file) = (Arc::clone(self), begun.site().clone(), begun.file());
        let made_at = site.clone();
        let make = move || made_at.end(group.make_snapshot(begun).map(|made| made.is_some()));
        let spawned = thread::Builder::new().name("identity-ledger-snapshot".to_owned()).spawn(make);
        if let Err(source) = spawned {
            site.end(Err(SnapshotError::Io { file, source }));
        }
    }

    pub(crate) fn counts(&self) -> SyncCounts {
        let syncs = self.syncs();
        let written = syncs.written.0.records;
        let is_buffered = self.durability == Durability::Buffered;
        SyncCounts {
            waiting_records: if is_buffered { 0 } else { written.saturating_sub(syncs.durable) },
            waiting_tickets: syncs.tickets.len() as u64,
            failed: self.disk.poisoned().is_some(),
            ..syncs.counts
        }
    }

    /// Returns when `records` records are durable: this thread syncs, or another does.
    pub(crate) fn wait(&self, records: u64) -> Result<(), AppendError> {
        let mut syncs = self.syncs();
        loop {
            if let Some(ended) = self.ended(&syncs, records) {
                return ended;
            }
            if syncs.running {
                syncs = self.changed.wait(syncs).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            syncs.running = true;
            let (upto, segment) = syncs.written.clone();
            drop(syncs);
            let mut turn = Turn { group: self, ended: Err("a thread panicked while it synced".to_owned()) };
            turn.ended = self
                .disk
                .sync(&*self.storage, self.id, (upto, &segment), self.durability)
                .map(|()| upto.records)
                .map_err(|source| source.to_string());
            drop(turn);
            syncs = self.syncs();
        }
    }

    /// Whether `records` records are durable, or never will be.
    fn ended(&self, syncs: &Syncs, records: u64) -> Option<Result<(), AppendError>> {
        if self.durability == Durability::Buffered || syncs.durable >= records {
            return Some(Ok(()));
        }
        let cause = syncs.failed.as_ref()?;
        let source = io::Error::other(cause.clone());
        Some(Err(AppendError::Indeterminate { seq: syncs.durable, source }))
    }

    pub(crate) fn new_ticket(&self) -> u64 {
        let mut syncs = self.syncs();
        syncs.next_ticket += 1;
        syncs.next_ticket
    }

    /// What became of a ticket. If nothing yet, a sync is begun, and the waker is woken when something does; `None` leaves the waker that
    /// is known.
    pub(crate) fn poll(
        self: &Arc<Group>,
        records: u64,
        ticket: u64,
        waker: Option<&Waker>,
    ) -> Option<Result<(), AppendError>> {
        let mut syncs = self.syncs();
        let ended = self.ended(&syncs, records);
        if ended.is_none() {
            let known = syncs.tickets.entry((records, ticket)).or_insert_with(|| Waker::noop().clone());
            if let Some(waker) = waker {
                known.clone_from(waker);
            }
            if syncs.has_thread {
                self.changed.notify_all();
            } else {
                let group = Arc::clone(self);
                let spawned = thread::Builder::new()
                    .name("identity-ledger-sync".to_owned())
                    .spawn(move || group.serve());
                syncs.has_thread = spawned.is_ok();
                drop(syncs);
                if spawned.is_err() {
                    return Some(self.wait(records)); // the machine has no thread to give: this one does it
                }
            }
        }
        ended
    }

    pub(crate) fn forget_ticket(&self, records: u64, ticket: u64) {
        self.syncs().tickets.remove(&(records, ticket));
    }

    /// Stops the ledger for good. A thread that writes at this moment does not yet know: the lock is released when it is done.
    fn stop(&self, cause: String) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ledger.write().unwrap_or_else(PoisonError::into_inner).writer.stop(cause);
        }
    }

    /// Syncs for as long as tickets are awaited, and waits for more until the ledger is closed.
    fn serve(&self) {
        let mut syncs = self.syncs();
        while !syncs.is_closed {
            let Some((records, _)) = syncs.tickets.keys().next_back().copied() else {
                syncs = self.changed.wait(syncs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(syncs);
            self.wait(records).ok(); // a ticket asks by itself what became of it
            syncs = self.syncs();
        }
    }
}

/// A thread's turn at the disk. However it ends, all who wait hear of it.
struct Turn<'g> {
    group: &'g Group,
    /// Up to where all is durable; or why there will be no more.
    ended: Result<u64, String>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut syncs = self.group.syncs();
        syncs.running = false;
        let (woken, failed) = match &self.ended {
            Ok(records) => {
                let made_durable = records.saturating_sub(syncs.durable);
                syncs.durable = syncs.durable.max(*records);
                syncs.counts.syncs += 1;
                syncs.counts.records += made_durable;
                syncs.counts.largest_group = syncs.counts.largest_group.max(made_durable);
                let first_later = (syncs.durable + 1, 0);
                let later = syncs.tickets.split_off(&first_later);
                (std::mem::replace(&mut syncs.tickets, later), None)
            }
            Err(cause) => {
                self.group.disk.poison(cause.clone());
                syncs.failed = Some(cause.clone());
                (std::mem::take(&mut syncs.tickets), Some(cause.clone()))
            }
        };
        drop(syncs);
        self.group.changed.notify_all();
        if let Some(cause) = failed {
            self.group.stop(cause);
        }
        woken.into_values().for_each(Waker::wake);
    }
}

/// The end of the log, and the segment that holds it.
fn end_of(ledger: &Ledger) -> (Checkpoint, String) {
    let segment = ledger.reader.log.segments().last().expect("a ledger has its genesis record");
    (ledger.checkpoint(), segment.name.clone())
}
