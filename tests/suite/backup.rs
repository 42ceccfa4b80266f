//! Backups: the copy of a ledger at work is whole, verified, goes on where it was, and touches nothing that is not its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::support::failing::{Failing, NEVER};
use identity_ledger::audit::Audit;
use identity_ledger::backup::{Backup, BackupError, BackupReport};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
#[cfg(feature = "testing")]
use identity_ledger::salvage::Salvage;
use identity_ledger::storage::{IdentityError, Memory, Storage};
use identity_ledger::*;

fn operation(number: u64) -> Operation {
    let time = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let name = format!("id-{}", number % 7);
    let operation = match number % 3 {
        0 => {
            let id = OperationId(uuid::Uuid::from_u128(number.into()));
            Operation::capture(time, DistinctId::new(name).unwrap(), id)
        }
        1 => Operation::identify(time, DistinctId::new("ann").unwrap(), Some(Source::new(&name))),
        _ => Operation::properties(time, DistinctId::new(name).unwrap()),
    };
    operation.set("n", i64::try_from(number).unwrap()).unwrap()
}

fn small_segments(seed: u64) -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(seed).segment_bytes(1_024)
}

/// A closed ledger of several segments.
fn ledger(seed: u64, operations: u64) -> Arc<Memory> {
    let disk = Arc::new(Memory::new());
    let mut ledger =
        small_segments(seed).create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..operations {
        let _ = ledger.append(operation(number)).unwrap();
    }
    disk
}

fn append(disk: &Arc<Memory>, numbers: std::ops::Range<u64>) {
    let mut ledger = small_segments(9).open_in(disk.clone()).unwrap();
    for number in numbers {
        let _ = ledger.append(operation(number)).unwrap();
    }
}

fn back_up(source: &Arc<Memory>, dest: &Arc<Memory>) -> Result<BackupReport, BackupError> {
    Backup::run_in(source.clone(), dest.clone(), &mut |_| {})
}

/// Every file of a storage, with its bytes.
fn files(disk: &dyn Storage) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list("").unwrap();
    names.retain(|name| name != "log" && name != "LOCK");
    names.extend(disk.list("log").unwrap().into_iter().map(|name| format!("log/{name}")));
    names.sort();
    let content = |name: String| {
        let mut bytes = vec![0; usize::try_from(disk.len(&name).unwrap().unwrap()).unwrap()];
        disk.read_at(&name, 0, &mut bytes).unwrap();
        (name, bytes)
    };
    names.into_iter().map(content).collect()
}

fn log_files(disk: &dyn Storage) -> Vec<(String, Vec<u8>)> {
    files(disk).into_iter().filter(|(name, _)| name.starts_with("log/")).collect()
}

/// The copy is the source: its log byte for byte, what it means, and an auditor agrees.
#[track_caller]
fn assert_same(source: &Memory, dest: &Memory) {
    assert_eq!(log_files(source), log_files(dest));
    assert!(Audit::run_in(Arc::new(dest.clone()), None, &mut |_| {}).unwrap().is_ok());
    let open = |disk: &Memory| LedgerOptions::new().read_in(Arc::new(disk.clone())).unwrap();
    let (ours, theirs) = (open(dest), open(source));
    assert_eq!(ours.checkpoint(), theirs.checkpoint());
    assert_eq!(ours.reader().content_digest().unwrap(), theirs.reader().content_digest().unwrap());
    assert!(ours.recovery().is_clean());
}

#[test]
fn a_copy_is_the_ledger_and_an_update_copies_only_what_is_new() {
    let (source, dest) = (ledger(1, 30), Arc::new(Memory::new()));
    let before = files(&*source);
    let first = back_up(&source, &dest).unwrap();
    assert_eq!(files(&*source), before, "the source is never written");
    assert_same(&source, &dest);
    assert_eq!(first.kept_bytes, 0);

    let again = back_up(&source, &dest).unwrap();
    assert_eq!((again.checkpoint, again.copied_bytes), (first.checkpoint, 0));
    assert_eq!(again.kept_bytes, first.copied_bytes);

    append(&source, 30..50);
    let update = back_up(&source, &dest).unwrap();
    assert_same(&source, &dest);
    assert_eq!(update.kept_bytes, first.copied_bytes);
    assert!(update.checkpoint.records > first.checkpoint.records);

    // Restoring is opening the copy, also for writing.
    let mut restored = LedgerOptions::new().open_in(dest.clone()).unwrap();
    assert!(restored.recovery().is_clean());
    let _ = restored.append(operation(1_000)).unwrap();
}

/// What a cut-off backup leaves is no ledger yet, or one that ends at a checkpoint of the source; a second run completes it.
#[track_caller]
fn assert_can_be_completed(source: &Arc<Memory>, left: &Memory, earlier: Option<u64>) {
    match LedgerOptions::new().read_in(Arc::new(left.clone())) {
        Ok(reader) => {
            let least = earlier.unwrap_or_else(|| {
                LedgerOptions::new().read_in(source.clone()).unwrap().checkpoint().records
            });
            assert!(reader.checkpoint().records >= least, "a half-made copy does not pass for a whole one");
            LedgerOptions::new().expect(reader.checkpoint()).read_in(source.clone()).unwrap();
        }
        Err(error) => {
            let no_ledger = matches!(
                error,
                OpenError::Identity(IdentityError::Missing { .. } | IdentityError::Unfinished { .. })
            );
            assert!(no_ledger && earlier.is_none(), "{error}");
        }
    }
    let dest = Arc::new(left.clone());
    back_up(source, &dest).unwrap();
    assert_same(source, &dest);
}

/// Reads fail too, and a failing write leaves half behind.
fn failing(inner: Memory, call: i64, for_ever: bool) -> Failing {
    Failing::at(inner, call).for_ever(for_ever).half(true).reads()
}

#[test]
fn whichever_call_fails_the_next_run_completes_the_copy() {
    let source = ledger(1, 25);
    let older = Arc::new(Memory::new());
    back_up(&source, &older).unwrap();
    let earlier = LedgerOptions::new().read_in(older.clone()).unwrap().checkpoint().records;
    append(&source, 25..45);
    for (start, earlier) in [(Memory::new(), None), (Memory::clone(&older), Some(earlier))] {
        for (at_source, for_ever) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut calls = 0;
            loop {
                let fails = |here: bool| if here { calls } else { NEVER };
                let from = Arc::new(failing(Memory::clone(&source), fails(at_source), for_ever));
                let to = Arc::new(failing(start.clone(), fails(!at_source), for_ever));
                let done = Backup::run_in(from, to.clone(), &mut |_| {});
                assert_can_be_completed(&source, &to.inner, earlier);
                match done {
                    Ok(_) if calls > 20 => break,
                    Ok(_) => {} // a failure that did not matter, such as of a second look
                    Err(BackupError::Io { .. } | BackupError::Identity(IdentityError::Io { .. })) => {}
                    Err(error) => panic!("call {calls}: {error}"),
                }
                calls += 1;
            }
        }
    }
}

/// An update that forgets rewrites segments. Cut off there, the copy once lacked items without the record that erased them, which is
/// damage.
#[cfg(feature = "testing")]
#[test]
fn a_copy_whose_update_was_cut_off_while_it_forgot_is_unfinished_and_not_damaged() {
    use identity_ledger::testing::disk::{SimulatedDisk, Subset};
    let source = ledger(1, 30);
    let dest = Arc::new(SimulatedDisk::new());
    let earlier = Backup::run_in(source.clone(), dest.clone(), &mut |_| {}).unwrap().checkpoint;
    let mut writer = small_segments(9).open_in(source.clone()).unwrap();
    for name in ["id-1", "id-3"] {
        let ids = ErasureSubject::Ids([DistinctId::new(name).unwrap()].into());
        writer.erase(&[ErasureRequest::new(Timestamp::from_micros(9).unwrap(), ids, "")]).unwrap();
        let _ = writer.append(operation(32)).unwrap();
    }
    drop(writer);
    dest.keep_moments();
    let last = Backup::run_in(source.clone(), dest.clone(), &mut |_| {}).unwrap().checkpoint;
    let (mut earlier_ones, mut unfinished, mut done) = (0, 0, 0);
    for (call, moment) in dest.moments() {
        for subset in Subset::all_or_some(moment.pending(), 4, 12, 1) {
            let place = format!("call {call} {subset}");
            let left = Arc::new(moment.crashed(&subset));
            match Audit::run_in(left.clone(), None, &mut |_| {}) {
                Ok(audit) => {
                    assert!(audit.is_ok(), "{place}: {:?}", audit.faults);
                    earlier_ones += usize::from(audit.records == earlier.records);
                    done += usize::from(audit.records == last.records);
                    LedgerOptions::new().read_in(left.clone()).unwrap();
                }
                Err(OpenError::Identity(IdentityError::Unfinished { .. })) => {
                    unfinished += 1;
                    let salvage = Salvage::look_in(left.clone(), Some(earlier), &mut |_| {}).unwrap();
                    let held = salvage.report().prefix.records;
                    assert!(held >= earlier.records, "{place}: {held}");
                    let opened = LedgerOptions::new().read_in(left.clone()).unwrap_err();
                    assert!(matches!(opened, OpenError::Identity(IdentityError::Unfinished { .. })));
                }
                Err(error) => panic!("{place}: {error}"),
            }
            assert_eq!(
                Backup::run_in(source.clone(), left.clone(), &mut |_| {}).unwrap().checkpoint,
                last,
                "{place}"
            );
            let audit = Audit::run_in(left, Some(last), &mut |_| {}).unwrap();
            assert!(audit.is_ok(), "{place}: {:?}", audit.faults);
        }
    }
    assert!(earlier_ones > 0 && unfinished > 10 && done > 0, "{earlier_ones} {unfinished} {done}");
}

#[test]
fn backups_beside_a_writer_are_whole_and_hold_what_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dest) = (dir.path().join("a.ledger"), dir.path().join("copy"));
    let mut writer = small_segments(3).segment_bytes(4_096);
    writer = writer.durability(Durability::Immediate);
    let mut writer = writer.create(&source, Tenant::default(), Policy::default()).unwrap();
    let (go, turns) = sync_channel(0);
    std::thread::scope(|scope| {
        let writer = &mut writer;
        scope.spawn(move || {
            for number in turns.into_iter().flatten() {
                let _ = writer.append(operation(number)).unwrap();
            }
        });
        let (mut last, mut written) = (0, 0);
        for round in 0..25 {
            let durable = ReadOnlyLedger::open(&source).unwrap().checkpoint();
            let fresh = dir.path().join(format!("copy-{round}"));
            for dest in [&dest, &fresh] {
                go.send(written..written + 20).expect("the writer waits for its turn"); // and now it writes
                written += 20;
                let report = Backup::run(&source, dest, &mut |_| {}).unwrap();
                assert!(report.checkpoint.records >= durable.records.max(last));
                let audit = Audit::run(dest, Some(durable), &mut |_| {}).unwrap();
                assert!(audit.is_ok() && audit.tail.is_none(), "{audit:?}");
                assert_eq!(audit.records, report.checkpoint.records);
                let reader = LedgerOptions::new().expect(report.checkpoint).open_read_only(dest).unwrap();
                assert_eq!(reader.checkpoint(), report.checkpoint);
                last = report.checkpoint.records;
            }
        }
        drop(go);
    });
    drop(writer);
    let report = Backup::run(&source, &dest, &mut |_| {}).unwrap();
    assert_eq!(report.checkpoint, ReadOnlyLedger::open(&source).unwrap().checkpoint());
}

#[track_caller]
/// On a disk, where a writer checks that its `LEDGER` is the file that it opened: the copy gives its own another name while it forgets.
#[test]
fn a_copy_on_a_disk_forgets_what_was_erased_since() {
    let dir = tempfile::tempdir().unwrap();
    let [source, dest] = ["source", "dest"].map(|name| dir.path().join(name));
    let mut ledger = small_segments(1).create(&source, Tenant::default(), Policy::default()).unwrap();
    let batch: Vec<Operation> = (0..60).map(operation).collect();
    drop(ledger.append_batch(&batch).unwrap());
    for erased in ["id-1", "ann"] {
        Backup::run(&source, &dest, &mut |_| {}).unwrap();
        let at = Timestamp::from_micros(90).unwrap();
        let subject = ErasureSubject::Ids([DistinctId::new(erased).unwrap()].into());
        assert!(!ledger.erase(&[ErasureRequest::new(at, subject, "asked")]).unwrap().is_empty());
        let report = Backup::run(&source, &dest, &mut |_| {}).unwrap();
        assert_eq!(report.pending_erasures, []);
        assert!(Audit::run(&dest, Some(report.checkpoint), &mut |_| {}).unwrap().is_ok());
        assert_eq!(ReadOnlyLedger::open(&dest).unwrap().reader().id_no(erased), None);
    }
}

/// The source still holds what the copy has forgotten: other bytes, and no damage.
#[test]
fn an_older_source_does_not_make_the_copy_a_damaged_one() {
    let source = ledger(1, 20);
    let older = Arc::new(Memory::clone(&source));
    let mut writer = small_segments(9).open_in(source.clone()).unwrap();
    let ids = ErasureSubject::Ids([DistinctId::new("id-1").unwrap()].into());
    writer.erase(&[ErasureRequest::new(Timestamp::from_micros(90).unwrap(), ids, "asked")]).unwrap();
    drop(writer);
    let dest = Arc::new(Memory::new());
    back_up(&source, &dest).unwrap();
    assert_refused(&older, &dest, |error| matches!(error, BackupError::Ahead { .. }));
}

fn assert_refused(source: &Arc<Memory>, dest: &Arc<Memory>, is: fn(&BackupError) -> bool) {
    let before = files(&**dest);
    let error = back_up(source, dest).unwrap_err();
    assert!(is(&error), "{error:?}");
    assert_eq!(files(&**dest), before, "a refused place stays as it is");
}

#[test]
fn a_place_that_is_not_the_copys_is_left_alone() {
    let source = ledger(1, 20);

    assert_refused(&source, &ledger(2, 5), |error| matches!(error, BackupError::OtherLedger { .. }));

    let notes = Arc::new(Memory::new());
    notes.create("notes.txt").unwrap();
    assert_refused(&source, &notes, |error| matches!(error, BackupError::NotEmpty { .. }));

    let fork = Arc::new(Memory::new());
    back_up(&source, &fork).unwrap();
    let ahead = Arc::new(Memory::clone(&fork));
    append(&fork, 100..103);
    append(&source, 20..25);
    assert_refused(&source, &fork, |error| matches!(error, BackupError::Forked { .. }));

    append(&ahead, 20..23); // the same words, other salts
    let rolled_back = ledger(1, 20);
    assert_refused(&rolled_back, &ahead, |error| matches!(error, BackupError::Ahead { .. }));

    let headless = Arc::new(Memory::new());
    back_up(&source, &headless).unwrap();
    headless.remove("HEAD").unwrap();
    assert_refused(&source, &headless, |error| matches!(error, BackupError::DamagedCopy { .. }));

    let open = Arc::new(Memory::new());
    back_up(&source, &open).unwrap();
    append(&source, 25..30);
    let _writer = LedgerOptions::new().open_in(open.clone()).unwrap();
    assert_refused(&source, &open, |error| matches!(error, BackupError::Locked { .. }));
}

#[test]
fn a_copy_written_to_behind_its_head_is_a_fork_too() {
    let source = ledger(1, 20);
    let copy = Arc::new(Memory::new());
    back_up(&source, &copy).unwrap();
    let head = files(&*copy).into_iter().find(|(name, _)| name == "HEAD").unwrap().1;
    append(&copy, 100..101);
    copy.truncate("HEAD", 0).unwrap();
    copy.write_at("HEAD", 0, &head).unwrap();
    append(&source, 20..25);
    assert_refused(&source, &copy, |error| matches!(error, BackupError::Forked { .. }));
}

#[test]
fn every_damaged_byte_of_source_or_copy_stops_a_backup() {
    let source = ledger(1, 12);
    let copy = Arc::new(Memory::new());
    back_up(&source, &copy).unwrap();
    for (name, bytes) in log_files(&*source) {
        for (at, byte) in bytes.iter().enumerate() {
            let flip = |disk: &Arc<Memory>| {
                let damaged = Arc::new(Memory::clone(disk));
                damaged.write_at(&name, at as u64, &[byte ^ 0x10]).unwrap();
                damaged
            };
            let error = back_up(&flip(&source), &Arc::new(Memory::new())).unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "{name} at {at}: {error:?}");
            assert_refused(&source, &flip(&copy), |error| matches!(error, BackupError::DamagedCopy { .. }));
            let error = back_up(&flip(&source), &copy).unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "{name} at {at}: {error:?}");
        }
    }
}

#[test]
fn without_head_the_copy_ends_with_the_last_whole_frame() {
    let source = ledger(1, 12);
    let (name, bytes) = log_files(&*source).pop().unwrap();
    let end = LedgerOptions::new().read_in(source.clone()).unwrap().checkpoint().records;
    source.remove("HEAD").unwrap();
    let dest = Arc::new(Memory::new());
    assert_eq!(back_up(&source, &dest).unwrap().checkpoint.records, end);
    source.truncate(&name, bytes.len() as u64 - 5).unwrap();
    let dest = Arc::new(Memory::new());
    assert!(back_up(&source, &dest).unwrap().checkpoint.records < end, "a torn tail stays behind");
    assert!(Audit::run_in(dest, None, &mut |_| {}).unwrap().tail.is_none());
}

#[test]
fn with_head_a_cut_log_is_no_source() {
    let source = ledger(1, 12);
    let (name, bytes) = log_files(&*source).pop().unwrap();
    for len in 0..bytes.len() {
        let cut = Arc::new(Memory::clone(&source));
        cut.truncate(&name, len as u64).unwrap();
        let error = back_up(&cut, &Arc::new(Memory::new())).unwrap_err();
        let named = matches!(error, BackupError::Damaged { .. } | BackupError::RolledBack { .. });
        assert!(named, "{len}: {error:?}");
    }
}

#[test]
fn a_copy_lies_outside_its_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("a.ledger");
    drop(Ledger::create(&source, Tenant::default(), Policy::default()).unwrap());
    let inside =
        |dest: &Path| matches!(Backup::run(&source, dest, &mut |_| {}), Err(BackupError::Inside { .. }));
    assert!(inside(&source));
    assert!(inside(&source.join("copy")));
    assert!(inside(dir.path()));
    assert!(!source.join("copy").exists());
    let missing = Backup::run(&dir.path().join("none"), &dir.path().join("copy"), &mut |_| {});
    assert!(matches!(missing, Err(BackupError::Identity(IdentityError::Missing { .. }))));
    assert!(!dir.path().join("copy").exists());
}
