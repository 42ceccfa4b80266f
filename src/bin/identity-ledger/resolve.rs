//! `resolve`: who an id is.

use std::path::Path;

use identity_ledger::{LedgerReader, PersonId, Profile, Seq};
use serde::Serialize;

use crate::Answer;
use crate::args::ResolveArgs;
use crate::failure::Failure;
use crate::folding::{Snapshots, open_ledger};
use crate::listing::value;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{clean, count};

#[derive(Serialize)]
struct Resolved<'a> {
    distinct_id: &'a str,
    at: Option<u64>,
    person_id: Option<PersonId>,
    implied: bool,
    profile: Option<Profile>,
}

pub(crate) fn resolve(args: ResolveArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ResolveArgs { ledger: place, id, at } = args;
    let ledger = open_ledger(&place, Snapshots::Used, &mut Progress::new())?;
    let last = ledger.checkpoint().records - 1; // there is always the genesis record
    if let Some(asked) = at.filter(|at| *at > last) {
        return Err(Failure::NoSuchRecord { asked, last });
    }
    let resolution = match at {
        None => ledger.resolve(&id),
        Some(at) => ledger.person_as_of(&id, Seq(at)),
    };
    let profile = if at.is_none() { ledger.profile(&id)? } else { None };
    let resolved = Resolved {
        distinct_id: &id,
        at,
        person_id: resolution.map(|resolution| resolution.person_id),
        implied: resolution.is_some_and(|resolution| resolution.implied),
        profile,
    };
    if screen.json {
        screen.object(&resolved)?;
    } else {
        show(&ledger, &place, &resolved, screen)?;
    }
    Ok(if resolution.is_some() { Answer::Yes } else { Answer::No })
}

fn show(
    ledger: &LedgerReader,
    place: &Path,
    resolved: &Resolved<'_>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let id = clean(resolved.distinct_id);
    let Some(person_id) = resolved.person_id else { return show_unknown(ledger, place, resolved, screen) };
    match (&resolved.profile, resolved.at) {
        (Some(profile), _) => {
            screen.headline(&format!("`{id}` is person {person_id}"))?;
            show_profile(profile, screen)
        }
        (None, Some(at)) if !resolved.implied => {
            screen.headline(&format!("Right after record {at}, `{id}` was person {person_id}"))
        }
        (None, at) => {
            let when = at.map_or(String::new(), |at| format!("Right after record {at}: "));
            screen.headline(&format!("{when}`{id}` has no person"))?;
            screen.line("It was seen only with processing off. The person it would found is")?;
            screen.line(&person_id.to_string())
        }
    }
}

fn show_unknown(
    ledger: &LedgerReader,
    place: &Path,
    resolved: &Resolved<'_>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let id = clean(resolved.distinct_id);
    if let (Some(at), Some(number)) = (resolved.at, ledger.id_no(resolved.distinct_id)) {
        let first = ledger.state().defined_by(number);
        return screen.line(&format!(
            "`{id}` was not yet written right after record {at}; record {first} is the first that knows it"
        ));
    }
    never_written(resolved.distinct_id, place).iter().try_for_each(|line| screen.line(line))
}

/// Says that an id is nobody's, and why that may be.
pub(crate) fn never_written(id: &str, place: &Path) -> [String; 2] {
    let (id, place) = (clean(id), place.display().to_string());
    [
        format!("`{id}` was never written in {}", clean(&place)),
        "Ids are compared exactly, letter case and blanks included; `persons` lists those there are."
            .to_owned(),
    ]
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
    profile.distinct_ids.iter().try_for_each(|id| screen.line(&format!("  {}", clean(id))))?;
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
        table.row(screen, [clean(key).into_owned().into(), shown, property.seq.to_string().into()])?;
    }
    table.finish(screen).map(drop)
}
