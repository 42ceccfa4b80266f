//! The writer: bytes onto the disk, in the order that durability needs. The first failure is the last: nothing is retried.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::error::AppendError;
use crate::ledger::snapshot::Site;
use crate::ledger::trace;

use crate::log::body::DeviceNo;
use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::model::id::LedgerId;
use crate::query::reader::Reader;
use crate::store::clock::Clock;
use crate::store::detached::Rewrites;
use crate::store::entropy::Entropy;
use crate::store::layout::{HEAD, HeadSlot, LOG, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::store::segments::Segment;
use crate::store::storage::{Lock, Storage};

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync: an acknowledged record outlives a power cut.
    #[default]
    Immediate,
    /// As `Immediate`, and `HEAD` is synced too: even damage to the very last record is told from a torn tail.
    Witnessed,
    /// Once written: durable after [`crate::Ledger::flush`], or when the ledger is closed.
    Buffered,
}

/// Locks of a writer: that of the key ring, if it has one, then that of the ledger.
type Locks = (Option<Arc<dyn Send + Sync>>, Lock);

/// The writing half of a ledger.
pub(crate) struct Writer {
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) disk: Disk,
    /// What devices last said with an identify or set (F3).
    pub(crate) last_calls: BTreeMap<DeviceNo, Digest>,
    /// Where snapshots are made beside this writer.
    pub(crate) site: Site,
    /// Who reads beside this writer.
    pub(crate) rewrites: Rewrites,
    /// Held until the ledger is closed or stops writing.
    locks: Option<Locks>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("durability", &self.durability)
            .field("durable", &self.disk.durable())
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that continues behind the newest slot of `HEAD`.
    pub(crate) fn new(
        entropy: Box<dyn Entropy>,
        clock: Box<dyn Clock>,
        durability: Durability,
        newest: Option<&HeadSlot>,
        locks: Locks,
    ) -> Writer {
        let (disk, locks) = (Disk::new(newest), Some(locks));
        Writer {
            entropy,
            clock,
            durability,
            disk,
            last_calls: BTreeMap::new(),
            site: Site::default(),
            rewrites: Rewrites::default(),
            locks,
        }
    }

    /// Stops writing for good and releases the locks, so that the ledger can be opened again. The order matters: nothing is written here
    /// after the poison, so two writers never write.
    pub(crate) fn stop(&mut self, cause: String) {
        self.disk.poison(cause);
        drop(self.site.clear());
        self.rewrites.begin(); // another writer may come, and erase
        self.locks = None;
    }

    /// Stops writing after a write that failed: whether it was done is unknown.
    pub(crate) fn poison(&mut self, seq: u64, source: io::Error) -> AppendError {
        self.stop(source.to_string());
        AppendError::Indeterminate { seq, source }
    }

    /// Writes a frame at the end of the log, in a new segment if the last is full; gives where.
    pub(crate) fn write(&mut self, reader: &mut Reader, bytes: &[u8]) -> io::Result<(usize, u64)> {
        let storage = Arc::clone(reader.log.storage());
        let full = |segment: &Segment| {
            let used = segment.len > SEGMENT_HEADER_BYTES as u64;
            used && segment.len + bytes.len() as u64 > reader.identity.segment_bytes
        };
        if reader.log.segments().last().is_none_or(full) {
            if !reader.log.segments().is_empty() {
                self.flush(reader)?; // a segment begins only after the last is durable
            }
            let Checkpoint { records, head } = reader.checkpoint();
            let name = segment_name(records);
            let header = SegmentHeader { ledger: reader.ledger_id(), first_seq: records, previous: head };
            storage.create(&name)?;
            storage.write_at(&name, 0, &header.to_bytes())?;
            storage.sync(&name)?;
            storage.sync_dir(LOG)?;
            reader.log.segments_mut().push(Segment { name, len: SEGMENT_HEADER_BYTES as u64 });
        }
        let index = reader.log.segments().len() - 1;
        let segment = &mut reader.log.segments_mut()[index];
        let offset = segment.len;
        storage.write_at(&segment.name, offset, bytes)?;
        segment.len += bytes.len() as u64;
        Ok((index, offset))
    }

    /// Makes the log durable and notes it in `HEAD`.
    pub(crate) fn acknowledge(&mut self, reader: &Reader) -> io::Result<()> {
        let segment = reader.log.segments().last().expect("a log has its first segment");
        let written = (reader.checkpoint(), &segment.name[..]);
        self.disk.sync(&**reader.log.storage(), reader.ledger_id(), written, self.durability)
    }

    /// Makes the log and `HEAD` durable.
    pub(crate) fn flush(&mut self, reader: &Reader) -> io::Result<()> {
        self.acknowledge(reader)?;
        reader.log.storage().sync(HEAD)
    }
}

/// What is known of the disk, for the writer and for a thread that syncs beside it.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<DiskState>,
    /// Held for the length of a sync. A disk reports a failed sync once: a second sync beside it would succeed and prove nothing.
    syncing: Mutex<()>,
}

#[derive(Debug)]
struct DiskState {
    /// How many records are durable.
    durable: u64,
    /// How often HEAD was written.
    turn: u64,
    /// Why nothing may be written any more.
    poisoned: Option<String>,
}

impl Disk {
    fn new(newest: Option<&HeadSlot>) -> Disk {
        let (durable, turn) = newest.map_or((0, 0), |slot| (slot.records, slot.turn));
        let known = Mutex::new(DiskState { durable, turn, poisoned: None });
        Disk(Arc::new(Shared { known, syncing: Mutex::default() }))
    }

    fn known(&self) -> MutexGuard<'_, DiskState> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records are known to be durable.
    pub(crate) fn durable(&self) -> u64 {
        self.known().durable
    }

    /// Why nothing may be written any more.
    pub(crate) fn poisoned(&self) -> Option<String> {
        self.known().poisoned.clone()
    }

    /// Lets nothing be written any more, and returns when no write of `HEAD` is under way.
    pub(crate) fn poison(&self, cause: String) {
        self.known().poisoned.get_or_insert(cause);
    }

    /// Makes the log durable up to the end of a segment and notes that in `HEAD`; of a witnessed ledger makes `HEAD` durable too. The
    /// first failure is the last.
    pub(crate) fn sync(
        &self,
        storage: &dyn Storage,
        ledger: LedgerId,
        (upto, segment): (Checkpoint, &str),
        durability: Durability,
    ) -> io::Result<()> {
        let _syncing = self.0.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let synced = storage
            .sync(segment)
            .and_then(|()| self.note(storage, ledger, upto))
            .and_then(|()| if durability == Durability::Witnessed { storage.sync(HEAD) } else { Ok(()) });
        trace::synced(ledger, upto.records, &synced);
        synced.inspect_err(|source| self.poison(source.to_string()))
    }

    fn check(&self) -> io::Result<()> {
        self.poisoned().map_or(Ok(()), |cause| Err(io::Error::other(cause)))
    }

    /// Notes in `HEAD` that the log is durable up to a checkpoint, unless it is known that more is.
    fn note(&self, storage: &dyn Storage, ledger: LedgerId, upto: Checkpoint) -> io::Result<()> {
        let Checkpoint { records, head } = upto;
        let mut known = self.known(); // held while HEAD is written: its slots take turns, and nothing is written after a poison
        if let Some(cause) = &known.poisoned {
            return Err(io::Error::other(cause.clone()));
        }
        if records < known.durable {
            return Ok(());
        }
        known.durable = records;
        known.turn += 1;
        HeadSlot { ledger, turn: known.turn, records, head }.write(storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::storage::Memory;

    /// The ledger may be open elsewhere by then.
    #[test]
    fn a_sync_that_ends_after_the_writer_stopped_writes_no_head() {
        let (disk, storage) = (Disk::new(None), Memory::new());
        storage.create(HEAD).unwrap();
        let upto = Checkpoint { records: 2, head: Digest([7; 32]) };
        disk.note(&storage, LedgerId(uuid::Uuid::nil()), upto).unwrap();
        let before = storage.len(HEAD).unwrap();
        disk.poison("on purpose".to_owned());
        let late = Checkpoint { records: 3, ..upto };
        let error = disk.note(&storage, LedgerId(uuid::Uuid::nil()), late).unwrap_err();
        assert_eq!((error.to_string(), storage.len(HEAD).unwrap()), ("on purpose".to_owned(), before));
        assert!(
            disk.sync(&storage, LedgerId(uuid::Uuid::nil()), (late, HEAD), Durability::Immediate).is_err()
        );
        assert_eq!(disk.durable(), 2);
    }
}
