//! Laws of what a log means as a whole: components, attribution, digests, proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kit::*;
use crate::fold::Correction;
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::open::LedgerOptions;
use crate::log::body::LinkSource;
use crate::model::id::Seq;
use crate::model::operation::{Actor, Operation, Request, Source, Target};
use crate::query::answer::EventMode;
use crate::query::reader::Reader;
use crate::store::storage::Memory;
use crate::testing::history::History;

/// Operations that share no id, device or operation id with others can be put anywhere among them, or folded alone (A1).
pub fn components(history: &History) -> Result<(), String> {
    let numbers = components_of(&history.operations);
    let all: BTreeSet<usize> = numbers.iter().copied().collect();
    let of = |component: usize| {
        let mine = history.operations.iter().zip(&numbers).filter(|(_, number)| **number == component);
        mine.map(|(operation, _)| operation.clone()).collect::<Vec<Operation>>()
    };
    let whole = fold(&history.policy, &history.operations)?;
    if splits(&whole) {
        return Ok(()); // the id of a person that a split founded has a record's number in it (D11)
    }
    // One component after the other instead of all mixed.
    let sorted: Vec<Operation> = all.iter().flat_map(|component| of(*component)).collect();
    let content =
        |folded: &Folded| folded.ledger.reader().content_digest().map_err(|fault| fault.to_string());
    same(
        "content, one component after the other",
        &content(&fold(&history.policy, &sorted)?)?,
        &content(&whole)?,
    )?;
    // Each alone, together.
    let mut alone = Vec::new();
    for component in all {
        alone.extend(facts(fold(&history.policy, &of(component))?.ledger.reader())?);
    }
    alone.sort_unstable();
    same("the components folded alone", &alone, &facts(whole.ledger.reader())?)
}

fn splits(folded: &Folded) -> bool {
    let mut outcomes = folded.appended.iter().flatten().filter_map(Appended::outcome);
    outcomes.any(|outcome| matches!(outcome.undone, Some(Correction::Split { .. })))
}

/// For each operation the first that it is connected to, by place.
fn components_of(operations: &[Operation]) -> Vec<usize> {
    let names: Vec<BTreeSet<String>> = operations.iter().map(names).collect();
    let mut of: Vec<usize> = (0..operations.len()).collect();
    loop {
        let mut changed = false;
        for a in 0..of.len() {
            for b in 0..a {
                if of[a] != of[b] && !names[a].is_disjoint(&names[b]) {
                    let (low, high) = (of[a].min(of[b]), of[a].max(of[b]));
                    of.iter_mut().filter(|number| **number == high).for_each(|number| *number = low);
                    changed = true;
                }
            }
        }
        if !changed {
            return of;
        }
    }
}

/// Everything an operation names. A device is an id too (F1).
pub(super) fn names(operation: &Operation) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = operation.id.iter().map(|id| format!("operation {id}")).collect();
    let of = |who: &Actor| match who {
        Actor::Id(id) => id.to_string(),
        Actor::Device(device) => device.to_string(),
    };
    let other = |source: &Option<Source>| match source {
        Some(Source::Id(id)) => Some(id.to_string()),
        _ => None,
    };
    match &operation.request {
        Request::Capture { who, .. } | Request::Set { who } => names.extend([of(who)]),
        Request::Identify { who, anonymous: source }
        | Request::Alias { who, alias: source }
        | Request::Merge { who, alias: source } => names.extend([of(who)].into_iter().chain(other(source))),
        Request::DeviceIdentify { device, user } => names.extend([device.to_string(), user.to_string()]),
        Request::Reset { device, new_id, .. } => {
            names.extend([device.to_string()].into_iter().chain(new_id.as_ref().map(ToString::to_string)));
        }
        Request::Retract { target: Target::Operation(id) } => names.extend([format!("operation {id}")]),
        Request::Retract { target: Target::Record(seq) } => names.extend([format!("record {seq}")]),
        Request::Split { id, ids, .. } => {
            names.extend([id].into_iter().chain(ids).map(ToString::to_string));
        }
        Request::Reclassify { id, .. } => names.extend([id.to_string()]),
    }
    names
}

/// All that a reader answers, free of numbers: persons, devices, events; sorted. A person that a split founded has a record's number
/// in its id (D11), and is called here as the content digest calls it.
pub(super) fn facts(reader: &Reader) -> Result<Vec<String>, String> {
    let mut facts = Vec::new();
    let called = |id: &str| reader.id_no(id).map(|id| reader.content_id(reader.state().called_of(id)));
    for person in reader.persons() {
        let person = person.map_err(|fault| fault.to_string())?;
        let id = called(&person.distinct_ids[0]);
        let ids: BTreeSet<&String> = person.distinct_ids.iter().collect();
        let values: Vec<_> = person.properties.iter().map(|(key, property)| (key, &property.value)).collect();
        let (flag, created) = (person.is_identified, person.created_at);
        facts.push(format!("person {id:?} {ids:?} {flag} {created} {values:?}"));
    }
    for (number, device) in (0..).map(crate::log::body::DeviceNo).zip(reader.state().devices()) {
        let (name, id) = (reader.device_text(number), |id| reader.id_text(id));
        let (current, anonymous) = (id(device.current), id(device.anonymous));
        facts.push(format!(
            "device {name:?} {current:?} {anonymous:?} {} {}",
            device.identified, device.profiled
        ));
    }
    reader
        .events(|event| {
            let full = event.mode == EventMode::Full;
            let (id, name, time) = (event.event_id, event.event, event.time);
            let of = &event.distinct_id;
            let now = called(event.goes_with.as_ref().unwrap_or(of));
            facts.push(format!("event {id:?} {name:?} {time} of {of}: {now:?} {full}"));
        })
        .map_err(|fault| fault.to_string())?;
    facts.sort_unstable();
    Ok(facts)
}

/// An event's person now is the person now of the id that it goes with, and its person then that of the id that it went with as of its
/// record (G1, G2).
pub fn attribution(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let mut wrong = Ok(());
    let look = |event: crate::query::answer::EventAnswer| {
        let reader = ledger.reader();
        let own = reader.id_no(&event.distinct_id).ok_or("an event has an id")?;
        let text = |as_of| reader.id_name(reader.state().speaks_for_as_of(own, event.seq, as_of));
        let last = Seq(ledger.checkpoint().records - 1);
        let (goes_with, went_with) = (text(last), text(event.seq));
        same("the id that it goes with", event.goes_with.as_ref().unwrap_or(&event.distinct_id), &goes_with)?;
        let now = ledger.resolve(&goes_with).map(|who| who.person_id);
        let then = reader.person_as_of(&went_with, event.seq).map(|who| who.person_id);
        same("the person now", &Some(event.person_id), &now)?;
        same("the person then", &Some(event.person_id_then), &then)
    };
    let walked = ledger.reader().events(|event| {
        if wrong.is_ok() {
            wrong = look(event);
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    wrong
}

/// The content digest is the same exactly when everything a ledger answers is: for the history, and for it with any one
/// operation left out.
pub fn digests(history: &History) -> Result<(), String> {
    let whole = all(history)?;
    let of = |ledger: &Ledger| ledger.reader().content_digest().map_err(|fault| fault.to_string());
    let (digest, answers) = (of(&whole.ledger)?, facts(whole.ledger.reader())?);
    for without in 0..history.operations.len() {
        let mut operations = history.operations.clone();
        operations.remove(without);
        let less = fold(&history.policy, &operations)?;
        let equal = of(&less.ledger)? == digest;
        same(
            &format!("digests equal without operation {}", without + 1),
            &equal,
            &(facts(less.ledger.reader())? == answers),
        )?;
    }
    let copy: Arc<Memory> = Arc::new(Memory::clone(&whole.storage));
    let again = LedgerOptions::new().read_in(copy).map_err(|error| error.to_string())?;
    same(
        "the digest of a copy",
        &again.reader().content_digest().map_err(|fault| fault.to_string())?,
        &digest,
    )
}

/// Two ids of one person are connected by records that name both ends of each step (D).
pub fn proofs(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let (mut named, mut parted) = (BTreeMap::new(), BTreeMap::new());
    each_step(ledger.reader(), |_, step| {
        let body = step.record.body();
        if let (Some(head), LinkSource::Id(other)) = (body.head(), body.other()) {
            named.insert(step.record.seq(), vec![head.id, other]);
        }
        if let Some(leavers) = step.record.leavers() {
            parted.insert(step.record.seq(), leavers);
        }
        Ok(())
    })?;
    let state = ledger.reader().state();
    for (a, b) in state.ids().flat_map(|a| state.ids().map(move |b| (a, b))) {
        let one = a == b || state.person(a).is_some() && state.person(a) == state.person(b);
        let Some(proof) = state.proof(a, b) else {
            holds(!one, || format!("{a:?} and {b:?} are one person without a proof"))?;
            continue;
        };
        holds(one, || format!("{a:?} and {b:?} have a proof and are not one person"))?;
        let mut at = a;
        for (from, to, seq) in proof {
            let names = named.get(&seq).is_some_and(|ends| ends.contains(&from) && ends.contains(&to));
            // A split says of two ids that they stay together, or leave together (H2).
            let keeps = parted.get(&seq).is_some_and(|leavers| {
                let leaves = |id| leavers.ids.contains(id);
                leaves(&from) == leaves(&to) && (leavers.together || !leaves(&from))
            });
            holds(!state.is_retracted(seq), || format!("record {seq} proves something and is retracted"))?;
            holds(from == at && (names || keeps), || {
                format!("record {seq} does not lead from {from:?} to {to:?}")
            })?;
            at = to;
        }
        same("the end of the proof", &at, &b)?;
    }
    Ok(())
}
