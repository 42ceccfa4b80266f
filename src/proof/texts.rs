//! The index of texts: a compressed binary Merkle trie, whose place for a text is a keyed hash of it. Under one root a text has one place: it
//! leads to the id that has the text, or to an id of another text, and then no id has it.

use sha2::{Digest as _, Sha256};

use crate::log::frame::SALT_BYTES;
use crate::model::id::LedgerId;
use crate::proof::tree::Hash;

const CONTEXT: &str = "identity-ledger 2026-11-29 v1 index of texts";

/// Finds the places of one ledger's texts.
pub(crate) struct Places {
    key: Hash,
}

impl Places {
    pub(crate) fn of(ledger: LedgerId) -> Places {
        Places { key: blake3::derive_key(CONTEXT, ledger.0.as_bytes()) }
    }

    pub(crate) fn place(&self, text: &str) -> Hash {
        *blake3::keyed_hash(&self.key, text.as_bytes()).as_bytes()
    }
}

/// What stands at a text's place: the number of its id, hidden by the salt of its definition from those who guess the text.
pub(crate) fn sealed_number(salt: &[u8; SALT_BYTES], id: u32) -> Hash {
    Sha256::new().chain_update(salt).chain_update(id.to_le_bytes()).finalize().into()
}

/// A leaf: its place, and what stands there.
pub(crate) type TextLeaf = (Hash, Hash);

/// A way through the trie, from a leaf to the root: which bit of the place decides at each node, and the hash of the other side.
pub(crate) type Turns = Vec<(u8, Hash)>;

fn leaf_hash((place, value): &TextLeaf) -> Hash {
    Sha256::new().chain_update([0]).chain_update(place).chain_update(value).finalize().into()
}

fn node_hash(bit: u8, [left, right]: &[Hash; 2]) -> Hash {
    Sha256::new().chain_update([1, bit]).chain_update(left).chain_update(right).finalize().into()
}

/// A bit of a place; the first is the highest of its first byte.
fn goes_right(place: &Hash, bit: u8) -> bool {
    place[usize::from(bit / 8)] & (0x80 >> (bit % 8)) != 0
}

/// The first bit in which two places differ.
fn first_difference(a: &Hash, b: &Hash) -> Option<u8> {
    let (at, differ) = a.iter().zip(b).map(|(a, b)| a ^ b).enumerate().find(|(_, differ)| *differ != 0)?;
    Some((8 * at) as u8 + differ.leading_zeros() as u8) // of 256 bits
}

/// The trie. Its nodes follow from its leaves.
pub(crate) struct TextTrie {
    /// Ascending by place.
    leaves: Vec<TextLeaf>,
}

impl TextTrie {
    pub(crate) fn of(mut leaves: Vec<TextLeaf>) -> TextTrie {
        leaves.sort_unstable();
        leaves.dedup_by_key(|leaf| leaf.0);
        TextTrie { leaves }
    }

    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(crate) fn root(&self) -> Hash {
        if self.leaves.is_empty() { Sha256::digest([]).into() } else { subtree(&self.leaves, None) }
    }

    /// Where the way of a place ends, and that way; `None` in an empty trie. The place is taken if the leaf's is the same.
    pub(crate) fn find(&self, place: &Hash) -> Option<(TextLeaf, Turns)> {
        let mut way = Way { place, leaf: *self.leaves.first()?, turns: Turns::new() };
        subtree(&self.leaves, Some(&mut way));
        Some((way.leaf, way.turns))
    }
}

struct Way<'a> {
    place: &'a Hash,
    leaf: TextLeaf,
    turns: Turns,
}

/// The hash over leaves that lie together, at least one; notes the way through them. As deep as places have bits, at most.
fn subtree(leaves: &[TextLeaf], way: Option<&mut Way<'_>>) -> Hash {
    let (first, last) = (&leaves[0], &leaves[leaves.len() - 1]);
    let Some(bit) = first_difference(&first.0, &last.0) else {
        if let Some(way) = way {
            way.leaf = *first;
        }
        return leaf_hash(first);
    };
    let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !goes_right(&leaf.0, bit)));
    let hashes = match way {
        None => [subtree(left, None), subtree(right, None)],
        Some(way) if goes_right(way.place, bit) => {
            let hashes = [subtree(left, None), subtree(right, Some(way))];
            way.turns.push((bit, hashes[0]));
            hashes
        }
        Some(way) => {
            let hashes = [subtree(left, Some(way)), subtree(right, None)];
            way.turns.push((bit, hashes[1]));
            hashes
        }
    };
    node_hash(bit, &hashes)
}

/// The root to which the way of a place leads from a leaf; `None` if it does not lead there.
pub(crate) fn root_by_way(place: &Hash, leaf: &TextLeaf, turns: &[(u8, Hash)]) -> Option<Hash> {
    let downwards = turns.is_sorted_by(|lower, upper| lower.0 > upper.0);
    let agrees = turns.iter().all(|(bit, _)| goes_right(place, *bit) == goes_right(&leaf.0, *bit));
    (downwards && agrees).then(|| {
        turns.iter().fold(leaf_hash(leaf), |hash, (bit, beside)| match goes_right(place, *bit) {
            true => node_hash(*bit, &[*beside, hash]),
            false => node_hash(*bit, &[hash, *beside]),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::of(LedgerId(uuid::Uuid::from_u128(7)))
    }

    fn trie(ids: u32) -> TextTrie {
        let leaf = |id: u32| (places().place(&format!("id {id}")), sealed_number(&[id as u8; 16], id));
        TextTrie::of((0..ids).map(leaf).collect())
    }

    #[test]
    fn every_text_has_one_way_and_it_leads_to_the_root() {
        for ids in 1..70 {
            let (trie, root) = (trie(ids), trie(ids).root());
            assert_eq!(trie.len(), ids as usize);
            for id in 0..ids + 40 {
                let place = places().place(&format!("id {id}"));
                let (leaf, turns) = trie.find(&place).unwrap();
                assert_eq!(leaf.0 == place, id < ids, "{id} of {ids}");
                assert_eq!(root_by_way(&place, &leaf, &turns), Some(root));
                if id < ids {
                    assert_eq!(leaf.1, sealed_number(&[id as u8; 16], id));
                }
                // Nothing else stands at the end of that way, and no other way leads there.
                let other = (leaf.0, sealed_number(&[0; 16], 1_000));
                assert_ne!(root_by_way(&place, &other, &turns), Some(root));
                for turn in 0..turns.len() {
                    let mut fewer = turns.clone();
                    fewer.remove(turn);
                    assert_ne!(root_by_way(&place, &leaf, &fewer), Some(root));
                    let mut moved = turns.clone();
                    moved[turn].0 ^= 1;
                    assert_ne!(root_by_way(&place, &leaf, &moved), Some(root));
                    let mut elsewhere = place;
                    elsewhere[usize::from(turns[turn].0 / 8)] ^= 0x80 >> (turns[turn].0 % 8);
                    assert_eq!(root_by_way(&elsewhere, &leaf, &turns), None);
                }
            }
        }
        assert!(trie(0).find(&[0; 32]).is_none());
    }

    /// The root depends on what stands in the trie, and not on the order in which it came.
    #[test]
    fn a_trie_is_its_leaves() {
        let leaves = trie(50).leaves;
        let backwards: Vec<TextLeaf> = leaves.iter().rev().copied().collect();
        assert_eq!(TextTrie::of(backwards).root(), trie(50).root());
        let mut roots: Vec<Hash> = (0..50).map(|ids| trie(ids).root()).collect();
        roots.sort_unstable();
        roots.dedup();
        assert_eq!(roots.len(), 50);
    }

    #[test]
    fn bits_are_counted_from_the_highest() {
        let mut a = [0; 32];
        a[1] = 0x20;
        assert_eq!(first_difference(&a, &[0; 32]), Some(10));
        assert!(goes_right(&a, 10) && !goes_right(&a, 9));
        assert_eq!(first_difference(&a, &a), None);
        let mut last = [0; 32];
        last[31] = 1;
        assert_eq!(first_difference(&last, &[0; 32]), Some(255));
    }
}
