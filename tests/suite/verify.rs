//! What an audit says: it ends, it is right beside a writer, it counts what can be read, and it remarks what is odd.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use identity_ledger::audit::{Audit, AuditFault, AuditRemark, AuditReport, ErasureFault, RecordCounts};
use identity_ledger::backup::Backup;
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::salvage::{ItemLoss, Salvage, Unerased};
use identity_ledger::storage::{Files, Memory, Storage};
use identity_ledger::*;

use crate::support::hand_on::hands_on;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn operation(number: usize) -> Operation {
    let id = DistinctId::new(format!("person-{number}")).unwrap();
    Operation::properties(at(1), id).set("text", "x".repeat(150)).unwrap()
}

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(limits::MIN_SEGMENT_BYTES)
}

fn erasure_of(number: usize) -> [ErasureRequest; 1] {
    let id = DistinctId::new(format!("person-{number}")).unwrap();
    [ErasureRequest::new(at(2), ErasureSubject::PersonOf(id), "")]
}

/// A ledger of so many persons in small segments.
fn filled(persons: usize) -> (Arc<Memory>, Ledger) {
    let disk = Arc::new(Memory::new());
    let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    for number in 0..persons {
        let _ = ledger.append(operation(number)).unwrap();
    }
    (disk, ledger)
}

fn audit(disk: &Memory) -> AuditReport {
    Audit::run_in(Arc::new(disk.clone()), None, &mut |_| {}).unwrap()
}

fn segments(disk: &Memory) -> Vec<String> {
    let mut names: Vec<String> =
        disk.list("log").unwrap().into_iter().map(|name| format!("log/{name}")).collect();
    names.sort();
    names
}

fn bytes(disk: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &Memory, file: &str, bytes: &[u8]) {
    disk.truncate(file, 0).unwrap();
    disk.write_at(file, 0, bytes).unwrap();
}

/// Something done right before a read of this number, of this file or directory.
type Hook = Box<dyn FnMut(u64, &str) + Send>;

/// A disk on which something happens between one read and the next.
struct Beside {
    inner: Arc<Memory>,
    reads: AtomicU64,
    before: Mutex<Hook>,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

impl Beside {
    fn new(inner: &Arc<Memory>, before: impl FnMut(u64, &str) + Send + 'static) -> Arc<Beside> {
        let before = Mutex::new(Box::new(before) as Hook);
        Arc::new(Beside { inner: inner.clone(), reads: AtomicU64::new(0), before })
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn tick(&self, name: &str) {
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        (self.before.lock().unwrap())(number, name);
    }
}

impl Storage for Beside {
    hands_on! { inner: create write_at sync sync_dir remove rename lock describe }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.tick(dir);
        self.inner.list(dir)
    }
    fn len(&self, file: &str) -> io::Result<Option<u64>> {
        self.tick(file);
        self.inner.len(file)
    }
    fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.tick(file);
        self.inner.read_at(file, offset, out)
    }
}

// -- it ends ---------------------------------------------------------------------------------------------------------

#[test]
fn an_audit_ends_on_a_ledger_that_was_rolled_back_past_an_erasure() {
    let (disk, mut ledger) = filled(12);
    ledger.erase(&erasure_of(3)).unwrap();
    drop(ledger);
    // The records of the erasure stand in the last segments, and HEAD saw them.
    let whole = segments(&disk).len();
    let mut rolled_back = 0;
    while segments(&disk).len() > whole - 3 {
        disk.remove(&segments(&disk).pop().unwrap()).unwrap();
        let beside = Beside::new(&disk, |_, _| {});
        let report = Audit::run_in(beside.clone(), None, &mut |_| {}).unwrap();
        let RecordCounts { unreadable, .. } = report.known;
        assert_eq!(report.records + unreadable, report.known.sum(), "{report:?}");
        assert!(unreadable > 0);
        assert!(report.faults.iter().any(|fault| fault.what.contains("it was rolled back")), "{report:?}");
        let reads = beside.reads();
        assert!(reads < 100 * whole as u64, "it walks, lists once more, and counts: {reads} reads");
        rolled_back += 1;
    }
    assert_eq!(rolled_back, 3);
}

#[test]
fn a_log_that_is_broken_in_another_place_each_time_is_busy_and_not_damaged() {
    let (disk, mut ledger) = filled(40);
    let names = segments(&disk);
    assert!(names.len() > 8, "more than a look has listings, and a prime number of them in turn");
    let (inner, mut listings, mut bad) = (disk.clone(), 0, None::<(String, Vec<u8>)>);
    // Before each listing of segments the broken one is mended, a record is appended, and another segment is broken.
    let beside = Beside::new(&disk, move |_, name| {
        if name == "log" {
            if let Some((name, good)) = bad.take() {
                write(&inner, &name, &good);
            }
            let _ = ledger.append(operation(100 + listings)).unwrap();
            let name = &names[1 + listings % 7];
            bad = Some((name.clone(), bytes(&inner, name)));
            inner.write_at(name, 200, &[0xff; 9]).unwrap();
            listings += 1;
        }
    });
    let error = Audit::run_in(beside, None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::Busy { looks: 16, .. }), "{error}");
    assert!(error.to_string().contains("changed under the reader 16 times in a row"), "{error}");
}

// -- it is right beside a writer ---------------------------------------------------------------------------------------

/// Something that a writer does, right before the read of this number.
type Step = (u64, fn(&mut Ledger));

/// Audits a ledger of so many persons while steps of a writer fall between its reads: each step before the read of its number.
/// Gives how often it read.
fn audit_beside(persons: usize, steps: Vec<Step>) -> u64 {
    let (disk, mut ledger) = filled(persons);
    ledger.snapshot().unwrap();
    let mut due = VecDeque::from(steps.clone());
    let beside = Beside::new(&disk, move |number, _| {
        while due.front().is_some_and(|(when, _)| *when <= number) {
            due.pop_front().unwrap().1(&mut ledger);
        }
    });
    let report = Audit::run_in(beside.clone(), None, &mut |_| {});
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    let when: Vec<u64> = steps.iter().map(|(when, _)| *when).collect();
    assert!(report.is_ok(), "steps before reads {when:?}: {:?}", report.faults);
    assert!(report.tail.is_none() && report.known.intact == report.records);
    beside.reads()
}

fn begins(ledger: &mut Ledger) {
    ledger.begin_erasures(&erasure_of(ledger.checkpoint().records as usize % 3)).ok();
    let _ = ledger.append(operation(1_000 + ledger.checkpoint().records as usize)).unwrap();
}

fn finishes(ledger: &mut Ledger) {
    ledger.finish_erasures(&mut |_| {}).unwrap();
}

fn erases_two(ledger: &mut Ledger) {
    ledger.erase(&erasure_of(0)).unwrap();
    let _ = ledger.append(operation(2_000)).unwrap();
    ledger.erase(&erasure_of(5)).unwrap();
}

#[test]
fn a_whole_ledger_is_whole_wherever_an_erasure_falls_between_the_reads_of_an_audit() {
    let reads = audit_beside(10, Vec::new());
    assert!(reads > 20, "{reads}");
    for number in 0..reads {
        audit_beside(10, vec![(number, erases_two)]);
    }
    let mut pairs = 0;
    for begun in (0..reads).step_by(3) {
        for finished in (begun..reads).step_by(2) {
            audit_beside(10, vec![(begun, begins), (finished, finishes)]);
            pairs += 1;
        }
    }
    assert!(pairs > 100, "{pairs}");
}

#[test]
fn a_whole_ledger_is_whole_beside_a_writer_that_erases_all_the_time() {
    // So often that each look meets several: one erasure is done, the next begun.
    for every in [3, 7, 20, 51] {
        let steps = (1..200)
            .flat_map(|n| [(n * every, begins as fn(&mut Ledger)), (n * every + every / 2, finishes)]);
        audit_beside(8, steps.collect());
    }
}

#[test]
fn damage_is_found_beside_a_writer_that_erases_all_the_time() {
    let (disk, mut ledger) = filled(12);
    let name = segments(&disk).swap_remove(2);
    disk.write_at(&name, 200, &[0xff; 9]).unwrap();
    let from = name[4..24].parse().unwrap();
    let mut appended = 0;
    let beside = Beside::new(&disk, move |_, name| {
        if name == "log" {
            let _ = ledger.append(operation(100 + appended)).unwrap();
            appended += 1;
        }
    });
    let report = Audit::run_in(beside, None, &mut |_| {}).unwrap();
    let [AuditFault { file, seq, .. }] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert_eq!((file, *seq), (&name, Seq(from)));
    assert!(report.known.unreadable > 0);
}

#[test]
fn files_that_a_reader_kept_open_are_those_that_an_erasure_put_there_when_it_looks_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let mut ledger = options().create(&dir, Tenant::default(), Policy::default()).unwrap();
    for number in 0..8 {
        let _ = ledger.append(operation(number)).unwrap();
    }
    let files: Arc<dyn Storage> = Arc::new(Files::read_only(&dir));
    assert!(Audit::run_in(files.clone(), None, &mut |_| {}).unwrap().is_ok());
    ledger.erase(&erasure_of(0)).unwrap();
    let report = Audit::run_in(files.clone(), None, &mut |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.faults);
    let copy = Arc::new(Memory::new());
    Backup::run_in(files, copy.clone(), &mut |_| {}).unwrap();
    let report = audit(&copy);
    assert!(report.is_ok(), "{:?}", report.faults);
}

// -- it counts ---------------------------------------------------------------------------------------------------------

#[test]
fn one_flipped_bit_in_a_value_damages_one_record_of_all_that_are_there() {
    let (disk, ledger) = filled(60);
    let records = ledger.checkpoint().records;
    drop(ledger);
    let whole = audit(&disk);
    assert_eq!(whole.known, RecordCounts { intact: records, damaged: 0, unreadable: 0 });
    let name = segments(&disk).swap_remove(1);
    let mut bytes = bytes(&disk, &name);
    let in_value = bytes.windows(9).position(|window| window == b"xxxxxxxxx").unwrap();
    bytes[in_value + 4] ^= 1;
    write(&disk, &name, &bytes);
    let report = audit(&disk);
    assert!(report.records < 20 && !report.is_ok(), "the walk ends early: {}", report.records);
    assert_eq!(report.known, RecordCounts { intact: records - 1, damaged: 1, unreadable: 0 });
    // The segment gone altogether: what it held is known by those behind it.
    disk.remove(&name).unwrap();
    let names = segments(&disk);
    let first_of = |name: &str| name[4..24].parse::<u64>().unwrap();
    let gone = first_of(&names[1]) - first_of(&name);
    let report = audit(&disk);
    assert_eq!(report.known, RecordCounts { intact: records - gone, damaged: 0, unreadable: gone });
}

// -- it remarks --------------------------------------------------------------------------------------------------------

#[test]
fn a_slot_of_head_that_is_cut_or_zeroed_is_remarked() {
    let (disk, ledger) = filled(5);
    drop(ledger);
    assert_eq!(audit(&disk).remarks, []);
    let head = bytes(&disk, "HEAD");
    let slots = [0..88, 4_096..4_184];
    for slot in &slots {
        let mut zeroed = head.clone();
        zeroed[slot.clone()].fill(0);
        write(&disk, "HEAD", &zeroed);
        let report = audit(&disk);
        assert!(report.is_ok(), "{:?}", report.faults);
        assert!(report.remarks.contains(&AuditRemark::HeadSlot), "{slot:?}: {:?}", report.remarks);
    }
    for len in (88..4_096).step_by(501).chain(4_096..4_184) {
        write(&disk, "HEAD", &head[..len]);
        let report = audit(&disk);
        assert!(report.is_ok(), "{:?}", report.faults);
        assert!(report.remarks.contains(&AuditRemark::HeadSlot), "cut to {len}: {:?}", report.remarks);
    }
    // A slot gone back to what it was some turns ago is as good as gone.
    let (older, mut ledger) = (head[..88].to_vec(), options().open_in(disk.clone()).unwrap());
    for number in 100..104 {
        let _ = ledger.append(operation(number)).unwrap();
    }
    drop(ledger);
    let mut mixed = bytes(&disk, "HEAD");
    mixed[..88].copy_from_slice(&older);
    write(&disk, "HEAD", &mixed);
    assert!(audit(&disk).remarks.contains(&AuditRemark::HeadSlot));
}

#[test]
fn a_missing_lock_is_remarked_until_a_writer_makes_it_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    drop(Ledger::create(&dir, Tenant::default(), Policy::default()).unwrap());
    let remarks = || Audit::run(&dir, None, &mut |_| {}).unwrap().remarks;
    assert_eq!(remarks(), []);
    std::fs::remove_file(dir.join("LOCK")).unwrap();
    assert_eq!(remarks(), [AuditRemark::LockMissing]);
    drop(Ledger::open(&dir).unwrap());
    assert_eq!(remarks(), []);
}

#[test]
fn an_erasure_that_is_not_finished_is_remarked_by_a_backup_and_in_it() {
    let (disk, mut ledger) = filled(6);
    let begun = ledger.begin_erasures(&erasure_of(2)).unwrap();
    let copy = Arc::new(Memory::new());
    let report = Backup::run_in(disk.clone(), copy.clone(), &mut |_| {}).unwrap();
    assert_eq!(report.pending_erasures, begun);
    assert_eq!(audit(&copy).remarks, [AuditRemark::PendingErasures(begun)]);
    ledger.finish_erasures(&mut |_| {}).unwrap();
    let report = Backup::run_in(disk, copy.clone(), &mut |_| {}).unwrap();
    assert_eq!(report.pending_erasures, []);
    assert_eq!(audit(&copy).remarks, []);
}

#[test]
fn a_salvage_says_that_a_segment_of_before_or_after_an_erasure_was_put_in() {
    let (disk, mut ledger) = filled(12);
    let before = Memory::clone(&disk);
    ledger.erase(&erasure_of(2)).unwrap();
    drop(ledger);
    let changed = segments(&before).into_iter().filter(|name| bytes(&before, name) != bytes(&disk, name));
    let name = changed.min().expect("the erasure rewrote a segment");
    let salvaged = |disk: &Memory| {
        let salvage = Salvage::look_in(Arc::new(disk.clone()), None, &mut |_| {}).unwrap();
        salvage.report().clone()
    };
    assert!(salvaged(&before).is_whole() && salvaged(&disk).is_whole());
    // The erased segment in a log that knows of no erasure: its items are missing.
    let spliced = before.clone();
    write(&spliced, &name, &bytes(&disk, &name));
    let report = salvaged(&spliced);
    assert!(!report.is_whole() && !report.items_lost.is_empty());
    assert!(report.items_lost.iter().all(|lost| lost.loss == ItemLoss::Missing));
    assert!(report.first_fault.unwrap().what.contains("no record erased it"));
    // The segment from before in the log that erased it: what was erased is back, and no record is lost.
    let spliced = Memory::clone(&disk);
    write(&spliced, &name, &bytes(&before, &name));
    let report = salvaged(&spliced);
    assert!(!report.is_whole() && report.lost.is_empty() && report.items_lost.is_empty());
    let fault = audit(&spliced).faults.into_iter().next().unwrap();
    assert!(
        matches!(fault.erasure, Some(ErasureFault::ErasureIncomplete { erase })
        if report.unerased[0] == Unerased { seq: fault.seq, erase }),
        "{fault:?} {:?}",
        report.unerased
    );
}
