//! More than one at a time, and one after another that was killed: writers exclude each other, readers see what is durable.
#![cfg(feature = "testing")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use identity_ledger::audit::Audit;
use identity_ledger::storage::IdentityError;
use identity_ledger::storage::Storage;
use identity_ledger::testing::disk::{SimulatedDisk, Subset};
use identity_ledger::*;

fn operation(number: usize) -> Operation {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let id = DistinctId::new(format!("id-{}", number % 5)).unwrap();
    Operation::properties(at, id).set("text", "x".repeat(number * 37 % 400)).unwrap()
}

/// Segments so small that each holds few records.
fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(limits::MIN_SEGMENT_BYTES)
}

/// A disk with a new ledger, closed.
fn created() -> Arc<SimulatedDisk> {
    let disk = Arc::new(SimulatedDisk::new());
    drop(options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
    disk
}

#[test]
fn a_second_writer_in_the_process_is_refused_until_the_first_is_gone() {
    let disk = created();
    let first = options().open_in(disk.clone()).unwrap();
    let error = options().open_in(disk.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("is open for writing elsewhere; close that writer"), "{error}");
    assert!(options().read_in(disk.clone()).is_ok(), "readers take no lock");
    drop(first);
    assert!(options().open_in(disk).is_ok());

    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    let first = Ledger::create(&dir, Tenant::default(), Policy::default()).unwrap();
    assert!(matches!(Ledger::open(&dir), Err(OpenError::Locked { .. })));
    assert!(ReadOnlyLedger::open(&dir).is_ok());
    drop(first);
    assert!(Ledger::open(&dir).is_ok());
}

const HELD: &str = "IDENTITY_LEDGER_TEST_HELD";

#[test]
#[ignore = "started by a_second_writer_in_another_process_is_refused_until_the_first_is_killed"]
fn holds_a_ledger_open_until_it_is_killed() {
    let ledger = Ledger::open(std::env::var(HELD).expect("a ledger's directory")).unwrap();
    println!("\nheld");
    std::io::stdin().lines().for_each(drop); // until the parent is gone, should it not kill this process
    drop(ledger);
}

#[test]
fn a_second_writer_in_another_process_is_refused_until_the_first_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    drop(Ledger::create(&dir, Tenant::default(), Policy::default()).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "concurrent::holds_a_ledger_open_until_it_is_killed", "--ignored", "--nocapture"])
        .env(HELD, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"), "the child opened the ledger");
    let second = Ledger::open(&dir);
    let reader = ReadOnlyLedger::open(&dir);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    assert!(reader.is_ok());
    assert!(Ledger::open(&dir).is_ok(), "a killed process holds nothing");
}

/// How many records would be there after the worst power cut.
fn durable(disk: &SimulatedDisk) -> u64 {
    options().open_in(Arc::new(disk.crashed(&Subset::none()))).unwrap().checkpoint().records
}

#[test]
fn between_any_two_storage_calls_a_reader_shows_all_that_is_acknowledged_and_only_what_is_durable() {
    for durability in [Durability::Immediate, Durability::Witnessed, Durability::Buffered] {
        let disk = created();
        let mut ledger = options().durability(durability).open_in(disk.clone()).unwrap();
        disk.keep_moments();
        let mut acknowledged = vec![(0, 1)];
        for number in 0..25 {
            let _ = ledger.append(operation(number)).unwrap();
            if durability != Durability::Buffered || number % 6 == 5 {
                ledger.flush().unwrap();
                acknowledged.push((disk.call_count(), ledger.checkpoint().records));
            }
        }
        let moments = disk.moments();
        assert!(disk.list("log").unwrap().len() > 4 && moments.len() > 50, "it went through some segments");
        for (calls, moment) in moments {
            let moment = Arc::new(moment);
            let shown = options().read_in(moment.clone()).unwrap().checkpoint().records;
            let (_, least) = acknowledged.iter().rfind(|(when, _)| *when <= calls).unwrap();
            let most = durable(&moment);
            assert!((*least..=most).contains(&shown), "{durability:?}, call {calls}: {least} {shown} {most}");
        }
    }
}

#[test]
fn a_reader_that_opens_again_and_again_beside_a_writer_never_sees_what_is_not_durable() {
    const LOOKS: usize = 20;
    const APPENDS: usize = 20;
    let disk = created();
    let (go, turns) = sync_channel(0);
    let mut last = 0;
    std::thread::scope(|scope| {
        let writer = disk.clone();
        scope.spawn(move || {
            let mut ledger = options().open_in(writer).unwrap();
            for number in turns.into_iter().flatten() {
                let _ = ledger.append(operation(number)).unwrap();
            }
        });
        for look in 0..LOOKS {
            let turn = look * APPENDS..(look + 1) * APPENDS;
            go.send(turn).expect("the writer waits for its turn"); // and now it writes
            // What is durable by now is looked at after the reader has opened: it may be more, and never less.
            let shown = options().read_in(disk.clone()).unwrap().checkpoint().records;
            assert!(shown <= durable(&disk), "a reader showed {shown} records");
            assert!(shown >= last, "a later reader shows no less");
            last = shown;
        }
        drop(go);
    });
    assert!(last > 1, "it looked while there was something to see");
    let all = options().open_in(disk.clone()).unwrap().checkpoint();
    assert!(all.records > (LOOKS * APPENDS) as u64);
    assert_eq!(options().read_in(disk).unwrap().checkpoint(), all);
}

#[test]
fn names_left_by_a_killed_writer_are_durable_before_the_next_one_acknowledges() {
    let disk = created();
    disk.keep_moments();
    let mut ledger = options().open_in(disk.clone()).unwrap();
    for number in 0..12 {
        let _ = ledger.append(operation(number)).unwrap();
    }
    let mut pending_names = 0;
    for (calls, moment) in disk.moments() {
        pending_names += usize::from(moment.describe_pending().iter().any(|fact| fact.ends_with("created")));
        // The process is killed here; the next one finds the names, appends under them, and then power fails.
        let left = Arc::new(moment);
        let mut next = options().open_in(left.clone()).unwrap();
        let _ = next.append(operation(1_000)).unwrap();
        let acknowledged = next.checkpoint();
        let after = options().open_in(Arc::new(left.crashed(&Subset::none())));
        assert_eq!(after.unwrap().checkpoint(), acknowledged, "killed after call {calls}");
    }
    assert!(pending_names > 0, "some kill fell between a name and its sync");
}

#[test]
fn a_snapshot_made_behind_a_segment_that_has_no_frame_yet_is_whole_and_used() {
    let disk = created();
    let mut ledger = options().open_in(disk.clone()).unwrap();
    disk.keep_moments();
    (0..40).for_each(|number| assert!(ledger.append(operation(number)).is_ok()));
    drop(ledger);
    let mut begun = 0;
    for (call, moment) in disk.moments() {
        let files = moment.files();
        let (last, bytes) = files.range("log/".to_owned().."log0".to_owned()).next_back().unwrap();
        if bytes.len() != 96 {
            continue; // killed at another place than between a segment's header and its first frame
        }
        begun += 1;
        let left = Arc::new(moment.killed());
        let mut ledger = options().open_in(left.clone()).unwrap();
        let made = ledger.snapshot().unwrap();
        drop(ledger);
        let report = Audit::run_in(left.clone(), None, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "call {call}, {last}: {:?}", report.faults);
        assert_eq!(report.snapshots, [made.records]);
        let mut ledger = options().open_in(left.clone()).unwrap();
        assert_eq!(ledger.recovery().from_snapshot, Some(made.records), "call {call}");
        let _ = ledger.append(operation(100)).unwrap();
        let checkpoint = ledger.checkpoint();
        drop(ledger);
        assert_eq!(options().open_in(left.clone()).unwrap().checkpoint(), checkpoint);
        assert!(Audit::run_in(left, Some(checkpoint), &mut |_| {}).unwrap().is_ok());
    }
    assert!(begun > 3, "{begun}");
}

#[test]
fn wherever_power_fails_while_a_ledger_is_created_there_is_a_whole_one_or_none() {
    let disk = Arc::new(SimulatedDisk::new());
    disk.keep_moments();
    drop(options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
    let (mut whole, mut none) = (0, 0);
    for (calls, moment) in disk.moments() {
        for subset in Subset::all_or_some(moment.pending(), 12, 0, 1) {
            match options().open_in(Arc::new(moment.crashed(&subset))) {
                Ok(ledger) => whole += usize::from(ledger.checkpoint().records == 1),
                Err(OpenError::Identity(IdentityError::Missing { .. })) => none += 1,
                Err(error) => panic!("call {calls} {subset}: {error}"),
            }
        }
    }
    assert!(whole > 0 && none > 0, "{whole} {none}");
}
