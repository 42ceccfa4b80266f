//! Where things stand in the picture: a function of nodes and edges, without chance and without floating time.
//!
//! A tree is chosen first, by the best edges and the lowest record numbers; it is drawn so that no two nodes touch, and what
//! is not in the tree is an arc. Two ways of standing: *tidy*, in columns, for room at both sides; *outline*, each node on a
//! line of its own, for narrow screens and for trees too deep for columns.

use std::collections::VecDeque;

/// One edge as far as standing is concerned: its ends, and how gladly it is a branch of the tree, best first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    pub(super) ends: [usize; 2],
    pub(super) rank: u8,
    pub(super) seq: u64,
}

/// A place, in pixels, of a node's upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) x: i32,
    pub(super) y: i32,
}

/// Where everything stands.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    /// For each tie: whether it is a branch, and if so, which end hangs on the other.
    pub(super) branches: Vec<Option<Branch>>,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) kind: Kind,
}

/// A tie that is part of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) parent: usize,
    pub(super) child: usize,
}

/// How nodes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tidy,
    Outline,
}

/// A node's size.
pub(super) const NODE: (i32, i32) = (204, 44);
/// From column to column: room for a record's number between.
const COLUMN: i32 = NODE.0 + 112;
/// From line to line.
const LINE: i32 = NODE.1 + 16;
/// How far an outline goes in for each step, at most.
const INDENT: i32 = 34;
/// Columns up to which the tidy way is readable: what is wider than two screens is not.
const MOST_COLUMNS: usize = 7;
/// Lines up to which it is: of a taller one a node and what hangs on it are not seen together.
const MOST_LINES: usize = 20;
/// How wide the indents of an outline may become together.
const INDENTS: i32 = 1_600;
/// Empty space on each side of the drawing.
pub(super) const MARGIN: i32 = 20;
/// Room for arcs at the right.
pub(super) const ARCS: i32 = 120;

/// The tree of a graph.
struct Tree {
    /// Roots in order; more than one where nothing connects.
    roots: Vec<usize>,
    children: Vec<Vec<usize>>,
    depth: Vec<usize>,
    branches: Vec<Option<Branch>>,
}

/// Grows the tree from `root`: always by the best tie that leads to a new node, the nearest first, then the earliest.
fn tree(nodes: usize, ties: &[Tie], root: usize) -> Tree {
    let mut at: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (number, tie) in ties.iter().enumerate() {
        at[tie.ends[0]].push(number);
        at[tie.ends[1]].push(number);
    }
    for list in &mut at {
        list.sort_by_key(|number| (ties[*number].seq, *number));
    }
    let mut tree = Tree {
        roots: Vec::new(),
        children: vec![Vec::new(); nodes],
        depth: vec![0; nodes],
        branches: vec![None; ties.len()],
    };
    let mut placed = vec![false; nodes];
    let ranks = ties.iter().map(|tie| tie.rank).max().unwrap_or(0);
    let starts = std::iter::once(root).chain(0..nodes);
    for start in starts {
        if start >= nodes || std::mem::replace(&mut placed[start], true) {
            continue;
        }
        tree.roots.push(start);
        // One queue a rank: what a better tie reaches is reached by it.
        let mut queues: Vec<VecDeque<usize>> = vec![VecDeque::from([start]); usize::from(ranks) + 1];
        while let Some(rank) = queues.iter().position(|queue| !queue.is_empty()) {
            let from = queues[rank].pop_front().expect("a queue that is not empty");
            for number in &at[from] {
                let tie = &ties[*number];
                let to = if tie.ends[0] == from { tie.ends[1] } else { tie.ends[0] };
                if usize::from(tie.rank) != rank || std::mem::replace(&mut placed[to], true) {
                    continue;
                }
                tree.branches[*number] = Some(Branch { parent: from, child: to });
                tree.children[from].push(to);
                tree.depth[to] = tree.depth[from] + 1;
                queues.iter_mut().for_each(|queue| queue.push_back(to));
            }
        }
    }
    tree
}

/// Lays out `nodes` nodes, the tree beginning at `root`.
pub(super) fn layout(nodes: usize, ties: &[Tie], root: usize, wanted: Kind) -> Layout {
    let tree = tree(nodes, ties, root);
    let deepest = tree.depth.iter().copied().max().unwrap_or(0);
    let leaves = tree.children.iter().filter(|children| children.is_empty()).count();
    let kind = if deepest >= MOST_COLUMNS || leaves > MOST_LINES { Kind::Outline } else { wanted };
    let mut places = match kind {
        Kind::Tidy => tidy(&tree),
        Kind::Outline => {
            let steps = i32::try_from(deepest).unwrap_or(i32::MAX).max(1);
            outline(
                &tree,
                (INDENTS / steps).clamp(4, if wanted == Kind::Tidy { INDENT } else { INDENT - 10 }),
            )
        }
    };
    let has_arcs = tree.branches.iter().any(Option::is_none);
    places.iter_mut().for_each(|place| *place = Place { x: place.x + MARGIN, y: place.y + MARGIN });
    let right = places.iter().map(|place| place.x + NODE.0).max().unwrap_or(0);
    let low = places.iter().map(|place| place.y + NODE.1).max().unwrap_or(0);
    Layout {
        places,
        branches: tree.branches,
        width: right + if has_arcs { ARCS } else { MARGIN },
        height: low + MARGIN,
        kind,
    }
}

/// Nodes in the order in which they are read: a node, then what hangs on it.
fn reading_order(tree: &Tree) -> Vec<usize> {
    let mut order = Vec::new();
    let mut stack: Vec<usize> = tree.roots.iter().rev().copied().collect();
    while let Some(node) = stack.pop() {
        order.push(node);
        stack.extend(tree.children[node].iter().rev());
    }
    order
}

/// Depth is the column; a leaf takes the next line, and a node stands in the middle of what hangs on it.
fn tidy(tree: &Tree) -> Vec<Place> {
    let mut places = vec![Place::default(); tree.depth.len()];
    let order = reading_order(tree);
    let mut next = 0;
    for node in &order {
        places[*node].x = COLUMN * i32::try_from(tree.depth[*node]).unwrap_or(i32::MAX / COLUMN);
        if tree.children[*node].is_empty() {
            places[*node].y = next;
            next += LINE;
        }
    }
    for node in order.iter().rev() {
        if let (Some(first), Some(last)) = (tree.children[*node].first(), tree.children[*node].last()) {
            places[*node].y = (places[*first].y + places[*last].y) / 2;
        }
    }
    places
}

/// Each node on the next line, a little further in than what it hangs on.
fn outline(tree: &Tree, indent: i32) -> Vec<Place> {
    let mut places = vec![Place::default(); tree.depth.len()];
    for (line, node) in (0..).zip(reading_order(tree)) {
        let depth = i32::try_from(tree.depth[node]).unwrap_or(i32::MAX / INDENT);
        places[node] = Place { x: depth * indent, y: line * LINE };
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tie(a: usize, b: usize, rank: u8, seq: u64) -> Tie {
        Tie { ends: [a, b], rank, seq }
    }

    fn touch(a: Place, b: Place) -> bool {
        (a.x - b.x).abs() < NODE.0 && (a.y - b.y).abs() < NODE.1
    }

    #[test]
    fn better_ties_are_branches_and_the_rest_are_arcs() {
        let ties = [tie(0, 1, 2, 1), tie(0, 2, 0, 5), tie(2, 1, 0, 9), tie(1, 0, 0, 20)];
        let layout = layout(3, &ties, 0, Kind::Tidy);
        let branch = |parent, child| Some(Branch { parent, child });
        assert_eq!(layout.branches, [None, branch(0, 2), None, branch(0, 1)]);
    }

    #[test]
    fn no_two_nodes_touch_in_any_tree_either_way() {
        for seed in 1..60_u64 {
            let nodes = 2 + (seed * 7 % 90) as usize;
            let mut number = seed;
            let mut next = move || {
                number =
                    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                number >> 33
            };
            // Stars, chains and what is between; some nodes without any tie; some ties that close circles.
            let near = 1 + seed % 9;
            let mut ties: Vec<Tie> = (1..nodes as u64)
                .filter(|to| to % 11 != 0)
                .map(|to| tie((to - 1 - next() % near.min(to)) as usize, to as usize, (to % 3) as u8, to))
                .collect();
            ties.extend(
                (0..5).map(|seq| tie(next() as usize % nodes, next() as usize % nodes, 1, 1_000 + seq)),
            );
            for kind in [Kind::Tidy, Kind::Outline] {
                let layout = layout(nodes, &ties, nodes / 2, kind);
                let again = super::layout(nodes, &ties, nodes / 2, kind);
                assert_eq!(layout.places, again.places);
                for (a, place) in layout.places.iter().enumerate() {
                    assert!(place.x >= 0 && place.x + NODE.0 <= layout.width);
                    assert!(place.y >= 0 && place.y + NODE.1 <= layout.height);
                    let touching = layout.places[..a].iter().any(|other| touch(*place, *other));
                    assert!(!touching, "seed {seed}, {kind:?}, node {a} of {nodes}");
                }
            }
        }
    }

    #[test]
    fn a_tree_too_deep_for_columns_is_an_outline() {
        let chain = |nodes: usize| (1..nodes).map(|to| tie(to - 1, to, 0, to as u64)).collect::<Vec<_>>();
        assert_eq!(layout(MOST_COLUMNS, &chain(MOST_COLUMNS), 0, Kind::Tidy).kind, Kind::Tidy);
        assert_eq!(layout(MOST_COLUMNS + 1, &chain(MOST_COLUMNS + 1), 0, Kind::Tidy).kind, Kind::Outline);
        let deep = layout(400, &chain(400), 0, Kind::Tidy);
        assert!(deep.width < INDENTS + 400, "{}", deep.width);
    }

    #[test]
    fn a_star_too_wide_for_one_look_is_an_outline() {
        let star = |leaves: usize| (1..=leaves).map(|to| tie(0, to, 0, to as u64)).collect::<Vec<_>>();
        assert_eq!(layout(MOST_LINES + 1, &star(MOST_LINES), 0, Kind::Tidy).kind, Kind::Tidy);
        assert_eq!(layout(MOST_LINES + 2, &star(MOST_LINES + 1), 0, Kind::Tidy).kind, Kind::Outline);
    }

    #[test]
    fn nothing_at_all_can_be_laid_out() {
        assert_eq!(layout(0, &[], 0, Kind::Tidy).places, []);
    }
}
