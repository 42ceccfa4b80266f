//! Erasing in a ledger that follows a log: the erasure is the log's, and what each follower took out of its files is its own.
#![cfg(feature = "testing")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::follow::{Content, Log, at, id, keyed, position, straight};
use crate::support::markers::{Search, marker};
use identity_ledger::audit::{AuditRemark, AuditReport};
use identity_ledger::backup::Backup;
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::export::{Row, Table};
use identity_ledger::follow::{Delivered, FollowError};
use identity_ledger::snapshot::DurabilityEvidence;
use identity_ledger::storage::Memory;
use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::disk::{SimulatedDisk, Subset};
use identity_ledger::*;

fn person(number: u64) -> DistinctId {
    id(&marker(number))
}

fn key(text: &str) -> PropertyKey {
    PropertyKey::new(text).unwrap()
}

fn everything_of(number: u64) -> ErasureRequest {
    ErasureRequest::new(at(9), ErasureSubject::PersonOf(person(number)), "request 17")
}

/// Texts of persons 1 and 2, and a value of 3, are erased in the end: all that the markers 1, 2, 101, 102 and 103 are.
fn log() -> Log {
    let said = |number: u64, plan: &str| {
        let operation = Operation::properties(at(1), person(number)).set("plan", plan).unwrap();
        operation.set("mail", marker(100 + number)).unwrap()
    };
    let mut contents: Vec<Content> =
        (1..6).map(|number| Content::Batch(vec![said(number, "free"), said(number, "team")])).collect();
    let phone = DeviceId::new("phone").unwrap();
    let speaks = Request::DeviceIdentify { device: phone.clone(), user: person(2) };
    contents.push(Content::Batch(vec![Operation::new(at(2), speaks)]));
    contents.push(Content::Erase(everything_of(1)));
    contents.push(Content::Erase(everything_of(1))); // the log has it twice: nothing is left to erase
    contents.push(Content::Erase(everything_of(3).with_keys([key("mail"), key("unheard")])));
    contents.push(Content::Erase(everything_of(2)));
    let pageview = Operation::new(at(3), Request::Set { who: Actor::Device(phone) }); // it was reset
    contents.push(Content::Batch(vec![pageview.set("plan", "team").unwrap()]));
    contents.push(Content::Batch(vec![said(1, "free")])); // the same text again: another person
    Log::of(contents, Policy::default(), &mut Chance::new(3))
}

/// Where the text that comes again comes again.
fn before_the_last(log: &Log) -> impl Iterator<Item = &super::follow::Message> {
    log.messages[..log.messages.len() - 1].iter()
}

fn erased() -> Search {
    Search::new(&[1, 2, 101, 102, 103].map(marker))
}

/// Nothing of it may be in any file, but for the ring.
fn search(disk: &SimulatedDisk, context: &str) {
    for (file, bytes) in disk.files() {
        if let Some((what, place)) = erased().found_in(&bytes) {
            panic!("{context}: {what} is in {file} at {place}");
        }
    }
}

fn audit(options: LedgerOptions<'static>, disk: &Arc<SimulatedDisk>) -> AuditReport {
    let report = options.audit_in(disk.clone()).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    report
}

fn is_pending(report: &AuditReport) -> bool {
    report.remarks.iter().any(|remark| matches!(remark, AuditRemark::PendingErasures(_)))
}

fn small() -> LedgerOptions<'static> {
    LedgerOptions::new().segment_bytes(1_024)
}

/// Power fails after each storage call between the first erasure's delivery and the end of the removal.
#[test]
fn a_follower_that_crashes_in_a_removal_has_the_head_of_one_that_does_not() {
    let log = log();
    let (heads, straight) = straight(&log);
    for sealed in [false, cfg!(feature = "encryption")] {
        let keyed = |options, disk: &Arc<SimulatedDisk>| if sealed { keyed(options, disk) } else { options };
        let disk = Arc::new(SimulatedDisk::new());
        let mut ledger = log.create(keyed(small(), &disk), disk.clone()).unwrap();
        for message in before_the_last(&log) {
            let is_first = position(&ledger) == log.messages[5].position;
            if is_first {
                ledger.snapshot().unwrap();
                assert!(disk.files().values().any(|bytes| erased().found_in(bytes).is_some()) || sealed);
                disk.keep_moments();
            }
            let _done = log.deliver(&mut ledger, message).unwrap();
        }
        assert_eq!(ledger.reader().erasures_pending(), 3);
        let receipts = ledger.finish_erasures(&mut |_| {}).unwrap();
        assert!(receipts.iter().all(|receipt| receipt.done && receipt.done_seq.is_none()), "{receipts:?}");
        assert_eq!(ledger.checkpoint(), heads[&position(&ledger)]);
        search(&disk, "without a crash");
        drop(ledger);
        let (mut finished, mut begun_again) = (0, 0);
        for (call, moment) in disk.moments() {
            for subset in Subset::all_or_some(moment.pending(), 2, 8, call) {
                let after = Arc::new(moment.crashed(&subset));
                let Ok(mut ledger) = keyed(LedgerOptions::new(), &after).open_in(after.clone()) else {
                    assert!(sealed, "call {call}"); // a crash in the midst of creating the ring of a test
                    continue;
                };
                let was_pending = ledger.recovery().erasures_pending > 0;
                finished += usize::from(was_pending);
                begun_again += usize::from(position(&ledger) < log.messages[9].position);
                assert_eq!(ledger.checkpoint(), heads[&position(&ledger)], "call {call}");
                assert_eq!(ledger.reader().erasures_pending(), 0);
                for message in before_the_last(&log) {
                    if message.position > position(&ledger) {
                        let _done = log.deliver(&mut ledger, message).unwrap();
                    }
                }
                drop(ledger.finish_erasures(&mut |_| {}).unwrap());
                assert_eq!(ledger.checkpoint(), heads[&position(&ledger)], "call {call}");
                drop(ledger);
                search(&after, &format!("call {call}"));
                assert!(!is_pending(&audit(keyed(LedgerOptions::new(), &after), &after)), "call {call}");
                let mut ledger = keyed(LedgerOptions::new(), &after).open_in(after.clone()).unwrap();
                log.catch_up(&mut ledger);
                assert_eq!(ledger.checkpoint(), straight.checkpoint(), "call {call}");
            }
        }
        assert!(finished > 20 && begun_again > 5, "{finished} {begun_again}");
    }
}

/// A copy says what is in its own files: a follower that has not removed yet, one that has, and backups of both.
#[test]
fn each_copy_says_what_is_left_in_its_own_files() {
    let log = log();
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = log.create(small(), disk.clone()).unwrap();
    for message in before_the_last(&log) {
        let _done = log.deliver(&mut ledger, message).unwrap();
    }
    ledger.flush().unwrap();
    assert!(is_pending(&audit(LedgerOptions::new(), &disk)));
    let mut reader = LedgerOptions::new().read_in(disk.clone()).unwrap();
    assert_eq!((reader.recovery().erasures_pending, reader.reader().erasures_pending()), (3, 3));
    assert_eq!(reader.reader().resolve(&marker(1)), None);

    let copy = Arc::new(SimulatedDisk::new());
    let report = Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
    assert_eq!(report.pending_erasures.len(), 3);
    assert!(is_pending(&audit(LedgerOptions::new(), &copy)));
    let receipts = ledger.finish_erasures(&mut |_| {}).unwrap();
    assert!(receipts.iter().all(|it| it.done && it.items.is_some_and(|items| items > 0)), "{receipts:?}");
    assert_eq!((receipts[0].segments.is_empty(), receipts.len()), (false, 3));
    assert_eq!(ledger.reader().erasures().unwrap(), receipts);
    let stats = ledger.reader().stats().unwrap();
    let bytes: u64 = disk.files().values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(stats.files.log.bytes + stats.files.other.bytes, bytes, "the receipt is counted");
    assert_eq!(stats.erased_items, receipts.iter().filter_map(|it| it.items).sum::<u64>());
    assert_eq!((reader.refresh().unwrap(), reader.recovery().erasures_pending), (0, 0));
    assert!(!is_pending(&audit(LedgerOptions::new(), &disk)));

    // The copy forgets with its next update, and says so; a new one is whole from its beginning.
    for copy in [copy, Arc::new(SimulatedDisk::new())] {
        for _ in 0..2 {
            let report = Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
            assert!(report.pending_erasures.is_empty());
            assert!(!is_pending(&audit(LedgerOptions::new(), &copy)));
            search(&copy, "the backup");
        }
        let restored = LedgerOptions::new().open_in(copy.clone()).unwrap();
        assert_eq!((restored.recovery().erasures_pending, restored.checkpoint()), (0, ledger.checkpoint()));
        assert_eq!(restored.reader().erasures().unwrap(), receipts);
    }

    // As of a record, and from a snapshot.
    let then = ledger.reader().as_of(receipts[0].seq, &mut |_| {}).unwrap();
    assert_eq!(then.erasures().unwrap(), receipts[..1]);
    ledger.snapshot().unwrap();
    drop(ledger);
    let ledger = LedgerOptions::new().open_in(disk).unwrap();
    assert!(ledger.recovery().from_snapshot.is_some());
    assert_eq!(ledger.reader().erasures().unwrap(), receipts);
}

#[test]
fn a_damaged_receipt_has_the_removal_done_again_and_a_lost_end_is_noticed() {
    let log = log();
    let disk = Arc::new(SimulatedDisk::new());
    let mut ledger = log.create(small(), disk.clone()).unwrap();
    log.catch_up(&mut ledger);
    let first = ledger.finish_erasures(&mut |_| {}).unwrap();
    drop(ledger);
    let receipt = disk.files().into_keys().find(|file| file.starts_with("receipts/")).unwrap();
    disk.flip(&receipt, 700).unwrap();
    let report = audit(LedgerOptions::new(), &disk);
    let named = [receipt.clone()];
    assert!(is_pending(&report));
    assert!(
        report
            .remarks
            .iter()
            .any(|remark| matches!(remark, AuditRemark::DamagedReceipts(names) if names[..] == named))
    );
    let ledger = LedgerOptions::new().open_in(disk.clone()).unwrap();
    assert_eq!(ledger.recovery().erasures_pending, 3);
    let items = |receipts: &[erase::Receipt]| receipts.iter().map(|it| it.items).collect::<Vec<_>>();
    let again = ledger.reader().erasures().unwrap();
    assert!(items(&again) == items(&first) && again[0].segments.is_empty(), "{again:?}");
    drop(ledger);
    assert!(audit(LedgerOptions::new(), &disk).remarks.is_empty());

    // The receipt says how long the log was.
    let last = disk.files().into_keys().filter(|file| file.starts_with("log/")).max().unwrap();
    disk.cut(&last, 200).unwrap();
    disk.cut("HEAD", 0).unwrap();
    match LedgerOptions::new().open_in(disk) {
        Err(OpenError::RolledBack { by, .. } | OpenError::Damaged { by, .. }) => {
            assert_eq!(by, DurabilityEvidence::Receipt)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_erased_is_rejected_by_every_follower_alike() {
    let mut chance = Chance::new(5);
    let wide = |number: usize| {
        let fields = (0..4).map(|field| (format!("f{field}"), "x".repeat(255_000 + number)));
        fields.fold(
            Operation::properties(at(1), id("ann")).set("mail", "m").unwrap(),
            |operation, (key, value)| operation.set(&key, value).unwrap(),
        )
    };
    let keys = |count: usize| (0..count).map(|number| key(&format!("k{number}"))).collect::<Vec<_>>();
    let many = |keys: &[PropertyKey]| {
        keys.iter().fold(Operation::properties(at(1), id("bob")), |operation, key| {
            operation.set(key.as_str(), 1).unwrap()
        })
    };
    let most = limits::MAX_OPERATION_KEYS;
    let of = |text: &str| ErasureRequest::new(at(9), ErasureSubject::Ids([id(text)].into()), "");
    let unheard = ErasureSubject::Person(PersonId(uuid::Uuid::nil()));
    let mut asked = vec![
        (of("unheard"), "knows no distinct id"),
        (ErasureRequest::new(at(9), ErasureSubject::Ids(BTreeSet::new()), ""), "names no distinct id"),
        (ErasureRequest::new(at(9), unheard, ""), "knows no person"),
        (ErasureRequest::new(at(9), ErasureSubject::ReasonOf(Seq(0)), ""), "gives no reason"),
        (of("ann").with_keys([key("plan")]), "no record has a value"),
        (ErasureRequest { reason: "r".repeat(limits::MAX_REASON_BYTES + 1), ..of("ann") }, "the reason has"),
        (of("bob").with_keys(keys(most + 1)), "names 1025 property keys"),
        (of("ann").with_keys([key("mail")]), "in a ledger that follows a log"),
    ];
    let mut contents: Vec<Content> = (0..17).map(|number| Content::Batch(vec![wide(number)])).collect();
    contents.push(Content::Batch(vec![many(&keys(most))]));
    contents.push(Content::Batch(vec![many(&keys(most + 1)[1..])]));
    let said = contents.len();
    contents.extend(asked.iter().map(|(request, _)| Content::Erase(request.clone())));
    contents.push(Content::Erase(of("bob").with_keys(keys(most))));
    contents.push(Content::Erase(of("ann"))); // all of it needs no value written again
    let log = Log::of(contents, Policy::default(), &mut chance);
    let mut ledger = log.create(LedgerOptions::new(), Arc::new(Memory::new())).unwrap();
    let mut records = 0;
    for (index, message) in log.messages.iter().enumerate() {
        let Content::Erase(request) = &message.content else {
            assert!(log.deliver(&mut ledger, message).unwrap().is_some());
            records = ledger.checkpoint().records;
            continue;
        };
        let delivered = ledger.erase_at(&log.delivery(message), request).unwrap();
        assert_eq!(position(&ledger), message.position);
        match asked.get(index - said) {
            None => assert!(matches!(delivered, Delivered::Taken(_)), "{delivered:?}"),
            Some((_, says)) => {
                let Delivered::Rejected(error) = delivered else { panic!("{says}: {delivered:?}") };
                assert!(error.to_string().contains(says) && error.is_about_request(), "{error}");
                records += 1;
                assert_eq!((ledger.checkpoint().records, ledger.reader().erasures_pending()), (records, 0));
            }
        }
    }
    assert_eq!(ledger.reader().erasures_pending(), 2);

    // An ordinary ledger takes as many frames as it needs.
    let mut other = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    for number in 0..17 {
        let _ = other.append(wide(number)).unwrap();
    }
    let (rectified, _) = asked.pop().unwrap();
    let receipts = other.erase(&[rectified]).unwrap();
    assert!(receipts.len() > 1 && receipts.iter().filter_map(|it| it.items).sum::<u64>() == 17);

    // What did not come from the log is refused, and where it would be no follower.
    let request = of("bob");
    let error = ledger.erase(std::slice::from_ref(&request)).unwrap_err();
    assert!(matches!(error, EraseError::Append(AppendError::Follows { .. })), "{error}");
    assert!(matches!(
        other.erase_at(&log.delivery(&log.messages[0]), &request),
        Err(FollowError::NotAFollower { .. })
    ));
    let preview = ledger.reader().preview_erasure(&request).unwrap();
    assert_eq!(preview.ids, ["bob"]);
}

/// When a follower removed it is in no row.
#[test]
fn exports_and_changes_of_followers_are_equal_whether_or_not_they_have_removed() {
    let log = log();
    let disk = Arc::new(SimulatedDisk::new());
    let mut removed = log.create(small(), disk).unwrap();
    log.catch_up(&mut removed);
    drop(removed.finish_erasures(&mut |_| {}).unwrap());
    let (_, straight) = straight(&log);
    let mut rows: Vec<Vec<Row>> = Vec::new();
    for ledger in [&removed, &straight] {
        let (mut all, since) = (Vec::new(), Seq(ledger.checkpoint().records / 2));
        ledger.reader().export().rows(Table::ALL, |row| all.push(row)).unwrap();
        ledger
            .reader()
            .changes(since, None)
            .unwrap()
            .rows(Table::ALL, |change| all.push(change.row))
            .unwrap();
        rows.push(all);
    }
    assert!(rows[0].len() > 30 && rows[0] == rows[1]);
    assert!(!format!("{rows:?}").contains(&marker(2)));
}

/// The texts that the stream's earlier messages need again are missing then: it cannot follow on to the erasure.
#[cfg(feature = "encryption")]
#[test]
fn a_sealed_copy_from_before_an_erasure_cannot_take_over_the_keys() {
    let log = log();
    let (disk, copy) = (Arc::new(SimulatedDisk::new()), Arc::new(SimulatedDisk::new()));
    let mut ledger = log.create(keyed(small(), &disk), disk.clone()).unwrap();
    for message in &log.messages[..4] {
        let _done = log.deliver(&mut ledger, message).unwrap();
    }
    ledger.flush().unwrap();
    assert!(
        matches!(ledger.refuse_erased_ids(true), Err(error) if error.to_string().contains("follows a log"))
    );
    Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
    log.catch_up(&mut ledger);
    drop(ledger.finish_erasures(&mut |_| {}).unwrap());
    drop(ledger);
    let before = copy.files();
    let opened = keyed(LedgerOptions::new(), &disk).adopt_keys().open_in(copy.clone());
    assert!(matches!(opened, Err(OpenError::FollowerOlderThanKeys { .. })), "{opened:?}");
    assert!(before.iter().all(|(file, bytes)| copy.files()[file] == *bytes), "nothing was changed");
    // One from after it can.
    let copy = Arc::new(SimulatedDisk::new());
    Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
    let opened = keyed(LedgerOptions::new(), &disk).adopt_keys().open_in(copy).unwrap();
    assert_eq!(opened.checkpoint(), straight(&log).1.checkpoint());
}
