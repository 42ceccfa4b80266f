//! `graph`: the picture of a person.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::graph::Graph;
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::drawing;
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::output::expect_free;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::text::counted;
use crate::unknown::no_such_id;

/// The long help.
pub(crate) const HELP: &str = "\
Draw the identity graph of the person an id belongs to: its ids and devices, the links with the numbers of their records, and \
dashed the links that were refused. Exit status 1 if the id was never written.

  identity-ledger graph shop.ledger ann@example.com -o ann.html
  identity-ledger graph shop.ledger ann@example.com -o ann.svg
  identity-ledger graph shop.ledger ann@example.com --svg -o - | rsvg-convert -o ann.png

The page works without a network: search an id or a record, move the slider to see which ids were one person right after any record, choose \
an id or a line to read its records. The same ledger gives the same bytes. At most 400 ids and devices are drawn, the nearest \
first; the headline says how many are not. A file inside a ledger, or a key ring, is never overwritten.

What is shown:
  box           an id, with the colour of its person; squarer: a device
  line          a link: #17 is the record that made it, #17 +2 has two more that ask for the same
  thin line     asked for when the two were one person already
  dashed line   refused; the rule and the record that blocks are in the table
  dotted line   a device spoke for the id";

#[derive(Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    /// A distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    id: String,
    /// Where to write the picture; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A page with search and slider [default where FILE ends in .html, and for `-`]
    #[arg(long, conflicts_with = "svg")]
    html: bool,
    /// The picture alone [default where FILE ends in .svg]
    #[arg(long)]
    svg: bool,
}

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
    let GraphArgs { ledger, as_of, id, output, html, svg } = args;
    if !is_stdin(&output) {
        expect_free(&output)?;
    }
    let is_svg = is_svg(&output, html, svg)?;
    let mut progress = Progress::new();
    let asked = ledger.open(as_of, &mut progress, screen)?;
    progress.begin_waiting("Drawing");
    let graph = Graph::of(&asked, &id)?;
    progress.clear();
    let Some(graph) = graph else {
        return no_such_id(&asked, &ledger.place, &[&id], screen);
    };
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
        return screen.answer(&drawn, &asked.answered_from()).map(|()| Answer::Yes);
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

/// Whether the picture alone is written: what was asked, or else what the file's name says.
fn is_svg(output: &Path, html: bool, svg: bool) -> Result<bool, Failure> {
    if html || svg || is_stdin(output) {
        return Ok(svg);
    }
    match output.extension().and_then(OsStr::to_str) {
        Some("svg") => Ok(true),
        Some("html" | "htm") => Ok(false),
        _ => Err(Failure::NotAPicture { file: output.to_owned() }),
    }
}
