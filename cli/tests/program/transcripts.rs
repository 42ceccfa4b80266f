//! What every command says, as pages that people read: its help, its tables at several widths, its JSON. Each page of
//! `tests/transcripts/` is run from top to bottom in a directory of its own and says what it shows. `UPDATE=1` writes what the
//! commands say; read the difference before you commit it.
#![cfg(feature = "serve")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use identity_ledger::import::{Importer, Options, Tally, run};
use identity_ledger::{LedgerOptions, Policy, Tenant};

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
const PROGRAM: &str = env!("CARGO_BIN_EXE_identity-ledger");
/// A shop whose script merged two customers.
const SHOP: &str = include_str!("../../../examples/wrong-merge.jsonl");
/// An id that may not merge, and one that was seen with processing off only.
const MORE: &str = r#"{"op":"alias","event_id":"01a5c0de-0000-7000-8000-000000000031","ts":"2026-03-06T09:00:00Z","distinct_id":"chen@example.com","alias":"null"}
{"op":"capture","event_id":"01a5c0de-0000-7000-8000-000000000032","ts":"2026-03-06T09:01:00Z","distinct_id":"visitor-99","event":"$pageview","process_person_profile":false}
"#;

/// A directory with `shop.jsonl`, and `shop.ledger` made of it: the same each time, for its chance and its clock are counted.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let lines = [SHOP, MORE].concat();
    fs::write(place.path().join("shop.jsonl"), &lines).unwrap();
    let ledger = place.path().join("shop.ledger");
    let mut ledger =
        LedgerOptions::new().seeded(1).create(&ledger, Tenant::default(), Policy::default()).unwrap();
    let importer = Importer::new(lines.as_bytes(), Options::from(&Policy::default()));
    run(&mut ledger, importer, &mut Tally::default(), &mut ()).unwrap();
    place
}

/// What a command says, on both outputs, and how it ends.
fn said(command: &str, place: &Path) -> String {
    let directory = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(place)
        .env("PATH", format!("{directory}:{path}"))
        .env("COLUMNS", "80") // unless the command says otherwise
        .output()
        .unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    match output.status.code() {
        Some(0) => {}
        code => said.push_str(&format!("[exit status {}]\n", code.expect("it ends by itself"))),
    }
    said.lines().map(|line| masked(&without_now(line)).trim_end().to_owned() + "\n").collect()
}

/// A line without the times of this run: all but those of the shop's events and of its ledger.
fn without_now(line: &str) -> String {
    const LEN: usize = "2026-01-01T00:00:00".len();
    let is_time = |text: &[u8]| {
        let like = b"dddd-dd-ddTdd:dd:dd";
        text.len() == LEN
            && text
                .iter()
                .zip(like)
                .all(|(byte, like)| byte == like || *like == b'd' && byte.is_ascii_digit())
    };
    let is_known = |text: &str| text.starts_with("2026-01-01") || text.starts_with("2026-03-0");
    let (mut out, mut rest) = (String::new(), line);
    while let Some(letter) = rest.chars().next() {
        let time = rest.as_bytes().get(..LEN).filter(|text| is_time(text));
        let len = match time {
            Some(_) if !is_known(rest) => {
                out.push_str("[now]");
                LEN + rest[LEN..].find('Z').map_or(0, |end| end + 1)
            }
            _ => {
                out.push(letter);
                letter.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    out
}

/// A line without what differs from run to run: digests, chance, and how long it took.
fn masked(line: &str) -> String {
    let (mut out, mut word) = (String::new(), String::new());
    for letter in line.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || letter == '-' {
            word.push(letter);
            continue;
        }
        let is_hex = |text: &str| text.chars().all(|letter| letter.is_ascii_hexdigit());
        let is_chance = word.len() == 36 && word.as_bytes()[14] == b'4'; // a UUID of version 4
        match word.len() {
            64 if is_hex(&word) => out.push_str("[64 digits]"),
            _ if is_chance => out.push_str("[a ledger id]"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(letter);
    }
    out.pop();
    for (before, after) in [(", in ", " s"), (" in ", " s"), ("\"seconds\":", "}"), ("\"seconds\":", ",")] {
        let Some((head, tail)) = out.rsplit_once(before) else { continue };
        let Some((number, rest)) = tail.split_once(after) else { continue };
        if number.parse::<f64>().is_ok() {
            out = format!("{head}{before}[seconds]{after}{rest}");
        }
    }
    out
}

/// The page with what its commands say.
fn told(page: &str) -> String {
    let (place, mut told) = (place(), String::new());
    for line in page.lines().filter(|line| line.starts_with("$ ") || line.starts_with("# ")) {
        if !told.is_empty() {
            told.push('\n');
        }
        told.push_str(line);
        told.push('\n');
        if let Some(command) = line.strip_prefix("$ ") {
            told.push_str(&said(command, place.path()));
        }
    }
    told
}

fn pages() -> BTreeSet<String> {
    let names = fs::read_dir(PAGES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".txt").map(str::to_owned)).collect()
}

#[test]
fn every_command_says_what_its_page_shows() {
    let mut wrong = Vec::new();
    for name in pages() {
        let file = Path::new(PAGES).join(format!("{name}.txt"));
        let page = fs::read_to_string(&file).unwrap();
        let told = told(&page);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, told).unwrap();
            continue;
        }
        let lines = told.lines().zip(page.lines()).zip(1..);
        let differs = lines.filter(|((found, expected), _)| found != expected).map(|(_, line)| line);
        if told != page {
            let line = differs.min().unwrap_or_else(|| told.lines().count().min(page.lines().count()));
            let found = told.lines().nth(line.max(1) - 1).unwrap_or_default();
            wrong.push(format!("{name}.txt line {line}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 writes the pages:\n{}", wrong.join("\n"));
}

#[test]
fn every_command_has_a_page() {
    let help = Command::new(PROGRAM).arg("help").env("COLUMNS", "200").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let commands: BTreeSet<String> = commands.map(str::to_owned).collect();
    let mut pages = pages();
    assert!(pages.remove("overview"));
    assert_eq!(commands, pages);
}

/// What a narrow terminal folds is still one command: a shell takes it as it stands.
#[test]
fn no_help_is_wider_than_the_terminal() {
    for name in pages() {
        let page = fs::read_to_string(Path::new(PAGES).join(format!("{name}.txt"))).unwrap();
        let help = page.lines().skip_while(|line| !line.starts_with("$ identity-ledger help")).skip(1);
        let is_folded = |line: &&str| !line.starts_with("Usage: "); // clap writes that line
        for line in help.take_while(|line| !line.starts_with("$ ")).filter(is_folded) {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}
