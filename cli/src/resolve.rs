//! `resolve`: who an id is.

use clap::Args;
use identity_ledger::answer::PersonStatus;
use identity_ledger::storage::Fault;
use identity_ledger::{PersonId, Profile, Reader, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::asked::Asked;
use crate::failure::Failure;
use crate::input::{STDIN, lines};
use crate::progress::Progress;
use crate::screen::{Screen, remark_source};
use crate::source::{Source, open_ledger};
use crate::table::{Column, Field, Table};
use crate::text::{count, short_id, short_person, value, yes};
use crate::unknown::remark_unknown;

/// The long help.
pub(crate) const HELP: &str = "\
Say who an id is: its person, and everything known of it, each property with the record that won it. Exit status 1 if the id \
was never written.

  identity-ledger resolve shop.ledger ann@example.com
  identity-ledger resolve shop.ledger ann@example.com --at 120
  identity-ledger resolve shop.ledger ann@example.com --at 2026-03-03   # what did we know then?
  cut -f1 ids.tsv | identity-ledger resolve shop.ledger - --json        # one answer a line

Ids are compared exactly: no trimming, no case folding. An id that was only seen with processing off has no person yet; the \
one it would found is shown as implied. With --at: who it was right after that record, and what was known then; of a time, \
everything counts that was recorded at or before it, by the clock of the ledger. An ID that was never written and is the id of a \
person, now or once, is answered with the person it stands for, and without --at with that person's profile.

--json keys: distinct_id (as it was asked), at (the record that was used, or null), person_id (null for an unknown id), implied, \
is_person_id, retracted (of a person id: its founding was), profile (keys as `persons` has them; null for an implied person, and of a \
person id with --at), unknown_ids.";

#[derive(Args)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    /// The distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen); `-` reads ids from standard input, one a line
    #[arg(value_name = "ID")]
    id: String,
}

/// Who an id is.
#[derive(Serialize)]
pub(crate) struct Resolved<'a> {
    distinct_id: &'a str,
    at: Option<Seq>,
    /// `None` for an id that was never written and is not the id of a person either.
    person_id: Option<PersonId>,
    implied: bool,
    /// Whether the id was never written and is that of a person, now or once.
    is_person_id: bool,
    /// Whether it is that of a person whose founding was retracted.
    retracted: bool,
    profile: Option<Profile>,
    unknown_ids: Vec<&'a str>,
}

pub(crate) fn resolve(args: ResolveArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ResolveArgs { ledger: LedgerArgs { place, reading }, as_of: AsOf { at }, id } = args;
    let ledger = open_ledger(&place, reading, &mut Progress::new(), screen)?;
    let at = at.map(|at| at.record(ledger.reader(), screen)).transpose()?;
    // One id is answered from its component alone; a whole ledger as of a record takes a fold of all that came before.
    let asked = Asked::unfolded(Source::Ledger(Box::new(ledger)), at);
    if id == STDIN {
        return resolve_many(asked.folded(&mut Progress::new())?, screen);
    }
    let resolved = Resolved::of(asked.now(), &id, at)?;
    if screen.json {
        screen.answer(&resolved, &asked.answered_from())?;
    } else if resolved.unknown_ids.is_empty() {
        show(&resolved, screen)?;
    } else {
        remark_unknown(&asked, &place, &resolved.unknown_ids);
    }
    Ok(resolved.answer())
}

/// Who the id of each line is: one answer a line.
fn resolve_many(asked: Asked, screen: &mut Screen) -> Result<Answer, Failure> {
    const COLUMNS: [Column; 5] = [
        Column::elastic("ID"),
        Column::whole("PERSON"),
        Column::whole("IDENTIFIED"),
        Column::number("EVENTS"),
        Column::elastic("DISTINCT IDS"),
    ];
    if let Some(from) = asked.answered_from().filter(|_| screen.json) {
        remark_source(&from);
    }
    let (mut table, mut all_known) = (Table::new(&COLUMNS), true);
    for id in lines() {
        let id = id?;
        if screen.is_unread() {
            break; // however many lines follow
        }
        let resolved = Resolved { at: asked.at(), ..Resolved::of(&asked, &id, None)? };
        all_known &= resolved.person_id.is_some();
        if screen.json {
            screen.object(&resolved)?;
        } else {
            table.row(screen, resolved.row(screen.wide))?;
        }
    }
    table.finish(screen)?;
    Ok(Answer::yes_if(all_known))
}

impl<'a> Resolved<'a> {
    /// Who an id is, or was right after a record.
    pub(crate) fn of(reader: &Reader, id: &'a str, at: Option<Seq>) -> Result<Resolved<'a>, Fault> {
        let (resolution, profile) = match at {
            None => (reader.resolve(id), reader.profile(id)?),
            Some(seq) => (reader.person_as_of(id, seq), reader.profile_as_of(id, seq)?),
        };
        let status = match (resolution, uuid::Uuid::try_parse(id), at) {
            (None, Ok(asked), None) => reader.became(PersonId(asked)),
            (None, Ok(asked), Some(seq)) => reader
                .survivor_as_of(PersonId(asked), seq)?
                .map(|person_id| PersonStatus { person_id, retracted: false }),
            _ => None,
        };
        let profile = match (&status, at) {
            (Some(status), None) => reader.profile_of(status.person_id)?,
            _ => profile,
        };
        let person_id = resolution.map(|resolution| resolution.person_id);
        Ok(Resolved {
            distinct_id: id,
            at,
            person_id: person_id.or(status.map(|status| status.person_id)),
            implied: resolution.is_some_and(|resolution| resolution.implied),
            is_person_id: status.is_some(),
            retracted: status.is_some_and(|status| status.retracted),
            profile,
            unknown_ids: if resolution.is_none() && status.is_none() { vec![id] } else { Vec::new() },
        })
    }

    fn answer(&self) -> Answer {
        Answer::yes_if(self.person_id.is_some())
    }

    /// One line of a table.
    fn row(&self, wide: bool) -> [Field; 5] {
        let person = match (self.person_id, self.implied) {
            (None, _) => Field::new("unknown").alarming(),
            (Some(_), true) => Field::new("none").quiet(),
            (Some(person), false) => Field::new(short_person(person, wide)),
        };
        let id = short_id(self.distinct_id, wide).into_owned().into();
        let Some(profile) = &self.profile else {
            return [id, person, Field::new(""), Field::new(""), Field::new("")];
        };
        let ids: Vec<_> = profile.distinct_ids.iter().map(|id| short_id(id, wide)).collect();
        [id, person, yes(profile.is_identified).into(), count(profile.events).into(), ids.join(", ").into()]
    }
}

fn show(resolved: &Resolved<'_>, screen: &mut Screen) -> Result<(), Failure> {
    let (id, Some(person_id)) = (resolved.distinct_id, resolved.person_id) else { return Ok(()) };
    if resolved.is_person_id {
        show_status(id, person_id, resolved.retracted, screen)?;
        return match &resolved.profile {
            Some(profile) => show_profile(profile, screen),
            None => screen.line("`persons` lists the persons there are, with their distinct ids."),
        };
    }
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

/// Shows whom a person id stands for.
fn show_status(
    asked: &str,
    person_id: PersonId,
    retracted: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match (person_id.to_string() == asked, retracted) {
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
    Ok(())
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
