//! Questions and snapshots beside writers: a detached reader stays as it is, no writer waits for it, and an erasure ends it.
#![cfg(feature = "testing")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::history::{History, IDS, append};
use identity_ledger::*;

use crate::support::gate::Gate;
use crate::support::short::{at, id};

fn of_ann() -> Operation {
    Operation::properties(at(1), id("ann")).set("secret", "tulip").unwrap()
}

fn shared_on(disk: Arc<dyn Storage>, options: LedgerOptions<'_>) -> SharedLedger {
    SharedLedger::new(options.create_in(disk, Tenant::default(), Policy::default()).unwrap())
}

fn erase_ann(ledger: &SharedLedger) {
    let ann = ErasureSubject::PersonOf(id("ann"));
    ledger.write(|ledger| ledger.erase(&[ErasureRequest::new(at(9), ann, "asked")])).unwrap();
}

fn files(disk: &dyn Storage) -> Vec<(String, Vec<u8>)> {
    let all = ["", "log", "snap", "quarantine"].into_iter().flat_map(|dir| {
        let named = move |name: String| if dir.is_empty() { name } else { format!("{dir}/{name}") };
        disk.list(dir).unwrap().into_iter().map(named)
    });
    let read = |name: String| {
        let len = disk.len(&name).ok().flatten()?;
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        disk.read_at(&name, 0, &mut bytes).unwrap();
        Some((name, bytes))
    };
    all.filter_map(read).collect()
}

fn snapshots(disk: &dyn Storage) -> Vec<String> {
    disk.list("snap").unwrap()
}

/// All that can be asked of a few ids.
fn answers(reader: &Reader) -> Vec<String> {
    let of = |text: &'static str| {
        let page = reader.history(Subject::Person(text), PageRequest::first(1_000)).unwrap();
        let records = page.map(|page| page.items.len());
        let pairs = IDS.map(|other| format!("{:?}", reader.why_not(text, other).unwrap()));
        let (resolved, profile) = (reader.resolve(text), reader.profile(text).unwrap());
        format!("{text}: {resolved:?} {profile:?} {records:?} {pairs:?}")
    };
    let (end, digest) = (reader.checkpoint(), reader.state().digest());
    IDS.into_iter().map(of).chain([format!("{end:?} {digest:?}")]).collect()
}

#[test]
fn a_detached_reader_answers_as_of_its_moment_whatever_is_written_since() {
    for seed in 0..40 {
        let policy = Policy::preset([Preset::Posthog, Preset::OneUser][seed as usize % 2]);
        let options = LedgerOptions::new().seeded(seed).segment_bytes(limits::MIN_SEGMENT_BYTES);
        let options = if seed % 3 == 0 { options.index_records() } else { options };
        let mut ledger =
            options.create_in(Arc::new(Memory::new()), Tenant::default(), policy.clone()).unwrap();
        History::seeded(&policy, seed).append_to(&mut ledger).unwrap();
        let (before, reader) = (answers(ledger.reader()), ledger.reader().detached());
        for operation in &History::seeded(&policy, seed + 1_000).operations {
            let _ = append(&mut ledger, operation).unwrap();
        }
        assert_eq!(answers(&reader), before, "seed {seed}");
        assert_eq!(reader.detached().checkpoint(), reader.checkpoint());
    }
}

#[test]
fn what_a_detached_reader_reads_after_an_erasure_is_refused_by_name() {
    let ledger = shared_on(Arc::new(Memory::new()), LedgerOptions::new());
    let _ = ledger.append(of_ann()).unwrap();
    let _ = ledger.append(Operation::properties(at(1), id("bob")).set("kept", 1).unwrap()).unwrap();
    let (before, other) = (ledger.detached(), ledger.detached());
    assert!(other.profile("ann").unwrap().is_some());
    let ann = ErasureRequest::new(at(9), ErasureSubject::PersonOf(id("ann")), "asked");
    ledger.write(|ledger| ledger.begin_erasures(&[ann])).unwrap();
    assert!(other.profile("ann").unwrap_err().is_ended(), "what it had read before is not shown again");
    ledger.write(|ledger| ledger.finish_erasures(&mut |_| {})).unwrap();
    let refused = before.profile("bob").unwrap_err().to_string();
    assert!(refused.contains("something was erased from the log"), "{refused}");
    assert!(before.profile("bob").unwrap_err().is_ended());
    assert!(other.detached().history(Subject::Id("ann"), PageRequest::first(10)).is_err());
    assert!(ledger.detached().profile("bob").unwrap().is_some());
}

/// Who opens the ledger next may erase, and knows of no detached reader.
#[test]
fn a_detached_reader_does_not_outlast_its_ledger() {
    let ledger = shared_on(Arc::new(Memory::new()), LedgerOptions::new());
    let _ = ledger.append(of_ann()).unwrap();
    let reader = ledger.detached().detached();
    assert!(reader.profile("ann").unwrap().is_some());
    drop(ledger);
    assert!(reader.profile("ann").unwrap_err().is_ended());
    assert!(reader.resolve("ann").is_some());
}

#[test]
fn a_reader_whose_snapshot_is_held_against_a_log_that_was_erased_since_says_so() {
    let disk = Arc::new(Memory::new());
    let ledger = shared_on(disk.clone(), LedgerOptions::new());
    let _ = ledger.append(of_ann()).unwrap();
    ledger.snapshot().unwrap();
    let readers = [(); 2].map(|()| LedgerOptions::new().read_in(disk.clone()).unwrap());
    assert!(readers[0].recovery().from_snapshot.is_some());
    erase_ann(&ledger);
    let [everything, texts] = &readers;
    assert!(everything.reader().prove_snapshot().unwrap_err().is_ended());
    assert!(texts.why_not("ann", "bob").unwrap_err().is_ended());
}

#[test]
fn writers_write_while_a_snapshot_is_made() {
    for every in [None, Some(4)] {
        let disk = Arc::new(Gate::new());
        let options = every.into_iter().fold(LedgerOptions::new(), LedgerOptions::snapshot_every);
        let ledger = shared_on(disk.clone(), options);
        disk.snapshots.close();
        std::thread::scope(|scope| {
            let made = every.is_none().then(|| scope.spawn(|| ledger.snapshot()));
            if every.is_some() {
                for _ in 0..2 {
                    let _ = ledger.append(of_ann()).unwrap();
                }
            }
            disk.snapshots.wait_for(1);
            let covered = ledger.read(|reader| reader.checkpoint().records);
            for _ in 0..10 {
                let _ = ledger.append(of_ann()).unwrap(); // durable, and the snapshot is not
            }
            disk.snapshots.open();
            if let Some(made) = made {
                let made = made.join().unwrap().unwrap();
                assert_eq!((made.records, snapshots(&*disk).len()), (covered, 1));
            }
        });
        drop(ledger); // it waits for the one that a thread makes, or stops it
        let opened = LedgerOptions::new().open_in(disk).unwrap();
        assert!(every.is_some() || opened.recovery().from_snapshot.is_some());
    }
}

/// The erasure waits until the snapshot that holds the text is given up, or is whole and goes; then another is made, without it.
#[test]
fn an_erasure_gives_up_the_snapshot_that_holds_what_it_erases() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), LedgerOptions::new());
    let _ = ledger.append(of_ann()).unwrap();
    disk.snapshots.close();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| ledger.snapshot());
        disk.snapshots.wait_for(1);
        let holds_text = |(name, bytes): &(String, Vec<u8>)| {
            name.starts_with("snap/") && bytes.windows(3).any(|text| text == b"ann")
        };
        assert!(files(&*disk).iter().any(holds_text), "the text is in a file that is being written");
        disk.close();
        disk.open();
        let erased = scope.spawn(|| erase_ann(&ledger));
        disk.wait_for(1); // what is erased is recorded, and is to be removed
        disk.snapshots.open();
        erased.join().unwrap();
        for (name, bytes) in files(&*disk) {
            for text in [&b"ann"[..], b"tulip"] {
                assert!(!bytes.windows(text.len()).any(|found| found == text), "{name}");
            }
        }
        made.join().unwrap().unwrap();
    });
    let covered = ledger.read(|reader| reader.checkpoint().records);
    drop(ledger);
    let opened = LedgerOptions::new().open_in(disk).unwrap();
    // A snapshot that was whole before the erasure had to go, and closing may have given up the one that was to follow.
    assert!(opened.recovery().from_snapshot.is_none_or(|records| records == covered));
    assert_eq!(opened.resolve("ann"), None);
}

#[test]
fn two_snapshots_at_a_time_are_made_one_after_the_other() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), LedgerOptions::new());
    disk.snapshots.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ledger.snapshot());
        disk.snapshots.wait_for(1);
        let second = scope.spawn(|| ledger.snapshot());
        let _ = ledger.append(of_ann()).unwrap();
        disk.snapshots.open();
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(snapshots(&*disk).iter().all(|name| name.ends_with(".snap")), "{:?}", snapshots(&*disk));
}

/// A ledger that is closed can be opened in the next moment: nothing of the old one writes then.
#[test]
fn closing_ends_the_snapshot_that_a_thread_makes() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), LedgerOptions::new().snapshot_every(1));
    disk.snapshots.close();
    let _ = ledger.append(of_ann()).unwrap();
    disk.snapshots.wait_for(1);
    std::thread::scope(|scope| {
        let closed = scope.spawn(|| drop(ledger.into_inner().expect("the thread does not hold the ledger")));
        disk.snapshots.open();
        closed.join().unwrap();
    });
    let before = files(&*disk);
    let mut opened = LedgerOptions::new().open_in(disk.clone()).unwrap();
    opened.flush().unwrap();
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&files(&*disk)), names(&before));
    opened.snapshot().unwrap();
    assert_eq!(snapshots(&*disk).iter().filter(|name| name.ends_with(".new")).count(), 0);
}

#[test]
fn a_snapshot_that_a_thread_could_not_make_says_why_and_the_ledger_writes_on() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), LedgerOptions::new().snapshot_every(1));
    let error = || {
        let told = |ledger: &mut LedgerGuard<'_>| {
            Ok::<_, AppendError>(ledger.snapshot_error().map(ToString::to_string))
        };
        let _ = ledger.append(of_ann()).unwrap();
        ledger.write(told).unwrap()
    };
    disk.fails_snapshots.store(true, Ordering::SeqCst);
    let found = std::iter::repeat_with(error).find_map(|error| error).unwrap();
    assert!(found.contains("snap/") && found.contains("no space"), "{found}");
    disk.fails_snapshots.store(false, Ordering::SeqCst);
    while error().is_some() {}
    assert_ne!(snapshots(&*disk), [""; 0]);
}
