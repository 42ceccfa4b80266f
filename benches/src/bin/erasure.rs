//! What erasing costs: one person out of a large ledger, and a thousand in one rewrite, beside copying the same segments.
//!
//! ```console
//! $ cargo run --release --manifest-path benches/Cargo.toml --bin erasure -- --people 444444
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use identity_ledger::erase::{ErasureRequest, ErasureSubject, Receipt};
use identity_ledger::{DistinctId, Timestamp};
use identity_ledger_benches::{build, people_asked_for};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let people = people_asked_for()?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("ledger");
    let mut ledger = build(&place, people);
    ledger.flush()?;
    println!("{} records, {} bytes of log", ledger.checkpoint().records, ledger.reader().log_bytes());
    println!("| what | begin, s | finish, s | segments | bytes written | copying them, s | finish / copy |");
    println!("|---|---|---|---|---|---|---|");
    for (what, count) in [("one person, early", 1), ("one person, late", 1), ("1,000 persons", 1_000)] {
        let user = |number: u64| DistinctId::new(format!("user-{number}"));
        let wish = |number: u64| -> Result<ErasureRequest, Failure> {
            let at = Timestamp::from_micros(0)?;
            Ok(ErasureRequest::new(at, ErasureSubject::PersonOf(user(number)?), "measured"))
        };
        let numbers: Vec<u64> = match what {
            "one person, early" => vec![people / 50],
            "one person, late" => vec![people - 10],
            _ => (0..count)
                .map(|n| (n * 433 + 7) % people)
                .filter(|n| *n != people / 50 && *n != people - 10)
                .collect(),
        };
        let wishes = numbers.into_iter().map(wish).collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        ledger.begin_erasures(&wishes)?;
        let begin = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let receipts = ledger.finish_erasures(&mut |_| {})?;
        let finish = begun.elapsed().as_secs_f64();
        let segments = receipts.first().map_or(&[][..], |receipt: &Receipt| &receipt.segments);
        let written: u64 = segments.iter().map(|segment| segment.bytes_after).sum();
        let copying = (0..3).map(|_| copy(&place, segments.iter().map(|segment| &segment.file[..])));
        let copying = copying.collect::<Result<Vec<f64>, _>>()?.into_iter().fold(f64::MAX, f64::min);
        println!(
            "| {what} | {begin:.3} | {finish:.3} | {} | {written} | {copying:.3} | {:.2} |",
            segments.len(),
            finish / copying
        );
    }
    Ok(())
}

/// Copies files as an erasure would without anything to do: read, write, sync, rename, sync the directory.
fn copy<'f>(place: &Path, files: impl Iterator<Item = &'f str>) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    for file in files {
        let (from, to) = (place.join(file), place.join(format!("{file}.copy")));
        let (mut source, mut copy) = (File::open(&from)?, File::create(&to)?);
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            copy.write_all(&buffer[..read])?;
        }
        copy.sync_data()?;
        fs::rename(&to, place.join("copied"))?;
        File::open(place)?.sync_all()?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
