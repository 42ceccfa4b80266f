//! Small benches, to see a change while working: 200,000 operations, which fit caches that eight million do not.
//! The figures that are published come from `src/bin/table`.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use identity_ledger::import::{Format, Importer, Options, Tally, run};
use identity_ledger::testing::workload::write_ops_line;
use identity_ledger::{Durability, Ledger, LedgerOptions, Operation, Policy, ReadOnlyLedger, Seq, Tenant};
use identity_ledger_benches::{ByHand, Lean, SEED, build, workload};

/// About 18 operations each.
const PEOPLE: u64 = 11_111;

fn operations() -> Vec<Operation> {
    workload(PEOPLE).collect()
}

fn lines() -> Vec<u8> {
    let mut lines = Vec::new();
    for operation in workload(PEOPLE) {
        write_ops_line(&operation, &mut lines);
        lines.push(b'\n');
    }
    lines
}

fn create(dir: &Path, durability: Durability) -> Ledger {
    let options = LedgerOptions::new().durability(durability).seeded(SEED);
    options.create(dir, Tenant::default(), Policy::default()).expect("the place is free")
}

fn replay(c: &mut Criterion) {
    let operations = operations();
    let lean = Lean::new(workload(PEOPLE));
    let dir = tempfile::tempdir().expect("a place for files");
    let path = dir.path().join("ledger");
    drop(build(&path, PEOPLE));

    let mut group = c.benchmark_group("replay");
    group.sample_size(20).throughput(Throughput::Elements(operations.len() as u64));
    for (name, commitments) in [("verified", false), ("verified, with commitments", true)] {
        group.bench_function(name, |b| {
            b.iter_with_large_drop(|| {
                LedgerOptions::new().replay(&path, commitments, |_| {}).expect("it is whole")
            });
        });
    }
    group.bench_function("open for reading", |b| {
        b.iter_with_large_drop(|| ReadOnlyLedger::open(&path).expect("it is whole"));
    });
    group.bench_function("by hand", |b| {
        b.iter_with_large_drop(|| {
            let mut by_hand = ByHand::default();
            (by_hand.fold(&operations), by_hand)
        });
    });
    group.bench_function("by hand, lean", |b| {
        b.iter_with_large_drop(|| {
            let mut by_hand = ByHand::default();
            (by_hand.fold_lean(&lean), by_hand)
        });
    });
    group.finish();
}

fn import(c: &mut Criterion) {
    let lines = lines();
    let count = workload(PEOPLE).count() as u64;
    let options = || Options { format: Format::Ops, ..Options::from(&Policy::default()) };
    let import = |mut ledger: Ledger| {
        let mut tally = Tally::default();
        run(&mut ledger, Importer::new(&lines[..], options()), &mut tally, &mut ())
            .expect("nothing fails here");
        assert_eq!(tally.appended, count);
        ledger
    };

    let mut group = c.benchmark_group("import");
    group.sample_size(10).throughput(Throughput::Elements(count));
    group.bench_function("generate lines", |b| b.iter_with_large_drop(self::lines));
    group.bench_function("parse lines", |b| {
        b.iter(|| Importer::new(&lines[..], options()).filter(Result::is_ok).count());
    });
    group.bench_function("into memory", |b| {
        b.iter_with_large_drop(|| {
            import(Ledger::in_memory(Tenant::default(), Policy::default()).expect("the policy is valid"))
        });
    });
    group.bench_function("into a directory, buffered", |b| {
        b.iter_batched(
            || tempfile::tempdir().expect("a place for files"),
            |dir| (import(create(&dir.path().join("ledger"), Durability::Buffered)), dir),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn questions(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a place for files");
    let ledger = build(&dir.path().join("ledger"), PEOPLE);
    let ids: Vec<String> = ledger
        .reader()
        .state()
        .ids()
        .filter_map(|id| ledger.reader().id_text(id))
        .map(str::to_owned)
        .collect();
    let map: HashMap<String, u32> = ids.iter().cloned().zip(0..).collect();
    let hot = &ids[..1_000];
    let half = Seq(ledger.checkpoint().records / 2);

    let mut group = c.benchmark_group("a thousand questions");
    group.throughput(Throughput::Elements(hot.len() as u64));
    group.bench_function("HashMap hit", |b| {
        b.iter(|| {
            hot.iter().filter_map(|id| map.get(black_box(id.as_str()))).map(|n| u64::from(*n)).sum::<u64>()
        });
    });
    group.bench_function("person", |b| {
        b.iter(|| {
            hot.iter()
                .filter_map(|id| ledger.reader().person(black_box(id)))
                .map(|p| u64::from(p.0))
                .sum::<u64>()
        });
    });
    group.bench_function("resolve: person, and its public id", |b| {
        b.iter(|| {
            hot.iter().filter_map(|id| ledger.resolve(black_box(id))).filter(|found| found.implied).count()
        });
    });
    group.bench_function("person as of half the log", |b| {
        b.iter(|| {
            let then = hot.iter().filter_map(|id| ledger.reader().person_as_of(black_box(id), half));
            then.filter(|found| found.implied).count()
        });
    });
    group.bench_function("profile", |b| {
        b.iter(|| {
            hot.iter().filter_map(|id| ledger.profile(black_box(id)).expect("the log is there")).count()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("digests");
    group.sample_size(10);
    group.bench_function("of the state", |b| b.iter(|| ledger.reader().state().digest()));
    group.bench_function("of the content", |b| {
        b.iter(|| ledger.reader().content_digest().expect("the log is there"))
    });
    group.finish();
}

fn append(c: &mut Criterion) {
    let operations = operations();
    let mut group = c.benchmark_group("append, one by one");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for durability in [Durability::Immediate, Durability::Witnessed, Durability::Buffered] {
        group.bench_function(format!("{durability:?}"), |b| {
            let mut place = None;
            let mut next = operations.iter();
            // A repeated operation would only be recognized, so a new ledger begins when all are recorded.
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    if next.len() == 0 || place.is_none() {
                        let dir = tempfile::tempdir().expect("a place for files");
                        place = Some((create(&dir.path().join("ledger"), durability), dir));
                        next = operations.iter();
                    }
                    let (ledger, _) = place.as_mut().expect("it was just made");
                    let operation = next.next().expect("some are left").clone();
                    let begin = Instant::now();
                    let _ = black_box(ledger.append(operation).expect("the disk works"));
                    spent += begin.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, replay, import, questions, append);
criterion_main!(benches);
