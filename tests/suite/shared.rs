//! A ledger that many threads share: whoever is told that its record is durable finds it after any power cut, syncs are shared, and
//! a failing one is the last.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::fold::Step;
use identity_ledger::sharing::Ticket;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::testing::disk::{DiskFault, SimulatedDisk, Subset};
use identity_ledger::*;

use crate::support::gate::Gate;

fn at(number: usize) -> Timestamp {
    Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// Of whom thread `thread` speaks at its `number`th: mostly of its own persons, now and then of one whom all know.
fn who(thread: usize, number: usize) -> DistinctId {
    if number % 3 == 2 { id("all") } else { id(&format!("{thread}-{}", number % 7)) }
}

fn said(thread: usize, number: usize) -> Operation {
    let who = who(thread, number);
    match number % 3 {
        0 => Operation::identify(at(number), who, Some(Source::new(&format!("anon-{thread}-{number}")))),
        1 => Operation::properties(at(number), who).set("number", number as i64).unwrap(),
        _ => Operation::properties(at(number), who).set(&format!("of-{thread}"), true).unwrap(),
    }
}

fn options() -> LedgerOptions<'static> {
    LedgerOptions::new().seeded(1).segment_bytes(limits::MIN_SEGMENT_BYTES * 4)
}

fn shared_on(disk: Arc<dyn Storage>, durability: Durability) -> SharedLedger {
    let options = options().durability(durability);
    SharedLedger::new(options.create_in(disk, Tenant::default(), Policy::default()).unwrap())
}

/// Every thread's records are there once, in its own order, and the state is what a replay of the log makes of them.
#[test]
fn what_threads_write_is_one_log_that_replays_to_the_same_state() {
    let ledger = shared_on(Arc::new(Memory::new()), Durability::Immediate);
    let seqs: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let write = |thread| {
            let ledger = ledger.clone();
            scope.spawn(move || {
                let append = |number| ledger.append(said(thread, number)).unwrap().seq().unwrap().0;
                (0..60).map(append).collect()
            })
        };
        let threads: Vec<_> = (0..8).map(write).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(seqs.iter().all(|seqs| seqs.is_sorted_by(|a, b| a < b)));
    let mut all: Vec<u64> = seqs.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 8 * 60);
    let ledger = ledger.into_inner().expect("the threads' clones are gone");
    assert_eq!(ledger.durable_records(), ledger.checkpoint().records);
    let mut digest = None;
    ledger.reader().replay(|step| digest = Some(step.state.digest())).unwrap();
    assert_eq!(digest, Some(ledger.reader().state().digest()));
}

/// While threads write, the power is cut again and again, in every way: what anybody was told is durable by then is there.
#[test]
fn who_was_told_that_a_record_is_durable_finds_it_after_any_power_cut() {
    const THREADS: usize = 6;
    const CUTS: usize = 20;
    const TOLD_BETWEEN_CUTS: usize = 12;
    for durability in [Durability::Immediate, Durability::Witnessed] {
        let disk = Arc::new(SimulatedDisk::new());
        let ledger = shared_on(disk.clone(), durability);
        // A thread that was told waits until it is heard. So the threads write between two cuts, and no more than is counted here.
        let (tell, heard) = sync_channel(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ledger, tell) = (ledger.clone(), tell.clone());
                scope.spawn(move || {
                    for number in 0..CUTS * TOLD_BETWEEN_CUTS / THREADS {
                        let seq = ledger.append(said(thread, number)).unwrap().seq().unwrap().0;
                        tell.send((seq, who(thread, number))).expect("the main thread hears all of them");
                    }
                });
            }
            drop(tell);
            let mut told = BTreeMap::new();
            for subset in [Subset::none(), Subset::all()].iter().cycle().take(CUTS) {
                told.extend(heard.iter().take(TOLD_BETWEEN_CUTS));
                let reopened = options().open_in(Arc::new(disk.crashed(subset))).expect("a cut is no damage");
                let mut found = BTreeMap::new();
                let note = |step: Step<'_>| {
                    if let Some(head) = step.record.body().head() {
                        found.insert(
                            step.record.seq().0,
                            reopened.reader().id_text(head.id).unwrap().to_owned(),
                        );
                    }
                };
                reopened.reader().replay(note).unwrap();
                for (seq, who) in &told {
                    assert_eq!(found.get(seq).map(String::as_str), Some(who.as_str()), "record {seq}");
                }
            }
            assert_eq!(told.len(), CUTS * TOLD_BETWEEN_CUTS);
        });
    }
}

/// Ten threads write while the disk is at the first one's sync: nobody waits to write or to read, nobody is told too early, and
/// one more sync does for all of them.
#[test]
fn whoever_writes_during_a_sync_shares_the_next_one() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    let before = ledger.read(|book| book.checkpoint().records);
    disk.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ledger.append(Operation::properties(at(0), id("first"))).unwrap());
        disk.wait_for(1);
        let others: Vec<_> = (0..10)
            .map(|thread| {
                let ledger = ledger.clone();
                scope.spawn(move || ledger.append(said(thread, 1)).unwrap())
            })
            .collect();
        // Their records are there, to be read, while the disk is still at the first: who waits holds nobody up.
        while ledger.read(|book| book.persons().count()) < 11 {
            std::thread::yield_now();
        }
        assert_eq!(ledger.durable_records(), before);
        assert!(!first.is_finished() && others.iter().all(|other| !other.is_finished()));
        assert_eq!(disk.open(), 1, "one at a time");
        let mut seqs: Vec<_> = others.into_iter().map(|other| other.join().unwrap().seq()).collect();
        seqs.push(first.join().unwrap().seq());
        assert_eq!(ledger.durable_records(), ledger.read(|book| book.checkpoint().records));
    });
    assert_eq!(disk.come(), 2, "the first thread's sync, and one for ten");
}

/// A duplicate of a record that is not durable yet is told no sooner than the record itself.
#[test]
fn a_duplicate_waits_for_what_it_repeats() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    let operation = Operation::capture(at(1), id("ann"), OperationId(uuid::Uuid::from_u128(7)));
    disk.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ledger.append(operation.clone()).unwrap());
        disk.wait_for(1);
        let again = scope.spawn(|| ledger.append(operation.clone()).unwrap());
        while ledger.read(|book| book.checkpoint().records) < 3 {
            std::thread::yield_now();
        }
        assert!(!again.is_finished() && !first.is_finished());
        disk.open();
        let Appended::Recorded { seq, .. } = first.join().unwrap() else { panic!("it was the first") };
        assert_eq!(again.join().unwrap(), Appended::Duplicate { seq });
    });
    // Nothing is written for a refusal to record, and nobody waits for the disk.
    disk.close();
    let wrong =
        Operation::properties(at(1), id("ann")).set("x", "y".repeat(limits::MAX_OPERATION_BYTES)).unwrap();
    assert!(matches!(ledger.append(wrong), Err(AppendError::Operation { .. })));
    assert_eq!(disk.open(), 0);
}

/// A sync that fails leaves everybody who waits in doubt, and is the last; opening anew finds what there is.
#[test]
fn a_failing_sync_is_everybodys_and_the_last() {
    for durability in [Durability::Immediate, Durability::Witnessed] {
        let disk = Arc::new(SimulatedDisk::new());
        let ledger = shared_on(disk.clone(), durability);
        let _ = ledger.append(Operation::properties(at(0), id("before"))).unwrap();
        let durable = ledger.durable_records();
        let syncs = disk.calls();
        disk.fail_from(syncs.len() as u64 + 1, DiskFault::CleanPages);
        let errors: Vec<AppendError> = std::thread::scope(|scope| {
            let write = |thread| {
                let ledger = ledger.clone();
                scope.spawn(move || ledger.append(said(thread, 1)).unwrap_err())
            };
            let threads: Vec<_> = (0..6).map(write).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for error in &errors {
            match error {
                AppendError::Indeterminate { seq, .. } => assert_eq!(*seq, durable),
                AppendError::Poisoned { .. } => {} // it came too late to write
                other => panic!("{other}"),
            }
        }
        assert!(errors.iter().any(|error| matches!(error, AppendError::Indeterminate { .. })));
        assert_eq!(ledger.durable_records(), durable);
        let late = ledger.append(Operation::properties(at(0), id("late"))).unwrap_err();
        assert!(matches!(late, AppendError::Poisoned { .. }), "{late}");
        assert!(ledger.resolve("before").is_some(), "reads go on");
        drop(ledger);
        let reopened = options().open_in(Arc::new(disk.crashed(&Subset::none()))).unwrap();
        assert!(reopened.resolve("before").is_some() && reopened.resolve("late").is_none());
    }
}

/// A thread that panics while it has the ledger for itself takes nobody's records away, and nothing more is written after it.
#[test]
fn a_panic_while_writing_stops_writing_and_nothing_else() {
    let ledger = shared_on(Arc::new(Memory::new()), Durability::Immediate);
    let _ = ledger.append(Operation::properties(at(0), id("ann"))).unwrap();
    let other = ledger.clone();
    let panicked = std::thread::spawn(move || {
        other.write(|ledger| {
            let _ = ledger.append(Operation::properties(at(0), id("bob")))?;
            if ledger.reader().resolve("bob").is_some() {
                panic!("on purpose");
            }
            Ok::<(), AppendError>(())
        })
    });
    assert!(panicked.join().is_err());
    let refused = ledger.append(Operation::properties(at(0), id("eve"))).unwrap_err();
    assert!(refused.to_string().contains("panicked while it wrote"), "{refused}");
    assert_eq!(["ann", "bob", "eve"].map(|name| ledger.resolve(name).is_some()), [true, true, false]);
    assert_eq!(ledger.read(|book| book.persons().count()), 2);
}

/// A disk whose sync panics while others wait for it: they hear of it, and do not wait for ever.
#[test]
fn a_panic_while_syncing_leaves_nobody_waiting() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    disk.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ledger.append(Operation::properties(at(0), id("first"))));
        disk.wait_for(1);
        let second = scope.spawn(|| ledger.append(Operation::properties(at(0), id("second"))));
        while ledger.read(|book| book.persons().count()) < 2 {
            std::thread::yield_now();
        }
        disk.break_down();
        assert!(first.join().is_err(), "the panic is its own");
        let told = second.join().unwrap().unwrap_err();
        assert!(matches!(told, AppendError::Indeterminate { .. } | AppendError::Poisoned { .. }), "{told}");
    });
    let late = ledger.append(Operation::properties(at(0), id("late"))).unwrap_err();
    assert!(late.to_string().contains("panicked while it synced"), "{late}");
}

/// However a shared ledger stopped, the process can open it again without having to find every clone, and nothing that is left of it
/// ever writes again.
#[test]
fn a_shared_ledger_that_stopped_is_opened_again_beside_its_clones_and_stays_stopped() {
    for sync_fails in [false, true] {
        let disk = Arc::new(SimulatedDisk::new());
        let ledger = shared_on(disk.clone(), Durability::Immediate);
        let _ = ledger.append(Operation::properties(at(0), id("before"))).unwrap();
        if sync_fails {
            disk.fail_once(disk.call_count() + 1, DiskFault::CleanPages); // after the write
            ledger.append(Operation::properties(at(0), id("in doubt"))).unwrap_err();
        } else {
            let write = || ledger.write(|_| -> Result<(), AppendError> { panic!("on purpose") });
            assert!(catch_unwind(AssertUnwindSafe(write)).is_err());
        }
        let clone = ledger.clone();
        let mut again = options().open_in(disk.clone()).expect("nothing holds the lock");
        let _ = again.append(Operation::properties(at(1), id("again"))).unwrap();
        for stopped in [&ledger, &clone] {
            let late = stopped.append(Operation::properties(at(2), id("late"))).unwrap_err();
            assert!(matches!(late, AppendError::Poisoned { .. }), "{late}");
            assert!(stopped.flush().is_err() && stopped.resolve("before").is_some());
        }
        let _ = again.append(Operation::properties(at(3), id("and again"))).unwrap();
        drop(clone);
        let mut alone = ledger.into_inner().expect("this one was the last");
        let late = alone.append(Operation::properties(at(4), id("late"))).unwrap_err();
        assert!(matches!(late, AppendError::Poisoned { .. }), "{late}");
        assert!(alone.flush().is_err() && alone.snapshot().is_err() && alone.new_device(at(4)).is_err());
        assert!(alone.set_policy(&Policy::preset(Preset::OneUser)).is_err());
        let before = ErasureSubject::PersonOf(id("before"));
        assert!(alone.erase(&[ErasureRequest::new(at(4), before, "asked")]).is_err());
        drop(alone);
        let end = again.checkpoint();
        assert!(matches!(options().open_in(disk.clone()), Err(OpenError::Locked { .. })));
        drop(again);
        let whole = options().open_in(disk).unwrap();
        assert_eq!(whole.checkpoint(), end);
        let found = ["before", "again", "and again", "late"].map(|name| whole.resolve(name).is_some());
        assert_eq!(found, [true, true, true, false]);
    }
}

/// A thread that is at its write when another's sync fails may still write: until it is done, no second writer gets in.
#[test]
fn a_ledger_that_stops_keeps_its_lock_until_its_last_write_is_done() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    disk.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ledger.append(Operation::properties(at(0), id("first"))));
        disk.wait_for(1);
        disk.writes.close();
        let second = scope.spawn(|| ledger.append(Operation::properties(at(0), id("second"))));
        disk.writes.wait_for(1);
        disk.break_down();
        for _ in 0..100 {
            assert!(matches!(options().open_in(disk.clone()), Err(OpenError::Locked { .. })));
        }
        disk.writes.open();
        assert!(first.join().is_err(), "the panic is its own");
        second.join().unwrap().unwrap_err();
    });
    disk.is_broken.store(false, Ordering::SeqCst);
    let mut again = options().open_in(disk).expect("nothing holds the lock");
    let _ = again.append(Operation::properties(at(1), id("again"))).unwrap();
    assert!(ledger.append(Operation::properties(at(2), id("late"))).is_err());
}

/// All that one thread can ask of a ledger, a sharing one can.
#[test]
fn everything_else_goes_through_read_and_write() {
    let ledger = shared_on(Arc::new(Memory::new()), Durability::Immediate);
    drop(ledger.append_batch(&[said(0, 0), said(0, 1)]).unwrap());
    let phone = DeviceId::new("phone").unwrap();
    let _ =
        ledger.write(|ledger| ledger.device(phone).identify(at(1), id("ann"), Changes::default())).unwrap();
    let policy = Policy::preset(Preset::OneUser);
    let seq = ledger.set_policy(&policy).unwrap();
    assert_eq!(ledger.read(|book| book.policy().clone()), policy);
    assert!(ledger.person_as_of("ann", seq).is_some() && ledger.person_as_of("ann", Seq(0)).is_none());
    let profile = ledger.profile("0-1").unwrap().expect("it has a property");
    assert_eq!(profile.properties.len(), 1);
    let ann = ErasureSubject::PersonOf(id("ann"));
    let erased = ledger.write(|ledger| ledger.erase(&[ErasureRequest::new(at(9), ann, "asked")])).unwrap();
    assert_eq!(erased.len(), 1);
    assert!(ledger.resolve("ann").is_none());
    assert_eq!(ledger.flush().unwrap().records, ledger.durable_records());
    let second = ledger.clone();
    assert!(second.into_inner().is_none(), "another clone is left");
    let mut alone = ledger.into_inner().expect("this one was the last");
    let _ = alone.append(said(0, 4)).unwrap();
    assert_eq!(alone.durable_records(), alone.checkpoint().records, "as durable as before it was shared");
}

/// `Buffered` appends wait for no sync; `flush` makes all of them durable.
#[test]
fn buffered_appends_wait_for_nobody() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Buffered);
    let before = ledger.durable_records();
    disk.close();
    for number in 0..20 {
        let _ = ledger.append(said(0, number % 2)).unwrap();
    }
    assert_eq!((disk.open(), ledger.durable_records()), (0, before));
    let flushed = ledger.flush().unwrap();
    assert_eq!(ledger.durable_records(), flushed.records);
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(Mutex<usize>, Condvar);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }
}

impl Bell {
    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |rung| *rung == 0).unwrap());
    }
}

fn poll<T: Unpin>(ticket: &mut Ticket<T>, bell: &Arc<Bell>) -> Poll<Result<T, AppendError>> {
    Pin::new(ticket).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// No thread waits: the tickets are awaited, all of them are woken by one sync, and none before it.
#[test]
fn tickets_are_written_at_once_and_ready_when_they_are_durable() {
    let disk = Arc::new(Gate::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    let before = ledger.read(|book| book.checkpoint().records);
    disk.close();
    let submit = |number| ledger.submit(|ledger| ledger.append(said(1, number))).unwrap();
    let mut tickets: Vec<Ticket<Appended>> = (0..4).map(submit).collect();
    let bells: Vec<Arc<Bell>> = tickets.iter().map(|_| Arc::default()).collect();
    for (ticket, bell) in tickets.iter_mut().zip(&bells) {
        assert!(poll(ticket, bell).is_pending() && !ticket.is_ready());
        assert!(ticket.answer().unwrap().outcome().is_some(), "it is written and folded");
    }
    disk.wait_for(1);
    let counts = ledger.sync_counts();
    assert_eq!((counts.syncs, counts.waiting_tickets), (0, 4));
    assert_eq!(counts.waiting_records, ledger.read(|book| book.checkpoint().records) - before);
    assert_eq!(ledger.durable_records(), before);
    disk.open();
    bells.iter().for_each(|bell| bell.wait());
    for (ticket, bell) in tickets.iter_mut().zip(&bells) {
        assert!(matches!(poll(ticket, bell), Poll::Ready(Ok(Appended::Recorded { .. }))));
    }
    let counts = ledger.sync_counts();
    assert_eq!((counts.waiting_records, counts.waiting_tickets, counts.failed), (0, 0, false));
    assert_eq!(counts.records, ledger.durable_records() - before);
    assert!(ledger.clone().into_inner().is_none() && submit(9).wait().is_ok());
    drop(tickets);
    assert!(ledger.into_inner().is_some(), "the group's own thread holds no ledger");
}

/// A ticket that is not asked again is as durable as any, and the ledger stays open for as long as it is there.
#[test]
fn a_ledger_is_closed_with_its_last_ticket() {
    let disk = Arc::new(Memory::new());
    let ledger = shared_on(disk.clone(), Durability::Witnessed);
    let mut ticket = ledger.submit(|ledger| ledger.append(said(1, 1))).unwrap();
    drop(poll(&mut ticket, &Arc::default()));
    drop(ledger);
    assert!(matches!(options().open_in(disk.clone()), Err(OpenError::Locked { .. })));
    drop(ticket);
    assert_eq!(options().open_in(disk).unwrap().reader().persons().count(), 1);
}

#[test]
fn a_sync_that_fails_is_told_to_every_ticket() {
    let disk = Arc::new(SimulatedDisk::new());
    let ledger = shared_on(disk.clone(), Durability::Immediate);
    let submit = || ledger.submit(|ledger| ledger.append(said(1, 1)));
    let (mut awaited, waited) = (submit().unwrap(), submit().unwrap());
    disk.fail_from(disk.call_count(), DiskFault::CleanPages);
    let bell: Arc<Bell> = Arc::default();
    if poll(&mut awaited, &bell).is_pending() {
        bell.wait();
        assert!(matches!(poll(&mut awaited, &bell), Poll::Ready(Err(AppendError::Indeterminate { .. }))));
    }
    assert!(matches!(waited.wait(), Err(AppendError::Indeterminate { .. })));
    assert!(matches!(submit(), Err(AppendError::Poisoned { .. })));
    assert!(ledger.sync_counts().failed);
}

/// Back-pressure: who does not wait is told to come again, at exactly the bound; who waits is let through.
#[test]
fn submit_is_refused_while_too_much_waits_for_the_disk() {
    let disk = Arc::new(Gate::new());
    let ledger = SharedLedger::new(
        LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap(),
    );
    let batch = |count: u64| -> Vec<Operation> {
        (0..count).map(|_| Operation::properties(at(1), id("a"))).collect()
    };
    ledger.append_batch(&batch(1)).unwrap().iter().for_each(|answer| assert!(answer.outcome().is_some()));
    disk.close();
    let mut tickets = Vec::new();
    let mut left = limits::MAX_WAITING_RECORDS - 1;
    while left > 0 {
        let count = left.min(10_000);
        tickets.push(ledger.submit(|ledger| ledger.append_batch(&batch(count))).unwrap());
        left -= count;
    }
    tickets.push(ledger.submit(|ledger| ledger.append_batch(&batch(1))).unwrap());
    let error = ledger.submit(|ledger| ledger.append_batch(&batch(1))).unwrap_err();
    assert!(matches!(error, AppendError::Busy { waiting: limits::MAX_WAITING_RECORDS }), "{error}");
    disk.open();
    assert_eq!(ledger.append_batch(&batch(1)).unwrap().len(), 1);
    assert!(ledger.submit(|ledger| ledger.append_batch(&batch(1))).is_ok());
    assert!(tickets.iter().all(Ticket::is_ready));
}
