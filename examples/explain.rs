//! Why two ids are one person, and what keeps two others apart.

use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    let at: Timestamp = "2026-01-01T12:00:00Z".parse()?;
    let link = |who: &str, source: &str| {
        DistinctId::new(who).map(|who| Operation::identify(at, who, Some(Source::new(source))))
    };
    let appended = ledger.append_batch(&[
        link("ann", "phone")?,
        link("ann", "tablet")?,
        link("bob", "laptop")?,
        link("ann", "bob")?, // refused: bob is identified already
    ])?;
    println!(
        "{} of 4 refused",
        appended.iter().filter(|one| one.outcome().is_some_and(|o| o.refusal.is_some())).count()
    );

    let explanation = ledger.explain("phone", "tablet")?.ok_or("not one person")?;
    for step in &explanation.steps {
        println!("record {}: {} links {} and {}", step.seq, step.op, step.ids[0].text, step.ids[1].text);
    }
    let why_not = ledger.why_not("phone", "laptop")?.ok_or("never written")?;
    for step in &why_not.way {
        println!("phone and laptop: record {} ({})", step.seq, step.op);
    }
    Ok(())
}
