//! The walk: frame by frame through the log, each checked against the chain and folded; with a second thread that reads and
//! checks ahead, if there is one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use crate::fold::Erasures;
use crate::fold::replay::{Replay, Step};
use crate::log::chain::{Chain, ChainError, Checkpoint};
use crate::log::frame::{Frame, Header};
use crate::log::payload;
use crate::log::record::{Record, Rows};
use crate::model::time::Timestamp;
use crate::store::layout::LOG;
use crate::store::segments::{Fault, FaultKind, Log, Mark, Segment, SegmentReader, hide_erased, mark};

/// The least log for which a second thread is worth starting.
const AHEAD_BYTES: u64 = 1 << 20;
/// Handed over from thread to thread together.
const BATCH_BYTES: usize = 256 * 1_024;
/// How many such may wait: what is read ahead stays in the caches, and memory bounded by a few of the largest frames.
const BATCHES_AHEAD: usize = 3;

/// How to walk.
pub(crate) struct Walk<'a> {
    /// Whether payload items are checked against their commitments.
    pub(crate) commitments: bool,
    /// Stop after this number of records.
    pub(crate) upto: Option<u64>,
    /// Whether of a frame that goes beyond that number only the records up to it are folded; else it is folded whole.
    pub(crate) cut: bool,
    /// Heads that were seen before: the log must pass through them.
    pub(crate) witnesses: &'a [Checkpoint],
    /// Payload items that these cover are not shown, whether or not they are still there.
    pub(crate) hide: Option<&'a Erasures>,
    /// Called with the bytes read so far.
    pub(crate) progress: &'a mut dyn FnMut(u64),
}

/// What the checking half of a walk has to know.
#[derive(Clone, Copy)]
pub(super) struct Checks<'a> {
    pub(super) commitments: bool,
    /// Whether sealed payload items are opened, if there are keys.
    pub(super) open: bool,
    pub(super) upto: Option<u64>,
    pub(super) witnesses: &'a [Checkpoint],
}

/// A frame that follows what was before it, and where it is.
pub(super) struct Passed<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) rows: &'a mut Rows,
    pub(super) place: Place,
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
pub(super) enum Stop {
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

/// Where a frame is, and how the chain stands before and after it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    before: Chain,
    after: Chain,
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// Bytes of log up to the frame's end.
    walked: u64,
}

/// A frame of a segment, and what was before it.
pub(crate) struct FrameAt<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) rows: &'a Rows,
    pub(crate) before: &'a Chain,
    pub(crate) offset: u64,
}

impl FrameAt<'_> {
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let FrameAt { frame, rows, .. } = self;
        rows.records(frame)
    }
}

impl Log {
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
        let Walk { commitments, upto, cut, witnesses, hide, progress } = walk;
        let checks = Checks { commitments, open: true, upto, witnesses };
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
            let end = if cut { upto.unwrap_or(u64::MAX) } else { u64::MAX };
            replay.advance(place.after);
            replay.fold(&frame, rows, &past, end, &mut each);
            progress(place.walked);
            Ok(true)
        };
        let start = if chain.next_seq() == 0 { (0, 0) } else { self.resumed };
        self.pass(chain, start, checks, fold)
    }

    /// Checks each frame, here or ahead of what is done with it.
    fn pass(
        &self,
        chain: Chain,
        start: (usize, u64),
        checks: Checks<'_>,
        each: impl FnMut(Passed<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Fault> {
        if self.ahead && self.bytes() >= AHEAD_BYTES {
            self.check_ahead(chain, start, checks, each)
        } else {
            self.check(chain, start, checks, each)
        }
    }

    /// Shows every record from the first on and when it was recorded, its item opened, each frame verified by its hash. With `hide` items are
    /// checked, and those that it covers are not shown; else they are not checked yet. `chain` is the ledger's empty one, so nothing that a
    /// snapshot says is believed. The log must pass through `end`, where this stops. Gives the places met on the way.
    pub(crate) fn records(
        &self,
        chain: Chain,
        end: Checkpoint,
        hide: Option<&Erasures>,
        mut each: impl FnMut(Record<'_>, Timestamp) -> Result<(), Fault>,
    ) -> Result<Vec<Mark>, Fault> {
        let (mut reached, mut marks) = (chain.checkpoint(), Vec::new());
        let witnesses = [end];
        let checks = Checks {
            commitments: hide.is_some(),
            open: true,
            upto: Some(end.records),
            witnesses: &witnesses,
        };
        self.pass(chain, (0, 0), checks, |mut passed| {
            passed.check_items()?;
            let Passed { frame, rows, place, .. } = passed;
            hide.inspect(|erasures| hide_erased(rows, erasures));
            let rows: &Rows = rows;
            let time = frame.header.recorded_at;
            rows.records(&frame).try_for_each(|record| each(record, time))?;
            mark(&mut marks, &place.before, place.segment, place.offset);
            reached = place.after.checkpoint();
            Ok(true)
        })?;
        if reached == end {
            return Ok(marks);
        }
        let (file, records) = (LOG.to_owned(), reached.records);
        Err(Fault { file, offset: 0, records, kind: FaultKind::Forked { expected: end } })
    }

    /// Shows the frames from a mark to the end of its segment, each verified by its hash, until `each` gives `false` or fails.
    pub(crate) fn frames<E: From<Fault>>(
        &self,
        from: &Mark,
        mut each: impl FnMut(FrameAt<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let (segment, mut failed) = (from.segment as usize, None);
        let next = (segment + 1 < self.segments.len()).then(|| self.place((segment + 1, 0)).0);
        let checks = Checks { commitments: false, open: false, upto: next, witnesses: &[] };
        let show = |Passed { frame, rows, place, .. }: Passed<'_>| {
            let shown = each(FrameAt { frame, rows, before: &place.before, offset: place.offset });
            Ok(shown.unwrap_or_else(|error| {
                failed = Some(error);
                false
            }))
        };
        let read = self.check(from.before.clone(), (segment, from.offset), checks, show);
        failed.map_or(read.map_err(E::from), Err)
    }

    /// Reads the log from a place and checks each frame against the chain, in their order, until `each` says
    /// that it is done. Items are left to `each`.
    pub(super) fn check(
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
        let (mut rows, mut plain) = (Rows::default(), Vec::new());
        let keys = if checks.open { self.keys.clone() } else { None };
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
                let records = before.next_seq();
                let frame = match payload::open(&keys, frame, &mut rows, &mut plain) {
                    Ok(frame) => frame,
                    Err(error) => return fault(records, offset, error.into()),
                };
                let taken = frame.header.frame_len();
                let walked = done + offset + taken as u64;
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
                    sender.send(batch).is_ok() // else the receiver is gone
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
    /// What was passed, but for its bytes and rows; and how long its payload is.
    frames: Vec<(Header, usize, Place, bool)>,
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
        self.frames.push((frame.header, frame.payload.len(), place, items_due));
    }

    /// Shows the frames, in their order, and is empty then; or says at which there was something wrong.
    fn show(
        &mut self,
        each: &mut impl FnMut(Passed<'_>) -> Result<bool, Stop>,
    ) -> Result<(), (Box<Place>, Stop)> {
        let mut bytes = &self.bytes[..];
        for ((header, payload_len, place, items_due), rows) in self.frames.drain(..).zip(&mut self.rows) {
            let (frame, rest) = Frame::split(header, payload_len, bytes);
            bytes = rest;
            let here = place.clone();
            each(Passed { frame, rows, place, items_due }).map_err(|stop| (Box::new(here), stop))?;
            rows.clear();
        }
        self.bytes.clear();
        Ok(())
    }
}
