//! A2 on the machine that runs this: made-up ledgers come to the very bytes, heads and digests that
//! `tests/determinism.txt` pins, whatever the build, the word's width, the order of bytes in it, the number of threads and the
//! seeds of hash maps. `.ci/miri` runs this file on a big-endian machine and on a 32-bit one.
//!
//! `UPDATE=1` writes the page anew; the one good reason is that `History` makes up other histories now.
#![cfg(feature = "testing")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use identity_ledger::model::{Dialect, Survivor};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::history::History;
use identity_ledger::*;
use uuid::Uuid;

/// Seeds whose histories merge, are refused, absorb and reset; Miri, a thousand times slower, is given the first.
const SEEDS: [u64; 8] = [3, 5, 8, 13, 21, 34, 55, 89];

fn seeds() -> &'static [u64] {
    if cfg!(miri) { &SEEDS[..1] } else { &SEEDS }
}

/// One history under each preset, one of them with everything turned round.
fn histories(seed: u64) -> [(&'static str, History); 3] {
    let elder = Policy {
        survivor: Survivor::Elder,
        dialect: Dialect::Core,
        max_ids_per_person: Some(4),
        ..Policy::preset(Preset::OneUser)
    };
    [
        ("posthog", Policy::preset(Preset::Posthog)),
        ("strict", Policy::preset(Preset::Strict)),
        ("one-user, elder, core", elder),
    ]
    .map(|(name, policy)| (name, History::seeded(&policy, seed)))
}

/// Writes a history, in segments so short that there are several.
fn written(history: &History) -> Arc<Memory> {
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1).segment_bytes(1_024);
    let mut ledger =
        options.create_in(storage.clone(), Tenant::default(), history.policy.clone()).expect("it is valid");
    history.append_to(&mut ledger).expect("memory does not fail");
    ledger.flush().expect("memory does not fail");
    storage
}

/// All bytes of all segments.
fn bytes(storage: &Memory) -> Vec<u8> {
    let mut all = Vec::new();
    for name in storage.list("log").expect("memory does not fail") {
        let file = format!("log/{name}");
        let len = storage.len(&file).expect("memory does not fail").expect("it was listed");
        let mut bytes = vec![0; usize::try_from(len).expect("it is in memory")];
        storage.read_at(&file, 0, &mut bytes).expect("memory does not fail");
        all.extend(bytes);
    }
    all
}

/// What a stored log comes to, as the page shows it.
fn come_to(storage: &Memory, threads: usize) -> String {
    let copy: Arc<dyn Storage> = Arc::new(Memory::clone(storage));
    let book = LedgerOptions::new().threads(threads).read_in(copy).expect("it is whole");
    let Checkpoint { records, head } = book.checkpoint();
    format!(
        "{records} records, {} persons\n  bytes   {}\n  head    {head}\n  state   {}\n  content {}\n",
        book.reader().state().persons().count(),
        Uuid::new_v5(&Uuid::nil(), &bytes(storage)),
        book.reader().state().digest(),
        book.reader().content_digest().expect("memory does not fail"),
    )
}

#[test]
fn this_machine_comes_to_what_is_pinned() {
    let mut found = String::new();
    for seed in seeds() {
        for (name, history) in histories(*seed) {
            let log = written(&history);
            write!(found, "seed {seed}, {name}: {}", come_to(&log, 1)).expect("a string takes everything");
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/determinism.txt");
    if std::env::var_os("UPDATE").is_some() && !cfg!(miri) {
        std::fs::write(&page, &found).expect("the page can be written");
    }
    let expected = std::fs::read_to_string(&page).expect("the page is there");
    for (number, (found, expected)) in (1..).zip(found.lines().zip(expected.lines())) {
        assert_eq!(found, expected, "line {number} of tests/determinism.txt; UPDATE=1 writes it anew");
    }
    assert!(cfg!(miri) || found == expected, "a page of another length");
}

#[test]
fn threads_change_nothing() {
    for seed in seeds() {
        for (name, history) in histories(*seed) {
            let log = written(&history);
            for threads in [2, 8] {
                assert_eq!(
                    come_to(&log, threads),
                    come_to(&log, 1),
                    "seed {seed}, {name}, {threads} threads"
                );
            }
        }
    }
}

/// Each thread draws seeds of its own for its hash maps; eight writers in eight threads, and enough texts that their tables
/// grow, must write the same bytes.
#[test]
fn hash_seeds_change_nothing() {
    let texts = if cfg!(miri) { 8 } else { 2_000 };
    let write = move || {
        let id = |number: usize| DistinctId::new(format!("id-{}", number % texts)).expect("an id");
        let operations = (0..2 * texts).map(|number| {
            let time = Timestamp::from_micros(number as i64).expect("a time");
            let operation = match number % 3 {
                0 => Operation::alias(time, id(number), Source::Id(id(number * 7))),
                1 => Operation::properties(time, id(number))
                    .set(&format!("key-{}", number % 50), 1)
                    .expect("a key"),
                _ => Operation::identify(time, id(number), Some(Source::Id(id(number + 1)))),
            };
            operation.with_id(OperationId(Uuid::from_u128(number as u128 % 1_000 + 1)))
        });
        written(&History { policy: Policy::default(), operations: operations.collect() })
    };
    let writers: Vec<_> = (0..if cfg!(miri) { 2 } else { 8 }).map(|_| std::thread::spawn(write)).collect();
    let logs: Vec<Arc<Memory>> =
        writers.into_iter().map(|writer| writer.join().expect("it writes")).collect();
    let different: BTreeSet<Vec<u8>> = logs.iter().map(|log| bytes(log)).collect();
    assert_eq!(different.len(), 1, "logs that differ");
    let different: BTreeSet<String> = logs.iter().map(|log| come_to(log, 2)).collect();
    assert_eq!(different.len(), 1, "digests that differ: {different:?}");
}
