//! `history`: every record that touched an id or a person.

use identity_ledger::explain::{HistoryEntry, Subject};

use crate::Answer;
use crate::args::HistoryArgs;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_ledger};
use crate::listing::{pages, sentence};
use crate::progress::Progress;
use crate::resolve::never_written;
use crate::screen::{Screen, remark, remark_source};
use crate::table::{Column, Field, Table};
use crate::text::{short_id, short_time};

const COLUMNS: [Column; 6] = [
    Column::number("SEQ"),
    Column::spare("TIME"),
    Column::elastic("OP"),
    Column::elastic("ID"),
    Column::elastic("OTHER"),
    Column::elastic("OUTCOME"),
];

pub(crate) fn history(args: HistoryArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let HistoryArgs { ledger: place, reading, id, person, paging } = args;
    let ledger = open_ledger(&place, reading, &mut Progress::new(), screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::reader(&ledger));
    }
    let subject = if person { Subject::Person(&id) } else { Subject::Id(&id) };
    if pages(paging, &COLUMNS, screen, |ask| ledger.reader().history(subject, ask), row)? {
        return Ok(Answer::Yes);
    }
    never_written(&id, &place).iter().for_each(|line| remark("note", line));
    Ok(Answer::No)
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
            entry.op.replace('_', " ").into(),
            short_id(id, wide).into_owned().into(),
            short_id(other, wide).into_owned().into(),
            happened,
        ],
    )
}
