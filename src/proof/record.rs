//! A record by itself: a leaf of the tree of records. Set in stone: `docs/proofs.md`.

use crate::log::body::{AskedVerb, Body, IdNo, LinkSource};
use crate::log::decode;
use crate::log::encode::BodyWriter;
use crate::model::time::Timestamp;

/// Stands where there is no number.
pub(crate) const NONE: u32 = u32::MAX;

/// Gives definitions the numbers that they have in the log.
#[derive(Default)]
pub(crate) struct Numbers {
    next: [u32; 4],
}

impl Numbers {
    /// The number that a record defines; [`NONE`] of any other record.
    pub(crate) fn of(&mut self, body: &Body) -> u32 {
        let kind = match body {
            Body::DefineId(..) => 0,
            Body::DefineDevice(..) => 1,
            Body::DefineKey(_) => 2,
            Body::DefineName(_) => 3,
            _ => return NONE,
        };
        self.next[kind] += 1; // MAX_RECORDS bounds it
        self.next[kind] - 1
    }
}

/// A record by itself: when it was recorded, which number it defines, and what it says, spelled as in a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordLeaf {
    pub(crate) recorded_at: Timestamp,
    pub(crate) number: u32,
    pub(crate) body: Body,
}

impl RecordLeaf {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.recorded_at.as_micros().to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&BodyWriter::of(std::slice::from_ref(&self.body)));
        bytes
    }

    /// The id that it speaks for: T, the one that it defines, or that of the record it restates.
    pub(crate) fn speaks_for(&self) -> Option<IdNo> {
        match &self.body {
            Body::DefineId(..) => Some(IdNo(self.number)),
            Body::Restate(restated) => Some(restated.id),
            body => body.head().map(|head| head.id),
        }
    }

    /// The ids that it names, ascending.
    pub(crate) fn names(&self) -> Vec<IdNo> {
        let mut ids: Vec<IdNo> = self.speaks_for().into_iter().collect();
        if let LinkSource::Id(other) = self.body.other() {
            ids.push(other);
        }
        match &self.body {
            Body::DefineDevice(first, _) => ids.push(*first),
            Body::Erase(erasure) => ids.extend(&erasure.ids),
            body => {
                if let Some(AskedVerb::Split(leavers)) = body.verb() {
                    ids.extend(&leavers.ids);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The records that it erases by their numbers.
    pub(crate) fn erases(&self) -> &[u32] {
        match &self.body {
            Body::Erase(erasure) => &erasure.records,
            _ => &[],
        }
    }

    /// Reads what [`RecordLeaf::to_bytes`] wrote, and nothing else.
    pub(crate) fn read(bytes: &[u8]) -> Option<RecordLeaf> {
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let body = decode::bodies(rest).next()?.ok()?;
        let recorded_at = Timestamp::from_micros(i64::from_le_bytes(*time)).ok()?;
        // What a record says of itself beyond its spelling is checked where a chain accepts it; of that only times are shown here.
        Timestamp::from_micros(body.head().map_or(0, |head| head.time)).ok()?;
        let leaf = RecordLeaf { recorded_at, number: u32::from_le_bytes(*number), body };
        (leaf.to_bytes() == bytes).then_some(leaf)
    }
}
