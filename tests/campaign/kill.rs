//! Real processes, killed: what a child reported as recorded is in the ledger when the parent opens it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use identity_ledger::audit::Audit;
use identity_ledger::*;

use crate::history::Chance;
use crate::oracle::options;

/// A new ledger after so many kills: replaying grows with the log.
const KILLS_PER_LEDGER: u64 = 25;
/// What a child appends if it is not killed before: on a busy machine its parent may come late.
const APPENDS: usize = 2_000;

fn capture(number: u64) -> Operation {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let id = DistinctId::new(format!("id-{}", number % 50)).unwrap();
    let operation = Operation::capture(at, id, OperationId(uuid::Uuid::from_u128(number.into())));
    operation.set("text", "x".repeat(usize::try_from(number * 37 % 300).unwrap())).unwrap()
}

/// The operations in the ledger: how many, if they are 0, 1, 2 and so on.
fn count(ledger: &Ledger) -> Result<u64, String> {
    let (mut count, mut wrong) = (0, None);
    let walked = ledger.reader().replay(|step| {
        if let Some(id) = step.record.operation_id() {
            if id.0.as_u128() != u128::from(count) {
                wrong = Some(format!("operation {} stands in place {count}", id.0.as_u128()));
            }
            count += 1;
        }
    });
    walked.map_err(|fault| fault.to_string())?;
    wrong.map_or(Ok(count), Err)
}

/// The child: appends until it is killed and says which number is recorded.
pub(crate) fn child(dir: &Path) {
    let mut ledger = Ledger::open(dir).expect("the parent made a ledger");
    let mut out = std::io::stdout().lock();
    for number in (count(&ledger).expect("the parent looked")..).take(APPENDS) {
        let _ = ledger.append(capture(number)).expect("the disk is well");
        // A parent that is gone ends the child.
        if writeln!(out, "{number}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// What the loop did.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    pub(crate) kills: u64,
    pub(crate) acknowledged: u64,
    /// Kills after which opening found something to recover.
    pub(crate) recovered: u64,
    pub(crate) violations: Vec<String>,
}

/// Starts and kills so many children.
pub(crate) fn run(kills: u64, seed: u64) -> Kills {
    let mut chance = Chance(seed);
    let mut done = Kills::default();
    while done.kills < kills {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("ledger");
        let options = options().segment_bytes(4_096);
        drop(options.create(&dir, Tenant::default(), Policy::default()).expect("a new ledger"));
        let mut before = 0;
        for _ in 0..KILLS_PER_LEDGER.min(kills - done.kills) {
            let reported = kill_one(&dir, Duration::from_micros(chance.below(12_000)));
            done.kills += 1;
            match after_kill(&dir, before, reported, &mut done) {
                Ok(count) => before = count,
                Err(wrong) => done.violations.push(format!("kill {} seed {seed}: {wrong}", done.kills)),
            }
        }
    }
    done
}

/// How many operations are recorded, by the child's last word; `None` if it did not get to say one.
fn kill_one(dir: &Path, after: Duration) -> Option<u64> {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--child", "append"]).arg(dir).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its standard output"));
    let mut line = String::new();
    let mut last = None;
    let mut next = |lines: &mut BufReader<_>| {
        line.clear();
        let read = lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n');
        read.then(|| line.trim_end().parse::<u64>().expect("a number"))
    };
    if !after.as_micros().is_multiple_of(4) {
        last = next(&mut lines); // else it may die while it opens
    }
    std::thread::sleep(after);
    child.kill().expect("the child is killed");
    child.wait().expect("the child is gone");
    while let Some(number) = next(&mut lines) {
        last = Some(number);
    }
    last.map(|number| number + 1)
}

fn after_kill(dir: &Path, before: u64, reported: Option<u64>, done: &mut Kills) -> Result<u64, String> {
    let ledger = Ledger::open(dir).map_err(|error| error.to_string())?;
    done.recovered += u64::from(!ledger.recovery().is_clean());
    let found = count(&ledger)?;
    let promised = reported.unwrap_or(before);
    done.acknowledged += promised - before;
    // One more may have been on its way.
    if !(promised..=promised + 1).contains(&found) {
        return Err(format!("{found} operations found, {promised} reported"));
    }
    let checkpoint = ledger.checkpoint();
    drop(ledger);
    let report = Audit::run(dir, Some(checkpoint), &mut |_| {}).map_err(|error| error.to_string())?;
    if report.is_ok() { Ok(found) } else { Err(format!("the audit: {:?}", report.faults)) }
}
