//! What checkpoints and proofs cost: a walk for all of them, one of each kind, its bytes, and its check; beside opening and `verify`.
//!
//!   cargo run --release --manifest-path benches/Cargo.toml --bin proofs -- 100000

use std::hint::black_box;
use std::time::Duration;

use identity_ledger::proof::{Asked, Note, Proof, Prover, Signer, Verifier};
use identity_ledger::storage::OsEntropy;
use identity_ledger::{LedgerOptions, Policy, Tenant};
use identity_ledger_benches::workload;
use rustix::time::{ClockId, clock_gettime};

/// How often each is measured; the median is shown.
const ROUNDS: usize = 5;
const CHECKS: u32 = 200;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let people = std::env::args().nth(1).map_or(Ok(100_000), |people| people.parse())?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("ledger");
    let operations: Vec<_> = workload(people).collect();
    let mut ledger = LedgerOptions::new().create(&place, Tenant::default(), Policy::default())?;
    let (first, rest) = operations.split_at(operations.len() / 2);
    for batch in first.chunks(2_048) {
        drop(ledger.append_batch(batch)?);
    }
    let signer = Signer::generate("bench.example/ledger", &mut OsEntropy::default())?;
    let key = [signer.verifier()];
    let earlier = ledger.reader().prover()?.sign(&signer)?;
    for batch in rest.chunks(2_048) {
        drop(ledger.append_batch(batch)?);
    }
    drop(ledger);

    let verify = median(|| Ok(drop(LedgerOptions::new().audit(&place)?)))?;
    let open = median(|| Ok(drop(LedgerOptions::new().without_snapshots().open_read_only(&place)?)))?;
    let ledger = LedgerOptions::new().without_snapshots().open_read_only(&place)?;
    let reader = ledger.reader();
    let walk = median(|| Ok(drop(reader.prover()?)))?;
    let then = median(|| Ok(drop(reader.prover_as_of(&earlier, &key)?)))?;
    let (ids, records) = (reader.state().ids().len(), reader.checkpoint().records);
    println!("{ids} ids, {records} records, {} bytes of log\n", reader.log_bytes());
    println!("| | seconds of processor time | of `verify` |\n|---|---|---|");
    let rows = [
        ("`verify`", verify),
        ("opening by the log", open),
        ("the trees, for a checkpoint and any number of proofs", walk),
        ("the trees as of half the records", then),
        ("`prove --sign`: opening and the trees", open + walk),
    ];
    for (what, time) in rows {
        println!("| {what} | {:.2} | {:.2} |", time.as_secs_f64(), time.as_secs_f64() / verify.as_secs_f64());
    }

    let prover = reader.prover()?;
    let note = prover.sign(&signer)?;
    let texts: Vec<&str> = reader.state().ids().filter_map(|id| reader.id_text(id)).collect();
    let (a, others) = texts.split_first().ok_or("no ids")?;
    let other = |same: bool| {
        let found = others.iter().find(|b| (reader.person(b) == reader.person(a)) == same);
        found.copied().ok_or("one person has all ids, or each has one")
    };
    let (same, other) = (other(true)?, other(false)?);
    println!("\n| one proof | ms to make | bytes | µs to check |\n|---|---|---|---|");
    let asked = [
        ("`--same`", Asked::Same(a, same)),
        ("`--not-same`", Asked::NotSame(a, other)),
        ("`--complete`", Asked::Complete(a)),
        ("`--absent`", Asked::Absent("never written")),
        ("`--consistent`", Asked::Consistent(&earlier)),
    ];
    for (what, asked) in asked {
        let (made, bytes, checked) = one(&prover, asked, &note, &key)?;
        println!("| {what} | {:.1} | {bytes} | {:.0} |", made.as_secs_f64() * 1e3, checked.as_secs_f64() * 1e6);
    }
    Ok(())
}

/// How long a proof takes to make, its bytes, and how long it takes to read and check.
fn one(
    prover: &Prover<'_>,
    asked: Asked<'_>,
    note: &Note,
    key: &[Verifier],
) -> Result<(Duration, usize, Duration), Failure> {
    let made = median(|| Ok(drop(black_box(prover.prove(asked, note, key)?))))?;
    let text = prover.prove(asked, note, key)?.to_string();
    let began = on_processor();
    for _ in 0..CHECKS {
        black_box(text.parse::<Proof>()?.check(key)?);
    }
    Ok((made, text.len(), (on_processor() - began) / CHECKS))
}

/// The median of some runs, in time that this process was on a processor: other programs run beside it.
fn median(mut run: impl FnMut() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = on_processor();
        run()?;
        times.push(on_processor() - began);
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32) // below a billion
}
