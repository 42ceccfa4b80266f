//! Windows: one frame read again, verified again, for a look at single records with their payload.

use std::io;
use std::sync::Arc;

use crate::fold::Erasures;
use crate::log::chain::{Chain, ChainError, Checkpoint, check_item};
use crate::log::commitment::Commitments;
use crate::log::frame::{Frame, FrameError, HEADER_BYTES, Header};
use crate::log::payload;
use crate::log::record::{Record, Rows};
use crate::model::id::{LedgerId, Seq};
use crate::model::time::Timestamp;
use crate::store::layout::SEGMENT_HEADER_BYTES;
use crate::store::segments::segment::READ_BYTES;
use crate::store::segments::{Fault, FaultKind, Log, Mark, Segment, SegmentReader, hide_erased, locked};

/// One frame's records and payload. Hashes are verified again as it is read, commitments as items are looked at.
#[derive(Debug)]
pub(crate) struct Window {
    ledger: LedgerId,
    file: String,
    offset: u64,
    /// Where the frame ends, and the chain there.
    end: FrameEnd,
    after: Checkpoint,
    rows: Rows,
    body: Vec<u8>,
    payload: Vec<u8>,
}

/// Most frames that are kept after they were read, and most bytes of them together; the last one is kept whatever its size. Operations that
/// come again ask for records here and there, and each would read and hash a whole frame.
const KEPT_WINDOWS: usize = 16;
const KEPT_WINDOW_BYTES: usize = 8 << 20;

/// The frames that were read last, the latest at the end.
#[derive(Debug, Default)]
pub(crate) struct Windows(Vec<Arc<Window>>);

impl Windows {
    /// The frame that holds a record.
    fn find(&mut self, seq: Seq) -> Option<Arc<Window>> {
        let at = self.0.iter().rposition(|window| window.record(seq).is_some())?;
        let window = self.0.remove(at);
        self.0.push(Arc::clone(&window));
        Some(window)
    }

    fn keep(&mut self, window: Arc<Window>) {
        self.0.push(window);
        let (mut kept, mut bytes) = (0, 0);
        for window in self.0.iter().rev().take(KEPT_WINDOWS) {
            bytes += window.bytes();
            if kept > 0 && bytes > KEPT_WINDOW_BYTES {
                break;
            }
            kept += 1;
        }
        self.0.drain(..self.0.len() - kept);
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Where a frame ends, and when it was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameEnd {
    /// Segment, and offset in it.
    pub(crate) place: (usize, u64),
    pub(crate) recorded_at: Timestamp,
}

impl Window {
    /// When its records were recorded.
    pub(crate) fn recorded_at(&self) -> Timestamp {
        self.end.recorded_at
    }

    /// Bytes that it holds, near enough.
    fn bytes(&self) -> usize {
        self.body.len() + self.payload.len() + size_of_val(self.rows.rows())
    }

    pub(crate) fn record(&self, seq: Seq) -> Option<Record<'_>> {
        self.rows.record(u32::try_from(seq.0).ok()?, &self.body, &self.payload)
    }

    /// The record, its payload item checked again.
    pub(crate) fn checked(&self, seq: Seq) -> Result<Record<'_>, Fault> {
        let record = self.record(seq).expect("a window holds the record it was read for");
        match check_item(&Commitments::of(self.ledger), record) {
            Ok(()) => Ok(record),
            Err(error) => {
                let (file, offset) = (self.file.clone(), self.offset);
                Err(Fault { file, offset, records: seq.0, kind: error.into() })
            }
        }
    }
}

impl Log {
    /// Where the frame ends that `checkpoint` speaks of; `None` if no frame ends there with that hash. The frames from the
    /// nearest mark on are verified, of that frame the items too.
    pub(crate) fn end_of(&self, checkpoint: Checkpoint) -> Result<Option<FrameEnd>, Fault> {
        let Some(last) = checkpoint.records.checked_sub(1) else { return Ok(None) };
        let window = self.read_window(Seq(last))?;
        for row in window.rows.rows() {
            window.checked(Seq(row.seq.into()))?;
        }
        Ok((window.after == checkpoint).then_some(window.end))
    }

    /// The chain at the last mark that is not behind record `seq`, and where that is.
    pub(super) fn before(&self, seq: u64) -> (Chain, (usize, u64)) {
        let marks = locked(&self.marks);
        let at = marks.partition_point(|mark| mark.before.next_seq() <= seq);
        let mark = &marks[at.checked_sub(1).expect("the first mark stands before record 0")];
        (mark.before.clone(), (mark.segment as usize, mark.offset))
    }

    /// The frame that holds record `seq`, verified again: every frame's hash from the nearest mark on. Payload items that
    /// `hide` covers are not in it; whenever it covers more than before, [`Log::forget_window`] comes first.
    pub(crate) fn window(&self, seq: Seq, hide: &Erasures) -> Result<Arc<Window>, Fault> {
        if self.is_ended() {
            self.forget_window();
        }
        let mut windows = locked(&self.windows);
        if let Some(window) = windows.find(seq) {
            return Ok(window);
        }
        let mut window = self.read_window(seq)?;
        hide_erased(&mut window.rows, hide);
        let window = Arc::new(window);
        windows.keep(Arc::clone(&window));
        Ok(window)
    }

    /// Forgets the frames read last.
    pub(crate) fn forget_window(&self) {
        locked(&self.windows).forget();
        *locked(&self.shown) = None;
    }

    /// The place from which to find record `seq`.
    pub(crate) fn mark_before(&self, seq: Seq) -> Mark {
        let (before, (segment, offset)) = self.before(seq.0);
        Mark { before, segment: segment as u32, offset }
    }

    /// The place where a segment's first frame begins; `None` if it has none: a crash came right after it was begun.
    pub(crate) fn mark_of_segment(&self, segment: u32) -> Option<Mark> {
        let marks = locked(&self.marks);
        let first = marks.get(marks.partition_point(|mark| mark.segment < segment));
        first.filter(|mark| mark.segment == segment).cloned()
    }

    pub(super) fn read_window(&self, seq: Seq) -> Result<Window, Fault> {
        let mark = self.mark_before(seq);
        match self.read_window_from(&mark, seq) {
            // A writer that erased something since this log was opened rewrote the segment, and only its
            // beginning is where it was.
            Err(Fault { kind: FaultKind::Chain(_), .. }) if mark.offset > SEGMENT_HEADER_BYTES as u64 => {
                let begin = self.mark_of_segment(mark.segment).expect("the segment has this mark");
                self.read_window_from(&begin, seq)
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
                let mut plain = Vec::new();
                let frame = payload::open(&self.keys, frame, &mut rows, &mut plain)
                    .map_err(|error| fault(error.into()))?;
                let (body, payload) = (frame.body.to_vec(), frame.payload.to_vec());
                let place = (segment, offset + frame.header.frame_len() as u64);
                let end = FrameEnd { place, recorded_at: frame.header.recorded_at };
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
