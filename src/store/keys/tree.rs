//! A tree of keys: one 32-byte root gives 2^32 keys, and any of them can be destroyed so that the others remain and nothing that
//! remains gives it.
//!
//! The tree of Goldreich, Goldwasser and Micali ("How to construct random functions", 1986), punctured: a node's two children are
//! hashes of it, a leaf is a key. To destroy a leaf, the nodes on the way to it are replaced by those beside the way. What is kept
//! grows with what is destroyed, not with the ledger.

use std::collections::BTreeMap;

use crate::log::digest::{Digest, Hasher, Purpose};

/// Levels below the root.
const DEPTH: u8 = 32;
/// Leaves of snapshots; those below are records' items, of which there are at most 2^30.
pub(super) const SNAPSHOTS: u32 = 1 << 31;

pub(super) type Key = [u8; 32];

/// A node at its level: it gives the keys of the 2^(32 - depth) leaves from its own number on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) depth: u8,
    pub(super) key: Key,
}

/// The nodes that are left, by their first leaf. No two give the same leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<u32, Node>);

/// The last leaf below a node.
fn last_of(start: u32, depth: u8) -> u32 {
    start | u32::MAX.checked_shr(depth.into()).unwrap_or(0)
}

fn child(key: &Key, bit: bool) -> Key {
    let Digest(key) = Hasher::new(Purpose::KeyTree).update(key).update(&[u8::from(bit)]).finish();
    key
}

impl Tree {
    pub(super) fn new(root: Key) -> Tree {
        Tree(BTreeMap::from([(0, Node { depth: 0, key: root })]))
    }

    /// A tree of these nodes; `None` if they are not ascending, or one is at no place of a tree.
    pub(super) fn of(nodes: impl IntoIterator<Item = (u32, Node)>) -> Option<Tree> {
        let mut tree = BTreeMap::new();
        let mut free = Some(0);
        for (start, node) in nodes {
            let last = last_of(start, node.depth);
            let is_aligned =
                node.depth <= DEPTH && (last - start).count_ones() == u32::from(DEPTH - node.depth);
            if !is_aligned || free.is_none_or(|free| start < free) {
                return None;
            }
            free = last.checked_add(1);
            tree.insert(start, node);
        }
        Some(Tree(tree))
    }

    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = (u32, Node)> {
        self.0.iter().map(|(start, node)| (*start, *node))
    }

    /// The node that gives a leaf, if it is not destroyed.
    fn above(&self, leaf: u32) -> Option<(u32, Node)> {
        let (start, node) = self.0.range(..=leaf).next_back()?;
        (leaf <= last_of(*start, node.depth)).then_some((*start, *node))
    }

    /// Whether a leaf between these two, both included, is destroyed.
    pub(super) fn lacks_any(&self, mut from: u32, to: u32) -> bool {
        while let Some((start, node)) = self.above(from) {
            let last = last_of(start, node.depth);
            if last >= to {
                return false;
            }
            from = last + 1;
        }
        true
    }

    /// The key of a leaf, if it is not destroyed. `path` is a way walked before, of this tree as it is: neighbours share most of it.
    pub(super) fn key(&self, leaf: u32, path: &mut Path) -> Option<Key> {
        let (start, node) = self.above(leaf)?;
        let shared = if path.from == Some(start) { (path.leaf ^ leaf).leading_zeros() as u8 } else { 0 };
        path.keys[usize::from(node.depth)] = node.key;
        (path.from, path.leaf) = (Some(start), leaf);
        for depth in shared.max(node.depth)..DEPTH {
            let bit = leaf >> (DEPTH - 1 - depth) & 1 == 1;
            path.keys[usize::from(depth) + 1] = child(&path.keys[usize::from(depth)], bit);
        }
        Some(path.keys[usize::from(DEPTH)])
    }

    /// Destroys the leaves between these two, both included.
    pub(super) fn destroy(&mut self, from: u32, to: u32) {
        let first = self.above(from).map_or(from, |(start, _)| start);
        let hit: Vec<u32> = self.0.range(first..=to).map(|(start, _)| *start).collect();
        for start in hit {
            let node = self.0.remove(&start).expect("it was there just now");
            self.keep_beside(start, node, from, to);
        }
    }

    /// Keeps of a node what gives none of these leaves.
    fn keep_beside(&mut self, start: u32, node: Node, from: u32, to: u32) {
        let last = last_of(start, node.depth);
        if last < from || to < start {
            self.0.insert(start, node);
        } else if start < from || to < last {
            let depth = node.depth + 1; // a leaf is within or without
            for (bit, start) in [(false, start), (true, last_of(start, depth) + 1)] {
                self.keep_beside(start, Node { depth, key: child(&node.key, bit) }, from, to);
            }
        }
    }
}

/// The keys on the way from a node to a leaf.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// The node it begins with; `None` before any was walked.
    from: Option<u32>,
    leaf: u32,
    keys: [Key; DEPTH as usize + 1],
}

impl Path {
    pub(super) fn new() -> Path {
        Path { from: None, leaf: 0, keys: [[0; 32]; DEPTH as usize + 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(tree: &Tree, leaf: u32) -> Option<Key> {
        tree.key(leaf, &mut Path::new())
    }

    #[test]
    fn what_is_destroyed_is_gone_and_nothing_else_changes() {
        let whole = Tree::new([7; 32]);
        for (from, to) in
            [(0, 0), (5, 5), (5, 9), (0, u32::MAX), (u32::MAX, u32::MAX), (1 << 31, u32::MAX), (3, 1 << 31)]
        {
            let mut tree = whole.clone();
            tree.destroy(from, to);
            for leaf in [0, 1, 4, 5, 6, 9, 10, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX]
            {
                let expected = if (from..=to).contains(&leaf) { None } else { key(&whole, leaf) };
                assert_eq!(key(&tree, leaf), expected, "leaf {leaf} without {from} to {to}");
            }
            assert_eq!(Tree::of(tree.nodes()), Some(tree.clone()), "its nodes are in order");
            assert!(tree.lacks_any(from, to) && tree.lacks_any(0, u32::MAX));
            assert!(to == u32::MAX || !tree.lacks_any(to + 1, u32::MAX));
        }
        assert!(!whole.lacks_any(0, u32::MAX));
    }

    #[test]
    fn one_leaf_costs_a_node_a_level() {
        let mut tree = Tree::new([7; 32]);
        tree.destroy(12_345, 12_345);
        assert_eq!(tree.nodes().len(), 32);
        tree.destroy(12_345, 12_345);
        assert_eq!(tree.nodes().len(), 32, "what is gone is not destroyed again");
        tree.destroy(12_344, 12_344);
        assert_eq!(tree.nodes().len(), 31, "neighbours share their way");
    }

    #[test]
    fn nodes_that_overlap_or_lie_askew_are_no_tree() {
        let node = |depth| Node { depth, key: [1; 32] };
        assert!(Tree::of([(0, node(1)), (1 << 31, node(1))]).is_some());
        assert!(Tree::of([(0, node(0)), (1 << 31, node(1))]).is_none(), "the first gives all leaves");
        assert!(Tree::of([(1 << 31, node(1)), (0, node(1))]).is_none(), "descending");
        assert!(Tree::of([(1, node(1))]).is_none(), "no node of that level begins there");
        assert!(Tree::of([(0, node(33))]).is_none(), "below the leaves");
        assert!(Tree::of([(u32::MAX, node(32)), (u32::MAX, node(32))]).is_none(), "twice");
    }

    proptest! {
        /// The way that was walked before changes no key, whatever the order and whatever is destroyed.
        #[test]
        fn a_path_is_a_shortcut_and_no_more(
            holes in prop::collection::vec((0u32..300, 0u32..4), 0..5),
            leaves in prop::collection::vec(0u32..300, 1..40),
        ) {
            let mut tree = Tree::new([7; 32]);
            holes.iter().for_each(|(from, more)| tree.destroy(*from, from + more));
            let mut path = Path::new();
            for leaf in leaves {
                prop_assert_eq!(tree.key(leaf, &mut path), key(&tree, leaf));
            }
        }
    }
}
