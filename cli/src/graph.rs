//! `graph`: the picture of a person.

use std::fs;

use identity_ledger::graph::Graph;
use serde::Serialize;

use crate::Answer;
use crate::args::GraphArgs;
use crate::drawing;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, is_stdin, open_ledger};
use crate::output::expect_free;
use crate::progress::Progress;
use crate::resolve::never_written;
use crate::screen::{Screen, remark};
use crate::text::counted;

#[derive(Serialize)]
struct Drawn {
    output: String,
    person_id: String,
    nodes: usize,
    edges: usize,
    hidden_nodes: usize,
    hidden_records: usize,
}

pub(crate) fn graph(args: GraphArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let GraphArgs { ledger: place, reading, id, output, html, svg } = args;
    if !is_stdin(&output) {
        expect_free(&output)?;
    }
    let ledger = open_ledger(&place, reading, &mut Progress::new(), screen)?;
    let Some(graph) = Graph::of(ledger.reader(), &id)? else {
        for line in never_written(&id, &place) {
            remark("note", &line);
        }
        return Ok(Answer::No);
    };
    let is_svg = svg || !html && output.extension().is_some_and(|extension| extension == "svg");
    let picture = if is_svg { drawing::document(&graph) } else { drawing::page(&graph) };
    if is_stdin(&output) {
        screen.bytes(picture.as_bytes())?;
        return Ok(Answer::Yes);
    }
    fs::write(&output, picture).map_err(Failure::write(&output))?;
    let drawn = Drawn {
        output: output.display().to_string(),
        person_id: graph.persons[0].to_string(),
        nodes: graph.nodes.len(),
        edges: graph.edges.len(),
        hidden_nodes: graph.hidden_nodes,
        hidden_records: graph.hidden_records,
    };
    if screen.json {
        return screen.answer(&drawn, &AnsweredFrom::reader(&ledger)).map(|()| Answer::Yes);
    }
    let (nodes, edges) = (counted(drawn.nodes as u64, "node"), counted(drawn.edges as u64, "line"));
    screen.line(&format!("{}: {nodes} and {edges} of person {}", drawn.output, drawn.person_id))?;
    if drawn.hidden_nodes > 0 {
        let hidden = counted(drawn.hidden_nodes as u64, "node");
        screen
            .line(&format!("{hidden} further away are not drawn: a picture has at most {}", drawn.nodes))?;
    }
    Ok(Answer::Yes)
}
