//! Laws of single records and of their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kit::*;
use crate::fold::replay::Step;
use crate::fold::{Correction, Link, NotParted, PersonNo, Refusal, State};
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::open::LedgerOptions;
use crate::log::body::{AskedVerb, Body, IdNo, LinkSource, StoredClass, Verb};
use crate::log::component::Node;
use crate::model::id::{DeviceId, DistinctId, OperationId, PersonId, Seq};
use crate::model::operation::{Actor, Changes, Operation, Processing, Request};
use crate::model::policy::{Policy, ValuesBy};
use crate::query::answer::EffectAnswer;
use crate::store::storage::Memory;
use crate::testing::history::History;
use crate::testing::reference::{Reference, ReferenceOutcome};
use crate::testing::{check, differences};

/// The engine gives the outcomes, persons, devices and events of the reference model, after every operation.
pub fn engine_is_reference(history: &History) -> Result<(), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    let mut reference = Reference::new(history.policy.clone());
    for (number, operation) in (1..).zip(&history.operations) {
        let Some(appended) = append(&mut ledger, operation)? else { continue };
        let said = ReferenceOutcome::from(&appended);
        same(&format!("operation {number}"), &said, &reference.apply(operation))?;
        let what = differences(ledger.reader(), &reference);
        holds(what.is_empty(), || format!("after operation {number}: {}", what.join("; ")))?;
    }
    Ok(())
}

/// The whole-log check passes, and counts one outcome for each operation that was recorded (A2, A4).
pub fn log_tells_all(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    let recorded = appended.iter().flatten().filter(|appended| appended.outcome().is_some()).count();
    let checked = check(ledger.reader()).map_err(|unsound| unsound.to_string())?;
    same("operations", &checked.operations, &recorded)?;
    let mut outcomes = 0;
    ledger.reader().outcomes(|_| outcomes += 1).map_err(|fault| fault.to_string())?;
    same("outcomes", &outcomes, &recorded)
}

/// Every id that has a person is listed by exactly that one; ids seen only propertyless are listed by none.
pub fn persons_partition(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let state = ledger.reader().state();
    let listed: Vec<_> = state
        .persons()
        .flat_map(|person| state.ids_of(person.number).into_iter().map(move |id| (id, person.number)))
        .collect();
    let mut found = listed.clone();
    found.sort_unstable();
    let expected: Vec<_> = state.ids().filter_map(|id| Some((id, state.person(id)?))).collect();
    same("ids and their persons", &found, &expected)
}

/// One by one, in batches of any size, in one batch: the same outcomes, digests and replay (A1, A2).
pub fn any_batching(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    let accepted = history.operations.iter().zip(&appended).filter(|(_, appended)| appended.is_some());
    let accepted: Vec<Operation> = accepted.map(|(operation, _)| operation.clone()).collect();
    let expected: Vec<Appended> = appended.into_iter().flatten().collect();
    let content = |ledger: &Ledger| ledger.reader().content_digest().map_err(|fault| fault.to_string());
    for size in [2, 3, 7, accepted.len().max(1)] {
        let (mut batched, _) = new_ledger(&history.policy)?;
        let mut found = Vec::new();
        for batch in accepted.chunks(size) {
            found.extend(append_all(&mut batched, batch)?);
        }
        same(&format!("outcomes in batches of {size}"), &found, &expected)?;
        same("state digest", &batched.reader().state().digest(), &ledger.reader().state().digest())?;
        same("content digest", &content(&batched)?, &content(&ledger)?)?;
    }
    Ok(())
}

/// Closing and opening anywhere changes nothing (A2), and what was seen stays seen (G4). Every operation has an id here:
/// without one, a repeated call of a device is recorded once more after a reopening, on purpose (F3).
pub fn any_reopening(history: &History) -> Result<(), String> {
    let named = (1..).zip(&history.operations).map(|(number, operation)| {
        let id = OperationId(uuid::Uuid::from_u128(1 << 64 | number));
        Operation { id: operation.id.or(Some(id)), ..operation.clone() }
    });
    let named: Vec<Operation> = named.collect();
    let straight = fold(&history.policy, &named)?;
    for often in [1, 3, 8] {
        let (mut ledger, mut storage) = new_ledger(&history.policy)?;
        for (number, operation) in (1..).zip(&named) {
            let found = append(&mut ledger, operation)?;
            same(&format!("operation {number}"), &found, &straight.appended[number - 1])?;
            if number % often == 0 {
                drop(ledger);
                storage = Arc::new(Memory::clone(&storage));
                let options = LedgerOptions::new().seeded(1);
                ledger = options.open_in(storage.clone()).map_err(|error| error.to_string())?;
                holds(ledger.recovery().is_clean(), || "something was torn".to_owned())?;
            }
        }
        same("state digest", &ledger.reader().state().digest(), &straight.ledger.reader().state().digest())?;
        for (operation, before) in named.iter().zip(&straight.appended).filter(|(_, a)| a.is_some()) {
            let again = append(&mut ledger, operation)?;
            holds(again.is_some_and(|again| again.outcome().is_none()), || {
                format!("recorded twice: {operation:?}, {before:?}")
            })?;
        }
    }
    Ok(())
}

/// The state right after record n, and every answer as of it (persons, profiles, redirects, events), are those of a ledger that
/// ends there.
pub fn prefixes(history: &History) -> Result<(), String> {
    let Folded { ledger: full, appended, .. } = all(history)?;
    let mut digests = BTreeMap::new();
    full.reader()
        .replay(|step| digests.extend([(step.record.seq(), step.state.digest())]))
        .map_err(|fault| fault.to_string())?;
    let (mut prefix, _) = new_ledger(&history.policy)?;
    for (operation, appended) in history.operations.iter().zip(appended) {
        append(&mut prefix, operation)?;
        let Some(Appended::Recorded { seq, .. }) = appended else { continue };
        same(&format!("the state after record {seq}"), &prefix.reader().state().digest(), &digests[&seq])?;
        for id in full.reader().state().ids().filter_map(|id| full.reader().id_text(id)) {
            same(&format!("`{id}` as of {seq}"), &full.reader().person_as_of(id, seq), &prefix.resolve(id))?;
            let then = full.reader().profile_as_of(id, seq).map_err(|fault| fault.to_string())?;
            let expected = prefix.profile(id).map_err(|fault| fault.to_string())?;
            same(&format!("profile of `{id}` as of {seq}"), &then, &expected)?;
        }
        for person in (0..full.reader().state().persons_founded() as u32).map(PersonNo) {
            let id = full.reader().own_person_id(person, full.reader().state());
            let then = full.reader().survivor_as_of(id, seq).map_err(|fault| fault.to_string())?;
            same(&format!("{id} as of {seq}"), &then, &prefix.reader().survivor_of(id))?;
        }
        for event in history.operations.iter().filter_map(|operation| operation.id) {
            let then = full.reader().event_as_of(event, seq).map_err(|fault| fault.to_string())?;
            let expected = prefix.event(event).map_err(|fault| fault.to_string())?;
            same(&format!("event {event} as of {seq}"), &then, &expected)?;
        }
    }
    Ok(())
}

/// An operation that was refused moves no id; at most T founds its own person.
pub fn refusals_change_no_link(history: &History) -> Result<(), String> {
    each_step(all(history)?.ledger.reader(), |before, step| {
        let Some(outcome) = step.outcome.filter(|outcome| outcome.refusal.is_some()) else { return Ok(()) };
        let mut expected = links(before);
        if outcome.founded {
            let head = step.record.body().head().map(|head| head.id).ok_or("a refusal without an id")?;
            expected[head.index()] = outcome.person;
        }
        same("links", &links(step.state), &expected)?;
        same("the link made", &outcome.link, &None)
    })
}

/// A refusal names the record that the table of refusals says, and a person or id that does block.
pub fn refusals_name_their_record(history: &History) -> Result<(), String> {
    let (mut policy, mut firsts, mut any_refold) = (None, BTreeMap::new(), false);
    let (mut arrived, mut any_retract) = (BTreeMap::new(), false);
    let mut given: Vec<(Seq, IdNo, StoredClass)> = Vec::new();
    let Folded { ledger, .. } = all(history)?;
    each_step(ledger.reader(), |before, step| {
        let (arrived_before, retracted) = (arrived.clone(), any_retract);
        follow_arrivals(&mut arrived, &step);
        let undone = step.outcome.and_then(|outcome| outcome.undone);
        any_retract |= matches!(undone, Some(Correction::Retracted { .. } | Correction::Reclassified { .. }));
        let brought = |id: IdNo, by: Seq| match arrived_before.get(&id) {
            Some((Some(_), arrived)) if !retracted => Some(*arrived),
            // Of a component that was folded again it may be an earlier record; one that counts, in any case.
            Some((Some(_), _)) => Some(by).filter(|by| *by < step.record.seq() && !before.is_retracted(*by)),
            _ => Some(before.defined_by(id)),
        };
        let others = step.outcome.and_then(|outcome| outcome.notices.not_parted);
        if let Some(NotParted { id, by, .. }) = others {
            same("the record that the notice names", &Some(by), &brought(id, by))?;
        }
        let firsts_before = firsts.clone();
        follow_first_users(&ledger, &mut firsts, before, &step)?;
        users_beyond_the_limit_are_noticed(before, &step)?;
        let refolded = any_refold;
        any_refold |= step.outcome.is_some_and(|outcome| outcome.undone.is_some());
        let (seq, body) = (step.record.seq(), step.record.body());
        if matches!(body, Body::Genesis(_) | Body::SetPolicy(_)) {
            policy = Some(seq);
        }
        let given = {
            let before = given.clone();
            if let (Some(head), Some(AskedVerb::Reclassify(class))) = (body.head(), body.verb()) {
                given.push((seq, head.id, *class));
            }
            before
        };
        let Some(refusal) = step.outcome.and_then(|outcome| outcome.refusal) else { return Ok(()) };
        let source = match body.other() {
            LinkSource::Id(source) => before.person(source),
            LinkSource::None | LinkSource::Unstorable => None,
        };
        let expected = match refusal {
            Refusal::ProcessingOff { .. } | Refusal::Unmergeable { id: None, .. } => Some(seq),
            Refusal::Unmergeable { id: Some(id), .. } => {
                holds(!before.class(id).is_mergeable(), || format!("{id:?} may be merged"))?;
                Some(classed_by(before, &given, id))
            }
            Refusal::JoinsIdentified { person, .. } | Refusal::SourceIdentified { person, .. } => {
                same("the person that blocks", &Some(person), &source)?;
                before.view(person).identified_by
            }
            Refusal::TooManyMovedIds { .. } | Refusal::TooManyIds { .. } => policy,
            Refusal::TooManyUserIds { held, .. } => {
                let target = body.head().map(|head| head.id).ok_or("a refusal without an id")?;
                let person = source.or(before.person(target));
                match person.map(|person| (person, firsts_before.get(&person).copied())) {
                    Some((person, Some(None))) => {
                        holds(before.person(held) == Some(person), || {
                            format!("{held:?} is not an id of it")
                        })?;
                    }
                    Some((_, first)) => {
                        let own = source.is_none().then_some(target); // T signs in by this
                        same("the user id that is named", &Some(held), &first.flatten().or(own))?;
                    }
                    None => same("the user id that is named", &held, &target)?,
                }
                holds(step.state.is_user(held), || format!("{held:?} is not a user"))?;
                if refolded {
                    // After a refold, another record gave it its person.
                    let by = refusal.blocking();
                    holds(by < seq && !before.is_retracted(by), || format!("{by} gave it no person"))?;
                    return Ok(());
                }
                let has_person = |at: &Seq| before.person_as_of(held, *at).is_some();
                (0..seq.0).map(Seq).find(has_person).or(Some(before.defined_by(held)))
            }
            Refusal::TooManyOfKind { kind, limit, of_target, of_source, .. } => {
                let ends = [step.record.row.id, step.record.row.other_end()];
                let brought = |id: IdNo| {
                    let ids = before.person(id).map_or_else(|| vec![id], |person| before.ids_of(person));
                    ids.into_iter().filter(|id| step.state.kind(*id) == Some(kind)).count() as u32
                };
                same("the ids that both sides bring", &[of_target, of_source], &ends.map(brought))?;
                let listed =
                    before.policy().id_kinds.get(usize::from(kind.0)).and_then(|kind| kind.max_per_person);
                same("the limit", &Some(limit), &listed)?;
                policy
            }
            Refusal::AlreadyOfClass { .. } => {
                let (Some(head), Some(AskedVerb::Reclassify(class))) = (body.head(), body.verb()) else {
                    return Err("only a reclassification finds that".to_owned());
                };
                same("the class it has", &before.stored_class(head.id), class)?;
                Some(classed_by(before, &given, head.id))
            }
            Refusal::NotRetractable { .. } | Refusal::WholePerson { .. } => Some(seq),
            Refusal::AlreadyRetracted { by } => {
                let Some(AskedVerb::Retract(target)) = body.verb() else {
                    return Err("only a retract finds that".to_owned());
                };
                holds(before.is_retracted(Seq(*target)), || format!("{target} is not retracted"))?;
                holds(!before.is_retracted(by), || format!("{by} is itself retracted"))?;
                Some(by)
            }
            Refusal::NoPerson { .. } => body.head().map(|head| before.defined_by(head.id)),
            Refusal::OtherPerson { id, by } => {
                let target = body.head().and_then(|head| before.person(head.id));
                holds(before.person(id) != target, || format!("{id:?} is of the same person"))?;
                brought(id, by)
            }
        };
        same("the record that blocks", &Some(refusal.blocking()), &expected)
    })
}

/// H5: the record by which an id has its class: the first of the reclassifications that count and give it without another in between,
/// or its definition.
fn classed_by(before: &State, given: &[(Seq, IdNo, StoredClass)], id: IdNo) -> Seq {
    let counts = |(seq, of, _): &&(Seq, IdNo, StoredClass)| *of == id && !before.is_retracted(*seq);
    let mut now = (before.class_defined(id), before.defined_by(id));
    for (seq, _, class) in given.iter().filter(counts) {
        if now.0 != *class {
            now = (*class, *seq);
        }
    }
    now.1
}

/// The notice of D9: T signed in, and its person has more users than the policy allows by that.
fn users_beyond_the_limit_are_noticed(before: &State, step: &Step<'_>) -> Result<(), String> {
    let Some(outcome) = step.outcome.filter(|outcome| outcome.undone.is_none()) else { return Ok(()) };
    let target = step.record.row.id;
    let signs_in = step.state.is_user(target) && !before.is_user(target);
    let users = |person| before.ids_of(person).into_iter().filter(|id| before.is_user(*id)).count();
    let users = before.person(target).filter(|_| signs_in).map_or(0, |person| users(person) + 1);
    let beyond = before.policy().max_user_ids.is_some_and(|limit| users > limit as usize);
    same("the notice of D9", &outcome.notices.users_exceed_limit.is_some(), &beyond)
}

/// For each id its person, as the public id tells it, and the record since which that is so.
type Arrivals = BTreeMap<IdNo, (Option<(IdNo, Option<u32>)>, Seq)>;

fn follow_arrivals(arrived: &mut Arrivals, step: &Step<'_>) {
    for id in step.state.ids() {
        let person = public_person(step.state, id);
        if arrived.get(&id).is_none_or(|(before, _)| *before != person) {
            arrived.insert(id, (person, step.record.seq()));
        }
    }
}

/// The person of an id, as its public id tells it.
fn public_person(state: &State, id: IdNo) -> Option<(IdNo, Option<u32>)> {
    state.person(id).map(|person| (state.founding(person), state.origin(person).key()))
}

/// What merges and corrections say they moved are the ids whose person is another one than before.
pub fn outcomes_name_the_ids_they_moved(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let reader = ledger.reader();
    each_step(reader, |before, step| {
        let (seq, body) = (step.record.seq(), step.record.body());
        let Some(outcome) = step.outcome else { return Ok(()) };
        for effect in reader.outcome_in(seq, &body, outcome, step.state).effects {
            let (EffectAnswer::Merged { moved_ids: count, distinct_ids, .. }
            | EffectAnswer::Retracted { moved_ids: count, distinct_ids, .. }
            | EffectAnswer::Reclassified { moved_ids: count, distinct_ids, .. }
            | EffectAnswer::Split { left: count, distinct_ids, .. }) = effect
            else {
                continue;
            };
            let moved =
                before.ids().filter(|id| public_person(before, *id) != public_person(step.state, *id));
            let expected: BTreeSet<String> = moved.map(|id| reader.id_name(id)).collect();
            same("how many ids moved", &(count as usize), &expected.len())?;
            same("the ids that moved", &distinct_ids.into_iter().collect(), &expected)?;
        }
        Ok(())
    })
}

/// The first user id of each person, as D9 has it: the first of its ids that had a sign-in, or that was a user when it
/// came; of a merge, P(T)'s. `None` for persons of a component that was refolded: their past is not followed.
fn follow_first_users(
    ledger: &Ledger,
    firsts: &mut BTreeMap<PersonNo, Option<IdNo>>,
    before: &State,
    step: &Step<'_>,
) -> Result<(), String> {
    let body = step.record.body();
    let (Some(outcome), Some(head)) = (step.outcome, body.head()) else { return Ok(()) };
    let user = |id: IdNo| step.state.is_user(id);
    if outcome.undone.is_some() {
        let told = ledger.reader.log.component(Node::Id(head.id), step.record.seq().0 + 1);
        let (ids, _) = told.map_err(|fault| fault.to_string())?.named();
        firsts.extend(ids.into_iter().filter_map(|id| Some((step.state.person(id)?, None))));
        let anew = before.persons_founded()..step.state.persons_founded();
        firsts.extend(anew.map(|number| (PersonNo(number as u32), None)));
    }
    let known = (head.id.index() < before.ids().len()).then(|| before.person(head.id)).flatten();
    if let (true, Some(person)) = (user(head.id), known.or(outcome.person.filter(|_| outcome.founded))) {
        firsts.entry(person).or_insert(Some(head.id));
    }
    match (outcome.link, outcome.person) {
        (Some(Link::Joined(id)), Some(person)) if user(id) => {
            firsts.entry(person).or_insert(Some(id));
        }
        (Some(Link::Absorbed { person: absorbed, .. }), Some(survivor)) => {
            let target = before.person(head.id);
            let source = if target == Some(survivor) { absorbed } else { survivor };
            let of = [target.and_then(|target| firsts.get(&target)), firsts.get(&source)];
            let first = if of.contains(&Some(&None)) { Some(None) } else { of[0].or(of[1]).copied() };
            firsts.extend(first.map(|first| (survivor, first)));
        }
        _ => {}
    }
    Ok(())
}

/// A link that was made, asked for once more without property changes, changes nothing (D5).
pub fn repeats_change_nothing(history: &History) -> Result<(), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    for operation in &history.operations {
        let Some(Appended::Recorded { outcome, .. }) = append(&mut ledger, operation)? else { continue };
        // A device's own identify is no longer the same request once the device speaks for the user (F3).
        if outcome.link.is_none() || matches!(operation.request, Request::DeviceIdentify { .. }) {
            continue;
        }
        let before = ledger.reader().content_digest().map_err(|fault| fault.to_string())?;
        let again = Operation { id: None, changes: Changes::default(), ..operation.clone() };
        let repeated = append(&mut ledger, &again)?;
        let repeated = repeated.as_ref().and_then(Appended::outcome).ok_or("the repeat was not recorded")?;
        same("the link of the repeat", &repeated.link, &None)?;
        same("the refusal of the repeat", &repeated.refusal, &None)?;
        let after = ledger.reader().content_digest().map_err(|fault| fault.to_string())?;
        same("content", &after, &before)?;
    }
    Ok(())
}

/// Whether a step refolds a component: laws about growth hold for what was asked, not for what was retracted.
fn undoes(step: Step<'_>) -> bool {
    step.outcome.is_some_and(|outcome| outcome.undone.is_some())
}

/// Once a person is identified, so is the person that it becomes. The record that first identified it stays,
/// P(T)'s if two persons become one (D1).
pub fn identified_grows(history: &History) -> Result<(), String> {
    each_step(all(history)?.ledger.reader(), |before, step| {
        if undoes(step) {
            return Ok(());
        }
        let by = |state: &State, person: PersonNo| state.view(person).identified_by;
        let absorbs = step.outcome.is_some_and(|outcome| matches!(outcome.link, Some(Link::Absorbed { .. })));
        let target = step.record.body().head().map(|head| head.id).filter(|_| absorbs);
        let target = target.and_then(|target| before.person(target));
        for person in before.persons() {
            let now = by(step.state, step.state.survivor(person.number));
            let part_of_merge = target
                .is_some_and(|target| step.state.survivor(target) == step.state.survivor(person.number));
            let first =
                target.filter(|_| part_of_merge).map_or(person.identified_by, |target| by(before, target));
            let expected = first.or(now.filter(|now| *now == step.record.seq()));
            same(&format!("the record that identified {:?}", person.number), &now, &expected)?;
            holds(person.identified_by.is_none() || now.is_some(), || "no longer identified".to_owned())?;
        }
        Ok(())
    })
}

/// Every person there ever was leads to a live one, in one step, for ever (D7).
pub fn redirects(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    all_lead_somewhere(&ledger)?;
    // Once led together, two persons stay together.
    each_step(ledger.reader(), |before, step| {
        if undoes(step) {
            return Ok(());
        }
        let all = || (0..before.persons_founded() as u32).map(PersonNo);
        let moved = all()
            .find(|person| step.state.survivor(*person) != step.state.survivor(before.survivor(*person)));
        same("persons that left their survivor", &moved, &None)
    })
}

/// A person was created when the earliest of those that became it was founded (D3, D4, D7).
pub fn created_at(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    if appended.iter().flatten().filter_map(Appended::outcome).any(|outcome| outcome.undone.is_some()) {
        return Ok(()); // the reference model says when a refolded person was created
    }
    let mut founded = Vec::new();
    each_step(ledger.reader(), |_, step| {
        let founder = step.outcome.filter(|outcome| outcome.founded);
        founded.extend(founder.and_then(|_| Some(step.record.body().head()?.time())));
        Ok(())
    })?;
    let state = ledger.reader().state();
    let persons: Vec<PersonNo> = (0..state.persons_founded() as u32).map(PersonNo).collect();
    same("foundings", &founded.len(), &persons.len())?;
    for person in state.persons() {
        let theirs = persons.iter().filter(|other| state.survivor(**other) == person.number);
        let earliest = theirs.map(|other| founded[other.0 as usize]).min();
        same("created_at", &Some(person.created_at), &earliest)?;
    }
    Ok(())
}

/// Two identified persons become one by merge only (D6); an id that joins an identified person leaves a notice, and joins
/// by merge only where the policy refuses it (D3).
pub fn identified_join_by_merge(history: &History) -> Result<(), String> {
    each_step(all(history)?.ledger.reader(), |before, step| {
        let Some(outcome) = step.outcome else { return Ok(()) };
        let body = step.record.body();
        let (merge, Some(head)) = (matches!(body.verb(), Some(AskedVerb::Merge(_))), body.head()) else {
            return Ok(());
        };
        let identified = |person: Option<PersonNo>| {
            person.is_some_and(|person| before.view(person).identified_by.is_some())
        };
        let LinkSource::Id(source) = body.other() else { return Ok(()) };
        let (to, from) = (before.person(head.id), before.person(source));
        match outcome.link {
            Some(Link::Absorbed { .. }) => {
                holds(merge || !(identified(to) && identified(from)), || format!("joined by {}", body.name()))
            }
            Some(Link::Joined(_)) => {
                let late = to.is_none() && identified(from);
                same("the notice", &outcome.notices.joins_identified.is_some(), &late)?;
                let allowed = merge || !late || !before.policy().refuse_joining_identified;
                holds(allowed, || "joined against D3".to_owned())
            }
            None => Ok(()),
        }
    })
}

/// After a reset a device's events belong to a fresh person, whatever else happens, until an operation names
/// its fresh id (F4).
pub fn no_event_crosses_a_reset(history: &History) -> Result<(), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    let fresh = DistinctId::new("$device:fresh").map_err(|error| error.to_string())?;
    let device = DeviceId::new("d1").map_err(|error| error.to_string())?;
    let half = history.operations.len() / 2;
    for operation in &history.operations[..half] {
        append(&mut ledger, operation)?;
    }
    let at = crate::model::time::Timestamp::from_micros(1).map_err(|error| error.to_string())?;
    let reset = Request::Reset { device: device.clone(), reset_device: false, new_id: Some(fresh.clone()) };
    let capture = Request::Capture {
        who: Actor::Device(device.clone()),
        event: None,
        properties: crate::model::value::Properties::new(),
    };
    append(&mut ledger, &Operation::new(at, reset))?;
    append(&mut ledger, &Operation::new(at, capture).with_processing(Processing::On))?;
    // The rest of the history, but for what the device itself says: only it knows the fresh id.
    for operation in history.operations[half..].iter().filter(|operation| operation.device() != Some(&device))
    {
        append(&mut ledger, operation)?;
    }
    let mut crossed = None;
    ledger
        .reader()
        .events(|event| {
            let own = event.person_id == PersonId::founded_by(ledger.tenant(), fresh.as_str());
            if own != (event.distinct_id == fresh.as_str()) {
                crossed = Some((event.seq, event.distinct_id));
            }
        })
        .map_err(|fault| fault.to_string())?;
    same("an event on the wrong side", &crossed, &None::<(Seq, String)>)
}

/// What a record leaves of each key is what the table of E1 says, against the properties after E2; all other keys stay.
/// In particular a `set_once` never overwrites.
pub fn properties(history: &History) -> Result<(), String> {
    // By event time (E8) the reference model knows.
    let policy = Policy { values_by: ValuesBy::Record, ..history.policy.clone() };
    each_step(fold(&policy, &history.operations)?.ledger.reader(), |before, step| {
        let Some(outcome) = step.outcome.filter(|outcome| outcome.undone.is_none()) else { return Ok(()) };
        let Some(person) = outcome.person else { return Ok(()) };
        let body = step.record.body();
        let Some(head) = body.head() else { return Ok(()) };
        let won = |state: &State, person: Option<PersonNo>| -> BTreeMap<u32, Begins> {
            let all = person.into_iter().flat_map(|person| state.view(person).standing());
            all.map(|one| (one.property.key.0, (!one.has_base(), one.property.seq()))).collect()
        };
        let id = step.state.speaks_for(head.id, step.record.seq()); // D13
        // E2: P(S)'s, under P(T)'s. D3 and D4 join an id that has no properties.
        let absorbed = matches!(outcome.link, Some(Link::Absorbed { .. }));
        let from = match body.other() {
            LinkSource::Id(source) if absorbed || before.person(id).is_none() => before.person(source),
            _ => None,
        };
        let links = outcome.refusal.is_none() && outcome.shared.is_none();
        let mut expected = won(before, from.filter(|_| links));
        for (key, ours) in won(before, before.person(id)) {
            let theirs = expected.get(&key).copied();
            // E9: a value that was written goes before one that relative changes alone made; of two such, the earlier begins.
            let begins = theirs.filter(|theirs| ours.0 && (!theirs.0 || *theirs < ours));
            expected.insert(key, begins.unwrap_or(ours));
        }
        if applies(before, step, &body, id) {
            table_of_e1(&mut expected, step);
        }
        same("the record that won each key", &won(step.state, Some(person)), &expected)
    })
}

/// E3: whether a record's property changes count.
fn applies(before: &State, step: Step<'_>, body: &Body, id: IdNo) -> bool {
    use crate::log::body::Flags;
    let Some(head) = body.head() else { return false };
    let quiet = head.flags.has(Flags::QUIET) && before.person(id).is_some();
    step.record.is_operation() && !head.flags.has(Flags::GROUP_IDENTIFY) && !quiet
}

/// Whether the value of a key is made of relative changes alone, and the record with which it begins.
type Begins = (bool, Seq);

fn table_of_e1(properties: &mut BTreeMap<u32, Begins>, step: Step<'_>) {
    let mut asked = BTreeMap::<u32, BTreeSet<Verb>>::new();
    for change in step.record.changes().iter().filter(|change| change.verb != Verb::KEPT) {
        asked.entry(change.key.0).or_default().insert(change.verb);
    }
    for (key, verbs) in asked {
        let has = |verb| verbs.contains(&verb);
        if verbs.iter().any(|verb| verb.is_relative()) {
            properties.entry(key).or_insert((true, step.record.seq()));
            continue;
        }
        let (set, once, unset) = (has(Verb::SET), has(Verb::SET_ONCE), has(Verb::UNSET));
        match (properties.contains_key(&key), set, once, unset) {
            (true, _, _, true) => drop(properties.remove(&key)),
            (true, true, _, false) | (false, true, _, _) | (false, false, true, _) => {
                properties.insert(key, (false, step.record.seq()));
            }
            (true, false, _, false) | (false, false, false, _) => {}
        }
    }
}
