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

/// The root over the hashes of leaves.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The hashes beside the way from a leaf to the root, from the leaf on.
pub(crate) fn path(mut leaves: &[Hash], mut index: usize) -> Vec<Hash> {
    let mut path = Vec::new();
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    path
}

/// How many of two or more leaves stand left of the root: the largest power of two below their number.
fn split(leaves: usize) -> usize {
    1 << (leaves - 1).ilog2()
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
        (0..leaves).map(|leaf| leaf.to_le_bytes().to_vec()).collect()
    }

    #[test]
    fn every_leaf_leads_to_the_root_and_to_no_other_place() {
        for size in 1..70_usize {
            let data = data(size);
            let hashes: Vec<Hash> = data.iter().map(|data| leaf_hash(data)).collect();
            for index in 0..size {
                let path = path(&hashes, index);
                let by =
                    |leaf: usize, at: usize, size: usize| root_by(&data[leaf], at as u64, size as u64, &path);
                assert_eq!(by(index, index, size), Some(root(&hashes)), "{index} of {size}");
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(by(index, other, size), Some(root(&hashes)));
                }
                let longer: Vec<Hash> = path.iter().copied().chain([[0; 32]]).collect();
                assert_ne!(root_by(&data[index], index as u64, size as u64, &longer), Some(root(&hashes)));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(
                        root_by(&data[index], index as u64, size as u64, shorter),
                        Some(root(&hashes))
                    );
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
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let hex = |hash: Hash| hash.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(root(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(root(&hashes)), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
