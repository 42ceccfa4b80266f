//! Laws of section H: retracts, splits, erasures, what-ifs and differences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::{facts, names};

use super::kit::*;
use crate::fold::{PersonIdBasis, Refusal};
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::erase::request::{ErasureRequest, ErasureSubject};
use crate::ledger::error::AppendError;
use crate::ledger::error::EraseError;
use crate::ledger::open::LedgerOptions;
use crate::ledger::preview::{Preview, PreviewError};
use crate::log::body::{Asked, AskedVerb, IdNo};
use crate::log::component::{Node, each_named};
use crate::log::kind::Kind;
use crate::model::id::{DeviceId, DistinctId, OperationId, PersonId, PropertyKey, Seq};
use crate::model::operation::{Operation, Request, Source, SplitMode, Target};
use crate::model::policy::{IdClass, Policy};
use crate::model::time::Timestamp;
use crate::query::diff::content::Content;
use crate::query::diff::view::{Refusals, View};
use crate::query::diff::{Counts, Diff};
use crate::query::reader::Reader;
use crate::store::storage::Memory;
use crate::testing::chance::Chance;
use crate::testing::history::{History, IDS, KEYS, id_kinds, shared_ids};
use crate::testing::reference::{Reference, ReferenceOutcome};
use crate::testing::{check, differences, notation};

/// A retracted operation counts as never asked: content(log + x + rest + retract x) = content(log + rest), for every operation x of
/// the history (H1). And retracting the retract brings back what there was.
///
/// Of histories without devices, where the rest says the same without x, and without splits: the id of a person that one founds has a
/// record's number in it (D11). With them the reference model knows.
pub fn retract_takes_back(history: &History) -> Result<(), String> {
    let fits = |operation: &&Operation| {
        let names_device = |name: &String| crate::testing::history::DEVICES.contains(&name.as_str());
        !names(operation).iter().any(names_device) && !matches!(operation.request, Request::Split { .. })
    };
    let policy = Policy { max_user_ids: None, ..history.policy.clone() }; // the class of an id is of its first mention (B4)
    let id = |number: usize| OperationId(uuid::Uuid::from_u128(1 << 64 | number as u128));
    let mut operations: Vec<Operation> = history.operations.iter().filter(fits).cloned().collect();
    for (number, operation) in operations.iter_mut().enumerate() {
        operation.id = Some(id(number));
        if let Request::Retract { target: Target::Operation(of) } = &mut operation.request {
            *of = id(of.0.as_u128() as usize % number.max(1));
        }
    }
    let whole = fold(&policy, &operations)?;
    let retract = |of: OperationId| {
        let at = crate::model::time::Timestamp::from_micros(0).map_err(|error| error.to_string())?;
        Ok::<_, String>(Operation::retract(at, Target::Operation(of)))
    };
    for (number, operation) in operations.iter().enumerate() {
        let Some(Appended::Recorded { outcome, .. }) = &whole.appended[number] else { continue };
        let seq = whole.appended[number].as_ref().and_then(Appended::seq).ok_or("no record")?;
        if whole.ledger.reader().state().is_retracted(seq)
            || outcome.refusal.is_some_and(|refusal| refusal.rule() == "H1")
        {
            continue;
        }
        let of = operation.id.ok_or("each has one")?;
        let mut without = operations.clone();
        without.remove(number);
        // A retract of what was never asked is not an operation: it is left out as well.
        without.retain(
            |other| !matches!(other.request, Request::Retract { target } if target == Target::Operation(of)),
        );
        let without = fold(&policy, &without)?;
        // An id that nothing else mentions cannot be reclassified.
        let errors = |folded: &Folded| folded.appended.iter().filter(|appended| appended.is_none()).count();
        if errors(&without) > errors(&whole) {
            continue;
        }
        let expected = facts(without.ledger.reader())?;
        let mut ledger = fold(&policy, &operations)?.ledger;
        let before = facts(ledger.reader())?;
        let taken = append(&mut ledger, &retract(of)?.with_id(OperationId(uuid::Uuid::from_u128(1 << 65))))?;
        holds(taken.is_some(), || format!("operation {} cannot be retracted", number + 1))?;
        same(&format!("content without operation {}", number + 1), &facts(ledger.reader())?, &expected)?;
        append(&mut ledger, &retract(OperationId(uuid::Uuid::from_u128(1 << 65)))?)?;
        same(&format!("content with operation {} again", number + 1), &facts(ledger.reader())?, &before)?;
    }
    Ok(())
}

/// Two splits that part different ids of one person come to the same in either order: the same persons, what is known of each, and the
/// record that identified it, and the same user id is named where it would get another one (H2, D9).
pub fn splits_commute(history: &History) -> Result<(), String> {
    let mut chance = chance_of(history);
    let Folded { ledger, .. } = all(history)?;
    let state = ledger.reader().state();
    for person in state.persons() {
        let mut ids: Vec<IdNo> = state.ids_of(person.number);
        if ids.len() < 3 {
            continue;
        }
        let stays = ids.remove(chance.below(ids.len()));
        // At least one id leaves by each split. Others leave by either of them or stay, as T does.
        let mut parts = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for (at, id) in ids.into_iter().enumerate() {
            let id = ledger
                .reader()
                .id_text(id)
                .and_then(|text| DistinctId::new(text).ok())
                .ok_or("an id without text")?;
            parts[if at < 2 { at } else { chance.below(3) }].insert(id);
        }
        let target = ledger
            .reader()
            .id_text(stays)
            .and_then(|text| DistinctId::new(text).ok())
            .ok_or("an id without text")?;
        let at = Timestamp::from_micros(0).map_err(|error| error.to_string())?;
        let [first, second, _] = parts.map(|ids| {
            let mode = if chance.one_in(2) { SplitMode::Each } else { SplitMode::Together };
            Operation::split(at, target.clone(), ids, mode)
        });
        let asked = notation::request(0, &first) + " and " + &notation::request(0, &second);
        let one = after_splits(history, [&first, &second])?;
        same(&format!("{asked}, in the other order"), &after_splits(history, [&second, &first])?, &one)?;
    }
    Ok(())
}

/// What a history and two splits come to, in words that no number of a person stands in.
fn after_splits(history: &History, splits: [&Operation; 2]) -> Result<Vec<String>, String> {
    let mut ledger = all(history)?.ledger;
    for split in splits {
        let appended = append(&mut ledger, split)?;
        let outcome = appended.as_ref().and_then(Appended::outcome).ok_or("the split was not recorded")?;
        same("the refusal of a split", &outcome.refusal, &None)?;
        same("the notice of a split", &outcome.notices.not_parted, &None)?;
    }
    let mut found = facts(ledger.reader())?;
    let state = ledger.reader().state();
    let ids: Vec<IdNo> = state.ids().collect();
    for id in &ids {
        let Some(view) = state.person(*id).map(|person| state.view(person)) else { continue };
        let won: Vec<_> = view.standing().flat_map(|one| one.writes().collect::<Vec<_>>()).collect();
        found.push(format!("{id:?} identified by {:?}, {won:?}", view.identified_by));
    }
    // D9: which user id a person holds is seen where it would get another one.
    let mut id_kinds = history.policy.id_kinds.clone(); // a list only grows (D12)
    id_kinds.iter_mut().for_each(|kind| kind.max_per_person = None);
    let policy = Policy { max_user_ids: Some(1), id_kinds, ..Policy::default() };
    ledger.set_policy(&policy).map_err(|error| error.to_string())?;
    for (number, id) in ids.into_iter().enumerate() {
        let Some(text) = ledger.reader().id_text(id).map(str::to_owned) else { continue };
        let at = Timestamp::from_micros(0).map_err(|error| error.to_string())?;
        let user = DistinctId::new(format!("user {number}")).map_err(|error| error.to_string())?;
        let appended = append(&mut ledger, &Operation::alias(at, user, Source::new(&text)))?;
        let refusal = appended.as_ref().and_then(Appended::outcome).and_then(|outcome| outcome.refusal);
        let held = match refusal {
            Some(Refusal::TooManyUserIds { held, .. }) => Some(held),
            _ => None,
        };
        found.push(format!("{text}: {:?}, {held:?} is held", refusal.map(|refusal| refusal.name())));
    }
    Ok(found)
}

/// Between the operations something is erased now and then: a person, an id, the values of a key; the bytes go at once or later.
/// Engine and reference model agree on everything that is left and on whatever comes after. The state right after each record
/// stays what it was when it was appended. The whole log, read again, says the same (H3, D11).
pub fn erasing(history: &History) -> Result<(), String> {
    let (mut ledger, storage) = new_ledger(&history.policy)?;
    let mut reference = Reference::new(history.policy.clone());
    let mut chance = chance_of(history);
    let mut digests = BTreeMap::new();
    for (number, operation) in (1..).zip(&history.operations) {
        let Some(appended) = append(&mut ledger, operation)? else { continue };
        reference.at(appended.seq().map_or(0, |seq| seq.0));
        let said = ReferenceOutcome::from(&appended);
        same(&format!("operation {number}"), &said, &reference.apply(operation))?;
        if let Appended::Recorded { seq, .. } = appended {
            tell_resets(&ledger, &mut reference, seq.0 + 1)?;
        }
        let what = differences(ledger.reader(), &reference);
        holds(what.is_empty(), || format!("after operation {number}: {}", what.join("; ")))?;
        digests.insert(ledger.checkpoint().records, ledger.reader().state().digest());
        if chance.one_in(6) {
            erase_somebody(&mut ledger, &mut reference, &mut chance)?;
            digests.insert(ledger.checkpoint().records, ledger.reader().state().digest());
            let what = differences(ledger.reader(), &reference);
            holds(what.is_empty(), || format!("erased after operation {number}: {}", what.join("; ")))?;
        }
    }
    let content = |reader: &Reader| reader.content_digest().map_err(|fault| fault.to_string());
    let before = content(ledger.reader())?;
    ledger.finish_erasures(&mut |_| {}).map_err(|error| error.to_string())?;
    same("content, when the bytes are gone", &content(ledger.reader())?, &before)?;
    let what = differences(ledger.reader(), &reference);
    holds(what.is_empty(), || format!("at the end: {}", what.join("; ")))?;
    all_lead_somewhere(&ledger)?;
    let (mut changed, mut named) = (None, None);
    let walked = ledger.reader().replay(|step| {
        if step.record.is_operation() && step.record.row.kind != Kind::Retract {
            each_named(step.record, |node| match node {
                Node::Id(id) if step.state.id_erased_by(id).is_some() => {
                    named = named.or(Some(step.record.seq()))
                }
                _ => {}
            });
        }
        let records = step.record.seq().0 + 1;
        let expected = digests.get(&records);
        if expected.is_some_and(|digest| *digest != step.state.digest()) {
            changed = changed.or(Some(records));
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    same("a record after which the state is not what it was", &changed, &None)?;
    same("an operation that names an erased id", &named, &None)?;
    check(ledger.reader()).map_err(|unsound| unsound.to_string())?;
    let again = LedgerOptions::new().without_snapshots().read_in(Arc::new(Memory::clone(&storage)));
    let again = again.map_err(|error| error.to_string())?;
    same("state, read again", &again.reader().state().digest(), &ledger.reader().state().digest())?;
    same("content, read again", &content(again.reader())?, &before)
}

/// Chances that the same history always has.
fn chance_of(history: &History) -> Chance {
    let times = history.operations.iter().map(|operation| operation.time.as_micros() as u64);
    Chance::new(times.fold(history.operations.len() as u64, |seed, time| seed * 31 % 1_000_003 + time))
}

/// A wish to be forgotten: of a person, an id, or values; and the id it names.
fn erasure(chance: &mut Chance) -> Result<(String, ErasureRequest), String> {
    let name = (*chance.pick(&IDS)).to_owned();
    let id = DistinctId::new(name.clone()).map_err(|error| error.to_string())?;
    let at = Timestamp::from_micros(0).expect("1970 is in range");
    let scope = chance.below(4);
    let subject =
        if scope == 0 { ErasureSubject::Ids(BTreeSet::from([id])) } else { ErasureSubject::PersonOf(id) };
    let keys: BTreeSet<PropertyKey> = match scope {
        1 => PropertyKey::new(*chance.pick(&KEYS)).into_iter().collect(),
        _ => BTreeSet::new(),
    };
    Ok((name, ErasureRequest::new(at, subject, "asked").with_keys(keys)))
}

/// Erases a person, an id or the values of a key in a ledger and in the reference model, and finishes that
/// now and then.
fn erase_somebody(ledger: &mut Ledger, reference: &mut Reference, chance: &mut Chance) -> Result<(), String> {
    let (id, request) = erasure(chance)?;
    let of_ids = matches!(request.subject, ErasureSubject::Ids(_));
    let whom = if of_ids { BTreeSet::from([id]) } else { reference.ids_with(&id) };
    let keys = request.keys.clone();
    let first = ledger.checkpoint().records;
    let erase = match ledger.begin_erasures(&[request]) {
        Ok(begun) => begun[0],
        Err(EraseError::UnknownId { .. } | EraseError::NoValues { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    tell_resets(ledger, reference, first)?;
    reference.at(erase.0);
    let keys: BTreeSet<String> = keys.into_iter().map(PropertyKey::into_string).collect();
    reference.erase(&whom, &keys);
    if chance.one_in(2) {
        ledger.finish_erasures(&mut |_| {}).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tells the reference model of the resets that the ledger made by itself, from a record on (H3).
fn tell_resets(ledger: &Ledger, reference: &mut Reference, first: u64) -> Result<(), String> {
    let mut resets = Vec::new();
    let walked = ledger.reader().replay(|step| {
        if let Some(Asked { head, verb: AskedVerb::Reset(_), .. }) = step.record.body().asked()
            && step.record.seq().0 >= first
        {
            resets.push((step.record.seq(), *head));
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    for (seq, head) in resets {
        let device = head
            .device
            .and_then(|device| ledger.reader().device_text(device))
            .ok_or("an erased device is reset")?;
        let device = DeviceId::new(device).map_err(|error| error.to_string())?;
        let new_id = ledger.reader().id_text(head.id).and_then(|id| DistinctId::new(id).ok());
        reference.at(seq.0);
        reference.apply(&Operation::new(head.time(), Request::Reset { device, reset_device: false, new_id }));
    }
    Ok(())
}

/// A diff makes the second content of the first: from any point of a log to another, from a log to what it would be under another
/// policy, from one ledger to another (H4), no matter what was erased meanwhile. It is empty exactly if the
/// two are equal, which is when their digests are. The exception is a person id with a number of the log in
/// it (D11), which digests pass over.
pub fn differences_lead(history: &History) -> Result<(), String> {
    let (ledger, ..) = all_and_erasures(history)?;
    let fault = |fault: crate::store::segments::Fault| fault.to_string();
    let last = ledger.checkpoint().records - 1;
    let mut views =
        [0, last / 3, last / 2].map(|seq| ledger.reader().view_as_of(Seq(seq)).map_err(fault)).to_vec();
    views.push(Ok(ledger.reader().view()));
    let views = views.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (before, after) in views.iter().flat_map(|before| views.iter().map(move |after| (before, after))) {
        leads(&Diff::between(before, after).map_err(fault)?, before, after)?;
    }
    let same_policy = ledger.reader().what_if(&history.policy).map_err(|error| error.to_string())?;
    holds(same_policy.diff().is_empty(), || format!("its own policy differs: {:?}", same_policy.diff()))?;
    let mut others = Vec::new();
    for policy in other_policies(&history.policy) {
        let what_if = ledger.reader().what_if(&policy).map_err(|error| error.to_string())?;
        leads(what_if.diff(), &ledger.reader().view(), what_if.view())?;
        others.push(fold(&policy, &history.operations)?.ledger);
    }
    let mut backwards = history.operations.clone();
    backwards.reverse();
    others.push(fold(&history.policy, &backwards)?.ledger);
    let digest = |ledger: &Ledger| ledger.reader().content_digest().map_err(fault);
    for other in others {
        let (before, after) = (ledger.reader().view(), other.reader().view());
        let diff = Diff::between(&before, &after).map_err(fault)?;
        leads(&diff, &before, &after)?;
        let equal = digest(&ledger)? == digest(&other)?;
        if !(is_numbered(ledger.reader()) || is_numbered(other.reader())) {
            same("equal digests", &equal, &diff.is_same_content())?;
        }
        holds(equal || !diff.is_same_content(), || "the same content, and other digests".to_owned())?;
    }
    Ok(())
}

/// Whether a person id has a number of the log in it (D11).
fn is_numbered(reader: &Reader) -> bool {
    let state = reader.state();
    state.ids().any(|id| !matches!(state.called_of(id), PersonIdBasis::Founding(_)))
}

/// Policies that a log could have been recorded under with the same records: what its devices and importers did is the same.
fn other_policies(policy: &Policy) -> [Policy; 5] {
    use crate::model::policy::{Preset, Survivor, UuidIds, ValuesBy};
    let text = |text: &str| BTreeSet::from([text.to_owned()]);
    let odd = Policy {
        survivor: Survivor::Elder,
        max_ids_per_person: Some(3),
        max_user_ids: Some(2),
        uuid_ids: UuidIds::User,
        blocked_ids: text("bob"),
        anonymous_prefixes: text("c"),
        id_kinds: id_kinds(2),
        values_by: ValuesBy::EventTime,
        ..Policy::default()
    };
    let shared = Policy { shared_ids: shared_ids(2), ..Policy::preset(Preset::OneUser) };
    let presets = [Preset::Posthog, Preset::Strict, Preset::OneUser].map(Policy::preset);
    let [posthog, strict, one_user] = presets;
    [posthog, strict, one_user, odd, shared].map(|other| Policy {
        dialect: policy.dialect,
        person_profiles: policy.person_profiles,
        lift: policy.lift,
        keep_event_properties: policy.keep_event_properties,
        ..other
    })
}

fn leads(diff: &Diff, before: &View<'_>, after: &View<'_>) -> Result<(), String> {
    let content = |view| Content::of(view).map_err(|fault| fault.to_string());
    let (first, second) = (content(before)?, content(after)?);
    same("what the diff leads to", &diff.apply(&first).map_err(|misfit| misfit.to_string())?, &second)?;
    same("nothing differs", &diff.is_same_content(), &(first == second))?;
    same("what there is", &diff.counts, &[counts(&first), counts(&second)])?;
    let shape = Shape {
        merged: diff.merged.iter().map(|merged| (merged.person_id, persons_of(&merged.from))).collect(),
        split: diff.split.iter().map(|split| (split.person_id, persons_of(&split.into))).collect(),
        renamed: diff.renamed.iter().map(|renamed| (renamed.from, renamed.to)).collect(),
        created: diff.created.iter().copied().collect(),
        gone: diff.gone.iter().copied().collect(),
    };
    same("persons that merged, split, came or went", &shape, &Shape::between(&first, &second))
}

fn persons_of(parts: &[crate::query::diff::PersonPart]) -> BTreeMap<PersonId, u64> {
    parts.iter().map(|part| (part.person_id, part.ids)).collect()
}

fn counts(content: &Content) -> Counts {
    let events = || content.ids.values().map(|id| &id.events);
    let identified = content.persons.values().filter(|person| person.facts.is_identified);
    Counts {
        persons: content.persons.len() as u64,
        identified_persons: identified.count() as u64,
        ids_with_person: content.ids.values().filter(|id| !id.whose.implied).count() as u64,
        events: events().map(|events| events.digests.len() as u64).sum(),
        identified_events: events().map(|events| events.full).sum(),
        propertyless_events: events().map(|events| events.propertyless).sum(),
    }
}

/// What became of the persons, told from two contents.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    merged: BTreeMap<PersonId, BTreeMap<PersonId, u64>>,
    split: BTreeMap<PersonId, BTreeMap<PersonId, u64>>,
    renamed: BTreeSet<(PersonId, PersonId)>,
    created: BTreeSet<PersonId>,
    gone: BTreeSet<PersonId>,
}

impl Shape {
    fn between(first: &Content, second: &Content) -> Shape {
        let (mut to, mut from) = (BTreeMap::new(), BTreeMap::new());
        for (id, before) in first.ids.iter().filter(|(_, id)| !id.whose.implied) {
            let Some(after) = second.ids.get(id).filter(|id| !id.whose.implied) else { continue };
            let (before, after) = (before.whose.person_id, after.whose.person_id);
            *to.entry(before).or_insert_with(BTreeMap::new).entry(after).or_insert(0) += 1;
            *from.entry(after).or_insert_with(BTreeMap::new).entry(before).or_insert(0) += 1;
        }
        let alone = |content: &Content, linked: &BTreeMap<PersonId, BTreeMap<PersonId, u64>>| {
            content.persons.keys().filter(|person| !linked.contains_key(*person)).copied().collect()
        };
        let (created, gone) = (alone(second, &from), alone(first, &to));
        let single = to.iter().filter(|(_, after)| after.len() == 1);
        let pairs = single.filter_map(|(before, after)| Some((*before, *after.first_key_value()?.0)));
        let renamed = pairs.filter(|(before, after)| before != after && from[after].len() == 1).collect();
        let several = |(_, others): &(PersonId, BTreeMap<PersonId, u64>)| others.len() > 1;
        Shape {
            renamed,
            created,
            gone,
            merged: from.into_iter().filter(several).collect(),
            split: to.into_iter().filter(several).collect(),
        }
    }
}

/// What a log would mean under another policy is what the same operations, recorded under it, do mean (H4).
pub fn what_if_is_the_fold(history: &History) -> Result<(), String> {
    let recorded = all(history)?;
    for policy in other_policies(&history.policy) {
        let what_if = recorded.ledger.reader().what_if(&policy).map_err(|error| error.to_string())?;
        let other = fold(&policy, &history.operations)?;
        // Where a fresh id is fresh under one policy and a user's under the other, not the same is recorded (F4).
        let errors = |folded: &Folded| folded.appended.iter().map(Option::is_none).collect::<Vec<_>>();
        if errors(&recorded) != errors(&other) {
            continue;
        }
        same("the state", &what_if.view().state().digest(), &other.ledger.reader().state().digest())?;
        let mut expected = refused(recorded.ledger.reader())?;
        for refusal in &what_if.diff().refusals {
            if let Some(before) = &refusal.before {
                same("the refusal there was", &expected.remove(&before.seq), &Some(before.refusal))?;
            }
            expected.extend(refusal.after.as_ref().map(|after| (after.seq, after.refusal)));
        }
        same("what is refused", &expected, &refused(other.ledger.reader())?)?;
        let diff = Diff::between(what_if.view(), &other.ledger.reader().view())
            .map_err(|fault| fault.to_string())?;
        holds(diff.is_same_content(), || format!("the recorded one differs: {diff:?}"))?;
    }
    Ok(())
}

/// What a preview of a retract or split says is what then happens: the same outcome or error, a difference that leads from what the
/// log meant to what it means, and no other one than is found between the two (H1, H2, H4).
pub fn previews_come_true(history: &History) -> Result<(), String> {
    let (ledger, storage, mut chance) = all_and_erasures(history)?;
    let fault = |fault: crate::store::segments::Fault| fault.to_string();
    let before = Content::of(&ledger.reader().view()).map_err(fault)?;
    let (last, digest) = (ledger.checkpoint().records - 1, ledger.reader().state().digest());
    for _ in 0..4 {
        let operation = second_thought(last, &mut chance)?;
        let preview = ledger.reader().preview(&operation);
        let again = ledger.reader().preview(&operation);
        same("asked again", &format!("{again:?}"), &format!("{preview:?}"))?;
        same("a state that was only asked", &ledger.reader().state().digest(), &digest)?;
        let copy = Arc::new(Memory::clone(&storage));
        let mut copy = LedgerOptions::new().open_in(copy).map_err(|error| error.to_string())?;
        let asked = || notation::request(0, &operation);
        let Preview { appended, mut diff } = match (copy.append(operation.clone()), preview) {
            (Ok(appended), Ok(preview)) => {
                same(&format!("what `{}` does", asked()), &preview.appended, &appended)?;
                preview
            }
            (Err(AppendError::Operation { source, .. }), Err(PreviewError::Operation(error))) => {
                same(&format!("the error of `{}`", asked()), &error, &source)?;
                continue;
            }
            (appended, preview) => return Err(format!("`{}`: {preview:?}, and then {appended:?}", asked())),
        };
        // Resets may stand behind it (H3): the preview speaks of the record itself.
        let now = copy.reader().view_as_of(appended.seq().unwrap_or(Seq(last))).map_err(fault)?;
        let after = Content::of(&now).map_err(fault)?;
        let led = diff.apply(&before).map_err(|misfit| format!("`{}`: {misfit}", asked()))?;
        same(&format!("where `{}` leads", asked()), &led, &after)?;
        if appended.outcome().is_none() {
            continue;
        }
        let then = copy.reader().view_as_of(Seq(last)).map_err(fault)?;
        let mut whole = Diff::between(&then, &now).map_err(fault)?;
        // A person with an opaque id may have a name afterwards, and has it then in all answers (D11). A preview names it as it was
        // named when the preview was asked for, so the two differences begin at different names, and both must lead to what is now.
        let renamed = Content::of(&then).map_err(fault)?;
        if renamed != before {
            let led = whole.apply(&renamed).map_err(|misfit| format!("`{}`: {misfit}", asked()))?;
            same(&format!("where `{}` led", asked()), &led, &after)?;
            continue;
        }
        // A person that an erasure renamed may have another id afterwards (D11).
        for here in diff
            .refusals
            .iter_mut()
            .chain(&mut whole.refusals)
            .flat_map(|refusal| [&mut refusal.before, &mut refusal.after])
            .flatten()
        {
            here.reason.clear();
        }
        // The counts are those of the component; all others stay.
        let others = |at: usize| whole.counts[at].persons.checked_sub(diff.counts[at].persons);
        same("other persons", &others(1), &others(0))?;
        let others = |at: usize| whole.counts[at].events.checked_sub(diff.counts[at].events);
        same("other events", &others(1), &others(0))?;
        diff.counts = whole.counts;
        same(&format!("in what `{}` differs", asked()), &diff, &whole)?;
    }
    Ok(())
}

/// A retract of any record, or a split or reclassification of anybody.
fn second_thought(last: u64, chance: &mut Chance) -> Result<Operation, String> {
    let at = Timestamp::from_micros(5).map_err(|error| error.to_string())?;
    let id = |chance: &mut Chance| DistinctId::new(*chance.pick(&IDS)).map_err(|error| error.to_string());
    if chance.one_in(2) {
        let seq = Seq(chance.below(last as usize + 2) as u64);
        return Ok(Operation::retract(at, Target::Record(seq)));
    }
    if chance.one_in(2) {
        let class = *chance.pick(&IdClass::ALL);
        return Ok(Operation::reclassify(at, id(chance)?, class));
    }
    let mode = if chance.one_in(2) { SplitMode::Each } else { SplitMode::Together };
    let ids = [id(chance)?, id(chance)?].into_iter().take(1 + chance.below(2)).collect::<Vec<_>>();
    Ok(Operation::split(at, id(chance)?, ids, mode))
}

/// Everything a history asks, and erasures between.
fn all_and_erasures(history: &History) -> Result<(Ledger, Arc<Memory>, Chance), String> {
    let (mut ledger, storage) = new_ledger(&history.policy)?;
    let mut chance = chance_of(history);
    for operation in &history.operations {
        append(&mut ledger, operation)?;
        if chance.one_in(8) {
            let (_, request) = erasure(&mut chance)?;
            match ledger.erase(&[request]) {
                Ok(_) | Err(EraseError::UnknownId { .. } | EraseError::NoValues { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    ledger.flush().map_err(|error| error.to_string())?;
    Ok((ledger, storage, chance))
}

/// What is refused as things stand now: without what was retracted.
fn refused(reader: &Reader) -> Result<BTreeMap<Seq, &'static str>, String> {
    let mut refusals = Refusals::default();
    let refused =
        reader.replay(|step| refusals.see(step)).and_then(|()| refusals.settle(reader, reader.state()));
    let refused = refused.map_err(|fault| fault.to_string())?;
    Ok(refused.iter().map(|refused| (Seq(refused.seq.into()), refused.refusal.name())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::operation::{Source, SplitMode};
    use crate::{Ledger, Policy, Tenant};

    /// The reference model forgot the name of a person who twice lost the id it was called after, once an id
    /// had left it: of the two persons founded by one id, it asked the one that has no ids any more.
    #[test]
    fn who_twice_loses_the_id_they_are_called_after_is_called_after_the_next() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let mut reference = Reference::new(Policy::default());
        let at = Timestamp::from_micros(0).unwrap();
        let id = |text: &str| DistinctId::new(text).unwrap();
        let ask = |ledger: &mut Ledger, reference: &mut Reference, operation: Operation| {
            let appended = ledger.append(operation.clone()).unwrap();
            reference.at(appended.seq().unwrap().0);
            assert_eq!(ReferenceOutcome::from(&appended), reference.apply(&operation));
        };
        let erase = |ledger: &mut Ledger, reference: &mut Reference, text: &str| {
            let subject = ErasureSubject::Ids(BTreeSet::from([id(text)]));
            let erased = ledger.begin_erasures(&[ErasureRequest::new(at, subject, "")]).unwrap();
            reference.at(erased[0].0);
            reference.erase(&BTreeSet::from([text.to_owned()]), &BTreeSet::new());
            assert_eq!(differences(ledger.reader(), reference), [""; 0]);
        };
        ask(&mut ledger, &mut reference, Operation::alias(at, id("ann"), Source::new("phone")));
        ask(&mut ledger, &mut reference, Operation::split(at, id("phone"), [id("ann")], SplitMode::Each));
        erase(&mut ledger, &mut reference, "ann");
        ask(&mut ledger, &mut reference, Operation::alias(at, id("phone"), Source::new("web")));
        erase(&mut ledger, &mut reference, "phone");
        let named = ledger.reader().state().called(ledger.reader().person("web").unwrap());
        assert_eq!(named.id(), ledger.reader().id_no("web").unwrap());
    }
}
