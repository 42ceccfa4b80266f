//! A log folded by hand: each record with what it did and the state right after it, retracts and splits included.

use std::collections::BTreeMap;

use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Target, Tenant, Timestamp};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    let at: Timestamp = "2026-01-01T12:00:00Z".parse()?;
    let link = Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone")));
    let linked = ledger.append(link)?.seq().ok_or("nothing was recorded")?;
    let undone = ledger.append(Operation::retract(at, Target::Record(linked)))?;
    println!("retracted: {}", undone.outcome().is_some_and(|outcome| outcome.refusal.is_none()));

    // How many persons there were after each record that changed their number.
    let mut persons = BTreeMap::new();
    ledger.reader().replay(|step| {
        let live = step.state.persons().count();
        if persons.values().next_back() != Some(&live) {
            persons.insert(step.record.seq(), live);
        }
    })?;
    for (seq, live) in persons {
        println!("from record {seq} on: {live}");
    }
    Ok(())
}
