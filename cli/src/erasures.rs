//! `erasures`: everything that was erased, and what can be filed about it.

use clap::Args;
use identity_ledger::Seq;
use identity_ledger::erase::Receipt;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::listing::{Listed, Paging, list};
use crate::screen::Screen;
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
  DONE      the record that says so, or `pending`; `yes` in a ledger that follows a log, where a file beside the log says so
  REASON    what was given; `none` if no reason was given, or if it is erased

--json keys: seq, time, reason, ids, devices, records, keys, events, done, done_seq (null while pending, and in a ledger that follows a log), items, segments (file, \
bytes_before, bytes_after, and the digests before and after).";

#[derive(Args)]
pub(crate) struct ErasuresArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: Paging,
}

pub(crate) fn erasures(args: ErasuresArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ErasuresArgs { ledger, as_of, paging } = args;
    let (ledger, part) = ledger.list(as_of, paging, screen)?.folded(screen)?;
    let receipts = ledger.erasures()?;
    list::<Receipt>(&ledger, part, screen, |_, each| {
        receipts.into_iter().for_each(each);
        Ok(())
    })?;
    Ok(Answer::Yes)
}

impl Listed for Receipt {
    const COLUMNS: &'static [Column] = &[
        Column::number("RECORD"),
        Column::spare("TIME"),
        Column::elastic("WHAT"),
        Column::number("EVENTS"),
        Column::number("ITEMS"),
        Column::number("SEGMENTS"),
        Column::number("DONE"),
        Column::folded("REASON"),
    ];
    const NOUN: &'static str = "erasures";

    fn record(&self) -> Option<Seq> {
        Some(self.seq)
    }

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
        let done = match (self.done_seq, self.done) {
            (Some(done), _) => Field::new(done.to_string()),
            (None, true) => Field::new("yes"),
            (None, false) => Field::new("pending").alarming(),
        };
        let items = self.items.map_or(String::new(), count);
        let reason = match &self.reason {
            Some(reason) => Field::new(reason),
            None => Field::new("none").quiet(),
        };
        table.row(
            screen,
            [
                self.seq.to_string().into(),
                short_time(self.time, screen.wide).into(),
                what(self).into(),
                count(self.events).into(),
                items.into(),
                count(self.segments.len() as u64).into(),
                done,
                reason,
            ],
        )
    }
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
