//! `import`: what SDKs sent, into a ledger.
#![expect(clippy::disallowed_types, reason = "the shell: how long it took")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use identity_ledger::import::{Importer, Options, RunError, Tally, run};
use identity_ledger::{Durability, Ledger};
use serde::Serialize;

use crate::Answer;
use crate::args::{Choice, ImportArgs, Reading};
use crate::complaints::{Complaints, Kept};
use crate::failure::Failure;
use crate::folding::{Input, agree, open_to_append};
use crate::keys;
use crate::progress::Progress;
use crate::screen::{Screen, remark};
use crate::text::{clean, count, counted};

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    tally: Tally,
    /// How many records the ledger's newest snapshot covers, if there is one.
    snapshot: Option<u64>,
    rejections: &'a [Kept],
    conflicting: &'a [Kept],
}

pub(crate) fn import(args: ImportArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ImportArgs { ledger: place, files, format, strict, choice } = args;
    files.iter().try_for_each(|file| Input::check(file))?; // before anything is created
    let mut inputs = files.iter();
    let mut next = inputs.next().map(|file| Input::open(file).map(|input| (file, input))).transpose()?;
    let mut progress = Progress::new();
    let (mut ledger, created) = open_or_create(&place, &choice, &mut progress)?;
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut complaints = Complaints::new(&mut progress);
    while let Some((file, Input { reader, bytes })) = next {
        complaints.begin(file, bytes);
        let options = Options { format, ..Options::from(ledger.policy()) };
        let done = run(&mut ledger, Importer::new(reader, options), &mut tally, &mut complaints);
        if let Err(source) = done {
            complaints.finish();
            return Err(stopped(&mut ledger, file, source, &tally));
        }
        next = match inputs.next().map(|file| Input::open(file).map(|input| (file, input))).transpose() {
            Ok(next) => next,
            Err(failure) => {
                complaints.finish();
                ledger.flush()?;
                remark("note", &recorded_before(&tally));
                return Err(failure);
            }
        };
    }
    complaints.finish();
    ledger.flush()?;
    let seconds = began.elapsed().as_secs_f64();
    let snapshot = snapshot(&mut ledger);
    if screen.json {
        let Complaints { rejections, conflicting, .. } = &complaints;
        screen.object(&Summary { tally, snapshot, rejections, conflicting })?;
    } else {
        show(&place, &files, created, &ledger, &tally, seconds, screen)?;
        if let Some(records) = snapshot {
            screen.line(&format!("a snapshot of {} makes opening it quick", counted(records, "record")))?;
        }
    }
    Ok(if strict && tally.rejected > 0 { Answer::No } else { Answer::Yes })
}

/// The ledger, and whether it was created for this import.
fn open_or_create(place: &Path, choice: &Choice, progress: &mut Progress) -> Result<(Ledger, bool), Failure> {
    if place.join("LEDGER").exists() || place.is_file() {
        let ledger = open_to_append(place, Reading::default(), progress)?;
        agree(choice, place, &ledger)?;
        return Ok((ledger, false));
    }
    let policy = choice.policy()?.unwrap_or_default();
    let options = keys::options_to_create(place)?.durability(Durability::Buffered);
    Ok((options.create(place, choice.tenant_or_default(), policy)?, true))
}

/// Makes a snapshot, unless there is one already; gives how many records it covers. The import is whole without it, so a
/// failure is a note.
fn snapshot(ledger: &mut Ledger) -> Option<u64> {
    let covered = ledger.recovery().from_snapshot;
    if covered == Some(ledger.checkpoint().records) {
        return covered;
    }
    match ledger.snapshot() {
        Ok(made) => Some(made.records),
        Err(error) => {
            remark("note", &format!("{error}; the import itself is complete"));
            covered
        }
    }
}

/// Makes durable what was recorded before an input ended too early. A ledger that failed cannot do that any more.
fn stopped(ledger: &mut Ledger, file: &Path, source: RunError, tally: &Tally) -> Failure {
    if matches!(source, RunError::Input(_)) {
        if let Err(error) = ledger.flush() {
            return error.into();
        }
        remark("note", &recorded_before(tally));
    }
    Failure::Import { file: file.to_owned(), source: Box::new(source) }
}

fn recorded_before(tally: &Tally) -> String {
    format!("{} recorded before this", counted(tally.appended, "operation"))
}

fn show(
    place: &Path,
    files: &[PathBuf],
    created: bool,
    ledger: &Ledger,
    tally: &Tally,
    seconds: f64,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let what = match files {
        [file] => file.display().to_string(),
        files => format!("{} files", files.len()),
    };
    let place = place.display().to_string();
    let fresh = if created { " (a new ledger)" } else { "" };
    screen.headline(&clean(&format!("Imported {what} into {place}{fresh}, in {seconds:.2} s")))?;
    let of_those = |number: u64, what: &str| match number {
        0 => String::new(),
        number => format!("   of those {} {what}", count(number)),
    };
    let widest = count(tally.lines.max(tally.operations)).len();
    let number = |number: u64| format!("{:>widest$}", count(number));
    screen.facts(&[
        ("lines", number(tally.lines)),
        ("operations", number(tally.operations)),
        (
            "  appended",
            number(tally.appended) + &of_those(tally.refused, "refused by a rule: see `outcomes`"),
        ),
        (
            "  duplicates",
            number(tally.duplicates) + &of_those(tally.ignored, "a device's repetition of its last word"),
        ),
        ("  conflicts", number(tally.conflicts)),
        ("  rejected", number(tally.rejected)),
    ])?;
    let persons = u64::try_from(ledger.state().persons().count()).unwrap_or(u64::MAX);
    screen.line("")?;
    screen.line(&format!(
        "{} now has {} and {}",
        clean(&place),
        counted(ledger.checkpoint().records, "record"),
        counted(persons, "person"),
    ))
}
