//! The writer: bytes onto the disk, in the order that durability needs. The first failure is the last: nothing is retried.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::book::Book;
use crate::chain::Checkpoint;
use crate::digest::Digest;
use crate::directory::{HEAD, HeadSlot, LOG, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::entropy::Entropy;
use crate::id::LedgerId;
use crate::log::Segment;
use crate::record::DeviceNo;
use crate::storage::{Lock, Storage};

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

/// The writing half of a ledger.
pub(crate) struct Writer {
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) durability: Durability,
    pub(crate) disk: Disk,
    /// What devices last said with an identify or set (F3).
    pub(crate) last_calls: BTreeMap<DeviceNo, Digest>,
    /// Held until the ledger is closed.
    _lock: Lock,
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
        durability: Durability,
        newest: Option<&HeadSlot>,
        lock: Lock,
    ) -> Writer {
        Writer { entropy, durability, disk: Disk::new(newest), last_calls: BTreeMap::new(), _lock: lock }
    }

    /// Writes a frame at the end of the log, in a new segment if the last is full; gives where.
    pub(crate) fn write(&mut self, book: &mut Book, bytes: &[u8]) -> io::Result<(usize, u64)> {
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
    pub(crate) fn acknowledge(&mut self, book: &Book) -> io::Result<()> {
        let storage = book.log.storage();
        if let Some(segment) = book.log.segments().last() {
            storage.sync(&segment.name)?;
        }
        self.disk.note(&**storage, book.ledger_id(), book.checkpoint())?;
        if self.durability == Durability::Witnessed {
            storage.sync(HEAD)?;
        }
        Ok(())
    }

    /// Makes the log and `HEAD` durable.
    pub(crate) fn flush(&mut self, book: &Book) -> io::Result<()> {
        self.acknowledge(book)?;
        book.log.storage().sync(HEAD)
    }
}

/// What is known of the disk, for the writer and for threads that sync beside it.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
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
        Disk(Arc::new(Mutex::new(Known { durable, turn, poisoned: None })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records are known to be durable.
    pub(crate) fn durable(&self) -> u64 {
        self.known().durable
    }

    /// Why nothing may be written any more.
    pub(crate) fn poisoned(&self) -> Option<String> {
        self.known().poisoned.clone()
    }

    /// Refuses every later write.
    pub(crate) fn poison(&self, cause: String) {
        self.known().poisoned.get_or_insert(cause);
    }

    /// Notes in `HEAD` that the log is durable up to a checkpoint, unless it is known that more is.
    pub(crate) fn note(&self, storage: &dyn Storage, ledger: LedgerId, upto: Checkpoint) -> io::Result<()> {
        let Checkpoint { records, head } = upto;
        let mut known = self.known(); // held while HEAD is written: its slots take turns
        if records < known.durable {
            return Ok(());
        }
        known.durable = records;
        known.turn += 1;
        HeadSlot { ledger, turn: known.turn, records, head }.write(storage)
    }
}
