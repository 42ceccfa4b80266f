//! The log on a disk: its segments in order, a walk through all frames, and a look at one record.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::chain::{Chain, ChainError, Checkpoint, check_item};
use crate::directory::{LOG, SEGMENT_HEADER_BYTES, SegmentHeader, first_seq_of, segment_name};
use crate::excerpt::{Excerpt, Node};
use crate::frame::{Frame, FrameError, HEADER_BYTES, Header};
use crate::id::LedgerId;
use crate::id::Seq;
use crate::limits::{MAX_FRAME_BYTES, MAX_SEGMENTS};
use crate::postings::Postings;
use crate::replay::{Replay, Step};
use crate::row::{Record, Row, Rows};
use crate::spots::Spots;
use crate::state::{Erasures, Past};
use crate::storage::Storage;

/// Read from the disk at a time, or one frame if that is more: little enough to stay in a processor's cache between reading
/// and hashing.
const READ_BYTES: usize = 64 * 1_024;
/// The least log for which a second thread is worth starting.
const AHEAD_BYTES: u64 = 1 << 20;
/// Handed over from thread to thread together.
const BATCH_BYTES: usize = 256 * 1_024;
/// How many such may wait: what is read ahead stays in the caches, and memory bounded by a few of the largest frames.
const BATCHES_AHEAD: usize = 3;
/// How much log lies between two places from which one record can be found again.
const MARK_BYTES: u64 = 64 * 1_024;

/// The first fault of a log: where it is and what was found.
#[derive(Debug, thiserror::Error)]
#[error("{file} at byte {offset}, after {records} good records: {kind}")]
pub struct Fault {
    /// The file, as the ledger names it.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many records before it are good.
    pub records: u64,
    /// What is wrong.
    #[source]
    pub kind: FaultKind,
}

/// What is wrong at a place in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The frame there is no frame, or not the one that belongs there.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The segment's header is damaged or cut.
    #[error("the segment's header is damaged")]
    SegmentHeader,
    /// The segment belongs to another ledger.
    #[error("the segment belongs to ledger {found}; expected {expected}")]
    ForeignSegment {
        /// Whose it is.
        found: LedgerId,
        /// Whose it should be.
        expected: LedgerId,
    },
    /// The segment does not follow what is before it.
    #[error(
        "the segment continues a log of {found} records; expected {expected}: a segment is missing or in the wrong place"
    )]
    WrongSegment {
        /// The first record the segment announces.
        found: u64,
        /// The record due.
        expected: u64,
    },
    /// The segment follows another history.
    #[error("the segment does not follow the frame before it: the log was spliced")]
    Spliced,
    /// The log does not pass through a head that somebody saw.
    #[error("another history: {expected} was seen, and no frame here ends with it")]
    Forked {
        /// The head that was seen.
        expected: Checkpoint,
    },
    /// A text is not valid or defined twice; no writer does that.
    #[error("record {seq} defines a text that is out of bounds, or that has a number already")]
    Text {
        /// The defining record.
        seq: u64,
    },
    /// A payload item is gone, and no record erased it.
    #[error("the payload of record {seq} is missing, and no record erased it")]
    PayloadMissing {
        /// Whose payload.
        seq: u64,
    },
    /// A payload item is there, although its erasure is said to be complete.
    #[error(
        "the payload of record {seq} is there, although record {erase} erased it and the erasure is said to be done"
    )]
    ErasureIncomplete {
        /// Whose payload.
        seq: u64,
        /// The erasure.
        erase: u64,
    },
    /// There is no log at all.
    #[error("there is no segment; expected at least log/00000000000000000000.seg")]
    NoSegment,
    /// The disk failed. That is never taken for the end of the log.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// One segment file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) len: u64,
}

/// A place from which to find the records that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) before: Chain,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// Remembers that the frame after `before` begins here, if the last such place is far enough before it.
pub(crate) fn mark(marks: &mut Vec<Mark>, before: &Chain, segment: usize, offset: u64) {
    let segment = segment as u32; // at most MAX_SEGMENTS
    let reaches =
        |mark: &Mark| mark.segment > segment || mark.segment == segment && offset < mark.offset + MARK_BYTES;
    if !marks.last().is_some_and(reaches) {
        marks.push(Mark { before: before.clone(), segment, offset });
    }
}

/// How to walk.
pub(crate) struct Walk<'a> {
    /// Whether payload items are checked against their commitments.
    pub(crate) commitments: bool,
    /// Stop after so many records.
    pub(crate) upto: Option<u64>,
    /// Heads that somebody saw: the log must pass through them.
    pub(crate) witnesses: &'a [Checkpoint],
    /// Payload items that these cover are not shown, whether or not they are still there.
    pub(crate) hide: Option<&'a Erasures>,
    /// Called with the bytes read so far.
    pub(crate) progress: &'a mut dyn FnMut(u64),
}

/// What the checking half of a walk has to know.
#[derive(Clone, Copy)]
struct Checks<'a> {
    commitments: bool,
    upto: Option<u64>,
    witnesses: &'a [Checkpoint],
}

/// A frame that follows what was before it, and where it is.
struct Passed<'a> {
    frame: Frame<'a>,
    rows: &'a mut Rows,
    place: Place,
    /// Whether its payload items still have to be checked.
    items_due: bool,
}

impl Passed<'_> {
    fn check_items(&mut self) -> Result<(), ChainError> {
        if std::mem::take(&mut self.items_due) {
            self.place.after.check_items(self.rows, &self.frame)?;
        }
        Ok(())
    }
}

/// Why a walk ends at a frame whose own bytes follow what was before it.
enum Stop {
    /// Its payload does not.
    Chain(ChainError),
    /// Earlier records, which one of its own asks for, cannot be read again.
    Past(Box<Fault>),
}

impl Stop {
    fn at(self, file: &str, offset: u64, records: u64) -> Fault {
        match self {
            Stop::Chain(error) => Fault { file: file.to_owned(), offset, records, kind: error.into() },
            Stop::Past(fault) => *fault,
        }
    }
}

impl From<ChainError> for Stop {
    fn from(error: ChainError) -> Stop {
        Stop::Chain(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Past(Box::new(fault))
    }
}

/// What is locked is never left half-changed: a panic elsewhere does not make it wrong.
fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where a frame is, and how the chain stands before and after it.
#[derive(Clone, Debug)]
struct Place {
    before: Chain,
    after: Chain,
    segment: usize,
    offset: u64,
    /// Bytes of log up to the frame's end.
    walked: u64,
}

/// The segments of a ledger.
#[derive(Debug)]
pub(crate) struct Log {
    storage: Arc<dyn Storage>,
    segments: Vec<Segment>,
    /// Filled while the log is opened, which reads records again where one folds a component anew.
    marks: Mutex<Vec<Mark>>,
    /// Kept since somebody asked for them: most ledgers never need them, and they are as large as the links.
    index: Mutex<Option<Index>>,
    /// Whether walks may read and check ahead of the fold, on a second thread.
    ahead: bool,
    /// Where a walk begins whose chain is not at its beginning: the end of what a snapshot covers.
    resumed: (usize, u64),
    /// The frame read last: neighbours are read together.
    window: Mutex<Option<Arc<Window>>>,
    /// The frame that a fold of a component read last, with all its payload.
    shown: Mutex<Option<Window>>,
}

/// How the records of a component are found and read.
#[derive(Debug, Default)]
struct Index {
    postings: Postings,
    spots: Spots,
}

impl Index {
    fn note(&mut self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        for row in &rows.rows {
            if u64::from(row.seq) == self.postings.covered() {
                self.postings.note(Record::new(row, rows, frame.body, frame.payload));
            }
        }
        self.spots.note(rows, frame.body, place);
    }
}

/// One frame's records and payload. Hashes are verified again as it is read, commitments as items are looked at.
#[derive(Debug)]
pub(crate) struct Window {
    ledger: LedgerId,
    file: String,
    offset: u64,
    /// Where the frame ends, and the chain there.
    end: (usize, u64),
    after: Checkpoint,
    rows: Rows,
    body: Vec<u8>,
    payload: Vec<u8>,
}

impl Window {
    pub(crate) fn record(&self, seq: Seq) -> Option<Record<'_>> {
        let first = u64::from(self.rows.rows.first()?.seq);
        let row = self.rows.rows.get(usize::try_from(seq.0.checked_sub(first)?).ok()?)?;
        Some(Record::new(row, &self.rows, &self.body, &self.payload))
    }

    /// The record, its payload item checked again.
    pub(crate) fn checked(&self, seq: Seq) -> Result<Record<'_>, Fault> {
        let record = self.record(seq).expect("a window holds the record it was read for");
        match check_item(self.ledger, record) {
            Ok(()) => Ok(record),
            Err(error) => {
                let (file, offset) = (self.file.clone(), self.offset);
                Err(Fault { file, offset, records: seq.0, kind: error.into() })
            }
        }
    }
}

impl Log {
    /// The log whose segments lie in `storage`.
    pub(crate) fn new(storage: Arc<dyn Storage>) -> io::Result<Log> {
        let mut firsts: Vec<u64> = storage.list(LOG)?.iter().filter_map(|name| first_seq_of(name)).collect();
        firsts.sort_unstable();
        if firsts.len() > MAX_SEGMENTS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {MAX_SEGMENTS} segments"),
            ));
        }
        let segment = |first| {
            let name = segment_name(first);
            Ok(Segment { len: storage.len(&name)?.unwrap_or(0), name })
        };
        let segments = firsts.into_iter().map(segment).collect::<io::Result<Vec<Segment>>>()?;
        let ahead = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let (marks, index) = (Mutex::default(), Mutex::default());
        Ok(Log {
            storage,
            segments,
            marks,
            index,
            ahead,
            resumed: (0, 0),
            window: Mutex::default(),
            shown: Mutex::default(),
        })
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn segments_mut(&mut self) -> &mut Vec<Segment> {
        &mut self.segments
    }

    /// Walks on one thread, or with a second that reads ahead.
    pub(crate) fn set_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
    }

    /// Bytes of all segments together.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Bytes held by the index from numbers to places, and by the one from ids and devices to records.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let index =
            locked(&self.index).as_ref().map_or(0, |index| index.postings.memory() + index.spots.memory());
        (locked(&self.marks).capacity() * size_of::<Mark>(), index)
    }

    /// Remembers that the frame after `before` begins here, if the last such place is far enough before it.
    pub(crate) fn mark(&self, before: &Chain, segment: usize, offset: u64) {
        mark(&mut locked(&self.marks), before, segment, offset);
    }

    /// The places remembered, ascending.
    pub(crate) fn marks(&self) -> MutexGuard<'_, Vec<Mark>> {
        locked(&self.marks)
    }

    /// Forgets all places but these.
    pub(crate) fn remember(&mut self, marks: Vec<Mark>) {
        *locked(&self.marks) = marks;
    }

    /// A place, told by its segment's first record.
    pub(crate) fn place(&self, (segment, offset): (usize, u64)) -> (u64, u64) {
        let name = &self.segments[segment].name;
        let first = name.rsplit('/').next().and_then(first_seq_of);
        (first.expect("a segment is named by its first record"), offset)
    }

    /// Where the next walk begins whose chain is not at its beginning.
    pub(crate) fn go_on_from(&mut self, end: (usize, u64)) {
        self.resumed = end;
    }

    /// Where the frame ends that `checkpoint` speaks of; `None` if no frame ends there with that hash. The frames from the
    /// nearest mark on are verified, of that frame the items too.
    pub(crate) fn end_of(&self, checkpoint: Checkpoint) -> Result<Option<(usize, u64)>, Fault> {
        let Some(last) = checkpoint.records.checked_sub(1) else { return Ok(None) };
        let window = self.read_window(Seq(last))?;
        for row in &window.rows.rows {
            window.checked(Seq(row.seq.into()))?;
        }
        Ok((window.after == checkpoint).then_some(window.end))
    }

    /// Walks through the log: each frame is checked and folded, each record shown to `each`. From its beginning, or, if the
    /// replay was resumed from a snapshot, from that one's end.
    ///
    /// Stops where `walk` says, at the end, or at the first fault, which is given with where it is. Remembers places on the way
    /// that no walk came by before.
    pub(crate) fn walk(
        &self,
        replay: &mut Replay,
        walk: Walk<'_>,
        mut each: impl FnMut(Step<'_>),
    ) -> Result<(), Fault> {
        let Walk { commitments, upto, witnesses, hide, progress } = walk;
        let checks = Checks { commitments, upto, witnesses };
        let chain = replay.chain().clone();
        let fold = |mut passed: Passed<'_>| {
            passed.check_items()?;
            let Passed { frame, rows, place, .. } = passed;
            let past = self.past(&frame, rows)?;
            self.mark(&place.before, place.segment, place.offset);
            self.note(&frame, rows, (place.segment, place.offset));
            if let Some(erasures) = hide {
                hide_erased(rows, erasures);
            }
            replay.advance(place.after);
            replay.fold(&frame, rows, &past, &mut each);
            progress(place.walked);
            Ok(true)
        };
        let start = if chain.next_seq() == 0 { (0, 0) } else { self.resumed };
        if self.ahead && self.bytes() >= AHEAD_BYTES {
            self.check_ahead(chain, start, checks, fold)
        } else {
            self.check(chain, start, checks, fold)
        }
    }

    // -- components ------------------------------------------------------------------------------------------------

    /// What folding a frame's records needs of the past: for each that folds a component anew, that component's records before
    /// it. Empty for almost every frame.
    pub(crate) fn past(&self, frame: &Frame<'_>, rows: &Rows) -> Result<Past, Fault> {
        let mut past = Past::default();
        if !rows.rows.iter().any(Row::refolds) {
            return Ok(past);
        }
        let first = frame.header.first_seq;
        let mut index = self.index(first)?;
        let Index { postings, spots } = index.as_mut().expect("asked for just now");
        for row in &rows.rows {
            if row.refolds() {
                let read = |seq, show: &mut dyn FnMut(Record<'_>)| match rows.at(seq) {
                    Some(row) => {
                        show(Record::new(row, rows, frame.body, frame.payload));
                        Ok(())
                    }
                    None => self.show(seq, postings, spots, show),
                };
                past.insert(row.seq, postings.component(Node::Id(row.id), row.seq, read)?);
            }
            if u64::from(row.seq) == postings.covered() {
                postings.note(Record::new(row, rows, frame.body, frame.payload));
            }
        }
        Ok(past)
    }

    /// Indexes a frame's records, if an index is kept and all before them are in it; else they are read when somebody asks.
    pub(crate) fn note(&self, frame: &Frame<'_>, rows: &Rows, place: (usize, u64)) {
        if let Some(index) = locked(&self.index).as_mut() {
            index.note(frame, rows, place);
        }
    }

    /// Forgets the index: records were noted that did not come to be, or lie elsewhere now.
    pub(crate) fn forget_index(&self) {
        *locked(&self.index) = None;
    }

    /// Keeps an index from here on, whether or not somebody asks for it.
    pub(crate) fn keep_index(&mut self) {
        *locked(&self.index) = Some(Index::default());
    }

    /// The index of at least the first `records` records; those not covered yet are read now.
    fn index(&self, records: u64) -> Result<MutexGuard<'_, Option<Index>>, Fault> {
        let mut kept = locked(&self.index);
        let index = kept.get_or_insert_default();
        let covered = index.postings.covered();
        if covered < records {
            let (chain, start) = self.before(covered);
            let checks = Checks { commitments: false, upto: Some(records), witnesses: &[] };
            self.check(chain, start, checks, |Passed { frame, rows, place, .. }| {
                index.note(&frame, rows, (place.segment, place.offset));
                Ok(true)
            })?;
        }
        Ok(kept)
    }

    /// Asks the index of the first `records` records.
    fn ask<T>(&self, records: u64, ask: impl FnOnce(&Index) -> Result<T, Fault>) -> Result<T, Fault> {
        ask(self.index(records)?.as_ref().expect("asked for just now"))
    }

    /// The records below `end` of the component that holds `seed`, and all policies before it.
    pub(crate) fn component(&self, seed: Node, end: u64) -> Result<Excerpt, Fault> {
        let below = u32::try_from(end).expect("MAX_RECORDS bounds it");
        self.ask(end, |Index { postings, spots }| {
            postings.component(seed, below, |seq, show| self.show(seq, postings, spots, show))
        })
    }

    /// The records below `end` that name an id or a device, ascending. The definition of an id names nobody.
    pub(crate) fn naming(&self, node: Node, end: u64) -> Result<Vec<u32>, Fault> {
        let mut naming: Vec<u32> = self.ask(end, |Index { postings, .. }| {
            Ok(postings.of(node).filter(|seq| u64::from(*seq) < end).collect())
        })?;
        naming.reverse();
        Ok(naming)
    }

    /// Shows a record for the sake of its body: nothing of its payload is hidden, so it stays apart from [`Log::window`].
    fn show(
        &self,
        seq: u32,
        postings: &Postings,
        spots: &Spots,
        show: &mut dyn FnMut(Record<'_>),
    ) -> Result<(), Fault> {
        let file = |segment: usize| self.segments.get(segment).map(|segment| segment.name.clone());
        if let Some(mut near) = spots.read(seq, &*self.storage, file) {
            if let (Some(device), Some(row)) = (postings.device_defined(seq), near.row_mut(seq)) {
                row.number(device);
            }
            show(near.record(seq).expect("a spot holds the record it was read for"));
            return Ok(());
        }
        let seq = Seq(seq.into());
        let mut shown = locked(&self.shown);
        if shown.as_ref().is_none_or(|window| window.record(seq).is_none()) {
            *shown = Some(self.read_window(seq)?);
        }
        let window = shown.as_ref().expect("read just now");
        show(window.record(seq).expect("a window holds the record it was read for"));
        Ok(())
    }

    /// The chain at the last mark that is not behind record `seq`, and where that is.
    fn before(&self, seq: u64) -> (Chain, (usize, u64)) {
        let marks = locked(&self.marks);
        let at = marks.partition_point(|mark| mark.before.next_seq() <= seq);
        let mark = &marks[at.checked_sub(1).expect("the first mark stands before record 0")];
        (mark.before.clone(), (mark.segment as usize, mark.offset))
    }

    /// Reads the log from a place and checks each frame against the chain, in their order, until `each` says that it need not go
    /// on. Items are left to `each`.
    fn check(
        &self,
        mut chain: Chain,
        (first, start): (usize, u64),
        checks: Checks<'_>,
        mut each: impl FnMut(Passed<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Fault> {
        if self.segments.is_empty() {
            let kind = FaultKind::NoSegment;
            return Err(Fault { file: LOG.to_owned(), offset: 0, records: 0, kind });
        }
        let mut rows = Rows::default();
        let mut done = self.segments[..first].iter().map(|segment| segment.len).sum::<u64>();
        for (segment, Segment { name, len }) in self.segments.iter().enumerate().skip(first) {
            let enough = |chain: &Chain| checks.upto.is_some_and(|upto| chain.next_seq() >= upto);
            if enough(&chain) {
                return Ok(());
            }
            let within = segment == first && start > 0; // its header is behind us
            let mut reader = SegmentReader::at(&*self.storage, name, if within { start } else { 0 });
            let fault = |records, offset, kind| Err(Fault { file: name.clone(), offset, records, kind });
            if !within && let Err(kind) = reader.header(&chain) {
                return fault(chain.next_seq(), 0, kind);
            }
            while !enough(&chain) {
                let (before, offset) = (chain.clone(), reader.offset());
                let frame = match accept_next(&mut reader, &mut chain, &mut rows, checks) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(kind) => return fault(chain.next_seq(), offset, kind),
                };
                let taken = frame.header.frame_len();
                let walked = done + offset + taken as u64;
                let records = before.next_seq();
                let place = Place { before, after: chain.clone(), segment, offset, walked };
                let items_due = checks.commitments;
                let go_on = each(Passed { frame, rows: &mut rows, place, items_due });
                reader.advance(taken);
                rows.clear();
                match go_on {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(stop) => return Err(stop.at(name, offset, records)),
                }
            }
            done += len;
        }
        Ok(())
    }

    /// As [`Log::check`], on a thread of its own that runs ahead of `each`: reading and checking take about as long as
    /// folding. Payload items are checked by whichever of the two has time. What `each` sees, and in which order, depends on
    /// neither.
    fn check_ahead(
        &self,
        chain: Chain,
        start: (usize, u64),
        checks: Checks<'_>,
        mut each: impl FnMut(Passed<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Fault> {
        let (sender, passed) = sync_channel::<Batch>(BATCHES_AHEAD);
        let (give_back, used) = sync_channel::<Batch>(2 * BATCHES_AHEAD);
        let waiting = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let checker = scope.spawn(|| {
                let (sender, used) = (sender, used); // closed when this thread ends
                let send = |batch| {
                    waiting.fetch_add(1, Ordering::Relaxed);
                    sender.send(batch).is_ok() // else nobody listens any more
                };
                let mut batch = Batch::default();
                let checked = self.check(chain, start, checks, |mut passed| {
                    if waiting.load(Ordering::Relaxed) > 0 {
                        passed.check_items()?;
                    }
                    batch.push(passed);
                    Ok(batch.bytes.len() < BATCH_BYTES
                        || send(std::mem::replace(&mut batch, used.try_recv().unwrap_or_default())))
                });
                send(batch);
                checked
            });
            let folded = passed.into_iter().try_for_each(|mut batch| {
                waiting.fetch_sub(1, Ordering::Relaxed);
                batch.show(&mut each).map_err(|(place, stop)| {
                    stop.at(&self.segments[place.segment].name, place.offset, place.before.next_seq())
                })?;
                give_back.try_send(batch).ok(); // else it is freed
                Ok(())
            });
            match checker.join() {
                Ok(checked) => folded.and(checked),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The frame that holds record `seq`, verified again: every frame's hash from the nearest mark on. Payload items that
    /// `hide` covers are not in it; whenever it covers more than before, [`Log::forget_window`] comes first.
    pub(crate) fn window(&self, seq: Seq, hide: &Erasures) -> Result<Arc<Window>, Fault> {
        let mut cached = locked(&self.window);
        if let Some(window) = cached.as_ref().filter(|window| window.record(seq).is_some()) {
            return Ok(Arc::clone(window));
        }
        let mut window = self.read_window(seq)?;
        hide_erased(&mut window.rows, hide);
        let window = Arc::new(window);
        *cached = Some(Arc::clone(&window));
        Ok(window)
    }

    /// Forgets the frames read last.
    pub(crate) fn forget_window(&self) {
        *locked(&self.window) = None;
        *locked(&self.shown) = None;
    }

    /// The place from which to find record `seq`.
    pub(crate) fn mark_before(&self, seq: Seq) -> Mark {
        let (before, (segment, offset)) = self.before(seq.0);
        Mark { before, segment: segment as u32, offset }
    }

    /// The place where a segment begins.
    pub(crate) fn mark_of_segment(&self, segment: u32) -> Mark {
        let marks = locked(&self.marks);
        marks[marks.partition_point(|mark| mark.segment < segment)].clone()
    }

    /// The marks of a segment that was written anew, in place of those it had, and its length.
    pub(crate) fn rewritten(&mut self, segment: u32, len: u64, anew: Vec<Mark>) {
        let mut marks = locked(&self.marks);
        let from = marks.partition_point(|mark| mark.segment < segment);
        let to = marks.partition_point(|mark| mark.segment <= segment);
        marks.splice(from..to, anew);
        drop(marks);
        self.segments[segment as usize].len = len;
        self.forget_window();
        self.forget_index(); // its records lie elsewhere now
    }

    fn read_window(&self, seq: Seq) -> Result<Window, Fault> {
        let mark = self.mark_before(seq);
        match self.read_window_from(&mark, seq) {
            // A writer that erased something since this log was opened wrote the segment anew, and only its beginning is where
            // it was.
            Err(Fault { kind: FaultKind::Chain(_), .. }) if mark.offset > SEGMENT_HEADER_BYTES as u64 => {
                self.read_window_from(&self.mark_of_segment(mark.segment), seq)
            }
            read => read,
        }
    }

    fn read_window_from(&self, mark: &Mark, seq: Seq) -> Result<Window, Fault> {
        let mut chain = mark.before.clone();
        let segment = mark.segment as usize;
        let name = &self.segments[segment].name;
        let mut reader = SegmentReader::at(&*self.storage, name, mark.offset);
        let mut rows = Rows::default();
        loop {
            let offset = reader.offset();
            let fault = |kind| Fault { file: name.clone(), offset, records: seq.0, kind };
            let bytes = reader.frame(chain.ledger_id()).map_err(fault)?;
            let short = || FrameError::Short { expected: HEADER_BYTES, found: 0 };
            let bytes = bytes.ok_or_else(|| fault(ChainError::Frame(short()).into()))?;
            let frame = Frame::parse(bytes, chain.ledger_id())
                .map_err(|error| fault(ChainError::Frame(error).into()))?;
            chain.accept(&frame, &mut rows).map_err(|error| fault(error.into()))?;
            if chain.next_seq() > seq.0 {
                let (ledger, file) = (chain.ledger_id(), name.clone());
                let (body, payload) = (frame.body.to_vec(), frame.payload.to_vec());
                let end = (segment, offset + frame.header.frame_len() as u64);
                let after = chain.checkpoint();
                return Ok(Window { ledger, file, offset, end, after, rows, body, payload });
            }
            rows.clear();
            let taken = frame.header.frame_len();
            reader.advance(taken);
        }
    }

    /// The highest durable count that any whole frame header from `offset` of segment `index` on announces: what a reader
    /// that stops at a fault must still account for.
    pub(crate) fn durable_beyond(&self, ledger: LedgerId, file: &str, offset: u64) -> io::Result<u64> {
        let mut durable = 0;
        let mut beyond = false;
        for segment in &self.segments {
            let start = match (beyond, segment.name == file) {
                (false, false) => continue,
                (false, true) => offset,
                (true, _) => SEGMENT_HEADER_BYTES as u64,
            };
            beyond = true;
            durable = durable.max(self.durable_in(ledger, segment, start)?);
        }
        Ok(durable)
    }

    fn durable_in(&self, ledger: LedgerId, segment: &Segment, start: u64) -> io::Result<u64> {
        let mut durable = 0;
        let mut at = start.next_multiple_of(8); // frames are padded to 8 bytes
        let mut buffer = vec![0; READ_BYTES + HEADER_BYTES];
        while at < segment.len {
            let read = self.storage.read_at(&segment.name, at, &mut buffer)?;
            for place in (0..read.min(READ_BYTES)).step_by(8) {
                if let Ok(header) = Header::parse(&buffer[place..read], ledger) {
                    durable = durable.max(header.durable);
                }
            }
            at += READ_BYTES as u64;
        }
        Ok(durable)
    }
}

/// Hides the payload items that erasures cover.
fn hide_erased(rows: &mut Rows, erasures: &Erasures) {
    if erasures.is_empty() {
        return;
    }
    for row in rows.rows.iter_mut().filter(|row| row.has_item()) {
        if erasures.of(row).is_some() {
            row.set_erased();
        }
    }
}

/// Accepts the next frame into the chain: its rows are put into `rows`. `None` at the segment's end.
fn accept_next<'r>(
    reader: &'r mut SegmentReader<'_>,
    chain: &mut Chain,
    rows: &mut Rows,
    checks: Checks<'_>,
) -> Result<Option<Frame<'r>>, FaultKind> {
    let Some(bytes) = reader.frame(chain.ledger_id())? else { return Ok(None) };
    let frame = Frame::parse(bytes, chain.ledger_id()).map_err(ChainError::Frame)?;
    let mut after = chain.clone();
    after.accept(&frame, rows)?;
    let (from, here) = (chain.next_seq(), after.checkpoint());
    // A witness that speaks of a place inside this frame, or of another frame here, saw another history.
    let parts = |seen: &&Checkpoint| from < seen.records && seen.records <= here.records && **seen != here;
    if let Some(expected) = checks.witnesses.iter().find(parts) {
        return Err(FaultKind::Forked { expected: *expected });
    }
    *chain = after;
    Ok(Some(frame))
}

/// Frames on their way from the thread that checks to the one that folds: together, for a single small frame is folded
/// sooner than it is handed over.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// What was passed, but for its bytes and rows.
    frames: Vec<(Header, Place, bool)>,
    /// The rows of each frame, and room for more.
    rows: Vec<Rows>,
}

impl Batch {
    fn push(&mut self, Passed { frame, rows, place, items_due }: Passed<'_>) {
        let at = self.frames.len();
        if self.rows.len() == at {
            self.rows.push(Rows::default());
        }
        std::mem::swap(&mut self.rows[at], rows);
        frame.copy_to(&mut self.bytes);
        self.frames.push((frame.header, place, items_due));
    }

    /// Shows the frames, in their order, and is empty then; or says at which there was something wrong.
    fn show(
        &mut self,
        each: &mut impl FnMut(Passed<'_>) -> Result<bool, Stop>,
    ) -> Result<(), (Box<Place>, Stop)> {
        let mut bytes = &self.bytes[..];
        for ((header, place, items_due), rows) in self.frames.drain(..).zip(&mut self.rows) {
            let (frame, rest) = Frame::split(header, bytes);
            bytes = rest;
            let here = place.clone();
            each(Passed { frame, rows, place, items_due }).map_err(|stop| (Box::new(here), stop))?;
            rows.clear();
        }
        self.bytes.clear();
        Ok(())
    }
}

/// Reads one segment from front to back through a buffer.
pub(crate) struct SegmentReader<'a> {
    storage: &'a dyn Storage,
    name: &'a str,
    /// Where in the file `buffer[at]` stands.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    /// How much of the buffer was read.
    filled: usize,
}

impl<'a> SegmentReader<'a> {
    pub(crate) fn new(storage: &'a dyn Storage, name: &'a str) -> SegmentReader<'a> {
        SegmentReader::at(storage, name, 0)
    }

    pub(crate) fn at(storage: &'a dyn Storage, name: &'a str, offset: u64) -> SegmentReader<'a> {
        SegmentReader { storage, name, offset, buffer: Vec::new(), at: 0, filled: 0 }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.offset += bytes as u64;
    }

    /// At least `need` bytes from here on, or all that there are.
    fn peek(&mut self, need: usize) -> io::Result<&[u8]> {
        if self.filled - self.at < need {
            self.buffer.copy_within(self.at..self.filled, 0);
            (self.at, self.filled) = (0, self.filled - self.at);
            // Of a large frame no more than itself: what is behind it would have to be moved to the buffer's front.
            let end = need.max(READ_BYTES);
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            let rest = &mut self.buffer[self.filled..end];
            self.filled += self.storage.read_at(self.name, self.offset + self.filled as u64, rest)?;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    /// Checks the segment's header against the chain it continues.
    pub(crate) fn header(&mut self, chain: &Chain) -> Result<(), FaultKind> {
        let header =
            SegmentHeader::parse(self.peek(SEGMENT_HEADER_BYTES)?).ok_or(FaultKind::SegmentHeader)?;
        let Checkpoint { records: expected, head } = chain.checkpoint();
        if header.ledger != chain.ledger_id() {
            return Err(FaultKind::ForeignSegment { found: header.ledger, expected: chain.ledger_id() });
        }
        if header.first_seq != expected {
            return Err(FaultKind::WrongSegment { found: header.first_seq, expected });
        }
        if header.previous != head {
            return Err(FaultKind::Spliced);
        }
        self.advance(SEGMENT_HEADER_BYTES);
        Ok(())
    }

    /// The bytes of the next frame; `None` at the end of the segment.
    pub(crate) fn frame(&mut self, ledger: LedgerId) -> Result<Option<&[u8]>, FaultKind> {
        let bytes = self.peek(HEADER_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let len = Header::parse(bytes, ledger).map_err(ChainError::Frame)?.frame_len();
        assert!(len <= MAX_FRAME_BYTES, "Header::parse bounds a frame");
        let bytes = self.peek(len)?;
        if bytes.len() < len {
            return Err(ChainError::Frame(FrameError::Short { expected: len, found: bytes.len() }).into());
        }
        Ok(Some(&bytes[..len]))
    }
}
