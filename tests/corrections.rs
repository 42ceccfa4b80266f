//! What corrections cost: many retracts and splits in one component, in work and in memory. Work is counted, never timed.

use std::sync::Arc;

use identity_ledger::storage::{Memory, SeededEntropy};
use identity_ledger::*;

fn at() -> Timestamp {
    Timestamp::from_micros(0).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn ledger() -> (Ledger, Arc<Memory>) {
    let disk = Arc::new(Memory::new());
    let options = LedgerOptions::new().entropy(SeededEntropy::new(1)).durability(Durability::Buffered);
    (options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap(), disk)
}

fn seqs(appended: Vec<Appended>) -> Vec<Seq> {
    appended.into_iter().map(|appended| appended.seq().unwrap()).collect()
}

/// So many persons become one: the records of the merges.
fn merged(ledger: &mut Ledger, persons: usize) -> Vec<Seq> {
    let set = |n| Operation::properties(at(), id(&format!("p{n}"))).set("n", n as i64).unwrap();
    let sets: Vec<Operation> = (0..=persons).map(set).collect();
    ledger.append_batch(&sets).unwrap();
    let merge = |n| Operation::merge_dangerously(at(), id("p0"), Source::new(&format!("p{n}")));
    let merges: Vec<Operation> = (1..=persons).map(merge).collect();
    seqs(ledger.append_batch(&merges).unwrap())
}

fn retract(seq: Seq) -> Operation {
    Operation::retract(at(), Target::Record(seq))
}

/// What a ledger of one component holds in memory for links, persons and what was before.
fn held(ledger: &Ledger) -> usize {
    let (links, persons) = ledger.reader().state().memory();
    links + persons
}

/// Four times the ids and corrections take at most five times the memory.
fn grows_with_what_is_recorded(make: impl Fn(usize) -> Ledger) {
    let [small, large] = [32, 128].map(make);
    let (small, large) = (held(&small), held(&large));
    assert!(large <= 5 * small, "{small} bytes, then {large}");
}

fn all_merges_retracted(size: usize, batch: usize) -> (Ledger, Arc<Memory>) {
    let (mut ledger, disk) = ledger();
    let merges = merged(&mut ledger, size);
    for seqs in merges.chunks(batch) {
        let retracts: Vec<Operation> = seqs.iter().map(|seq| retract(*seq)).collect();
        ledger.append_batch(&retracts).unwrap();
    }
    (ledger, disk)
}

#[test]
fn retracts_of_many_merges_of_one_person_keep_only_what_each_changed() {
    grows_with_what_is_recorded(|size| all_merges_retracted(size, 1).0);
    let (ledger, _) = all_merges_retracted(100, 1);
    // 101 were founded, and each retract gave one of them its own links again.
    assert_eq!(ledger.reader().state().persons_founded(), 201);
    assert_eq!(ledger.reader().state().persons().count(), 101);
}

#[test]
fn splits_of_one_person_keep_only_what_each_changed() {
    grows_with_what_is_recorded(|size| {
        let (mut ledger, _) = ledger();
        merged(&mut ledger, size);
        for n in 1..=size {
            let split = Operation::split(at(), id("p0"), [id(&format!("p{n}"))], SplitMode::Each);
            assert!(ledger.append(split).unwrap().outcome().unwrap().refusal.is_none());
        }
        assert_eq!(ledger.reader().state().persons_founded(), 2 * size + 1);
        ledger
    });
}

fn chain(size: usize) -> (Ledger, Arc<Memory>) {
    let (mut ledger, disk) = ledger();
    let mut last = merged(&mut ledger, 1)[0];
    for _ in 0..size {
        last = ledger.append(retract(last)).unwrap().seq().unwrap();
    }
    (ledger, disk)
}

#[test]
fn a_chain_of_retracts_of_retracts_is_kept_and_folded_link_by_link() {
    grows_with_what_is_recorded(|size| chain(size).0);
    for size in [99, 100] {
        let (ledger, _) = chain(size);
        let state = ledger.reader().state();
        // The merge is there again after an even number of retracts; each fold is of three operations at most.
        assert_eq!(state.persons().count(), if size % 2 == 0 { 1 } else { 2 });
        assert!(state.operations_refolded() <= 3 * size as u64, "{}", state.operations_refolded());
    }
}

/// Of a merge that is retracted again and again nothing else is founded again, and nobody else's links are kept twice.
#[test]
fn a_correction_leaves_the_numbers_of_all_whom_it_does_not_change() {
    let (mut ledger, _) = ledger();
    let merges = merged(&mut ledger, 40);
    let numbers = |ledger: &Ledger| {
        let ids = (0..40).map(|n| ledger.reader().id_no(&format!("p{n}")).unwrap());
        ids.map(|id| ledger.reader().state().person(id)).collect::<Vec<_>>()
    };
    let before = numbers(&ledger);
    let _ = ledger.append(retract(merges[39])).unwrap();
    assert_eq!(numbers(&ledger), before);
    assert_eq!(ledger.reader().state().persons_founded(), 42, "p40 is a person of its own again");
}

/// The state does not depend on how corrections came, nor on when the ledger was opened.
#[test]
fn corrections_one_by_one_and_together_come_to_the_same_state() {
    let digests = [1, 7, 60].map(|batch| {
        let (mut ledger, disk) = all_merges_retracted(60, batch);
        ledger.flush().unwrap();
        let opened = LedgerOptions::new().read_in(Arc::new(Memory::clone(&disk))).unwrap();
        assert_eq!(opened.reader().state().digest(), ledger.reader().state().digest());
        ledger.reader().state().digest()
    });
    assert_eq!([digests[1], digests[2]], [digests[0]; 2]);
}

/// Trees stay flat although ids leave: a person that is joined and left again and again is as quick to find as before, and a
/// snapshot of it can be read.
#[test]
fn persons_that_are_joined_and_parted_in_turn_stay_quick_to_find() {
    let (mut ledger, disk) = ledger();
    merged(&mut ledger, 3);
    for round in 0..80 {
        let names: Vec<String> = (0..6).map(|n| format!("r{round}-{n}")).collect();
        for pair in names.windows(2) {
            let merge = Operation::merge_dangerously(at(), id(&pair[0]), Source::new(&pair[1]));
            let _ = ledger.append(merge).unwrap();
        }
        let merge = Operation::merge_dangerously(at(), id("p0"), Source::new(&names[0]));
        let _ = ledger.append(merge).unwrap();
        let split = Operation::split(at(), id("p0"), names.iter().map(|name| id(name)), SplitMode::Each);
        assert!(ledger.append(split).unwrap().outcome().unwrap().refusal.is_none());
    }
    assert_eq!(ledger.resolve("p3"), ledger.resolve("p0"));
    ledger.snapshot().unwrap();
    let digest = ledger.reader().state().digest();
    drop(ledger);
    let opened = LedgerOptions::new().read_in(disk).unwrap();
    assert_eq!(opened.reader().state().digest(), digest);
}
