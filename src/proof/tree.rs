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

/// How many leaves, and the root over them: without the tree between them.
pub(crate) fn sum(mut level: Vec<Hash>) -> (u32, Hash) {
    let leaves = level.len() as u32; // MAX_RECORDS bounds every list
    while level.len() > 1 {
        for at in 0..level.len() / 2 {
            level[at] = node_hash(&level[2 * at], &level[2 * at + 1]);
        }
        let (half, odd) = (level.len() / 2, level.len() % 2);
        level[half] = level[half * 2 + odd - 1]; // where the number is even, it is cut off
        level.truncate(half + odd);
    }
    (leaves, level.first().copied().unwrap_or_else(|| Sha256::digest([]).into()))
}

impl Tree {
    /// The root over the first leaves.
    pub(crate) fn root_of_first(&self, leaves: usize) -> Hash {
        let whole = (0..).zip(&self.levels).filter(|(height, _)| leaves >> height & 1 == 1);
        let nodes = whole.map(|(height, level)| level[(leaves >> height) - 1]);
        nodes.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The hashes that lead from the root over the first `leaves`, at least one, to this root (RFC 6962, section 2.1.2).
    pub(crate) fn consistency(&self, leaves: usize) -> Vec<Hash> {
        let (mut path, mut begin, mut end, mut first, mut whole) =
            (Vec::new(), 0, self.levels[0].len(), leaves, true);
        // From the root down to where the earlier tree ends; the path is read from there up.
        while first < end - begin {
            let half = (end - begin).next_power_of_two() / 2;
            if first <= half {
                path.push(self.over(begin + half, end));
                end = begin + half;
            } else {
                path.push(self.over(begin, begin + half));
                (begin, first, whole) = (begin + half, first - half, false);
            }
        }
        if !whole {
            path.push(self.over(begin, end));
        }
        path.reverse();
        path
    }

    /// The node over the leaves from `begin` to `end`: one of the tree's own, and if it is ragged, its level's last.
    fn over(&self, begin: usize, end: usize) -> Hash {
        let height = (end - begin).next_power_of_two().trailing_zeros() as usize;
        self.levels[height][begin >> height]
    }
}

/// Whether a tree of `size` leaves under `root` begins with the `first` leaves, at least one, under `earlier`.
pub(crate) fn continues(first: u64, size: u64, earlier: &Hash, root: &Hash, path: &[Hash]) -> bool {
    if first == 0 || first >= size {
        return first == size && first > 0 && earlier == root && path.is_empty();
    }
    let whole = first.is_power_of_two().then_some(earlier); // then it is a node of the later tree
    let mut path = whole.into_iter().chain(path);
    let Some(begin) = path.next() else { return false };
    let up = (first - 1).trailing_ones();
    let (mut at, mut last) = ((first - 1) >> up, (size - 1) >> up);
    let (mut old, mut new) = (*begin, *begin);
    for beside in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node_hash(beside, &old), node_hash(beside, &new));
            let up = if at & 1 == 1 || at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> up, last >> up);
        } else {
            new = node_hash(&new, beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *earlier && new == *root
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
            let leaves: Vec<Hash> = data.iter().map(|data| leaf_hash(data)).collect();
            let tree = Tree::of(leaves.clone());
            assert_eq!(sum(leaves), (size as u32, tree.root()));
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

    #[test]
    fn a_tree_continues_each_of_its_beginnings_and_nothing_else() {
        let trees: Vec<Tree> =
            (0..40).map(|size| Tree::of(data(size).iter().map(|data| leaf_hash(data)).collect())).collect();
        for (size, tree) in trees.iter().enumerate().skip(1) {
            for (first, earlier) in trees.iter().enumerate().take(size + 1).skip(1) {
                let path = tree.consistency(first);
                let by = |first: usize, size: usize, earlier: &Hash, path: &[Hash]| {
                    continues(first as u64, size as u64, earlier, &tree.root(), path)
                };
                assert_eq!(tree.root_of_first(first), earlier.root());
                assert!(by(first, size, &earlier.root(), &path), "{first} of {size}");
                for (other, root) in
                    trees.iter().map(Tree::root).enumerate().filter(|(other, _)| *other != first)
                {
                    assert!(!by(first, size, &root, &path));
                    assert!(!by(other, size, &earlier.root(), &path), "{first} as {other} of {size}");
                }
                for at in 0..path.len() {
                    let mut fewer = path.clone();
                    fewer.remove(at);
                    assert!(!by(first, size, &earlier.root(), &fewer));
                }
                let more: Vec<Hash> = path.iter().copied().chain([[0; 32]]).collect();
                assert!(!by(first, size, &earlier.root(), &more));
            }
        }
    }

    /// Another implementation of RFC 6962 has the same roots, and makes the same paths byte by byte.
    #[test]
    fn roots_and_paths_are_those_of_another_implementation() {
        let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, Vec<u8>>::new();
        for size in 1..130_usize {
            let data = data(size);
            theirs.push(data[size - 1].clone());
            let ours = Tree::of(data.iter().map(|data| leaf_hash(data)).collect());
            assert_eq!(ours.root()[..], theirs.root().as_bytes()[..]);
            for index in 0..size {
                let path = theirs.prove_inclusion(index);
                assert_eq!(ours.path(index).concat(), path.as_bytes(), "leaf {index} of {size}");
            }
            for first in 1..size {
                let path = theirs.prove_consistency(size - first);
                assert_eq!(ours.consistency(first).concat(), path.as_bytes(), "{first} of {size}");
            }
        }
    }

    /// From the examples of RFC 6962's own reference implementation.
    #[test]
    fn roots_and_paths_are_those_of_the_rfc() {
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
        let path = |first: usize, size: usize| {
            let tree = Tree::of(leaves[..size].iter().map(|leaf| leaf_hash(leaf)).collect());
            tree.consistency(first).into_iter().map(hex).collect::<Vec<String>>()
        };
        assert_eq!(
            path(6, 8),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
            ]
        );
        assert_eq!(
            path(2, 5),
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
            ]
        );
    }
}
