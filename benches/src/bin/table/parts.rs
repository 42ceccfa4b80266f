//! Our side of each line, and the loop by hand.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use identity_ledger::import::{Format, Importer, Options, Tally, run};
use identity_ledger::testing::workload::write_ops_line;
use identity_ledger::{
    Durability, Ledger, LedgerOptions, Operation, Policy, SharedLedger, Tenant,
};
use identity_ledger_benches::{ByHand, Failure, build, workload};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde_json::Value;

use crate::{Found, Place};

/// Appending threads, as many as a server has.
pub(crate) const THREADS: usize = 64;
/// How long they append.
pub(crate) const SPAN: Duration = Duration::from_secs(2);
/// Durable appends of one thread.
pub(crate) const APPENDS: usize = 20_000;
/// Where the cost of a sync is a processor's alone.
pub(crate) const TMPFS: &str = "/dev/shm";
/// Ids that are asked for again and again.
const HOT: usize = 1_000;
/// Bodies of a browser; the recording is taken again and again, each time with other ids.
const MOST_BODIES: u64 = 50_000;
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/posthog-js-1.449.2.jsonl");
const RELEASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

impl Place {
    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    pub(crate) fn lines(&self) -> PathBuf {
        self.dir.join("ops.jsonl")
    }

    pub(crate) fn bodies(&self) -> PathBuf {
        self.dir.join("posthog.jsonl")
    }

    /// Runs a part in this process.
    pub(crate) fn part(&self, part: &str) -> Result<Found, Failure> {
        let in_memory = || Ledger::in_memory(Tenant::default(), Policy::default());
        match part {
            "prepare" => self.prepare(),
            "command-replay" => self.command("replay"),
            "command-verify" => self.command("verify"),
            "replay" => self.replay(1, false),
            "replay-two" => self.replay(2, false),
            "replay-checked" => self.replay(1, true),
            "by-hand" => {
                let operations: Vec<_> = workload(self.people).collect();
                Ok(self.clocked(|| Ok(ByHand::default().fold(&operations)))?.0)
            }
            "open-log" => self.open(&self.ledger(), 0),
            "open-snapshot" => self.open(&self.dir.join("with-snapshot"), self.people),
            "import-memory" => self.import(in_memory()?, &self.lines(), Format::Ops),
            "import-posthog" => self.import(in_memory()?, &self.bodies(), Format::Posthog),
            "import-disk" => {
                let dir = tempfile::tempdir_in(&self.dir)?;
                self.import(created(dir.path(), Durability::Buffered)?, &self.lines(), Format::Ops)
            }
            "appends" => self.appends(),
            "append-tmpfs" => self.append_tmpfs(),
            "reads" => self.reads(),
            "http" => self.http(),
            _ => match part.strip_prefix("stall-") {
                Some(question) => self.stall(question),
                None => self.peer(part),
            },
        }
    }

    /// Makes what is not there yet, and brings the log into the page cache from the disk: the kernel keeps what it reads in larger pieces,
    /// and gives it faster, than what was written bit by bit.
    fn prepare(&self) -> Result<Found, Failure> {
        let done = self.dir.join("done");
        if !done.exists() {
            fs::remove_dir_all(&self.dir).ok();
            fs::create_dir_all(&self.dir)?;
            build(&self.ledger(), self.people).flush()?;
            build(&self.dir.join("with-snapshot"), self.people).snapshot()?;
            let mut lines = BufWriter::with_capacity(1 << 20, File::create(self.lines())?);
            let mut line = Vec::new();
            for operation in workload(self.people) {
                line.clear();
                write_ops_line(&operation, &mut line);
                line.push(b'\n');
                lines.write_all(&line)?;
            }
            lines.flush()?;
            write_bodies(&self.bodies(), MOST_BODIES.min(self.operations() / 20))?;
            File::create(done)?;
        }
        let mut log_bytes = 0;
        for segment in fs::read_dir(self.ledger().join("log"))? {
            let file = File::open(segment?.path())?;
            file.sync_all()?; // only what is on the disk can be forgotten
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            log_bytes += file.metadata()?.len();
        }
        let replay = LedgerOptions::new().replay(self.ledger(), true, |_| {})?;
        build_program()?;
        Ok(found([
            ("operations", self.operations() as f64),
            ("records", replay.chain().checkpoint().records as f64),
            ("ids", replay.state().ids().len() as f64),
            ("log_bytes", log_bytes as f64),
            ("line_bytes", fs::metadata(self.lines())?.len() as f64),
        ]))
    }

    /// Times work in this process: by the clock, and by what its threads were on processors for.
    pub(crate) fn clocked<T>(
        &self,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(Found, T), Failure> {
        let (began, before) = (Instant::now(), on_processors());
        let done = black_box(work()?);
        let (wall, cpu) = (began.elapsed().as_secs_f64(), on_processors() - before);
        let each = cpu / self.operations() as f64 * 1e9;
        Ok((found([("wall", wall), ("cpu", cpu), ("cpu ns each", each)]), done))
    }

    /// Runs another program, and tells what it took from its start to its end.
    pub(crate) fn spawned(&self, command: &mut Command) -> Result<(Found, String), Failure> {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let spent = |usage: &Usage| seconds(usage.user_time()) + seconds(usage.system_time());
        let before = spent(&getrusage(UsageWho::RUSAGE_CHILDREN)?);
        let began = Instant::now();
        let output = command.output()?;
        let wall = began.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let cpu = spent(&usage) - before;
        let peak = usage.max_rss() as f64 * 1_024.0; // of all children so far: a part has one that counts
        Ok((found([("wall", wall), ("cpu", cpu), ("peak bytes", peak)]), String::from_utf8(output.stdout)?))
    }

    fn command(&self, command: &str) -> Result<Found, Failure> {
        let mut program = Command::new(Path::new(RELEASE).join("identity-ledger"));
        let (mut found, said) = self.spawned(program.args(["--json", command]).arg(self.ledger()))?;
        let said: Value = serde_json::from_str(&said)?;
        let ids = match said["distinct_ids"].as_f64() {
            Some(ids) => ids,
            None => LedgerOptions::new().replay(self.ledger(), false, |_| {})?.state().ids().len() as f64,
        };
        found.entry("peak bytes".to_owned()).and_modify(|peak| *peak /= ids);
        Ok(found)
    }

    fn replay(&self, threads: usize, commitments: bool) -> Result<Found, Failure> {
        let options = LedgerOptions::new().threads(threads);
        Ok(self.clocked(|| Ok(options.replay(self.ledger(), commitments, |_| {})?))?.0)
    }

    /// A writer, which needs everything: state, texts, operation ids.
    fn open(&self, dir: &Path, snapshot: u64) -> Result<Found, Failure> {
        let (mut found, ledger) = self.clocked(|| Ok(LedgerOptions::new().threads(1).open(dir)?))?;
        if (snapshot > 0) != ledger.recovery().from_snapshot.is_some() {
            return Err("it was opened by something else".into());
        }
        let ids = ledger.reader().state().ids().len();
        found.insert("bytes".to_owned(), ledger.reader().memory().beyond_id_texts() as f64 / ids as f64);
        Ok(found)
    }

    fn import(&self, mut ledger: Ledger, file: &Path, format: Format) -> Result<Found, Failure> {
        let options = Options { format, ..Options::from(&Policy::default()) };
        let importer = Importer::new(BufReader::with_capacity(1 << 16, File::open(file)?), options);
        let mut tally = Tally::default();
        let (found, ()) = self.clocked(|| {
            run(&mut ledger, importer, &mut tally, &mut ())?;
            ledger.flush()?;
            Ok(())
        })?;
        match tally.appended == tally.operations && tally.appended > 0 {
            true => Ok(found),
            false => Err(format!("everything was to be recorded: {tally:?}").into()),
        }
    }

    /// Bytes of log that an operation takes.
    pub(crate) fn bytes_each(&self) -> Result<usize, Failure> {
        let bytes = fs::read_dir(self.ledger().join("log"))?.map(|file| Ok(file?.metadata()?.len()));
        let bytes: u64 = bytes.sum::<std::io::Result<u64>>()?;
        Ok((bytes / self.operations()) as usize)
    }

    /// Durable appends of one operation each, by many threads that share syncs.
    fn appends(&self) -> Result<Found, Failure> {
        let operations: Vec<Operation> = workload(self.people).collect();
        let dir = tempfile::tempdir_in(&self.dir)?;
        let ledger = SharedLedger::new(created(dir.path(), Durability::Immediate)?);
        self.together(|at| {
            let _ = ledger.append(operations[at % operations.len()].clone()).expect("the disk is fine");
        })
    }

    /// Many threads that do work of one kind, as often as they come to it.
    pub(crate) fn together(&self, work: impl Fn(usize) + Sync) -> Result<Found, Failure> {
        let next = AtomicU64::new(0);
        let (mut found, ()) = self.clocked(|| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        while began.elapsed() < SPAN {
                            work(next.fetch_add(1, Ordering::Relaxed) as usize);
                        }
                    });
                }
            });
            Ok(())
        })?;
        found.insert("us each".to_owned(), found["wall"] * 1e6 / next.load(Ordering::Relaxed) as f64);
        Ok(found)
    }

    fn append_tmpfs(&self) -> Result<Found, Failure> {
        let operations: Vec<Operation> = workload(self.people).take(APPENDS).collect();
        let dir = tempfile::tempdir_in(TMPFS)?;
        let mut ledger = created(dir.path(), Durability::Immediate)?;
        let append = || {
            for operation in operations.iter().cycle().take(APPENDS) {
                let _ = ledger.append(operation.clone())?;
            }
            Ok(())
        };
        Ok(self.clocked(append)?.0)
    }

    /// `person` and `resolve` of a thousand ids, again and again, beside a thread that appends as fast as the disk lets it.
    fn reads(&self) -> Result<Found, Failure> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let ledger = build(&dir.path().join("ledger"), self.people / 2);
        let reader = ledger.reader();
        let some = reader.state().ids().step_by(97).take(HOT);
        let ids: Vec<String> = some.filter_map(|id| Some(reader.id_text(id)?.to_owned())).collect();
        let map: HashMap<String, u32> = ids.iter().cloned().zip(0..).collect();
        drop(ledger);
        let ledger = SharedLedger::new(LedgerOptions::new().open(dir.path().join("ledger"))?);
        let stop = AtomicBool::new(false);
        let after: Vec<Operation> =
            workload(self.people).skip(self.people as usize * 9).take(100_000).collect();
        Ok(std::thread::scope(|scope| {
            scope.spawn(|| {
                for operation in after.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let _ = ledger.append(operation.clone()).expect("the disk is fine");
                }
            });
            let asked = found([
                ("map ns", each(&ids, |id| map.get(id).copied())),
                ("person ns", each(&ids, |id| ledger.read(|reader| reader.person(id)))),
                ("resolve ns", each(&ids, |id| ledger.resolve(id))),
            ]);
            stop.store(true, Ordering::Relaxed);
            asked
        }))
    }

    /// The longest that a writer waited for a buffered append while something was asked beside it.
    fn stall(&self, question: &str) -> Result<Found, Failure> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let ledger = SharedLedger::new(build(&dir.path().join("ledger"), self.people));
        let after: Vec<Operation> = workload(self.people + 2_000).skip(self.operations() as usize).collect();
        let stop = AtomicBool::new(false);
        let worst = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut worst = Duration::ZERO;
                for operation in after.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let began = Instant::now();
                    let _ = ledger.append(operation.clone()).expect("the disk is fine");
                    worst = worst.max(began.elapsed());
                    std::thread::sleep(Duration::from_micros(200));
                }
                worst
            });
            std::thread::sleep(Duration::from_millis(50));
            let asked: Result<u64, Failure> = match question {
                "persons" => Ok(ledger.detached().persons().count() as u64),
                "why-not" => ledger.index_records().map_err(Failure::from).and_then(|()| {
                    ledger.read(|reader| {
                        let mut texts =
                            reader.state().ids().step_by(50_001).filter_map(|id| reader.id_text(id));
                        let (a, b) = texts.next().zip(texts.next()).ok_or("two ids")?;
                        Ok(reader.why_not(a, b)?.map_or(0, |_| 1))
                    })
                }),
                "snapshot" => ledger.snapshot().map(|made| made.bytes).map_err(Failure::from),
                _ => Err(format!("no part is called stall-{question}").into()),
            };
            std::thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
            asked.map(|asked| (black_box(asked), writer.join().expect("the writer ends")))
        })?;
        Ok(found([("ms", worst.1.as_secs_f64() * 1e3)]))
    }

    /// `cli/tests/load.py` drives both servers and prints the events a second of each.
    fn http(&self) -> Result<Found, Failure> {
        let program = Path::new(RELEASE);
        let mut load = Command::new(&self.python);
        load.arg(Path::new(ROOT).join("cli/tests/load.py")).arg(program.join("identity-ledger"));
        let (mut all, said) =
            self.spawned(load.arg("batches").arg(program.join("examples/sync_only")).arg("1"))?;
        let mut rates = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        let (ours, file) = rates.next().zip(rates.next()).ok_or("two rates")?;
        all.extend(found([("us each", 1e6 / ours), ("file us", 1e6 / file)]));
        Ok(all)
    }
}

pub(crate) fn found<const N: usize>(pairs: [(&str, f64); N]) -> Found {
    pairs.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
}

/// Builds the program and the server that it is compared with: what is measured is what the sources say.
fn build_program() -> Result<(), Failure> {
    let what = ["-p", "identity-ledger-cli", "--bin", "identity-ledger", "--example", "sync_only"];
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release"])
        .args(what)
        .current_dir(ROOT)
        .status()?;
    if status.success() { Ok(()) } else { Err("the program does not build".into()) }
}

fn created(dir: &Path, durability: Durability) -> Result<Ledger, Failure> {
    let options = LedgerOptions::new().durability(durability);
    Ok(options.create(dir.join("ledger"), Tenant::default(), Policy::default())?)
}

/// Seconds that the threads of this process were on processors.
fn on_processors() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Nanoseconds a question.
fn each<T>(ids: &[String], ask: impl Fn(&str) -> T) -> f64 {
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < SPAN / 10 {
        ids.iter().for_each(|id| drop(black_box(ask(id))));
        asked += ids.len();
    }
    began.elapsed().as_secs_f64() * 1e9 / asked as f64
}

/// Writes bodies as posthog-js sends them: those of the recording, with ids of their own in each round.
fn write_bodies(file: &Path, bodies: u64) -> Result<(), Failure> {
    let recorded = BufReader::new(File::open(RECORDED)?).lines();
    let recorded: Vec<Value> =
        recorded.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_, Failure>>()?;
    let recorded: Vec<&Value> =
        recorded.iter().map(|line| &line["body"]).filter(|body| body.is_object()).collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    for number in 0..bodies {
        let round = number / recorded.len() as u64;
        let mut body = recorded[(number % recorded.len() as u64) as usize].clone();
        renumber(&mut body, round);
        serde_json::to_writer(&mut out, &body)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Gives each UUID and each user another number.
fn renumber(value: &mut Value, round: u64) {
    match value {
        Value::String(text)
            if text.len() == 36 && text.as_bytes()[8] == b'-' && text.as_bytes()[23] == b'-' =>
        {
            text.replace_range(
                24..,
                &format!(
                    "{:012x}",
                    round.wrapping_mul(0x9e37_79b9_7f4a) & 0xffff_ffff_ffff ^ short(&text[24..])
                ),
            );
        }
        Value::String(text) if text.starts_with("user-") => text.push_str(&format!("-{round}")),
        Value::Array(all) => all.iter_mut().for_each(|value| renumber(value, round)),
        Value::Object(all) => all.values_mut().for_each(|value| renumber(value, round)),
        _ => {}
    }
}

fn short(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap_or(0)
}
