//! What the campaign prints.

use std::time::{Duration, Instant};

/// How much is tried in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// All subsets of up to so many pending facts.
    pub(crate) exhaustive: usize,
    /// So many subsets of more.
    pub(crate) samples: usize,
    /// Crashed disks, for each scenario and depth, whose recovery is made to crash.
    pub(crate) recoveries: usize,
    /// Every so many-th bit, length or byte of room, where there are too many for a quick pass.
    pub(crate) stride: usize,
    /// Processes killed.
    pub(crate) kills: u64,
    /// Audits beside a writer that erases.
    pub(crate) audits: u64,
    /// Directories that are moved, linked or unlocked under a writer.
    pub(crate) places: u64,
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) calls: u64,
    pub(crate) states: u64,
    pub(crate) distinct: u64,
    /// States in which a reader showed less than the writer had promised; see the oracle.
    pub(crate) behind: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) started: Option<Instant>,
    pub(crate) time: Duration,
}

impl Row {
    fn name(&self) -> String {
        if self.phase.is_empty() {
            self.scenario.to_owned()
        } else {
            format!("{}: {}", self.scenario, self.phase)
        }
    }
}

/// Adds up the rounds of a scenario and prints all.
pub(crate) fn print(rows: &[Row]) {
    let mut sums: Vec<Row> = Vec::new();
    for row in rows {
        match sums.iter_mut().find(|sum| sum.name() == row.name()) {
            Some(sum) => {
                sum.calls += row.calls;
                sum.states += row.states;
                sum.distinct += row.distinct;
                sum.behind += row.behind;
                sum.time += row.time;
                sum.violations.extend(row.violations.iter().cloned());
            }
            None => sums.push(row.clone()),
        }
    }
    println!(
        "{:<44} {:>8} {:>10} {:>9} {:>9} {:>5} {:>9}",
        "scenario", "calls", "states", "distinct", "behind", "bad", "states/s"
    );
    let mut total = Row { scenario: "together", ..Row::default() };
    for row in &sums {
        line(row);
        total.calls += row.calls;
        total.states += row.states;
        total.distinct += row.distinct;
        total.behind += row.behind;
        total.time += row.time;
        total.violations.extend(row.violations.iter().cloned());
    }
    line(&total);
}

fn line(row: &Row) {
    let rate = row.states as f64 / row.time.as_secs_f64().max(1e-6);
    println!(
        "{:<44} {:>8} {:>10} {:>9} {:>9} {:>5} {:>9.0}",
        row.name(),
        row.calls,
        row.states,
        row.distinct,
        row.behind,
        row.violations.len(),
        rate
    );
}
