//! `changes`: what changed in the tables of `export`, as a feed that a warehouse applies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use identity_ledger::export::{ChangeType, RowChange, Table as Exported, TableChanges};
use identity_ledger::{Reader, Seq, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::export::tables;
use crate::failure::Failure;
use crate::moment::{MOMENT, Moment};
use crate::progress::{Progress, log_bytes};
use crate::screen::Screen;
use crate::source::open_ledger;
use crate::table::{Column, Table};
use crate::text::count;

/// The long help.
pub(crate) const HELP: &str = "\
Say what changed in the tables of `export` since a record: what a warehouse has to insert, update and delete.

  identity-ledger changes shop.ledger --since 48113                    # how much
  identity-ledger changes shop.ledger --since 2026-03-02 --json        # each row since that day began, in UTC
  identity-ledger changes shop.ledger --since 48113 --json --follow | python3 apply.py

An export as of record N, with the changes since N applied, is the export as of the last record, whatever was retracted, split or erased in between. \
N is the last record of that export: `last_record` of its manifest, one less than `records` and than RECORDS of a checkpoint. To apply a row, put it or delete it by its key: the numbers of the ledger (docs/export.md). Events and property writes follow their id: where only \
their person changed they are not listed, and their person is that of id_no in person_distinct_ids.

With --follow it waits for more and continues, until it is stopped. Each round ends with a line that says the record up to which it is \
complete: continue there with --since. The first round costs about as much as opening the ledger twice, each later one a reading of the log.

What is shown:
  TABLE     the table
  INSERTED  rows that were not there
  UPDATED   rows that are different now
  DELETED   rows that are not there any more

--json keys: table, _change_type (insert, update_preimage, update_postimage or delete), _commit_version (the record up to which the row is \
as it says), _commit_timestamp (when that record was recorded), and the columns of the table. A preimage or deleted row does not hold what is erased by \
now. The last line of a round has table null, _change_type complete, _commit_version and checkpoint (RECORDS:HEAD, null with --until).";

/// How long to wait before looking for more.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct ChangesArgs {
    /// The record of the earlier export, or its time: what came after it is shown
    #[arg(long, value_name = MOMENT)]
    since: Moment,
    /// The last record to look at, or a time [default: the last record of the ledger]
    #[arg(long, value_name = MOMENT, conflicts_with = "follow")]
    until: Option<Moment>,
    /// Of which tables [default: all]
    #[arg(long, value_name = "TABLE,..", value_delimiter = ',', value_parser = tables())]
    tables: Vec<Exported>,
    /// Wait for more and continue
    #[arg(long, requires = "json")]
    follow: bool,
    #[command(flatten)]
    ledger: LedgerArgs,
}

/// One change as a line of JSON.
struct Line<'a> {
    change: &'a RowChange,
    version: Seq,
    recorded_at: Timestamp,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let RowChange { change, row } = self.change;
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("table", row.table().name())?;
        line.serialize_entry("_change_type", change)?;
        line.serialize_entry("_commit_version", &self.version)?;
        line.serialize_entry("_commit_timestamp", &self.recorded_at)?;
        let (mut columns, mut written) = (row.table().columns().iter(), Ok(()));
        row.cells(|cell| {
            let column = columns.next().expect("a column for each cell");
            if written.is_ok() {
                written = line.serialize_entry(column.name, &cell);
            }
        });
        written?;
        line.end()
    }
}

/// The end of a round.
#[derive(Serialize)]
struct Complete {
    table: Option<&'static str>,
    _change_type: &'static str,
    _commit_version: Seq,
    checkpoint: Option<String>,
}

pub(crate) fn changes(args: ChangesArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ChangesArgs { since, until, mut tables, follow, ledger: LedgerArgs { place, reading } } = args;
    if tables.is_empty() {
        tables = Exported::ALL.to_vec();
    }
    let mut signs = Signs::of(&place);
    let mut progress = Progress::beside(screen);
    let mut ledger = open_ledger(&place, reading, &mut progress, screen)?;
    let reader = ledger.reader();
    let since = since.since(reader, screen)?;
    let until = until.map(|until| until.record(reader, screen)).transpose()?;
    if let Some(until) = until.filter(|until| *until < since) {
        return Err(Failure::BeforeSince { option: "--until", since, until });
    }
    if !follow || since.0 + 1 < reader.checkpoint().records {
        progress.begin_waiting("Comparing");
        show(reader, &reader.changes(since, until)?, &tables, screen)?;
        progress.clear();
    }
    if !follow {
        return Ok(Answer::Yes);
    }
    loop {
        screen.finish()?;
        while signs == Signs::of(&place) {
            if screen.is_unread() {
                return Ok(Answer::Yes);
            }
            std::thread::sleep(PATIENCE);
        }
        signs = Signs::of(&place);
        let before = ledger.reader().detached();
        if ledger.refresh()? > 0 {
            let reader = ledger.reader();
            show(reader, &reader.changes_from(&before)?, &tables, screen)?;
        }
    }
}

/// What changes on the disk when something is recorded.
#[derive(PartialEq)]
struct Signs {
    log_bytes: Option<u64>,
    head: Option<Vec<u8>>,
}

impl Signs {
    fn of(place: &Path) -> Signs {
        Signs { log_bytes: log_bytes(place), head: std::fs::read(place.join("HEAD")).ok() }
    }
}

/// Shows the changes of a round.
fn show(
    reader: &Reader,
    changes: &TableChanges<'_>,
    tables: &[Exported],
    screen: &mut Screen,
) -> Result<(), Failure> {
    let (version, recorded_at) = (changes.until(), changes.recorded_at());
    if screen.json {
        changes.try_rows(tables, |change| screen.object(&Line { change: &change, version, recorded_at }))?;
        let checkpoint = reader.checkpoint();
        let is_last = version.0 + 1 == checkpoint.records;
        screen.object(&Complete {
            table: None,
            _change_type: "complete",
            _commit_version: version,
            checkpoint: is_last.then(|| checkpoint.to_string()),
        })?;
        return Ok(());
    }
    let mut counts: BTreeMap<Exported, [u64; 3]> = tables.iter().map(|table| (*table, [0; 3])).collect();
    changes.rows(tables, |RowChange { change, row }| {
        let counts = counts.entry(row.table()).or_default();
        match change {
            ChangeType::Insert => counts[0] += 1,
            ChangeType::UpdatePreimage => {}
            ChangeType::UpdatePostimage => counts[1] += 1,
            ChangeType::Delete => counts[2] += 1,
        }
    })?;
    screen.headline(&format!("changes after record {}, up to record {version}", changes.since()))?;
    let mut table = Table::new(&COLUMNS);
    for (name, [inserted, updated, deleted]) in counts {
        table.row(
            screen,
            [name.name().into(), count(inserted).into(), count(updated).into(), count(deleted).into()],
        )?;
    }
    table.finish(screen)?;
    Ok(())
}

const COLUMNS: [Column; 4] = [
    Column::whole("TABLE"),
    Column::number("INSERTED"),
    Column::number("UPDATED"),
    Column::number("DELETED"),
];
