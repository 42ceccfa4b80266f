//! The ledger as its users see it: what goes in comes out, and comes out the same after every way of reopening.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::failing::{Failing, NEVER};
use identity_ledger::audit::Audit;
use identity_ledger::model::UuidIds;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn operation_id(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(number))
}

fn sample() -> Vec<Operation> {
    vec![
        Operation::capture(at(1), id("visitor"), operation_id(1))
            .with_event(EventName::new("$pageview").unwrap()),
        Operation::identify(at(2), id("ann"), Some(Source::new("visitor"))).set("plan", "pro").unwrap(),
        Operation::capture(at(3), id("ann"), operation_id(2)).set("visits", 3).unwrap(),
        Operation::alias(at(4), id("ann"), Source::new("null")),
        Operation::identify(at(5), id("bob"), Some(Source::new("visitor-2"))),
        Operation::identify(at(6), id("ann"), Some(Source::new("bob"))),
    ]
}

#[test]
fn live_reopened_and_read_only_ledgers_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ledger");
    let mut ledger = Ledger::create(&path, Tenant::default(), Policy::default()).unwrap();
    let outcomes: Vec<Appended> =
        sample().into_iter().map(|operation| ledger.append(operation).unwrap()).collect();
    assert_eq!(outcomes[3].outcome().unwrap().refusal.unwrap().rule(), "B2");
    assert_eq!(outcomes[5].outcome().unwrap().refusal.unwrap().rule(), "D6");
    let (checkpoint, digest) = (ledger.checkpoint(), ledger.reader().state().digest());
    let content = ledger.reader().content_digest().unwrap();
    let ann = ledger.profile("visitor").unwrap().unwrap();
    assert_eq!(ann.distinct_ids, ["visitor", "ann"]);
    assert_eq!(ann.properties["plan"].value, Some(Value::from("pro")));
    assert_eq!(ann.properties["visits"].value, Some(Value::from(3)));
    assert_eq!((ann.events, ann.identified_events), (2, 2));

    let reader = ReadOnlyLedger::open(&path).unwrap();
    assert_eq!((reader.checkpoint(), reader.reader().state().digest()), (checkpoint, digest));
    assert!(matches!(Ledger::open(&path), Err(OpenError::Locked { .. })));
    drop(ledger);

    let mut ledger = Ledger::open(&path).unwrap();
    assert!(ledger.recovery().is_clean());
    assert_eq!((ledger.checkpoint(), ledger.reader().state().digest()), (checkpoint, digest));
    assert_eq!(ledger.reader().content_digest().unwrap(), content);
    assert_eq!(ledger.profile("ann").unwrap().unwrap(), ann);
    assert!(matches!(ledger.append(sample().remove(0)), Ok(Appended::Duplicate { .. })));
    let changed = sample().remove(0).with_event(EventName::new("other").unwrap());
    assert!(matches!(ledger.append(changed), Ok(Appended::Conflict { .. })));
}

#[test]
fn any_batching_gives_the_same_state() {
    let digest_of = |size: usize| {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        for batch in sample().chunks(size) {
            assert!(ledger.append_batch(batch).is_ok());
        }
        (ledger.reader().state().digest(), ledger.reader().content_digest().unwrap())
    };
    assert_eq!(digest_of(1), digest_of(2));
    assert_eq!(digest_of(1), digest_of(6));
}

#[test]
fn a_torn_tail_is_kept_aside_cut_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ledger");
    let mut ledger = Ledger::create(&path, Tenant::default(), Policy::default()).unwrap();
    for operation in sample() {
        assert!(ledger.append(operation).is_ok());
    }
    let records = ledger.checkpoint().records;
    drop(ledger);
    let segment = path.join("log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend_from_slice(b"half a frame");
    std::fs::write(&segment, bytes).unwrap();

    let reader = ReadOnlyLedger::open(&path).unwrap();
    assert_eq!(reader.checkpoint().records, records);
    let ledger = Ledger::open(&path).unwrap();
    let torn = ledger.recovery().torn.clone().unwrap();
    assert_eq!(std::fs::read(path.join(&torn.kept)).unwrap(), b"half a frame");
    assert_eq!(ledger.checkpoint().records, records + 1);
    drop(ledger);
    assert!(Ledger::open(&path).unwrap().recovery().is_clean());
}

#[test]
fn an_old_person_id_resolves_to_the_survivor_for_ever() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    for operation in sample() {
        assert!(ledger.append(operation).is_ok());
    }
    let person = |ledger: &Ledger, id: &str| ledger.resolve(id).unwrap().person_id;
    let (ann, bob) = (person(&ledger, "ann"), person(&ledger, "bob"));
    assert_eq!(ledger.reader().survivor_of(bob), Some(bob));
    assert!(ledger.append(Operation::merge_dangerously(at(9), id("ann"), Source::new("bob"))).is_ok());
    assert_eq!((ledger.reader().survivor_of(bob), ledger.reader().survivor_of(ann)), (Some(ann), Some(ann)));
    assert_eq!(ledger.reader().survivor_of(PersonId(uuid::Uuid::from_u128(1))), None);
}

#[test]
fn a_cut_whose_record_was_lost_is_recorded_at_the_next_opening() {
    let disk = std::sync::Arc::new(Memory::new());
    let mut ledger =
        LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    assert!(ledger.append(sample().remove(0)).is_ok());
    let records = ledger.checkpoint().records;
    drop(ledger);
    // What a crash between the cut and its record leaves behind: the kept bytes, and a log that ends before them.
    let kept = format!("quarantine/{records:020}-400-0.cut");
    disk.create(&kept).unwrap();
    disk.write_at(&kept, 0, b"junk").unwrap();
    let ledger = LedgerOptions::new().open_in(disk.clone()).unwrap();
    assert_eq!(ledger.recovery().torn.as_ref().unwrap().kept, kept);
    assert_eq!(ledger.checkpoint().records, records + 1);
    drop(ledger);
    assert!(LedgerOptions::new().open_in(disk).unwrap().recovery().is_clean());
}

#[test]
fn classes_hold_across_policy_changes_and_new_devices_b4() {
    let disk = std::sync::Arc::new(Memory::new());
    let mut ledger = LedgerOptions::new()
        .segment_bytes(1024)
        .create_in(disk.clone(), Tenant::default(), Policy::default())
        .unwrap();
    let phone = ledger.new_device(at(1)).unwrap();
    let tablet = ledger.new_device(at(1)).unwrap();
    assert_ne!(phone, tablet);
    ledger
        .set_policy(&Policy {
            blocked_ids: ["bob".to_owned()].into(),
            uuid_ids: UuidIds::User,
            ..Policy::preset(Preset::OneUser)
        })
        .unwrap();
    let _ = ledger.device(phone.clone()).identify(at(2), id("ann"), Changes::default()).unwrap();
    let _ = ledger.append(Operation::alias(at(3), id("ann"), Source::new("bob"))).unwrap();
    ledger.set_policy(&Policy::default()).unwrap();
    let _ = ledger.device(tablet).reset(at(4), true).unwrap();
    let _ = ledger.append(Operation::identify(at(5), id("x"), Some(Source::new("bob")))).unwrap();
    let mut again = ledger.device(phone);
    let _ = again.reset(at(6), false).unwrap();
    let _ = again.alias(at(7), Some(Source::new("ann"))).unwrap();
    let report =
        Audit::run_in(std::sync::Arc::new(Memory::clone(&disk)), Some(ledger.checkpoint()), &mut |_| {})
            .unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    let (content, digest) = (ledger.reader().content_digest().unwrap(), ledger.reader().state().digest());
    drop(ledger);
    let ledger = LedgerOptions::new().open_in(disk).unwrap();
    assert_eq!(
        (ledger.reader().content_digest().unwrap(), ledger.reader().state().digest()),
        (content, digest)
    );
    assert!(ledger.recovery().is_clean());
}

#[test]
fn the_largest_policy_fits_a_record() {
    let big: std::collections::BTreeSet<String> =
        (0..64).map(|i| format!("{}{}", "\u{1F434}".repeat(397), i)).collect();
    let p = Policy {
        blocked_ids: big.clone(),
        blocked_prefixes: big.clone(),
        anonymous_prefixes: big,
        ..Policy::default()
    };
    let mut ledger = Ledger::in_memory(Tenant::default(), p.clone()).unwrap();
    ledger.set_policy(&p).unwrap();
}

#[test]
fn an_empty_batch_and_one_of_duplicates_write_nothing() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    assert!(ledger.append_batch(&[]).unwrap().is_empty());
    let o = Operation::capture(at(1), id("a"), OperationId(uuid::Uuid::nil()));
    let _ = ledger.append(o.clone()).unwrap();
    let c = ledger.checkpoint();
    let r = ledger.append_batch(&[o.clone(), o.clone()]).unwrap();
    assert!(r.iter().all(|a| matches!(a, Appended::Duplicate { .. })));
    assert_eq!(ledger.checkpoint(), c);
}

/// More than a mebibyte, so that a second thread is worth starting: large frames and small ones, in many segments.
fn large() -> Memory {
    let disk = Arc::new(Memory::new());
    let options = LedgerOptions::new().seeded(1).segment_bytes(100_000);
    let mut ledger = options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let operation = |number: i64| {
        let at = Timestamp::from_micros(number).unwrap();
        let visitor = format!("visitor-{}", number % 700);
        let user = DistinctId::new(format!("user-{}", number % 300)).unwrap();
        let operation = match number % 5 {
            0 => Operation::identify(at, user, Some(Source::new(&visitor))),
            _ => Operation::properties(at, DistinctId::new(visitor).unwrap()),
        };
        operation.set("note", "x".repeat(130)).unwrap().set("n", number).unwrap()
    };
    for batch in 0..40 {
        let operations: Vec<Operation> = (batch * 100..batch * 100 + 100).map(operation).collect();
        assert_eq!(ledger.append_batch(&operations).unwrap().len(), 100);
        (4_000 + batch * 20..4_020 + batch * 20).for_each(|number| {
            assert!(ledger.append(operation(number)).unwrap().outcome().is_some());
        });
    }
    assert!(ledger.reader().log_bytes() > 1 << 20, "{}", ledger.reader().log_bytes());
    drop(ledger);
    Memory::clone(&disk)
}

#[test]
fn two_threads_see_what_one_sees_damage_included() {
    let whole = large();
    let open = |disk: &Memory, threads| {
        let options = LedgerOptions::new().threads(threads);
        let opened = options.read_in(Arc::new(disk.clone()));
        opened.map(|book| {
            (book.checkpoint(), book.reader().state().digest(), book.reader().content_digest().unwrap())
        })
    };
    assert_eq!(open(&whole, 1).unwrap(), open(&whole, 2).unwrap());

    let mut names = whole.list("log").unwrap();
    names.sort();
    assert!(names.len() > 8);
    for (number, name) in names.iter().enumerate() {
        let name = format!("log/{name}");
        let len = whole.len(&name).unwrap().unwrap();
        for at in [10, 97, 150, 40_000 + number as u64, len - 40] {
            let disk = whole.clone();
            let mut byte = [0];
            assert_eq!(disk.read_at(&name, at.min(len - 1), &mut byte).unwrap(), 1);
            disk.write_at(&name, at.min(len - 1), &[byte[0] ^ 4]).unwrap();
            let (one, two) = (open(&disk, 1), open(&disk, 2));
            assert_eq!(one.unwrap_err().to_string(), two.unwrap_err().to_string(), "{name} byte {at}");
        }
    }
}

/// One bad operation among many: the others are recorded, in their order, and each answer stands at its operation's place.
#[test]
fn append_each_answers_the_bad_and_records_the_rest() {
    let disk = Arc::new(Memory::new());
    let mut ledger =
        LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let good = |number: i64| Operation::properties(at(number), id("ann")).set("n", number).unwrap();
    let unknown = |number| Operation::retract(at(number), Target::Record(Seq(1_000_000)));
    let frames = |ledger: &Ledger| {
        let mut frames = 0;
        ledger.reader().replay(|_| frames += 1).unwrap();
        frames
    };
    let all = ledger.append_each(&(0..50).map(good).collect::<Vec<_>>()).unwrap();
    assert!(all.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.outcome().is_some())));
    let before = frames(&ledger);
    for bad in [vec![], vec![0], vec![49], vec![7, 8, 30], (0..50).collect()] {
        let operation = |number: i64| if bad.contains(&number) { unknown(number) } else { good(number) };
        let answers = ledger.append_each(&(0..50).map(operation).collect::<Vec<_>>()).unwrap();
        assert_eq!(answers.len(), 50);
        let mut last = None;
        for (number, answer) in answers.iter().enumerate() {
            match answer {
                Ok(appended) => {
                    assert!(appended.seq() > last, "in their order");
                    last = appended.seq();
                }
                Err(AppendError::Operation { index, .. }) => assert_eq!(*index, number),
                Err(error) => panic!("{error}"),
            }
            assert_eq!(answer.is_err(), bad.contains(&i64::try_from(number).unwrap()));
        }
        assert_eq!(ledger.durable_records(), ledger.checkpoint().records, "acknowledged once, at the end");
    }
    assert!(frames(&ledger) > before);
    let head = ledger.checkpoint();
    drop(ledger);
    assert_eq!(LedgerOptions::new().open_in(disk).unwrap().checkpoint(), head);
}

/// A device does not speak behind a retract of its batch: alone it does. And what does not fit a frame is recorded in several.
#[test]
fn append_each_records_in_parts_what_no_batch_holds() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let speaks = |number| {
        let who = Actor::Device(DeviceId::new("tablet").unwrap());
        Operation::new(at(number), Request::Set { who })
    };
    let seq = ledger.append(speaks(1)).unwrap().seq().unwrap();
    let batch = [speaks(2), Operation::retract(at(3), Target::Record(seq)), speaks(4)];
    assert!(ledger.append_batch(&batch).is_err());
    assert!(ledger.append_each(&batch).unwrap().iter().all(Result::is_ok));
    let text = "x".repeat(limits::MAX_VALUE_BYTES - 10);
    let large = |number| Operation::properties(at(number), id("ann")).set("text", text.as_str()).unwrap();
    let batch: Vec<Operation> = (0..80).map(large).collect();
    assert!(matches!(ledger.append_batch(&batch), Err(AppendError::BatchTooLarge { .. })));
    assert!(ledger.append_each(&batch).unwrap().iter().all(Result::is_ok));
}

/// A sender that repeats itself asks for records here and there. Each of their frames is read once, not once for each of them.
#[test]
fn operations_that_come_again_read_each_frame_once() {
    let capture = |number: u64| Operation::capture(at(0), id("ann"), operation_id(number.into()));
    let disk = Arc::new(Failing::at(Memory::new(), NEVER).reads());
    let mut ledger =
        LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let (frames, each) = (8, 100);
    for frame in 0..frames {
        let batch: Vec<Operation> = (0..each).map(|number| capture(frame * each + number)).collect();
        drop(ledger.append_batch(&batch).unwrap());
    }
    let mut calls = |numbers: Vec<u64>| {
        let before = disk.calls_left.load(Ordering::SeqCst);
        let again: Vec<Operation> = numbers.into_iter().map(capture).collect();
        assert!(ledger.append_batch(&again).unwrap().iter().all(|answer| answer.seq().is_some()));
        before - disk.calls_left.load(Ordering::SeqCst)
    };
    let one_each = calls((0..frames).map(|frame| frame * each).collect());
    let in_turn: Vec<u64> =
        (0..each).flat_map(|number| (0..frames).map(move |frame| frame * each + number)).collect();
    let all = calls(in_turn);
    assert!(all <= 2 * one_each, "{all} calls for {} operations, {one_each} for {frames}", frames * each);
}
