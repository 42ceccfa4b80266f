//! What taking back costs: one retract, one split, histories and profiles as of a record, beside a replay of the whole log.
//!
//! ```console
//! $ cargo run --release --manifest-path benches/Cargo.toml --bin undo -- --people 444444
//! ```

use std::hint::black_box;
use std::time::Instant;

use identity_ledger::explain::Subject;
use identity_ledger::{
    DistinctId, Durability, LedgerOptions, Operation, PageRequest, Seq, Source, SplitMode, Target, Timestamp,
};
use identity_ledger_benches::{build, people_asked_for};

type Failure = Box<dyn std::error::Error>;

/// So many components are taken, far from each other in the log.
const COMPONENTS: u64 = 50;

fn main() -> Result<(), Failure> {
    let people = people_asked_for()?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("ledger");
    let mut ledger = build(&place, people);
    let at = Timestamp::from_micros(0)?;
    let user = |number: u64| DistinctId::new(format!("user-{number}"));
    // Users who never met, merged until they have ten ids.
    let mut merges: Vec<(DistinctId, Seq)> = Vec::new();
    for component in 0..COMPONENTS {
        let first = component * (people / COMPONENTS) + 1;
        let (mut last, mut next) = (None, first + 1);
        while ledger
            .reader()
            .person(user(first)?.as_str())
            .is_some_and(|person| ledger.reader().state().ids_of(person).len() < 10)
        {
            let source = Source::new(user(next)?.as_str());
            last = ledger.append(Operation::merge_dangerously(at, user(first)?, source))?.seq();
            next += 1;
        }
        merges.push((user(first)?, last.ok_or("a person of fewer than ten ids")?));
    }
    ledger.flush()?;
    let records = ledger.checkpoint().records;
    let (bytes, before) = (ledger.reader().log_bytes(), ledger.reader().memory());
    drop(ledger);

    let replay = least(3, || {
        LedgerOptions::new()
            .threads(1)
            .replay(&place, false, |step| {
                black_box(step.outcome);
            })
            .map(drop)
    })?;
    let options = || LedgerOptions::new().durability(Durability::Buffered);
    let plain = least(1, || options().open(&place).map(drop))?;
    let begun = Instant::now();
    let mut ledger = options().index_records().open(&place)?;
    let indexed = begun.elapsed().as_secs_f64();
    let postings = ledger.reader().memory().postings;
    println!("{records} records, {bytes} bytes of log; verified replay, one core: {replay:.3} s");
    println!("opening {plain:.2} s, with records indexed {indexed:.2} s; the index has {postings} bytes");
    println!("beside {} for everything but texts", before.beyond_id_texts());
    println!("| what, of a person of ten ids and more | median, s | most, s | replay / median |");
    println!("|---|---|---|---|");
    let row = |what: &str, mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("| {what} | {median:.6} | {most:.6} | {:.0} |", replay / median);
    };
    let mut times = [(); 6].map(|()| Vec::new());
    for (id, merge) in &merges {
        let mut time = |row: usize, done: &mut dyn FnMut() -> Result<(), Failure>| {
            let begun = Instant::now();
            let result = done();
            times[row].push(begun.elapsed().as_secs_f64());
            result
        };
        let subject = Subject::Person(id.as_str());
        time(0, &mut || Ok(drop(black_box(ledger.reader().history(subject, PageRequest::first(1_000))?))))?;
        time(1, &mut || Ok(drop(black_box(ledger.reader().profile_as_of(id.as_str(), Seq(merge.0 - 1))?))))?;
        let retract = |target| Operation::retract(at, Target::Record(target));
        let mut first = None;
        time(2, &mut || {
            first = ledger.append(retract(*merge))?.seq();
            Ok(())
        })?;
        time(3, &mut || {
            let _ = ledger.append(retract(first.ok_or("recorded")?))?;
            Ok(())
        })?;
        let person = ledger.reader().person(id.as_str()).ok_or("it has a person")?;
        let ids = ledger.reader().state().ids_of(person);
        let leaver =
            ledger.reader().id_text(*ids.last().ok_or("it has ids")?).ok_or("it has a text")?.to_owned();
        let leaver = DistinctId::new(leaver)?;
        time(4, &mut || {
            let _ = ledger.append(Operation::split(at, id.clone(), [leaver.clone()], SplitMode::Each))?;
            Ok(())
        })?;
        time(5, &mut || Ok(drop(black_box(ledger.why_not(id.as_str(), leaver.as_str())?))))?;
    }
    let [history, as_of, retract, again, split, why_not] = times;
    row("history", history);
    row("profile as of a record", as_of);
    row("retract", retract);
    row("retract of the retract", again);
    row("split", split);
    row("why-not", why_not);
    Ok(())
}

fn least<E>(runs: u32, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut least = f64::MAX;
    for _ in 0..runs {
        let begun = Instant::now();
        run()?;
        least = least.min(begun.elapsed().as_secs_f64());
    }
    Ok(least)
}
