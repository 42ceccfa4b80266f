//! The figures of `docs/performance.md`, as a table to paste.
//!
//! Every part runs in a process of its own, so that none inherits another's heap. Parts that are compared run in turn, in
//! pairs: this machine may be slower in a minute, but then it is slower for both. Ratios are of medians, and of the
//! least times, which disturbances can only raise.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use identity_ledger::import::{Format, Importer, Options, Tally, run};
use identity_ledger::testing::workload::write_ops_line;
use identity_ledger::{Durability, Ledger, LedgerOptions, Policy, ReadOnlyLedger, Tenant};
use identity_ledger_benches::{BATCH, ByHand, Lean, build, workload};

const HELP: &str = "\
Prints the figures of docs/performance.md.

  --people N   how many people; each does about 18 operations (default 444444)
  --pairs N    how often compared parts run (default 5)
  --dir DIR    where the ledger is made, or found again (default: a temporary directory)
  --part NAME  runs one part in this process and prints what it found; `replays` and `opening` are those tables alone
";

type Failure = Box<dyn std::error::Error>;

/// What a part found, by name.
type Found = BTreeMap<String, f64>;

fn main() -> Result<(), Failure> {
    let mut args = Args { people: 444_444, pairs: 5, dir: None, part: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--people" => args.people = value()?.parse()?,
            "--pairs" => args.pairs = value()?.parse()?,
            "--dir" => args.dir = Some(value()?.into()),
            "--part" => args.part = Some(value()?),
            _ => return Err(HELP.into()),
        }
    }
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let place = Place { people: args.people, dir: dir.join(format!("web-{}-{BATCH}", args.people)) };
    match &args.part {
        Some(part) => {
            for (name, number) in place.part(part, args.pairs.max(1))? {
                println!("{name} {number}");
            }
        }
        None => print!("{}", all(&place, args.pairs.max(1))?),
    }
    Ok(())
}

struct Args {
    people: u64,
    pairs: usize,
    dir: Option<PathBuf>,
    part: Option<String>,
}

/// A workload and where its files are.
struct Place {
    people: u64,
    dir: PathBuf,
}

impl Place {
    fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    fn just_written(&self) -> PathBuf {
        self.dir.join("written")
    }

    fn lines(&self) -> PathBuf {
        self.dir.join("ops.jsonl")
    }

    /// Runs a part in this process.
    fn part(&self, part: &str, pairs: usize) -> Result<Found, Failure> {
        match part {
            "prepare" => self.prepare(),
            "by-hand" => {
                let operations: Vec<_> = workload(self.people).collect();
                let mut by_hand = ByHand::default();
                let spent = clocked(|| by_hand.fold(&operations));
                Ok(compared(spent, by_hand.ids()))
            }
            "by-hand-lean" => {
                let lean = Lean::new(workload(self.people));
                let mut by_hand = ByHand::default();
                let spent = clocked(|| by_hand.fold_lean(&lean));
                Ok(compared(spent, by_hand.ids()))
            }
            "replay" => self.replay(&self.ledger(), 1, false),
            "replay-written" => self.replay(&self.just_written(), 1, false),
            "replay-commitments" => self.replay(&self.ledger(), 1, true),
            "replay-two" => self.replay(&self.ledger(), 2, false),
            "replay-commitments-two" => self.replay(&self.ledger(), 2, true),
            "open" => self.open(1),
            "open-two" => self.open(2),
            "open-replay" => self.open_for_writing(LedgerOptions::new().threads(1).without_snapshots()),
            "open-snapshot" => self.open_for_writing(LedgerOptions::new().threads(1)),
            "write" => self.write(),
            "replays" => {
                let made = self.prepare()?;
                self.write()?;
                print!("{}", replays(self, pairs, &made)?);
                Ok(Found::new())
            }
            "opening" => {
                let made = self.prepare()?;
                print!("{}", opening(self, pairs, &made)?);
                Ok(Found::new())
            }
            "snapshot" => self.snapshot(),
            "resolve" => self.resolve(),
            "generate" => self.generate(),
            "parse" => self.parse(),
            "import-memory" => self.import(Ledger::in_memory(Tenant::default(), Policy::default())?),
            "import-disk" => {
                let copy = self.dir.join("imported");
                let options = LedgerOptions::new().durability(Durability::Buffered);
                let found = self.import(options.create(&copy, Tenant::default(), Policy::default())?);
                fs::remove_dir_all(copy)?;
                found
            }
            _ => Err(format!("no part is called {part}").into()),
        }
    }

    /// Makes what is not there yet, and brings the log into the page cache from the disk, where it was in the cache since it was
    /// written: the kernel keeps what it reads in larger pieces, and gives it faster, than what somebody wrote bit by bit.
    fn prepare(&self) -> Result<Found, Failure> {
        fs::create_dir_all(&self.dir)?;
        let done = self.dir.join("done");
        if !done.exists() {
            for half_made in [self.ledger(), self.dir.join("imported")] {
                fs::remove_dir_all(half_made).ok();
            }
            let mut ledger = build(&self.ledger(), self.people);
            ledger.flush()?;
            let mut lines = BufWriter::with_capacity(1 << 20, File::create(self.lines())?);
            let mut line = Vec::new();
            for operation in workload(self.people) {
                line.clear();
                write_ops_line(&operation, &mut line);
                line.push(b'\n');
                lines.write_all(&line)?;
            }
            lines.flush()?;
            File::create(done)?;
        }
        for segment in fs::read_dir(self.ledger().join("log"))? {
            let file = File::open(segment?.path())?;
            file.sync_all()?; // only what is on the disk can be forgotten
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let mut operations = 0_u64;
        let replay = LedgerOptions::new().replay(self.ledger(), true, |step| {
            operations += u64::from(step.outcome.is_some());
        })?;
        let mut bytes = 0;
        for segment in fs::read_dir(self.ledger().join("log"))? {
            bytes += segment?.metadata()?.len();
        }
        Ok(found([
            ("operations", operations as f64),
            ("records", replay.chain().checkpoint().records as f64),
            ("ids", replay.state().ids().len() as f64),
            ("persons", replay.state().persons().count() as f64),
            ("log_bytes", bytes as f64),
            ("line_bytes", fs::metadata(self.lines())?.len() as f64),
        ]))
    }

    /// Makes the ledger once more, for a log that is in the page cache as it was written.
    fn write(&self) -> Result<Found, Failure> {
        fs::remove_dir_all(self.just_written()).ok();
        let mut ledger = build(&self.just_written(), self.people);
        ledger.flush()?;
        Ok(Found::new())
    }

    fn replay(&self, ledger: &Path, threads: usize, commitments: bool) -> Result<Found, Failure> {
        let mut replay = None;
        let spent = clocked(|| {
            replay = Some(LedgerOptions::new().threads(threads).replay(ledger, commitments, |_| {}));
        });
        let replay = replay.expect("it was timed")?;
        Ok(compared(spent, replay.state().ids().len()))
    }

    fn open(&self, threads: usize) -> Result<Found, Failure> {
        let before = resident()?;
        let mut opened = None;
        let options = LedgerOptions::new().threads(threads).without_snapshots();
        let seconds = timed(|| opened = Some(options.open_read_only(self.ledger())));
        let book = opened.expect("it was timed")?;
        let memory = book.reader().memory();
        Ok(found([
            ("seconds", seconds),
            ("resident", resident()? - before),
            ("links", memory.links as f64),
            ("persons", memory.persons as f64),
            ("id_texts", memory.id_texts as f64),
            ("id_index", memory.id_index as f64),
            ("other_texts", memory.other_texts as f64),
            ("operation_ids", memory.operation_ids as f64),
            ("places", memory.places as f64),
            ("beyond", memory.beyond_id_texts() as f64),
            (
                "text_bytes",
                book.reader()
                    .state()
                    .ids()
                    .filter_map(|id| book.reader().id_text(id))
                    .map(str::len)
                    .sum::<usize>() as f64,
            ),
        ]))
    }

    /// A writer, which needs everything: state, texts, operation ids.
    fn open_for_writing(&self, options: LedgerOptions<'_>) -> Result<Found, Failure> {
        let mut opened = None;
        let seconds = timed(|| opened = Some(options.open(self.ledger())));
        let ledger = opened.expect("it was timed")?;
        let covered = ledger.recovery().from_snapshot.unwrap_or(0);
        Ok(found([
            ("seconds", seconds),
            ("ids", ledger.reader().state().ids().len() as f64),
            ("records", ledger.checkpoint().records as f64),
            ("covered", covered as f64),
        ]))
    }

    /// Makes a snapshot of the whole ledger.
    fn snapshot(&self) -> Result<Found, Failure> {
        let mut ledger = LedgerOptions::new().without_snapshots().open(self.ledger())?;
        let mut made = None;
        let seconds = timed(|| made = Some(ledger.snapshot()));
        let made = made.expect("it was timed")?;
        Ok(found([("seconds", seconds), ("bytes", made.bytes as f64)]))
    }

    /// `Reader::person` beside a bare hit in a `HashMap`: over a thousand ids again and again, and over all ids.
    fn resolve(&self) -> Result<Found, Failure> {
        let book = ReadOnlyLedger::open(self.ledger())?;
        let mut map: HashMap<String, u32> = HashMap::new();
        for id in book.reader().state().ids() {
            let text = book.reader().id_text(id).ok_or("nothing was erased")?;
            map.insert(text.to_owned(), id.0);
        }
        // The order of a hash map with its own seed is chance enough.
        let asked: Vec<String> =
            map.keys().cloned().collect::<std::collections::HashSet<_>>().into_iter().collect();
        let mut all = Found::new();
        for (name, some) in [("hot", &asked[..asked.len().min(1_000)]), ("all", &asked[..])] {
            let times = 2_000_000_usize.div_ceil(some.len());
            let (mut bare, mut person, mut resolve) = (Vec::new(), Vec::new(), Vec::new());
            let per_question = |seconds: f64| seconds / (times * some.len()) as f64;
            for _ in 0..5 {
                bare.push(per_question(timed(|| each(some, times, |id| map.get(id).copied()))));
                person.push(per_question(timed(|| {
                    each(some, times, |id| book.reader().person(id).map(|person| person.0))
                })));
                resolve.push(per_question(timed(|| {
                    each(some, times, |id| book.resolve(id).map(|found| u32::from(found.implied)))
                })));
            }
            for (what, times) in [("map", bare), ("person", person), ("resolve", resolve)] {
                all.insert(format!("{name}_{what}"), Spread::of(times).median);
            }
        }
        Ok(all)
    }

    fn generate(&self) -> Result<Found, Failure> {
        let (mut line, mut bytes) = (Vec::new(), 0);
        let seconds = timed(|| {
            for operation in workload(self.people) {
                line.clear();
                write_ops_line(&operation, &mut line);
                bytes += line.len();
            }
            bytes
        });
        Ok(found([("seconds", seconds)]))
    }

    fn importer(&self) -> Result<Importer<BufReader<File>>, Failure> {
        let options = Options { format: Format::Ops, ..Options::from(&Policy::default()) };
        Ok(Importer::new(BufReader::with_capacity(1 << 16, File::open(self.lines())?), options))
    }

    fn parse(&self) -> Result<Found, Failure> {
        let mut importer = self.importer()?;
        let mut bad = 0_u64;
        let seconds = timed(|| {
            for parsed in importer.by_ref() {
                bad += u64::from(!parsed.is_ok_and(|parsed| parsed.operation.is_ok()));
            }
            bad
        });
        if bad > 0 {
            Err("a workload's lines are operations".into())
        } else {
            Ok(found([("seconds", seconds)]))
        }
    }

    fn import(&self, mut ledger: Ledger) -> Result<Found, Failure> {
        let importer = self.importer()?;
        let (mut tally, mut ran) = (Tally::default(), Ok(()));
        let mut flushed = None;
        let seconds = timed(|| {
            ran = run(&mut ledger, importer, &mut tally, &mut ());
            flushed = Some(ledger.flush());
        });
        ran?;
        flushed.expect("it was timed")?;
        if tally.appended != tally.operations {
            return Err(format!("everything was to be recorded: {tally:?}").into());
        }
        Ok(found([("seconds", seconds)]))
    }

    /// Runs a part in a process of its own.
    fn child(&self, part: &str) -> Result<Found, Failure> {
        eprintln!("{part}");
        let dir = self.dir.parent().ok_or("the place has a parent")?;
        let output = Command::new(std::env::current_exe()?)
            .args(["--people", &self.people.to_string(), "--part", part, "--dir"])
            .arg(dir)
            .output()?;
        if !output.status.success() {
            return Err(format!("{part}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut all = Found::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let (name, number) = line.split_once(' ').ok_or("a name and a number")?;
            all.insert(name.to_owned(), number.parse()?);
        }
        Ok(all)
    }

    fn seconds(&self, part: &str) -> Result<f64, Failure> {
        Ok(self.child(part)?["seconds"])
    }
}

fn found<const N: usize>(pairs: [(&str, f64); N]) -> Found {
    pairs.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed().as_secs_f64()
}

/// As [`timed`], and how long this thread was on a processor meanwhile.
fn clocked<T>(work: impl FnOnce() -> T) -> [f64; 2] {
    let before = on_processor();
    let seconds = timed(work);
    [seconds, on_processor() - before]
}

/// Seconds that this thread was on a processor: the rest of a run's time went to other programs. Nothing where the kernel does not tell.
fn on_processor() -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}

/// What a part that is compared with others tells.
fn compared([seconds, processor]: [f64; 2], ids: usize) -> Found {
    found([("seconds", seconds), ("processor", processor), ("ids", ids as f64)])
}

fn each(ids: &[String], times: usize, ask: impl Fn(&str) -> Option<u32>) -> u64 {
    let mut sum = 0;
    for _ in 0..times {
        sum += ids.iter().map(|id| ask(black_box(id)).map_or(0, u64::from)).sum::<u64>();
    }
    sum
}

/// Bytes that this process holds in memory.
fn resident() -> Result<f64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("Linux tells it")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1_024.0)
}

/// Times of the same work.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Spread {
        times.sort_by(f64::total_cmp);
        let (first, last) = (times[0], times[times.len() - 1]);
        Spread { least: first, median: times[times.len() / 2], most: last }
    }
}

const REPLAYS: [(&str, &str); 7] = [
    ("by-hand", "by hand, over parsed `Operation`s"),
    ("by-hand-lean", "by hand, over nothing but the ids"),
    ("replay", "verified replay: read, chain, decode, fold"),
    ("replay-written", "the same, of a log that was never read from the disk since it was written"),
    ("replay-commitments", "verified replay, and every text and value against its commitment"),
    ("replay-two", "verified replay, two threads"),
    ("replay-commitments-two", "the same with commitments, two threads"),
];

/// All figures, in Markdown.
fn all(place: &Place, pairs: usize) -> Result<String, Failure> {
    let made = place.child("prepare")?;
    let operations = made["operations"];
    let mut out = machine()?;
    writeln!(
        out,
        "\n`cargo run --release --manifest-path benches/Cargo.toml --bin figures -- --people {} --pairs {pairs}`\n",
        place.people
    )?;
    writeln!(
        out,
        "{:.2} M operations of {} people, {:.2} M records, {:.2} M distinct ids; {:.0} MB of log, {:.0} MB of `ops` lines.\n",
        operations / 1e6,
        place.people,
        made["records"] / 1e6,
        made["ids"] / 1e6,
        made["log_bytes"] / 1e6,
        made["line_bytes"] / 1e6
    )?;

    place.child("write")?;
    out += &replays(place, pairs, &made)?;

    let (mut opens, mut opens_two) = (Vec::new(), Vec::new());
    let mut open = Found::new();
    for _ in 0..pairs.min(3) {
        open = place.child("open")?;
        opens.push(open["seconds"]);
        opens_two.push(place.seconds("open-two")?);
    }
    writeln!(
        out,
        "\n| other work, whole input, best of runs | s | ns an operation | a second |\n|---|---|---|---|"
    )?;
    let mut row = |name: &str, seconds: f64| {
        let (each, rate) = (seconds / operations * 1e9, operations / seconds / 1e6);
        writeln!(out, "| {name} | {seconds:.2} | {each:.0} | {rate:.2} M |")
    };
    row("open for reading: replay with commitments, all indexes", Spread::of(opens).least)?;
    row("the same, two threads", Spread::of(opens_two).least)?;
    for (part, name) in [
        ("generate", "generate: workload to `ops` lines"),
        ("parse", "parse `ops` lines, record nothing"),
        ("import-memory", "import `ops` lines into memory"),
        ("import-disk", "import `ops` lines into a directory, `Buffered`, flushed"),
    ] {
        let (first, second) = (place.seconds(part)?, place.seconds(part)?);
        row(name, first.min(second))?;
    }

    out += &opening(place, pairs, &made)?;

    writeln!(out, "\n| memory after opening | MB | bytes a distinct id |\n|---|---|---|")?;
    for (name, what) in [
        ("links", "links: who is whose, proofs, classes, event counts"),
        ("persons", "persons: profiles, devices"),
        ("id_index", "index of id texts, both ways"),
        ("other_texts", "devices, keys, event names: texts and index"),
        ("operation_ids", "operation ids, for duplicates"),
        ("places", "record numbers to places in the log"),
        ("beyond", "**all of that**"),
        ("id_texts", "the texts of ids, with the room they grow in"),
        ("text_bytes", "of that, bytes of text"),
        ("resident", "the process, as the kernel counts it"),
    ] {
        writeln!(out, "| {what} | {:.1} | {:.1} |", open[name] / 1e6, open[name] / made["ids"])?;
    }

    let resolve = place.child("resolve")?;
    writeln!(
        out,
        "\n| who is it? ns a question, median of 5 | `HashMap` hit | `Book::person` | ratio | `Book::resolve` |\n|---|---|---|---|---|"
    )?;
    for (name, what) in [("hot", "a thousand ids, again and again"), ("all", "all ids, in any order")] {
        let at = |part: &str| resolve[&format!("{name}_{part}")] * 1e9;
        let (map, person) = (at("map"), at("person"));
        writeln!(out, "| {what} | {map:.0} | {person:.0} | {:.2} | {:.0} |", person / map, at("resolve"))?;
    }
    Ok(out)
}

/// The replays and the loops by hand, in turn.
fn replays(place: &Place, pairs: usize, made: &Found) -> Result<String, Failure> {
    let operations = made["operations"];
    let mut out = String::new();
    let mut times: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..pairs {
        for (part, _) in REPLAYS {
            let run = place.child(part)?;
            if run["ids"] != made["ids"] {
                return Err(format!("{part} saw {} ids of {}", run["ids"], made["ids"]).into());
            }
            let [seconds, processor] = times.entry(part).or_default();
            seconds.push(run["seconds"]);
            processor.push(run["processor"]);
        }
    }
    writeln!(
        out,
        "| replay, one thread if not said otherwise, {pairs} runs in turn | least s | median s | most s | ns an operation | by hand / this: medians (leasts) | by processor time | lean by hand / this |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    let spreads: BTreeMap<&str, [Spread; 2]> =
        times.into_iter().map(|(part, times)| (part, times.map(Spread::of))).collect();
    let ratios =
        |[of, this]: [&Spread; 2]| format!("{:.2} ({:.2})", of.median / this.median, of.least / this.least);
    for (part, name) in REPLAYS {
        let [by_hand, lean, this] = ["by-hand", "by-hand-lean", part].map(|part| &spreads[part]);
        let Spread { least, median, most } = this[0];
        let each = median / operations * 1e9;
        let ratio = ratios([&by_hand[0], &this[0]]);
        // The time of a second thread is its own.
        let processor = if part.ends_with("-two") { String::new() } else { ratios([&by_hand[1], &this[1]]) };
        let to_lean = ratios([&lean[0], &this[0]]);
        writeln!(
            out,
            "| {name} | {least:.2} | {median:.2} | {most:.2} | {each:.0} | {ratio} | {processor} | {to_lean} |"
        )?;
    }
    Ok(out)
}

/// A writer opens by its newest snapshot, and by the whole log, in turn.
fn opening(place: &Place, pairs: usize, made: &Found) -> Result<String, Failure> {
    let snapshot = place.child("snapshot")?;
    let (mut by_log, mut by_snapshot) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        for (part, times) in [("open-replay", &mut by_log), ("open-snapshot", &mut by_snapshot)] {
            let run = place.child(part)?;
            let covered = if part == "open-replay" { 0.0 } else { made["records"] };
            if run["ids"] != made["ids"] || run["covered"] != covered {
                return Err(format!("{part}: {run:?}").into());
            }
            times.push(run["seconds"]);
        }
    }
    let (by_log, by_snapshot) = (Spread::of(by_log), Spread::of(by_snapshot));
    let mut out = format!(
        "\nA snapshot of all of it has {:.0} MB and is made in {:.2} s.\n\n",
        snapshot["bytes"] / 1e6,
        snapshot["seconds"]
    );
    writeln!(
        out,
        "| open for writing, {pairs} runs in turn | least s | median s | most s | ns a distinct id | by the log / this: medians (leasts) |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (name, Spread { least, median, most }) in
        [("by the whole log, with commitments", &by_log), ("by a snapshot of all of it", &by_snapshot)]
    {
        writeln!(
            out,
            "| {name} | {least:.2} | {median:.2} | {most:.2} | {:.0} | {:.2} ({:.2}) |",
            median / made["ids"] * 1e9,
            by_log.median / median,
            by_log.least / least
        )?;
    }
    Ok(out)
}

/// What it was measured on.
fn machine() -> Result<String, Failure> {
    let line = |file: &str, key: &str| -> Result<String, Failure> {
        let text = fs::read_to_string(Path::new("/proc").join(file))?;
        let found = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or(":unknown");
        Ok(found.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let kernel = line("sys/kernel/osrelease", "")?;
    let cores = std::thread::available_parallelism()?;
    let compiler = Command::new("rustc").arg("--version").output()?;
    let compiler = String::from_utf8(compiler.stdout)?;
    Ok(format!(
        "{}, {cores} cores, {} of memory; Linux {kernel}; {}.\n",
        line("cpuinfo", "model name")?,
        line("meminfo", "MemTotal")?,
        compiler.trim()
    ))
}
