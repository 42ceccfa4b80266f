//! The law of relative changes (E9).

use uuid::Uuid;

use super::kit::*;
use crate::ledger::Ledger;
use crate::log::digest::Digest;
use crate::model::id::{DistinctId, OperationId};
use crate::model::operation::{Operation, Source, SplitMode, Target};
use crate::model::policy::{Policy, ValuesBy};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::testing::history::History;

/// Three ids that count the same, and the merges of them in two orders.
const IDS: [&str; 3] = ["counter 1", "counter 2", "counter 3"];
const MERGES: [[(usize, usize); 2]; 3] = [[(0, 1), (0, 2)], [(1, 2), (0, 1)], [(2, 0), (1, 2)]];

/// What is added under several ids adds up once they are one person, whatever the order of the merges and whenever they come. A retract takes
/// its own amount out, a split leaves each group its own. The fold knows no amounts (E6).
pub fn counters_add_up(history: &History) -> Result<(), String> {
    let adds: Vec<(usize, i64)> = { history.operations.iter().enumerate() }
        .map(|(number, operation)| (number % IDS.len(), operation.time.as_micros() % 7 + number as i64))
        .collect();
    for values_by in [ValuesBy::Record, ValuesBy::EventTime] {
        let policy = Policy { values_by, ..Policy::default() };
        let mut digests = Vec::new();
        for (turn, merges) in MERGES.iter().enumerate() {
            let place = adds.len() * turn / 2;
            let mut ledger = counted(&policy, &adds, merges, place.min(adds.len()), &Value::Int)?;
            let mut left = adds.clone();
            expect(&ledger, &left, &[0, 1, 2])?;
            if !left.is_empty() {
                let gone = place.min(left.len() - 1);
                let target = Target::Operation(operation_id(gone));
                append(&mut ledger, &Operation::retract(Timestamp::MIN, target))?;
                left.remove(gone);
                expect(&ledger, &left, &[0, 1, 2])?;
            }
            let split = Operation::split(Timestamp::MIN, id(0)?, [id(1)?], SplitMode::Each);
            append(&mut ledger, &split)?;
            expect(&ledger, &left, &[1])?;
            expect(&ledger, &left, &[0, 2])?;
            if turn == 0 {
                let texts = |amount: i64| Value::text(amount.to_string());
                digests = vec![
                    digest(&policy, &adds, merges, &Value::Int)?,
                    digest(&policy, &adds, merges, &|amount| Value::Int(-amount * 1_000))?,
                    digest(&policy, &adds, merges, &|amount| Value::List(vec![texts(amount)]))?,
                ];
            }
        }
        same("the state of other amounts", &digests[1], &digests[0])?;
        same("the state of lists", &digests[2], &digests[0])?;
    }
    Ok(())
}

fn id(number: usize) -> Result<DistinctId, String> {
    DistinctId::new(IDS[number]).map_err(|error| error.to_string())
}

fn operation_id(number: usize) -> OperationId {
    OperationId(Uuid::from_u128(number as u128 + 1))
}

fn digest(
    policy: &Policy,
    adds: &[(usize, i64)],
    merges: &[(usize, usize)],
    operand: &dyn Fn(i64) -> Value,
) -> Result<Digest, String> {
    Ok(counted(policy, adds, merges, adds.len() / 2, operand)?.reader().state().digest())
}

/// All that is added, each under its id, and the merges at a place among it. An operand that is a list is appended.
fn counted(
    policy: &Policy,
    adds: &[(usize, i64)],
    merges: &[(usize, usize)],
    place: usize,
    operand: &dyn Fn(i64) -> Value,
) -> Result<Ledger, String> {
    let mut operations = Vec::new();
    for number in 0..IDS.len() {
        operations.push(Operation::properties(Timestamp::MIN, id(number)?));
    }
    for (number, (who, amount)) in adds.iter().enumerate() {
        // The later they are recorded, the earlier they happened.
        let time = Timestamp::from_micros(-(number as i64)).map_err(|error| error.to_string())?;
        let operation = Operation::properties(time, id(*who)?).with_id(operation_id(number));
        operations.push(
            match operand(*amount) {
                Value::List(elements) => operation.append("n", elements),
                amount => operation.add("n", amount),
            }
            .map_err(|error| error.to_string())?,
        );
    }
    let merge = |(to, from): &(usize, usize)| {
        Ok(Operation::merge_dangerously(Timestamp::MIN, id(*to)?, Source::new(IDS[*from])))
    };
    let merges = merges.iter().map(merge).collect::<Result<Vec<_>, String>>()?;
    let at = IDS.len() + place;
    operations.splice(at..at, merges);
    Ok(fold(policy, &operations)?.ledger)
}

/// The person of these ids has counted what was added under them.
fn expect(ledger: &Ledger, adds: &[(usize, i64)], ids: &[usize]) -> Result<(), String> {
    let theirs: Vec<i64> =
        adds.iter().filter(|(who, _)| ids.contains(who)).map(|(_, amount)| *amount).collect();
    let expected = (!theirs.is_empty()).then(|| Value::Int(theirs.iter().sum()));
    let profile = ledger.reader().profile(IDS[ids[0]]).map_err(|fault| fault.to_string())?;
    let found =
        profile.and_then(|mut profile| profile.properties.remove("n")).and_then(|answer| answer.value);
    same(&format!("what {ids:?} counted"), &found, &expected)
}
