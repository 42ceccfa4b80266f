//! Salvage: what of a damaged ledger can still be proven, and nothing else. Reads only; takes no lock; repairs nothing.
//!
//! The log is walked from its beginning up to the first fault: that prefix is a ledger again. Behind the fault each frame is
//! judged on its own, by hashes that others say stand before or after it (`frames.rs`). What is proven is read record by
//! record (`record.rs`). What is known to have existed and is not proven is listed as lost, with its place.

mod account;
mod frames;
mod record;
pub(crate) mod report;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::maintenance::salvage::account::Account;
use crate::maintenance::salvage::report::{SalvageReport, Testimony, Unerased};

use crate::fold::replay::Replay;
use crate::fold::{Absences, Erasures};
use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::DurabilityEvidence;
use crate::log::body::{Body, Erasure};
use crate::log::chain::{Chain, ChainError, Checkpoint};
use crate::log::encode::BodyWriter;
use crate::log::frame::{self, Frame, Header};
use crate::log::kind::Kind;
use crate::log::payload::{self, Keys, KeysError};
use crate::log::record::{Row, Rows};
use crate::maintenance::finding::AuditFault;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::dictionary::Dictionaries;
use crate::store::layout::{HEAD, HeadSlot, Identity, IdentityError, LEDGER, LOG, PARTIAL, SegmentHeader};
use crate::store::receipts::{self, Taken};
use crate::store::segments::{Fault, FaultKind, Log, SegmentReader};
use crate::store::storage::{Files, Storage, read_all};

use frames::{Claims, Found, Place};
use record::{Cover, Numbers};
pub use record::{ItemLoss, LostItem, Named, SalvagedChange, SalvagedRecord};

/// Longest `LEDGER`; a tenant has at most 255 bytes.
const LEDGER_BYTES: u64 = 4_096;

/// Why nothing can be salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// `LEDGER` is damaged, or this version cannot read it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `LEDGER` is gone.
    #[error(
        "{place} holds a log but no file LEDGER, and without the ledger's id nothing in the log can be checked; restore this \
         one file from a copy, it never changes after creation"
    )]
    NoIdentity {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// There is something where the salvaged ledger should be.
    #[error("{dest} holds {found}; choose an empty or new directory")]
    NotEmpty {
        /// Where it should be.
        dest: String,
        /// What is there.
        found: String,
    },
    /// No record stands before the first fault, so there is no ledger to write.
    #[error("{place} has no whole record before its first fault: no part of it is a ledger")]
    NoPrefix {
        /// The ledger, as its storage describes itself.
        place: String,
    },
    /// The ledger is sealed, and its keys are not at hand.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A disk failed. That is never taken for the end of the log.
    #[error("{place}: {source}; copy what the disk still gives to a good one, and salvage the copy")]
    Io {
        /// The ledger or the output whose disk failed, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A ledger, looked through for what can be proven.
///
/// ```
/// use std::sync::{Arc};
/// use identity_ledger::{LedgerOptions, Policy, Tenant};
/// use identity_ledger::salvage::Salvage;
/// use identity_ledger::storage::{Memory, Storage};
/// let disk = Arc::new(Memory::new());
/// drop(LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default())?);
/// let mut salvage = Salvage::look_in(disk, None, &mut |_| {})?;
/// assert!(salvage.report().is_whole());
/// let copy = Arc::new(Memory::new());
/// salvage.write_ledger(&*copy)?;
/// LedgerOptions::new().open_in(copy)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Salvage {
    log: Log,
    identity: Identity,
    report: SalvageReport,
    /// The texts of the prefix.
    texts: Dictionaries,
    /// Proven frames behind the prefix, in the order of their records.
    proven: Vec<Found>,
    /// What erasures behind the fault cover.
    cover: Cover,
    /// Frames that carry those erasures.
    carried: Vec<u8>,
}

impl Salvage {
    /// Looks through the ledger in `dir`. `expect` is a head seen before: a witness more. `progress` hears how many bytes of
    /// log were walked. Memory is needed for all texts before the first fault and for a line on each frame behind it.
    ///
    /// # Errors
    /// [`SalvageError`]. Damage is not an error but the answer, except in `LEDGER`.
    pub fn look(
        dir: &Path,
        expect: Option<Checkpoint>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Salvage, SalvageError> {
        Salvage::look_in(Arc::new(Files::read_only(dir)), expect, progress)
    }

    /// Looks through the ledger in a storage.
    ///
    /// # Errors
    /// As [`Salvage::look`].
    pub fn look_in(
        storage: Arc<dyn Storage>,
        expect: Option<Checkpoint>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Salvage, SalvageError> {
        let options = LedgerOptions::new().progress(progress);
        expect.into_iter().fold(options, LedgerOptions::expect).salvage_in(storage)
    }

    /// Looks through a ledger whose items are opened by the keys that `unlock` gives.
    pub(crate) fn look_with(
        storage: Arc<dyn Storage>,
        expect: Option<Checkpoint>,
        unlock: &dyn Fn(&dyn Storage, &Identity) -> Result<Keys, KeysError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Salvage, SalvageError> {
        let place = storage.describe();
        let failed = |source| SalvageError::Io { place: place.clone(), source };
        let identity = match Identity::read(&*storage, false) {
            Err(IdentityError::Missing { place }) if !storage.list(LOG).map_err(failed)?.is_empty() => {
                return Err(SalvageError::NoIdentity { place });
            }
            Err(unfinished @ IdentityError::Unfinished { .. }) => {
                Identity::read_unfinished(&*storage).map_err(failed)?.ok_or(unfinished)?
            }
            read => read?,
        };
        let keys = unlock(&*storage, &identity)?;
        Salvage::look_through(storage, identity, keys, expect, progress).map_err(failed)
    }

    /// Looks through a ledger whose `LEDGER` was read.
    pub(crate) fn look_through(
        storage: Arc<dyn Storage>,
        identity: Identity,
        keys: Keys,
        expect: Option<Checkpoint>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Salvage> {
        let slots = HeadSlot::read(&*storage, identity.ledger)?;
        let seen = slots.iter().map(|slot| Checkpoint { records: slot.records, head: slot.head });
        let seen: Vec<Checkpoint> = seen.chain(expect).collect();
        let taken = receipts::newest(&*storage, identity.ledger)?;
        let mut log = Log::new(storage)?;
        log.set_keys(keys);
        let mut stop = None;
        let unerased;
        let (texts, chain, at, fault, claims, mut found, contradicting_frames, cover, carried) = loop {
            let mut texts = Dictionaries::default();
            let mut walked = Prefix::new(&log, &identity, &seen);
            walked.stop = stop;
            walked.walk(&mut texts, progress)?;
            let prefix = walked.chain().checkpoint();
            let mut claims = Claims::new(&log, identity.ledger, &seen, prefix)?;
            let found = frames::scan(&log, identity.ledger, walked.at, prefix.records, progress)?;
            let mut found = claims.prove(&log, found)?;
            let contradicting = frames::choose(&mut found, &seen, prefix);
            // Erasures behind the fault hold for what stands before it: they are carried along, or an erased person would be back.
            let cover = Cover::read(&log, &found)?;
            let carried = Carried::new(&walked, &cover.erasures);
            match carried.unlicensed(&walked) {
                None => {
                    cover.erasures.iter().for_each(|(_, erasure)| texts.erase(erasure));
                    let chain = walked.chain().clone();
                    walked.replay.done_beside(taken.as_ref().and_then(Taken::last));
                    unerased = find_unerased(&log, chain.next_seq(), walked.replay.state().erasures())?;
                    break (
                        texts,
                        chain,
                        walked.at,
                        walked.fault,
                        claims,
                        found,
                        contradicting,
                        cover,
                        carried,
                    );
                }
                missing => stop = missing,
            }
        };
        let prefix = chain.checkpoint();
        let numbers = Numbers::new(prefix.records, chain.defined().ids);
        let items_lost = record::check_all(&log, &identity, &mut found, &cover, numbers)?;

        let witnesses = testimonies(&slots, expect, &claims, &found);
        let proven = found.iter().filter(|frame| frame.is_chosen()).map(Found::end);
        let says = witnesses.iter().map(|witness| witness.records);
        let records = says.chain(proven).fold(prefix.records, u64::max);
        let account = Account { log: &log, at, prefix: prefix.records, records, found: &found };
        let first_fault = fault.map(|Fault { file, offset, records, kind }| AuditFault {
            file,
            offset: Some(offset),
            seq: Seq(records),
            what: kind.to_string(),
            erasure: None,
        });
        let report = SalvageReport {
            records,
            prefix,
            first_fault,
            intact: account.intact(),
            lost: account.lost(),
            items_lost,
            unerased,
            unacknowledged: account.unacknowledged(),
            contradicting_frames,
            witnesses,
            carried_erasures: carried.count,
            ledger: carried.checkpoint,
        };
        found.retain(Found::is_chosen);
        Ok(Salvage { log, identity, report, texts, proven: found, cover, carried: carried.frames })
    }

    /// What was found.
    pub fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Writes the part before the first fault to `dest` as a ledger that opens, for reading and writing. Its `LEDGER` comes
    /// last, so a copy that was cut off does not open. Gives the bytes of log written.
    ///
    /// # Errors
    /// [`SalvageError`], `NoPrefix` among them.
    pub fn write_ledger(&self, dest: &dyn Storage) -> Result<u64, SalvageError> {
        let place = self.log.storage().describe();
        let here = dest.describe();
        let failed = |source| SalvageError::Io { place: here.clone(), source };
        if let Some(found) = dest.list("").map_err(failed)?.into_iter().next() {
            return Err(SalvageError::NotEmpty { dest: here, found });
        }
        if self.report.prefix.records == 0 {
            return Err(SalvageError::NoPrefix { place });
        }
        let mut out = Out { dest, segment: None, at: 0, written: 0 };
        let mut prefix = Prefix::new(&self.log, &self.identity, &[]);
        prefix.upto = Some(self.report.prefix.records);
        prefix
            .copy(&mut |segment, before, bytes| out.frame(segment, before, bytes))
            .map_err(|source| SalvageError::Io { place, source })?;
        out.write(&self.carried).map_err(failed)?;
        self.seal(&mut out).map_err(failed)?;
        Ok(out.written)
    }

    /// `HEAD`, then `LEDGER` by a rename.
    fn seal(&self, out: &mut Out<'_>) -> io::Result<()> {
        out.sync()?;
        let dest = out.dest;
        dest.sync_dir(LOG)?;
        let Checkpoint { records, head } = self.report.ledger;
        dest.create(HEAD)?;
        HeadSlot { ledger: self.identity.ledger, turn: 1, records, head }.write(dest)?;
        dest.sync(HEAD)?;
        let read = |file| read_all(&**self.log.storage(), file, LEDGER_BYTES);
        let bytes = match read(LEDGER)? {
            Some(bytes) => bytes,
            None => read(PARTIAL)?.unwrap_or_default(), // of an unfinished copy
        };
        dest.create(PARTIAL)?;
        dest.write_at(PARTIAL, 0, &bytes)?;
        dest.sync(PARTIAL)?;
        dest.sync_dir("")?;
        dest.rename(PARTIAL, LEDGER)?;
        dest.sync_dir("")
    }

    /// Shows every proven record behind the first fault, in their order.
    ///
    /// # Errors
    /// [`SalvageError::Io`], also with what `each` returns.
    pub fn beyond(
        &mut self,
        each: &mut dyn FnMut(SalvagedRecord) -> io::Result<()>,
    ) -> Result<(), SalvageError> {
        let lengths = self.texts.lengths();
        let Salvage { log, identity, report, texts, proven, cover, .. } = self;
        let numbers = Numbers::new(report.prefix.records, lengths[0]);
        let shown = record::show_all(log, identity, proven, cover, numbers, texts, each);
        self.texts.truncate(lengths);
        shown.map_err(|source| SalvageError::Io { place: self.log.storage().describe(), source })
    }
}

/// The items of the first `records` records that are there although an erasure covers them that is said to be done.
fn find_unerased(log: &Log, records: u64, erasures: &Erasures) -> io::Result<Vec<Unerased>> {
    let mut unerased = Vec::new();
    if erasures.last_done().is_none() {
        return Ok(unerased);
    }
    for segment in 0..log.segments().len() as u32 {
        let Some(begin) = log.mark_of_segment(segment) else { continue };
        let read = log.frames(&begin, |frame| {
            let is_within = frame.before.next_seq() < records;
            for record in frame.records().filter(|record| is_within && record.stored_item().is_some()) {
                let by = erasures.of(record.row).filter(|by| erasures.is_done(*by));
                unerased.extend(by.map(|by| Unerased { seq: record.seq(), erase: Seq(by.into()) }));
            }
            Ok::<bool, Fault>(is_within)
        });
        // Any other fault stands behind the records that were found good.
        if let Err(Fault { kind: FaultKind::Io(error), .. }) = read {
            return Err(error);
        }
    }
    Ok(unerased)
}

fn testimonies(
    slots: &[HeadSlot],
    expect: Option<Checkpoint>,
    claims: &Claims,
    found: &[Found],
) -> Vec<Testimony> {
    let head = slots.iter().map(|slot| slot.records).max();
    let frames = found.iter().map(|frame| frame.header.durable).max();
    let all = [
        (head, DurabilityEvidence::Head),
        (expect.map(|checkpoint| checkpoint.records), DurabilityEvidence::Checkpoint),
        (frames, DurabilityEvidence::LaterFrame),
        (claims.last_segment(), DurabilityEvidence::LaterSegment),
    ];
    all.into_iter()
        .filter_map(|(records, by)| Some(Testimony { records: records?, by: by.to_string() }))
        .collect()
}

/// The walk up to the first fault.
struct Prefix<'a> {
    log: &'a Log,
    seen: &'a [Checkpoint],
    upto: Option<u64>,
    /// A record whose payload item is missing: the prefix ends before its frame.
    stop: Option<u64>,
    /// The chain, and what it folds to: what is erased, the fold knows.
    replay: Replay,
    absences: Absences,
    /// Where it ends.
    at: Place,
    fault: Option<Fault>,
}

type EachFrame<'e> = &'e mut dyn FnMut(&str, &Chain, &[u8]) -> io::Result<()>;

impl<'a> Prefix<'a> {
    fn new(log: &'a Log, identity: &Identity, seen: &'a [Checkpoint]) -> Prefix<'a> {
        let replay = identity.replay();
        let (at, absences) = (Place { segment: 0, offset: 0 }, Absences::default());
        Prefix { log, seen, upto: None, stop: None, replay, absences, at, fault: None }
    }

    fn chain(&self) -> &Chain {
        self.replay.chain()
    }

    fn walk(&mut self, texts: &mut Dictionaries, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut done = 0;
        self.run(texts, &mut |_, _, bytes| {
            done += bytes.len() as u64;
            progress(done);
            Ok(())
        })
    }

    /// Walks once more the part that was found good.
    fn copy(&mut self, each: EachFrame<'_>) -> io::Result<()> {
        self.run(&mut Dictionaries::default(), each)?;
        match (&self.fault, self.upto) {
            (None, Some(upto)) if self.chain().next_seq() >= upto => Ok(()),
            _ => Err(io::Error::other("the log changed while it was read")),
        }
    }

    fn run(&mut self, texts: &mut Dictionaries, each: EachFrame<'_>) -> io::Result<()> {
        let log = self.log;
        if log.segments().is_empty() {
            let (file, kind) = (LOG.to_owned(), FaultKind::NoSegment);
            self.fault = Some(Fault { file, offset: 0, records: 0, kind });
        }
        for (index, segment) in log.segments().iter().enumerate() {
            if self.is_enough() {
                return Ok(());
            }
            self.at = Place { segment: index, offset: 0 };
            let mut reader = SegmentReader::new(&**log.storage(), &segment.name);
            let walked = self.segment(&mut reader, &segment.name, texts, each)?;
            if let Err(kind) = walked {
                if let FaultKind::Io(error) = kind {
                    return Err(error);
                }
                let (file, offset) = (segment.name.clone(), reader.offset());
                self.at.offset = offset;
                self.fault = Some(Fault { file, offset, records: self.chain().next_seq(), kind });
                return Ok(());
            }
            self.at.offset = reader.offset();
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.upto.is_some_and(|upto| self.chain().next_seq() >= upto)
    }

    /// The frames of one segment. The outer error is of `each`, the inner one a fault of the log.
    fn segment(
        &mut self,
        reader: &mut SegmentReader<'_>,
        name: &str,
        texts: &mut Dictionaries,
        each: EachFrame<'_>,
    ) -> io::Result<Result<(), FaultKind>> {
        if let Err(kind) = reader.header(self.chain()) {
            return Ok(Err(kind));
        }
        while !self.is_enough() {
            let offset = reader.offset();
            let bytes = match reader.frame(self.chain().ledger_id()) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(kind) => return Ok(Err(kind)),
            };
            let before = self.chain().clone();
            let marked =
                self.log.marks().last().is_some_and(|last| last.before.next_seq() >= before.next_seq());
            if !marked {
                self.log.mark(&before, self.at.segment, offset);
            }
            if let Err(kind) = self.accept(bytes, texts) {
                return Ok(Err(kind));
            }
            each(name, &before, bytes)?;
            let taken = bytes.len();
            reader.advance(taken);
        }
        Ok(Ok(()))
    }

    /// Checks a frame as opening would, and folds it: hash, records, commitments, texts, nothing missing, and the heads that were
    /// seen.
    fn accept(&mut self, bytes: &[u8], texts: &mut Dictionaries) -> Result<(), FaultKind> {
        let frame = Frame::parse(bytes, self.chain().ledger_id()).map_err(ChainError::Frame)?;
        let mut rows = Rows::default();
        let mut after = self.chain().clone();
        after.accept(&frame, &mut rows)?;
        let mut plain = Vec::new();
        let frame = payload::open(self.log.keys(), frame, &mut rows, &mut plain)?;
        after.check_items(&rows, &frame)?;
        let (from, here) = (self.chain().next_seq(), after.checkpoint());
        let parts =
            |seen: &&Checkpoint| from < seen.records && seen.records <= here.records && **seen != here;
        if let Some(expected) = self.seen.iter().find(parts) {
            return Err(FaultKind::Forked { expected: *expected });
        }
        let lengths = texts.lengths();
        for record in rows.records(&frame) {
            let seq = record.seq().0;
            let missing = (self.stop == Some(seq)).then_some(FaultKind::PayloadMissing { seq });
            let bad = missing.or_else(|| {
                let good = record::define(texts, &record.body(), record.item());
                let good = good || record.is_erased() || rows.are_sealed(); // without keys a sealed text is not judged
                (!good).then_some(FaultKind::Text { seq })
            });
            if let Some(kind) = bad {
                texts.truncate(lengths);
                return Err(kind);
            }
        }
        let past = match self.log.past(&frame, &rows) {
            Ok(past) => past,
            Err(fault) => {
                texts.truncate(lengths);
                return Err(fault.kind);
            }
        };
        let Prefix { replay, absences, .. } = self;
        replay.advance(after);
        replay.fold(&frame, &mut rows, &past, u64::MAX, |step| {
            // What has no key any more was erased: the next opening for writing records it.
            if step.record.is_erased() && !step.record.row.is_destroyed() {
                absences.see(step.record.row, step.state.erasures());
            }
            if step.record.row.is_erasure() {
                texts.forget(&step.record.body());
            }
        });
        Ok(())
    }
}

/// Erasures from behind the fault, as frames that follow the prefix.
struct Carried {
    erasures: Vec<Erasure>,
    count: u64,
    frames: Vec<u8>,
    checkpoint: Checkpoint,
}

impl Carried {
    /// Takes of each what speaks of the prefix.
    fn new(prefix: &Prefix<'_>, found: &[(Timestamp, Erasure)]) -> Carried {
        let mut chain = prefix.chain().clone();
        let (records, defined) = (chain.next_seq(), chain.defined());
        let durable = records;
        let mut carried =
            Carried { erasures: Vec::new(), count: 0, frames: Vec::new(), checkpoint: chain.checkpoint() };
        for (recorded_at, mut erasure) in found.iter().filter(|_| records > 0).cloned() {
            erasure.ids.retain(|id| id.0 < defined.ids);
            erasure
                .devices
                .retain(|device| device.device.0 < defined.devices && u64::from(device.defined) < records);
            erasure.records.retain(|record| u64::from(*record) < records);
            erasure.keys.retain(|key| key.0 < defined.keys);
            erasure.reason = None;
            let body = BodyWriter::of(&[Body::Erase(Box::new(erasure.clone()))]);
            let body_len = u32::try_from(body.len()).expect("shorter than a record's bound");
            let recorded_at = recorded_at.max(chain.recorded_at()); // that of the record it stands for
            let first_seq = chain.next_seq();
            let header = Header { body_len, payload_len: 0, first_seq, recorded_at, records: 1, durable };
            let at = carried.frames.len();
            frame::write(header, &body, &[], chain.ledger_id(), chain.head(), &mut carried.frames);
            let accepted = Frame::parse(&carried.frames[at..], chain.ledger_id())
                .is_ok_and(|frame| chain.accept(&frame, &mut Rows::default()).is_ok());
            if accepted {
                carried.count += 1;
                carried.checkpoint = chain.checkpoint();
                carried.erasures.push(erasure);
            } else {
                carried.frames.truncate(at); // nothing of it speaks of the prefix
            }
        }
        carried
    }

    /// The first record of the prefix whose payload item is missing though no erasure that is known covers it.
    fn unlicensed(&self, prefix: &Prefix<'_>) -> Option<u64> {
        let state = prefix.replay.state();
        let covered = |row: &Row| {
            self.erasures.iter().any(|Erasure { ids, devices, records, .. }| {
                let defined = || ids.iter().any(|id| state.defined_by(*id).0 == u64::from(row.seq));
                row.speaks_for_id() && ids.binary_search(&row.id).is_ok()
                    || records.binary_search(&row.seq).is_ok()
                    || devices.iter().any(|device| device.defined == row.seq)
                    || row.kind == Kind::DefineId && defined()
            })
        };
        prefix.absences.unlicensed_but(state.erasures(), covered)
    }
}

/// The salvaged ledger's log, being written.
struct Out<'d> {
    dest: &'d dyn Storage,
    segment: Option<String>,
    at: u64,
    written: u64,
}

impl Out<'_> {
    fn frame(&mut self, segment: &str, before: &Chain, bytes: &[u8]) -> io::Result<()> {
        if self.segment.as_deref() != Some(segment) {
            self.sync()?;
            self.dest.create(segment)?;
            (self.segment, self.at) = (Some(segment.to_owned()), 0);
            let Checkpoint { records: first_seq, head: previous } = before.checkpoint();
            let header = SegmentHeader { ledger: before.ledger_id(), first_seq, previous };
            self.write(&header.to_bytes())?;
        }
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let segment = self.segment.as_deref().expect("a frame names its segment first");
        self.dest.write_at(segment, self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.segment.as_deref().map_or(Ok(()), |segment| self.dest.sync(segment))
    }
}

impl LedgerOptions<'_> {
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
}
