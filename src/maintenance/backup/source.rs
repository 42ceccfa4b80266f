//! The source of a backup: what was durable in it when it was looked at, and a walk through that which verifies each frame.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fold::State;
use crate::log::body::Body;
use crate::log::chain::{Chain, Checkpoint};
use crate::log::frame::Frame;
use crate::log::payload::{self, Keys};
use crate::log::record::{Row, Rows};
use crate::maintenance::backup::report::{BackupError, BackupReport, LEDGER_BYTES, Unlock};
use crate::model::id::Seq;
use crate::store::layout::{HeadSlot, Identity, LEDGER, first_seq_of};
use crate::store::receipts;
use crate::store::segments::{self, Fault, FaultKind, Log, SegmentReader};
use crate::store::storage::{Storage, read_all};

/// What is to be copied: what was durable when it was looked at, and the segments there were after that.
pub(super) struct Source {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) identity: Identity,
    /// `LEDGER`, as it stands.
    pub(super) ledger: Vec<u8>,
    /// By their last erasures, the whole receipts of what was taken out of its files.
    pub(super) receipts: Vec<u32>,
    /// What `HEAD` saw; the log must pass through it.
    seen: Vec<Checkpoint>,
    /// How many records were durable; `None` without a readable `HEAD`: then every whole frame counts, as for a reader.
    pub(super) durable: Option<u64>,
    log: Log,
    /// What opens its items, if that was given.
    keys: Keys,
    /// What was erased, as the whole log says; read when the first absent item is met.
    erased: OnceCell<State>,
}

impl Source {
    pub(super) fn look(storage: Arc<dyn Storage>, unlock: &Unlock<'_>) -> Result<Source, BackupError> {
        let identity = Identity::read(&*storage, false)?;
        let keys = unlock(&*storage, &identity)?;
        let failed = |source| BackupError::Io { place: storage.describe(), source };
        let ledger = read_all(&*storage, LEDGER, LEDGER_BYTES).map_err(failed)?.unwrap_or_default();
        // What they say is gone is gone from the segments that are read from here on.
        let [receipts, _] = receipts::judged(&*storage, identity.ledger).map_err(failed)?;
        let mut slots = HeadSlot::read(&*storage, identity.ledger).map_err(failed)?;
        if slots.is_empty() {
            // A writer at work writes one slot after the other; only a reader held up between the two can miss both.
            slots = HeadSlot::read(&*storage, identity.ledger).map_err(failed)?;
        }
        let seen = slots.iter().map(|slot| Checkpoint { records: slot.records, head: slot.head }).collect();
        let durable = slots.iter().map(|slot| slot.records).max();
        let log = Log::new(Arc::clone(&storage)).map_err(failed)?;
        Ok(Source { storage, identity, ledger, receipts, seen, durable, log, keys, erased: OnceCell::new() })
    }

    /// Whether segments are others than those that were looked at: then something was erased meanwhile. The last one may grow.
    pub(super) fn was_rewritten(&self) -> Result<bool, BackupError> {
        let failed = |source| BackupError::Io { place: self.place(), source };
        let Some((last, sealed)) = self.log.segments().split_last() else { return Ok(false) };
        for segment in sealed {
            if self.storage.len(&segment.name).map_err(failed)? != Some(segment.len) {
                return Ok(true);
            }
        }
        Ok(self.storage.len(&last.name).map_err(failed)? < Some(last.len))
    }

    /// Whether more is durable than when it was looked at.
    pub(super) fn has_grown(&self) -> Result<bool, BackupError> {
        let failed = |source| BackupError::Io { place: self.place(), source };
        let slots = HeadSlot::read(&*self.storage, self.identity.ledger).map_err(failed)?;
        Ok(slots.iter().map(|slot| slot.records).max() > self.durable)
    }

    /// Whether a record may be without its payload item: some record erased it, and that one is copied too.
    fn permits(&self, row: &Row) -> bool {
        let erased = self.erased.get_or_init(|| {
            let mut replay = self.identity.replay();
            let mut silent = |_| {};
            let walk = segments::Walk {
                commitments: false,
                upto: self.durable,
                cut: false,
                witnesses: &[],
                hide: None,
                progress: &mut silent,
            };
            self.log.walk(&mut replay, walk, |_| {}).ok(); // what is wrong with the log the copying will find
            replay.state().clone()
        });
        erased.erasures().of(row).is_some()
    }

    pub(super) fn place(&self) -> String {
        self.storage.describe()
    }

    /// Whether the copy may end before this fault: only without `HEAD`, where nothing says that more was durable.
    pub(super) fn judge(&self, fault: Fault) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io { place: self.place(), source };
        if let FaultKind::Io(source) = fault.kind {
            return Err(failed(source));
        }
        let beyond =
            self.log.durable_beyond(self.identity.ledger, &fault.file, fault.offset).map_err(failed)?;
        let last = self.log.segments().last().is_some_and(|segment| segment.name == fault.file);
        let began = first_seq_of(fault.file.rsplit('/').next().unwrap_or_default()).unwrap_or(0);
        let torn = matches!(fault.kind, FaultKind::Chain(_) | FaultKind::SegmentHeader);
        let nothing_lost = fault.records >= beyond.max(began) && fault.records > 0 && last && torn;
        if self.durable.is_none() && nothing_lost {
            return Ok(());
        }
        Err(BackupError::Damaged { place: self.place(), fault: Box::new(fault) })
    }
}

/// A walk through the source that verifies each frame and keeps its bytes.
pub(super) struct Walk<'s> {
    pub(super) source: &'s Source,
    reader: Option<SegmentReader<'s>>,
    /// The segment at hand.
    pub(super) index: usize,
    /// After the frame at hand.
    pub(super) chain: Chain,
    /// The chain as it stands before the frame at hand.
    pub(super) before: Chain,
    /// Where it stands in its segment.
    offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) rows: Rows,
    /// Sealed items that were not opened.
    pub(super) unopened: u64,
    /// Erasures that no record up to here says are done.
    pending: BTreeSet<u32>,
}

impl<'s> Walk<'s> {
    pub(super) fn new(source: &'s Source) -> Walk<'s> {
        let chain = source.identity.chain();
        let (before, reader, rows) = (chain.clone(), None, Rows::default());
        let (bytes, unopened, pending) = (Vec::new(), 0, BTreeSet::new());
        Walk { source, reader, index: 0, chain, before, offset: 0, bytes, rows, unopened, pending }
    }

    /// What a backup of this walk did.
    pub(super) fn report(&self, checkpoint: Checkpoint, kept_bytes: u64, copied_bytes: u64) -> BackupReport {
        let beside = self.source.receipts.last();
        let pending = self.pending.iter().filter(|seq| beside.is_none_or(|last| *seq > last));
        let pending_erasures = pending.map(|seq| Seq(u64::from(*seq))).collect();
        let unopened_items = self.unopened;
        BackupReport { checkpoint, kept_bytes, copied_bytes, unopened_items, pending_erasures }
    }

    pub(super) fn segment(&self) -> &'s str {
        &self.source.log.segments()[self.index].name
    }

    /// Where the next frame begins, if it stands in the same segment.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Reads and verifies the next frame; `false` at the end of the log.
    pub(super) fn next(&mut self) -> Result<bool, Fault> {
        let source = self.source;
        let ledger = source.identity.ledger;
        loop {
            let Some(segment) = source.log.segments().get(self.index) else {
                self.index = self.index.saturating_sub(1); // stay with the last frame there is
                return Ok(false);
            };
            let name = &segment.name;
            let records = self.chain.next_seq();
            let is_new = self.reader.is_none();
            let reader = self.reader.get_or_insert_with(|| SegmentReader::new(&*source.storage, name));
            let offset = reader.offset();
            let fault = |kind| Fault { file: name.clone(), offset, records, kind };
            if is_new {
                reader.header(&self.chain).map_err(fault)?;
                continue;
            }
            let Some(bytes) = reader.frame(ledger).map_err(fault)? else {
                self.index += 1;
                self.reader = None;
                continue;
            };
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            reader.advance(self.bytes.len());
            self.offset = offset;
            return match self.accept() {
                Ok(()) => Ok(true),
                Err(kind) => Err(fault(kind)),
            };
        }
    }

    /// Checks the frame at hand: hash, records, commitments, nothing missing, and the heads that were seen.
    pub(super) fn accept(&mut self) -> Result<(), FaultKind> {
        let chain_error = crate::log::chain::ChainError::Frame;
        let frame = Frame::parse(&self.bytes, self.source.identity.ledger).map_err(chain_error)?;
        self.rows.clear();
        let mut chain = self.chain.clone();
        chain.accept(&frame, &mut self.rows)?;
        if let keys @ Some(_) = &self.source.keys {
            let mut rows = self.rows.clone(); // those at hand tell of the bytes as they are
            let mut plain = Vec::new();
            let opened = payload::open(keys, frame, &mut rows, &mut plain)?;
            chain.check_items(&rows, &opened)?;
        } else {
            chain.check_items(&self.rows, &frame)?;
        }
        for record in self.rows.records(&frame) {
            if self.rows.are_sealed() && self.source.keys.is_none() && record.stored_item().is_some() {
                self.unopened += 1;
            }
            if record.is_erased() && !self.source.permits(record.row) {
                return Err(FaultKind::PayloadMissing { seq: record.seq().0 });
            }
        }
        let here = chain.checkpoint();
        for expected in &self.source.seen {
            let passed = self.chain.next_seq() < expected.records && expected.records <= here.records;
            if passed && *expected != here {
                return Err(FaultKind::Forked { expected: *expected });
            }
        }
        for record in self.rows.records(&frame).filter(|record| record.row.is_erasure()) {
            match record.body() {
                Body::Erase(_) => {
                    self.pending.insert(record.row.seq);
                }
                Body::EraseDone(removal) => {
                    self.pending.retain(|seq| removal.erasures.iter().all(|done| done.erase != *seq));
                }
                _ => {}
            }
        }
        self.before = std::mem::replace(&mut self.chain, chain);
        Ok(())
    }
}
