//! The tutorials are true: every command of docs/undo.md, docs/audit.md and of docs/erasure.md section 5 is run, in order, and says what the
//! page shows.
//! `UPDATE=1` writes what they say into docs/undo.md; read the difference before you believe it.

use std::fs;

use crate::place::{Place, Said};

const UNDO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/undo.md");
const AUDIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/audit.md");
const WRONG_MERGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wrong-merge.jsonl");
const ERASURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/erasure.md");

/// The page with what its commands say. A command with nothing below it must succeed, and what it says is not compared.
fn told(page: &str, said: impl Fn(&str) -> (String, bool)) -> String {
    let mut out = String::new();
    let mut lines = page.lines().peekable();
    let mut within = false;
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        within = if within { line != "```" } else { line == "```console" };
        let Some(command) = line.strip_prefix("$ ").filter(|_| within) else { continue };
        let mut shown = false;
        while lines.next_if(|line| !line.starts_with("$ ") && *line != "```").is_some() {
            shown = true;
        }
        let (said, success) = said(command);
        assert!(shown || success, "{command}: {said}");
        if shown || std::env::var_os("UPDATE").is_some() && !command.contains(" import ") {
            out.push_str(&said);
        }
    }
    out
}

fn run(command: &str, place: &Place) -> Said {
    place.run(command.strip_prefix("identity-ledger ").expect("the page runs nothing else"))
}

/// What was said on standard error, but for the note that says which snapshot an answer is from: the import made one.
fn errors(said: &Said) -> String {
    said.err
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("note: answered from the snapshot of "))
        .collect()
}

/// Whether a line is what the page shows, where `...` stands for anything.
fn is_shown(found: &str, expected: &str) -> bool {
    match expected.split_once("...") {
        Some((begins, ends)) => found.strip_prefix(begins).is_some_and(|rest| rest.ends_with(ends)),
        None => found == expected,
    }
}

fn compare(name: &str, told: &str, page: &str, is_shown: impl Fn(&str, &str) -> bool) {
    let (mut found, mut expected) = (told.lines(), page.lines());
    for number in 1.. {
        let (found, expected) = (found.next(), expected.next());
        let same = match (found, expected) {
            (Some(found), Some(expected)) => is_shown(found, expected),
            (found, expected) => found == expected,
        };
        assert!(same, "{name}, line {number}: expected {expected:?}, found {found:?}");
        if found.is_none() {
            return;
        }
    }
}

#[test]
fn every_command_of_the_tutorial_says_what_the_page_shows() {
    let place = Place::new();
    fs::copy(WRONG_MERGE, place.path("wrong-merge.jsonl")).unwrap();
    let page = fs::read_to_string(UNDO).unwrap();
    let told = told(&page, |command| {
        let said = run(command, &place);
        assert_eq!(errors(&said), "", "{command}");
        (said.out, true)
    });
    if std::env::var_os("UPDATE").is_some() {
        fs::write(UNDO, told).unwrap();
        return;
    }
    compare("docs/undo.md (UPDATE=1 writes it)", &told, &page, |found, expected| found == expected);
}

/// The auditor's commands, two of which a shell helps: one keeps the key that was printed, one writes a note into a file.
#[test]
fn every_command_of_an_audit_says_what_the_page_shows() {
    let place = Place::new();
    fs::copy(WRONG_MERGE, place.path("wrong-merge.jsonl")).unwrap();
    let page = fs::read_to_string(AUDIT).unwrap();
    let key = std::cell::RefCell::new(String::new());
    let told = told(&page, |command| {
        let command = command.replace("$KEY", &key.borrow());
        if let Some(command) = command.strip_prefix("KEY=$(") {
            let said = run(command.strip_suffix(')').unwrap(), &place);
            *key.borrow_mut() = said.out.trim_end().to_owned();
            return (errors(&said), said.code == 0);
        }
        let Some((command, file)) = command.split_once(" > ") else {
            let said = run(&command, &place);
            return (errors(&said) + &said.out, said.code == 0);
        };
        let said = run(command, &place);
        place.write(file, &said.out);
        (errors(&said), said.code == 0)
    });
    if std::env::var_os("UPDATE").is_some() {
        fs::write(place.path("told.md"), &told).unwrap();
    }
    compare("docs/audit.md", &told, &page, is_shown);
}

/// What a restored backup of a sealed ledger needs, from the first command to the last. Errors and notes are part of the page.
#[test]
fn every_command_about_sealed_backups_says_what_the_page_shows() {
    let place = Place::new();
    fs::create_dir(place.path("secrets")).unwrap();
    place.write("events.jsonl", run("identity-ledger generate --people 20", &place).out);
    let page = fs::read_to_string(ERASURE).unwrap();
    let begin = page.find("## 5. ").expect("the page has five sections and more");
    let end = page.find("## 6. ").expect("the page has six sections");
    let section = &page[begin..end];
    let told = told(section, |command| {
        let said = run(command, &place);
        (errors(&said) + &said.out, said.code == 0)
    });
    compare("docs/erasure.md from section 5 on", &told, section, is_shown);
}
