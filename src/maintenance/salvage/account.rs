//! The account of a damaged log: which records are intact, which are lost, and which bytes belong to none.

use crate::maintenance::salvage::frames::{Found, Place};
use crate::maintenance::salvage::report::{BytePlace, Lost, SeqRange};
use crate::model::id::Seq;
use crate::store::layout::SEGMENT_HEADER_BYTES;
use crate::store::segments::Log;

/// The sum: which records known are intact and which are lost, and what is left over.
pub(super) struct Account<'a> {
    pub(super) log: &'a Log,
    /// Where the prefix ends.
    pub(super) at: Place,
    pub(super) prefix: u64,
    pub(super) records: u64,
    /// All frames behind it, in the order of their records.
    pub(super) found: &'a [Found],
}

impl Account<'_> {
    pub(super) fn intact(&self) -> Vec<SeqRange> {
        let chosen = self.found.iter().filter(|frame| frame.is_chosen());
        let spans = chosen.map(|frame| (frame.header.first_seq, frame.end()));
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (from, end) in std::iter::once((0, self.prefix)).chain(spans).filter(|(from, end)| from < end) {
            match ranges.last_mut() {
                Some(last) if last.1 == from => last.1 = end,
                _ => ranges.push((from, end)),
            }
        }
        ranges.into_iter().map(|(from, end)| SeqRange { from: Seq(from), to: Seq(end - 1) }).collect()
    }

    /// Everything between what is intact: frame by frame where a header is left, else as one hole.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let mut lost = Vec::new();
        let (mut next, mut at) = (self.prefix, self.at);
        let is_there = |frame: &&Found| frame.end() <= self.records;
        for frame in self.found.iter().filter(|frame| frame.counts()).filter(is_there) {
            let first = frame.header.first_seq;
            if first < next {
                continue;
            }
            if next < first {
                lost.push(self.hole(next, first, at, Some(frame.place)));
            }
            if let Some(why) = frame.why_lost() {
                let place = Some(BytePlace {
                    file: self.log.segments()[frame.place.segment].name.clone(),
                    offset: frame.place.offset,
                    bytes: frame.header.frame_len() as u64,
                });
                lost.push(Lost { from: Seq(first), to: Seq(frame.end() - 1), place, why });
            }
            next = frame.end();
            at = frame.place_behind();
        }
        if next < self.records {
            lost.push(self.hole(next, self.records, at, None));
        }
        lost
    }

    pub(super) fn hole(&self, from: u64, end: u64, after: Place, before: Option<Place>) -> Lost {
        let place = self.bytes_between(after, before).next();
        let why = match (&place, before) {
            (Some(_), _) => "no whole frame header is left there",
            (None, Some(_)) => "a segment is missing",
            (None, None) => "the log ends before them",
        };
        Lost { from: Seq(from), to: Seq(end - 1), place, why }
    }

    /// Bytes behind a place, segment by segment, up to another one or to the end; segment headers are not counted.
    pub(super) fn bytes_between(
        &self,
        after: Place,
        before: Option<Place>,
    ) -> impl Iterator<Item = BytePlace> {
        let segments = self.log.segments().iter().enumerate().skip(after.segment);
        segments.filter_map(move |(index, segment)| {
            let start = if index == after.segment { after.offset } else { 0 };
            let start = start.max(SEGMENT_HEADER_BYTES as u64);
            let end = match before {
                Some(before) if before.segment < index => 0,
                Some(before) if before.segment == index => before.offset,
                _ => segment.len,
            };
            let bytes = end.checked_sub(start).filter(|bytes| *bytes > 0)?;
            Some(BytePlace { file: segment.name.clone(), offset: start, bytes })
        })
    }

    /// What stands behind the last record known, if that one is intact.
    pub(super) fn unacknowledged(&self) -> Vec<BytePlace> {
        let last = self.found.iter().rfind(|frame| frame.is_chosen());
        let (end, at) = last.map_or((self.prefix, self.at), |last| (last.end(), last.place_behind()));
        if end < self.records { Vec::new() } else { self.bytes_between(at, None).collect() }
    }
}
