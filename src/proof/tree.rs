//! Merkle trees of RFC 6962, with SHA-256: other tools and witnesses know them.

use sha2::{Digest as _, Sha256};

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// The hash of a leaf.
pub(crate) fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree, level by level: the hashes of its leaves, then of the nodes above. Where a level has an odd number, its last node stands on the
/// next one too.
pub(crate) struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    pub(crate) fn of(leaves: Vec<Hash>) -> Tree {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                alone => alone[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Tree { levels }
    }

    pub(crate) fn leaves(&self) -> usize {
        self.levels[0].len()
    }

    pub(crate) fn root(&self) -> Hash {
        let root = self.levels.last().and_then(|level| level.first());
        root.copied().unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The hashes beside the way from a leaf to the root, from the leaf on.
    pub(crate) fn path(&self, index: usize) -> Vec<Hash> {
        let beside = |(height, level): (usize, &Vec<Hash>)| level.get((index >> height) ^ 1).copied();
        self.levels.iter().enumerate().filter_map(beside).collect()
    }
}

/// The root to which a leaf and its path lead in a tree of `size` leaves; `None` if the path is not as long as that tree's.
pub(crate) fn root_by(leaf: &[u8], index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf_hash(leaf));
    for beside in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(beside, &hash);
            // Where a level has no right neighbour, the node stands on the next one too.
            let up = if at & 1 == 1 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> up, last >> up);
        } else {
            hash = node_hash(&hash, beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(leaves: usize) -> Vec<Vec<u8>> {
        (0..leaves).map(|leaf| vec![leaf as u8; leaf]).collect()
    }

    #[test]
    fn every_leaf_leads_to_the_root_and_to_no_other_place() {
        for size in 1..70_usize {
            let data = data(size);
            let tree = Tree::of(data.iter().map(|data| leaf_hash(data)).collect());
            for index in 0..size {
                let path = tree.path(index);
                let by =
                    |leaf: usize, at: usize, size: usize| root_by(&data[leaf], at as u64, size as u64, &path);
                assert_eq!(by(index, index, size), Some(tree.root()), "{index} of {size}");
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(by(index, other, size), Some(tree.root()));
                }
                let longer: Vec<Hash> = path.iter().copied().chain([[0; 32]]).collect();
                assert_ne!(root_by(&data[index], index as u64, size as u64, &longer), Some(tree.root()));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_by(&data[index], index as u64, size as u64, shorter), Some(tree.root()));
                }
            }
            assert_eq!(root_by(&[], size as u64, size as u64, &[]), None);
        }
    }

    /// From the examples of RFC 6962's own reference implementation.
    #[test]
    fn roots_are_those_of_the_rfc() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let tree = Tree::of(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
        let hex = |hash: Hash| hash.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(
            hex(Tree::of(Vec::new()).root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(hex(tree.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
