//! `stats`: what a ledger holds, and where the room goes.

use clap::Args;
use identity_ledger::answer::{FileSize, KindSize, Stats};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::{Column, Table};
use crate::text::count;

/// The long help.
pub(crate) const HELP: &str = "\
Count what a ledger holds: persons and ids, the log's records by kind, the files on the disk, and what it takes in memory once it is open.

  identity-ledger stats shop.ledger
  identity-ledger stats shop.ledger --json | jq .files.log.bytes

What is shown:
  created, last record   when the first and the last record were recorded, by the clock of the ledger
  RECORD       a kind of record: an operation, a definition of a text, a policy, or what an erasure or a recovery left
  BYTES        of the log: bodies and payload items; headers, hashes and padding come on top. On disk: lengths of files
  ON DISK      `snapshots` are caches; `quarantine` keeps what recovery cut off
  IN MEMORY    index by index, of the ledger as it was opened here; `postings` are there once history, why-not, retract or split asked

--json keys: ledger_id, records, first_recorded_at, last_recorded_at, kinds (by name: records, bytes), erased_items, events, persons, distinct_ids, devices, property_keys, \
event_names, files (log, snapshots, quarantine, other: files, bytes), memory (links, persons, id_texts, id_index, other_texts, \
operation_ids, places, postings; bytes).";

#[derive(Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
}

const KINDS: [Column; 4] = [
    Column::whole("RECORD"),
    Column::number("RECORDS"),
    Column::number("BYTES"),
    Column::number("BYTES EACH"),
];
const FILES: [Column; 3] = [Column::whole("ON DISK"), Column::number("FILES"), Column::number("BYTES")];
const MEMORY: [Column; 3] =
    [Column::whole("IN MEMORY"), Column::number("BYTES"), Column::number("BYTES AN ID")];

pub(crate) fn stats(args: StatsArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let mut progress = Progress::new();
    let ledger = args.ledger.open(args.as_of, &mut progress, screen)?;
    progress.begin_waiting("Counting");
    let stats = ledger.stats()?;
    progress.clear();
    if screen.json {
        screen.answer(&stats, &ledger.answered_from())?;
        return Ok(Answer::Yes);
    }
    let place = args.ledger.place.display().to_string();
    screen.headline(&format!("{place}: {} records", count(stats.records)))?;
    screen.facts(&[
        ("persons", count(stats.persons)),
        ("ids ever written", count(stats.distinct_ids)),
        ("events", count(stats.events)),
        ("devices", count(stats.devices)),
        ("property keys", count(stats.property_keys)),
        ("event names", count(stats.event_names)),
        ("erased items", count(stats.erased_items)),
        ("created", stats.first_recorded_at.to_string()),
        ("last record", stats.last_recorded_at.to_string()),
    ])?;
    kinds(&stats, screen)?;
    files(&stats, screen)?;
    memory(&stats, screen)?;
    Ok(Answer::Yes)
}

/// The kinds of records, those that take the most room first.
fn kinds(stats: &Stats, screen: &mut Screen) -> Result<(), Failure> {
    screen.line("")?;
    let mut kinds: Vec<(&str, KindSize)> = stats.kinds.iter().map(|(name, size)| (*name, *size)).collect();
    kinds.sort_by_key(|(_, size)| std::cmp::Reverse(size.bytes));
    let mut table = Table::new(&KINDS);
    for (name, KindSize { records, bytes }) in kinds {
        let row = [name.into(), count(records).into(), count(bytes).into(), count(bytes / records).into()];
        table.row(screen, row)?;
    }
    table.finish(screen).map(drop)
}

fn files(stats: &Stats, screen: &mut Screen) -> Result<(), Failure> {
    screen.line("")?;
    let files = stats.files;
    let mut table = Table::new(&FILES);
    for (name, FileSize { files, bytes }) in [
        ("log", files.log),
        ("snapshots", files.snapshots),
        ("quarantine", files.quarantine),
        ("other", files.other),
    ] {
        table.row(screen, [name.into(), count(files).into(), count(bytes).into()])?;
    }
    table.finish(screen).map(drop)
}

fn memory(stats: &Stats, screen: &mut Screen) -> Result<(), Failure> {
    screen.line("")?;
    let memory = stats.memory;
    let all = memory.beyond_id_texts() + memory.id_texts;
    let mut table = Table::new(&MEMORY);
    for (name, bytes) in [
        ("links", memory.links),
        ("persons", memory.persons),
        ("texts of ids", memory.id_texts),
        ("index of ids", memory.id_index),
        ("other texts", memory.other_texts),
        ("operation ids", memory.operation_ids),
        ("places", memory.places),
        ("postings", memory.postings),
        ("all", all),
    ] {
        let bytes = bytes as u64;
        let each = bytes.checked_div(stats.distinct_ids).map_or(String::new(), count);
        table.row(screen, [name.into(), count(bytes).into(), each.into()])?;
    }
    table.finish(screen).map(drop)
}
