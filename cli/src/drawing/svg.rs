//! The picture as SVG: a document of its own, or the part that a page holds.
//!
//! Colours are plain rules without variables, so that viewers which know little of CSS show them too.

use std::fmt::Write;

use super::layout::{ARCS, Branch, Kind, Layout, MARGIN, NODE, Place, Tie, layout};
use super::text::{counted, escaped, short};
use identity_ledger::graph::{Edge, EdgeKind, Graph, Node, NodeKind};
use identity_ledger::visible;

/// The rules of all that is drawn.
pub(super) const STYLE: &str = include_str!("picture.css");

/// Room for a text beside the icon of a node, in characters.
const NAME: usize = 22;
const TAKES: &str = "a text takes everything";

/// A document of its own, with a headline and a key.
pub(crate) fn document(graph: &Graph) -> String {
    const HEAD: i32 = 58;
    let layout = laid(graph, Kind::Tidy);
    let (drawn, right) = drawing(graph, &layout, "clip");
    let headline = headline(graph);
    let remarks = remarks(graph);
    let key = key(graph);
    let wide = [&headline, &remarks].map(|text| i32::try_from(text.chars().count()).unwrap_or(0) * 8 + 40);
    let width = right.max(360).max(wide.into_iter().max().unwrap_or(0).min(900));
    let (key, key_height) = laid_out(&key, width);
    let height = HEAD + layout.height + key_height;
    let mut out = String::new();
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"28\">{}</text>\n<text class=\"under\" x=\"{MARGIN}\" y=\"46\">{}</text>\n\
         <g transform=\"translate(0 {HEAD})\">\n{}</g>\n<g transform=\"translate({MARGIN} {})\">\n{key}</g>\n</svg>\n",
        escaped(&headline),
        escaped(&headline),
        escaped(&remarks),
        drawn,
        HEAD + layout.height,
    )
    .expect(TAKES);
    out
}

/// What a page holds: nodes and edges, which carry their places in the graph.
pub(super) fn part(graph: &Graph, kind: Kind, class: &str) -> String {
    let layout = laid(graph, kind);
    let (drawn, width) = drawing(graph, &layout, class);
    let height = layout.height;
    format!(
        "<svg class=\"{class}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"group\" \
         aria-label=\"identity graph\">\n{drawn}</svg>\n"
    )
}

fn laid(graph: &Graph, kind: Kind) -> Layout {
    let tie = |edge: &Edge| Tie {
        ends: edge.ends,
        rank: match edge.kind {
            EdgeKind::Made => 0,
            EdgeKind::Again => 1,
            EdgeKind::Spoke => 2,
            EdgeKind::Refused => 3,
            EdgeKind::Correction => 4,
        },
        seq: edge.records[0].seq.0,
    };
    let ties: Vec<Tie> = graph.edges.iter().map(tie).collect();
    layout(graph.nodes.len(), &ties, graph.root, kind)
}

/// What is shown, in a line.
pub(super) fn headline(graph: &Graph) -> String {
    let id = short(&graph.nodes[graph.asked].text, 40);
    format!("`{id}` is person {}", graph.persons[0])
}

/// How much there is, and what is left out.
pub(super) fn remarks(graph: &Graph) -> String {
    let devices = graph.nodes.iter().filter(|node| node.kind == NodeKind::Device).count();
    let of = |kind| graph.edges.iter().filter(|edge| edge.kind == kind).count();
    let mut parts = vec![
        counted(graph.ids, "id"),
        counted(devices, "device"),
        counted(of(EdgeKind::Made), "link"),
        format!("{} refused", of(EdgeKind::Refused)),
    ];
    if graph.hidden_nodes > 0 {
        let limit = identity_ledger::limits::MAX_GRAPH_NODES;
        parts.push(format!("{} more not drawn (limit {limit})", counted(graph.hidden_nodes, "node")));
    }
    if graph.hidden_records > 0 {
        parts.push(format!("{} not drawn", counted(graph.hidden_records, "record")));
    }
    parts.push(format!("as of record {}", graph.last));
    parts.join(" · ")
}

/// Nodes and edges: lines first, then their numbers, so that nothing lies over a number or a name. And how wide it is.
fn drawing(graph: &Graph, layout: &Layout, clip: &str) -> (String, i32) {
    let mut out = String::new();
    writeln!(
        out,
        "<defs><clipPath id=\"{clip}\"><rect x=\"34\" y=\"4\" width=\"{}\" height=\"20\"/></clipPath></defs>",
        NODE.0 - 40
    )
    .expect(TAKES);
    let mut chips = Chips::new(layout);
    let mut curves: Vec<Option<(Curve, String)>> = vec![None; graph.edges.len()];
    let branches_first = |of_branches: bool| {
        layout.branches.iter().enumerate().filter(move |(_, branch)| branch.is_some() == of_branches)
    };
    let mut beside = std::collections::BTreeMap::<[usize; 2], i32>::new();
    for (number, branch) in branches_first(true).chain(branches_first(false)) {
        let edge = &graph.edges[number];
        let chip = chip_text(edge);
        let nth = beside.entry(edge.ends).or_insert(0);
        let curve = match branch {
            Some(branch) => Curve::of_branch(layout, *branch),
            None => Curve::of_arc(layout, edge.ends, *nth),
        };
        *nth += 1;
        let at = match branch {
            Some(branch) => chips.at_branch(layout, *branch, &chip),
            None => chips.along(&curve, &chip),
        };
        curves[number] = Some((curve, drawn_chip(at, &chip)));
    }
    let curves: Vec<(Curve, String)> = curves.into_iter().flatten().collect();
    let mut group = |number: usize, edge: &Edge, drawn: &str| {
        let (class, title) = (class_of(edge.kind), escaped(&edge_title(graph, edge)));
        writeln!(out, "<g class=\"e {class}\" data-e=\"{number}\"><title>{title}</title>{drawn}</g>")
            .expect(TAKES);
    };
    for (number, (edge, (curve, _))) in graph.edges.iter().zip(&curves).enumerate() {
        group(number, edge, &format!("<path class=\"line\" d=\"{}\"/>", curve.path()));
    }
    for (number, (edge, (_, chip))) in graph.edges.iter().zip(&curves).enumerate() {
        group(number, edge, chip);
    }
    for (number, (node, place)) in graph.nodes.iter().zip(&layout.places).enumerate() {
        out.push_str(&drawn_node(graph, number, node, *place, clip));
    }
    let right = chips.taken.iter().map(|taken| taken.2 + 14).max().unwrap_or(0);
    (out, layout.width.max(right))
}

pub(super) fn class_of(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Made => "made",
        EdgeKind::Spoke => "spoke",
        EdgeKind::Again => "again",
        EdgeKind::Refused => "refused",
        EdgeKind::Correction => "undone",
    }
}

fn chip_text(edge: &Edge) -> String {
    match edge.records.len() {
        1 => format!("#{}", edge.records[0].seq),
        several => format!("#{} +{}", edge.records[0].seq, several - 1),
    }
}

/// What a line says to who points at it, or cannot see it.
fn edge_title(graph: &Graph, edge: &Edge) -> String {
    let record = &edge.records[0];
    let [a, b] = edge.ends.map(|end| visible(&graph.nodes[end].text));
    format!("record {}, {}: {a} and {b}; {}", record.seq, record.op, visible(&record.said))
}

/// The classes of a node, by kind and by whose it is.
pub(super) fn node_class(graph: &Graph, number: usize) -> String {
    let node = &graph.nodes[number];
    let kind = match node.kind {
        NodeKind::User => "user",
        NodeKind::Named => "named",
        NodeKind::Anonymous => "anonymous",
        NodeKind::Unmergeable => "unmergeable",
        NodeKind::Shared => "shared",
        NodeKind::Device => "device",
    };
    let owner = match node.owner() {
        _ if node.kind == NodeKind::Device => String::new(),
        Some(owner) => format!(" p{}", owner % 8),
        None => " nobody".to_owned(),
    };
    format!("n {kind}{owner}{}", if number == graph.asked { " asked" } else { "" })
}

/// What stands below a node's name.
pub(super) fn node_words(graph: &Graph, number: usize) -> String {
    let node = &graph.nodes[number];
    let kind = match node.kind {
        NodeKind::User => "user id",
        NodeKind::Named => "id",
        NodeKind::Anonymous => "anonymous",
        NodeKind::Unmergeable => "unmergeable",
        NodeKind::Shared => "shared id",
        NodeKind::Device => return "device".to_owned(),
    };
    let mut words = vec![kind.to_owned()];
    match node.owner() {
        Some(0) if number == graph.root => words.push("founder".to_owned()),
        Some(0) => {}
        // Instead of the kind, which the picture in the node says too: there is no room for both.
        Some(owner) => words = vec![format!("person {}", &graph.persons[owner].to_string()[..8])],
        None => words.push("no person".to_owned()),
    }
    if node.events.0 > 0 {
        words.push(counted(usize::try_from(node.events.0).unwrap_or(usize::MAX), "event"));
    }
    words.join(" · ")
}

fn drawn_node(graph: &Graph, number: usize, node: &Node, place: Place, clip: &str) -> String {
    let (w, h) = NODE;
    let radius = if node.kind == NodeKind::Device { 4 } else { 14 };
    let icon = match node.kind {
        NodeKind::User => "M20 12.5a4 4 0 1 1-.01 0M12.5 31c0-9 15-9 15 0",
        NodeKind::Named => "M12 15.5h16v13h-16zM15.5 19.5h9M15.5 24h6",
        NodeKind::Anonymous => "M20 13a9 9 0 1 1-.01 0M17.6 20.2c0-4 5-3.6 5-.6 0 2-2.6 2-2.6 4M20 26.4v.1",
        NodeKind::Unmergeable => "M20 13a9 9 0 1 1-.01 0M13.7 15.7l12.6 12.6",
        NodeKind::Shared => "M11 13h18v12h-18zM20 25v4M15 29h10",
        NodeKind::Device => {
            "M15 12h10a1.5 1.5 0 0 1 1.5 1.5v17a1.5 1.5 0 0 1-1.5 1.5h-10a1.5 1.5 0 0 1-1.5-1.5v-17a1.5 1.5 0 0 1 1.5-1.5M18.5 28.5h3"
        }
    };
    format!(
        "<g class=\"{}\" data-n=\"{number}\" transform=\"translate({} {})\"><title>{}</title>\
         <rect class=\"box\" width=\"{w}\" height=\"{h}\" rx=\"{radius}\"/><path class=\"icon\" d=\"{icon}\"/>\
         <g clip-path=\"url(#{clip})\"><text class=\"name\" x=\"36\" y=\"19\">{}</text></g>\
         <text class=\"kind\" x=\"36\" y=\"35\">{}</text></g>\n",
        node_class(graph, number),
        place.x,
        place.y,
        escaped(&format!("{}, {}", visible(&node.text), node_words(graph, number))),
        escaped(&short(&node.text, NAME)),
        escaped(&node_words(graph, number)),
    )
}

// -- lines -------------------------------------------------------------------------------------------------------------

/// A line: an elbow of an outline, or a curve.
#[derive(Clone, Copy, Debug)]
enum Curve {
    /// Down from the first point, then right to the second.
    Elbow([(i32, i32); 2]),
    /// A cubic Bézier curve: start, two control points, end.
    Cubic([(i32, i32); 4]),
    /// From the first point into a lane between nodes, along it, and to the second.
    Lane { ends: [(i32, i32); 2], turns: [i32; 2], y: i32 },
}

fn middle(place: Place) -> i32 {
    place.y + NODE.1 / 2
}

impl Curve {
    fn of_branch(layout: &Layout, Branch { parent, child }: Branch) -> Curve {
        let (parent, child) = (layout.places[parent], layout.places[child]);
        match layout.kind {
            Kind::Outline => {
                let x = parent.x + ((child.x - parent.x) / 2).min(16);
                Curve::Elbow([(x, parent.y + NODE.1), (child.x, middle(child))])
            }
            Kind::Tidy => {
                let (from, to) = ((parent.x + NODE.0, middle(parent)), (child.x, middle(child)));
                let half = (to.0 - from.0) / 2;
                Curve::Cubic([from, (from.0 + half, from.1), (to.0 - half, to.1), to])
            }
        }
    }

    /// The `nth` line between two nodes that is not a branch.
    fn of_arc(layout: &Layout, ends: [usize; 2], nth: i32) -> Curve {
        let [mut a, mut b] = ends.map(|end| layout.places[end]);
        if (a.x, a.y) > (b.x, b.y) {
            std::mem::swap(&mut a, &mut b);
        }
        let low = (nth * 11).min(NODE.1 / 2 - 4);
        let (ya, yb) = (middle(a) + low, middle(b) + low);
        if layout.kind == Kind::Tidy && b.x > a.x {
            let (from, to) = ((a.x + NODE.0, ya), (b.x, yb));
            if to.0 - from.0 > NODE.0
                && let Some(lane) = lane(layout, from, to)
            {
                return lane;
            }
            let half = (to.0 - from.0) / 2;
            return Curve::Cubic([from, (from.0 + half, from.1), (to.0 - half, to.1), to]);
        }
        let (from, to) = ((a.x + NODE.0, ya), (b.x + NODE.0, yb));
        let lines = (b.y - a.y).abs() / NODE.1;
        let out = from.0.max(to.0) + (56 + lines * 4 + nth * 10).min(ARCS);
        Curve::Cubic([from, (out, from.1), (out, to.1), to])
    }

    fn path(&self) -> String {
        match self {
            Curve::Elbow([(x, y), (to, low)]) => {
                let round = (to - x).clamp(0, 8);
                format!("M{x} {y}V{}Q{x} {low} {} {low}H{to}", low - round, x + round)
            }
            Curve::Cubic([a, b, c, d]) => {
                format!("M{} {}C{} {} {} {} {} {}", a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1)
            }
            Curve::Lane { ends: [from, to], turns: [on, off], y } => format!(
                "M{} {}C{} {} {} {y} {on} {y}H{off}C{} {y} {} {} {} {}",
                from.0,
                from.1,
                from.0 + 30,
                from.1,
                on - 30,
                off + 30,
                to.0 - 30,
                to.1,
                to.0,
                to.1
            ),
        }
    }

    /// The point at `part` eighths of the way.
    fn point(&self, part: i64) -> (i32, i32) {
        match self {
            Curve::Elbow([_, to]) => *to,
            Curve::Lane { turns: [on, off], y, .. } => {
                (on + (off - on) * i32::try_from(part).unwrap_or(4) / 8, *y)
            }
            Curve::Cubic(points) => {
                let (t, u) = (part, 8 - part);
                let weights = [u * u * u, 3 * t * u * u, 3 * t * t * u, t * t * t];
                let at = |of: fn(&(i32, i32)) -> i32| {
                    let sum: i64 =
                        weights.iter().zip(points).map(|(w, point)| w * i64::from(of(point))).sum();
                    i32::try_from(sum / 512).unwrap_or(0)
                };
                (at(|point| point.0), at(|point| point.1))
            }
        }
    }
}

/// The way over more than one column, between the nodes that stand there: the lane nearest to both ends that is free.
fn lane(layout: &Layout, from: (i32, i32), to: (i32, i32)) -> Option<Curve> {
    let turns = [from.0 + 56, to.0 - 56];
    let is_free = |y: &i32| {
        let crosses = |place: &Place| {
            place.x < turns[1] && place.x + NODE.0 > turns[0] && place.y - 4 < *y && place.y + NODE.1 + 4 > *y
        };
        !layout.places.iter().any(crosses)
    };
    let lanes = layout.places.iter().flat_map(|place| [place.y - 8, place.y + NODE.1 + 8]);
    let y = lanes.filter(is_free).min_by_key(|y| ((y - from.1).abs() + (y - to.1).abs(), *y))?;
    Some(Curve::Lane { ends: [from, to], turns, y })
}

/// Where numbers stand, so that none stands on another or on a node.
struct Chips {
    taken: Vec<(i32, i32, i32, i32)>,
}

/// A chip's middle.
type At = (i32, i32);

const CHIP: i32 = 17;

fn chip_width(text: &str) -> i32 {
    i32::try_from(text.len()).unwrap_or(40) * 7 + 10
}

impl Chips {
    fn new(layout: &Layout) -> Chips {
        let node = |place: &Place| (place.x, place.y, place.x + NODE.0, place.y + NODE.1);
        Chips { taken: layout.places.iter().map(node).collect() }
    }

    fn take(&mut self, (x, y): At, text: &str) -> At {
        let half = chip_width(text) / 2;
        self.taken.push((x - half, y - CHIP / 2, x + half, y + CHIP / 2));
        (x, y)
    }

    /// Beside the node that hangs: nothing else is there.
    fn at_branch(&mut self, layout: &Layout, Branch { child, .. }: Branch, text: &str) -> At {
        let (child, half) = (layout.places[child], chip_width(text) / 2);
        let x = match layout.kind {
            Kind::Tidy => child.x - 10 - half,
            Kind::Outline => child.x + NODE.0 + 8 + half,
        };
        self.take((x, middle(child)), text)
    }

    /// Along the line, where there is room; in its middle if there is none.
    fn along(&mut self, curve: &Curve, text: &str) -> At {
        let half = chip_width(text) / 2;
        let is_free = |(x, y): &At| {
            let apart = |taken: &(i32, i32, i32, i32)| {
                x + half < taken.0 || x - half > taken.2 || y + CHIP / 2 < taken.1 || y - CHIP / 2 > taken.3
            };
            self.taken.iter().all(apart)
        };
        let points = [4, 3, 5, 2, 6, 1, 7].map(|part| curve.point(part));
        let at = points.into_iter().find(is_free).unwrap_or(points[0]);
        self.take(at, text)
    }
}

fn drawn_chip((x, y): At, text: &str) -> String {
    let width = chip_width(text);
    format!(
        "<g class=\"chip\"><rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{CHIP}\" rx=\"8\"/><text x=\"{x}\" y=\"{}\">{text}</text></g>",
        x - width / 2,
        y - CHIP / 2,
        y + 4
    )
}

// -- the key -----------------------------------------------------------------------------------------------------------

/// What is drawn, each with its words.
pub(super) fn key(graph: &Graph) -> Vec<(String, &'static str)> {
    let line = |class: &str| format!("<g class=\"{class}\"><path class=\"line\" d=\"M0 0H26\"/></g>");
    let node = |class: &str, radius| {
        format!(
            "<g class=\"{class}\"><rect class=\"box\" x=\"3\" y=\"-7\" width=\"20\" height=\"14\" rx=\"{radius}\"/></g>"
        )
    };
    let has = |kind| graph.edges.iter().any(|edge| edge.kind == kind);
    let owners = |test: fn(usize) -> bool| graph.nodes.iter().filter_map(Node::owner).any(test);
    let ids = |test: fn(&Node) -> bool| graph.nodes.iter().any(test);
    let all = [
        (owners(|owner| owner == 0), node("p0", 6), "the person's id"),
        (owners(|owner| owner > 0), node("p1", 6), "another person's"),
        (
            ids(|n| n.kind != NodeKind::Device && n.owner().is_none()),
            node("nobody", 6),
            "an id without person",
        ),
        (ids(|n| n.kind == NodeKind::Device), node("device", 2), "device"),
        (has(EdgeKind::Made), line("made"), "link, #record"),
        (has(EdgeKind::Again), line("again"), "linked already"),
        (has(EdgeKind::Refused), line("refused"), "refused"),
        (has(EdgeKind::Correction), line("undone"), "retracted or split"),
        (has(EdgeKind::Spoke), line("spoke"), "spoke for"),
    ];
    all.into_iter().filter(|(shown, ..)| *shown).map(|(_, drawn, words)| (drawn, words)).collect()
}

/// The key in as many lines as it needs; and how high that is.
fn laid_out(key: &[(String, &'static str)], width: i32) -> (String, i32) {
    let (mut out, mut x, mut y) = (String::new(), 0, 10);
    for (drawn, words) in key {
        let room = 36 + i32::try_from(words.len()).unwrap_or(0) * 7 + 16;
        if x > 0 && x + room > width - 2 * MARGIN {
            (x, y) = (0, y + 22);
        }
        writeln!(out, "<g transform=\"translate({x} {y})\">{drawn}<text class=\"key\" x=\"33\" y=\"4\">{words}</text></g>")
            .expect(TAKES);
        x += room;
    }
    (out, y + 24)
}
