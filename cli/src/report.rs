//! `report`: what of a ledger deserves a look.

use clap::Args;
use identity_ledger::answer::{KindHeld, LargePerson, NotedId, Report, SharedId, Stitched, Touched, Worst};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{count, counted, short_id, short_person};

/// The long help.
pub(crate) const HELP: &str = "\
Show what of a ledger deserves a look: how much of what visitors did is known to be a user's, what was refused or remarked and how many persons it \
touched, ids and devices that several users share, persons near a limit, and ids that look wrong.

  identity-ledger report shop.ledger
  identity-ledger report shop.ledger --most 50 --json | jq .shared_ids

What is shown:
  STITCHED     ids with events that do not count as users, and those events: all, and those whose person has a user. The share is the stitch rate
  REFUSED      refused operations by rule; PERSONS are those that the operations speak for now. `why-not` tells of one, `outcomes` of all
  NOTICED      operations with a notice, likewise
  SHARED       an id that links name together with several users, or a device on which several signed in: a kiosk, or a bug. `blocked_ids` and `blocked_prefixes` in the policy keep an id from merging, `explain` shows what it joined
  LARGEST      the persons with the most ids, each with the first of them
  KIND         kinds of ids that the policy names: their ids, the persons that have one, the most that one person has, the limit, and persons near it (from 80 percent on) and beyond it
  GENERATED    users whose ids look as if a program made them up: `anonymous_prefixes` and `uuid_ids` in the policy say which ids are visitors'
  PLACEHOLDER  ids that stand for no particular person and may merge: `block_placeholders` in the policy bars them

Retracted operations are left out. Exit status 0, whatever is found.

--json keys: persons, identified_persons, stitched (ids, ids_of_users, events, events_of_users), refusals and notices (name, rule, operations, \
persons), shared_ids and shared_devices (count, worst: id, users), largest_persons (person_id, distinct_id, ids), persons_near_limit, kinds (kind, ids, persons, most, max_per_person, \
persons_near_limit, persons_beyond), generated_users and placeholders (count, worst: distinct_id, events).";

#[derive(Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    /// How many entries each list has at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    most: usize,
}

const STITCHED: [Column; 4] =
    [Column::whole("STITCHED"), Column::number("ALL"), Column::number("OF USERS"), Column::number("SHARE")];
const REFUSED: [Column; 4] = [
    Column::whole("REFUSED"),
    Column::whole("RULE"),
    Column::number("OPERATIONS"),
    Column::number("PERSONS"),
];
const NOTICED: [Column; 3] =
    [Column::whole("NOTICED"), Column::number("OPERATIONS"), Column::number("PERSONS")];
const SHARED_ID: [Column; 2] = [Column::whole("SHARED ID"), Column::number("USERS")];
const SHARED_DEVICE: [Column; 2] = [Column::whole("SHARED DEVICE"), Column::number("USERS")];
const LARGEST: [Column; 3] =
    [Column::whole("LARGEST PERSON"), Column::whole("FIRST ID"), Column::number("IDS")];
const KIND: [Column; 7] = [
    Column::whole("KIND"),
    Column::number("IDS"),
    Column::number("PERSONS"),
    Column::number("MOST"),
    Column::number("LIMIT"),
    Column::number("NEAR"),
    Column::number("BEYOND"),
];
const GENERATED: [Column; 2] = [Column::whole("GENERATED USER"), Column::number("EVENTS")];
const PLACEHOLDER: [Column; 2] = [Column::whole("PLACEHOLDER"), Column::number("EVENTS")];

pub(crate) fn report(args: ReportArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let mut progress = Progress::new();
    let ledger = args.ledger.open(args.as_of, &mut progress, screen)?;
    progress.begin_waiting("Reading the log");
    let report = ledger.report(args.most)?;
    progress.clear();
    if screen.json {
        screen.answer(&report, &ledger.answered_from())?;
        return Ok(Answer::Yes);
    }
    let Report { persons, identified_persons, persons_near_limit, .. } = report;
    let place = args.ledger.place.display().to_string();
    screen.headline(&format!(
        "{place}: {}, {} identified",
        counted(persons, "person"),
        count(identified_persons)
    ))?;
    stitched(report.stitched, screen)?;
    list(&REFUSED, &report.refusals, None, screen, |touched, _| {
        let Touched { name, rule, operations, persons, .. } = touched;
        let rule = rule.unwrap_or_default();
        [(*name).into(), rule.into(), count(*operations).into(), count(*persons).into()]
    })?;
    list(&NOTICED, &report.notices, None, screen, |touched, _| {
        let Touched { name, operations, persons, .. } = touched;
        [(*name).into(), count(*operations).into(), count(*persons).into()]
    })?;
    let shared = |SharedId { id, users }: &SharedId, wide| [short_id(id, wide).into(), count(*users).into()];
    let noted = |NotedId { distinct_id, events }: &NotedId, wide| {
        [short_id(distinct_id, wide).into(), count(*events).into()]
    };
    worst(&SHARED_ID, &report.shared_ids, screen, shared)?;
    worst(&SHARED_DEVICE, &report.shared_devices, screen, shared)?;
    list(&LARGEST, &report.largest_persons, None, screen, |person, wide| {
        let LargePerson { person_id, distinct_id, ids } = person;
        [short_person(*person_id, wide).into(), short_id(distinct_id, wide).into(), count(*ids).into()]
    })?;
    if persons_near_limit > 0 {
        let persons = counted(persons_near_limit, "person");
        screen.line(&format!("{persons} with 80 % or more of the ids that the policy allows"))?;
    }
    list(&KIND, &report.kinds, None, screen, |held, _| {
        let KindHeld { kind, ids, persons, most, max_per_person, persons_near_limit, persons_beyond, .. } =
            held;
        [
            kind.as_str().into(),
            count(*ids).into(),
            count(*persons).into(),
            count(*most).into(),
            max_per_person.map_or("none".to_owned(), |limit| count(limit.into())).into(),
            count(*persons_near_limit).into(),
            count(*persons_beyond).into(),
        ]
    })?;
    worst(&GENERATED, &report.generated_users, screen, noted)?;
    worst(&PLACEHOLDER, &report.placeholders, screen, noted)?;
    Ok(Answer::Yes)
}

/// What visitors did, and how much of it is known to be a user's.
fn stitched(stitched: Stitched, screen: &mut Screen) -> Result<(), Failure> {
    let share = |part: u64, all: u64| match all {
        0 => String::new(),
        _ => format!("{:.1} %", part as f64 * 100.0 / all as f64),
    };
    screen.line("")?;
    let mut table = Table::new(&STITCHED);
    for (what, all, part) in [
        ("visitors' ids", stitched.ids, stitched.ids_of_users),
        ("their events", stitched.events, stitched.events_of_users),
    ] {
        table.row(screen, [what.into(), count(all).into(), count(part).into(), share(part, all).into()])?;
    }
    table.finish(screen).map(drop)
}

fn worst<T, const N: usize>(
    columns: &'static [Column],
    worst: &Worst<T>,
    screen: &mut Screen,
    row: impl Fn(&T, bool) -> [Field; N],
) -> Result<(), Failure> {
    list(columns, &worst.worst, Some(worst.count), screen, row)
}

/// A table, and how many entries it leaves out; nothing where there are no entries.
fn list<T, const N: usize>(
    columns: &'static [Column],
    entries: &[T],
    all: Option<u64>,
    screen: &mut Screen,
    row: impl Fn(&T, bool) -> [Field; N],
) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let mut table = Table::new(columns);
    for entry in entries {
        table.row(screen, row(entry, screen.wide))?;
    }
    table.finish(screen)?;
    match all.unwrap_or_default().saturating_sub(entries.len() as u64) {
        0 => Ok(()),
        more => screen.line(&format!("{} more; --most shows more of them", count(more))),
    }
}
