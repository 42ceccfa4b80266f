//! One segment file: read from front to back through a buffer, or looked through for headers.

use std::io;

use crate::log::chain::{Chain, ChainError, Checkpoint};
use crate::log::frame::{FrameError, HEADER_BYTES, Header};
use crate::model::id::LedgerId;
use crate::model::limits::MAX_FRAME_BYTES;
use crate::store::layout::{SEGMENT_HEADER_BYTES, SegmentHeader, first_seq_of};
use crate::store::segments::FaultKind;
use crate::store::storage::Storage;

/// Read from the disk at a time, or one frame if that is more: little enough to stay in a processor's cache between reading
/// and hashing.
pub(super) const READ_BYTES: usize = 64 * 1_024;

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) len: u64,
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
        let bytes = self.peek(SEGMENT_HEADER_BYTES)?;
        let header =
            SegmentHeader::parse(bytes).ok_or_else(|| match SegmentHeader::other_version(bytes) {
                Some(found) => FaultKind::SegmentVersion { found },
                None => FaultKind::SegmentHeader,
            })?;
        let Checkpoint { records: expected, head } = chain.checkpoint();
        if header.ledger != chain.ledger_id() {
            return Err(FaultKind::ForeignSegment { found: header.ledger, expected: chain.ledger_id() });
        }
        let named = self.name.rsplit('/').next().and_then(first_seq_of).unwrap_or(header.first_seq);
        if let Some(found) = [header.first_seq, named].into_iter().find(|first| *first != expected) {
            return Err(FaultKind::WrongSegment { found, expected });
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
