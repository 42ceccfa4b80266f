//! Every storage call fails in turn: once, and from then on; and then power fails, at once or after the ledger was reopened.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use identity_ledger::OpenError;
use identity_ledger::testing::disk::{Call, DiskFault, SimulatedDisk, Subset};

use crate::crash::{Journal, Scenario};
use crate::history::History;
use crate::oracle::{Bounds, Oracle};
use crate::table::{Effort, Row};

/// A kind of failure: its name, what happens, and whether it may go on for ever. Reads that go wrong for ever are rot.
type Kind = (&'static str, DiskFault, bool);

const KINDS: [Kind; 6] = [
    ("a call fails", DiskFault::Fails(ErrorKind::Other), true),
    ("a call is interrupted", DiskFault::Fails(ErrorKind::Interrupted), true),
    ("a call fails, and was done", DiskFault::FailsAfterwards(ErrorKind::Other), true),
    ("half of a write or read", DiskFault::Short, false),
    ("an old version is read", DiskFault::Stale, false),
    ("a sync fails, pages clean", DiskFault::CleanPages, true),
];

/// One scenario under all failures.
pub(crate) struct Faults<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) effort: &'a Effort,
    pub(crate) seed: u64,
    history: Arc<History>,
    oracle: Oracle,
}

impl Faults<'_> {
    pub(crate) fn new<'a>(scenario: &'a Scenario, effort: &'a Effort, seed: u64) -> Faults<'a> {
        let history = Arc::new(scenario.history(seed));
        Faults { scenario, effort, seed, oracle: Oracle::new(history.clone(), scenario.home()), history }
    }

    pub(crate) fn run(mut self) -> Vec<Row> {
        let clean = Arc::new(self.scenario.begin());
        let before: usize = clean.files().values().map(|bytes| bytes.len()).sum();
        self.scenario.run(&clean, &self.history);
        let after: usize = clean.files().values().map(|bytes| bytes.len()).sum();
        let calls = clean.calls();
        let mut rows: Vec<Row> = KINDS.iter().map(|kind| self.each_call(&calls, kind)).collect();
        rows.push(self.each_room((after - before) as u64));
        rows
    }

    fn each_call(&mut self, calls: &[Call], (name, fault, goes_on): &Kind) -> Row {
        let mut row = self.begin_row(name);
        for (number, call) in calls.iter().enumerate() {
            if !fault.fits(*call) {
                continue;
            }
            for for_ever in [false, true] {
                if for_ever && !goes_on {
                    continue;
                }
                let disk = self.scenario.begin();
                if for_ever {
                    disk.fail_from(number as u64, *fault);
                } else {
                    disk.fail_once(number as u64, *fault);
                }
                let again = if for_ever { " and all after it" } else { "" };
                let path = format!("{name}, call {number} {call:?}{again}, ");
                self.one(disk, &path, &mut row);
            }
        }
        self.end_row(row)
    }

    fn each_room(&mut self, bytes: u64) -> Row {
        let mut row = self.begin_row("the disk is full");
        for room in (0..bytes).step_by(self.effort.stride) {
            let disk = self.scenario.begin();
            disk.set_room(room);
            self.one(disk, &format!("room for {room} bytes, "), &mut row);
        }
        self.end_row(row)
    }

    fn begin_row(&self, phase: &'static str) -> Row {
        let (started, distinct) = (Some(Instant::now()), self.oracle.distinct());
        let behind = self.oracle.readers_behind;
        Row { scenario: "faults", phase, started, distinct, behind, ..Row::default() }
    }

    fn end_row(&self, mut row: Row) -> Row {
        row.distinct = self.oracle.distinct() - row.distinct;
        row.behind = self.oracle.readers_behind - row.behind;
        row.time = row.started.map(|started| started.elapsed()).unwrap_or_default();
        row
    }

    /// The scenario on a failing disk; then a power cut, or a reopening, one more append, and a power cut.
    fn one(&mut self, disk: SimulatedDisk, path: &str, row: &mut Row) {
        let disk = Arc::new(disk);
        let journal = self.scenario.run(&disk, &self.history);
        let bounds = journal.at(disk.call_count());
        row.calls += 1;
        self.power_cut(&disk, &journal, bounds, path, row);
        let left = Arc::new(disk.killed());
        let path = format!("{path}reopened, ");
        match self.scenario.reopen(&left, &self.history, bounds) {
            Ok(journal) => {
                let bounds = journal.at(left.call_count());
                self.power_cut(&left, &journal, bounds, &path, row);
            }
            Err(OpenError::Identity(_)) if !bounds.created => {}
            Err(error) => row.violations.push(format!("\"{}\" {path}: {error}", self.scenario.name)),
        }
    }

    fn power_cut(
        &mut self,
        disk: &SimulatedDisk,
        journal: &Journal,
        bounds: Bounds,
        path: &str,
        row: &mut Row,
    ) {
        let name = self.scenario.name;
        row.violations.extend(journal.wrong.iter().map(|wrong| format!("\"{name}\" {path}: {wrong}")));
        for subset in Subset::all_or_some(disk.pending(), 5, 24, self.seed) {
            row.states += 1;
            if let Err(wrong) = self.oracle.judge(&disk.crashed(&subset), bounds) {
                let facts = disk.describe_pending().join(", ");
                row.violations.push(format!("\"{name}\" {path}power cut {subset} of ({facts}): {wrong}"));
            }
        }
    }
}
