//! Taking back and parting, from the outside: what a batch may do, what a failing or rotting disk does to it, limits on both sides,
//! snapshots and indexes that change nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::failing::{Failing, NEVER};
use crate::support::short::{at, id, new_ledger};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::fold::Correction;
use identity_ledger::limits::MAX_SPLIT_IDS;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

fn link(second: i64, target: &str, source: &str) -> Operation {
    Operation::identify(at(second), id(target), Some(Source::new(source)))
}

fn numbered(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(number))
}

/// Four people on the disk, each with a phone; and what made them one with it.
fn people(storage: Arc<dyn Storage>) -> (Ledger, Vec<Seq>) {
    let options = LedgerOptions::new().seeded(1).index_records();
    let mut ledger = options.create_in(storage, Tenant::default(), Policy::default()).unwrap();
    let mut links = Vec::new();
    for (second, who) in (1..).zip(["ann", "bob", "cat", "dora"]) {
        links.extend(ledger.append(link(second, who, &format!("phone of {who}"))).unwrap().seq());
    }
    ledger.flush().unwrap();
    (ledger, links)
}

#[test]
fn in_one_batch_what_was_just_said_is_taken_back_too() {
    let mut ledger = new_ledger();
    let batch = [
        link(1, "ann", "phone").with_id(numbered(1)),
        link(2, "bob", "laptop").with_id(numbered(2)),
        Operation::retract(at(3), Target::Operation(numbered(1))).with_id(numbered(3)),
        Operation::retract(at(4), Target::Operation(numbered(3))).with_id(numbered(4)),
        Operation::retract(at(5), Target::Operation(numbered(4))),
        link(6, "ann", "tablet"),
    ];
    let appended = ledger.append_batch(&batch).unwrap();
    assert!(appended.iter().all(|appended| appended.outcome().is_some()));
    assert_eq!((ledger.reader().person("phone"), ledger.reader().person("ann").is_some()), (None, true));
    assert_eq!(ledger.reader().person("ann"), ledger.reader().person("tablet"));
    assert_eq!(ledger.reader().person("bob"), ledger.reader().person("laptop"));
}

/// Records are read in blocks, in which one points back to what another changed. A retract finds the records of its batch in the draft, and
/// those of before in a block of the log, wherever in a block they stand.
#[test]
fn a_record_is_read_back_from_any_place_of_a_block() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut ledger =
        LedgerOptions::new().create_in(storage.clone(), Tenant::default(), Policy::default()).unwrap();
    let say = |number: i64| {
        let said = link(number, &format!("user {}", number % 3), &format!("phone {number}"));
        said.set(["plan", "city", "age"][number as usize % 3], number).unwrap()
    };
    let first: Vec<Operation> = (0..150).map(say).collect();
    let seqs: Vec<Seq> =
        ledger.append_batch(&first).unwrap().iter().map(|said| said.seq().unwrap()).collect();
    // Of the same batch: the draft has them, in blocks of its own.
    let next = ledger.checkpoint().records;
    let again: Vec<Operation> = (0..130).map(|number| link(number, "user 0", "phone 3")).collect();
    let retracts = [0, 63, 64, 65, 127, 128, 129]
        .map(|place| Operation::retract(at(9), Target::Record(Seq(next + place))));
    let said = ledger.append_batch(&[again, retracts.into()].concat()).unwrap();
    assert!(said.iter().skip(130).all(|said| said.outcome().unwrap().refusal.is_none()));
    // Of another batch: each is read from the log.
    for (number, seq) in seqs.iter().enumerate().step_by(7) {
        let body = ledger.reader().body(*seq).unwrap().unwrap();
        assert_eq!(body.head().unwrap().time(), at(number as i64));
        assert_eq!((body.name(), body.changes().len()), ("identify", 1));
        let said = ledger.append(Operation::retract(at(10), Target::Record(*seq))).unwrap();
        assert!(said.outcome().unwrap().refusal.is_none(), "record {seq}");
        let whose = |id: String| ledger.reader().person(&id);
        assert_ne!(whose(format!("phone {number}")), whose(format!("user {}", number % 3)));
    }
    let digest = ledger.reader().state().digest();
    drop(ledger);
    let ledger = LedgerOptions::new().without_snapshots().open_in(storage).unwrap();
    assert_eq!(ledger.reader().state().digest(), digest);
    #[cfg(feature = "testing")]
    testing::check(ledger.reader()).unwrap();
}

#[test]
fn a_device_cannot_speak_behind_a_retract_of_its_batch() {
    let mut ledger = new_ledger();
    let device = || Actor::Device(DeviceId::new("d1").unwrap());
    let speaks = |second| Operation::new(at(second), Request::Set { who: device() });
    let _ = ledger.append(link(1, "ann", "phone").with_id(numbered(1))).unwrap();
    let before = ledger.checkpoint();
    let back = Operation::retract(at(2), Target::Operation(numbered(1)));
    let error = ledger.append_batch(&[back.clone(), speaks(3)]).unwrap_err();
    let AppendError::Operation { index: 1, source: OperationError::AfterRetract } = error else {
        panic!("{error}");
    };
    assert_eq!(ledger.checkpoint(), before, "all or nothing");
    drop(ledger.append_batch(&[speaks(2), back]).unwrap());
    let _ = ledger.append(speaks(4)).unwrap();
}

#[test]
fn what_was_never_recorded_or_is_no_operation_cannot_be_taken_back() {
    let mut ledger = new_ledger();
    let _ = ledger.append(link(1, "ann", "phone")).unwrap();
    let before = ledger.checkpoint();
    let records = before.records;
    let mut refused = |target| match ledger.append(Operation::retract(at(2), target)) {
        Err(AppendError::Operation { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(Target::Record(Seq(0))).contains("genesis"));
    assert!(refused(Target::Record(Seq(1))).contains("define_id"), "definitions are no operations");
    assert!(refused(Target::Record(Seq(records))).contains(&format!("below {records}")));
    assert!(refused(Target::Record(Seq(u64::MAX))).contains(&u64::MAX.to_string()));
    assert!(refused(Target::Operation(numbered(7))).contains(&numbered(7).to_string()));
    assert_eq!(ledger.checkpoint(), before);
}

#[test]
fn a_split_names_from_one_id_to_the_limit() {
    let mut ledger = new_ledger();
    let names: Vec<String> = (0..=MAX_SPLIT_IDS).map(|number| format!("id-{number}")).collect();
    for links in names.chunks(2_000) {
        let batch: Vec<Operation> = links.iter().map(|name| link(1, "ann", name)).collect();
        drop(ledger.append_batch(&batch).unwrap());
    }
    let ids = |count: usize| names[..count].iter().map(|name| id(name));
    for found in [0, MAX_SPLIT_IDS + 1] {
        let error =
            ledger.append(Operation::split(at(2), id("ann"), ids(found), SplitMode::Each)).unwrap_err();
        assert!(
            matches!(error, AppendError::Operation { source: OperationError::SplitIds { found: f }, .. } if f == found),
            "{error}"
        );
    }
    let split = Operation::split(at(2), id("ann"), ids(MAX_SPLIT_IDS), SplitMode::Together);
    let outcome = *ledger.append(split).unwrap().outcome().unwrap();
    assert_eq!(outcome.undone, Some(Correction::Split { left: MAX_SPLIT_IDS as u32 }));
    let (first, last) =
        (ledger.reader().person("id-0").unwrap(), ledger.reader().person(&names[MAX_SPLIT_IDS]).unwrap());
    assert_eq!(ledger.reader().state().ids_of(first).len(), MAX_SPLIT_IDS);
    assert_eq!(ledger.reader().state().ids_of(last).len(), 2, "ann, and the one that was not named");
}

/// The bytes that were verified when the ledger was opened may have changed since. Whatever bit of the log is flipped, a retract is
/// told of it, or reads nothing of it and does what it would have done.
#[test]
fn a_log_that_rots_while_it_is_open_takes_nothing_back_wrongly() {
    let sound = {
        let (mut ledger, links) = people(Arc::new(Memory::new()));
        let _ = ledger.append(Operation::retract(at(9), Target::Record(links[1]))).unwrap();
        ledger.reader().state().digest()
    };
    let file = segment();
    let len = {
        let storage = Arc::new(Memory::new());
        drop(people(storage.clone()));
        storage.len(&file).unwrap().unwrap()
    };
    let (mut told, mut unharmed) = (0, 0);
    for offset in 0..len {
        let storage = Arc::new(Memory::new());
        let (mut ledger, links) = people(storage.clone());
        let before = ledger.reader().state().digest();
        let mut byte = [0];
        storage.read_at(&file, offset, &mut byte).unwrap();
        storage.write_at(&file, offset, &[byte[0] ^ 0x10]).unwrap();
        match ledger.append(Operation::retract(at(9), Target::Record(links[1]))) {
            Ok(_) => {
                assert_eq!(ledger.reader().state().digest(), sound, "byte {offset}");
                unharmed += 1;
            }
            Err(AppendError::Unreadable(_)) => {
                assert_eq!(ledger.reader().state().digest(), before, "byte {offset}");
                storage.write_at(&file, offset, &byte).unwrap();
                let _ = ledger.append(Operation::retract(at(9), Target::Record(links[1]))).unwrap();
                assert_eq!(ledger.reader().state().digest(), sound, "byte {offset}, put right again");
                told += 1;
            }
            Err(error) => panic!("byte {offset}: {error}"),
        }
    }
    assert!(told > 100 && unharmed > 100, "{told} told, {unharmed} unharmed");
}

/// Whichever call of a retract fails: it is told of, nothing is half-done, and what was recorded is what a reopened ledger has.
#[test]
fn a_disk_that_fails_takes_nothing_back_by_halves() {
    let (mut unreadable, mut indeterminate) = (0, 0);
    for (call, for_ever) in (0..).flat_map(|call| [(call, false), (call, true)]) {
        let disk = Arc::new(Failing::at(Memory::new(), NEVER).reads().for_ever(for_ever));
        let (mut ledger, links) = people(disk.clone());
        let before = ledger.reader().state().digest();
        disk.calls_left.store(call, Ordering::SeqCst);
        let retract = Operation::retract(at(9), Target::Record(links[1])).with_id(numbered(9));
        let result = ledger.append(retract.clone());
        let reached = disk.calls_left.swap(NEVER, Ordering::SeqCst) < 0;
        match result {
            Ok(_) if !reached => break,
            Ok(_) => {} // a read that failed, and was made in another way
            Err(AppendError::Unreadable(_)) => {
                assert_eq!(ledger.reader().state().digest(), before);
                let _ = ledger.append(retract.clone()).unwrap();
                unreadable += 1;
            }
            Err(AppendError::Indeterminate { .. }) => indeterminate += 1,
            Err(error) => panic!("call {call}: {error}"),
        }
        drop(ledger);
        let mut again = LedgerOptions::new().open_in(Arc::new(Memory::clone(&disk.inner))).unwrap();
        let _ = again.append(retract).unwrap(); // or a duplicate of it
        assert_eq!(
            (again.reader().person("phone of bob"), again.reader().person("bob")),
            (None, None),
            "call {call}"
        );
        assert_eq!(again.reader().person("ann"), again.reader().person("phone of ann"));
    }
    assert!(unreadable > 0 && indeterminate > 2, "{unreadable} unreadable, {indeterminate} indeterminate");
}

fn segment() -> String {
    "log/00000000000000000000.seg".to_owned()
}

/// By an index kept from the beginning, by one made when it is asked for, from a snapshot, by a replay: the same state.
#[test]
fn an_index_and_a_snapshot_change_nothing() {
    let storage = Arc::new(Memory::new());
    let (mut ledger, links) = people(storage.clone());
    let _ = ledger.append(Operation::retract(at(9), Target::Record(links[0]))).unwrap();
    let _ = ledger.append(Operation::split(at(9), id("bob"), [id("phone of bob")], SplitMode::Each)).unwrap();
    ledger.snapshot().unwrap();
    let next = [
        Operation::retract(at(9), Target::Record(links[2])),
        Operation::split(at(9), id("dora"), [id("dora")], SplitMode::Each),
        link(10, "ann", "phone of bob"),
    ];
    for operation in &next {
        let _ = ledger.append(operation.clone()).unwrap();
    }
    let expected = (ledger.reader().state().digest(), ledger.reader().content_digest().unwrap());
    ledger.flush().unwrap();
    drop(ledger);
    let options: [fn() -> LedgerOptions<'static>; 4] = [
        LedgerOptions::new,
        || LedgerOptions::new().without_snapshots(),
        || LedgerOptions::new().index_records(),
        || LedgerOptions::new().index_records().without_snapshots(),
    ];
    for options in options {
        let copy = Arc::new(Memory::clone(&storage));
        let mut opened = options().open_in(copy).unwrap();
        assert_eq!((opened.reader().state().digest(), opened.reader().content_digest().unwrap()), expected);
        let one_more = Operation::retract(at(11), Target::Record(links[1]));
        let outcome = *opened.append(one_more).unwrap().outcome().unwrap();
        assert_eq!(outcome.undone, Some(Correction::Retracted { seq: links[1], moved_ids: 3 }));
        assert!(opened.reader().memory().postings > 0);
    }
}

#[test]
fn records_are_indexed_once_somebody_asks() {
    let storage = Arc::new(Memory::new());
    drop(people(storage.clone()));
    let reader = LedgerOptions::new().read_in(storage).unwrap();
    assert_eq!(reader.reader().memory().postings, 0, "nobody asked");
    assert!(reader.reader().history(Subject::Id("ann"), PageRequest::first(10)).unwrap().is_some());
    assert!(reader.reader().memory().postings > 0);
}

/// What is erased of a split are texts: sent again under its id it is still the same operation.
#[test]
fn a_split_sent_again_after_its_ids_were_erased_is_a_duplicate() {
    let (mut ledger, _) = people(Arc::new(Memory::new()));
    let split =
        |leaver: &str| Operation::split(at(5), id("ann"), [id(leaver)], SplitMode::Each).with_id(numbered(5));
    let recorded = ledger.append(split("phone of ann")).unwrap().seq().unwrap();
    let erased = ErasureSubject::Ids([id("phone of ann")].into());
    ledger.erase(&[ErasureRequest::new(at(6), erased, "")]).unwrap();
    let _ = ledger.append(Operation::properties(at(7), id("phone of ann"))).unwrap(); // the text is another id now
    assert_eq!(ledger.append(split("phone of ann")).unwrap(), Appended::Duplicate { seq: recorded });
    let two = Operation {
        id: Some(numbered(5)),
        ..Operation::split(at(5), id("ann"), [id("bob"), id("cat")], SplitMode::Each)
    };
    assert_eq!(ledger.append(two).unwrap(), Appended::Conflict { seq: recorded });
}

/// A reader that indexed a log before segments of it were written anew finds its records where they lie now, or in their frames; a
/// writer that had an index goes on with another.
#[test]
fn an_index_from_before_an_erasure_leads_nobody_astray() {
    let disk = Arc::new(Memory::new());
    let options = || LedgerOptions::new().seeded(1).segment_bytes(limits::MIN_SEGMENT_BYTES).index_records();
    let mut writer = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..200 {
        let user = format!("user-{}", number % 7);
        let said = link(number, &user, &format!("phone-{number}")).set("number", number).unwrap();
        let _ = writer.append(said).unwrap();
    }
    writer.flush().unwrap();
    let reader = options().read_in(disk.clone()).unwrap();
    let asked = |user: &str| {
        let page =
            reader.reader().history(Subject::Person(user), PageRequest::first(1_000)).unwrap().unwrap();
        (page.items, reader.why_not(user, "user-0").unwrap(), reader.explain(user, "phone-3").unwrap())
    };
    let users: Vec<String> = (0..7).map(|number| format!("user-{number}")).collect();
    let before: Vec<_> = users.iter().map(|user| asked(user)).collect();
    writer.erase(&[ErasureRequest::new(at(0), ErasureSubject::PersonOf(id("user-3")), "")]).unwrap();
    let after: Vec<_> = users.iter().map(|user| asked(user)).collect();
    assert_eq!(after, before);

    let history = writer.reader().history(Subject::Id("user-2"), PageRequest::first(3)).unwrap().unwrap();
    let first = history.items.iter().find(|entry| entry.op == "identify").unwrap().seq;
    let _ = writer.append(Operation::retract(at(1), Target::Record(first))).unwrap();
    assert_eq!(writer.reader().person("phone-2"), None);
    writer.flush().unwrap();
    let anew = LedgerOptions::new().without_snapshots().read_in(disk).unwrap();
    assert_eq!(anew.reader().state().digest(), writer.reader().state().digest());
}

/// A preview stopped the program: the retract leaves `phone` without a person, though it had founded one that was absorbed before, and where
/// something is erased each person of the component was asked for its name.
#[test]
fn a_preview_bears_an_absorbed_person_whose_founding_id_has_none_any_more() {
    let mut ledger = new_ledger();
    let phone = ledger.append(Operation::alias(at(1), id("phone"), Source::new("ann"))).unwrap();
    let _ = ledger.append(Operation::properties(at(2), id("bob"))).unwrap();
    let _ = ledger.append(Operation::merge_dangerously(at(3), id("bob"), Source::new("ann"))).unwrap();
    let _ = ledger.append(Operation::split(at(4), id("bob"), [id("bob")], SplitMode::Each)).unwrap();
    let subject = ErasureSubject::Ids([id("bob")].into());
    ledger.erase(&[ErasureRequest::new(at(5), subject, "asked")]).unwrap();
    let retract = Operation::retract(at(6), Target::Record(phone.seq().unwrap()));
    let foretold = ledger.reader().preview(&retract).unwrap();
    assert_eq!(foretold.appended, ledger.append(retract).unwrap());
    assert_eq!((ledger.reader().person("phone"), ledger.reader().person("ann").is_some()), (None, true));
}
