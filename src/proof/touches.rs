//! Which records touch which ids, and which of them count: collected on a walk through the log. Set in stone: `docs/proofs.md`.

use std::collections::BTreeMap;

use crate::log::body::{AskedVerb, IdNo};
use crate::proof::record::{NONE, RecordLeaf};
use crate::proof::tree::{Hash, leaf_hash};

/// That a record touches an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) seq: u32,
    /// The retract by which it counts as never asked (H1); [`NONE`] if it counts.
    pub(crate) retracted_by: u32,
}

impl Touch {
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.seq.to_le_bytes());
        bytes[4..].copy_from_slice(&self.retracted_by.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Touch> {
        let bytes: [u8; 8] = bytes.try_into().ok()?;
        let [a, b, c, d, e, f, g, h] = bytes;
        Some(Touch { seq: u32::from_le_bytes([a, b, c, d]), retracted_by: u32::from_le_bytes([e, f, g, h]) })
    }

    /// The leaves of the tree over those of one id, which are in the order of the log.
    pub(crate) fn leaves(touches: &[Touch]) -> Vec<Hash> {
        touches.iter().map(|touch| leaf_hash(&touch.to_bytes())).collect()
    }
}

/// Collects which records touch which ids.
#[derive(Default)]
pub(crate) struct Touches {
    /// Of each record the id that it speaks for, and whether it is an operation.
    spoken: Vec<(u32, bool)>,
    /// Retracts, and what each retracts.
    retracts: Vec<(u32, u32)>,
    /// Ids, and records that touch them, in the order of the log.
    found: Vec<(IdNo, u32)>,
}

impl Touches {
    /// Takes the next record.
    pub(crate) fn see(&mut self, leaf: &RecordLeaf) {
        let seq = self.spoken.len() as u32; // MAX_RECORDS bounds it
        let mut ids = leaf.names();
        if !leaf.erases().is_empty() {
            let erased = leaf.erases().iter().filter_map(|record| self.spoken.get(*record as usize));
            ids.extend(erased.filter(|(id, _)| *id != NONE).map(|(id, _)| IdNo(*id)));
            ids.sort_unstable();
            ids.dedup();
        }
        self.found.extend(ids.into_iter().map(|id| (id, seq)));
        if let Some(AskedVerb::Retract(target)) = leaf.body.verb() {
            self.retracts.extend(u32::try_from(*target).map(|target| (seq, target)));
        }
        self.spoken.push((leaf.speaks_for().map_or(NONE, |id| id.0), leaf.body.head().is_some()));
    }

    /// H1, from the end: a retract may be retracted itself, and speaks for the same id as the operation that it retracts. Of several the
    /// first that stands.
    fn retracted(&self) -> BTreeMap<u32, u32> {
        let mut by = BTreeMap::new();
        for (seq, target) in self.retracts.iter().rev() {
            let of = |record: u32| self.spoken.get(record as usize).filter(|(_, operation)| *operation);
            if of(*target).is_some() && of(*target) == of(*seq) && !by.contains_key(seq) {
                by.insert(*target, *seq);
            }
        }
        by
    }

    /// By id, for this number of ids.
    pub(crate) fn lists(self, ids: usize) -> TouchLists {
        let retracted = self.retracted();
        let mut begins = vec![0; ids + 1];
        self.found.iter().for_each(|(id, _)| begins[id.index() + 1] += 1);
        for id in 0..ids {
            begins[id + 1] += begins[id];
        }
        let (mut next, mut touches) =
            (begins.clone(), vec![Touch { seq: 0, retracted_by: NONE }; self.found.len()]);
        for (id, seq) in self.found {
            let retracted_by = retracted.get(&seq).copied().unwrap_or(NONE);
            touches[next[id.index()]] = Touch { seq, retracted_by };
            next[id.index()] += 1;
        }
        TouchLists { touches, begins }
    }
}

/// The records that touch each id, in the order of the log.
pub(crate) struct TouchLists {
    touches: Vec<Touch>,
    /// Where the list of each id begins, and where the last ends.
    begins: Vec<usize>,
}

impl TouchLists {
    pub(crate) fn of(&self, id: IdNo) -> &[Touch] {
        &self.touches[self.begins[id.index()]..self.begins[id.index() + 1]]
    }
}
