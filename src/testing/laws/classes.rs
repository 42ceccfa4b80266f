//! Laws of reclassifications (H5).

use std::collections::BTreeSet;

use super::content::facts;
use super::kit::*;
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::model::id::{DistinctId, OperationId};
use crate::model::operation::{Operation, Request, SplitMode, Target};
use crate::model::policy::{FirstMention, IdClass, Policy};
use crate::model::time::Timestamp;
use crate::testing::chance::Chance;
use crate::testing::history::{History, IDS};
use crate::testing::notation;

fn at() -> Timestamp {
    Timestamp::from_micros(0).expect("1970 is in range")
}

fn reclassify(id: &str, class: IdClass) -> Result<Operation, String> {
    Ok(Operation::reclassify(at(), DistinctId::new(id).map_err(|error| error.to_string())?, class))
}

/// How an operation was taken, without what came of it: recorded, known, ignored, or an error.
fn taken(appended: &Option<Appended>) -> &'static str {
    match appended {
        None => "error",
        Some(Appended::Recorded { .. }) => "recorded",
        Some(Appended::Duplicate { .. }) => "duplicate",
        Some(Appended::Conflict { .. }) => "conflict",
        Some(Appended::Ignored) => "ignored",
    }
}

/// What a log means that reclassifies an id at its end is what it would mean, had the policy given the id that class when it was first
/// written; and a retract of the reclassification brings back what there was (H5). An id that the other policy also lets a device reset
/// to, or does not, is left out: then other operations are recorded.
pub fn reclassified_is_so_from_the_definition_on(history: &History) -> Result<(), String> {
    let fits = |operation: &&Operation| !matches!(operation.request, Request::Reclassify { .. });
    let operations: Vec<Operation> = history.operations.iter().filter(fits).cloned().collect();
    let whole = fold(&history.policy, &operations)?;
    let said: Vec<_> = whole.appended.iter().map(taken).collect();
    for id in IDS.iter().filter(|id| whole.ledger.reader().id_no(id).is_some()) {
        for class in [IdClass::Unmergeable, IdClass::Anonymous, IdClass::Shared] {
            let mut policy: Policy = history.policy.clone();
            let texts = match class {
                IdClass::Unmergeable => &mut policy.blocked_ids,
                IdClass::Shared => &mut policy.shared_ids,
                _ => &mut policy.anonymous_prefixes,
            };
            texts.insert((*id).to_owned());
            let alone = IDS.iter().filter(|other| {
                let class = |policy: &Policy| policy.classify(other, FirstMention::Plain);
                class(&policy) != class(&history.policy)
            });
            if alone.collect::<Vec<_>>() != [id] {
                continue; // the prefix of another, or of this class already
            }
            let other = fold(&policy, &operations)?;
            if other.appended.iter().map(taken).collect::<Vec<_>>() != said {
                continue;
            }
            let mut ledger = fold(&history.policy, &operations)?.ledger;
            let before = facts(ledger.reader())?;
            let given = OperationId(uuid::Uuid::from_u128(1 << 65));
            append(&mut ledger, &reclassify(id, class)?.with_id(given))?;
            let what = format!("content with `{id}` {}", class.name());
            same(&what, &facts(ledger.reader())?, &facts(other.ledger.reader())?)?;
            append(&mut ledger, &Operation::retract(at(), Target::Operation(given)))?;
            same(&format!("{what}, and no more"), &facts(ledger.reader())?, &before)?;
        }
    }
    Ok(())
}

/// A reclassification of an id, and a retract, a split or a reclassification of another id, come to the same in either order (H5).
pub fn second_thoughts_commute(history: &History) -> Result<(), String> {
    let times = history.operations.iter().map(|operation| operation.time.as_micros() as u64);
    let mut chance =
        Chance::new(times.fold(history.operations.len() as u64, |seed, time| seed * 31 % 1_000_003 + time));
    let Folded { ledger, appended, .. } = all(history)?;
    let known: Vec<&str> = IDS.into_iter().filter(|id| ledger.reader().id_no(id).is_some()).collect();
    let recorded: Vec<_> = appended.iter().flatten().filter_map(Appended::seq).collect();
    if known.len() < 2 || recorded.is_empty() {
        return Ok(());
    }
    for _ in 0..4 {
        let class = *chance.pick(&IdClass::ALL);
        let id = chance.below(known.len());
        let first = reclassify(known[id], class)?;
        let other = known[(id + 1 + chance.below(known.len() - 1)) % known.len()];
        let second = match chance.below(3) {
            0 => reclassify(other, *chance.pick(&IdClass::ALL))?,
            1 => Operation::retract(at(), Target::Record(*chance.pick(&recorded))),
            _ => {
                let text = |id: &str| DistinctId::new(id).map_err(|error| error.to_string());
                Operation::split(at(), text(known[id])?, BTreeSet::from([text(other)?]), SplitMode::Each)
            }
        };
        // A retract of a reclassification of the same id is another matter: their order decides which one has effect.
        let asked = notation::request(0, &first) + " and " + &notation::request(0, &second);
        let one = after(history, [&first, &second])?;
        same(&format!("{asked}, in the other order"), &after(history, [&second, &first])?, &one)?;
    }
    Ok(())
}

fn after(history: &History, operations: [&Operation; 2]) -> Result<Vec<String>, String> {
    let mut ledger: Ledger = all(history)?.ledger;
    for operation in operations {
        append(&mut ledger, operation)?;
    }
    facts(ledger.reader())
}
