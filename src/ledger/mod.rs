//! The ledger: the one that writes. It numbers, frames, makes durable, and only then folds and answers.

pub(crate) mod append;
pub(crate) mod appended;
mod commit;
pub(crate) mod create;
pub(crate) mod dedupe;
pub(crate) mod delivery;
pub(crate) mod device;
pub(crate) mod devices;
pub(crate) mod draft;
pub(crate) mod erase;
pub(crate) mod error;
mod follow;
pub(crate) mod group;
pub(crate) mod key_budget;
pub(crate) mod open;
pub(crate) mod preview;
pub(crate) mod questions;
pub(crate) mod recovery;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod ticket;
mod trace;
pub(crate) mod writer;

use std::io;
use std::sync::Arc;

use crate::ledger::error::{AppendError, SnapshotError};
use crate::ledger::questions::pass_questions_on;
use crate::ledger::recovery::{Recovery, TornTail};
use crate::ledger::snapshot::{Begun, Snapshot};
use crate::ledger::writer::Writer;
use crate::log::body::{Body, CutOff, Followed};
use crate::log::chain::Checkpoint;
use crate::log::payload::KeysError;
use crate::query::reader::Reader;
use crate::store::layout::{HEAD, LOG};

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
    /// Whether they are made beside the ledger, by a thread that shares it.
    pub(crate) is_beside: bool,
    /// Whether one is due whatever `every` says: the last one had to go, or was given up.
    is_wanted: bool,
    /// Why the last one that was to be made by itself was not.
    pub(crate) error: Option<SnapshotError>,
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
            Err(source) => Err(writer.poison(seq, source)),
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
        let taken = self.writer.site.clear();
        let reader = (&self.reader, &**self.reader.log.storage());
        let made = snapshot::make(reader, &self.recovery.snapshots_ignored, &taken);
        trace::snapshot(self.reader.ledger_id(), self.snapshots.last, made.as_ref().map(|_| ()));
        made
    }

    /// Why the last snapshot that [`LedgerOptions::snapshot_every`](crate::LedgerOptions::snapshot_every) asked for was not made; `None` if it was, or none was due.
    pub fn snapshot_error(&self) -> Option<&SnapshotError> {
        self.snapshots.error.as_ref()
    }

    pub(crate) fn snapshot_if_due(&mut self) {
        if !self.snapshots.is_beside && self.is_snapshot_due() {
            self.snapshots.error = self.make_snapshot().err();
        }
    }

    pub(crate) fn is_snapshot_due(&self) -> bool {
        let due = |every| self.checkpoint().records >= self.snapshots.last + every;
        let is_due = self.snapshots.is_wanted || self.snapshots.every.is_some_and(due);
        is_due && !self.reader.state().erasures().is_pending()
    }

    /// Makes a snapshot instead of one that had to go.
    pub(crate) fn renew_snapshot(&mut self) {
        if self.snapshots.is_beside {
            self.snapshots.is_wanted = true;
        } else {
            self.snapshots.error = self.make_snapshot().err();
        }
    }

    /// Notes what became of a snapshot that a thread made beside this ledger.
    pub(crate) fn note_snapshot(&mut self) {
        match self.writer.site.take_ended() {
            None => {}
            Some(Ok(is_made)) => {
                self.snapshots.error = None;
                self.snapshots.is_wanted |= !is_made;
            }
            Some(Err(error)) => self.snapshots.error = Some(error),
        }
    }

    /// The ledger for one thread again, which has no thread beside it: what that makes is given up.
    pub(crate) fn alone(mut self) -> Ledger {
        drop(self.writer.site.clear());
        self.note_snapshot();
        self.snapshots.is_beside = false;
        if let Some(cause) = self.writer.disk.poisoned() {
            self.writer.stop(cause);
        }
        if std::mem::take(&mut self.snapshots.is_wanted) && self.check_health().is_ok() {
            self.snapshots.error = self.make_snapshot().err();
        }
        self
    }

    /// Begins a snapshot that is made beside this ledger; `None` while one is being made.
    pub(crate) fn begin_snapshot(&mut self) -> Option<Begun> {
        let taken = self.writer.site.try_take()?;
        (self.snapshots.last, self.snapshots.is_wanted) = (self.checkpoint().records, false);
        let (storage, ignored) =
            (Arc::clone(self.reader.log.storage()), self.recovery.snapshots_ignored.clone());
        Some(Begun { reader: self.reader.detached(), storage, ignored, taken })
    }

    pub(crate) fn check_health(&self) -> Result<(), AppendError> {
        self.writer.disk.poisoned().map_or(Ok(()), |cause| Err(AppendError::Poisoned { cause }))
    }

    /// Whether a write of this program's own may be recorded: what follows a log takes nothing else.
    pub(crate) fn check_local(&self) -> Result<(), AppendError> {
        self.check_health()?;
        self.reader.state().followed().map_or(Ok(()), |Followed { log, position }| {
            Err(AppendError::Follows { log: log.clone(), position: *position })
        })
    }

    /// A ledger just opened: what follows the last known durable record is made durable, and a cut is recorded.
    pub(crate) fn settled(
        reader: Reader,
        mut writer: Writer,
        recovery: Recovery,
        snapshot_every: Option<u64>,
    ) -> io::Result<Ledger> {
        let last = recovery.from_snapshot.unwrap_or(0);
        writer.rewrites = reader.log.rewrites().clone();
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
        let follows = reader.state().followed().is_some(); // then what was torn is delivered again, and no other follower tore it
        if let Some(TornTail { bytes, digest, .. }) = recovery.torn.as_ref().filter(|_| !follows) {
            let body = Body::Recovered(CutOff { bytes: *bytes, digest: digest.0 });
            self.append_record(&body).map_err(io::Error::other)?;
            let Ledger { reader, writer, .. } = self;
            writer.flush(reader)?;
        }
        Ok(())
    }
}

impl Drop for Ledger {
    /// Closes the ledger: what is written becomes durable. Call [`Ledger::flush`] first to hear of a failure.
    fn drop(&mut self) {
        if self.writer.disk.poisoned().is_none() && self.flush().is_ok() {
            self.settle_keys().ok(); // the ring then knows less of the log, and is as good
        }
        // The next writer may have the lock in a moment: a thread that syncs late must not write `HEAD`, nor one a snapshot.
        self.writer.disk.poison("the ledger is closed".to_owned());
        drop(self.writer.site.clear());
        self.reader.log.rewrites().begin(); // the next writer may erase, and cannot tell those that were detached
    }
}

pass_questions_on!(Ledger);
