//! The picture as a page that needs nothing else: no network, no font, no script but its own.
//!
//! Ids are anybody's words: they stand in the page escaped, in its data with `<` spelled out, and its script puts them in as text
//! only. A policy in its head lets no other script run and nothing be loaded.

use std::fmt::Write;

use serde::Serialize;

use super::layout::Kind;
use super::svg::{self, class_of};
use super::text::escaped;
use identity_ledger::graph::{Edge, Graph, Node, NodeKind};
use identity_ledger::visible;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const TAKES: &str = "a text takes everything";

/// What the page's script knows.
#[derive(Serialize)]
struct Data {
    asked: usize,
    root: usize,
    last: u64,
    persons: Vec<String>,
    moments: Vec<u64>,
    nodes: Vec<NodeData>,
    edges: Vec<EdgeData>,
}

#[derive(Serialize)]
struct NodeData {
    text: String,
    kind: &'static str,
    since: u64,
    owners: Vec<(u64, Option<usize>)>,
    events: (u64, u64),
}

#[derive(Serialize)]
struct EdgeData {
    ends: [usize; 2],
    kind: &'static str,
    records: Vec<RecordData>,
}

#[derive(Serialize)]
struct RecordData {
    seq: u64,
    op: &'static str,
    time: Option<String>,
    said: String,
    rule: Option<&'static str>,
    blocking: Option<u64>,
}

impl Data {
    fn of(graph: &Graph) -> Data {
        let edge = |edge: &Edge| EdgeData {
            ends: edge.ends,
            kind: class_of(edge.kind),
            records: edge
                .records
                .iter()
                .map(|record| RecordData {
                    seq: record.seq.0,
                    op: record.op,
                    time: record.time.map(|time| time.to_string()),
                    said: visible(&record.said).into_owned(),
                    rule: record.refused.map(|(rule, _)| rule),
                    blocking: record.refused.map(|(_, blocking)| blocking.0),
                })
                .collect(),
        };
        let node = |node: &Node| NodeData {
            text: visible(&node.text).into_owned(),
            kind: match node.kind {
                NodeKind::User => "user id",
                NodeKind::Named => "id",
                NodeKind::Anonymous => "anonymous",
                NodeKind::Unmergeable => "unmergeable",
                NodeKind::Shared => "shared id",
                NodeKind::Device => "device",
            },
            since: node.since.0,
            owners: node.owners.iter().map(|(seq, owner)| (seq.0, *owner)).collect(),
            events: node.events,
        };
        Data {
            asked: graph.asked,
            root: graph.root,
            last: graph.last.0,
            persons: graph.persons.iter().map(ToString::to_string).collect(),
            moments: graph.moments.iter().map(|seq| seq.0).collect(),
            nodes: graph.nodes.iter().map(node).collect(),
            edges: graph.edges.iter().map(edge).collect(),
        }
    }

    /// As JSON that no id can end: in a script element only `<` could.
    fn json(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and texts are JSON");
        json.replace('<', "\\u003c")
    }
}

pub(crate) fn page(graph: &Graph) -> String {
    let data = Data::of(graph).json();
    // The author of an id cannot know the digest of a page that holds it.
    let nonce = &blake3::hash(data.as_bytes()).to_hex()[..32];
    let headline = escaped(&svg::headline(graph));
    let remarks = escaped(&svg::remarks(graph));
    let (wide, narrow) = (svg::part(graph, Kind::Tidy, "wide"), svg::part(graph, Kind::Outline, "narrow"));
    let (key, rows) = (key(graph), rows(graph));
    let picture_style = svg::STYLE;
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'">
<title>{headline}</title>
<style nonce="{nonce}">
{picture_style}{STYLE}</style>
</head>
<body>
<a class="skip" href="#records">To the records</a>
<header><h1>{headline}</h1><p>{remarks}</p></header>
<div class="bar" id="bar" hidden>
<div class="group search"><label for="search">Search</label><input type="search" id="search" placeholder="id, or record number" autocomplete="off" spellcheck="false"><output id="found" for="search"></output></div>
<div class="group time"><label for="at">As of</label><button type="button" id="back" aria-label="one record back">‹</button><input type="range" id="at" min="0" max="0" value="0"><button type="button" id="on" aria-label="one record on">›</button><output id="when" for="at"></output></div>
<div class="group size"><button type="button" id="out" aria-label="smaller">−</button><button type="button" id="fit">Fit</button><button type="button" id="in" aria-label="larger">+</button></div>
</div>
<main>
<div id="stage">
{wide}{narrow}</div>
<aside id="detail" aria-live="polite"><button type="button" id="close" aria-label="close">×</button><div id="about"><p class="quiet">Choose an id or a line to read its records.</p></div></aside>
</main>
<section id="records">
<h2>Records</h2>
<div class="rows">
<table>
<thead><tr><th>Record</th><th class="time">Time</th><th>Asked</th><th>Names</th><th>What became of it</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
<footer>
<ul class="key">{key}</ul>
<p class="keys"><kbd>/</kbd> search, <kbd>Enter</kbd> next · arrows from id to id · <kbd>[</kbd> <kbd>]</kbd> back and on in the log · <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> size · <kbd>Esc</kbd> close</p>
<p>Made by identity-ledger from the records alone. This page loads nothing and sends nothing.</p>
</footer>
<script type="application/json" id="data">{data}</script>
<script nonce="{nonce}">
{SCRIPT}</script>
</body>
</html>
"##
    )
}

fn key(graph: &Graph) -> String {
    let item = |(drawn, words): (String, &str)| {
        format!(
            "<li><svg width=\"27\" height=\"18\" viewBox=\"-0.5 -9 27 18\" aria-hidden=\"true\">{drawn}</svg>{words}</li>"
        )
    };
    svg::key(graph).into_iter().map(item).collect()
}

/// All records that are drawn, in the order of the log.
fn rows(graph: &Graph) -> String {
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (place, edge) in graph.edges.iter().enumerate() {
        all.extend(edge.records.iter().enumerate().map(|(nth, record)| (record.seq.0, place, nth)));
    }
    all.sort_unstable();
    let mut out = String::new();
    for (seq, place, nth) in all {
        let (edge, record) = (&graph.edges[place], &graph.edges[place].records[nth]);
        let time = record.time.map_or(String::new(), |time| time.to_string());
        let id = |end: usize| {
            let node = &graph.nodes[end];
            let what = if node.kind == NodeKind::Device { "device " } else { "" };
            format!("{what}<span class=\"id\">{}</span>", escaped(&visible(&node.text)))
        };
        writeln!(
            out,
            "<tr data-seq=\"{seq}\" data-edge=\"{place}\"><td class=\"seq\"><button type=\"button\">#{seq}</button></td>\
             <td class=\"time\">{time}</td><td class=\"op\">{}</td><td>{} · {}</td><td{}>{}</td></tr>",
            record.op.replace('_', " "),
            id(edge.ends[0]),
            id(edge.ends[1]),
            if record.refused.is_some() { " class=\"bad\"" } else { "" },
            escaped(&visible(&record.said)),
        )
        .expect(TAKES);
    }
    out
}
