//! The law of values by event time (E8).

use super::kit::*;
use crate::model::id::DistinctId;
use crate::model::operation::{Changes, Operation, Source};
use crate::model::policy::{Policy, ValuesBy};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::query::reader::Reader;
use crate::testing::history::{History, IDS};

/// By event time the values of a person do not depend on the order in which its writes were recorded, nor on whether two persons were merged
/// before or after. Excepted are a `set_once` that came to nothing, so there is no `unset` beside it, and a key that is both set and unset.
pub fn values_come_in_any_order(history: &History) -> Result<(), String> {
    values_in_orders(history, |changes| changes.unset.clear())?;
    values_in_orders(history, |changes| {
        changes.set_once.clear();
        changes.unset.retain(|key| !changes.set.contains_key(key));
    })
}

fn values_in_orders(history: &History, leave: fn(&mut Changes)) -> Result<(), String> {
    let policy = Policy { values_by: ValuesBy::EventTime, ..Policy::default() };
    let mut writes: Vec<Operation> = Vec::new();
    for (number, operation) in
        history.operations.iter().enumerate().filter(|(_, one)| !one.changes.is_empty())
    {
        let time = operation.time.as_micros().rem_euclid(50) * 1_000 + number as i64; // no two at one time
        let time = Timestamp::from_micros(time).map_err(|error| error.to_string())?;
        let id = DistinctId::new(IDS[number % 2]).map_err(|error| error.to_string())?;
        let mut write = Operation::properties(time, id);
        write.changes = operation.changes.clone();
        leave(&mut write.changes);
        writes.push(write);
    }
    if writes.len() < 2 {
        return Ok(());
    }
    let source = Source::new(IDS[1]);
    let target = DistinctId::new(IDS[0]).map_err(|error| error.to_string())?;
    let merge = Operation::merge_dangerously(Timestamp::MIN, target, source);
    let mut values = Vec::new();
    for (turn, place) in [(0, writes.len()), (writes.len() / 2, 0), (1, writes.len() / 2)] {
        let mut order = writes.clone();
        order.rotate_left(turn);
        if turn > 0 {
            order.reverse();
        }
        order.insert(place, merge.clone());
        values.push(answers(fold(&policy, &order)?.ledger.reader())?);
    }
    same("the values in another order", &values[1], &values[0])?;
    same("the values in a third order", &values[2], &values[0])
}

fn answers(reader: &Reader) -> Result<Vec<(String, Option<Value>)>, String> {
    let profile = reader.profile(IDS[0]).map_err(|error| error.to_string())?;
    let properties = profile.map(|profile| profile.properties).unwrap_or_default();
    Ok(properties.into_iter().map(|(key, answer)| (key, answer.value)).collect())
}
