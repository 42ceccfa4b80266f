//! Spots: where in the log every block of records begins, so that one of them can be read with its neighbours
//! instead of a whole frame. What is read is held against a checksum that was taken when the frame was
//! verified; if it does not match, the whole frame is read.

use crate::log::decode::{BLOCK_RECORDS, block};
use crate::log::frame::{HEADER_BYTES, crc32c};
use crate::log::record::{Record, Rows};
use crate::store::storage::Storage;

/// The spots of all records from the first on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spots {
    /// How many records are covered: the next to be noted.
    covered: u32,
    spots: Vec<Block>,
}

/// Some neighbouring records of one frame.
#[derive(Clone, Copy, Debug)]
struct Block {
    first: u32,
    segment: u32,
    offset: u64,
    len: u32,
    crc: u32,
}

/// The records of one spot, read back.
#[derive(Debug)]
pub(crate) struct Neighbours {
    rows: Rows,
    body: Vec<u8>,
}

impl Neighbours {
    pub(crate) fn record(&self, seq: u32) -> Option<Record<'_>> {
        self.rows.record(seq, &self.body, &[])
    }

    /// Gives the definition of a device, if that is what record `seq` is, the number that was counted elsewhere.
    pub(crate) fn number(&mut self, seq: u32, device: u32) {
        self.rows.number(seq, device);
    }
}

impl Spots {
    /// Notes a frame that was accepted, if it is the next: its rows, its body, and where it begins.
    pub(crate) fn note(&mut self, rows: &Rows, body: &[u8], (segment, offset): (usize, u64)) {
        if rows.rows().first().is_none_or(|row| row.seq != self.covered) {
            return;
        }
        let places = (0..rows.rows().len()).step_by(BLOCK_RECORDS);
        let begins: Vec<usize> = places.map(|place| rows.begin(place, body)).chain([body.len()]).collect();
        for (group, span) in rows.rows().chunks(BLOCK_RECORDS).zip(begins.windows(2)) {
            let (begin, end) = (span[0], span[1]);
            self.spots.push(Block {
                first: group[0].seq,
                segment: segment as u32, // at most MAX_SEGMENTS
                offset: offset + (HEADER_BYTES + begin) as u64,
                len: (end - begin) as u32, // a frame is at most 16 MiB
                crc: crc32c(&body[begin..end]),
            });
            self.covered += group.len() as u32; // MAX_RECORDS bounds it
        }
    }

    /// Reads the records around `seq`. `None` if they have no spot, or what stands there is not what was noted.
    pub(crate) fn read(
        &self,
        seq: u32,
        storage: &dyn Storage,
        file: impl Fn(usize) -> Option<String>,
    ) -> Option<Neighbours> {
        let at = self.spots.partition_point(|spot| spot.first <= seq).checked_sub(1)?;
        let Block { first, segment, offset, len, crc } = self.spots[at];
        let end = self.spots.get(at + 1).map_or(self.covered, |next| next.first);
        let mut body = vec![0; len as usize];
        let filled = storage.read_at(&file(segment as usize)?, offset, &mut body).ok()?;
        if seq >= end || filled < body.len() || crc32c(&body) != crc {
            return None;
        }
        let rows = block(first, (end - first) as usize, &body)?;
        Some(Neighbours { rows, body })
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        self.spots.capacity() * size_of::<Block>()
    }
}
