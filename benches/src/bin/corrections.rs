//! Many corrections in one component: what recording them, opening the ledger and verifying it cost as they grow in number, what they
//! leave in memory, and a plot of it.
//!
//! Ways to correct N merges of one person: *oldest first*, *newest first*, *middle out* and *at random* retract each merge, a *chain*
//! retracts one merge, then the retract, then the retract of that, and so on, N times; *splits* part one id after the other. *Sign-ins*
//! are those of one user on N devices that have persons of their own, retracted from the oldest on.
//!
//! Times are processor time, the least of several runs: other programs on the machine change them little.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use identity_ledger::storage::Memory;
use identity_ledger::{
    Actor, DeviceId, DistinctId, Durability, Ledger, LedgerOptions, Operation, Policy, Request, Seq, Source,
    SplitMode, Target, Tenant, Timestamp,
};

const HELP: &str = "\
Prints a table of the cost of N corrections in one component, for docs/performance.md.

  --most N     how many in the end (default 4000); the table begins with 500 and doubles
  --runs N     the least of N runs counts (default 3)
  --plot FILE  draws the table as SVG
";

type Failure = Box<dyn std::error::Error>;

const WAYS: [&str; 7] =
    ["oldest first", "newest first", "middle out", "at random", "chain", "splits", "sign-ins"];
const LEAST: usize = 500;
const BATCH: usize = 500;

/// What was found for one number of corrections.
struct Found {
    corrections: usize,
    /// Seconds of processor time.
    record: f64,
    open: f64,
    verify: f64,
    /// Operations that were folded again, for each correction.
    refolded: f64,
    /// Bytes of links and persons, for each record.
    memory: f64,
}

fn main() -> Result<(), Failure> {
    let (mut most, mut runs, mut plot_to) = (4_000, 3, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--most" => most = value()?.parse()?,
            "--runs" => runs = value()?.parse()?,
            "--plot" => plot_to = Some(value()?),
            _ => return Err(HELP.into()),
        }
    }
    let mut all = Vec::new();
    println!(
        "| way | corrections | record, s | open, s | verify, s | operations folded again, a correction | bytes of links and persons, a record |"
    );
    println!("|---|---|---|---|---|---|---|");
    for way in WAYS {
        let sizes =
            std::iter::successors(Some(LEAST), |size| Some(2 * size)).take_while(|size| *size <= most);
        let found = sizes.map(|size| least(way, size, runs)).collect::<Result<Vec<Found>, Failure>>()?;
        for f in &found {
            println!(
                "| {way} | {} | {:.3} | {:.3} | {:.3} | {:.0} | {:.0} |",
                f.corrections, f.record, f.open, f.verify, f.refolded, f.memory
            );
        }
        all.push((way, found));
    }
    if let Some(file) = plot_to {
        std::fs::write(file, plot(&all)?)?;
    }
    Ok(())
}

/// Seconds of processor time of this process, all threads together.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn least(way: &str, size: usize, runs: usize) -> Result<Found, Failure> {
    let mut found = correct(way, size)?;
    for _ in 1..runs {
        let again = correct(way, size)?;
        found.record = found.record.min(again.record);
        found.open = found.open.min(again.open);
        found.verify = found.verify.min(again.verify);
    }
    Ok(found)
}

fn id(number: usize) -> Result<DistinctId, Failure> {
    Ok(DistinctId::new(format!("id-{number}"))?)
}

fn record(ledger: &mut Ledger, operations: Vec<Operation>) -> Result<Vec<Seq>, Failure> {
    let mut seqs = Vec::new();
    for batch in operations.chunks(BATCH) {
        seqs.extend(ledger.append_batch(batch)?.into_iter().filter_map(|appended| appended.seq()));
    }
    Ok(seqs)
}

/// N persons are merged into one: the records of the merges.
fn merges(ledger: &mut Ledger, at: Timestamp, size: usize) -> Result<Vec<Seq>, Failure> {
    let set = |n: usize| Ok(Operation::properties(at, id(n)?).set("n", n as i64)?);
    record(ledger, (0..=size).map(set).collect::<Result<_, Failure>>()?)?;
    let merge = |n| Ok(Operation::merge_dangerously(at, id(0)?, Source::new(&format!("id-{n}"))));
    record(ledger, (1..=size).map(merge).collect::<Result<_, Failure>>()?)
}

/// One user signs in on N devices: the records of that.
fn sign_ins(ledger: &mut Ledger, at: Timestamp, size: usize) -> Result<Vec<Seq>, Failure> {
    let device = |n: usize| DeviceId::new(format!("device-{n}"));
    let set = |n| {
        let request = Request::Set { who: Actor::Device(device(n)?) };
        Ok(Operation::new(at, request).set("n", n as i64)?)
    };
    record(ledger, (0..size).map(set).collect::<Result<_, Failure>>()?)?;
    let sign_in = |n| Ok(Operation::new(at, Request::DeviceIdentify { device: device(n)?, user: id(0)? }));
    record(ledger, (0..size).map(sign_in).collect::<Result<_, Failure>>()?)
}

fn put_in_order(links: &mut Vec<Seq>, way: &str) {
    match way {
        "newest first" => links.reverse(),
        "middle out" => {
            let newer = links.split_off(links.len() / 2);
            let older = std::mem::take(links);
            *links = newer.into_iter().zip(older.into_iter().rev()).flat_map(|(n, o)| [n, o]).collect();
        }
        // Multiplied by a number that shares no factor with any power of two or five, and taken modulo 2^32: a fixed disorder.
        "at random" => links.sort_by_key(|seq| (seq.0 as u32).wrapping_mul(2_654_435_761)),
        _ => {}
    }
}

fn correct(way: &str, size: usize) -> Result<Found, Failure> {
    let at = Timestamp::from_micros(0)?;
    let disk = Arc::new(Memory::new());
    let options = || LedgerOptions::new().durability(Durability::Buffered).seeded(1);
    let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default())?;
    let mut links =
        if way == "sign-ins" { sign_ins(&mut ledger, at, size)? } else { merges(&mut ledger, at, size)? };
    let retract = |seq: &Seq| Operation::retract(at, Target::Record(*seq));
    let begun = processor_seconds();
    match way {
        "chain" => {
            let mut last = links[0];
            for _ in 0..size {
                last = ledger.append(retract(&last))?.seq().ok_or("a retract is recorded")?;
            }
        }
        "splits" => {
            let splits: Vec<Operation> = (1..=size)
                .map(|n| Ok(Operation::split(at, id(0)?, [id(n)?], SplitMode::Each)))
                .collect::<Result<_, Failure>>()?;
            record(&mut ledger, splits)?;
        }
        _ => {
            put_in_order(&mut links, way);
            record(&mut ledger, links.iter().map(retract).collect())?;
        }
    }
    let recorded = processor_seconds() - begun;
    let (links, persons) = ledger.reader().state().memory();
    let memory = (links + persons) as f64 / ledger.checkpoint().records as f64;
    let refolded = ledger.reader().state().operations_refolded() as f64 / size as f64;
    drop(ledger);
    let begun = processor_seconds();
    black_box(options().read_in(disk.clone())?);
    let open = processor_seconds() - begun;
    let begun = processor_seconds();
    let report = options().audit_in(disk)?;
    let verify = processor_seconds() - begun;
    assert!(report.is_ok(), "{:?}", report.faults);
    Ok(Found { corrections: size, record: recorded, open, verify, refolded, memory })
}

// -- the plot ----------------------------------------------------------------------------------------------------------

const COLOURS: [&str; 7] = ["#2f5fd0", "#b4560f", "#1b2330", "#b5179e", "#0f7a4d", "#8a3ab9", "#c9a400"];

fn plot(all: &[(&str, Vec<Found>)]) -> Result<String, Failure> {
    type Measure = (&'static str, fn(&Found) -> f64);
    let measures: [Measure; 4] = [
        ("record, µs a correction", |found| found.record * 1e6 / found.corrections as f64),
        ("open, µs a correction", |found| found.open * 1e6 / found.corrections as f64),
        ("verify, µs a correction", |found| found.verify * 1e6 / found.corrections as f64),
        ("memory, bytes a record", |found| found.memory),
    ];
    let (w, h) = (250.0, 190.0);
    let most = all.iter().flat_map(|(_, found)| found.iter().map(|f| f.corrections)).max().unwrap_or(LEAST);
    let doublings = (most as f64 / LEAST as f64).log2().max(1.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 250\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        measures.len() as f64 * w + 10.0
    );
    for (place, (name, measure)) in measures.iter().enumerate() {
        let left = place as f64 * w + 44.0;
        // From 1 to 10^5, logarithmic: what is flat costs the same however many there are.
        let y = |value: f64| 30.0 + (h - 30.0) * (1.0 - value.max(1.0).log10() / 5.0);
        let x =
            |corrections: usize| left + (w - 64.0) * (corrections as f64 / LEAST as f64).log2() / doublings;
        writeln!(out, "<text x=\"{left}\" y=\"18\" font-weight=\"600\" fill=\"#1b2330\">{name}</text>")?;
        for (power, label) in ["1", "10", "10²", "10³", "10⁴", "10⁵"].iter().enumerate() {
            let at = y(10_f64.powi(power as i32));
            writeln!(
                out,
                "<path d=\"M{left} {at:.1}h{}\" stroke=\"#e3e7ed\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#5b6676\">{label}</text>",
                w - 64.0,
                left - 5.0,
                at + 4.0
            )?;
        }
        for corrections in [LEAST, most] {
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5b6676\">{corrections}</text>",
                x(corrections),
                h + 16.0
            )?;
        }
        for ((_, found), colour) in all.iter().zip(COLOURS) {
            let points: Vec<String> =
                found.iter().map(|f| format!("{:.1},{:.1}", x(f.corrections), y(measure(f)))).collect();
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.join(" ")
            )?;
        }
    }
    for (place, ((way, _), colour)) in all.iter().zip(COLOURS).enumerate() {
        let left = 44.0 + place as f64 * 104.0;
        writeln!(
            out,
            "<path d=\"M{left} 236h22\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"240\" fill=\"#1b2330\">{way}</text>",
            left + 28.0
        )?;
    }
    writeln!(out, "<text x=\"780\" y=\"240\" fill=\"#5b6676\">both axes logarithmic</text>\n</svg>")?;
    Ok(out)
}
