//! The campaign: power cuts after every storage call, failing calls, rot, killed processes, and directories that others move. See
//! docs/testing.md.
//!
//! ```console
//! $ cargo test --release --features testing --test campaign -- --states 2000000 --seed 1
//! ```
#![expect(clippy::disallowed_types, reason = "it measures how fast it is")]

mod beside;
mod crash;
mod fault;
mod history;
mod kill;
mod oracle;
mod place;
mod rot;
mod table;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::crash::{Search, scenarios};
use crate::fault::Faults;
use crate::oracle::Oracle;
use crate::rot::Rot;
use crate::table::{Effort, Row};

/// What a plain `cargo test` has time for.
const QUICK: Effort =
    Effort { exhaustive: 6, samples: 40, recoveries: 2, stride: 61, kills: 3, places: 12, audits: 60 };
/// What `--states` buys.
const FULL: Effort = Effort {
    exhaustive: 12,
    samples: 4_096,
    recoveries: 32,
    stride: 1,
    kills: 500,
    places: 3_000,
    audits: 2_000,
};

struct Arguments {
    states: u64,
    seed: u64,
    threads: usize,
    only: Option<String>,
    effort: Effort,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { states: 0, seed: 1, threads: 1, only: None, effort: QUICK };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"));
        match &word[..] {
            "--states" => (found.states, found.effort) = (number(value()?)?, FULL),
            "--seed" => found.seed = number(value()?)?,
            "--threads" => found.threads = usize::try_from(number(value()?)?).unwrap_or(1),
            "--only" => found.only = Some(value()?),
            "--kills" => found.effort.kills = number(value()?)?,
            "--places" => found.effort.places = number(value()?)?,
            "--audits" => found.effort.audits = number(value()?)?,
            _ => {
                return Err(format!(
                    "{word} is not known; expected --states, --seed, --threads, --only, --kills, --places or --audits"
                ));
            }
        }
    }
    Ok(found)
}

/// All scenarios in rounds, each with other histories, until there are enough states.
fn crashes(arguments: &Arguments) -> Vec<Row> {
    let mut scenarios = scenarios();
    scenarios.retain(|scenario| arguments.only.as_deref().is_none_or(|only| scenario.name.contains(only)));
    let (next, states) = (AtomicUsize::new(0), AtomicU64::new(0));
    let rows = Mutex::new(Vec::new());
    let work = || {
        loop {
            let item = next.fetch_add(1, Ordering::SeqCst);
            let round = (item / scenarios.len().max(1)) as u64;
            if scenarios.is_empty() || round > 0 && states.load(Ordering::SeqCst) >= arguments.states {
                return;
            }
            let (scenario, seed) = (&scenarios[item % scenarios.len()], arguments.seed + round);
            let oracle = Oracle::new(Arc::new(scenario.history(seed)), scenario.home());
            let mut done = Search { scenario, effort: &arguments.effort, seed, oracle }.run();
            for row in &mut done {
                for violation in &mut row.violations {
                    *violation = format!("--only \"{}\" --seed {seed}: {violation}", row.scenario);
                }
            }
            states.fetch_add(done.iter().map(|row| row.states).sum(), Ordering::SeqCst);
            rows.lock().expect("no worker panics").push((item, done));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(work);
        }
    });
    let mut rows = rows.into_inner().expect("no worker panics");
    rows.sort_by_key(|(item, _)| *item);
    rows.into_iter().flat_map(|(_, rows)| rows).collect()
}

/// All scenarios under all faults.
fn faults(arguments: &Arguments) -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in scenarios() {
        if arguments.only.as_deref().is_none_or(|only| scenario.name.contains(only)) {
            rows.extend(Faults::new(&scenario, &arguments.effort, arguments.seed).run());
        }
    }
    rows
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child, append, dir] = &words[..]
        && (&child[..], &append[..]) == ("--child", "append")
    {
        kill::child(dir.as_ref());
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut rows = crashes(&arguments);
    rows.extend(faults(&arguments));
    table::print(&rows);
    let mut violations: Vec<String> = rows.into_iter().flat_map(|row| row.violations).collect();
    if arguments.only.is_none() {
        let started = Instant::now();
        let mut rot = Rot::new(arguments.seed);
        rot.run(arguments.effort.stride);
        rot.print();
        println!("{:.1} s", started.elapsed().as_secs_f64());
        violations.append(&mut rot.violations);

        let started = Instant::now();
        let mut kills = kill::run(arguments.effort.kills, arguments.seed);
        println!(
            "\n{} processes killed, {} appends acknowledged, {} recoveries, {} violations, {:.1} s",
            kills.kills,
            kills.acknowledged,
            kills.recovered,
            kills.violations.len(),
            started.elapsed().as_secs_f64()
        );
        violations.append(&mut kills.violations);

        let started = Instant::now();
        let mut places = place::run(arguments.effort.places, arguments.seed);
        println!(
            "{} directories moved, linked or unlocked, {} writers stopped, {} refused, {} violations, {:.1} s",
            places.rounds,
            places.stopped,
            places.refused,
            places.violations.len(),
            started.elapsed().as_secs_f64()
        );
        violations.append(&mut places.violations);
    }
    if arguments.only.as_deref().is_none_or(|only| only == "audits") {
        let started = Instant::now();
        let mut audits = beside::run(arguments.effort.audits, arguments.seed);
        println!(
            "\n{} audits beside a writer that erased {} times, {} gave up, {} violations, {:.1} s",
            audits.runs,
            audits.turns,
            audits.busy,
            audits.violations.len(),
            started.elapsed().as_secs_f64()
        );
        violations.append(&mut audits.violations);
    }
    for violation in violations.iter().take(20) {
        println!("VIOLATION {violation}");
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
