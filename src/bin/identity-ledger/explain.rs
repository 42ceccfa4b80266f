//! `explain`: why two ids, or an event and a person, are one.

use std::path::Path;

use identity_ledger::{Explanation, LedgerReader, NamedId, PersonId, Seq};
use serde::Serialize;

use crate::Answer;
use crate::args::{EventName, ExplainArgs};
use crate::failure::Failure;
use crate::folding::{Snapshots, open_ledger};
use crate::progress::Progress;
use crate::resolve::never_written;
use crate::screen::Screen;
use crate::text::{clean, counted};

#[derive(Serialize)]
struct Explained<'a> {
    same: bool,
    event: Option<Seq>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    person_id: Option<PersonId>,
    steps: &'a [identity_ledger::ExplainedStep],
}

pub(crate) fn explain(args: ExplainArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let ExplainArgs { ledger: place, ids, event } = args;
    let ledger = open_ledger(&place, Snapshots::Used, &mut Progress::new())?;
    let explanation = match (event, &ids[..]) {
        (Some(EventName::Id(id)), _) => ledger.explain_event(id)?,
        (Some(EventName::Record(seq)), _) => ledger.explain_record(seq)?,
        (None, [a, b]) => ledger.explain(a, b)?,
        _ => None, // clap lets nothing else through
    };
    if let Some(explanation) = &explanation {
        check(&ledger, explanation)?;
    }
    let same = explanation.as_ref().is_some_and(|explanation| !explanation.implied);
    if screen.json {
        let name = |named: fn(&Explanation) -> &NamedId, given: usize| match &explanation {
            Some(explanation) => Some(named(explanation).text.as_str()),
            None => ids.get(given).map(String::as_str),
        };
        screen.object(&Explained {
            same,
            event: explanation.as_ref().and_then(|explanation| explanation.event),
            from: name(|explanation| &explanation.from, 0),
            to: name(|explanation| &explanation.to, 1),
            person_id: explanation.as_ref().filter(|_| same).map(|explanation| explanation.person_id),
            steps: explanation.as_ref().map_or(&[][..], |explanation| &explanation.steps),
        })?;
    } else {
        match &explanation {
            Some(explanation) => show(explanation, screen)?,
            None => show_none(&ledger, &place, &ids, event, screen)?,
        }
    }
    Ok(if same { Answer::Yes } else { Answer::No })
}

/// An explanation that does not hold is never shown.
fn check(ledger: &LedgerReader, explanation: &Explanation) -> Result<(), Failure> {
    let mut fault = None;
    let checked = explanation.check(|seq| match ledger.claim(seq) {
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
            screen.line(&format!("Its id `{}` was seen only with processing off.", clean(&from.text)))?;
            return Ok(());
        }
        Some(seq) => screen.headline(&format!("The event of record {seq} is of person {person_id}"))?,
        None if *implied => {
            screen.headline(&format!("`{}` is one id, and has no person", clean(&from.text)))?;
            return Ok(());
        }
        None => screen.headline(&format!(
            "`{}` and `{}` are one person, {person_id}",
            clean(&from.text),
            clean(&to.text)
        ))?,
    }
    screen.line("")?;
    if let Some(seq) = event {
        screen.line(&format!("  record {seq}, the event"))?;
        screen.line("  │  was captured under")?;
    }
    screen.line(&format!("  {}", clean(&from.text)))?;
    for step in steps {
        screen.line(&format!("  │  record {}, {}, {}", step.seq, step.op.replace('_', " "), step.time))?;
        screen.line(&format!("  {}", clean(&step.ids[1].text)))?;
    }
    screen.line("")?;
    let cited = steps.len() as u64 + u64::from(event.is_some());
    match cited {
        0 => screen.line("Both are one id; no record is needed."),
        1 => screen.line("Checked against that record alone."),
        cited => screen.line(&format!("Checked against these {} alone.", counted(cited, "record"))),
    }
}

fn show_none(
    ledger: &LedgerReader,
    place: &Path,
    ids: &[String],
    event: Option<EventName>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match event {
        Some(EventName::Id(id)) => return screen.line(&format!("There is no event {}", id.0)),
        Some(EventName::Record(seq)) => return screen.line(&format!("Record {seq} is no event")),
        None => {}
    }
    if let Some(unknown) = ids.iter().find(|id| ledger.id_no(id).is_none()) {
        return never_written(unknown, place).iter().try_for_each(|line| screen.line(line));
    }
    screen.headline(&format!("`{}` and `{}` are not one person", clean(&ids[0]), clean(&ids[1])))?;
    screen.line("`identity-ledger why-not` says what is between them.")
}
