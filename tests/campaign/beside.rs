//! Audits beside a writer that erases: real files, small segments, two threads. A whole ledger is never called damaged.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use identity_ledger::audit::Audit;
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::*;

use crate::history::Chance;
use crate::oracle::options;

/// A new ledger after so many turns of the writer: an audit walks all of it.
const TURNS_PER_LEDGER: u64 = 25;
/// Persons that are there when it begins.
const PERSONS: u64 = 60;
/// Audits during one turn, at most.
const AUDITS_PER_TURN: u64 = 10;

/// What the audits said.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    pub(crate) runs: u64,
    pub(crate) turns: u64,
    /// Audits that gave up, because the log was another each time.
    pub(crate) busy: u64,
    pub(crate) violations: Vec<String>,
}

fn id(person: u64) -> DistinctId {
    DistinctId::new(format!("person-{person}")).expect("an id")
}

fn arrive(ledger: &mut Ledger, person: u64) {
    let at = Timestamp::from_micros(i64::try_from(person).expect("few persons")).expect("a time");
    let value = "x".repeat(usize::try_from(person * 37 % 300).expect("less than 300"));
    let operation = Operation::properties(at, id(person)).set("text", value).expect("a value");
    let _ = ledger.append(operation).expect("the disk is well");
}

/// One turn of the writer: somebody arrives, somebody is erased, and now and then there is a snapshot.
fn turn(ledger: &mut Ledger, turn: u64, chance: &mut Chance) {
    arrive(ledger, PERSONS + turn);
    let at = Timestamp::from_micros(0).expect("a time");
    let gone = chance.below(PERSONS + turn);
    // Whoever was erased before is unknown by now.
    ledger.erase(&[ErasureRequest::new(at, ErasureSubject::PersonOf(id(gone)), "")]).ok();
    if turn % 4 == 3 {
        ledger.snapshot().expect("the disk is well");
    }
}

/// Audits so many times while a writer takes its turns.
pub(crate) fn run(runs: u64, seed: u64) -> Audits {
    let mut chance = Chance(seed);
    let mut done = Audits::default();
    while done.runs < runs {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("ledger");
        let options = options().segment_bytes(4_096);
        let mut ledger = options.create(&dir, Tenant::default(), Policy::default()).expect("a new ledger");
        (0..PERSONS).for_each(|person| arrive(&mut ledger, person));
        for number in 0..TURNS_PER_LEDGER {
            if done.runs >= runs {
                break;
            }
            let (draw, wait) = (chance.below(u64::MAX), Duration::from_micros(chance.below(2_000)));
            let is_done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let (ledger, is_done) = (&mut ledger, &is_done);
                scope.spawn(move || {
                    turn(ledger, number, &mut Chance(draw));
                    is_done.store(true, Ordering::SeqCst);
                });
                std::thread::sleep(wait);
                for _ in 0..AUDITS_PER_TURN.min(runs - done.runs) {
                    let finished = is_done.load(Ordering::SeqCst);
                    audit(&dir, &mut done);
                    if finished {
                        break;
                    }
                }
            });
            done.turns += 1;
        }
    }
    done
}

fn audit(dir: &Path, done: &mut Audits) {
    done.runs += 1;
    let run = done.runs;
    match Audit::run(dir, None, &mut |_| {}) {
        Ok(report) if report.is_ok() => {}
        Ok(report) => done.violations.push(format!("audit {run} says damaged: {:?}", report.faults)),
        Err(OpenError::Busy { .. }) => done.busy += 1,
        Err(error) => done.violations.push(format!("audit {run}: {error}")),
    }
}
