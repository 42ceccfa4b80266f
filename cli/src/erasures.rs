//! `erasures`: everything that was erased, and what can be filed about it.

use clap::Args;
use identity_ledger::erase::Receipt;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::{Screen, remark};
use crate::source::open_for_list;
use crate::table::{Column, Field, Table};
use crate::text::{count, counted, short_time};

/// The long help.
pub(crate) const HELP: &str = "\
List every erasure: when, why, what it covers, whether it is done, and what can be filed about it. It names no person.

  identity-ledger erasures shop.ledger
  identity-ledger erasures shop.ledger --json > receipts.jsonl
  identity-ledger erase shop.ledger --reason-of 4711        # a reason may name a person

What is shown:
  RECORD    the record that erased
  TIME      when it was asked for, by the asker's clock
  WHAT      how many ids and devices; or the keys, and how many records were rectified
  EVENTS    captured under its ids; they stay
  ITEMS     texts and values that are gone
  SEGMENTS  files of the log that were rewritten, also for others erased together with it
  DONE      the record that says so, or `pending`
  REASON    what was given; `none` if no reason was given, or if it is erased

--json keys: seq, time, reason, ids, devices, records, keys, events, done_seq (null while pending), items, segments (file, \
bytes_before, bytes_after, and the digests before and after).";

#[derive(Args)]
pub(crate) struct ErasuresArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
}

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
    let ledger = open_for_list(&args.ledger.place, args.ledger.reading, &mut Progress::new(), screen)?;
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
