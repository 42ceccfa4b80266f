//! `import`: what SDKs sent, into a ledger.
#![expect(clippy::disallowed_types, reason = "the shell: how long it took")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use identity_ledger::import::{Format, FutureTimes, Importer, Options, ReadAs, Tally, run};
use identity_ledger::{Durability, Ledger, ReadOnlyLedger};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{CreateArgs, Reading};
use crate::complaints::{Complaints, Kept, Touched};
use crate::failure::Failure;
use crate::input::Input;
use crate::key_ring;
use crate::progress::Progress;
use crate::screen::{Screen, remark, report};
use crate::source::{agree, open_to_append};
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Record what SDKs sent. The ledger is created if there is none.

  identity-ledger import shop.ledger events.jsonl requests-*.jsonl.gz
  tail -n +1 events.jsonl | identity-ledger import shop.ledger -

Takes one JSON document a line, arrays, and {\"batch\":[..]} bodies, plain, gzip or zstd. What was recorded is not recorded again \
when a file is imported twice; what was rejected is tried again. A bad line is reported as FILE:LINE:INDEX: reason, and everything around it is recorded. At the end a snapshot is \
made, so that the ledger opens quickly.

What is counted:
  lines        lines read, blank ones included
  operations   appended + duplicates + conflicts + rejected
  appended     recorded
  refused      of those: recorded, but their link broke a rule; see `outcomes`
  noticed      of those: recorded, with something worth a look; see `outcomes`
  duplicates   recorded before, word for word; also a link that calls of another vendor repeat
  ignored      of those: a device repeated what it had just said
  conflicts    another operation has the same id; not recorded
  rejected     unreadable or out of bounds; not recorded
  ops          read as the ledger's own operations
  posthog      read as events of PostHog
  exported     of those: rows of an export; their columns about persons (person_id, person_properties) are not used
  segment      read from calls of Segment; one with two ids is a link and an event
  rudderstack  read from calls of RudderStack, likewise
  mixpanel     read from events and profile updates of Mixpanel, likewise
  amplitude    read from events of Amplitude, likewise
  persons      read from rows that say who is who; one with several ids is several operations

Formats (docs/vendors.md has what each reads):
  auto               operations of the ledger and events of PostHog; others are rejected by name
  ops                operations of the ledger, one a line
  posthog            everything is taken for PostHog's
  sdk                requests of PostHog's SDKs only, as `serve` takes them: never operations of the ledger
  segment            calls of Segment, from requests, archives and warehouse rows
  rudderstack        calls of RudderStack, likewise
  mixpanel           events and profiles of Mixpanel, from a project with Simplified ID Merge
  mixpanel-original  the same, from a project with Original ID Merge
  amplitude          events of Amplitude, from its export and its HTTP API
  persons            rows that say who is who, such as PostHog's persons model: they are asserted

A Parquet \
file is read row by row, but not from a pipe. A file in another encoding (UTF-32, xz, zip) is not read, and the error says how to convert it.

Exit status: 0 fine; 1 nothing could be recorded of an input that is not empty, and no ledger is created for it, or, with --strict, \
anything was rejected; 2 a file could not be read to its end: what stands before that place and every other file are recorded.

--json keys: what is counted, `snapshot` (how many records the newest one covers), `rejections` and `conflicting` (the first 100 of each, with file, line, index and reason), \
`unread` (files that could not be read to their end, with file and reason), `files` (for each, what it was read as) and \
`persons_touched` (how many persons were founded, linked or written to, of each file and of all).";

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The ledger's directory; created if there is none
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    /// What to import; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the files are written in: auto, ops, posthog, sdk, segment, rudderstack, mixpanel, mixpanel-original, amplitude or persons
    #[arg(long, default_value = "auto")]
    format: Format,
    /// What becomes of times more than 23 hours ahead of this machine's clock: clamp (to the time of recording, with a notice), reject or keep
    #[arg(long, value_name = "CHOICE", default_value = "clamp")]
    future_times: FutureTimes,
    /// Exit with 1 if anything was rejected
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    choice: CreateArgs,
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    tally: Tally,
    /// How many records the ledger's newest snapshot covers, if there is one.
    snapshot: Option<u64>,
    rejections: &'a [Kept],
    conflicting: &'a [Kept],
    /// Files that could not be read to their end.
    unread: Vec<Unread>,
    /// How many persons it founded, linked or wrote to.
    persons_touched: usize,
    /// What each file was taken for.
    files: Vec<ReadFile>,
}

#[derive(Serialize)]
struct ReadFile {
    file: String,
    #[serde(flatten)]
    read_as: ReadAs,
    /// How many persons it founded, linked or wrote to, as they were once it was read.
    persons_touched: usize,
}

#[derive(Serialize)]
struct Unread {
    file: String,
    reason: String,
}

pub(crate) fn import(args: ImportArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ImportArgs { ledger: place, files, format, future_times, strict, choice } = args;
    files.iter().try_for_each(|file| Input::check(file))?; // before anything is created
    let mut progress = Progress::new();
    let (mut ledger, created) = open_or_create(&place, &choice, &mut progress)?;
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut complaints = Complaints::new(&mut progress);
    let (mut unread, mut read, mut touched) = (Vec::new(), Vec::new(), Touched::default());
    for file in &files {
        let before = tally.read_as;
        // A file that ends too early costs no other file anything.
        let options = Options { format, future_times, ..Options::from(ledger.policy()) };
        match import_file(file, &mut ledger, options, &mut tally, &mut complaints) {
            Ok(()) => {}
            Err(stopped) if stopped.is_of_input() => unread.push((file, stopped)),
            Err(failed) => {
                complaints.finish();
                return Err(failed);
            }
        }
        let read_as = since(before, tally.read_as);
        let here = complaints.touched.take(ledger.reader().state());
        here.iter().for_each(|person| touched.note(*person));
        read.push(ReadFile { file: file.display().to_string(), read_as, persons_touched: here.len() });
    }
    let persons_touched = touched.take(ledger.reader().state()).len();
    complaints.finish();
    ledger.flush()?;
    let seconds = began.elapsed().as_secs_f64();
    let is_empty = tally.operations == 0 && unread.is_empty();
    let recorded_nothing = tally.appended == 0 && tally.duplicates == 0 && !is_empty;
    if !screen.json && recorded_nothing && tally.rejected > 1 && complaints.not_json == tally.rejected {
        let lines = count(tally.lines);
        remark("note", &format!("none of {lines} lines is JSON; `import --help` lists the formats"));
    }
    let discarded = created && recorded_nothing && discard(&place, &ledger);
    let snapshot = if discarded { None } else { snapshot(&mut ledger) };
    if screen.json {
        let Complaints { rejections, conflicting, .. } = &complaints;
        let unread = unread
            .iter()
            .map(|(file, failure)| Unread { file: file.display().to_string(), reason: failure.to_string() });
        let unread = unread.collect();
        screen.object(&Summary {
            tally,
            snapshot,
            rejections,
            conflicting,
            unread,
            persons_touched,
            files: read,
        })?;
    } else {
        show(&place, &files, created && !discarded, &tally, persons_touched, seconds, screen)?;
        if read.len() > 1 {
            for ReadFile { file, read_as, persons_touched } in &read {
                let parts = parts(*read_as);
                let mut parts: Vec<_> =
                    parts.iter().map(|(number, what)| format!("{} {what}", count(*number))).collect();
                if parts.is_empty() {
                    parts.push("nothing was read".to_owned());
                } else {
                    parts.push(format!("{} touched", counted(*persons_touched as u64, "person")));
                }
                let said = parts.join(", ");
                screen.line(&format!("{file}: {said}"))?;
            }
            screen.line("")?;
        }
        if discarded {
            screen.line(&format!("nothing was recorded, so {} was not created", place.display()))?;
        } else {
            show_ledger(&place, &ledger, screen)?;
        }
        if let Some(records) = snapshot {
            screen.line(&format!("a snapshot of {} makes opening it quick", counted(records, "record")))?;
        }
    }
    if let Some((_, last)) = unread.pop() {
        screen.finish()?;
        unread.iter().for_each(|(_, failure)| report(failure));
        return Err(last);
    }
    Ok(Answer::yes_if(!(recorded_nothing || strict && tally.rejected > 0)))
}

fn import_file(
    file: &Path,
    ledger: &mut Ledger,
    options: Options,
    tally: &mut Tally,
    complaints: &mut Complaints<'_>,
) -> Result<(), Failure> {
    let Input { reader, bytes } = Input::open(file)?;
    complaints.begin(file, bytes);
    run(ledger, Importer::new(reader, options), tally, complaints)
        .map_err(|source| Failure::Import { file: file.to_owned(), source: Box::new(source) })
}

/// Removes a ledger that was created for this import and holds nothing of it, with its new key ring. Only what creating makes is
/// removed, and only if it is this ledger that lies there. Gives whether it is gone.
fn discard(place: &Path, ledger: &Ledger) -> bool {
    const FILES: [&str; 4] = ["LEDGER", "HEAD", "log/00000000000000000000.seg", "LOCK"];
    let is_it = |there: ReadOnlyLedger| {
        there.reader().ledger_id() == ledger.reader().ledger_id() && there.checkpoint() == ledger.checkpoint()
    };
    let opened = key_ring::options().and_then(|options| Ok(options.open_read_only(place)?));
    let remove = || {
        FILES.iter().try_for_each(|file| fs::remove_file(place.join(file)))?;
        if ledger.reader().is_sealed() {
            fs::remove_file(place.join("COPY"))?;
            key_ring::remove()?;
        }
        fs::remove_dir(place.join("log")).and_then(|()| fs::remove_dir(place))
    };
    opened.is_ok_and(is_it) && remove().is_ok()
}

/// The ledger, and whether it was created for this import.
fn open_or_create(
    place: &Path,
    choice: &CreateArgs,
    progress: &mut Progress,
) -> Result<(Ledger, bool), Failure> {
    if place.join("LEDGER").exists() || place.is_file() {
        let ledger = open_to_append(place, Reading::default(), progress)?;
        agree(choice, place, ledger.reader())?;
        return Ok((ledger, false));
    }
    let policy = choice.policy()?.unwrap_or_default();
    let options = key_ring::options_to_create(place)?.durability(Durability::Buffered);
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

fn show(
    place: &Path,
    files: &[PathBuf],
    created: bool,
    tally: &Tally,
    persons_touched: usize,
    seconds: f64,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let what = match files {
        [file] => file.display().to_string(),
        files => format!("{} files", files.len()),
    };
    let place = place.display().to_string();
    let fresh = if created { " (a new ledger)" } else { "" };
    screen.headline(&format!("Imported {what} into {place}{fresh}, in {seconds:.2} s"))?;
    let of_those = |parts: &[(u64, &str)]| {
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<_> = parts.map(|(number, what)| format!("{} {what}", count(*number))).collect();
        if parts.is_empty() { String::new() } else { format!("   of those {}", parts.join(", ")) }
    };
    let widest = count(tally.lines.max(tally.operations)).len();
    let number = |number: u64| format!("{:>widest$}", count(number));
    let exported = tally.read_as.exported;
    let read_as = parts(tally.read_as);
    let worth_a_look = [(tally.refused, "refused by a rule"), (tally.noticed, "with a notice")];
    let see = if tally.refused + tally.noticed > 0 { ": see `outcomes`" } else { "" };
    screen.facts(&[
        ("lines", number(tally.lines)),
        ("operations", number(tally.operations) + &of_those(&read_as)),
        ("  appended", number(tally.appended) + &of_those(&worth_a_look) + see),
        (
            "  duplicates",
            number(tally.duplicates)
                + &of_those(&[(tally.ignored, "a device's repetition of its last word")]),
        ),
        ("  conflicts", number(tally.conflicts)),
        ("  rejected", number(tally.rejected)),
        ("persons", number(persons_touched as u64) + "   founded, linked or written to"),
    ])?;
    if exported > 0 {
        let rows = counted(exported, "row");
        screen.line(&format!(
            "{rows} of a PostHog export: `person_id`, `person_properties` and the like are not used"
        ))?;
    }
    screen.line("")
}

/// What operations were read as, and how many.
fn parts(read_as: ReadAs) -> Vec<(u64, &'static str)> {
    let ReadAs { ops, posthog, segment, rudderstack, mixpanel, amplitude, persons, .. } = read_as;
    let mut parts = vec![
        (ops, "read as ops"),
        (posthog, "read as events of PostHog"),
        (segment, "read from calls of Segment"),
        (rudderstack, "read from calls of RudderStack"),
        (mixpanel, "read from events of Mixpanel"),
        (amplitude, "read from events of Amplitude"),
        (persons, "read from rows about persons"),
    ];
    parts.retain(|(number, _)| *number > 0);
    parts
}

/// What was read since `before`.
fn since(before: ReadAs, mut now: ReadAs) -> ReadAs {
    now.ops -= before.ops;
    now.posthog -= before.posthog;
    now.exported -= before.exported;
    now.segment -= before.segment;
    now.rudderstack -= before.rudderstack;
    now.mixpanel -= before.mixpanel;
    now.amplitude -= before.amplitude;
    now.persons -= before.persons;
    now
}

fn show_ledger(place: &Path, ledger: &Ledger, screen: &mut Screen) -> Result<(), Failure> {
    let persons = u64::try_from(ledger.reader().state().persons().count()).unwrap_or(u64::MAX);
    screen.line(&format!(
        "{} now has {} and {}",
        place.display(),
        counted(ledger.checkpoint().records, "record"),
        counted(persons, "person"),
    ))
}
