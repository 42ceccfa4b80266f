//! What a command says: on standard output, as JSON or for people, and errors on standard error.

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::sync::OnceLock;

use clap::{Args, ColorChoice};
use comfy_table::Table;
use identity_ledger::visible;
use serde::Serialize;

use crate::failure::Failure;

/// How to answer.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object a line; its keys are stable
    #[arg(long, global = true, display_order = 901)]
    pub(crate) json: bool,
    /// Cut nothing in tables: whole ids, every property
    #[arg(long, global = true, display_order = 902)]
    pub(crate) wide: bool,
    /// Whether to use bold and colours; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        display_order = 903,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: ColorChoice,
}

/// What --color says; messages on standard error follow it too.
static COLOR: OnceLock<ColorChoice> = OnceLock::new();

/// Columns of a table where there is no terminal at all.
const WIDTH_WITHOUT_TERMINAL: u16 = 120;

/// Standard output: tables for a terminal, or JSON.
pub(crate) struct Screen {
    out: BufWriter<StdoutLock<'static>>,
    /// One JSON object a line instead of tables.
    pub(crate) json: bool,
    /// Whether cells keep their full width, however narrow the terminal is.
    pub(crate) wide: bool,
    /// Whether to use bold and colours.
    pub(crate) colour: bool,
    /// Columns that a table may take.
    pub(crate) width: u16,
    /// Whether the output is a terminal; then nothing else may draw on it meanwhile.
    pub(crate) is_terminal: bool,
    /// Whether its reader has gone away. What is still written is dropped.
    unread: bool,
}

impl Screen {
    pub(crate) fn new(manners: &OutputArgs) -> Screen {
        let is_terminal = io::stdout().is_terminal();
        let _ = COLOR.set(manners.color);
        Screen {
            out: BufWriter::with_capacity(64 * 1_024, io::stdout().lock()),
            json: manners.json,
            wide: manners.wide,
            colour: may_colour(is_terminal),
            width: width(),
            is_terminal,
            unread: false,
        }
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        if self.unread {
            return Ok(());
        }
        let written = serde_json::to_writer(&mut self.out, value).map_err(io::Error::from);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        self.check(written)
    }

    /// Writes the one answer of a command as one line of JSON, with what it was answered from.
    pub(crate) fn answer(&mut self, answer: &impl Serialize, from: &impl Serialize) -> Result<(), Failure> {
        self.object(&Answered { answer, answered_from: from })
    }

    /// Writes a line for people. Whatever ids and paths it holds, it is shown as one line and hides nothing.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.styled_line(&visible(line))
    }

    /// Writes a headline, bold where that is possible.
    pub(crate) fn headline(&mut self, line: &str) -> Result<(), Failure> {
        let line = visible(line);
        if self.colour { self.styled_line(&format!("\x1b[1m{line}\x1b[0m")) } else { self.styled_line(&line) }
    }

    /// Writes a line that is visible already, and may hold escape sequences of our own.
    pub(crate) fn styled_line(&mut self, line: &str) -> Result<(), Failure> {
        debug_assert!(!self.json, "JSON mode prints JSON only");
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes `name value` lines, the values in one column.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let widest = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        facts.iter().try_for_each(|(name, value)| self.line(&format!("  {name:widest$}  {value}")))
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = if self.unread { Ok(()) } else { self.out.write_all(bytes) };
        self.check(written)
    }

    /// Writes what is still buffered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let written = if self.unread { Ok(()) } else { self.out.flush() };
        self.check(written)
    }

    /// Whether its reader has gone away (`| head`): a command that would write for as long as the log is stops then.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread
    }

    /// A reader that goes away is not a failure, and it does not change the answer: the command continues, writes into the
    /// void, and exits with the status that it would have had.
    fn check(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unread = true;
                Ok(())
            }
            written => written.map_err(Failure::Output),
        }
    }
}

#[derive(Serialize)]
struct Answered<'a, A, F> {
    #[serde(flatten)]
    answer: &'a A,
    answered_from: &'a F,
}

/// Says on standard error, for programs, what a list was answered from: its own output stays one object for each item.
pub(crate) fn remark_source(from: &impl Serialize) {
    #[derive(Serialize)]
    struct Source<'a, F> {
        answered_from: &'a F,
    }
    if let Ok(line) = serde_json::to_string(&Source { answered_from: from }) {
        writeln!(io::stderr(), "{line}").ok(); // should even that fail, there is nothing left to write to
    }
}

/// Columns of the terminal, or what COLUMNS says where there is none.
pub(crate) fn width() -> u16 {
    let named = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let beside = || Table::new().use_stderr().width(); // `| head` and `| less` end on the same terminal
    Table::new().width().or_else(beside).or_else(named).unwrap_or(WIDTH_WITHOUT_TERMINAL)
}

/// Whether bold and colours may be written to an output.
fn may_colour(is_terminal: bool) -> bool {
    let says = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match COLOR.get().copied().unwrap_or_default() {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            is_terminal && says("NO_COLOR").is_none() && says("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Says on standard error why a command failed, and what to do next.
pub(crate) fn report(failure: &Failure) {
    let text = failure.to_string();
    // A command makes one request: its place in the list says nothing.
    let mut text = text.strip_prefix("request 0: ").unwrap_or(&text).to_owned();
    let mut source = failure.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    remark("error", &text);
    if let Some(advice) = failure.advice() {
        remark("  try", &advice);
    }
}

/// Says something on standard error. If even that fails, there is nowhere left to report it.
pub(crate) fn remark(kind: &str, text: &str) {
    let text = visible(text);
    let colour = may_colour(io::stderr().is_terminal());
    let written = if colour {
        writeln!(io::stderr(), "\x1b[1;{}m{kind}:\x1b[0m {text}", if kind == "error" { 31 } else { 36 })
    } else {
        writeln!(io::stderr(), "{kind}: {text}")
    };
    written.ok();
}
