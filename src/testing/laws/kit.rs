//! What the laws have in common: a history folded, and sentences about what differs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Tenant;
use crate::fold::replay::Step;
use crate::fold::{PersonNo, State};
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::error::AppendError;
use crate::ledger::open::LedgerOptions;
use crate::model::operation::{Operation, OperationError};
use crate::model::policy::Policy;
use crate::query::reader::Reader;
use crate::store::storage::Memory;
use crate::testing::history::{self, History};

/// A ledger after a history, with what became of each operation; `None` where it was an error.
pub(super) struct Folded {
    pub(super) ledger: Ledger,
    pub(super) storage: Arc<Memory>,
    pub(super) appended: Vec<Option<Appended>>,
}

pub(super) fn new_ledger(policy: &Policy) -> Result<(Ledger, Arc<Memory>), String> {
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1).segment_bytes(2_048);
    let ledger = options.create_in(storage.clone(), Tenant::default(), policy.clone());
    ledger.map(|ledger| (ledger, storage)).map_err(|error| error.to_string())
}

pub(super) fn append(ledger: &mut Ledger, operation: &Operation) -> Result<Option<Appended>, String> {
    history::append(ledger, operation).map_err(|error| error.to_string())
}

/// As few batches as go: a device cannot speak behind a retract of its batch.
pub(super) fn append_all(ledger: &mut Ledger, batch: &[Operation]) -> Result<Vec<Appended>, String> {
    match ledger.append_batch(batch) {
        Err(AppendError::Operation { source: OperationError::AfterRetract, index }) => {
            let (first, last) = batch.split_at(index);
            let mut appended = append_all(ledger, first)?;
            appended.append(&mut append_all(ledger, last)?);
            Ok(appended)
        }
        appended => appended.map(|answers| answers.into_iter().collect()).map_err(|error| error.to_string()),
    }
}

pub(super) fn fold(policy: &Policy, operations: &[Operation]) -> Result<Folded, String> {
    let (mut ledger, storage) = new_ledger(policy)?;
    let appended = operations.iter().map(|operation| append(&mut ledger, operation));
    let appended = appended.collect::<Result<_, _>>()?;
    Ok(Folded { ledger, storage, appended })
}

pub(super) fn all(history: &History) -> Result<Folded, String> {
    fold(&history.policy, &history.operations)
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    holds(found == expected, || format!("{what}: found {found:?}, expected {expected:?}"))
}

pub(super) fn holds(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Walks through a log with the state before and after each record, and stops at the first wrong one.
pub(super) fn each_step(
    reader: &Reader,
    mut look: impl FnMut(&State, Step<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let (mut before, mut wrong) = (State::new(), Ok(()));
    let walked = reader.replay(|step| {
        if wrong.is_ok() {
            wrong = look(&before, step).map_err(|what| format!("record {}: {what}", step.record.seq()));
        }
        before.clone_from(step.state);
    });
    walked.map_err(|fault| fault.to_string())?;
    wrong
}

/// Whose each id is, by the number of its person.
pub(super) fn links(state: &State) -> Vec<Option<PersonNo>> {
    state.ids().map(|id| state.person(id)).collect()
}

/// Every person leads in one step to a live one, or to the one that its founding id would found. Its public
/// id leads to the same.
pub(super) fn all_lead_somewhere(ledger: &Ledger) -> Result<(), String> {
    let state = ledger.reader().state();
    let live: BTreeSet<PersonNo> = state.persons().map(|person| person.number).collect();
    for person in (0..state.persons_founded() as u32).map(PersonNo) {
        let survivor = state.survivor(person);
        // No person, if its founding was retracted and its founding id has no person now (D11).
        let nobody = state.is_retired(survivor) && state.person(state.founding(survivor)).is_none();
        holds(live.contains(&survivor) || nobody, || {
            format!("{person:?} became {survivor:?}, which is not live")
        })?;
        same("the survivor of a survivor", &state.survivor(survivor), &survivor)?;
        let old = ledger.reader().own_person_id(person, state);
        same("its public id", &ledger.reader().survivor_of(old), &Some(ledger.reader().person_id(survivor)))?;
    }
    Ok(())
}
