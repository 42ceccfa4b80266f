//! What a user waits for, beside what else does that work: one table, each line with its bar.
//!
//! Every side of a line runs in a process of its own, so that none inherits another's heap, and the two sides alternate, so that a slow
//! minute slows both. Figures are medians. Wall and processor time stand beside each other; where others use the machine, only the second
//! says something.

mod parts;
mod peers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use identity_ledger_benches::Failure;

const HELP: &str = "\
Prints what a user waits for, beside what else does that work.

  --operations N  how many operations (default 1000000: some minutes; 16000000 takes 25 GB of disk and an hour)
  --rounds N      how often each side runs, in turn (default 5)
  --dir DIR       where ledgers and files are made, or found again (default: a temporary directory)
  --only WORD     the lines whose name has this word
  --python FILE   a Python with duckdb and orjson (default: python3)
  --curves FILE   instead of the table: replay, opening and the loop by hand at 10^5 to N operations, as SVG
  --part NAME     runs one side in this process and prints what it found
";

/// What a side found, by name; `skipped` if what it needs is not here.
type Found = BTreeMap<String, f64>;

/// What a side is compared with.
#[derive(Clone, Copy)]
enum Other {
    Part(&'static str),
    /// The same part at a sixteenth of the size.
    Small,
    /// What the same run measured beside it, by that name.
    Beside(&'static str),
    /// Nothing: the figure itself has a bar.
    Nothing,
}

#[derive(Clone, Copy)]
enum Bar {
    /// Our time is at most this multiple of the other's.
    Most(f64),
    /// The other's time is at least this multiple of ours.
    Least(f64),
}

struct Row {
    what: &'static str,
    ours: &'static str,
    other: Other,
    /// What is compared.
    by: &'static str,
    bar: Bar,
}

const fn row(what: &'static str, ours: &'static str, other: Other, by: &'static str, bar: Bar) -> Row {
    Row { what, ours, other, by, bar }
}

use Bar::{Least, Most};
use Other::{Beside, Nothing, Part, Small};

const ROWS: [Row; 23] = [
    row(
        "`replay` command / checked replay, 1 thread",
        "command-replay",
        Part("replay-checked"),
        "cpu",
        Most(3.0),
    ),
    row(
        "`verify` command / checked replay, 1 thread",
        "command-verify",
        Part("replay-checked"),
        "cpu",
        Most(3.0),
    ),
    row("checked / unchecked replay, 1 thread", "replay-checked", Part("replay"), "cpu", Most(1.3)),
    row("open by the log / checked replay, 1 thread", "open-log", Part("replay-checked"), "cpu", Most(2.0)),
    row(
        "open by the log, an operation / at a sixteenth of the size",
        "open-log",
        Small,
        "cpu ns each",
        Most(1.2),
    ),
    row("open by the log / by a snapshot, 1 thread", "open-snapshot", Part("open-log"), "cpu", Least(10.0)),
    row(
        "memory after opening, bytes a distinct id beyond its text",
        "open-log",
        Nothing,
        "bytes",
        Most(96.0),
    ),
    row("peak of `verify`, bytes a distinct id", "command-verify", Nothing, "peak bytes", Most(250.0)),
    row(
        "import `ops` lines / DuckDB: links and last values",
        "import-memory",
        Part("duckdb"),
        "cpu",
        Most(1.0),
    ),
    row("import posthog-js bodies / orjson parses them", "import-posthog", Part("orjson"), "cpu", Most(3.0)),
    row(
        "loop by hand over `Operation`s / unchecked replay, 1 thread",
        "replay",
        Part("by-hand"),
        "cpu",
        Least(5.0),
    ),
    row("the same, replay on 2 threads", "replay-two", Part("by-hand"), "wall", Least(8.0)),
    row(
        "64 threads, durable: group commit by hand / `SharedLedger`",
        "appends",
        Part("group-commit"),
        "us each",
        Least(0.95),
    ),
    row(
        "one durable append on tmpfs / write + fdatasync",
        "append-tmpfs",
        Part("write-tmpfs"),
        "cpu",
        Most(3.0),
    ),
    row("`person` beside a busy writer / `HashMap` hit", "reads", Beside("map ns"), "person ns", Most(2.0)),
    row("`resolve` beside a busy writer / `HashMap` hit", "reads", Beside("map ns"), "resolve ns", Most(4.0)),
    row("worst stall of a writer while `persons()` runs, ms", "stall-persons", Nothing, "ms", Most(20.0)),
    row(
        "worst stall of a writer while a first `why-not` runs, ms",
        "stall-why-not",
        Nothing,
        "ms",
        Most(20.0),
    ),
    row("worst stall of a writer while a snapshot is made, ms", "stall-snapshot", Nothing, "ms", Most(20.0)),
    row(
        "100-event batches, 16 connections: file that is synced / `serve`",
        "http",
        Beside("file us"),
        "us each",
        Least(0.4),
    ),
    row("SQLite in memory / import into memory", "import-memory", Part("sqlite-memory"), "cpu", Least(4.0)),
    row("SQLite with WAL / import into a directory", "import-disk", Part("sqlite-wal"), "cpu", Least(4.0)),
    row(
        "PostgreSQL: links and last values / import into a directory",
        "import-disk",
        Part("postgres"),
        "cpu",
        Least(20.0),
    ),
];

struct Args {
    operations: u64,
    rounds: usize,
    dir: Option<PathBuf>,
    only: String,
    python: String,
    curves: Option<PathBuf>,
    part: Option<String>,
}

fn main() -> Result<(), Failure> {
    let mut args = Args {
        operations: 1_000_000,
        rounds: 5,
        dir: None,
        only: String::new(),
        python: "python3".to_owned(),
        curves: None,
        part: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--operations" => args.operations = value()?.parse()?,
            "--rounds" => args.rounds = value()?.parse::<usize>()?.max(1),
            "--dir" => args.dir = Some(value()?.into()),
            "--only" => args.only = value()?,
            "--python" => args.python = value()?,
            "--curves" => args.curves = Some(value()?.into()),
            "--part" => args.part = Some(value()?),
            _ => return Err(HELP.into()),
        }
    }
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let place = Place::new(&dir, args.operations, args.python);
    match (&args.part, &args.curves) {
        (Some(part), _) => {
            for (name, number) in place.part(part)? {
                println!("{name}\t{number}");
            }
            Ok(())
        }
        (None, Some(file)) => Ok(fs::write(file, curves(&place, args.rounds)?)?),
        (None, None) => table(&place, &args.only, args.rounds),
    }
}

/// A workload, and where its files are.
struct Place {
    /// Each does 18 operations.
    people: u64,
    dir: PathBuf,
    python: String,
}

impl Place {
    fn new(dir: &Path, operations: u64, python: String) -> Place {
        let people = (operations / 18).max(16);
        Place { people, dir: dir.join(format!("web-{people}")), python }
    }

    fn of_size(&self, operations: u64) -> Place {
        Place::new(self.dir.parent().expect("the place has a parent"), operations, self.python.clone())
    }

    fn operations(&self) -> u64 {
        self.people * 18
    }

    /// Runs a part in a process of its own.
    fn child(&self, part: &str) -> Result<Found, Failure> {
        eprintln!("{part}, {} operations", self.operations());
        let dir = self.dir.parent().expect("the place has a parent");
        let operations = self.operations().to_string();
        let output = Command::new(std::env::current_exe()?)
            .args(["--operations", &operations, "--python", &self.python, "--part", part, "--dir"])
            .arg(dir)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{part}: {said}").into());
        }
        eprint!("{said}");
        let numbers = String::from_utf8(output.stdout)?;
        let number = |line: &str| {
            let (name, number) = line.split_once('\t')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        numbers.lines().map(|line| number(line).ok_or_else(|| format!("{part}: {line}").into())).collect()
    }
}

fn table(place: &Place, only: &str, rounds: usize) -> Result<(), Failure> {
    let small = place.of_size(place.operations() / 16);
    let made = place.child("prepare")?;
    small.child("prepare")?;
    println!("{}", machine()?);
    println!(
        "{:.2} M operations, {:.2} M records, {:.3} M distinct ids; {:.0} MB of log, {:.0} MB of `ops` lines; \
         texts and values have commitments. {rounds} rounds in turn, each side a new process, medians.\n",
        made["operations"] / 1e6,
        made["records"] / 1e6,
        made["ids"] / 1e6,
        made["log_bytes"] / 1e6,
        made["line_bytes"] / 1e6
    );
    println!(
        "| what | ours: wall s | CPU s | other: wall s | CPU s | compared | ours | other | ratio | bar | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for row in ROWS.iter().filter(|row| row.what.contains(only) || row.ours.contains(only)) {
        println!("{}", row.line(place, &small, rounds)?);
    }
    Ok(())
}

impl Row {
    /// Runs both sides in turn, and gives the line of the table.
    fn line(&self, place: &Place, small: &Place, rounds: usize) -> Result<String, Failure> {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(place.child(self.ours)?);
            match self.other {
                Part(part) => other.push(place.child(part)?),
                Small => other.push(small.child(self.ours)?),
                Beside(_) | Nothing => {}
            }
            if ours.iter().chain(&other).any(|found| found.contains_key("skipped")) {
                return Ok(format!("| {} | | | | | | | | | | **skipped**: see above |", self.what));
            }
        }
        let beside = if let Beside(name) = self.other { name } else { self.by };
        let figure = median(&ours, self.by).ok_or("a part gives what is compared")?;
        let against = match self.other {
            Beside(name) => median(&ours, name),
            _ => median(&other, self.by),
        };
        let ratio = match (self.bar, against) {
            (Most(_), Some(against)) => figure / against,
            (Least(_), Some(against)) => against / figure,
            (_, None) => figure,
        };
        let (bar, met) = match self.bar {
            Most(bar) => (format!("≤ {bar}"), ratio <= bar),
            Least(bar) => (format!("≥ {bar}"), ratio >= bar),
        };
        let shown = |number: Option<f64>| match number {
            Some(number) if number >= 100.0 => format!("{number:.0}"),
            Some(number) => format!("{number:.3}"),
            None => String::new(),
        };
        let mut line = format!("| {} |", self.what);
        for (side, name) in [(&ours, "wall"), (&ours, "cpu"), (&other, "wall"), (&other, "cpu")] {
            write!(line, " {} |", shown(median(side, name)))?;
        }
        let compared = if beside == self.by { self.by.to_owned() } else { format!("{}, {beside}", self.by) };
        let met = if met { "" } else { "**missed**" };
        write!(
            line,
            " {compared} | {} | {} | {ratio:.2} | {bar} | {met} |",
            shown(Some(figure)),
            shown(against)
        )?;
        Ok(line)
    }
}

fn median(all: &[Found], name: &str) -> Option<f64> {
    let mut all: Vec<f64> = all.iter().filter_map(|found| found.get(name).copied()).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// What it was measured on.
fn machine() -> Result<String, Failure> {
    let line = |file: &str, key: &str| -> Result<String, Failure> {
        let text = fs::read_to_string(Path::new("/proc").join(file))?;
        let found = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or(":unknown");
        Ok(found.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let compiler = Command::new("rustc").arg("--version").output()?;
    Ok(format!(
        "{}, {} cores, {} of memory; Linux {}; {}.\n",
        line("cpuinfo", "model name")?,
        std::thread::available_parallelism()?,
        line("meminfo", "MemTotal")?,
        line("sys/kernel/osrelease", "")?,
        String::from_utf8(compiler.stdout)?.trim()
    ))
}

const CURVES: [(&str, &str); 5] = [
    ("replay", "#2f6f4f"),
    ("replay-checked", "#2f4f8f"),
    ("open-log", "#a35a1f"),
    ("open-snapshot", "#7a3f8f"),
    ("by-hand", "#777777"),
];

/// Processor time an operation as the ledger grows, as a picture; both axes logarithmic.
fn curves(place: &Place, rounds: usize) -> Result<String, Failure> {
    let sizes: Vec<u64> = [100_000, 250_000, 630_000, 1_600_000, 4_000_000, 8_000_000, 16_000_000]
        .into_iter()
        .filter(|size| *size <= place.operations() + 18)
        .collect();
    let x = |operations: f64| 60.0 + 440.0 * (operations / 1e5).log10() / 160_f64.log10();
    let y = |ns: f64| 300.0 - 280.0 * (ns / 3.0).log10() / (1_000_f64 / 3.0).log10();
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for size in sizes {
        let place = place.of_size(size);
        place.child("prepare")?;
        let mut found: BTreeMap<&str, Vec<Found>> = BTreeMap::new();
        for (part, _) in (0..rounds).flat_map(|_| CURVES) {
            found.entry(part).or_default().push(place.child(part)?);
        }
        for (part, all) in found {
            let each = median(&all, "cpu ns each").ok_or("each of them is timed")?;
            println!("{part}\t{}\t{each:.1}", place.operations());
            lines.entry(part).or_default().push((place.operations() as f64, each));
        }
    }
    let mut out = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 620 340\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
                   <rect width=\"620\" height=\"340\" fill=\"#ffffff\"/>\n".to_owned();
    for ns in [3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0] {
        writeln!(
            out,
            "<path d=\"M60 {0:.1}H500\" stroke=\"#e3e6ea\"/><text x=\"52\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"#5b6676\">{ns} ns</text>",
            y(ns),
            y(ns) + 4.0
        )?;
    }
    for (operations, name) in [(1e5, "10⁵"), (1e6, "10⁶"), (1e7, "10⁷"), (1.6e7, "1.6·10⁷")] {
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"318\" text-anchor=\"middle\" fill=\"#5b6676\">{name}</text>",
            x(operations)
        )?;
    }
    for (part, colour) in CURVES {
        let points = &lines[part];
        let path: Vec<String> = points.iter().map(|(n, ns)| format!("{:.1} {:.1}", x(*n), y(*ns))).collect();
        let (n, ns) = points[points.len() - 1];
        writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        )?;
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{part}</text>",
            x(n) + 6.0,
            y(ns) + 4.0
        )?;
    }
    out += "<text x=\"280\" y=\"335\" text-anchor=\"middle\" fill=\"#5b6676\">processor time an operation, by operations in the ledger; both axes logarithmic</text>\n</svg>";
    Ok(out)
}
