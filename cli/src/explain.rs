//! `explain`: why two ids, or an event and a person, are one.

use std::path::Path;

use clap::Args;
use identity_ledger::answer::PropertyAnswer;
use identity_ledger::explain::{ExplainedStep, NamedId, PropertyWrite, Superseded, WhyProperty};
use identity_ledger::{Explanation, OperationId, PersonId, Reader, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::asked::Asked;
use crate::failure::Failure;
use crate::input::{STDIN, lines};
use crate::progress::Progress;
use crate::screen::{Screen, remark_source};
use crate::table::{Column, Field, Table};
use crate::text::{counted, short_id, short_time, value};
use crate::unknown::{remark_unknown, unknown};

/// The long help.
pub(crate) const HELP: &str = "\
Say why two ids are one person: the records that lead from the one to the other, each naming both ends of its step. Or why an \
event is its person's: its own record first, then the way from its id to the one that founded the person. Exit status 1 if they \
are not one; then `why-not` says what is between them.

  identity-ledger explain shop.ledger ann@example.com 01a208e3-7690-7334-88e3-9756348b65c8
  identity-ledger explain shop.ledger --event 01890a5d-ac96-774b-bcce-b302099a8001
  identity-ledger explain shop.ledger --event 4711        # the event of this record
  identity-ledger explain shop.ledger ann@example.com --property plan
  cut -f1,2 pairs.tsv | identity-ledger explain shop.ledger - --json
  identity-ledger explain shop.ledger ann@example.com phone-7 --at 2026-03-03

Many pairs are read from standard input: `explain LEDGER -` takes two ids a line with a tab between them, `explain LEDGER ID -` \
one id a line. Each line is answered by one line, in the same order.

The steps are the links that made the person what it is, not the fewest that could have. They are checked against the records \
alone before they are shown; leave one out, and the way is broken.

With --property: every operation for the person's ids that said something of the key, the one that won it, and by which rule and \
record each other one was beaten. Exit status 1 if nothing was ever said of it.

--json keys: same, steps (seq, op, ids, time), person_id (null unless same), event (the event's record, or null), from, to, unknown_ids. With --property: person_id, key, now (the value, or null), writes (seq, op, \
time, distinct_id, verb, value, erased_by, beaten: rule and by), unknown_ids.";

#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    as_of: AsOf,
    /// Two distinct ids, exactly as they were sent; `-` reads them from standard input
    #[arg(value_name = "ID", num_args = 1..=2, required_unless_present = "event", conflicts_with = "event")]
    ids: Vec<String>,
    /// Why a property of the person of one ID has its value
    #[arg(long, value_name = "KEY", conflicts_with = "event")]
    property: Option<String>,
    /// An event: its id, or the number of its record
    #[arg(long, value_name = "ID|SEQ", value_parser = EventName::parse)]
    event: Option<EventName>,
}

/// What an event is called on the command line.
#[derive(Clone, Copy)]
pub(crate) enum EventName {
    Id(OperationId),
    Record(Seq),
}

impl EventName {
    pub(crate) fn parse(text: &str) -> Result<EventName, String> {
        match (text.parse(), uuid::Uuid::try_parse(text)) {
            (Ok(seq), _) => Ok(EventName::Record(Seq(seq))),
            (_, Ok(id)) => Ok(EventName::Id(OperationId(id))),
            _ => Err("expected the id of an event (a UUID), or the number of its record".to_owned()),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Explained<'a> {
    same: bool,
    event: Option<Seq>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    person_id: Option<PersonId>,
    steps: &'a [ExplainedStep],
    unknown_ids: &'a [&'a str],
}

pub(crate) fn explain(args: ExplainArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ExplainArgs { ledger, as_of, ids, event, property } = args;
    let many = event.is_none() && ids.iter().any(|id| id == STDIN);
    if many && property.is_some() {
        return Err(Failure::ManyProperties);
    }
    let found = ids.len() + usize::from(property.is_some());
    if found != 2 && event.is_none() && !(many && found == 1) {
        return Err(Failure::TwoIds { found: ids.len() });
    }
    let mut progress = Progress::beside(screen);
    let asked = ledger.open(as_of, &mut progress, screen)?;
    let place = &ledger.place;
    progress.begin_waiting("Looking for the records");
    if many {
        return explain_many(&asked, &ids, screen);
    }
    if let ([id], Some(key)) = (&ids[..], &property) {
        return explain_property(&asked, place, id, key, screen);
    }
    let explanation = match (event, &ids[..]) {
        (Some(EventName::Id(id)), _) => asked.explain_event(id)?,
        (Some(EventName::Record(seq)), _) => asked.explain_record(seq)?,
        (None, [a, b]) => asked.explain(a, b)?,
        _ => None, // clap lets nothing else through
    };
    if let Some(explanation) = &explanation {
        check(&asked, explanation)?;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let unknown_ids = unknown(&asked, ids.iter().copied());
    let explained = Explained::of(explanation.as_ref(), &ids, &unknown_ids);
    if screen.json {
        screen.answer(&explained, &asked.answered_from())?;
    } else {
        match &explanation {
            Some(explanation) => show(explanation, screen)?,
            None if unknown_ids.is_empty() => show_none(&ids, event, screen)?,
            None => remark_unknown(&asked, place, &unknown_ids),
        }
    }
    Ok(Answer::yes_if(explained.same))
}

/// Why the two ids of each line are one person, or the id of each line and the one that was given: one answer a line.
fn explain_many(asked: &Asked, ids: &[String], screen: &mut Screen) -> Result<Answer, Failure> {
    const COLUMNS: [Column; 4] = [
        Column::elastic("ID"),
        Column::elastic("OTHER"),
        Column::whole("SAME"),
        Column::elastic("BY RECORDS"),
    ];
    let given: Vec<&str> = ids.iter().map(String::as_str).filter(|id| *id != STDIN).collect();
    if let Some(from) = asked.answered_from().filter(|_| screen.json) {
        remark_source(&from);
    }
    let (mut table, mut all_same) = (Table::new(&COLUMNS), true);
    for (number, line) in (1..).zip(lines()) {
        let line = line?;
        if screen.is_unread() {
            break; // however many lines follow
        }
        let pair: Vec<&str> = given.iter().copied().chain(line.split('\t')).collect();
        let [a, b] = pair[..] else { return Err(Failure::NotTwoIds { number, line }) };
        let explanation = asked.explain(a, b)?;
        if let Some(explanation) = &explanation {
            check(asked, explanation)?;
        }
        let unknown_ids = unknown(asked, [a, b]);
        let explained = Explained::of(explanation.as_ref(), &pair, &unknown_ids);
        all_same &= explained.same;
        if screen.json {
            screen.object(&explained)?;
            continue;
        }
        let records = explained.steps.iter().map(|step| step.seq.to_string()).collect::<Vec<_>>().join(", ");
        let same = match (explained.same, unknown_ids.is_empty()) {
            (true, _) => Field::new("yes"),
            (false, true) => Field::new("no").alarming(),
            (false, false) => Field::new("unknown").alarming(),
        };
        let [a, b] = [a, b].map(|id| short_id(id, screen.wide).into_owned().into());
        table.row(screen, [a, b, same, records.into()])?;
    }
    table.finish(screen)?;
    Ok(Answer::yes_if(all_same))
}

impl<'a> Explained<'a> {
    /// An explanation, or the answer that two ids are not one person.
    pub(crate) fn of(
        explanation: Option<&'a Explanation>,
        ids: &'a [&'a str],
        unknown_ids: &'a [&'a str],
    ) -> Explained<'a> {
        let same = explanation.is_some_and(|explanation| !explanation.implied);
        let name = |named: fn(&Explanation) -> &NamedId, given: usize| match explanation {
            Some(explanation) => Some(named(explanation).text.as_str()),
            None => ids.get(given).copied(),
        };
        Explained {
            same,
            event: explanation.and_then(|explanation| explanation.event),
            from: name(|explanation| &explanation.from, 0),
            to: name(|explanation| &explanation.to, 1),
            person_id: explanation.filter(|_| same).map(|explanation| explanation.person_id),
            steps: explanation.map_or(&[][..], |explanation| &explanation.steps),
            unknown_ids,
        }
    }
}

/// An explanation that does not hold is never shown.
pub(crate) fn check(reader: &Reader, explanation: &Explanation) -> Result<(), Failure> {
    let mut fault = None;
    let checked = explanation.check(|seq| match reader.claim(seq) {
        Ok(claim) => claim,
        Err(found) => {
            fault = Some(found);
            None
        }
    });
    match fault {
        Some(fault) => Err(fault.into()),
        None => Ok(checked?),
    }
}

fn show(explanation: &Explanation, screen: &mut Screen) -> Result<(), Failure> {
    let Explanation { event, from, to, person_id, implied, steps } = explanation;
    match event {
        Some(seq) if *implied => {
            screen.headline(&format!("The event of record {seq} has no person"))?;
            screen.line(&format!("Its id `{}` was seen only with processing off.", from.text))?;
            return Ok(());
        }
        Some(seq) => screen.headline(&format!("The event of record {seq} is of person {person_id}"))?,
        None if *implied => {
            screen.headline(&format!("`{}` is one id, and has no person", from.text))?;
            return Ok(());
        }
        None => screen.headline(&format!("`{}` and `{}` are one person, {person_id}", from.text, to.text))?,
    }
    screen.line("")?;
    if let Some(seq) = event {
        screen.line(&format!("  record {seq}, the event"))?;
        screen.line("  │  was captured under")?;
    }
    screen.line(&format!("  {}", from.text))?;
    let cited = show_steps(steps, "  ", screen)? + u64::from(event.is_some());
    screen.line("")?;
    match cited {
        0 => screen.line("Both are one id; no record is needed."),
        1 => screen.line("Checked against that record alone."),
        cited => screen.line(&format!("Checked against these {} alone.", counted(cited, "record"))),
    }
}

/// Shows steps, and what had made two ids one before a split that left them together. Gives how many records are cited.
fn show_steps(steps: &[ExplainedStep], margin: &str, screen: &mut Screen) -> Result<u64, Failure> {
    let mut cited = 0;
    for step in steps {
        let op = step.op;
        screen.line(&format!("{margin}│  record {}, {op}, {}", step.seq, step.time))?;
        if let Some(first) = step.before.first() {
            screen.line(&format!("{margin}│  left the two together, who had become one before it:"))?;
            let deeper = format!("{margin}│    ");
            screen.line(&format!("{deeper}{}", first.ids[0].text))?;
            cited += show_steps(&step.before, &deeper, screen)?;
        }
        screen.line(&format!("{margin}{}", step.ids[1].text))?;
        cited += 1;
    }
    Ok(cited)
}

fn show_none(ids: &[&str], event: Option<EventName>, screen: &mut Screen) -> Result<(), Failure> {
    match event {
        Some(EventName::Id(id)) => return screen.line(&format!("There is no event {}", id.0)),
        Some(EventName::Record(seq)) => return screen.line(&format!("Record {seq} is not an event")),
        None => {}
    }
    screen.headline(&format!("`{}` and `{}` are not one person", ids[0], ids[1]))?;
    screen.line("`identity-ledger why-not` says what is between them.")
}

/// The answer about a property; keys as in [`WhyProperty`]. Of a key of which nothing was ever said there are no writes.
#[derive(Serialize)]
pub(crate) struct Valued<'a> {
    person_id: Option<PersonId>,
    key: &'a str,
    now: Option<&'a PropertyAnswer>,
    writes: &'a [PropertyWrite],
    unknown_ids: &'a [&'a str],
}

impl<'a> Valued<'a> {
    /// Why a property of the person of an id has its value.
    pub(crate) fn of(
        reader: &Reader,
        id: &str,
        key: &'a str,
        why: Option<&'a WhyProperty>,
        unknown_ids: &'a [&'a str],
    ) -> Valued<'a> {
        Valued {
            person_id: reader.resolve(id).map(|who| who.person_id),
            key,
            now: why.and_then(|why| why.now.as_ref()),
            writes: why.map_or(&[][..], |why| &why.writes),
            unknown_ids,
        }
    }
}

/// Why a property has its value.
fn explain_property(
    asked: &Asked,
    place: &Path,
    id: &str,
    key: &str,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let why = asked.why_property(id, key)?;
    let unknown_ids = unknown(asked, [id]);
    if screen.json {
        let said = Valued::of(asked, id, key, why.as_ref(), &unknown_ids);
        screen.answer(&said, &asked.answered_from())?;
    } else {
        match &why {
            Some(why) => show_property(why, screen)?,
            None if !unknown_ids.is_empty() => remark_unknown(asked, place, &unknown_ids),
            None => screen.line(&format!("Nothing was ever said of `{key}` for `{id}`"))?,
        }
    }
    Ok(Answer::yes_if(why.is_some()))
}

fn show_property(why: &WhyProperty, screen: &mut Screen) -> Result<(), Failure> {
    const COLUMNS: [Column; 7] = [
        Column::number("SEQ"),
        Column::spare("TIME"),
        Column::elastic("OP"),
        Column::elastic("ID"),
        Column::whole("SAYS"),
        Column::elastic("VALUE"),
        Column::elastic("BEATEN"),
    ];
    let (key, person) = (&why.key, why.person_id);
    screen.headline(&match &why.now {
        Some(now) => format!("`{key}` of person {person} is {}, by record {}", value(now), now.seq),
        None => format!("Person {person} has no `{key}`"),
    })?;
    screen.line("")?;
    let wide = screen.wide;
    let mut table = Table::new(&COLUMNS);
    for write in &why.writes {
        let shown = match (&write.value, write.erased_by) {
            (Some(value), _) => Field::new(value.to_string()),
            (None, Some(by)) => Field::new(format!("erased ({by})")).quiet(),
            (None, None) => Field::new(""),
        };
        let beaten = match write.beaten {
            None if write.verb == "unset" => Field::new("stands: no value"),
            None => Field::new("stands"),
            Some(Superseded { rule, by }) if by == write.seq => {
                let why = if rule == "E9" { "does not fit" } else { "by itself" };
                Field::new(format!("{rule}, {why}")).quiet()
            }
            Some(Superseded { rule, by }) => Field::new(format!("{rule}, record {by}")).quiet(),
        };
        table.row(
            screen,
            [
                write.seq.to_string().into(),
                short_time(write.time, wide).into(),
                write.op.into(),
                short_id(&write.distinct_id, wide).into_owned().into(),
                write.verb.into(),
                shown,
                beaten,
            ],
        )?;
    }
    table.finish(screen)?;
    screen.line("")?;
    screen.line(
        "E1 another operation, E2 a merge, E3 an event about something else, E8 another event time, E9 a change that does not fit, \
         H1 retracted, H2 split.",
    )
}
