//! Power fails after every storage call, and again while the ledger recovers, and while it recovers from that.

use std::sync::Arc;
use std::time::Instant;

use identity_ledger::storage::LedgerPlace;
use identity_ledger::storage::Storage;
use identity_ledger::testing::disk::{SimulatedDisk, SimulatedPlace, Subset};
use identity_ledger::*;

use crate::history::History;
use crate::oracle::{Bounds, Oracle, options};
use crate::table::{Effort, Row};

/// A way of using a ledger.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    durability: Durability,
    segment_bytes: u64,
    /// Batches, operations in each, and the length below which their values stay.
    size: [u64; 3],
    /// A flush after so many batches.
    flush_every: usize,
    /// The ledger is closed and opened after so many batches.
    close_every: usize,
    /// Whether the ledger is created in sight of the campaign, or before.
    creates: bool,
    /// Whether it is created as users do it: built beside its place on the disk, and renamed.
    beside: bool,
}

/// Where the ledger lies on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// The disk is its own.
    Disk,
    /// In a directory.
    Directory,
}

impl Home {
    fn place(disk: &Arc<SimulatedDisk>) -> SimulatedPlace {
        SimulatedPlace::new(disk.clone(), "ledger")
    }

    pub(crate) fn storage(self, disk: &Arc<SimulatedDisk>) -> Arc<dyn Storage> {
        match self {
            Home::Disk => disk.clone(),
            Home::Directory => Home::place(disk).storage(),
        }
    }

    /// Creates a ledger there.
    pub(crate) fn create(
        self,
        disk: &Arc<SimulatedDisk>,
        options: LedgerOptions<'_>,
    ) -> Result<Ledger, CreateError> {
        let (tenant, policy) = (Tenant::default(), Policy::default());
        match self {
            Home::Disk => options.create_in(disk.clone(), tenant, policy),
            Home::Directory => options.create_at(&Home::place(disk), tenant, policy),
        }
    }
}

const NEVER: usize = usize::MAX;

/// All scenarios.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "append, immediate",
        durability: Durability::Immediate,
        segment_bytes: 64 * 1_024,
        size: [5, 1, 700],
        flush_every: NEVER,
        close_every: NEVER,
        creates: false,
        beside: false,
    };
    let buffered = Durability::Buffered;
    vec![
        base.clone(),
        Scenario { name: "append, witnessed", durability: Durability::Witnessed, ..base.clone() },
        Scenario { name: "append, buffered", durability: buffered, flush_every: 2, ..base.clone() },
        Scenario { name: "batch", size: [3, 4, 500], ..base.clone() },
        Scenario { name: "rotation", segment_bytes: 1_024, size: [5, 1, 900], ..base.clone() },
        Scenario {
            name: "rotation, buffered",
            durability: buffered,
            segment_bytes: 1_024,
            size: [5, 1, 500],
            flush_every: 3,
            ..base.clone()
        },
        Scenario { name: "create", size: [1, 1, 100], creates: true, ..base.clone() },
        Scenario {
            name: "create beside, rename",
            size: [1, 1, 100],
            creates: true,
            beside: true,
            ..base.clone()
        },
        Scenario { name: "close and open", size: [4, 1, 300], close_every: 1, ..base.clone() },
        Scenario { name: "close, buffered", durability: buffered, size: [4, 2, 300], close_every: 2, ..base },
    ]
}

/// When batches were begun and promised, in storage calls.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    started: Vec<u64>,
    promised: Vec<(u64, usize)>,
    created: u64,
    witnessed: bool,
    /// Batches before the first.
    base: usize,
    /// An answer that a failing disk may not get.
    pub(crate) wrong: Option<String>,
}

impl Journal {
    /// What held after so many calls.
    pub(crate) fn at(&self, calls: u64) -> Bounds {
        let promised = self.promised.iter().filter(|(when, _)| *when <= calls).map(|(_, batches)| *batches);
        let issued = self.base + self.started.iter().filter(|when| **when < calls).count();
        Bounds {
            promised: promised.max().unwrap_or(0),
            issued,
            created: self.created <= calls,
            witnessed: self.witnessed,
        }
    }
}

impl Scenario {
    pub(crate) fn history(&self, seed: u64) -> History {
        let [batches, operations, bytes] = self.size;
        History::new(seed, batches, operations, bytes)
    }

    fn options(&self) -> LedgerOptions<'static> {
        options().durability(self.durability).segment_bytes(self.segment_bytes)
    }

    pub(crate) fn home(&self) -> Home {
        if self.beside { Home::Directory } else { Home::Disk }
    }

    /// A disk to begin on: with a ledger, closed and durable, unless the scenario creates it.
    pub(crate) fn begin(&self) -> SimulatedDisk {
        let disk = Arc::new(SimulatedDisk::new());
        if !self.creates {
            drop(self.options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap());
        }
        disk.crashed(&Subset::all())
    }

    /// Goes through the scenario, to its end or to the first failure.
    pub(crate) fn run(&self, disk: &Arc<SimulatedDisk>, history: &History) -> Journal {
        let witnessed = self.durability == Durability::Witnessed;
        let mut journal =
            Journal { witnessed, created: u64::from(self.creates) * u64::MAX, ..Journal::default() };
        let mut ledger = match self.start(disk) {
            Some(ledger) => ledger,
            None => return journal,
        };
        journal.created = if self.creates { disk.call_count() } else { 0 };
        let batches = &history.batches[..history.batches.len() - 1];
        for (number, batch) in batches.iter().enumerate() {
            journal.started.push(disk.call_count());
            if let Err(error) = ledger.append_batch(batch) {
                journal.wrong = refuses_from_now_on(&mut ledger, &error);
                return journal;
            }
            if self.durability != Durability::Buffered {
                journal.promised.push((disk.call_count(), number + 1));
            }
            if (number + 1) % self.flush_every == 0 {
                if let Err(error) = ledger.flush() {
                    journal.wrong = refuses_from_now_on(&mut ledger, &error);
                    return journal;
                }
                journal.promised.push((disk.call_count(), number + 1));
            }
            if (number + 1) % self.close_every == 0 {
                drop(ledger);
                let options = self.options();
                ledger = match options.open_in(self.home().storage(disk)) {
                    Ok(ledger) if history.prefix(ledger.reader()) == Some(number + 1) => ledger,
                    Ok(_) | Err(_) => return journal,
                };
                journal.promised.push((disk.call_count(), number + 1)); // it was seen in a ledger just opened
            }
        }
        if ledger.flush().is_ok() {
            journal.promised.push((disk.call_count(), batches.len()));
        }
        journal
    }

    fn start(&self, disk: &Arc<SimulatedDisk>) -> Option<Ledger> {
        if self.creates {
            self.home().create(disk, self.options()).ok()
        } else {
            self.options().open_in(self.home().storage(disk)).ok()
        }
    }

    /// Opens what is left, and appends the batch that comes next: what is seen once it is open is promised.
    /// `Err` if opening refuses.
    pub(crate) fn reopen(
        &self,
        disk: &Arc<SimulatedDisk>,
        history: &History,
        before: Bounds,
    ) -> Result<Journal, OpenError> {
        let mut journal = Journal {
            promised: vec![(0, before.promised)],
            base: before.issued,
            created: if before.created { 0 } else { u64::MAX },
            ..Journal::default()
        };
        let mut ledger = self.options().open_in(self.home().storage(disk))?;
        let Some(found) = history.prefix(ledger.reader()) else {
            journal.wrong = Some("what a reopened ledger shows is no prefix of what was asked".to_owned());
            return Ok(journal);
        };
        if !(before.promised..=before.issued).contains(&found) {
            let Bounds { promised, issued, .. } = before;
            journal.wrong = Some(format!(
                "a reopened ledger shows {found} batches; {promised} promised, {issued} issued"
            ));
            return Ok(journal);
        }
        journal.created = journal.created.min(disk.call_count());
        journal.promised.push((disk.call_count(), found));
        if let Some(next) = history.batches.get(found) {
            if found == before.issued {
                journal.started.push(disk.call_count());
            }
            match ledger.append_batch(next).map_err(|error| error.to_string()) {
                Ok(_) if self.durability == Durability::Buffered => {}
                Ok(_) => journal.promised.push((disk.call_count(), found + 1)),
                Err(error) => journal.wrong = Some(format!("a reopened ledger refuses to append: {error}")),
            }
        }
        Ok(journal)
    }
}

/// After a failed write nothing may be written through the handle.
fn refuses_from_now_on(ledger: &mut Ledger, error: &AppendError) -> Option<String> {
    let next = ledger.append(crate::history::operation(2_000_000, 0));
    match (error, next) {
        (AppendError::Indeterminate { .. }, Err(AppendError::Poisoned { .. })) => None,
        (error, next) => Some(format!("a failed append answered {error:?}, the next one {next:?}")),
    }
}

/// One scenario in one round.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) effort: &'a Effort,
    pub(crate) seed: u64,
    pub(crate) oracle: Oracle,
}

impl Search<'_> {
    /// Crashes after every call, then in recoveries, then after a kill.
    pub(crate) fn run(mut self) -> Vec<Row> {
        let history = self.oracle.history.clone();
        let disk = Arc::new(self.scenario.begin());
        disk.keep_moments();
        let journal = self.scenario.run(&disk, &history);
        let moments = disk.moments();

        let mut rows = Vec::new();
        let mut row = self.begin_row("");
        let mut dirty = Vec::new();
        self.crash_everywhere(&moments, &journal, "", &mut row, &mut dirty);
        rows.push(self.end_row(row));
        for depth in ["recovery", "recovery of that", "and of that"] {
            let mut row = self.begin_row(depth);
            let mut next = Vec::new();
            for (crashed, bounds, path) in thinned(dirty, self.effort.recoveries) {
                self.reopen_and_crash(&crashed, bounds, &path, &mut row, &mut next);
            }
            dirty = next;
            rows.push(self.end_row(row));
        }
        let mut row = self.begin_row("killed, then");
        for (calls, moment) in &moments {
            let path = format!("killed after call {calls}, ");
            self.reopen_and_crash(moment, journal.at(*calls), &path, &mut row, &mut Vec::new());
        }
        rows.push(self.end_row(row));
        rows
    }

    fn begin_row(&mut self, phase: &'static str) -> Row {
        let started = Some(Instant::now());
        let (distinct, behind) = (self.oracle.distinct(), self.oracle.readers_behind);
        Row { scenario: self.scenario.name, phase, started, distinct, behind, ..Row::default() }
    }

    fn end_row(&mut self, mut row: Row) -> Row {
        row.distinct = self.oracle.distinct() - row.distinct;
        row.behind = self.oracle.readers_behind - row.behind;
        row.time = row.started.map(|started| started.elapsed()).unwrap_or_default();
        row
    }

    fn reopen_and_crash(
        &mut self,
        left: &SimulatedDisk,
        bounds: Bounds,
        path: &str,
        row: &mut Row,
        dirty: &mut Vec<(SimulatedDisk, Bounds, String)>,
    ) {
        let disk = Arc::new(left.killed());
        disk.keep_moments();
        let history = self.oracle.history.clone();
        match self.scenario.reopen(&disk, &history, bounds) {
            Ok(journal) => {
                let wrong = journal.wrong.as_ref().map(|wrong| format!("{path}reopened: {wrong}"));
                row.violations.extend(wrong);
                self.crash_everywhere(&disk.moments(), &journal, path, row, dirty);
            }
            Err(OpenError::Identity(_)) if !bounds.created => {}
            Err(error) => row.violations.push(format!("{path}reopened: {error}")),
        }
    }

    fn crash_everywhere(
        &mut self,
        moments: &[(u64, SimulatedDisk)],
        journal: &Journal,
        path: &str,
        row: &mut Row,
        dirty: &mut Vec<(SimulatedDisk, Bounds, String)>,
    ) {
        let Effort { exhaustive, samples, .. } = *self.effort;
        row.calls += moments.len() as u64;
        for (calls, moment) in moments {
            let bounds = journal.at(*calls);
            for subset in Subset::all_or_some(moment.pending(), exhaustive, samples, self.seed ^ calls) {
                let crashed = moment.crashed(&subset);
                row.states += 1;
                match self.oracle.judge(&crashed, bounds) {
                    Ok(false) => {}
                    Ok(true) => {
                        dirty.push((
                            crashed,
                            bounds,
                            format!("{path}power cut after call {calls} {subset}, "),
                        ));
                    }
                    Err(wrong) => {
                        let facts = moment.describe_pending().join(", ");
                        row.violations.push(format!(
                            "{path}power cut after call {calls} {subset} of ({facts}): {wrong}"
                        ));
                    }
                }
            }
        }
    }
}

/// So many of them at most, from all over.
fn thinned<T>(all: Vec<T>, most: usize) -> impl Iterator<Item = T> {
    let step = all.len().div_ceil(most).max(1);
    all.into_iter().step_by(step)
}
