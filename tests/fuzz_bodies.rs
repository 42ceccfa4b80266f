//! The fuzz targets of `fuzz/`, on stable Rust: over their committed corpus, over corpus files bent at random, and over bytes
//! that are nothing but random. The numbers are drawn from fixed seeds: a failure here fails again.
#![cfg(all(feature = "import", feature = "testing"))]

#[path = "support/fuzz_bodies.rs"]
mod fuzz_bodies;

use std::fmt::Write;
use std::path::PathBuf;

use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::history::History;

/// How many inputs are made up for each body; `FUZZ_INPUTS` in the environment makes it more.
const INPUTS: u64 = 2_000;

#[test]
fn any_bytes_are_an_input() {
    run("import", fuzz_bodies::import);
}

#[test]
fn any_bytes_are_a_log() {
    run("open", fuzz_bodies::open);
}

#[test]
fn any_bytes_are_a_history() {
    run("fold", |bytes| fuzz_bodies::fold(&History::from_bytes(bytes)));
}

#[test]
fn any_bytes_are_a_history_with_erasures() {
    run("erase", |bytes| fuzz_bodies::erase(&History::from_bytes(bytes)));
}

#[test]
fn any_bytes_are_a_history_to_be_asked_about() {
    run("answers", |bytes| fuzz_bodies::answers(&History::from_bytes(bytes)));
}

#[test]
fn any_bytes_are_stored_bytes() {
    run("decode", fuzz_bodies::decode);
}

#[test]
fn any_bytes_are_a_history_and_a_failing_disk() {
    run("ledger", |bytes| {
        let Some((disk, bytes)) = bytes.split_first_chunk() else { return };
        fuzz_bodies::ledger(*disk, History::from_bytes(bytes));
    });
}

#[test]
fn any_bytes_are_a_log_and_a_change_to_it() {
    run("tamper", fuzz_bodies::tamper);
}

#[test]
fn any_bytes_are_a_snapshot() {
    run("snapshot", fuzz_bodies::snapshot);
}

fn run(name: &str, body: fn(&[u8])) {
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "fuzz/corpus/{name} has seeds");
    for (_, seed) in &seeds {
        with(seed, body);
    }
    let inputs = std::env::var("FUZZ_INPUTS").map_or(INPUTS, |inputs| inputs.parse().expect("a number"));
    for number in 0..inputs {
        let mut chance = Chance::new(number);
        let input = match number % 4 {
            0 => noise(&mut chance),
            _ => {
                let (_, seed) = chance.pick(&seeds);
                bent(&mut chance, seed)
            }
        };
        with(&input, body);
    }
}

/// Says which bytes a law was broken by.
fn with(input: &[u8], body: fn(&[u8])) {
    struct Shown<'a>(&'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex = self.0.iter().fold(String::new(), |mut hex, byte| {
                    write!(hex, "{byte:02x}").expect("a string takes everything");
                    hex
                });
                eprintln!("the input, in hexadecimal: {hex}");
            }
        }
    }
    let shown = Shown(input);
    body(shown.0);
}

/// The committed inputs of a target, by name.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(dir).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort_unstable();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).expect("it can be read"))).collect()
}

fn noise(chance: &mut Chance) -> Vec<u8> {
    let len = chance.below(200);
    chance.bytes(len)
}

/// A seed with a few bytes changed, doubled, cut out or cut off.
fn bent(chance: &mut Chance, seed: &[u8]) -> Vec<u8> {
    let mut bent = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bent.len());
        let len = chance.below(16).min(bent.len() - at);
        match chance.below(6) {
            0 => bent.truncate(at),
            1 => drop(bent.drain(at..at + len)),
            2 => {
                let piece = bent[at..at + len].to_vec();
                drop(bent.splice(at..at, piece));
            }
            3 => {
                let piece = noise(chance);
                drop(bent.splice(at..at + len, piece));
            }
            _ if !bent.is_empty() => bent[at] ^= 1 << chance.below(8),
            _ => {}
        }
    }
    bent
}
