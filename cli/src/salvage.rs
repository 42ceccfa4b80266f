//! `salvage`: takes out of a damaged ledger what can be proven, and names what is lost.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::salvage::{BytePlace, ItemLoss, Salvage, SalvageReport, Unerased};
use identity_ledger::storage::Files;
use identity_ledger::{Checkpoint, LedgerOptions};
use serde::Serialize;

use crate::answer::Answer;
use crate::disk;
use crate::failure::Failure;
use crate::output::expect_free;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{expect_directory, on_log};
use crate::table::{Column, Table};
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Take out of a damaged ledger what can be proven, and name what is lost. A backup is better: salvage is for what no backup has. \
The ledger is only read, so a read-only mount will do.

  identity-ledger verify shop.ledger                            # what is wrong
  identity-ledger salvage shop.ledger rescued                   # what can be saved
  identity-ledger verify rescued/ledger                         # a ledger again, up to the first fault
  jq -c 'select(.op == \"identify\")' rescued/beyond.jsonl        # what is proven after it

DEST must be new or empty. It gets:
  ledger/       everything before the first fault, as a ledger that opens; on purpose it ends there
  beyond.jsonl  every proven record after the first fault, one a line: by number, and by text where the definition survives; it is to read, and `import` does not take it
  report.json   what --json prints

To continue, restore a backup, or start from ledger/ and `import` the files of your senders again: what it holds counts as duplicates, and \
the rest is recorded, even where one text or value alone is lost. What was retracted, split or erased after the fault is asked again by hand: beyond.jsonl lists it.

Proven means: header and body of the frame give its hash, or the one that others say it had. The file LEDGER must be whole; \
restore it from any copy if it is not.

What is shown:
  records known         how many existed, as HEAD, later frames, later segments or --expect say
  intact                proven
  lost                  known, and not proven; each range with its place
  texts or values lost  of records that are intact themselves
  erased, still there   texts or values whose erasure is said to be done: a file from before it lies in the log
  unacknowledged bytes  behind all that, of a write that was cut off; not lost

Exit status: 0 nothing is lost, 1 something is, 2 it could not be done.

--json keys: records, intact and lost (ranges, from and to included), items_lost, unerased, unacknowledged, first_fault, \
contradicting_frames, witnesses, prefix, checkpoint (RECORDS:HEAD, where the salvaged ledger ends; null if there is none), \
beyond.";

#[derive(Args)]
pub(crate) struct SalvageArgs {
    /// The damaged ledger's directory
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    /// Where to put what is proven
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// A checkpoint that was kept elsewhere: it proves how many records existed
    #[arg(long, value_name = "RECORDS:HEAD")]
    expect: Option<Checkpoint>,
}

/// Items that a table lists; `report.json` has them all.
const ITEMS_SHOWN: usize = 20;

/// The report, and where the ledger in it ends in the spelling of `verify --expect`.
#[derive(Serialize)]
struct Salvaged<'a> {
    checkpoint: Option<String>,
    /// Records in `beyond.jsonl`.
    beyond: u64,
    #[serde(flatten)]
    report: &'a SalvageReport,
}

pub(crate) fn salvage(args: SalvageArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let SalvageArgs { ledger, dest, expect } = args;
    expect_directory(&ledger)?;
    refuse_what_is_there(&ledger, &dest)?;
    let mut progress = Progress::new();
    let mut salvage = on_log(&ledger, "Looking through the log", &mut progress, |options| {
        expect.into_iter().fold(options, LedgerOptions::expect).salvage(&ledger)
    })?;
    progress.begin_waiting("Taking out what is proven");
    let written = write(&mut salvage, &dest);
    progress.clear();
    let beyond = written?;
    let report = salvage.report();
    let salvaged = summary(report, beyond);
    if screen.json {
        screen.object(&salvaged)?;
    } else {
        show(&ledger, &dest, &salvaged, screen)?;
    }
    Ok(Answer::yes_if(report.is_whole()))
}

fn summary(report: &SalvageReport, beyond: u64) -> Salvaged<'_> {
    let checkpoint = (report.prefix.records > 0).then(|| report.ledger.to_string());
    Salvaged { checkpoint, beyond, report }
}

/// What is taken out never lands in the ledger, nor on top of anything.
fn refuse_what_is_there(ledger: &Path, dest: &Path) -> Result<(), Failure> {
    match fs::read_dir(dest) {
        Ok(mut entries) => {
            if let Some(entry) = entries.next() {
                let found = entry.map_err(Failure::read(dest))?.file_name().to_string_lossy().into_owned();
                return Err(Failure::NotEmpty { place: dest.to_owned(), found });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Failure::NotEmpty { place: dest.to_owned(), found: "a file".to_owned() });
        }
        Err(error) => return Err(Failure::read(dest)(error)),
    }
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let near = if dest.exists() { dest } else { parent };
    let near = near.canonicalize().map_err(Failure::read(near))?;
    let ledger = ledger.canonicalize().map_err(Failure::read(ledger))?;
    if near.starts_with(&ledger) {
        return Err(Failure::InsideLedger { place: dest.to_owned(), ledger });
    }
    expect_free(dest)
}

/// Writes `ledger/`, `beyond.jsonl` and last `report.json`; gives how many records stand in the second.
fn write(salvage: &mut Salvage, dest: &Path) -> Result<u64, Failure> {
    let failed = Failure::write(dest);
    if !dest.exists() {
        disk::create_dir(dest).map_err(&failed)?;
    }
    if salvage.report().prefix.records > 0 {
        let ledger = dest.join("ledger");
        disk::create_dir(&ledger).map_err(&failed)?;
        salvage.write_ledger(&Files::writable(ledger))?;
    }
    let mut beyond = 0;
    let mut lines = BufWriter::new(disk::create_file(&dest.join("beyond.jsonl")).map_err(&failed)?);
    salvage.beyond(&mut |record| {
        beyond += 1;
        serde_json::to_writer(&mut lines, &record)?;
        lines.write_all(b"\n")
    })?;
    let lines = lines.into_inner().map_err(|error| failed(error.into_error()))?;
    lines.sync_all().map_err(&failed)?;
    let mut report = disk::create_file(&dest.join("report.json")).map_err(&failed)?;
    let mut text = serde_json::to_vec_pretty(&summary(salvage.report(), beyond))
        .map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    report.write_all(&text).and_then(|()| report.sync_all()).map_err(&failed)?;
    disk::sync_dir(dest).map_err(&failed)?;
    Ok(beyond)
}

const LOST: [Column; 4] = [
    Column::number("RECORDS"),
    Column::number("FROM"),
    Column::number("TO"),
    Column::elastic("WHERE AND WHY"),
];

fn show(ledger: &Path, dest: &Path, salvaged: &Salvaged<'_>, screen: &mut Screen) -> Result<(), Failure> {
    let report = salvaged.report;
    let lost: u64 = report.lost.iter().map(|lost| lost.to.0 - lost.from.0 + 1).sum();
    let (place, dest) = (clean_path(ledger), clean_path(dest));
    let known = counted(report.records, "record");
    screen.headline(&if report.lost.is_empty() && report.items_lost.is_empty() {
        format!("Nothing of {place} is lost: {known}")
    } else {
        let items = match report.items_lost.len() as u64 {
            1 => "1 text or value".to_owned(),
            items => format!("{} texts or values", count(items)),
        };
        format!("Of {place}, {} of {known} and {items} are LOST", count(lost))
    })?;
    let bytes = report.unacknowledged.iter().map(|place| place.bytes).sum();
    screen.facts(&[
        ("records known", count(report.records)),
        ("intact", count(report.records - lost)),
        ("lost", count(lost)),
        ("texts or values lost", count(report.items_lost.len() as u64)),
        ("erased, still there", count(report.unerased.len() as u64)),
        ("unacknowledged bytes", count(bytes)),
    ])?;
    if let Some(Unerased { seq, erase }) = report.unerased.first() {
        screen.line("")?;
        screen.line(&format!(
            "The text or values of record {seq} are there, although record {erase} erased them and that is said to be done: a file"
        ))?;
        screen.line("from before the erasure lies in the log. The salvaged ledger holds them too.")?;
    }
    if let Some(fault) = &report.first_fault {
        screen.line("")?;
        screen.line(&format!("The first fault: {fault}"))?;
    }
    if !report.lost.is_empty() {
        screen.line("")?;
        let mut table = Table::new(&LOST);
        for lost in &report.lost {
            let records = count(lost.to.0 - lost.from.0 + 1);
            let place = lost
                .place
                .as_ref()
                .map_or(String::new(), |BytePlace { file, offset, .. }| format!("{file} at byte {offset}: "));
            let place = format!("{place}{}", lost.why);
            let fields = [records, lost.from.to_string(), lost.to.to_string(), place];
            table.row(screen, fields.map(Into::into))?;
        }
        table.finish(screen)?;
    }
    show_items(report, screen)?;
    show_where(&dest, salvaged, screen)
}

fn show_items(report: &SalvageReport, screen: &mut Screen) -> Result<(), Failure> {
    if !report.items_lost.is_empty() {
        screen.line("")?;
    }
    for item in report.items_lost.iter().take(ITEMS_SHOWN) {
        let what = if item.op.starts_with("define") { "text" } else { "values" };
        let how = match item.loss {
            ItemLoss::Missing => {
                "missing, and no record erased it: a file of a copy that erased it may lie in the log"
            }
            ItemLoss::Withheld => "withheld: an erasure that is not finished may cover it",
            _ => "damaged",
        };
        screen.line(&format!("  record {} ({}): its {what} {how}", item.seq, item.op))?;
    }
    if report.items_lost.len() > ITEMS_SHOWN {
        screen.line("  and more; report.json lists all")?;
    }
    Ok(())
}

fn show_where(dest: &str, salvaged: &Salvaged<'_>, screen: &mut Screen) -> Result<(), Failure> {
    let Checkpoint { records, .. } = salvaged.report.prefix;
    screen.line("")?;
    match &salvaged.checkpoint {
        Some(checkpoint) => {
            screen.line(&format!(
                "{dest}/ledger        a ledger that opens, rolled back on purpose to its first {}",
                counted(records, "record")
            ))?;
            screen.line(&format!("{:1$}{checkpoint}", "", dest.chars().count() + "/beyond.jsonl  ".len()))?;
        }
        None => screen.line("no ledger was written: no record stands before the first fault")?,
    }
    screen.line(&format!(
        "{dest}/beyond.jsonl  {} after the first fault",
        counted(salvaged.beyond, "proven record")
    ))?;
    screen.line(&format!("{dest}/report.json   all of this"))
}

fn clean_path(path: &Path) -> String {
    path.display().to_string()
}
