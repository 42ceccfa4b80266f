//! What corrections cost: many retracts and splits in one component, in work and in memory. Work is counted, never timed.

use std::sync::Arc;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
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
    let options = LedgerOptions::new().seeded(1).durability(Durability::Buffered);
    (options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap(), disk)
}

fn seqs(appended: Answers) -> Vec<Seq> {
    appended.into_iter().map(|appended| appended.seq().unwrap()).collect()
}

/// So many persons become one: the records of the merges.
fn merged(ledger: &mut Ledger, persons: usize) -> Vec<Seq> {
    let set = |n| Operation::properties(at(), id(&format!("p{n}"))).set("n", n as i64).unwrap();
    let sets: Vec<Operation> = (0..=persons).map(set).collect();
    drop(ledger.append_batch(&sets).unwrap());
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
        drop(ledger.append_batch(&retracts).unwrap());
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

/// A user signs in on one device after the other, and the sign-ins are taken back from the oldest on: each time another record founds
/// the user's person, and all ids but one stay with it.
fn sign_ins_retracted(devices: usize, known: bool) -> Ledger {
    let (mut ledger, _) = ledger();
    let device = |n| DeviceId::new(format!("d{n}")).unwrap();
    if known {
        let set =
            |n| Operation::new(at(), Request::Set { who: Actor::Device(device(n)) }).set("n", 1).unwrap();
        drop(ledger.append_batch(&(0..devices).map(set).collect::<Vec<_>>()).unwrap());
    }
    let sign_in = |n| Operation::new(at(), Request::DeviceIdentify { device: device(n), user: id("user") });
    let sign_ins = seqs(ledger.append_batch(&(0..devices).map(sign_in).collect::<Vec<_>>()).unwrap());
    for seq in &sign_ins[..devices - 1] {
        assert!(ledger.append(retract(*seq)).unwrap().outcome().unwrap().refusal.is_none());
    }
    ledger
}

#[test]
fn sign_ins_of_one_user_that_are_retracted_keep_only_what_each_changed() {
    for known in [false, true] {
        grows_with_what_is_recorded(|devices| sign_ins_retracted(devices, known));
    }
    // One for each device, and for each retract the user's again and, where the device had one, the device's.
    let founded = |known| sign_ins_retracted(64, known).reader().state().persons_founded();
    assert_eq!([founded(false), founded(true)], [64, 64 + 2 * 63]);
}

/// A person of many ids is absorbed by one of few, and parted from it, in turn: those move that are fewer.
#[test]
fn a_large_person_that_is_absorbed_and_parted_in_turn_keeps_its_group() {
    grows_with_what_is_recorded(|size| {
        let (mut ledger, _) = ledger();
        merged(&mut ledger, size);
        let merge = Operation::merge_dangerously(at(), id("small"), Source::new("p0"));
        let mut last = ledger.append(merge).unwrap().seq().unwrap();
        for _ in 0..size {
            last = ledger.append(retract(last)).unwrap().seq().unwrap();
        }
        ledger
    });
}

/// The ways to go through `size` things that an unkind sender would choose.
fn orders(size: usize) -> [(&'static str, Vec<usize>); 4] {
    let (older, newer) = ((0..size / 2).rev(), size / 2..size);
    let mut draws = Draws(1);
    let mut drawn: Vec<usize> = (0..size).collect();
    (1..size).for_each(|n| drawn.swap(n, draws.below(n + 1)));
    [
        ("oldest first", (0..size).collect()),
        ("newest first", (0..size).rev().collect()),
        ("middle out", newer.zip(older).flat_map(|(newer, older)| [newer, older]).collect()),
        ("at random", drawn),
    ]
}

fn refolded(ledger: &Ledger) -> u64 {
    ledger.reader().state().operations_refolded()
}

/// The ledger that is opened comes to the same state with as much work.
fn opens_for_as_much(ledger: &mut Ledger, disk: Arc<Memory>) {
    ledger.flush().unwrap();
    let opened = LedgerOptions::new().read_in(disk).unwrap();
    assert_eq!(opened.reader().state().digest(), ledger.reader().state().digest());
    assert!(opened.reader().state().operations_refolded() <= refolded(ledger));
}

/// Retracts of merges, then retracts of those retracts, each with a policy in front of it. Each folds the operations that stand behind the
/// earlier of what it and the last one corrected, and at most those since a checkpoint before that.
#[test]
fn retracts_in_any_order_fold_only_what_stands_behind_them() {
    let size = 200;
    for (order, merges_in_turn) in orders(size) {
        let (mut ledger, disk) = ledger();
        let mut targets = merged(&mut ledger, size);
        let (mut stands, mut last) = (vec![true; size], size);
        let (mut most, mut records) = (2 * size + 1, 2 * size + 2);
        for stand in [false, true] {
            for n in &merges_in_turn {
                ledger.set_policy(&Policy::default()).unwrap();
                targets[*n] = ledger.append(retract(targets[*n])).unwrap().seq().unwrap();
                records += 2;
                stands[*n] |= stand;
                most += stands[last.min(*n)..].iter().filter(|stands| **stands).count();
                most += (records / 8).max(64);
                stands[*n] = stand;
                last = *n;
            }
            let found = refolded(&ledger);
            assert!(found <= most as u64, "{order}: {found} of {most}");
        }
        assert_eq!(ledger.reader().state().persons().count(), 1, "{order}");
        opens_for_as_much(&mut ledger, disk);
    }
}

/// Splits fold nothing again, nor do retracts of splits: only splits stand behind those.
#[test]
fn splits_in_any_order_fold_no_operation_again() {
    let size = 200;
    for (order, ids_in_turn) in orders(size) {
        let (mut ledger, disk) = ledger();
        merged(&mut ledger, size);
        let split =
            |n: &usize| Operation::split(at(), id("p0"), [id(&format!("p{}", n + 1))], SplitMode::Each);
        let splits = seqs(ledger.append_batch(&ids_in_turn.iter().map(split).collect::<Vec<_>>()).unwrap());
        assert_eq!(refolded(&ledger), 2 * size as u64 + 1, "{order}: each operation once");
        for n in &ids_in_turn {
            let _ = ledger.append(retract(splits[*n])).unwrap();
        }
        let most = (2 * size + 1 + size * (4 * size / 8)) as u64;
        assert!(refolded(&ledger) <= most, "{order}: {} of {most}", refolded(&ledger));
        assert_eq!(ledger.reader().state().persons().count(), 1, "{order}");
        opens_for_as_much(&mut ledger, disk);
    }
}

#[test]
fn corrections_in_any_order_keep_only_what_each_changed() {
    for order in 0..4 {
        grows_with_what_is_recorded(|size| {
            let (mut ledger, _) = ledger();
            let mut targets = merged(&mut ledger, size);
            for _ in 0..2 {
                for n in &orders(size)[order].1 {
                    targets[*n] = ledger.append(retract(targets[*n])).unwrap().seq().unwrap();
                }
            }
            ledger
        });
    }
}

/// Erase requests and corrections of one component, in turn.
#[test]
fn erasures_between_corrections_keep_only_what_each_changed() {
    grows_with_what_is_recorded(|size| {
        let (mut ledger, _) = ledger();
        let merges = merged(&mut ledger, size);
        for (n, merge) in (1..).zip(merges) {
            let subject = ErasureSubject::Ids([id(&format!("p{n}"))].into());
            ledger.begin_erasures(&[ErasureRequest::new(at(), subject, "asked")]).unwrap();
            let _ = ledger.append(retract(merge)).unwrap();
        }
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

/// The newest merge is retracted first, so the component was the same up to near the end.
#[test]
fn a_correction_folds_only_what_stands_behind_the_last_checkpoint() {
    let (mut ledger, disk) = ledger();
    let merges = merged(&mut ledger, 400);
    for seq in merges.iter().rev() {
        let _ = ledger.append(retract(*seq)).unwrap();
    }
    // All operations once, and for each retract at most an eighth of the records.
    let most = 801 + 400 * (801 + 400) / 8;
    let state = ledger.reader().state();
    assert!(state.operations_refolded() <= most, "{}", state.operations_refolded());
    let digest = state.digest();
    ledger.flush().unwrap();
    let opened = LedgerOptions::new().read_in(disk).unwrap();
    assert!(
        opened.reader().state().operations_refolded() <= most,
        "{}",
        opened.reader().state().operations_refolded()
    );
    assert_eq!(opened.reader().state().digest(), digest);
}

#[test]
fn a_split_folds_nothing_again_but_what_it_parts() {
    let (mut ledger, _) = ledger();
    merged(&mut ledger, 100);
    for n in 1..=100 {
        let split = Operation::split(at(), id("p0"), [id(&format!("p{n}"))], SplitMode::Each);
        let _ = ledger.append(split).unwrap();
    }
    assert_eq!(ledger.reader().state().operations_refolded(), 201, "each operation once");
}

/// A retract, and a retract of that, of one operation among many.
#[test]
fn a_correction_that_is_undone_folds_nothing_again() {
    let (mut ledger, _) = ledger();
    let merges = merged(&mut ledger, 100);
    let mut last = merges[50];
    let persons: Vec<_> = (0..20)
        .map(|_| {
            last = ledger.append(retract(last)).unwrap().seq().unwrap();
            ledger.reader().id_no("p51").and_then(|id| ledger.reader().state().person(id))
        })
        .collect();
    assert_ne!(persons[0], persons[1]);
    // Once with the merge and once without it.
    assert!(
        ledger.reader().state().operations_refolded() <= 2 * 201,
        "{}",
        ledger.reader().state().operations_refolded()
    );
    // An operation of the component that comes between counts.
    let other = Operation::properties(at(), id("p51")).set("n", "later").unwrap();
    let _ = ledger.append(other).unwrap();
    let _ = ledger.append(retract(last)).unwrap();
    let profile = ledger.profile("p51").unwrap().unwrap();
    assert_eq!(profile.properties["n"].value, Some("later".into()));
}

/// Numbers that are drawn from a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// An operation on few ids: it sets, links, merges or splits, speaks for a device, or retracts one of `seqs`.
fn drawn(draws: &mut Draws, seqs: &[Seq], n: usize) -> Operation {
    let name = |draws: &mut Draws| format!("p{}", draws.below(9));
    let (one, other) = (id(&name(draws)), name(draws));
    let operation = match draws.below(12) {
        0 | 1 => Operation::properties(at(), one),
        2 => Operation::identify(at(), one, Some(Source::new(&other))),
        3 | 4 => Operation::merge_dangerously(at(), one, Source::new(&other)),
        5 => {
            let device = DeviceId::new("tablet").unwrap();
            match draws.below(3) {
                0 => {
                    let request = Request::Reset { device, reset_device: false, new_id: None };
                    return Operation::new(at(), request);
                }
                1 => Operation::new(at(), Request::DeviceIdentify { device, user: one }),
                _ => Operation::new(at(), Request::Set { who: Actor::Device(device) }),
            }
        }
        6 | 7 if one.as_str() != other => return Operation::split(at(), one, [id(&other)], SplitMode::Each),
        _ if seqs.is_empty() => Operation::properties(at(), one),
        // Of the last few more often than of others: what is undone, and undone again.
        8 | 9 => return retract(seqs[seqs.len() - 1 - draws.below(seqs.len().min(3))]),
        _ => return retract(seqs[draws.below(seqs.len())]),
    };
    operation.set("n", n as i64).unwrap()
}

/// What a ledger keeps of the components that it folded last is not part of what it means: one that was opened from a snapshot
/// between two operations has nothing of it.
#[test]
fn a_ledger_that_is_opened_again_between_corrections_comes_to_the_same_state() {
    let mut corrections = 0;
    for seed in 0..60 {
        let disks = [(); 2].map(|()| Arc::new(Memory::new()));
        // No number is drawn twice: the ids that resets give are new ones.
        let options = |n: usize| {
            let entropy = SeededEntropy::new(n as u64);
            LedgerOptions::new().entropy(entropy).durability(Durability::Buffered)
        };
        let create =
            |disk: &Arc<Memory>| options(99).create_in(disk.clone(), Tenant::default(), Policy::default());
        let [mut running, mut opened] = disks.each_ref().map(|disk| create(disk).unwrap());
        let (mut draws, mut seqs) = (Draws(seed), Vec::new());
        for n in 0..60 {
            let operation = drawn(&mut draws, &seqs, n);
            let said = [&mut running, &mut opened].map(|ledger| ledger.append(operation.clone()));
            let [Ok(said), Ok(again)] = said else { continue };
            corrections += u32::from(said.outcome().is_some_and(|outcome| outcome.undone.is_some()));
            assert_eq!(said.outcome(), again.outcome(), "seed {seed}, operation {n}");
            seqs.extend(said.seq());
            assert_eq!(
                running.reader().state().digest(),
                opened.reader().state().digest(),
                "seed {seed}, operation {n}"
            );
            if n % 2 == 1 {
                opened.snapshot().unwrap();
                drop(opened);
                opened = options(n).open_in(disks[1].clone()).unwrap();
            }
        }
    }
    assert!(corrections > 400, "{corrections}");
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
