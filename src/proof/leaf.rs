//! What an id came to, and the properties of a person: leaves of trees. Set in stone: `docs/proofs.md`.

use crate::fold::{PersonView, Property, Standing, State};
use crate::log::body::IdNo;
use crate::proof::record::NONE;
use crate::proof::touches::{Touch, TouchLists};
use crate::proof::tree::{Hash, leaf_hash, sum};

/// What an id came to: whose it is, said by the lowest number among that person's ids; which records touch it; and at that lowest number
/// also the person's properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdLeaf {
    /// [`NONE`] if it has no person.
    pub(crate) person: u32,
    /// How many, and the root of the tree over them.
    pub(crate) touches: (u32, Hash),
    /// How many, and the root of the tree over them.
    pub(crate) properties: Option<(u32, Hash)>,
}

impl IdLeaf {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.person.to_le_bytes().to_vec();
        for (count, root) in [self.touches].into_iter().chain(self.properties) {
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&root);
        }
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<IdLeaf> {
        let (person, rest) = bytes.split_first_chunk::<4>()?;
        let person = u32::from_le_bytes(*person);
        let (trees, []) = rest.as_chunks::<36>() else { return None };
        let mut trees =
            trees.iter().map(|[a, b, c, d, root @ ..]| (u32::from_le_bytes([*a, *b, *c, *d]), *root));
        let (touches, properties) = (trees.next()?, trees.next());
        let leaf = IdLeaf { person, touches, properties };
        (leaf.to_bytes() == bytes).then_some(leaf)
    }

    /// Of every id, in their order.
    pub(crate) fn all(state: &State, touches: &TouchLists) -> Vec<IdLeaf> {
        let alone =
            |id: IdNo| IdLeaf { person: NONE, touches: sum(Touch::leaves(touches.of(id))), properties: None };
        let mut leaves: Vec<IdLeaf> = state.ids().map(alone).collect();
        for view in state.persons() {
            let ids = state.ids_of(view.number);
            let Some(first) = ids.iter().min() else { continue };
            ids.iter().for_each(|id| leaves[id.index()].person = first.0);
            leaves[first.index()].properties = Some(sum(IdLeaf::leaves(&view)));
        }
        leaves
    }

    /// The leaves of the tree over a person's properties, which are in the order of their keys.
    pub(crate) fn leaves(view: &PersonView<'_>) -> Vec<Hash> {
        view.standing().map(|standing| leaf_hash(&property_leaf(standing))).collect()
    }
}

/// A property: its key, the record that won it, and the value's place among that record's values; with relative changes (E9), of which no
/// proof shows what they come to, how many there are.
pub(crate) fn property_leaf(Standing { property, deltas }: Standing<'_>) -> Vec<u8> {
    let Property { key, seq, place } = property;
    let mut bytes = [key.0.to_le_bytes(), seq.to_le_bytes()].concat();
    bytes.extend_from_slice(&place.to_le_bytes());
    bytes.extend(deltas.into_iter().flat_map(|deltas| (deltas.list.len() as u32).to_le_bytes())); // MAX_RECORDS bounds it
    bytes
}

/// Key, record and place of a property's leaf; `None` of one with relative changes.
pub(crate) fn read_property(bytes: &[u8]) -> Option<(u32, u32, u16)> {
    let bytes: [u8; 10] = bytes.try_into().ok()?;
    let [a, b, c, d, e, f, g, h, i, j] = bytes;
    Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u16::from_le_bytes([i, j])))
}
