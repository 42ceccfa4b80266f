//! Appends, asks who, and prints why not. The program of the README.

use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    let at: Timestamp = "2026-01-01T12:00:00Z".parse()?;

    // Ann signs up after a visit, and so does Bob.
    let ann = Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("visitor-7")));
    let bob = Operation::identify(at, DistinctId::new("bob")?, Some(Source::new("visitor-8")));
    let answers = ledger.append_batch(&[ann.set("plan", "pro")?, bob])?;
    assert!(answers.iter().all(|answer| answer.outcome().is_some_and(|outcome| outcome.refusal.is_none())));
    println!("visitor-7 is {}", ledger.resolve("visitor-7").ok_or("unknown id")?.person_id);

    // A sender claims that Bob is Ann. The ledger records the claim, and why it was refused.
    let appended = ledger.append(Operation::alias(at, DistinctId::new("ann")?, Source::new("bob")))?;
    if let Some(refusal) = appended.outcome().and_then(|outcome| outcome.refusal) {
        println!("refused by rule {}: {}", refusal.rule(), ledger.reader().reason(&refusal));
    }
    Ok(())
}
