//! `resolve`: who an id is.

use std::path::Path;

use clap::Args;
use identity_ledger::answer::PersonStatus;
use identity_ledger::storage::Fault;
use identity_ledger::{PersonId, Profile, ReadOnlyLedger, Reader, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::failure::Failure;
use crate::moment::{MOMENT, Moment};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{AnsweredFrom, open_ledger};
use crate::table::{Column, Field, Table};
use crate::text::{count, never_written, value};

/// The long help.
pub(crate) const HELP: &str = "\
Say who an id is: its person, and everything known of it, each property with the record that won it. Exit status 1 if the id \
was never written.

  identity-ledger resolve shop.ledger ann@example.com
  identity-ledger resolve shop.ledger ann@example.com --at 120
  identity-ledger resolve shop.ledger ann@example.com --at 2026-03-03   # what did we know then?

Ids are compared exactly: no trimming, no case folding. An id that was only seen with processing off has no person yet; the \
one it would found is shown as implied. With --at: who it was right after that record, and what was known then; of a time, everything counts that was recorded at or \
before it, by the clock of the ledger. An ID that was \
never written and is the id of a person, now or once, is answered with the person it stands for now.

--json keys: person_id (null for an unknown id), profile (null for an implied person), implied, distinct_id, at (the record that was used, or null). For a person id: \
asked, person_id, retracted.";

#[derive(Args)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// The distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    id: String,
    /// Right after this record, or at this time (2026-03-03T12:00:00Z, or 2026-03-03: its first moment in UTC), instead of now
    #[arg(long, value_name = MOMENT)]
    at: Option<Moment>,
}

#[derive(Serialize)]
pub(crate) struct Resolved<'a> {
    distinct_id: &'a str,
    at: Option<Seq>,
    person_id: Option<PersonId>,
    implied: bool,
    profile: Option<Profile>,
}

pub(crate) fn resolve(args: ResolveArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ResolveArgs { ledger: LedgerArgs { place, reading }, id, at } = args;
    let ledger = open_ledger(&place, reading, &mut Progress::new(), screen)?;
    let at = at.map(|at| at.record(ledger.reader(), screen)).transpose()?;
    let resolved = Resolved::of(ledger.reader(), &id, at)?;
    if resolved.person_id.is_none()
        && let Some(asked) = uuid::Uuid::try_parse(&id).ok().map(PersonId)
        && let Some(became) = ledger.reader().became(asked).filter(|_| at.is_none())
    {
        return redirect(&ledger, asked, became, screen);
    }
    if screen.json {
        screen.answer(&resolved, &AnsweredFrom::reader(&ledger))?;
    } else {
        show(&ledger, &place, &resolved, screen)?;
    }
    Ok(Answer::yes_if(resolved.person_id.is_some()))
}

impl<'a> Resolved<'a> {
    /// Who an id is, or was right after a record.
    pub(crate) fn of(reader: &Reader, id: &'a str, at: Option<Seq>) -> Result<Resolved<'a>, Fault> {
        let (resolution, profile) = match at {
            None => (reader.resolve(id), reader.profile(id)?),
            Some(seq) => (reader.person_as_of(id, seq), reader.profile_as_of(id, seq)?),
        };
        Ok(Resolved {
            distinct_id: id,
            at,
            person_id: resolution.map(|resolution| resolution.person_id),
            implied: resolution.is_some_and(|resolution| resolution.implied),
            profile,
        })
    }
}

fn show(
    ledger: &ReadOnlyLedger,
    place: &Path,
    resolved: &Resolved<'_>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let id = resolved.distinct_id;
    let Some(person_id) = resolved.person_id else { return show_unknown(ledger, place, resolved, screen) };
    let when = resolved.at.map_or(String::new(), |at| format!("Right after record {at}: "));
    if let Some(profile) = &resolved.profile {
        screen.headline(&format!("{when}`{id}` is person {person_id}"))?;
        return show_profile(profile, screen);
    }
    screen.headline(&format!("{when}`{id}` has no person"))?;
    screen.line(
        "Nothing that counts gives it one: it was seen only with processing off, or what was said of it",
    )?;
    screen.line("was retracted. The person it would found is")?;
    screen.line(&person_id.to_string())
}

#[derive(Serialize)]
struct Redirected {
    asked: PersonId,
    #[serde(flatten)]
    became: PersonStatus,
}

/// Answers for a person id: whom it stands for now.
fn redirect(
    ledger: &ReadOnlyLedger,
    asked: PersonId,
    became: PersonStatus,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let PersonStatus { person_id, retracted } = became;
    if screen.json {
        screen.answer(&Redirected { asked, became }, &AnsweredFrom::reader(ledger))?;
        return Ok(Answer::Yes);
    }
    match (person_id == asked, retracted) {
        (true, false) => screen.headline(&format!("{asked} is the id of a person"))?,
        (_, true) => {
            screen.headline(&format!("{asked} was the id of a person whose founding was retracted"))?;
            screen.line(&format!("It stands for {person_id} now."))?;
        }
        (false, false) => {
            screen.headline(&format!("{asked} was the id of a person that was absorbed"))?;
            screen.line(&format!("It stands for {person_id} now."))?;
        }
    }
    screen.line("`persons` lists the persons there are, with their distinct ids.")?;
    Ok(Answer::Yes)
}

fn show_unknown(
    ledger: &ReadOnlyLedger,
    place: &Path,
    resolved: &Resolved<'_>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let id = resolved.distinct_id;
    if let (Some(at), Some(number)) = (resolved.at, ledger.reader().id_no(resolved.distinct_id)) {
        let first = ledger.reader().state().defined_by(number);
        return screen.line(&format!(
            "`{id}` was not yet written right after record {at}; record {first} is the first that knows it"
        ));
    }
    never_written(resolved.distinct_id, place).iter().try_for_each(|line| screen.line(line))
}

fn show_profile(profile: &Profile, screen: &mut Screen) -> Result<(), Failure> {
    let identified = profile.identified_by.map_or("no".to_owned(), |seq| format!("yes, by record {seq}"));
    let events = match profile.events - profile.identified_events {
        0 => count(profile.events),
        propertyless => {
            format!("{}, of those {} propertyless", count(profile.events), count(propertyless))
        }
    };
    screen.facts(&[
        ("founded", format!("by record {}", profile.founded)),
        ("identified", identified),
        ("created", profile.created_at.to_string()),
        ("events", events),
    ])?;
    screen.line("")?;
    screen.headline("Distinct ids")?;
    profile.distinct_ids.iter().try_for_each(|id| screen.line(&format!("  {id}")))?;
    if profile.properties.is_empty() {
        return Ok(());
    }
    const COLUMNS: [Column; 3] =
        [Column::elastic("PROPERTY"), Column::elastic("VALUE"), Column::number("RECORD")];
    screen.line("")?;
    let mut table = Table::new(&COLUMNS);
    for (key, property) in &profile.properties {
        let shown = Field::new(value(property));
        let shown = if property.value.is_some() { shown } else { shown.quiet() };
        table.row(screen, [key.to_owned().into(), shown, property.seq.to_string().into()])?;
    }
    table.finish(screen).map(drop)
}
