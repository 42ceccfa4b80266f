//! A person asks to be forgotten: texts and values leave every file, and a receipt says so.

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    let at: Timestamp = "2026-01-01T12:00:00Z".parse()?;
    let sign_in = Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone")));
    let appended = ledger.append(sign_in.set("email", "ann@example.com")?)?;
    println!("recorded: {}", appended.seq().is_some());

    let person = ledger.resolve("ann").ok_or("unknown id")?.person_id;
    let request = ErasureRequest::new(at, ErasureSubject::Person(person), "ticket 4711");
    for receipt in ledger.erase(&[request])? {
        println!("record {}: {} ids erased", receipt.seq, receipt.ids.len());
    }
    println!("ann is {}", if ledger.resolve("ann").is_some() { "known" } else { "unknown" });
    Ok(())
}
