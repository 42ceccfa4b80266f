//! Laws: what must hold for every history under every policy, and so under yours.
//!
//! Each law takes a history, folds it as often as it needs to, and says in a sentence what broke it. The crate's own tests
//! run the same functions over histories that proptest makes up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::answer::EventMode;
use crate::book::Book;
use crate::content::Content;
use crate::diff::{Counts, Diff};
use crate::erasure::{EraseError, ErasureRequest, ErasureSubject};
use crate::id::{DeviceId, DistinctId, OperationId, PersonId, PropertyKey, Seq};
use crate::ledger::{AppendError, Appended, Ledger};
use crate::operation::{
    Changes, Operation, OperationError, Processing, Request, Source, SplitMode, Target, Who,
};
use crate::options::LedgerOptions;
use crate::policy::Policy;
use crate::preview::{Preview, PreviewError};
use crate::record::{Body, IdNo, Other, Verb};
use crate::replay::Step;
use crate::state::{Called, Link, PersonNo, Refusal, State, Undone};
use crate::storage::Memory;
use crate::testing::chance::Chance;
use crate::testing::history::{self, History, IDS, KEYS};
use crate::testing::reference::{Reference, ReferenceOutcome};
use crate::testing::{check, differences, notation};
use crate::time::Timestamp;
use crate::view::{Refusals, View};
use crate::{SeededEntropy, Tenant};

/// A law: says what is wrong with a history, if something is.
pub type Law = fn(&History) -> Result<(), String>;

/// All laws, by name.
pub const LAWS: [(&str, Law); 24] = [
    ("the engine is the reference model", engine_is_reference),
    ("the log alone tells all", log_tells_all),
    ("persons partition the ids that have one", persons_partition),
    ("any batching is the same", any_batching),
    ("reopening anywhere is the same", any_reopening),
    ("as of n is the fold of the first n", prefixes),
    ("a refused operation changes no link", refusals_change_no_link),
    ("refusals name the record that blocks", refusals_name_their_record),
    ("a repeated link changes nothing", repeats_change_nothing),
    ("identified only grows, and keeps its record", identified_grows),
    ("redirects are total, acyclic and idempotent", redirects),
    ("created_at is the earliest founding", created_at),
    ("what is retracted was never asked", retract_takes_back),
    ("two identified persons join by merge only", identified_join_by_merge),
    ("no event crosses a reset", no_event_crosses_a_reset),
    ("properties follow E1 and E2", properties),
    ("components are independent and commute", components),
    ("events follow their ids, then and now", attribution),
    ("equal digests mean equal content", digests),
    ("two ids of a person have a proof", proofs),
    ("what is erased stays erased, and nobody else changes", erasing),
    ("a difference leads from one content to the other", differences_lead),
    ("what-if is the fold of a log with that policy", what_if_is_the_fold),
    ("a preview of a change of mind comes true", previews_come_true),
];

/// Runs all laws over made-up histories under `policy`, one history a seed.
///
/// ```
/// use identity_ledger::testing::laws;
/// use identity_ledger::{Policy, Preset};
///
/// let mine = Policy { max_moved_ids: Some(2), ..Policy::preset(Preset::OneUser) };
/// laws::hold(&mine, 0..20)?;
/// # Ok::<(), laws::Broken>(())
/// ```
///
/// # Errors
/// [`Broken`]: the first law that is, and the shortest history found that breaks it.
pub fn hold(policy: &Policy, seeds: Range<u64>) -> Result<(), Broken> {
    for seed in seeds {
        let history = History::seeded(policy, seed);
        for (name, law) in LAWS {
            if law(&history).is_err() {
                let (history, what) = shortened(law, history);
                return Err(Broken { name, what, seed, history: Box::new(history) });
            }
        }
    }
    Ok(())
}

/// A law that does not hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed} breaks a law: {name}\n{what}\n\n{history}")]
pub struct Broken {
    /// Which law.
    pub name: &'static str,
    /// What was found.
    pub what: String,
    /// The seed of the history it was found with.
    pub seed: u64,
    /// A history that breaks it, as short as leaving out single operations makes it.
    pub history: Box<History>,
}

/// Leaves out every operation that is not needed for the law to be broken.
fn shortened(law: Law, mut history: History) -> (History, String) {
    let mut at = history.operations.len();
    while at > 0 {
        at -= 1;
        let left_out = history.operations.remove(at);
        if law(&history).is_ok() {
            history.operations.insert(at, left_out);
        }
    }
    let what = law(&history).err().unwrap_or_default();
    (history, what)
}

// -- folding ---------------------------------------------------------------------------------------------------------

/// A ledger after a history, with what became of each operation; `None` where it was an error.
struct Folded {
    ledger: Ledger,
    storage: Arc<Memory>,
    appended: Vec<Option<Appended>>,
}

fn new_ledger(policy: &Policy) -> Result<(Ledger, Arc<Memory>), String> {
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().entropy(SeededEntropy::new(1)).segment_bytes(2_048);
    let ledger = options.create_in(storage.clone(), Tenant::default(), policy.clone());
    ledger.map(|ledger| (ledger, storage)).map_err(|error| error.to_string())
}

fn append(ledger: &mut Ledger, operation: &Operation) -> Result<Option<Appended>, String> {
    history::append(ledger, operation).map_err(|error| error.to_string())
}

/// As few batches as go: a device cannot speak behind a retract of its batch.
fn append_all(ledger: &mut Ledger, batch: &[Operation]) -> Result<Vec<Appended>, String> {
    match ledger.append_batch(batch) {
        Err(AppendError::Operation { source: OperationError::AfterRetract, index }) => {
            let (first, last) = batch.split_at(index);
            let mut appended = append_all(ledger, first)?;
            appended.append(&mut append_all(ledger, last)?);
            Ok(appended)
        }
        appended => appended.map_err(|error| error.to_string()),
    }
}

fn fold(policy: &Policy, operations: &[Operation]) -> Result<Folded, String> {
    let (mut ledger, storage) = new_ledger(policy)?;
    let appended = operations.iter().map(|operation| append(&mut ledger, operation));
    let appended = appended.collect::<Result<_, _>>()?;
    Ok(Folded { ledger, storage, appended })
}

fn all(history: &History) -> Result<Folded, String> {
    fold(&history.policy, &history.operations)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    holds(found == expected, || format!("{what}: found {found:?}, expected {expected:?}"))
}

fn holds(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Walks through a log with the state before and after each record, and stops at the first wrong one.
fn each_step(
    book: &Book,
    mut look: impl FnMut(&State, Step<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let (mut before, mut wrong) = (State::new(), Ok(()));
    let walked = book.replay(|step| {
        if wrong.is_ok() {
            wrong = look(&before, step).map_err(|what| format!("record {}: {what}", step.record.seq()));
        }
        before.clone_from(step.state);
    });
    walked.map_err(|fault| fault.to_string())?;
    wrong
}

/// Whose each id is, by the number of its person.
fn links(state: &State) -> Vec<Option<PersonNo>> {
    state.ids().map(|id| state.person(id)).collect()
}

// -- the laws --------------------------------------------------------------------------------------------------------

/// The engine gives the outcomes, persons, devices and events of the reference model, after every operation.
pub fn engine_is_reference(history: &History) -> Result<(), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    let mut reference = Reference::new(history.policy.clone());
    for (number, operation) in (1..).zip(&history.operations) {
        let Some(appended) = append(&mut ledger, operation)? else { continue };
        let said = ReferenceOutcome::from(&appended);
        same(&format!("operation {number}"), &said, &reference.apply(operation))?;
        let what = differences(&ledger, &reference);
        holds(what.is_empty(), || format!("after operation {number}: {}", what.join("; ")))?;
    }
    Ok(())
}

/// The whole-log check passes, and counts one outcome for each operation that was recorded (A2, A4).
pub fn log_tells_all(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    let recorded = appended.iter().flatten().filter(|appended| appended.outcome().is_some()).count();
    let checked = check(&ledger).map_err(|unsound| unsound.to_string())?;
    same("operations", &checked.operations, &recorded)?;
    let mut outcomes = 0;
    ledger.outcomes(|_| outcomes += 1).map_err(|fault| fault.to_string())?;
    same("outcomes", &outcomes, &recorded)
}

/// Every id that has a person is listed by exactly that one; ids seen only propertyless are listed by none.
pub fn persons_partition(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let state = ledger.state();
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
    let content = |ledger: &Ledger| ledger.content_digest().map_err(|fault| fault.to_string());
    for size in [2, 3, 7, accepted.len().max(1)] {
        let (mut batched, _) = new_ledger(&history.policy)?;
        let mut found = Vec::new();
        for batch in accepted.chunks(size) {
            found.extend(append_all(&mut batched, batch)?);
        }
        same(&format!("outcomes in batches of {size}"), &found, &expected)?;
        same("state digest", &batched.state().digest(), &ledger.state().digest())?;
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
                let options = LedgerOptions::new().entropy(SeededEntropy::new(1));
                ledger = options.open_in(storage.clone()).map_err(|error| error.to_string())?;
                holds(ledger.recovery().is_clean(), || "something was torn".to_owned())?;
            }
        }
        same("state digest", &ledger.state().digest(), &straight.ledger.state().digest())?;
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
    full.replay(|step| digests.extend([(step.record.seq(), step.state.digest())]))
        .map_err(|fault| fault.to_string())?;
    let (mut prefix, _) = new_ledger(&history.policy)?;
    for (operation, appended) in history.operations.iter().zip(appended) {
        append(&mut prefix, operation)?;
        let Some(Appended::Recorded { seq, .. }) = appended else { continue };
        same(&format!("the state after record {seq}"), &prefix.state().digest(), &digests[&seq])?;
        for id in full.state().ids().filter_map(|id| full.id_text(id)) {
            same(&format!("`{id}` as of {seq}"), &full.person_as_of(id, seq), &prefix.resolve(id))?;
            let then = full.profile_as_of(id, seq).map_err(|fault| fault.to_string())?;
            let expected = prefix.profile(id).map_err(|fault| fault.to_string())?;
            same(&format!("profile of `{id}` as of {seq}"), &then, &expected)?;
        }
        for person in (0..full.state().persons_founded() as u32).map(PersonNo) {
            let id = full.own_person_id(person, full.state());
            let then = full.survivor_as_of(id, seq).map_err(|fault| fault.to_string())?;
            same(&format!("{id} as of {seq}"), &then, &prefix.survivor_of(id))?;
        }
        for event in history.operations.iter().filter_map(|operation| operation.id) {
            let then = full.event_as_of(event, seq).map_err(|fault| fault.to_string())?;
            let expected = prefix.event(event).map_err(|fault| fault.to_string())?;
            same(&format!("event {event} as of {seq}"), &then, &expected)?;
        }
    }
    Ok(())
}

/// An operation that was refused moves no id; at most T founds its own person.
pub fn refusals_change_no_link(history: &History) -> Result<(), String> {
    each_step(&all(history)?.ledger, |before, step| {
        let Some(outcome) = step.outcome.filter(|outcome| outcome.refusal.is_some()) else { return Ok(()) };
        let mut expected = links(before);
        if outcome.founded {
            let head = step.record.body().head().map(|head| head.id).ok_or("a refusal of nobody")?;
            expected[head.index()] = outcome.person;
        }
        same("links", &links(step.state), &expected)?;
        same("the link made", &outcome.link, &None)
    })
}

/// A refusal names the record that the table of refusals says, and a person or id that does block.
pub fn refusals_name_their_record(history: &History) -> Result<(), String> {
    let (mut policy, mut firsts, mut any_refold) = (None, BTreeMap::new(), false);
    each_step(&all(history)?.ledger, |before, step| {
        let firsts_before = firsts.clone();
        follow_first_users(&mut firsts, before, &step);
        let refolded = any_refold;
        any_refold |= step.outcome.is_some_and(|outcome| outcome.undone.is_some());
        let (seq, body) = (step.record.seq(), step.record.body());
        if matches!(body, Body::Genesis(_) | Body::SetPolicy(_)) {
            policy = Some(seq);
        }
        let Some(refusal) = step.outcome.and_then(|outcome| outcome.refusal) else { return Ok(()) };
        let source = match body.other() {
            Other::Id(source) => before.person(source),
            Other::None | Other::Unstorable => None,
        };
        let expected = match refusal {
            Refusal::ProcessingOff { .. } | Refusal::Unmergeable { id: None, .. } => Some(seq),
            Refusal::Unmergeable { id: Some(id), .. } => {
                holds(!before.class(id).mergeable, || format!("{id:?} may be merged"))?;
                Some(before.defined_by(id))
            }
            Refusal::JoinsIdentified { person, .. } | Refusal::SourceIdentified { person, .. } => {
                same("the person that blocks", &Some(person), &source)?;
                before.view(person).identified_by
            }
            Refusal::TooManyMovedIds { .. } | Refusal::TooManyIds { .. } => policy,
            Refusal::TooManyUserIds { held, .. } => {
                let target = body.head().map(|head| head.id).ok_or("a refusal of nobody")?;
                let person = source.or(before.person(target));
                match person.map(|person| (person, firsts_before.get(&person).copied())) {
                    Some((person, Some(None))) => {
                        holds(before.person(held) == Some(person), || format!("{held:?} is no id of it"))?;
                    }
                    Some((_, first)) => same("the user id that is named", &Some(held), &first.flatten())?,
                    None => same("the user id that is named", &held, &target)?,
                }
                holds(before.class(held).user, || format!("{held:?} is no user"))?;
                if refolded {
                    // Which record gave it its person is another one, once it was folded anew.
                    let by = refusal.blocking();
                    holds(by < seq && !before.is_retracted(by), || format!("{by} gave it no person"))?;
                    return Ok(());
                }
                let has_person = |at: &Seq| before.person_as_of(held, *at).is_some();
                (0..seq.0).map(Seq).find(has_person).or(Some(before.defined_by(held)))
            }
            Refusal::NotRetractable { .. } | Refusal::WholePerson { .. } => Some(seq),
            Refusal::AlreadyRetracted { by } => {
                let Body::Retract(_, target, _) = body else {
                    return Err("only a retract finds that".to_owned());
                };
                holds(before.is_retracted(Seq(target)), || format!("{target} is not retracted"))?;
                holds(!before.is_retracted(by), || format!("{by} is itself retracted"))?;
                Some(by)
            }
            Refusal::NoPerson { .. } => body.head().map(|head| before.defined_by(head.id)),
            Refusal::OtherPerson { id, by } => {
                let target = body.head().and_then(|head| before.person(head.id));
                holds(before.person(id) != target, || format!("{id:?} is of the same person"))?;
                Some(by)
            }
        };
        same("the record that blocks", &Some(refusal.blocking()), &expected)
    })
}

/// The first user id of each person, as D9 has it: the founding id, else the first that joined; of a merge, P(T)'s. `None` for
/// persons of a component that was folded anew: their past is not followed.
fn follow_first_users(firsts: &mut BTreeMap<PersonNo, Option<IdNo>>, before: &State, step: &Step<'_>) {
    let body = step.record.body();
    let (Some(outcome), Some(head)) = (step.outcome, body.head()) else { return };
    let user = |id: IdNo| before.class(id).user;
    let anew = if outcome.undone.is_some() { step.state.persons_founded() } else { 0 };
    firsts.extend((before.persons_founded()..anew).map(|number| (PersonNo(number as u32), None)));
    if let (true, Some(person)) = (outcome.founded && user(head.id), outcome.person) {
        firsts.insert(person, Some(head.id));
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
        let before = ledger.content_digest().map_err(|fault| fault.to_string())?;
        let again = Operation { id: None, changes: Changes::default(), ..operation.clone() };
        let repeated = append(&mut ledger, &again)?;
        let repeated = repeated.as_ref().and_then(Appended::outcome).ok_or("the repeat was not recorded")?;
        same("the link of the repeat", &repeated.link, &None)?;
        same("the refusal of the repeat", &repeated.refusal, &None)?;
        let after = ledger.content_digest().map_err(|fault| fault.to_string())?;
        same("content", &after, &before)?;
    }
    Ok(())
}

/// Whether a step folds a component anew: rules that say what grows say it of what was asked, not of what was taken back.
fn undoes(step: Step<'_>) -> bool {
    step.outcome.is_some_and(|outcome| outcome.undone.is_some())
}

/// Once a person is identified, whoever it becomes is; and the record that first did it stays, P(T)'s if two persons become
/// one (D1).
pub fn identified_grows(history: &History) -> Result<(), String> {
    each_step(&all(history)?.ledger, |before, step| {
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
    each_step(&ledger, |before, step| {
        if undoes(step) {
            return Ok(());
        }
        let all = || (0..before.persons_founded() as u32).map(PersonNo);
        let moved = all()
            .find(|person| step.state.survivor(*person) != step.state.survivor(before.survivor(*person)));
        same("persons that left their survivor", &moved, &None)
    })
}

/// Every person there ever was leads to a live one in one step, or to whom its founding id would found, and so does its public id.
fn all_lead_somewhere(ledger: &Ledger) -> Result<(), String> {
    let state = ledger.state();
    let live: BTreeSet<PersonNo> = state.persons().map(|person| person.number).collect();
    for person in (0..state.persons_founded() as u32).map(PersonNo) {
        let survivor = state.survivor(person);
        // Nobody, if its founding was taken back and its founding id has no person now (D11).
        let nobody = state.is_retired(survivor) && state.person(state.founding(survivor)).is_none();
        holds(live.contains(&survivor) || nobody, || {
            format!("{person:?} became {survivor:?}, which is not live")
        })?;
        same("the survivor of a survivor", &state.survivor(survivor), &survivor)?;
        let old = ledger.own_person_id(person, state);
        same("its public id", &ledger.survivor_of(old), &Some(ledger.person_id(survivor)))?;
    }
    Ok(())
}

/// A person was created when the earliest of those that became it was founded (D3, D4, D7).
pub fn created_at(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    if appended.iter().flatten().filter_map(Appended::outcome).any(|outcome| outcome.undone.is_some()) {
        return Ok(()); // the reference model says when a person was created that was folded anew
    }
    let mut founded = Vec::new();
    each_step(&ledger, |_, step| {
        let founder = step.outcome.filter(|outcome| outcome.founded);
        founded.extend(founder.and_then(|_| Some(step.record.body().head()?.time())));
        Ok(())
    })?;
    let state = ledger.state();
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
    each_step(&all(history)?.ledger, |before, step| {
        let Some(outcome) = step.outcome else { return Ok(()) };
        let body = step.record.body();
        let (merge, Some(head)) = (matches!(body, Body::Merge(..)), body.head()) else { return Ok(()) };
        let identified = |person: Option<PersonNo>| {
            person.is_some_and(|person| before.view(person).identified_by.is_some())
        };
        let Other::Id(source) = body.other() else { return Ok(()) };
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

/// After a reset a device's events belong to a fresh person, whatever else happens, until somebody names its fresh id (F4).
pub fn no_event_crosses_a_reset(history: &History) -> Result<(), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    let fresh = DistinctId::new("$device:fresh").map_err(|error| error.to_string())?;
    let device = DeviceId::new("d1").map_err(|error| error.to_string())?;
    let half = history.operations.len() / 2;
    for operation in &history.operations[..half] {
        append(&mut ledger, operation)?;
    }
    let at = crate::time::Timestamp::from_micros(1).map_err(|error| error.to_string())?;
    let reset = Request::Reset { device: device.clone(), reset_device: false, new_id: Some(fresh.clone()) };
    let capture = Request::Capture {
        who: Who::Device(device.clone()),
        event: None,
        properties: crate::value::Properties::new(),
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
        .events(|event| {
            let own = event.person_id == PersonId::founded_by(ledger.tenant(), fresh.as_str());
            if own != (event.distinct_id == fresh.as_str()) {
                crossed = Some((event.seq, event.distinct_id));
            }
        })
        .map_err(|fault| fault.to_string())?;
    same("an event on the wrong side", &crossed, &None::<(Seq, String)>)
}

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
        let at = crate::time::Timestamp::from_micros(0).map_err(|error| error.to_string())?;
        Ok::<_, String>(Operation::retract(at, Target::Operation(of)))
    };
    for (number, operation) in operations.iter().enumerate() {
        let Some(Appended::Recorded { outcome, .. }) = &whole.appended[number] else { continue };
        let seq = whole.appended[number].as_ref().and_then(Appended::seq).ok_or("no record")?;
        if whole.ledger.state().is_retracted(seq)
            || outcome.refusal.is_some_and(|refusal| refusal.rule() == "H1")
        {
            continue;
        }
        let of = operation.id.ok_or("each has one")?;
        let mut without = operations.clone();
        without.remove(number);
        // A retract of what was never asked is no operation: it is left out as well.
        without.retain(
            |other| !matches!(other.request, Request::Retract { target } if target == Target::Operation(of)),
        );
        let expected = facts(&fold(&policy, &without)?.ledger)?;
        let mut ledger = fold(&policy, &operations)?.ledger;
        let before = facts(&ledger)?;
        let taken = append(&mut ledger, &retract(of)?.with_id(OperationId(uuid::Uuid::from_u128(1 << 65))))?;
        holds(taken.is_some(), || format!("operation {} cannot be retracted", number + 1))?;
        same(&format!("content without operation {}", number + 1), &facts(&ledger)?, &expected)?;
        append(&mut ledger, &retract(OperationId(uuid::Uuid::from_u128(1 << 65)))?)?;
        same(&format!("content with operation {} again", number + 1), &facts(&ledger)?, &before)?;
    }
    Ok(())
}

/// What a record leaves of each key is what the table of E1 says, against the properties after E2; all other keys stay.
/// In particular a `set_once` never overwrites.
pub fn properties(history: &History) -> Result<(), String> {
    each_step(&all(history)?.ledger, |before, step| {
        let Some(outcome) = step.outcome.filter(|outcome| outcome.undone.is_none()) else { return Ok(()) };
        let Some(person) = outcome.person else { return Ok(()) };
        let body = step.record.body();
        let Some(head) = body.head() else { return Ok(()) };
        let won = |state: &State, person: Option<PersonNo>| -> BTreeMap<u32, Seq> {
            let all = person.map(|person| state.view(person).properties).unwrap_or_default();
            all.iter().map(|property| (property.key.0, property.seq())).collect()
        };
        // E2: P(S)'s, under P(T)'s. D3 and D4 join an id that has no properties.
        let absorbed = matches!(outcome.link, Some(Link::Absorbed { .. }));
        let from = match body.other() {
            Other::Id(source) if absorbed || before.person(head.id).is_none() => before.person(source),
            _ => None,
        };
        let from = if outcome.refusal.is_some() { None } else { from };
        let mut expected = won(before, from);
        expected.extend(won(before, before.person(head.id)));
        if applies(before, step, &body) {
            table_of_e1(&mut expected, step);
        }
        same("the record that won each key", &won(step.state, Some(person)), &expected)
    })
}

/// E3: whether a record's property changes count.
fn applies(before: &State, step: Step<'_>, body: &Body) -> bool {
    use crate::record::Flags;
    let Some(head) = body.head() else { return false };
    let quiet = head.flags.has(Flags::QUIET) && before.person(head.id).is_some();
    step.record.is_operation() && !head.flags.has(Flags::GROUP_IDENTIFY) && !quiet
}

fn table_of_e1(properties: &mut BTreeMap<u32, Seq>, step: Step<'_>) {
    let mut asked = BTreeMap::<u32, BTreeSet<Verb>>::new();
    for change in step.record.changes().iter().filter(|change| change.verb != Verb::KEPT) {
        asked.entry(change.key.0).or_default().insert(change.verb);
    }
    for (key, verbs) in asked {
        let has = |verb| verbs.contains(&verb);
        let (set, once, unset) = (has(Verb::SET), has(Verb::SET_ONCE), has(Verb::UNSET));
        match (properties.contains_key(&key), set, once, unset) {
            (true, _, _, true) => drop(properties.remove(&key)),
            (true, true, _, false) | (false, true, _, _) | (false, false, true, _) => {
                properties.insert(key, step.record.seq());
            }
            (true, false, _, false) | (false, false, false, _) => {}
        }
    }
}

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
    let content = |folded: &Folded| folded.ledger.content_digest().map_err(|fault| fault.to_string());
    same(
        "content, one component after the other",
        &content(&fold(&history.policy, &sorted)?)?,
        &content(&whole)?,
    )?;
    // Each alone, together.
    let mut alone = Vec::new();
    for component in all {
        alone.extend(facts(&fold(&history.policy, &of(component))?.ledger)?);
    }
    alone.sort_unstable();
    same("the components folded alone", &alone, &facts(&whole.ledger)?)
}

fn splits(folded: &Folded) -> bool {
    let mut outcomes = folded.appended.iter().flatten().filter_map(Appended::outcome);
    outcomes.any(|outcome| matches!(outcome.undone, Some(Undone::Split { .. })))
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
fn names(operation: &Operation) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = operation.id.iter().map(|id| format!("operation {id}")).collect();
    let of = |who: &Who| match who {
        Who::Id(id) => id.to_string(),
        Who::Device(device) => device.to_string(),
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
    }
    names
}

/// All that a book answers, free of numbers: persons, devices, events; sorted. A person that a split founded has a record's number
/// in its id (D11), and is called here as the content digest calls it.
fn facts(book: &Book) -> Result<Vec<String>, String> {
    let mut facts = Vec::new();
    let called = |id: &str| book.id_no(id).map(|id| book.content_id(book.state().called_of(id)));
    for person in book.persons() {
        let person = person.map_err(|fault| fault.to_string())?;
        let id = called(&person.distinct_ids[0]);
        let ids: BTreeSet<&String> = person.distinct_ids.iter().collect();
        let values: Vec<_> = person.properties.iter().map(|(key, property)| (key, &property.value)).collect();
        let (flag, created) = (person.is_identified, person.created_at);
        facts.push(format!("person {id:?} {ids:?} {flag} {created} {values:?}"));
    }
    for (number, device) in (0..).map(crate::record::DeviceNo).zip(book.state().devices()) {
        let (name, id) = (book.device_text(number), |id| book.id_text(id));
        let (current, anonymous) = (id(device.current), id(device.anonymous));
        facts.push(format!(
            "device {name:?} {current:?} {anonymous:?} {} {}",
            device.identified, device.profiled
        ));
    }
    book.events(|event| {
        let full = event.mode == EventMode::Full;
        let (id, name, time) = (event.event_id, event.event, event.time);
        let (of, now) = (&event.distinct_id, called(&event.distinct_id));
        facts.push(format!("event {id:?} {name:?} {time} of {of}: {now:?} {full}"));
    })
    .map_err(|fault| fault.to_string())?;
    facts.sort_unstable();
    Ok(facts)
}

/// An event's person now is its id's person now, and its person then its id's as of its record (G1, G2).
pub fn attribution(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let mut wrong = Ok(());
    let look = |event: crate::answer::EventAnswer| {
        let now = ledger.resolve(&event.distinct_id).map(|who| who.person_id);
        let then = ledger.person_as_of(&event.distinct_id, event.seq).map(|who| who.person_id);
        same("the person now", &Some(event.person_id), &now)?;
        same("the person then", &Some(event.person_id_then), &then)
    };
    let walked = ledger.events(|event| {
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
    let of = |ledger: &Ledger| ledger.content_digest().map_err(|fault| fault.to_string());
    let (digest, answers) = (of(&whole.ledger)?, facts(&whole.ledger)?);
    for without in 0..history.operations.len() {
        let mut operations = history.operations.clone();
        operations.remove(without);
        let less = fold(&history.policy, &operations)?;
        let equal = of(&less.ledger)? == digest;
        same(
            &format!("digests equal without operation {}", without + 1),
            &equal,
            &(facts(&less.ledger)? == answers),
        )?;
    }
    let copy: Arc<Memory> = Arc::new(Memory::clone(&whole.storage));
    let again = LedgerOptions::new().read_in(copy).map_err(|error| error.to_string())?;
    same("the digest of a copy", &again.content_digest().map_err(|fault| fault.to_string())?, &digest)
}

/// Two ids of one person are connected by records that name both ends of each step (D).
pub fn proofs(history: &History) -> Result<(), String> {
    let Folded { ledger, .. } = all(history)?;
    let (mut named, mut parted) = (BTreeMap::new(), BTreeMap::new());
    each_step(&ledger, |_, step| {
        let body = step.record.body();
        if let (Some(head), Other::Id(other)) = (body.head(), body.other()) {
            named.insert(step.record.seq(), vec![head.id, other]);
        }
        if let Body::Split(_, leavers, _) = body {
            parted.insert(step.record.seq(), leavers);
        }
        Ok(())
    })?;
    let state = ledger.state();
    for (a, b) in state.ids().flat_map(|a| state.ids().map(move |b| (a, b))) {
        let one = a == b || state.person(a).is_some() && state.person(a) == state.person(b);
        let Some(proof) = state.proof(a, b) else {
            holds(!one, || format!("{a:?} and {b:?} are one person without a proof"))?;
            continue;
        };
        holds(one, || format!("{a:?} and {b:?} have a proof and are no person"))?;
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

/// Between the operations somebody is erased now and then: a person, an id, the values of a key; the bytes go at once or later.
/// Engine and reference model agree on everything that is left and on whatever comes after; the state right after each record
/// stays what it was when it was appended; and the whole log, read anew, says the same (H3, D11).
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
        digests.insert(ledger.checkpoint().records, ledger.state().digest());
        if chance.one_in(6) {
            erase_somebody(&mut ledger, &mut reference, &mut chance)?;
            digests.insert(ledger.checkpoint().records, ledger.state().digest());
            let what = differences(&ledger, &reference);
            holds(what.is_empty(), || format!("erased after operation {number}: {}", what.join("; ")))?;
        }
    }
    let content = |book: &Book| book.content_digest().map_err(|fault| fault.to_string());
    let before = content(&ledger)?;
    ledger.finish_erasures(&mut |_| {}).map_err(|error| error.to_string())?;
    same("content, when the bytes are gone", &content(&ledger)?, &before)?;
    let what = differences(&ledger, &reference);
    holds(what.is_empty(), || format!("at the end: {}", what.join("; ")))?;
    all_lead_somewhere(&ledger)?;
    let mut changed = None;
    let walked = ledger.replay(|step| {
        let records = step.record.seq().0 + 1;
        let expected = digests.get(&records);
        if expected.is_some_and(|digest| *digest != step.state.digest()) {
            changed = changed.or(Some(records));
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    same("a record after which the state is not what it was", &changed, &None)?;
    check(&ledger).map_err(|unsound| unsound.to_string())?;
    let again = LedgerOptions::new().without_snapshots().read_in(Arc::new(Memory::clone(&storage)));
    let again = again.map_err(|error| error.to_string())?;
    same("state, read anew", &again.state().digest(), &ledger.state().digest())?;
    same("content, read anew", &content(&again)?, &before)
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

/// Erases somebody or something in a ledger and in the reference model, and finishes that now and then.
fn erase_somebody(ledger: &mut Ledger, reference: &mut Reference, chance: &mut Chance) -> Result<(), String> {
    let (id, request) = erasure(chance)?;
    let of_ids = matches!(request.subject, ErasureSubject::Ids(_));
    let whom = if of_ids { BTreeSet::from([id]) } else { reference.ids_with(&id) };
    let (at, keys) = (request.at, request.keys.clone());
    let first = ledger.checkpoint().records;
    let erase = match ledger.begin_erasures(&[request]) {
        Ok(begun) => begun[0],
        Err(EraseError::UnknownId { .. } | EraseError::NoValues { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let mut resets = Vec::new();
    let walked = ledger.replay(|step| {
        if let (true, Body::Reset(head, ..)) = (step.record.seq().0 >= first, step.record.body()) {
            resets.push((step.record.seq(), head));
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    for (seq, head) in resets {
        let device =
            head.device.and_then(|device| ledger.device_text(device)).ok_or("an erased device is reset")?;
        let device = DeviceId::new(device).map_err(|error| error.to_string())?;
        let new_id = ledger.id_text(head.id).and_then(|id| DistinctId::new(id).ok());
        reference.at(seq.0);
        reference.apply(&Operation::new(at, Request::Reset { device, reset_device: false, new_id }));
    }
    reference.at(erase.0);
    let keys: BTreeSet<String> = keys.into_iter().map(PropertyKey::into_string).collect();
    reference.erase(&whom, &keys);
    if chance.one_in(2) {
        ledger.finish_erasures(&mut |_| {}).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A diff makes the second content of the first: from any point of a log to another, from a log to what it would be under another
/// policy, from one ledger to another (H4), whoever was erased meanwhile. It is empty exactly if the two are equal, which is when their digests are, unless somebody
/// is called with a number of the log (D11), which digests pass over.
pub fn differences_lead(history: &History) -> Result<(), String> {
    let (ledger, ..) = all_and_erasures(history)?;
    let fault = |fault: crate::log::Fault| fault.to_string();
    let last = ledger.checkpoint().records - 1;
    let mut views = [0, last / 3, last / 2].map(|seq| ledger.view_as_of(Seq(seq)).map_err(fault)).to_vec();
    views.push(Ok(ledger.view()));
    let views = views.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (before, after) in views.iter().flat_map(|before| views.iter().map(move |after| (before, after))) {
        leads(&Diff::between(before, after).map_err(fault)?, before, after)?;
    }
    let same_policy = ledger.what_if(&history.policy).map_err(|error| error.to_string())?;
    holds(same_policy.diff().is_empty(), || format!("its own policy differs: {:?}", same_policy.diff()))?;
    let mut others = Vec::new();
    for policy in other_policies(&history.policy) {
        let what_if = ledger.what_if(&policy).map_err(|error| error.to_string())?;
        leads(what_if.diff(), &ledger.view(), what_if.view())?;
        others.push(fold(&policy, &history.operations)?.ledger);
    }
    let mut backwards = history.operations.clone();
    backwards.reverse();
    others.push(fold(&history.policy, &backwards)?.ledger);
    let digest = |ledger: &Ledger| ledger.content_digest().map_err(fault);
    for other in others {
        let (before, after) = (ledger.view(), other.view());
        let diff = Diff::between(&before, &after).map_err(fault)?;
        leads(&diff, &before, &after)?;
        let equal = digest(&ledger)? == digest(&other)?;
        if !(is_numbered(&ledger) || is_numbered(&other)) {
            same("equal digests", &equal, &diff.is_same_content())?;
        }
        holds(equal || !diff.is_same_content(), || "the same content, and other digests".to_owned())?;
    }
    Ok(())
}

/// Whether somebody's id has a number of the log in it (D11).
fn is_numbered(book: &Book) -> bool {
    let state = book.state();
    state.ids().any(|id| !matches!(state.called_of(id), Called::Founding(_)))
}

/// Policies that a log could have been recorded under with the same records: what its devices and importers did is the same.
fn other_policies(policy: &Policy) -> [Policy; 4] {
    use crate::policy::{Preset, Survivor, UuidIds};
    let text = |text: &str| BTreeSet::from([text.to_owned()]);
    let odd = Policy {
        survivor: Survivor::Elder,
        max_ids_per_person: Some(3),
        max_user_ids: Some(2),
        uuid_ids: UuidIds::User,
        blocked_ids: text("bob"),
        anonymous_prefixes: text("c"),
        ..Policy::default()
    };
    [Policy::preset(Preset::Posthog), Policy::preset(Preset::Strict), Policy::preset(Preset::OneUser), odd]
        .map(|other| Policy {
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

fn persons_of(parts: &[crate::diff::PersonPart]) -> BTreeMap<PersonId, u64> {
    parts.iter().map(|part| (part.person_id, part.ids)).collect()
}

fn counts(content: &Content) -> Counts {
    let events = || content.ids.values().map(|id| &id.events);
    let identified = content.persons.values().filter(|person| person.facts.is_identified);
    Counts {
        persons: content.persons.len() as u64,
        identified_persons: identified.count() as u64,
        distinct_ids: content.ids.values().filter(|id| !id.whose.implied).count() as u64,
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
        let what_if = recorded.ledger.what_if(&policy).map_err(|error| error.to_string())?;
        let other = fold(&policy, &history.operations)?;
        // Where a fresh id is fresh under one policy and a user's under the other, not the same is recorded (F4).
        let errors = |folded: &Folded| folded.appended.iter().map(Option::is_none).collect::<Vec<_>>();
        if errors(&recorded) != errors(&other) {
            continue;
        }
        same("the state", &what_if.view().state().digest(), &other.ledger.state().digest())?;
        let mut expected = refused(&recorded.ledger)?;
        for refusal in &what_if.diff().refusals {
            if let Some(before) = &refusal.before {
                same("the refusal there was", &expected.remove(&before.seq), &Some(before.refusal))?;
            }
            expected.extend(refusal.after.as_ref().map(|after| (after.seq, after.refusal)));
        }
        same("what is refused", &expected, &refused(&other.ledger)?)?;
        let diff = Diff::between(what_if.view(), &other.ledger.view()).map_err(|fault| fault.to_string())?;
        holds(diff.is_same_content(), || format!("the recorded one differs: {diff:?}"))?;
    }
    Ok(())
}

/// What a preview of a retract or split says is what then happens: the same outcome or error, a difference that leads from what the
/// log meant to what it means, and no other one than is found between the two (H1, H2, H4).
pub fn previews_come_true(history: &History) -> Result<(), String> {
    let (ledger, storage, mut chance) = all_and_erasures(history)?;
    let fault = |fault: crate::log::Fault| fault.to_string();
    let before = Content::of(&ledger.view()).map_err(fault)?;
    let (last, digest) = (ledger.checkpoint().records - 1, ledger.state().digest());
    for _ in 0..4 {
        let operation = second_thought(last, &mut chance)?;
        let preview = ledger.preview(&operation);
        let again = ledger.preview(&operation);
        same("asked again", &format!("{again:?}"), &format!("{preview:?}"))?;
        same("a state that was only asked", &ledger.state().digest(), &digest)?;
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
        let after = Content::of(&copy.view()).map_err(fault)?;
        let led = diff.apply(&before).map_err(|misfit| format!("`{}`: {misfit}", asked()))?;
        same(&format!("where `{}` leads", asked()), &led, &after)?;
        if appended.outcome().is_none() {
            continue;
        }
        let then = copy.view_as_of(Seq(last)).map_err(fault)?;
        let mut whole = Diff::between(&then, &copy.view()).map_err(fault)?;
        // What somebody was called whom an erasure renamed may be another thing afterwards (D11).
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

/// A retract of any record, or a split of anybody.
fn second_thought(last: u64, chance: &mut Chance) -> Result<Operation, String> {
    let at = Timestamp::from_micros(5).map_err(|error| error.to_string())?;
    let id = |chance: &mut Chance| DistinctId::new(*chance.pick(&IDS)).map_err(|error| error.to_string());
    if chance.one_in(2) {
        let seq = Seq(chance.below(last as usize + 2) as u64);
        return Ok(Operation::retract(at, Target::Record(seq)));
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

/// What is refused as things stand now: without what was taken back.
fn refused(book: &Book) -> Result<BTreeMap<Seq, &'static str>, String> {
    let mut refusals = Refusals::default();
    let refused = book.replay(|step| refusals.see(step)).and_then(|()| refusals.settle(book, book.state()));
    let refused = refused.map_err(|fault| fault.to_string())?;
    Ok(refused.iter().map(|refused| (Seq(refused.seq.into()), refused.refusal.name())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_law_is_shown_with_no_more_operations_than_it_needs() {
        fn nobody_is_identified(history: &History) -> Result<(), String> {
            let Folded { ledger, .. } = all(history)?;
            holds(ledger.persons().all(|person| !person.unwrap().is_identified), || "somebody is".to_owned())
        }
        let policy = Policy::default();
        let breaking = (0..).map(|seed| History::seeded(&policy, seed));
        let breaking = { breaking }.find(|history| nobody_is_identified(history).is_err()).unwrap();
        let (history, what) = shortened(nobody_is_identified, breaking);
        assert_eq!((history.operations.len(), &what[..]), (1, "somebody is"), "{history}");
        assert!(history.to_string().contains(" is identified"), "{history}");
    }

    /// A law over histories in which nothing happens would say nothing.
    #[test]
    fn made_up_histories_reach_every_refusal_and_every_effect() {
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let history = History::from_bytes(&crate::testing::chance::Chance::new(seed).bytes(150));
            let seeded = History::seeded(&history.policy, seed);
            for history in [history, seeded] {
                let Folded { ledger, appended, .. } = all(&history).unwrap();
                seen.extend(appended.iter().map(|appended| match appended {
                    None => "error",
                    Some(Appended::Recorded { .. }) => "recorded",
                    Some(Appended::Duplicate { .. }) => "duplicate",
                    Some(Appended::Conflict { .. }) => "conflict",
                    Some(Appended::Ignored) => "ignored",
                }));
                let outcomes = appended.iter().flatten().filter_map(Appended::outcome);
                for outcome in outcomes.copied().collect::<Vec<_>>() {
                    seen.extend(outcome.refusal.map(|refusal| refusal.name()));
                    seen.extend(outcome.notices.joins_identified.map(|_| "late"));
                    seen.extend(outcome.link.map(|link| match link {
                        Link::Joined(_) => "joined",
                        Link::Absorbed { .. } => "absorbed",
                    }));
                    seen.extend(outcome.undone.map(|undone| match undone {
                        Undone::Retracted { .. } => "retracted",
                        Undone::Split { .. } => "split",
                    }));
                }
                drop(ledger);
            }
        }
        let expected = [
            "absorbed",
            "already_retracted",
            "conflict",
            "duplicate",
            "error",
            "id_of_another_person",
            "ignored",
            "joined",
            "joins_identified_person",
            "late",
            "no_person",
            "processing_off",
            "recorded",
            "retracted",
            "source_identified",
            "split",
            "too_many_ids",
            "too_many_moved_ids",
            "too_many_user_ids",
            "unmergeable_id",
            "whole_person",
        ];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
}
