//! `erasures`: everything that was erased, and what can be filed about it.

use identity_ledger::erase::Receipt;

use crate::Answer;
use crate::args::ErasuresArgs;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_ledger};
use crate::progress::Progress;
use crate::screen::{Screen, remark, remark_source};
use crate::table::{Column, Field, Table};
use crate::text::{count, counted, short_time};

const COLUMNS: [Column; 8] = [
    Column::number("RECORD"),
    Column::spare("TIME"),
    Column::elastic("WHAT"),
    Column::number("EVENTS"),
    Column::number("ITEMS"),
    Column::number("SEGMENTS"),
    Column::number("DONE"),
    Column::elastic("REASON"),
];

pub(crate) fn erasures(args: ErasuresArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ledger = open_ledger(&args.ledger, args.reading, &mut Progress::new(), screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::reader(&ledger));
    }
    let receipts = ledger.reader().erasures()?;
    let mut table = Table::new(&COLUMNS);
    for receipt in &receipts {
        if screen.json { screen.object(receipt)? } else { row(receipt, &mut table, screen)? }
    }
    if !screen.json && table.finish(screen)? == 0 {
        remark("note", "nothing was ever erased");
    }
    Ok(Answer::Yes)
}

fn row(receipt: &Receipt, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
    let done = match receipt.done_seq {
        Some(done) => Field::new(done.to_string()),
        None => Field::new("pending").alarming(),
    };
    let items = receipt.items.map_or(String::new(), count);
    let reason = match &receipt.reason {
        Some(reason) => Field::new(reason),
        None => Field::new("none").quiet(),
    };
    table.row(
        screen,
        [
            receipt.seq.to_string().into(),
            short_time(receipt.time, screen.wide).into(),
            what(receipt).into(),
            count(receipt.events).into(),
            items.into(),
            count(receipt.segments.len() as u64).into(),
            done,
            reason,
        ],
    )
}

fn what(receipt: &Receipt) -> String {
    let number = |list: &[u32]| list.len() as u64;
    if !receipt.keys.is_empty() {
        let keys = receipt.keys.join(", ");
        return format!("{keys} in {}", counted(number(&receipt.records), "record"));
    }
    let parts = [(&receipt.ids, "id"), (&receipt.devices, "device"), (&receipt.records, "record")];
    let parts = parts.iter().filter(|(list, _)| !list.is_empty());
    parts.map(|(list, noun)| counted(number(list), noun)).collect::<Vec<_>>().join(", ")
}
