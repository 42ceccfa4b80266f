//! One person who has all the ids: what links, questions, explanations and refusals cost as it grows, and a plot of it.
//!
//! Four ways to grow: a *star* (everything is linked to one id), a *chain* (each id to the one before), *random* (each to any
//! earlier one), *halves* (pairs, pairs of pairs, and so on: the union's worst case).

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use identity_ledger::log::IdNo;
use identity_ledger::storage::Memory;
use identity_ledger::{
    DistinctId, Durability, Ledger, LedgerOptions, Operation, Policy, Source, Tenant, Timestamp,
};

const HELP: &str = "\
Prints a table of one person's cost as it grows, for docs/performance.md.

  --ids N      how many ids in the end, a power of ten (default 1000000)
  --plot FILE  draws the table as SVG
";

type Failure = Box<dyn std::error::Error>;

const SHAPES: [&str; 4] = ["star", "chain", "random", "halves"];
/// Asked at each size; the median of groups of them is kept.
const QUESTIONS: usize = 2_000;
const BATCH: usize = 5_000;

/// What was found at one size: nanoseconds, and how many steps an explanation has.
struct Found {
    ids: usize,
    link: f64,
    person: f64,
    explain: f64,
    near: f64,
    refuse: f64,
    steps: f64,
    longest: usize,
}

fn main() -> Result<(), Failure> {
    let (mut most, mut plot_to) = (1_000_000, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--ids" => most = value()?.parse()?,
            "--plot" => plot_to = Some(value()?),
            _ => return Err(HELP.into()),
        }
    }
    let mut all = Vec::new();
    println!(
        "| shape | ids | link, ns | whose is it, ns | explain two ids, ns | steps: mean (most) | ns a step | explain two that were named together, ns | refuse, ns |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for shape in SHAPES {
        let found = grow(shape, most)?;
        for f in &found {
            println!(
                "| {shape} | {} | {:.0} | {:.0} | {:.0} | {:.1} ({}) | {:.0} | {:.0} | {:.0} |",
                f.ids,
                f.link,
                f.person,
                f.explain,
                f.steps,
                f.longest,
                f.explain / f.steps.max(1.0),
                f.near,
                f.refuse
            );
        }
        all.push((shape, found));
    }
    if let Some(file) = plot_to {
        std::fs::write(file, plot(&all)?)?;
    }
    Ok(())
}

/// A number from a number; the same everywhere.
fn mixed(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// Which two ids the `n`th link joins, when there are `n` before it; for halves, the order is another.
fn joined(shape: &str, n: usize) -> (usize, usize) {
    match shape {
        "star" => (0, n),
        "chain" => (n - 1, n),
        _ => (mixed(n as u64) as usize % n, n),
    }
}

fn links(shape: &str, from: usize, to: usize) -> Vec<(usize, usize)> {
    if shape != "halves" {
        return (from.max(1)..to).map(|n| joined(shape, n)).collect();
    }
    // Everything between two sizes is first put together by itself, in rounds, and then joined with what was there.
    let mut links = Vec::new();
    let mut wide = 1;
    while wide < to - from {
        let firsts = (from..to).step_by(2 * wide).filter(|first| first + wide < to);
        links.extend(firsts.map(|first| {
            let some = mixed((first * 31 + wide) as u64) as usize;
            (first + some % wide, first + wide + some / 7 % wide.min(to - first - wide))
        }));
        wide *= 2;
    }
    if from > 0 {
        links.push((mixed(from as u64) as usize % from, from));
    }
    links
}

fn id(number: usize) -> String {
    format!("id-{number:07}")
}

fn merge(a: &str, b: &str) -> Result<Operation, Failure> {
    Ok(Operation::merge_dangerously(Timestamp::from_micros(0)?, DistinctId::new(a)?, Source::new(b)))
}

fn grow(shape: &str, most: usize) -> Result<Vec<Found>, Failure> {
    let memory = std::sync::Arc::new(Memory::new());
    let options = LedgerOptions::new().durability(Durability::Buffered).seeded(1);
    let mut ledger = options.create_in(memory, Tenant::default(), Policy::default())?;
    // Somebody else who is identified: no alias brings the two together (D6).
    let at = Timestamp::from_micros(0)?;
    let _ = ledger.append(Operation::identify(at, DistinctId::new("other")?, Some(Source::new("others"))))?;
    let (mut before, mut size, mut all) = (0, 1_000, Vec::new());
    while size <= most {
        let links = links(shape, before, size);
        let mut last = 0.0;
        for batch in links.chunks(BATCH) {
            let made: Result<Vec<Operation>, Failure> =
                batch.iter().map(|(a, b)| merge(&id(*a), &id(*b))).collect();
            let made = made?;
            let started = Instant::now();
            drop(ledger.append_batch(&made)?);
            last = started.elapsed().as_nanos() as f64 / made.len() as f64;
        }
        all.push(ask(&mut ledger, size, last)?);
        (before, size) = (size, size * 10);
    }
    Ok(all)
}

fn ask(ledger: &mut Ledger, ids: usize, link: f64) -> Result<Found, Failure> {
    let texts: Vec<String> = (0..QUESTIONS).map(|n| id(mixed(n as u64) as usize % ids)).collect();
    let numbers: Vec<IdNo> = texts.iter().filter_map(|text| ledger.reader().id_no(text)).collect();
    assert_eq!(numbers.len(), QUESTIONS, "every id was written");
    let state = ledger.reader().state();
    let one = state.person(numbers[0]);
    assert!(numbers.iter().all(|id| state.person(*id) == one), "they are one person");
    let person = median(&numbers, |id| u64::from(state.person(*id).is_some()));
    let pairs: Vec<[IdNo; 2]> = numbers.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    let pairs = &pairs[..if ids > 100_000 { 100 } else { 200 }];
    let way = |[a, b]: &[IdNo; 2]| state.proof(*a, *b).map_or(0, |way| way.len());
    let explain = median(pairs, |pair| way(pair) as u64);
    let lengths: Vec<usize> = pairs.iter().map(way).collect();
    // Two ids that one record names, wherever in the tree they are.
    let mut named = Vec::new();
    for id in &numbers[..200] {
        let other = state.proof(*id, numbers[QUESTIONS - 1]).and_then(|way| way.first().copied());
        named.extend(other.map(|(from, to, _)| [from, to]));
    }
    let near = median(&named, |pair| way(pair) as u64);
    let hub = texts[0].clone();
    let mut times = Vec::new();
    for _ in 0..400 {
        let refused = Operation::alias(
            Timestamp::from_micros(0)?,
            DistinctId::new(hub.as_str())?,
            Source::new("other"),
        );
        let started = Instant::now();
        let appended = ledger.append(refused)?;
        times.push(started.elapsed().as_nanos() as f64);
        assert_eq!(appended.outcome().and_then(|o| o.refusal).map(|r| r.rule()), Some("D6"));
    }
    times.sort_by(f64::total_cmp);
    let steps = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    Ok(Found { ids, link, person, explain, near, refuse: times[times.len() / 2], steps, longest })
}

/// Nanoseconds a question: the median of ten groups.
fn median<T>(questions: &[T], ask: impl Fn(&T) -> u64) -> f64 {
    let mut groups: Vec<f64> = questions
        .chunks(questions.len().div_ceil(10))
        .map(|group| {
            let started = Instant::now();
            black_box(group.iter().map(|question| ask(black_box(question))).sum::<u64>());
            started.elapsed().as_nanos() as f64 / group.len() as f64
        })
        .collect();
    groups.sort_by(f64::total_cmp);
    groups[groups.len() / 2]
}

fn power_name(power: i32) -> &'static str {
    ["1", "10", "10²", "10³", "10⁴", "10⁵", "10⁶"].get(power as usize).copied().unwrap_or("")
}

// -- the plot ----------------------------------------------------------------------------------------------------------

const COLOURS: [&str; 4] = ["#2f5fd0", "#b4560f", "#0f7a4d", "#8a3ab9"];

fn plot(all: &[(&str, Vec<Found>)]) -> Result<String, Failure> {
    type Measure = (&'static str, fn(&Found) -> f64);
    let measures: [Measure; 5] = [
        ("link, ns", |found| found.link),
        ("whose is it, ns", |found| found.person),
        ("refuse a link, ns", |found| found.refuse),
        ("explain, ns for each step", |found| found.explain / found.steps.max(1.0)),
        ("explain, steps", |found| found.steps),
    ];
    let (w, h) = (250.0, 190.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 250\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        measures.len() as f64 * w + 10.0
    );
    for (place, (name, measure)) in measures.iter().enumerate() {
        let left = place as f64 * w + 44.0;
        // From 1 to 10^7, logarithmic: what is flat is constant, what rises by the same everywhere is proportional.
        let y = |value: f64| 30.0 + (h - 30.0) * (1.0 - value.max(1.0).log10() / 6.0);
        let x = |ids: usize| left + (w - 64.0) * ((ids as f64).log10() - 3.0) / 3.0;
        writeln!(out, "<text x=\"{left}\" y=\"18\" font-weight=\"600\" fill=\"#1b2330\">{name}</text>")?;
        for power in 0..=6 {
            let at = y(10_f64.powi(power));
            writeln!(
                out,
                "<path d=\"M{left} {at:.1}h{}\" stroke=\"#e3e7ed\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#5b6676\">{}</text>",
                w - 64.0,
                left - 5.0,
                at + 4.0,
                power_name(power)
            )?;
        }
        for ids in [1_000, 10_000, 100_000, 1_000_000] {
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5b6676\">{}</text>",
                x(ids),
                h + 16.0,
                power_name(ids.ilog10() as i32)
            )?;
        }
        for ((_, found), colour) in all.iter().zip(COLOURS) {
            let points: Vec<String> =
                found.iter().map(|f| format!("{:.1},{:.1}", x(f.ids), y(measure(f)))).collect();
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.join(" ")
            )?;
        }
    }
    for (place, ((shape, _), colour)) in all.iter().zip(COLOURS).enumerate() {
        let left = 44.0 + place as f64 * 110.0;
        writeln!(
            out,
            "<path d=\"M{left} 236h22\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"240\" fill=\"#1b2330\">{shape}</text>",
            left + 28.0
        )?;
    }
    writeln!(
        out,
        "<text x=\"500\" y=\"240\" fill=\"#5b6676\">ids of one person, from 10³ to 10⁶; both axes logarithmic</text>\n</svg>"
    )?;
    Ok(out)
}
