//! Backup: a copy of a ledger that a writer may be appending to, verified while it is copied. The source is never written.
//!
//! The copy ends exactly at a checkpoint that was durable in the source. Its files come in an order in which a half-made copy
//! never passes for a whole one:
//!
//! 1. `LEDGER.partial`, so that a copy under way can be told from other files, and whose it is;
//! 2. each segment, synced; then `HEAD`, synced, which says how far the copy is good: what a later run may go on from;
//! 3. `LEDGER`, by a rename, when everything else is there. From then on the copy opens, and updates only add to it.
//!
//! Bytes behind the copy's `HEAD` are copied anew: readable does not mean durable. Caches and what recovery cut off stay behind.

use std::cell::OnceCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::chain::{Chain, Checkpoint};
use crate::digest::Digest;
use crate::directory::{
    HEAD, HeadSlot, Identity, IdentityError, LEDGER, LOG, QUARANTINE, SEGMENT_HEADER_BYTES, SegmentHeader,
    first_seq_of,
};
use crate::frame::{Frame, HEADER_BYTES, Header};
use crate::id::LedgerId;
use crate::log::{self, Fault, FaultKind, Log, SegmentReader};
use crate::recovery::{COPY_SUFFIX, write_anew};
use crate::replay::Replay;
use crate::row::{Record, Row, Rows};
use crate::state::State;
use crate::storage::{Files, Lock, Storage, read_all};

/// `LEDGER` of a copy that is not complete yet.
const PARTIAL: &str = "LEDGER.partial";
/// Longest `LEDGER`; a tenant has at most 255 bytes.
const LEDGER_BYTES: u64 = 4_096;
/// Written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// What may stand in a copy beside its log: the files of a ledger, and what an opened one may have got.
const OWN: [&str; 7] = [LEDGER, PARTIAL, HEAD, LOG, "LOCK", "snap", QUARANTINE];

/// What a backup did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Where the copy ends. Kept elsewhere, it proves later that the copy is whole.
    pub checkpoint: Checkpoint,
    /// Bytes of log that were there from an earlier backup, and are still what the source says.
    pub kept_bytes: u64,
    /// Bytes of log that were copied now.
    pub copied_bytes: u64,
}

/// Why there is no backup. Unless it is `Io`, the copy was not touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is no ledger, or one this version cannot read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The source is damaged.
    #[error(
        "{place} is damaged and was not copied on: {fault}; see `verify`, and restore it from an older backup"
    )]
    Damaged {
        /// Which ledger.
        place: String,
        /// What was found.
        fault: Box<Fault>,
    },
    /// The source ends before what its `HEAD` saw durable.
    #[error(
        "{place} was rolled back: it ends with record count {found}, but its HEAD saw {expected}; find the newer copy"
    )]
    RolledBack {
        /// Which ledger.
        place: String,
        /// How many records there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// The copy's place lies in the ledger, or the other way round.
    #[error("{dest} and {place} lie in each other; choose a place outside the ledger")]
    Inside {
        /// The ledger.
        place: String,
        /// Where the copy should be.
        dest: String,
    },
    /// There is something else where the copy should be.
    #[error("{dest} holds {found}, which is no part of a backup; choose an empty or new directory")]
    NotEmpty {
        /// Where the copy should be.
        dest: String,
        /// What is there.
        found: String,
    },
    /// There is another ledger where the copy should be.
    #[error("{dest} is a copy of ledger {found}; expected {expected}; choose another directory")]
    OtherLedger {
        /// Where the copy should be.
        dest: String,
        /// Whose copy is there.
        found: LedgerId,
        /// Whose copy was to be made.
        expected: LedgerId,
    },
    /// The copy and the source have different histories.
    #[error(
        "{dest} holds another history from record {records} on; one of the two was written to on its own: keep both, \
         and make a new backup elsewhere"
    )]
    Forked {
        /// Where the copy is.
        dest: String,
        /// How many records they share.
        records: u64,
    },
    /// The copy has records that the source does not have.
    #[error(
        "{dest} has {records} records, more than the ledger's {source_records}; the ledger was rolled back"
    )]
    Ahead {
        /// Where the copy is.
        dest: String,
        /// How many it has.
        records: u64,
        /// How many the source has.
        source_records: u64,
    },
    /// The copy is not what was copied.
    #[error("the copy in {dest} is damaged: {what}, after {records} good records; make a new one elsewhere")]
    DamagedCopy {
        /// Where the copy is.
        dest: String,
        /// How many of its records are good.
        records: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Another backup, or a writer, is at work on the copy.
    #[error("{dest} is in use by another backup or writer; wait for it")]
    Locked {
        /// Where the copy is.
        dest: String,
    },
    /// A disk failed. Run the backup again: it goes on where it was.
    #[error("{place}: {source}; run the backup again, it goes on where it was")]
    Io {
        /// Whose disk.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// A backup: one run of it. Restoring is opening the copy.
///
/// ```
/// use identity_ledger::{Backup, Ledger, LedgerReader, Policy, Tenant};
/// let dir = std::env::temp_dir().join(format!("identity-ledger-backup-{}", std::process::id()));
/// std::fs::create_dir(&dir)?;
/// let ledger = Ledger::create(dir.join("a"), Tenant::default(), Policy::default())?;
/// let report = Backup::run(&dir.join("a"), &dir.join("copy"), &mut |_| {})?; // beside the open writer
/// assert_eq!(report.checkpoint, ledger.checkpoint());
/// assert_eq!(LedgerReader::open(dir.join("copy"))?.checkpoint(), report.checkpoint);
/// # drop(ledger); std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backup;

impl Backup {
    /// Copies the ledger in `source` to `dest`, which must be empty, not exist, or hold an earlier copy of it; then only what
    /// is new is copied. `progress` hears how many bytes of log are done.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn run(
        source: &Path,
        dest: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        let from: Arc<dyn Storage> = Arc::new(Files::read_only(source));
        Identity::read(&*from, false)?; // before a directory is made for it
        let (place, shown) = (source.display().to_string(), dest.display().to_string());
        let failed = |source| BackupError::Io { place: shown.clone(), source };
        if dest.is_file() {
            return Err(BackupError::NotEmpty { dest: shown, found: "a file".to_owned() });
        }
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let inside =
            |here: &Path| Ok::<bool, io::Error>(here.canonicalize()?.starts_with(source.canonicalize()?));
        let around =
            |here: &Path| Ok::<bool, io::Error>(source.canonicalize()?.starts_with(here.canonicalize()?));
        let overlap =
            if dest.exists() { inside(dest).and_then(|is| Ok(is || around(dest)?)) } else { inside(parent) };
        if overlap.map_err(failed)? {
            return Err(BackupError::Inside { place, dest: shown });
        }
        if !dest.exists() {
            std::fs::create_dir(dest).map_err(failed)?;
            Files::read_only(parent).sync_dir("").map_err(failed)?;
        }
        Backup::run_in(from, Arc::new(Files::writable(dest)), progress)
    }

    /// Copies a ledger from one storage to another.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn run_in(
        source: Arc<dyn Storage>,
        dest: Arc<dyn Storage>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        loop {
            let looked = Source::look(Arc::clone(&source))?;
            let ran = Backup::run_once(&looked, Arc::clone(&dest), progress);
            // A writer that erased meanwhile wrote segments anew, and the record that permits it stands behind the HEAD that was
            // looked at before. What was copied from the old ones goes in the next round.
            let missing = |fault: &Fault| matches!(fault.kind, FaultKind::PayloadMissing { .. });
            let again = match &ran {
                Ok(_) => looked.was_rewritten()?,
                Err(BackupError::Damaged { fault, .. }) if missing(fault) => looked.has_grown()?,
                Err(BackupError::Damaged { .. }) => looked.was_rewritten()?,
                Err(_) => false,
            };
            if !again {
                return ran;
            }
        }
    }

    fn run_once(
        source: &Source,
        dest: Arc<dyn Storage>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BackupReport, BackupError> {
        let mut copy = Copy::look(dest, source)?;
        let mut walk = Walk::new(source);
        let kept = copy.verify(&mut walk, progress)?;
        let upto = source.durable.map(|durable| durable.max(copy.head.records));
        let is_new = upto != Some(copy.head.records) || copy.goes_on();
        if copy.complete && copy.stale.is_empty() && !is_new {
            return Ok(BackupReport { checkpoint: copy.head, kept_bytes: kept, copied_bytes: 0 });
        }
        copy.begin(source)?;
        copy.refresh(source)?;
        let done = kept;
        while upto.is_none_or(|upto| walk.chain.next_seq() < upto) {
            match walk.next() {
                Ok(true) => copy.append(&walk)?,
                Ok(false) => break,
                Err(fault) => {
                    source.judge(fault)?;
                    break;
                }
            }
            progress(done + copy.written);
        }
        let (found, expected) = (walk.chain.next_seq(), upto.unwrap_or(0));
        if found < expected {
            return Err(BackupError::RolledBack { place: source.place(), found, expected });
        }
        let checkpoint = walk.chain.checkpoint();
        copy.finish(checkpoint)?;
        Ok(BackupReport { checkpoint, kept_bytes: kept, copied_bytes: copy.written })
    }
}

/// What is to be copied: what was durable when it was looked at, and the segments there were after that.
struct Source {
    storage: Arc<dyn Storage>,
    identity: Identity,
    /// `LEDGER`, as it stands.
    ledger: Vec<u8>,
    /// What `HEAD` saw; the log must pass through it.
    seen: Vec<Checkpoint>,
    /// How many records were durable; `None` without a readable `HEAD`: then every whole frame counts, as for a reader.
    durable: Option<u64>,
    log: Log,
    /// What was erased, as the whole log says; read when the first absent item is met.
    erased: OnceCell<State>,
}

impl Source {
    fn look(storage: Arc<dyn Storage>) -> Result<Source, BackupError> {
        let identity = Identity::read(&*storage, false)?;
        let failed = |source| BackupError::Io { place: storage.describe(), source };
        let ledger = read_all(&*storage, LEDGER, LEDGER_BYTES).map_err(failed)?.unwrap_or_default();
        let mut slots = HeadSlot::read(&*storage, identity.ledger).map_err(failed)?;
        if slots.is_empty() {
            // A writer at work writes one slot after the other; only a reader held up between the two can miss both.
            slots = HeadSlot::read(&*storage, identity.ledger).map_err(failed)?;
        }
        let seen = slots.iter().map(|slot| Checkpoint { records: slot.records, head: slot.head }).collect();
        let durable = slots.iter().map(|slot| slot.records).max();
        let log = Log::new(Arc::clone(&storage)).map_err(failed)?;
        Ok(Source { storage, identity, ledger, seen, durable, log, erased: OnceCell::new() })
    }

    /// Whether segments are others than those that were looked at: then something was erased meanwhile. The last one may grow.
    fn was_rewritten(&self) -> Result<bool, BackupError> {
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
    fn has_grown(&self) -> Result<bool, BackupError> {
        let failed = |source| BackupError::Io { place: self.place(), source };
        let slots = HeadSlot::read(&*self.storage, self.identity.ledger).map_err(failed)?;
        Ok(slots.iter().map(|slot| slot.records).max() > self.durable)
    }

    /// Whether a record may be without its payload item: some record erased it, and that one is copied too.
    fn permits(&self, row: &Row) -> bool {
        let erased = self.erased.get_or_init(|| {
            let mut replay = Replay::new(self.identity.ledger, &self.identity.tenant);
            let mut silent = |_| {};
            let walk = log::Walk {
                commitments: false,
                upto: self.durable,
                witnesses: &[],
                hide: None,
                progress: &mut silent,
            };
            self.log.walk(&mut replay, walk, |_| {}).ok(); // what is wrong with the log the copying will find
            replay.state().clone()
        });
        erased.erasures().of(row).is_some()
    }

    fn place(&self) -> String {
        self.storage.describe()
    }

    /// Whether the copy may end before this fault: only without `HEAD`, where nothing says that more was durable.
    fn judge(&self, fault: Fault) -> Result<(), BackupError> {
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
struct Walk<'s> {
    source: &'s Source,
    reader: Option<SegmentReader<'s>>,
    /// The segment at hand.
    index: usize,
    /// After the frame at hand.
    chain: Chain,
    /// Before it.
    before: Chain,
    /// Where it stands in its segment.
    offset: u64,
    bytes: Vec<u8>,
    rows: Rows,
}

impl<'s> Walk<'s> {
    fn new(source: &'s Source) -> Walk<'s> {
        let chain = Chain::new(source.identity.ledger, &source.identity.tenant);
        let (before, reader, rows) = (chain.clone(), None, Rows::default());
        Walk { source, reader, index: 0, chain, before, offset: 0, bytes: Vec::new(), rows }
    }

    fn segment(&self) -> &'s str {
        &self.source.log.segments()[self.index].name
    }

    /// Where the next frame begins, if it stands in the same segment.
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Reads and verifies the next frame; `false` at the end of the log.
    fn next(&mut self) -> Result<bool, Fault> {
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
    fn accept(&mut self) -> Result<(), FaultKind> {
        let chain_error = crate::chain::ChainError::Frame;
        let frame = Frame::parse(&self.bytes, self.source.identity.ledger).map_err(chain_error)?;
        self.rows.clear();
        let mut chain = self.chain.clone();
        chain.accept(&frame, &mut self.rows)?;
        chain.check_items(&self.rows, &frame)?;
        for row in &self.rows.rows {
            let record = Record::new(row, &self.rows, frame.body, frame.payload);
            if record.is_erased() && !self.source.permits(row) {
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
        self.before = std::mem::replace(&mut self.chain, chain);
        Ok(())
    }
}

/// The copy: what is there of it, and what is being added.
struct Copy {
    storage: Arc<dyn Storage>,
    /// Its segments and their lengths, as they were found.
    segments: Vec<(String, u64)>,
    /// How far it is good; no records if it was never begun.
    head: Checkpoint,
    /// How often its `HEAD` was written.
    turn: u64,
    ledger: LedgerId,
    /// Whether it has its `LEDGER`.
    complete: bool,
    /// Whether it has at least a `LEDGER.partial`.
    begun: bool,
    lock: Option<Lock>,
    /// The segment that is being written, how much of it is written, and what is still to be written behind that.
    current: Option<(String, u64)>,
    pending: Vec<u8>,
    /// Bytes of log written now.
    written: u64,
    /// Segments that hold payload which the source has erased since.
    stale: Vec<Stale>,
    /// Where the copy's last verified segment ends, as it is.
    end: Option<(String, u64)>,
}

/// A segment of the copy that is to be written anew.
struct Stale {
    name: String,
    /// Before its first frame.
    before: Chain,
    /// How many records there are with the last frame that the copy has of it.
    upto: u64,
}

impl Copy {
    /// Looks at what is there, and refuses what is no copy of this ledger. Changes nothing.
    fn look(storage: Arc<dyn Storage>, source: &Source) -> Result<Copy, BackupError> {
        let dest = storage.describe();
        let failed = |source| BackupError::Io { place: dest.clone(), source };
        let names = storage.list("").map_err(failed)?;
        let other = |found: String| Err(BackupError::NotEmpty { dest: dest.clone(), found });
        if let Some(found) = names.iter().find(|name| !OWN.contains(&name.as_str())) {
            return other(found.clone());
        }
        let ledger = source.identity.ledger;
        let complete = names.iter().any(|name| name == LEDGER);
        let begun = complete || names.iter().any(|name| name == PARTIAL);
        if complete {
            let found = Identity::read(&*storage, false)?.ledger;
            if found != ledger {
                return Err(BackupError::OtherLedger { dest, found, expected: ledger });
            }
        } else if begun {
            let found = read_all(&*storage, PARTIAL, LEDGER_BYTES).map_err(failed)?.unwrap_or_default();
            if !source.ledger.starts_with(&found) {
                return other(format!("{PARTIAL} of another ledger"));
            }
        } else if let Some(found) = names.iter().find(|name| *name != "LOCK") {
            return other(found.clone()); // files of a ledger, but nothing says of which
        }
        let segments = segments(&*storage).map_err(failed)?;
        if let Some((name, _)) = segments.iter().find(|(name, _)| !is_segment(name)) {
            return other(name.clone());
        }
        let slot = HeadSlot::read(&*storage, ledger).map_err(failed)?.into_iter().next();
        if complete && slot.is_none() {
            let what = "its HEAD is missing or damaged";
            return Err(BackupError::DamagedCopy { dest, records: 0, what });
        }
        let none = Checkpoint { records: 0, head: *Chain::new(ledger, &source.identity.tenant).head() };
        let (head, turn) =
            slot.map_or((none, 0), |slot| (Checkpoint { records: slot.records, head: slot.head }, slot.turn));
        let (lock, current, pending, written) = (None, None, Vec::new(), 0);
        let (stale, end) = (Vec::new(), None);
        Ok(Copy {
            storage,
            segments,
            head,
            turn,
            ledger,
            complete,
            begun,
            lock,
            current,
            pending,
            written,
            stale,
            end,
        })
    }

    fn dest(&self) -> String {
        self.storage.describe()
    }

    fn failed(&self) -> impl Fn(io::Error) -> BackupError + use<> {
        let place = self.dest();
        move |source| BackupError::Io { place: place.clone(), source }
    }

    /// Compares the copy, up to its `HEAD`, with the source byte by byte; gives how many bytes of log are good. Where only erased
    /// payload is missing from the source, the segment is noted.
    fn verify(&mut self, walk: &mut Walk<'_>, progress: &mut dyn FnMut(u64)) -> Result<u64, BackupError> {
        let mut kept = 0;
        let mut ours = Vec::new();
        let mut header_of = None;
        let mut begun = walk.chain.clone();
        while walk.chain.next_seq() < self.head.records {
            match walk.next() {
                Ok(true) => {}
                Ok(false) => {
                    let (records, source_records) = (self.head.records, walk.chain.next_seq());
                    return Err(BackupError::Ahead { dest: self.dest(), records, source_records });
                }
                Err(fault) => {
                    walk.source.judge(fault)?;
                    let (records, source_records) = (self.head.records, walk.chain.next_seq());
                    return Err(BackupError::Ahead { dest: self.dest(), records, source_records });
                }
            }
            if header_of != Some(walk.index) {
                header_of = Some(walk.index);
                self.verify_header(walk)?;
                kept += SEGMENT_HEADER_BYTES as u64;
                self.end = Some((walk.segment().to_owned(), SEGMENT_HEADER_BYTES as u64));
                begun = walk.before.clone();
            }
            let at = self.end.as_ref().map_or(0, |(_, at)| *at);
            ours.resize(walk.bytes.len(), 0);
            let read = self.read(walk.segment(), at, &mut ours)?;
            let mut len = walk.bytes.len() as u64;
            if ours[..read] != walk.bytes[..] {
                let Some(longer) = self.unerased(walk, at)? else {
                    return Err(self.differs(walk, &walk.before, walk.segment(), at)?);
                };
                len = longer;
                if self.stale.last().is_none_or(|stale| stale.name != walk.segment()) {
                    self.stale.push(Stale {
                        name: walk.segment().to_owned(),
                        before: begun.clone(),
                        upto: 0,
                    });
                }
            }
            if let Some(stale) = self.stale.last_mut().filter(|stale| stale.name == walk.segment()) {
                stale.upto = walk.chain.next_seq();
            }
            self.end = self.end.take().map(|(segment, at)| (segment, at + len));
            kept += walk.bytes.len() as u64;
            progress(kept);
        }
        if walk.chain.checkpoint() != self.head {
            return Err(BackupError::Forked { dest: self.dest(), records: walk.before.next_seq() });
        }
        self.check_beyond(walk)?;
        Ok(kept)
    }

    /// The length of the copy's frame at this place, if it is the one at hand with payload that was erased since.
    fn unerased(&self, walk: &Walk<'_>, offset: u64) -> Result<Option<u64>, BackupError> {
        let mut bytes = vec![0; HEADER_BYTES];
        let read = self.read(walk.segment(), offset, &mut bytes)?;
        let Ok(header) = Header::parse(&bytes[..read], self.ledger) else { return Ok(None) };
        bytes.resize(header.frame_len(), 0);
        let read = self.read(walk.segment(), offset, &mut bytes)?;
        let (Ok(ours), Ok(theirs)) =
            (Frame::parse(&bytes[..read], self.ledger), Frame::parse(&walk.bytes, self.ledger))
        else {
            return Ok(None);
        };
        let mut rows = Rows::default();
        if ours.hash != theirs.hash || walk.before.clone().accept(&ours, &mut rows).is_err() {
            return Ok(None);
        }
        let item = |rows: &Rows, frame: &Frame<'_>, at: usize| {
            let record = Record::new(&rows.rows[at], rows, frame.body, frame.payload);
            record.salt_and_item().map(|(salt, bytes)| (*salt, bytes.to_vec()))
        };
        let same = (0..rows.rows.len()).all(|at| {
            let theirs = item(&walk.rows, &theirs, at);
            theirs.is_none() || theirs == item(&rows, &ours, at)
        });
        Ok(same.then_some(header.frame_len() as u64))
    }

    fn verify_header(&self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let mut ours = [0; SEGMENT_HEADER_BYTES];
        let read = self.read(walk.segment(), 0, &mut ours)?;
        if ours[..read] == segment_header(&walk.before) {
            return Ok(());
        }
        let (dest, records) = (self.dest(), walk.before.next_seq());
        Err(BackupError::DamagedCopy {
            dest,
            records,
            what: "a segment is missing, or its header is damaged",
        })
    }

    /// Why the copy has other bytes than the source behind `before`.
    fn differs(
        &self,
        walk: &Walk<'_>,
        before: &Chain,
        segment: &str,
        offset: u64,
    ) -> Result<BackupError, BackupError> {
        let (dest, records) = (self.dest(), before.next_seq());
        let what = match self.whole_frame(before, segment, offset)? {
            None => "a frame is not what was copied",
            Some(ours) if Frame::parse(&walk.bytes, self.ledger).is_ok_and(|frame| frame.hash == ours) => {
                "a frame holds another payload than the ledger does now"
            }
            Some(_) => return Ok(BackupError::Forked { dest, records }),
        };
        Ok(BackupError::DamagedCopy { dest, records, what })
    }

    /// The hash of the frame that the copy has at this place, if it is whole and follows `before`.
    fn whole_frame(&self, before: &Chain, segment: &str, offset: u64) -> Result<Option<Digest>, BackupError> {
        whole_frame(&*self.storage, before, segment, offset).map_err(self.failed())
    }

    /// Bytes behind the copy's `HEAD` come from a backup that was cut off, and the source has the same; or somebody wrote to
    /// the copy.
    fn check_beyond(&self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let begins = crate::directory::segment_name(walk.chain.next_seq());
        let mut places = vec![(begins.as_str(), SEGMENT_HEADER_BYTES as u64)];
        if let Some((segment, end)) = &self.end {
            places.push((segment, *end));
        }
        for (segment, offset) in places {
            let Some(ours) = self.whole_frame(&walk.chain, segment, offset)? else { continue };
            let failed = |source| BackupError::Io { place: walk.source.place(), source };
            let begins = offset == SEGMENT_HEADER_BYTES as u64;
            let offset = if begins { offset } else { walk.end() };
            let theirs = whole_frame(&*walk.source.storage, &walk.chain, segment, offset).map_err(failed)?;
            if theirs != Some(ours) {
                return Err(BackupError::Forked { dest: self.dest(), records: walk.chain.next_seq() });
            }
        }
        Ok(())
    }

    /// Whether the copy has bytes behind its `HEAD`.
    fn goes_on(&self) -> bool {
        let Some((last, end)) = &self.end else { return !self.segments.is_empty() };
        self.segments.iter().any(|(name, len)| name > last || name == last && len > end)
    }

    /// Writes segments anew that hold what the source has erased; caches and what recovery kept may hold it too.
    fn refresh(&mut self, source: &Source) -> Result<(), BackupError> {
        let failed = self.failed();
        let stale = std::mem::take(&mut self.stale);
        // Caches first: once no segment is stale any more, nobody looks at them again.
        for dir in if stale.is_empty() { &[][..] } else { &["snap", QUARANTINE][..] } {
            let names = self.storage.list(dir).map_err(&failed)?;
            for name in &names {
                self.storage.remove(&format!("{dir}/{name}")).map_err(&failed)?;
            }
            if !names.is_empty() {
                self.storage.sync_dir(dir).map_err(&failed)?;
            }
        }
        for Stale { name, before, upto } in &stale {
            let copy = format!("{name}{COPY_SUFFIX}");
            if self.storage.len(&copy).map_err(&failed)?.is_some() {
                self.storage.remove(&copy).map_err(&failed)?;
            }
            self.storage.create(&copy).map_err(&failed)?;
            let mut reader = SegmentReader::new(&*source.storage, name);
            let mut chain = before.clone();
            let fault = |kind, chain: &Chain| Fault {
                file: name.clone(),
                offset: 0,
                records: chain.next_seq(),
                kind,
            };
            let damaged = |fault| BackupError::Damaged { place: source.place(), fault: Box::new(fault) };
            reader.header(&chain).map_err(|kind| damaged(fault(kind, &chain)))?;
            self.storage.write_at(&copy, 0, &segment_header(before)).map_err(&failed)?;
            let mut at = SEGMENT_HEADER_BYTES as u64;
            while chain.next_seq() < *upto {
                let bytes = reader.frame(self.ledger).map_err(|kind| damaged(fault(kind, &chain)))?;
                let short = || FaultKind::from(io::Error::from(io::ErrorKind::UnexpectedEof));
                let bytes = bytes.ok_or_else(|| damaged(fault(short(), &chain)))?;
                let accept = |chain: &mut Chain| {
                    let frame = Frame::parse(bytes, self.ledger)?;
                    let mut rows = Rows::default();
                    chain.accept(&frame, &mut rows)?;
                    chain.check_items(&rows, &frame)
                };
                accept(&mut chain).map_err(|error| damaged(fault(error.into(), before)))?;
                self.storage.write_at(&copy, at, bytes).map_err(&failed)?;
                at += bytes.len() as u64;
                let len = bytes.len();
                reader.advance(len);
            }
            self.storage.sync(&copy).map_err(&failed)?;
            self.storage.rename(&copy, name).map_err(&failed)?;
            self.storage.sync_dir(LOG).map_err(&failed)?;
            self.written += at;
            if let Some((last, end)) = &mut self.current
                && last == name
            {
                *end = at;
            }
        }
        Ok(())
    }

    fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, BackupError> {
        if !self.segments.iter().any(|(name, _)| name == file) {
            return Ok(0);
        }
        self.storage.read_at(file, offset, out).map_err(self.failed())
    }

    /// Takes the copy's lock and cuts off what stands behind its `HEAD`. From here on the copy changes.
    fn begin(&mut self, source: &Source) -> Result<(), BackupError> {
        let failed = self.failed();
        let Some(lock) = self.storage.lock().map_err(&failed)? else {
            return Err(BackupError::Locked { dest: self.dest() });
        };
        self.lock = Some(lock);
        if segments(&*self.storage).map_err(&failed)? != self.segments {
            return Err(BackupError::Locked { dest: self.dest() }); // it was in use a moment ago
        }
        if !self.complete {
            if !self.begun {
                self.storage.create(PARTIAL).map_err(&failed)?;
            }
            self.storage.write_at(PARTIAL, 0, &source.ledger).map_err(&failed)?;
            self.storage.sync(PARTIAL).map_err(&failed)?;
            self.storage.sync_dir("").map_err(&failed)?;
        }
        let keep = self.end.clone();
        self.cut(keep.as_ref()).map_err(&failed)?;
        self.current = keep;
        Ok(())
    }

    /// Removes everything behind this place; later segments first, so that there is never a gap.
    fn cut(&self, keep: Option<&(String, u64)>) -> io::Result<()> {
        let mut cut = false;
        for (name, len) in self.segments.iter().rev() {
            match keep {
                Some((last, _)) if name < last => break,
                Some((last, end)) if name == last => {
                    if len > end {
                        write_anew(&*self.storage, name, *end)?;
                    }
                }
                _ => {
                    self.storage.remove(name)?;
                    cut = true;
                }
            }
        }
        if cut { self.storage.sync_dir(LOG) } else { Ok(()) }
    }

    /// Adds the frame that the walk holds.
    fn append(&mut self, walk: &Walk<'_>) -> Result<(), BackupError> {
        let failed = self.failed();
        if self.current.as_ref().is_none_or(|(name, _)| name != walk.segment()) {
            if self.current.is_some() {
                self.seal(walk.before.checkpoint())?;
            }
            self.storage.create(walk.segment()).map_err(&failed)?;
            self.storage.sync_dir(LOG).map_err(&failed)?;
            self.pending.extend_from_slice(&segment_header(&walk.before));
            self.current = Some((walk.segment().to_owned(), 0));
        }
        self.pending.extend_from_slice(&walk.bytes);
        if self.pending.len() >= WRITE_BYTES { self.write().map_err(failed) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some((name, at)) = &mut self.current
            && !self.pending.is_empty()
        {
            self.storage.write_at(name, *at, &self.pending)?;
            *at += self.pending.len() as u64;
            self.written += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Makes the copy durable up to here, and then says so in its `HEAD`.
    fn seal(&mut self, here: Checkpoint) -> Result<(), BackupError> {
        self.try_seal(here).map_err(self.failed())
    }

    fn try_seal(&mut self, here: Checkpoint) -> io::Result<()> {
        self.write()?;
        if let Some((name, _)) = &self.current {
            self.storage.sync(name)?;
        }
        if here == self.head {
            return Ok(());
        }
        if self.storage.len(HEAD)?.is_none() {
            self.storage.create(HEAD)?;
            self.storage.sync_dir("")?;
        }
        let Checkpoint { records, head } = here;
        self.turn += 1;
        HeadSlot { ledger: self.ledger, turn: self.turn, records, head }.write(&*self.storage)?;
        self.storage.sync(HEAD)?;
        self.head = here;
        Ok(())
    }

    /// The copy is whole: makes it a ledger.
    fn finish(&mut self, here: Checkpoint) -> Result<(), BackupError> {
        self.seal(here)?;
        if !self.complete {
            self.storage.rename(PARTIAL, LEDGER).map_err(self.failed())?;
            self.storage.sync_dir("").map_err(self.failed())?;
        }
        Ok(())
    }
}

/// The files in a copy's `log/`, in order, with their lengths; but for what is not a segment yet.
fn segments(storage: &dyn Storage) -> io::Result<Vec<(String, u64)>> {
    let mut names = storage.list(LOG)?;
    names.retain(|name| !name.ends_with(COPY_SUFFIX));
    names.sort_unstable();
    let with_len = |name: String| {
        let name = format!("{LOG}/{name}");
        Ok((storage.len(&name)?.unwrap_or(0), name))
    };
    names.into_iter().map(with_len).map(|found| found.map(|(len, name)| (name, len))).collect()
}

fn is_segment(name: &str) -> bool {
    name.rsplit('/').next().and_then(first_seq_of).is_some()
}

/// The header of the segment that continues this chain.
fn segment_header(before: &Chain) -> [u8; SEGMENT_HEADER_BYTES] {
    let Checkpoint { records, head } = before.checkpoint();
    SegmentHeader { ledger: before.ledger_id(), first_seq: records, previous: head }.to_bytes()
}

/// The hash of the frame at this place, if there is one that is whole and follows `before`.
fn whole_frame(
    storage: &dyn Storage,
    before: &Chain,
    segment: &str,
    offset: u64,
) -> io::Result<Option<Digest>> {
    if storage.len(segment)?.is_none() {
        return Ok(None);
    }
    let ledger = before.ledger_id();
    let mut bytes = vec![0; HEADER_BYTES];
    let read = storage.read_at(segment, offset, &mut bytes)?;
    let Ok(header) = Header::parse(&bytes[..read], ledger) else { return Ok(None) };
    bytes.resize(header.frame_len(), 0);
    let read = storage.read_at(segment, offset, &mut bytes)?;
    let Ok(frame) = Frame::parse(&bytes[..read], ledger) else { return Ok(None) };
    let follows = header.first_seq == before.next_seq() && frame.hash == frame.hash_after(before.head());
    Ok(follows.then_some(frame.hash))
}
