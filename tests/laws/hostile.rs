//! Disks that fail, directories that lie: an acknowledged record is never lost, damage is named, nothing is half-applied.

#[path = "../support/failing.rs"]
mod failing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use failing::{Failing, NEVER};
use identity_ledger::audit::{Audit, AuditRemark};
use identity_ledger::log::Digest;
use identity_ledger::snapshot::DurabilityEvidence;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn operation(number: u128) -> Operation {
    let time = at(i64::try_from(number).unwrap());
    let name = format!("id-{}", number % 5);
    let operation = match number % 3 {
        0 => Operation::capture(time, id(&name), OperationId(uuid::Uuid::from_u128(number))),
        1 => Operation::identify(time, id("ann"), Some(Source::new(&name))),
        _ => Operation::properties(time, id(&name)),
    };
    operation.set("n", i64::try_from(number).unwrap()).unwrap()
}

/// Segments so small that the sample fills several.
fn small_segments() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(1_024)
}

#[test]
fn a_failed_write_gives_its_numbers_back() {
    let created = Arc::new(Memory::new());
    drop(small_segments().create_in(created.clone(), Tenant::default(), Policy::default()).unwrap());
    let disk = Failing::at(Memory::clone(&created), 2).for_ever(true); // opening syncs two directories
    let mut ledger = LedgerOptions::new().open_in(Arc::new(disk)).unwrap();
    let (records, digest) = (ledger.checkpoint().records, ledger.reader().state().digest());
    assert!(ledger.append(operation(1)).is_err());
    assert_eq!((ledger.checkpoint().records, ledger.reader().state().digest()), (records, digest));
    assert_eq!((ledger.reader().id_no("ann"), ledger.resolve("ann")), (None, None));
}

/// Several segments, closed.
fn filled() -> Memory {
    let disk = Arc::new(Memory::new());
    let mut ledger = small_segments().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..30 {
        assert!(ledger.append(operation(number)).unwrap().outcome().is_some());
    }
    drop(ledger);
    assert!(disk.list("log").unwrap().len() >= 3, "the sample fills several segments");
    Memory::clone(&disk)
}

fn segments(disk: &Memory) -> Vec<String> {
    let mut names = disk.list("log").unwrap();
    names.sort();
    names.iter().map(|name| format!("log/{name}")).collect()
}

fn read(disk: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &Memory, file: &str, bytes: &[u8]) {
    disk.truncate(file, 0).unwrap();
    disk.write_at(file, 0, bytes).unwrap();
}

fn opening(disk: &Memory) -> Result<Ledger, OpenError> {
    LedgerOptions::new().open_in(Arc::new(disk.clone()))
}

fn first_fault(disk: &Memory) -> String {
    let report = Audit::run_in(Arc::new(disk.clone()), None, &mut |_| {}).unwrap();
    assert!(!report.is_ok(), "the audit noticed nothing");
    report.faults[0].to_string()
}

#[test]
fn a_missing_swapped_or_doubled_segment_is_named() {
    let whole = filled();
    assert!(opening(&whole).is_ok());
    let names = segments(&whole);

    let disk = whole.clone();
    disk.remove(&names[1]).unwrap();
    assert!(matches!(opening(&disk), Err(OpenError::Damaged { .. })));
    assert!(first_fault(&disk).contains("a segment is missing"), "{}", first_fault(&disk));

    let disk = whole.clone();
    disk.remove(names.last().unwrap()).unwrap();
    assert!(matches!(opening(&disk), Err(OpenError::RolledBack { .. })));
    assert!(first_fault(&disk).contains("rolled back"));

    let disk = whole.clone();
    let (a, b) = (read(&disk, &names[1]), read(&disk, &names[2]));
    write(&disk, &names[1], &b);
    write(&disk, &names[2], &a);
    assert!(matches!(opening(&disk), Err(OpenError::Damaged { .. })));

    // The next segment could not be begun where another lies under its name.
    let disk = whole.clone();
    let last = format!("log/{:020}.seg", opening(&whole).unwrap().checkpoint().records);
    disk.rename(names.last().unwrap(), &last).unwrap();
    assert!(matches!(opening(&disk), Err(OpenError::Damaged { .. } | OpenError::RolledBack { .. })));
    assert!(first_fault(&disk).contains("in the wrong place"), "{}", first_fault(&disk));

    let other = {
        let disk = Arc::new(Memory::new());
        let options = small_segments().seeded(2);
        drop(options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
        read(&disk, "log/00000000000000000000.seg")
    };
    let disk = whole.clone();
    write(&disk, &names[0], &other);
    assert!(first_fault(&disk).contains("belongs to ledger"), "{}", first_fault(&disk));
}

#[test]
fn a_segment_of_another_ledger_or_place_is_refused_and_left_alone() {
    let whole = filled();
    let (records, names) = (opening(&whole).unwrap().checkpoint().records, segments(&whole));
    let foreign = {
        let disk = Arc::new(Memory::new());
        let options = small_segments().seeded(2);
        drop(options.create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
        read(&disk, "log/00000000000000000000.seg")
    };
    for bytes in [foreign, read(&whole, &names[1])] {
        let disk = whole.clone();
        let name = format!("log/{records:020}.seg");
        disk.create(&name).unwrap();
        disk.write_at(&name, 0, &bytes).unwrap();
        let error = opening(&disk).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(read(&disk, &name), bytes);
    }
}

#[test]
fn after_an_unclean_end_the_last_segment_is_written_anew() {
    let disk = filled();
    let closed = disk.clone();
    let last = segments(&disk).pop().unwrap();
    // Both slots of HEAD gone back to the beginning: whatever is in the last segment may be nothing but a readable page.
    disk.truncate("HEAD", 0).unwrap();
    disk.create(&format!("{last}.new")).unwrap(); // an earlier recovery got so far
    let before = read(&disk, &last);
    let reopened = Arc::new(Failing::at(disk.clone(), NEVER));
    let ledger = LedgerOptions::new().open_in(reopened.clone()).unwrap();
    let calls = NEVER - reopened.calls_left.load(Ordering::SeqCst);
    assert!(ledger.recovery().head_missing);
    drop(ledger);
    assert_eq!(read(&reopened.inner, &last), before);
    assert_eq!(segments(&reopened.inner), segments(&closed), "nothing else is left in the log's directory");
    assert!(calls >= 6, "remove, create, write, sync, rename, sync of the directory: {calls} calls");

    // After a clean end nothing is written; two directories are synced, for the names in them.
    let untouched = Arc::new(Failing::at(closed, 2).for_ever(true));
    assert!(LedgerOptions::new().open_in(untouched).unwrap().recovery().is_clean());
}

#[test]
fn every_flip_in_every_file_is_noticed_or_proven_harmless() {
    let whole = filled();
    let digest = opening(&whole).unwrap().reader().state().digest();
    for file in segments(&whole) {
        let bytes = read(&whole, &file);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let disk = whole.clone();
            write(&disk, &file, &damaged);
            assert!(matches!(opening(&disk), Err(OpenError::Damaged { .. })), "{file} bit {bit}");
            let reader = LedgerOptions::new().read_in(Arc::new(disk));
            assert!(matches!(reader, Err(OpenError::Damaged { .. })), "{file} bit {bit}");
        }
    }
    // HEAD has two slots, with nothing between them: one flip loses at most one witness, the log itself is untouched, and an audit
    // remarks it.
    let head = read(&whole, "HEAD");
    for bit in (0..88 * 8).chain((88 * 8..4_096 * 8).step_by(509)).chain(4_096 * 8..head.len() * 8) {
        let mut damaged = head.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let disk = whole.clone();
        write(&disk, "HEAD", &damaged);
        let audited = Audit::run_in(Arc::new(disk.clone()), None, &mut |_| {}).unwrap();
        assert_eq!(
            (audited.is_ok(), &audited.remarks[..]),
            (true, &[AuditRemark::HeadSlot][..]),
            "bit {bit}"
        );
        assert_eq!(opening(&disk).unwrap().reader().state().digest(), digest, "bit {bit}");
    }
}

#[test]
fn every_cut_of_the_last_segment_is_damage_and_without_head_at_worst_torn() {
    let whole = filled();
    let last = segments(&whole).pop().unwrap();
    let bytes = read(&whole, &last);
    for len in 0..bytes.len() {
        let disk = whole.clone();
        write(&disk, &last, &bytes[..len]);
        let error = opening(&disk).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::RolledBack { .. }),
            "cut to {len}: {error}"
        );
        // Without the witness a cut is a cut: the ledger opens with a prefix, says so, and goes on.
        disk.remove("HEAD").unwrap();
        match opening(&disk) {
            Ok(mut ledger) => {
                assert!(ledger.recovery().head_missing);
                assert!(ledger.append(operation(1_000_000)).unwrap().outcome().is_some());
            }
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "cut to {len}: {error}"),
        }
    }
}

/// The records that are lost, from and to, and who saw them.
fn lost(opened: Result<Ledger, OpenError>) -> (u64, u64, DurabilityEvidence) {
    match opened {
        Err(OpenError::Damaged { from, to, by, .. }) => (from, to, by),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_names_the_records_that_are_lost_and_who_saw_most_of_them() {
    let disk = filled();
    let (records, second) = (opening(&disk).unwrap().checkpoint().records, segments(&disk).swap_remove(1));
    let from: u64 = second[4..24].parse().unwrap();
    let mut bytes = read(&disk, &second);
    bytes[100] ^= 1;
    write(&disk, &second, &bytes);
    assert_eq!(lost(opening(&disk)), (from, records - 1, DurabilityEvidence::Head));
    disk.remove("HEAD").unwrap();
    let (same, to, by) = lost(opening(&disk));
    assert_eq!(
        (same, by),
        (from, DurabilityEvidence::LaterFrame),
        "each frame tells what was durable before it"
    );
    assert!(from < to && to < records - 1, "{to}");
}

/// A segment is begun after the one before it was synced: what is behind the end of that is no torn tail, even if all that anybody
/// saw is before it.
#[test]
fn a_later_segment_proves_that_the_one_before_it_was_whole() {
    let disk = Arc::new(Memory::new());
    let mut ledger = small_segments().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    let mut seen = ledger.checkpoint();
    for number in 0.. {
        let _ = ledger.append(operation(number)).unwrap();
        if segments(&disk).len() == 2 {
            break;
        }
        seen = ledger.checkpoint();
    }
    drop(ledger);
    let names = segments(&disk);
    disk.remove("HEAD").unwrap();
    let header = read(&disk, &names[1])[..96].to_vec();
    write(&disk, &names[1], &header);
    let expecting = || LedgerOptions::new().expect(seen).open_in(Arc::new(Memory::clone(&disk)));
    assert_eq!(expecting().unwrap().checkpoint(), seen);
    disk.write_at(&names[0], disk.len(&names[0]).unwrap().unwrap(), &[0xF5; 7]).unwrap();
    assert_eq!(lost(expecting()), (seen.records, seen.records, DurabilityEvidence::LaterSegment));
}

#[test]
fn a_disk_that_fails_while_a_ledger_is_opened_is_no_damage() {
    let whole = filled();
    for calls in 0.. {
        let disk = Arc::new(Failing::at(whole.clone(), calls).reads());
        match LedgerOptions::new().open_in(disk.clone()) {
            Err(error) => assert!(
                matches!(error, OpenError::Io { .. } | OpenError::Identity(_)),
                "call {calls}: {error}"
            ),
            Ok(_) if disk.calls_left.load(Ordering::SeqCst) >= 0 => break,
            Ok(_) => {}
        }
    }
}

#[test]
fn a_torn_tail_that_cannot_be_kept_is_not_cut() {
    let disk = filled();
    let last = segments(&disk).pop().unwrap();
    disk.write_at(&last, disk.len(&last).unwrap().unwrap(), &[0xF5; 7]).unwrap();
    let torn = read(&disk, &last);
    let failing = Arc::new(Failing::at(disk.clone(), 0).for_ever(true));
    let opened = LedgerOptions::new().open_in(failing.clone());
    assert!(matches!(opened, Err(OpenError::Io { .. })), "{opened:?}");
    assert_eq!(read(&failing.inner, &last), torn);
    assert_eq!(opening(&disk).unwrap().recovery().torn.as_ref().map(|torn| torn.bytes), Some(7));
}

#[test]
fn an_outside_checkpoint_proves_a_fork_and_a_rollback() {
    let disk = filled();
    let checkpoint = opening(&disk).unwrap().checkpoint();
    let expecting = |checkpoint| LedgerOptions::new().expect(checkpoint).open_in(Arc::new(disk.clone()));
    assert!(expecting(checkpoint).is_ok());
    let further = Checkpoint { records: checkpoint.records + 1, ..checkpoint };
    assert!(matches!(
        expecting(further),
        Err(OpenError::RolledBack { by: DurabilityEvidence::Checkpoint, .. })
    ));
    let other = Checkpoint { head: Digest([0; 32]), ..checkpoint };
    assert!(matches!(expecting(other), Err(OpenError::Forked { by: DurabilityEvidence::Checkpoint, .. })));
}

#[test]
fn a_directory_that_is_no_ledger_and_a_second_ledger_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Ledger::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("is not a ledger"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was left behind");
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let create = || Ledger::create(dir.path(), Tenant::default(), Policy::default());
    assert!(matches!(create(), Err(CreateError::NotEmpty { .. })));
    std::fs::remove_file(dir.path().join("notes.txt")).unwrap();
    drop(create().unwrap());
    assert!(matches!(create(), Err(CreateError::Exists { .. })));
}

#[test]
fn segment_size_and_batch_length_have_edges() {
    let create = |bytes| {
        let options = LedgerOptions::new().segment_bytes(bytes);
        options.create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default())
    };
    assert!(create(limits::MIN_SEGMENT_BYTES).is_ok());
    assert!(matches!(create(limits::MIN_SEGMENT_BYTES - 1), Err(CreateError::SegmentTooSmall { .. })));

    let mut ledger = create(limits::MIN_SEGMENT_BYTES).unwrap();
    let batch = |len: usize| vec![Operation::properties(at(0), id("a")); len];
    let full = ledger.append_batch(&batch(limits::MAX_BATCH_OPERATIONS)).unwrap();
    assert_eq!(full.len(), limits::MAX_BATCH_OPERATIONS);
    let error = ledger.append_batch(&batch(limits::MAX_BATCH_OPERATIONS + 1)).unwrap_err();
    assert!(matches!(error, AppendError::BatchTooLarge { .. }));
}

#[test]
fn a_batch_with_one_bad_operation_records_nothing_and_names_it() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let before = (ledger.checkpoint(), ledger.reader().state().digest());
    let mut batch: Vec<Operation> = (0..5).map(operation).collect();
    batch[3] = Operation::properties(at(0), id("a")).set("k", "x".repeat(limits::MAX_VALUE_BYTES)).unwrap();
    let error = ledger.append_batch(&batch).unwrap_err();
    assert!(error.to_string().starts_with("operation 3: property `k`: a value takes"), "{error}");
    assert_eq!((ledger.checkpoint(), ledger.reader().state().digest()), before);
    assert_eq!(ledger.reader().id_no("id-0"), None);
}

#[test]
fn a_person_holds_so_many_keys_and_no_more() {
    let keys = |from: usize, count: usize| {
        let mut operation = Operation::properties(at(0), id("a"));
        for key in from..from + count {
            operation = operation.set(&format!("k{key}"), 1).unwrap();
        }
        operation
    };
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    for from in (0..limits::MAX_PERSON_KEYS).step_by(1_000) {
        assert!(ledger.append(keys(from, 1_000)).unwrap().outcome().is_some());
    }
    let error = ledger.append(keys(limits::MAX_PERSON_KEYS, 1)).unwrap_err();
    assert!(
        matches!(error, AppendError::TooManyPersonKeys { index: 0, found } if found == limits::MAX_PERSON_KEYS + 1)
    );
    // A key that is there already is no new key, alone or in a batch of its own.
    assert!(ledger.append(keys(0, 1)).unwrap().outcome().is_some());
    // A link that would pile up too many is an error; one that is refused anyway is a refusal.
    let other = keys(limits::MAX_PERSON_KEYS, 1);
    let other = Operation { request: Request::Set { who: id("b").into() }, ..other };
    assert!(ledger.append(other).unwrap().outcome().is_some());
    let link = Operation::alias(at(1), id("a"), id("b"));
    assert!(matches!(ledger.append(link.clone()), Err(AppendError::TooManyPersonKeys { .. })));
    assert!(
        ledger
            .append(Operation::identify(at(1), id("b"), Some(Source::new("c"))))
            .unwrap()
            .outcome()
            .is_some()
    );
    let refused = ledger.append(link).unwrap();
    assert_eq!(refused.outcome().unwrap().refusal.unwrap().rule(), "D6");
}
