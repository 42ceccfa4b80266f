//! Times of recording: that of a record, and the record of a time. Frames are read from the nearest place before; the rest of the log
//! is not.

use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::layout::SEGMENT_HEADER_BYTES;
use crate::store::segments::walk::FrameAt;
use crate::store::segments::{Fault, FaultKind, Log, Mark, locked};

impl Log {
    /// When each of these records was recorded; they ascend. The log between two places is read once, however many of them it
    /// holds.
    pub(crate) fn times(&self, seqs: &[Seq]) -> Result<Vec<Timestamp>, Fault> {
        let mut times = Vec::with_capacity(seqs.len());
        while let Some(first) = seqs.get(times.len()) {
            let (mark, found) = (self.mark_before(*first), times.len());
            self.near(&mark, |FrameAt { frame, .. }| {
                let end = frame.header.first_seq + u64::from(frame.header.records);
                while seqs.get(times.len()).is_some_and(|seq| seq.0 < end) {
                    times.push(frame.header.recorded_at);
                }
                let next = seqs.get(times.len());
                next.is_some_and(|next| self.mark_before(*next) == mark)
            })?;
            if times.len() == found {
                times.push(self.read_window(*first)?.recorded_at()); // which names what is wrong
            }
        }
        Ok(times)
    }

    /// How many records stand before the first frame that was recorded after `time`; `None` if no frame was.
    ///
    /// The places are ordered by time too. So of the log only what lies between two of them is read.
    pub(crate) fn recorded_by(&self, time: Timestamp) -> Result<Option<u64>, Fault> {
        let mark = {
            let marks = locked(&self.marks);
            let behind = marks.partition_point(|mark| mark.before.recorded_at() <= time);
            marks[behind.checked_sub(1).expect("before the first frame it is the earliest time")].clone()
        };
        let mut found = None;
        self.near(&mark, |FrameAt { frame, .. }| {
            let later = frame.header.recorded_at > time;
            found = later.then_some(frame.header.first_seq);
            !later
        })?;
        Ok(found)
    }

    /// Shows frames from a mark on, until `each` gives `false` or the segment ends. Frames may be shown twice.
    fn near(&self, mark: &Mark, mut each: impl FnMut(FrameAt<'_>) -> bool) -> Result<(), Fault> {
        let mut show = |from: &Mark| self.frames(from, |frame| Ok::<bool, Fault>(each(frame)));
        match show(mark) {
            // As for a window: a writer may have rewritten the segment since this log was opened.
            Err(Fault { kind: FaultKind::Chain(_), .. }) if mark.offset > SEGMENT_HEADER_BYTES as u64 => {
                show(&self.mark_of_segment(mark.segment).expect("the segment has this mark"))
            }
            shown => shown,
        }
    }
}
