//! The leaves of the two trees: a record by itself, and what an id came to. Set in stone: `docs/proofs.md`.

use crate::fold::{Property, State};
use crate::log::body::Body;
use crate::log::decode;
use crate::log::encode::BodyWriter;
use crate::model::time::Timestamp;
use crate::proof::tree::{Hash, Tree, leaf_hash};

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

/// What an id came to: whose it is, said by the lowest number among that person's ids; and at that number also the person's properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdLeaf {
    /// [`NONE`] if it has no person.
    pub(crate) person: u32,
    /// How many, and the root of the tree over them.
    pub(crate) properties: Option<(u32, Hash)>,
}

impl IdLeaf {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.person.to_le_bytes().to_vec();
        if let Some((count, root)) = self.properties {
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&root);
        }
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<IdLeaf> {
        let (person, rest) = bytes.split_first_chunk::<4>()?;
        let person = u32::from_le_bytes(*person);
        let properties = match rest.split_first_chunk::<4>() {
            None => None,
            Some((count, root)) => Some((u32::from_le_bytes(*count), root.try_into().ok()?)),
        };
        let leaf = IdLeaf { person, properties };
        (leaf.to_bytes() == bytes).then_some(leaf)
    }

    /// Of every id, in their order.
    pub(crate) fn all(state: &State) -> Vec<IdLeaf> {
        let mut leaves = vec![IdLeaf { person: NONE, properties: None }; state.ids().len()];
        for view in state.persons() {
            let ids = state.ids_of(view.number);
            let Some(first) = ids.iter().min() else { continue };
            ids.iter().for_each(|id| leaves[id.index()].person = first.0);
            let properties = IdLeaf::tree(view.properties);
            leaves[first.index()].properties = Some((properties.leaves() as u32, properties.root())); // a list in memory
        }
        leaves
    }

    /// The tree over a person's properties, which are in the order of their keys.
    pub(crate) fn tree(properties: &[Property]) -> Tree {
        Tree::of(properties.iter().map(|property| leaf_hash(&property_leaf(*property))).collect())
    }
}

/// A property: its key, the record that won it, and the value's place among that record's values.
pub(crate) fn property_leaf(Property { key, seq, place }: Property) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..4].copy_from_slice(&key.0.to_le_bytes());
    bytes[4..8].copy_from_slice(&seq.to_le_bytes());
    bytes[8..].copy_from_slice(&place.to_le_bytes());
    bytes
}

/// Key, record and place of a property's leaf.
pub(crate) fn read_property(bytes: &[u8]) -> Option<(u32, u32, u16)> {
    let bytes: [u8; 10] = bytes.try_into().ok()?;
    let [a, b, c, d, e, f, g, h, i, j] = bytes;
    Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u16::from_le_bytes([i, j])))
}
