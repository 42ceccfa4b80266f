//! Many threads and one ledger: what sharing a sync saves, and what a reader pays for a writer beside it.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use identity_ledger::{Durability, Ledger, LedgerOptions, Operation, Policy, SharedLedger, Tenant};
use identity_ledger_benches::workload;

/// Appending threads, as many as a server has.
const THREADS: usize = 64;
/// How long each row is measured.
const SPAN: Duration = Duration::from_secs(2);
/// How often, in turn.
const ROUNDS: usize = 5;
/// Ids that are asked for again and again.
const HOT: usize = 1_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let operations: Vec<Operation> = workload(50_000).collect();
    appends(&operations)?;
    reads(&operations)
}

fn created(dir: &std::path::Path, durability: Durability) -> Result<Ledger, Failure> {
    let options = LedgerOptions::new().durability(durability);
    Ok(options.create(dir.join("ledger"), Tenant::default(), Policy::default())?)
}

/// Durable appends of one operation each, by one thread that syncs each, and by many that share.
fn appends(operations: &[Operation]) -> Result<(), Failure> {
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir()?;
        let mut ledger = created(dir.path(), Durability::Immediate)?;
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < SPAN {
            let _ = ledger.append(operations[count].clone())?;
            count += 1;
        }
        alone.push(count as f64 / began.elapsed().as_secs_f64());

        let dir = tempfile::tempdir()?;
        let ledger = SharedLedger::new(created(dir.path(), Durability::Immediate)?);
        let (began, next) = (Instant::now(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while began.elapsed() < SPAN {
                        let at = next.fetch_add(1, Ordering::Relaxed) as usize % operations.len();
                        let _ = ledger.append(operations[at].clone()).expect("the disk is fine");
                    }
                });
            }
        });
        let recorded = ledger.read(|book| book.checkpoint().records);
        assert_eq!(ledger.durable_records(), recorded);
        together.push(next.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64());
    }
    let (alone, together) = (median(alone), median(together));
    println!("| durable appends, one operation each, median of {ROUNDS} | a second | µs each |");
    println!("|---|---|---|");
    println!("| one thread, one sync each | {alone:.0} | {:.1} |", 1e6 / alone);
    println!("| {THREADS} threads that share syncs | {together:.0} | {:.1} |", 1e6 / together);
    println!("\nratio {:.1}\n", together / alone);
    Ok(())
}

/// `resolve` and `person` of a thousand ids, again and again, alone and beside a thread that appends as fast as the disk lets it.
fn reads(operations: &[Operation]) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let mut ledger = created(dir.path(), Durability::Immediate)?;
    let (before, after) = operations.split_at(operations.len() / 2);
    for batch in before.chunks(2_048) {
        drop(ledger.append_batch(batch)?);
    }
    let ids: Vec<String> = ledger
        .reader()
        .state()
        .ids()
        .step_by(97)
        .take(HOT)
        .map(|id| ledger.reader().id_text(id).expect("it was not erased").to_owned())
        .collect();
    let map: HashMap<String, u32> = ids.iter().cloned().zip(0..).collect();
    let ledger = SharedLedger::new(ledger);
    let hit = || spent(&ids, |id| map.get(id).copied());
    let person = || spent(&ids, |id| ledger.read(|book| book.person(id)));
    let resolve = || spent(&ids, |id| ledger.resolve(id));
    let mut rows = [
        ("a `HashMap` hit", vec![]),
        ("`person`, nobody writes", vec![]),
        ("`resolve`, nobody writes", vec![]),
    ];
    let mut beside = [
        ("`HashMap` hit beside the writer", vec![]),
        ("`person` beside a writer", vec![]),
        ("`resolve` beside a writer", vec![]),
    ];
    for _ in 0..ROUNDS {
        for (row, found) in rows.iter_mut().zip([hit(), person(), resolve()]) {
            row.1.push(found);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for operation in after.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let _ = ledger.append(operation.clone()).expect("the disk is fine");
                }
            });
            for (row, found) in beside.iter_mut().zip([hit(), person(), resolve()]) {
                row.1.push(found);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
    println!("| one of {HOT} ids, median of {ROUNDS} | ns |\n|---|---|");
    for (name, found) in rows.into_iter().chain(beside) {
        println!("| {name} | {:.0} |", median(found));
    }
    Ok(())
}

/// Nanoseconds a question.
fn spent<T>(ids: &[String], ask: impl Fn(&str) -> T) -> f64 {
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < SPAN / 10 {
        ids.iter().for_each(|id| drop(black_box(ask(id))));
        asked += ids.len();
    }
    began.elapsed().as_secs_f64() * 1e9 / asked as f64
}

fn median(mut found: Vec<f64>) -> f64 {
    found.sort_by(f64::total_cmp);
    found[found.len() / 2]
}
