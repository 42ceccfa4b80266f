//! A first program: record what an SDK said, and ask who is who.

use identity_ledger::{
    DistinctId, EventName, Ledger, Operation, OperationId, Policy, Source, Tenant, Timestamp,
};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    let at: Timestamp = "2026-01-01T12:00:00Z".parse()?;

    // A visitor looks at a page, then signs in as ann.
    let (visitor, ann) = (DistinctId::new("visitor-7")?, DistinctId::new("ann")?);
    let event = "01890a5d-ac96-774b-bcce-b302099a8001".parse::<OperationId>()?;
    let page = Operation::capture(at, visitor, event).with_event(EventName::new("$pageview")?);
    let sign_in = Operation::identify(at, ann, Some(Source::new("visitor-7"))).set("plan", "pro")?;
    for appended in ledger.append_batch(&[page, sign_in])? {
        println!("record {:?}", appended.seq().map(|seq| seq.0));
    }

    let profile = ledger.profile("visitor-7")?.ok_or("no person")?;
    println!("{:?} are one person with {} event", profile.distinct_ids, profile.events);
    for (key, property) in &profile.properties {
        println!("{key} was set by record {}", property.seq);
    }
    Ok(())
}
