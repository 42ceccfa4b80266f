//! `history`: every record that touched an id or a person.

use clap::Args;
use identity_ledger::explain::{HistoryEntry, Subject};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::input::expect_no_list;
use crate::listing::{Paging, pages};
use crate::outcomes::sentence;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{short_id, short_time};
use crate::unknown::no_such_id;

/// The long help.
pub(crate) const HELP: &str = "\
List every record that touched an id: those that name it, and those that changed its person. With --person those that touched \
any id of its person. Exit status 1 if the id was never written.

  identity-ledger history shop.ledger ann@example.com
  identity-ledger history shop.ledger ann@example.com --person --json | jq 'select(.outcome.refusal)'
  identity-ledger history shop.ledger ann@example.com --limit 100
  identity-ledger history shop.ledger ann@example.com --limit 100 --from 4711.120

With --limit a page is shown, and where the next one begins. All pages together are the history as of the first one, whatever is \
recorded meanwhile.

What is shown:
  SEQ      the record
  TIME     by the sender's clock (from 100 columns on)
  OP       what was asked or defined
  ID       whom it speaks for
  OTHER    the id to be linked with it
  OUTCOME  what it did when it was recorded

--json keys: seq, op, outcome (as `outcomes` has it; null for a definition), time, recorded_at (by the clock of the ledger), \
retracted_by. With --limit a last line has `next`, a cursor or null.";

#[derive(Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// A distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    id: String,
    /// List the records of all ids of its person
    #[arg(long)]
    person: bool,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: [Column; 6] = [
    Column::number("SEQ"),
    Column::spare("TIME"),
    Column::elastic("OP"),
    Column::elastic("ID"),
    Column::elastic("OTHER"),
    Column::folded("OUTCOME"),
];

pub(crate) fn history(args: HistoryArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let HistoryArgs { ledger, id, person, as_of, paging } = args;
    expect_no_list("history", [&id])?;
    let listing = ledger.list(as_of, paging, screen)?;
    let mut progress = Progress::beside(screen);
    progress.begin_waiting("Reading its records");
    let subject = if person { Subject::Person(&id) } else { Subject::Id(&id) };
    let mut asked = listing.source.history_pages(subject);
    if pages(listing.part(), &COLUMNS, screen, |ask| asked.page(ask), row)? {
        return Ok(Answer::Yes);
    }
    no_such_id(&listing.asked(), &ledger.place, &[&id], screen)
}

fn row(entry: &HistoryEntry, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
    let wide = screen.wide;
    let outcome = entry.outcome.as_ref();
    let id = outcome.map_or("", |outcome| &outcome.distinct_id);
    let other = outcome.and_then(|outcome| outcome.other_id.as_deref()).unwrap_or_default();
    let happened = match outcome {
        None if entry.op.starts_with("define") => Field::new("first mention").quiet(),
        None => Field::new("").quiet(),
        Some(outcome) => {
            let retracted = entry.retracted_by.map(|by| format!("retracted by record {by}: "));
            let said = Field::new(retracted.unwrap_or_default() + &sentence(outcome, wide));
            if outcome.refusal.is_some() { said.alarming() } else { said }
        }
    };
    table.row(
        screen,
        [
            entry.seq.to_string().into(),
            entry.time.map_or(String::new(), |time| short_time(time, wide)).into(),
            entry.op.into(),
            short_id(id, wide).into_owned().into(),
            short_id(other, wide).into_owned().into(),
            happened,
        ],
    )
}
