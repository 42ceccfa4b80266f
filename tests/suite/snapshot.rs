//! Snapshots are caches: a ledger opened from one is the ledger that replays its whole log, and a snapshot that is odd in any
//! way is ignored and named, never used and never a panic.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::failing::{Failing, NEVER};
use crate::support::forge::{STATE_DIGEST, resealed, state_begins};
use identity_ledger::audit::{Audit, AuditReport};
use identity_ledger::fold::Replay;
use identity_ledger::log::Digest;
use identity_ledger::snapshot::{DurabilityEvidence, SnapshotError, SnapshotFault};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

fn operation(number: u128) -> Operation {
    let time = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let name = format!("id-{}", number % 5);
    let id = |text: &str| DistinctId::new(text).unwrap();
    let operation = match number % 4 {
        0 => Operation::capture(time, id(&name), OperationId(uuid::Uuid::from_u128(number + 1))),
        1 => Operation::identify(time, id("ann"), Some(Source::new(&name))),
        2 => Operation::properties(time, id(&name)),
        _ => {
            let device = DeviceId::new(format!("device-{}", number % 3)).unwrap();
            Operation::new(time, Request::DeviceIdentify { device, user: id(&name) })
        }
    };
    operation.with_id(OperationId(uuid::Uuid::from_u128(number + 1))).set("n", number as i64).unwrap()
}

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(1_024)
}

fn open(disk: &Memory) -> Result<Ledger, OpenError> {
    options().open_in(Arc::new(disk.clone()))
}

fn append(ledger: &mut Ledger, numbers: std::ops::Range<u128>) {
    for number in numbers {
        assert!(ledger.append(operation(number)).is_ok());
    }
}

/// A ledger of so many operations; a snapshot is made after each of `snapshots`.
fn filled(operations: u128, snapshots: &[u128]) -> Memory {
    let disk = Arc::new(Memory::new());
    let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..operations {
        let _ = ledger.append(operation(number)).unwrap();
        if snapshots.contains(&(number + 1)) {
            ledger.snapshot().unwrap();
        }
    }
    drop(ledger);
    Memory::clone(&disk)
}

fn snapshots(disk: &Memory) -> Vec<String> {
    let mut names: Vec<String> =
        disk.list("snap").unwrap().into_iter().map(|name| format!("snap/{name}")).collect();
    names.sort();
    names
}

fn read(disk: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &Memory, file: &str, bytes: &[u8]) {
    if disk.len(file).unwrap().is_none() {
        disk.create(file).unwrap();
    }
    disk.truncate(file, 0).unwrap();
    disk.write_at(file, 0, bytes).unwrap();
}

fn audit(disk: &Memory) -> AuditReport {
    Audit::run_in(Arc::new(disk.clone()), None, &mut |_| {}).unwrap()
}

/// The one snapshot was not used, for a reason that is named; everything else is as if there were none.
#[track_caller]
fn ignored(disk: &Memory, digest: Digest) -> SnapshotFault {
    let mut ledger = open(disk).unwrap();
    let Recovery { from_snapshot: None, snapshots_ignored, .. } = ledger.recovery().clone() else {
        panic!("it was used: {:?}", ledger.recovery())
    };
    assert!(!ledger.recovery().is_clean());
    assert_eq!(ledger.reader().state().digest(), digest);
    assert!(ledger.append(operation(1_000)).unwrap().outcome().is_some());
    assert_eq!(snapshots_ignored.len(), 1, "{snapshots_ignored:?}");
    snapshots_ignored[0].why.clone()
}

#[test]
fn two_are_kept_and_the_newest_is_used() {
    let disk = filled(12, &[3, 6, 9]);
    let names = snapshots(&disk);
    assert_eq!(names.len(), limits::KEPT_SNAPSHOTS);
    let whole = options().without_snapshots().open_in(Arc::new(disk.clone())).unwrap();
    assert_eq!(whole.recovery(), &Recovery::default());
    let ledger = open(&disk).unwrap();
    let covered = ledger.recovery().from_snapshot.unwrap();
    assert_eq!(names[1], format!("snap/{covered:020}.snap"));
    assert!(ledger.recovery().is_clean() && covered < ledger.checkpoint().records);
    assert_eq!(ledger.reader().state().digest(), whole.reader().state().digest());
    let reader = LedgerOptions::new().read_in(Arc::new(disk.clone())).unwrap();
    assert_eq!(reader.recovery().from_snapshot, Some(covered));
    assert_eq!(reader.reader().content_digest().unwrap(), whole.reader().content_digest().unwrap());
    assert_eq!(audit(&disk).snapshots.len(), 2);

    // The newest is damaged: the other one is used.
    let mut bytes = read(&disk, &names[1]);
    bytes[100] ^= 1;
    write(&disk, &names[1], &bytes);
    let mut ledger = open(&disk).unwrap();
    assert_eq!(names[0], format!("snap/{:020}.snap", ledger.recovery().from_snapshot.unwrap()));
    assert_eq!(ledger.recovery().snapshots_ignored[0].file, names[1]);
    assert_eq!(ledger.reader().state().digest(), whole.reader().state().digest());
    // The next one takes the place of the damaged one, not of the good one.
    let made = ledger.snapshot().unwrap();
    let kept = Memory::clone(&disk);
    drop(ledger);
    assert_eq!(snapshots(&kept).len(), 2, "{:?}; the copy that was opened is another", made.file);
}

#[test]
fn a_damaged_snapshot_is_the_first_to_be_removed() {
    let disk = Arc::new(filled(12, &[3, 6]));
    let names = snapshots(&disk);
    write(&disk, &names[1], b"rot");
    let mut ledger = options().open_in(disk.clone()).unwrap();
    let made = ledger.snapshot().unwrap();
    assert_eq!(snapshots(&disk), [names[0].clone(), made.file]);
}

#[test]
fn the_cadence_is_the_callers() {
    let disk = Arc::new(Memory::new());
    drop(options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
    let mut ledger = options().snapshot_every(10).open_in(disk.clone()).unwrap();
    let mut last = 0;
    for number in 0..40 {
        let _ = ledger.append(operation(number)).unwrap();
        let records = ledger.checkpoint().records;
        if records >= last + 10 {
            last = records;
        }
        let newest = snapshots(&disk).pop();
        assert_eq!(newest, (last > 0).then(|| format!("snap/{last:020}.snap")), "{records}");
        assert!(ledger.snapshot_error().is_none());
        assert!(last == 0 || ledger.durable_records() >= last);
    }
    assert!(last > 30);
    let mut ledger = {
        drop(ledger);
        options().snapshot_every(0).open_in(disk.clone()).unwrap()
    };
    let before = snapshots(&disk);
    append(&mut ledger, 100..200);
    assert_eq!(snapshots(&disk), before, "0 is never");
}

#[test]
fn every_flip_and_every_cut_is_noticed() {
    let disk = filled(4, &[4]);
    let digest = open(&disk).unwrap().reader().state().digest();
    let [name] = &snapshots(&disk)[..] else { panic!("one was made") };
    let bytes = read(&disk, name);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        write(&disk, name, &flipped);
        assert!(matches!(ignored(&disk.clone(), digest), SnapshotFault::Damaged { .. }), "bit {bit}");
    }
    for len in 0..bytes.len() {
        write(&disk, name, &bytes[..len]);
        assert!(matches!(ignored(&disk.clone(), digest), SnapshotFault::Damaged { .. }), "cut to {len}");
        let report = audit(&disk);
        assert_eq!(report.faults.len(), 1);
        assert_eq!(&report.faults[0].file, name, "the audit names it");
    }
    write(&disk, name, &[&bytes[..], b"x"].concat());
    assert!(matches!(ignored(&disk, digest), SnapshotFault::Damaged { .. }));
}

/// Somebody changes a snapshot and computes its digest anew.
#[test]
fn a_forged_snapshot_is_used_only_where_nothing_but_the_log_can_tell_and_the_audit_does() {
    let disk = filled(6, &[6]);
    let digest = open(&disk).unwrap().reader().state().digest();
    let [name] = &snapshots(&disk)[..] else { panic!("one was made") };
    let bytes = read(&disk, name);
    let mut used = 0;
    for bit in 0..(bytes.len() - 32) * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let disk = disk.clone();
        write(&disk, name, &resealed(&forged));
        // Another head or number of records is a witness against the log, if it is sealed: refusing to open is right too.
        if let Ok(mut ledger) = open(&disk) {
            used += u32::from(ledger.recovery().from_snapshot.is_some());
            assert_eq!(
                ledger.reader().state().digest(),
                digest,
                "bit {bit}: another state would need another digest"
            );
            ledger.append(operation(2)).ok();
            ledger.append(operation(1_000)).ok();
            ledger.reader().content_digest().ok();
            ledger.persons().for_each(drop);
        }
        let report = audit(&disk);
        match bit / 8 {
            8..10 | 12..16 => assert!(report.is_ok(), "bit {bit}: other versions are not judged"),
            // A key that gives each id the fingerprint it had is as good as the one before.
            144..184 if report.is_ok() => {}
            _ => assert!(report.faults.iter().any(|fault| &fault.file == name), "bit {bit}: {report:?}"),
        }
    }
    assert!(used > 0, "texts and operation ids are believed");
}

/// Any of the state's numbers may be anything, with every digest right.
#[test]
fn a_state_that_is_none_is_refused_whatever_its_digests_say() {
    let disk = filled(24, &[24]);
    let [name] = &snapshots(&disk)[..] else { panic!("one was made") };
    let bytes = read(&disk, name);
    let state_at = state_begins(&bytes);
    let mut refused = 0;
    for at in state_at..bytes.len() - 32 {
        for with in [0x00, 0x01, 0x7f, 0xff] {
            let mut forged = bytes.clone();
            if forged[at] == with {
                continue;
            }
            forged[at] = with;
            let digest = blake3::derive_key(
                "identity-ledger 2026-11-23 v1 state digest",
                &forged[state_at..bytes.len() - 32],
            );
            forged[STATE_DIGEST].copy_from_slice(&digest);
            let disk = disk.clone();
            write(&disk, name, &resealed(&forged));
            let mut ledger = open(&disk).unwrap();
            refused += u32::from(ledger.recovery().from_snapshot.is_none());
            // What passes must not make anything panic or run for ever, however wrong it is.
            for number in 0..8 {
                ledger.append(operation(number)).ok();
                ledger.append(operation(2_000 + number)).ok();
            }
            ledger.persons().for_each(drop);
            ledger.reader().content_digest().ok();
            let ids: Vec<_> = ledger.reader().state().ids().collect();
            ids.iter().for_each(|id| drop(ledger.reader().state().proof(ids[0], *id)));
            assert_eq!(audit(&disk).faults.len(), 1, "byte {at}");
        }
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn a_snapshot_of_another_version_or_ledger_is_ignored() {
    let disk = filled(6, &[6]);
    let digest = open(&disk).unwrap().reader().state().digest();
    let [name] = &snapshots(&disk)[..] else { panic!("one was made") };
    let bytes = read(&disk, name);

    let mut other = bytes.clone();
    other[12] = 5;
    write(&disk, name, &resealed(&other));
    let why = ignored(&disk, digest);
    assert_eq!(why, SnapshotFault::Version { what: "fold version", found: 5, expected: 4 });
    assert!(audit(&disk).is_ok(), "it is no fault: it is of use to that version");

    let foreign = Arc::new(Memory::new());
    let options = options().seeded(2);
    let mut ledger = options.create_in(foreign.clone(), Tenant::default(), Policy::default()).unwrap();
    append(&mut ledger, 0..6);
    assert_eq!(&ledger.snapshot().unwrap().file, name);
    write(&disk, name, &read(&foreign, name));
    assert!(matches!(ignored(&disk, digest), SnapshotFault::Foreign { .. }));
    assert!(!audit(&disk).is_ok());

    let renamed = format!("snap/{:020}.snap", 1);
    write(&disk, &renamed, &bytes);
    disk.remove(name).unwrap();
    assert!(matches!(ignored(&disk, digest), SnapshotFault::Malformed { .. }), "its name is another");
}

#[test]
fn a_whole_snapshot_is_a_witness_against_a_log_that_was_rolled_back_or_replaced() {
    // Two histories of one ledger: the same seed, and other operations from the fourth on.
    let early = filled(6, &[]);
    let late = filled(12, &[12]);
    let [name] = &snapshots(&late)[..] else { panic!("one was made") };
    write(&early, name, &read(&late, name));
    let Err(OpenError::RolledBack { found, expected, by: DurabilityEvidence::Snapshot, .. }) = open(&early)
    else {
        panic!("it was rolled back")
    };
    assert!(found < expected);
    let report = audit(&early);
    assert_eq!((report.faults.len(), &report.faults[0].file), (1, name), "{report:?}");
    assert!(report.faults[0].what.contains("rolled back"), "{report:?}");

    let disk = Arc::new(Memory::new());
    let mut other = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    append(&mut other, 3..60);
    drop(other);
    write(&disk, name, &read(&late, name));
    assert!(
        matches!(open(&disk), Err(OpenError::Forked { by: DurabilityEvidence::Snapshot, .. })),
        "another history"
    );
    let report = audit(&disk);
    assert_eq!((report.faults.len(), &report.faults[0].file), (1, name), "{report:?}");

    // Who knows that the log was replaced on purpose removes the cache, or does without.
    assert!(options().without_snapshots().open_in(Arc::new(Memory::clone(&disk))).is_ok());
    disk.remove(name).unwrap();
    assert!(open(&disk).is_ok());
}

#[test]
fn a_checkpoint_is_looked_for_in_the_log_itself_and_no_snapshot_is_used() {
    let disk = filled(12, &[4, 8]);
    let reader = LedgerOptions::new().read_in(Arc::new(disk.clone())).unwrap();
    let mut heads = Vec::new();
    let mut replay = Replay::new(reader.reader().ledger_id(), reader.tenant());
    let mut names = disk.list("log").unwrap();
    names.sort();
    for name in names {
        let bytes = read(&disk, &format!("log/{name}"));
        let mut at = 96;
        while at < bytes.len() {
            at += replay.frame(&bytes[at..], true, |_| {}).unwrap();
            heads.push(replay.chain().checkpoint());
        }
    }
    for checkpoint in heads {
        let expecting = |checkpoint| options().expect(checkpoint).open_in(Arc::new(disk.clone()));
        let ledger = expecting(checkpoint).unwrap();
        assert_eq!(ledger.recovery().from_snapshot, None, "{checkpoint}: only the chain counts");
        assert!(ledger.recovery().is_clean());
        let forged = Checkpoint { head: Digest([7; 32]), ..checkpoint };
        assert!(
            matches!(expecting(forged), Err(OpenError::Forked { by: DurabilityEvidence::Checkpoint, .. })),
            "{checkpoint}"
        );
    }
}

#[test]
fn damage_at_the_snapshots_place_or_a_missing_segment_before_it_leads_to_a_full_replay() {
    let whole = filled(30, &[30]);
    let mut names = whole.list("log").unwrap();
    names.sort();
    assert!(names.len() > 4);
    let disk = whole.clone();
    disk.remove(&format!("log/{}", names[2])).unwrap();
    assert!(matches!(open(&disk), Err(OpenError::Damaged { .. })));
    let disk = whole.clone();
    let last = format!("log/{}", names.last().unwrap());
    let mut bytes = read(&disk, &last);
    let end = bytes.len();
    bytes[end - 60] ^= 1;
    write(&disk, &last, &bytes);
    assert!(matches!(open(&disk), Err(OpenError::Damaged { .. })));
    // Damage further up is not looked at by opening, and found by who reads there and by the audit.
    let disk = whole.clone();
    let first = format!("log/{}", names[1]);
    let mut bytes = read(&disk, &first);
    bytes[96 + 60] ^= 1;
    write(&disk, &first, &bytes);
    let ledger = open(&disk).unwrap();
    assert!(ledger.recovery().from_snapshot.is_some());
    assert!(ledger.reader().content_digest().is_err());
    assert!(!audit(&disk).is_ok());
    assert!(options().without_snapshots().open_in(Arc::new(disk.clone())).is_err());
}

/// Whatever call fails, or is the last before a crash: the ledger goes on unless its own flush failed, and what was there
/// before is there.
#[test]
fn whichever_call_of_making_one_fails_nothing_is_lost() {
    let before = filled(12, &[4, 8]);
    let digest = open(&before).unwrap().reader().state().digest();
    let old = snapshots(&before);
    for for_ever in [false, true] {
        let mut calls = 0;
        loop {
            let disk = Failing::at(Memory::clone(&before), NEVER).for_ever(for_ever).half(true);
            let disk = Arc::new(disk);
            let mut ledger = options().open_in(disk.clone()).unwrap();
            disk.calls_left.store(calls, Ordering::SeqCst);
            let made = ledger.snapshot();
            let left = disk.calls_left.swap(NEVER, Ordering::SeqCst);

            let crashed = Memory::clone(&disk.inner); // the process ends here
            let reopened = open(&crashed).unwrap();
            assert_eq!(reopened.reader().state().digest(), digest, "call {calls}");
            assert!(reopened.recovery().from_snapshot.is_some(), "call {calls}: at least what was there");
            assert!(reopened.recovery().snapshots_ignored.is_empty(), "call {calls}: none is half made");
            assert!(audit(&crashed).is_ok());
            assert!(
                snapshots(&crashed).iter().filter(|name| name.ends_with(".snap")).count() >= 2,
                "call {calls}"
            );

            let appended = ledger.append(operation(1_000));
            match &made {
                Err(SnapshotError::Flush(_)) => {
                    assert!(
                        matches!(appended, Err(AppendError::Poisoned { .. })),
                        "call {calls}: the log is in doubt"
                    );
                }
                Err(SnapshotError::Io { file, .. }) => {
                    assert!(
                        file.starts_with("snap/") && appended.is_ok(),
                        "call {calls}: the ledger goes on"
                    );
                    let again = ledger.snapshot().unwrap();
                    assert_eq!(
                        snapshots(&disk.inner).pop(),
                        Some(again.file),
                        "what is left over is removed"
                    );
                    assert_eq!(snapshots(&disk.inner).len(), 2);
                }
                Ok(_) => assert!(appended.is_ok()),
                Err(other) => panic!("{other}"),
            }
            if left >= 0 {
                assert!(made.is_ok() && calls > 8, "every call was made to fail: {calls}");
                assert_ne!(snapshots(&disk.inner), old);
                break;
            }
            calls += 1;
        }
    }
}

#[test]
fn a_snapshot_that_fails_by_itself_does_not_fail_the_append() {
    let disk = Arc::new(Failing::at(filled(2, &[]), NEVER).half(true));
    let mut ledger = options().snapshot_every(1).open_in(disk.clone()).unwrap();
    // Write, sync and HEAD of the append; then sync, HEAD and its sync of the flush; then the first call of the snapshot.
    disk.calls_left.store(6, Ordering::SeqCst);
    assert!(ledger.append(operation(1_000)).unwrap().outcome().is_some());
    assert!(
        matches!(ledger.snapshot_error(), Some(SnapshotError::Io { .. })),
        "{:?}",
        ledger.snapshot_error()
    );
    assert!(ledger.append(operation(1_001)).unwrap().outcome().is_some());
    assert!(ledger.snapshot_error().is_none());
}
