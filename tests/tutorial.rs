//! The tutorial is true: every command of docs/undo.md is run, in order, and says what the page shows. `UPDATE=1` writes what they
//! say into the page; read the difference before you believe it.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/undo.md");

/// The page with what its commands say. A command with nothing below it is run, and what it says is nobody's business.
fn told(page: &str, place: &Path) -> String {
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
        let said = run(command, place);
        if shown || std::env::var_os("UPDATE").is_some() && !command.contains(" import ") {
            out.push_str(&said);
        }
    }
    out
}

fn run(command: &str, place: &Path) -> String {
    let arguments = command.strip_prefix("identity-ledger ").expect("the page runs nothing else").split(' ');
    let output = Command::new(env!("CARGO_BIN_EXE_identity-ledger"))
        .args(arguments)
        .current_dir(place)
        .env_remove("COLUMNS") // as wide as where nobody says how wide
        .output()
        .expect("the binary is there");
    let errors = String::from_utf8(output.stderr).expect("texts are UTF-8");
    let is_quiet = |line: &str| line.starts_with("note: answered from the snapshot of "); // the import made one
    assert!(errors.lines().all(is_quiet), "{command}: {errors}");
    String::from_utf8(output.stdout).expect("texts are UTF-8")
}

#[test]
fn every_command_of_the_tutorial_says_what_the_page_shows() {
    let place = tempfile::tempdir().unwrap();
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/wrong-merge.jsonl");
    fs::copy(log, place.path().join("wrong-merge.jsonl")).unwrap();
    let page = fs::read_to_string(PAGE).unwrap();
    let told = told(&page, place.path());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, told).unwrap();
        return;
    }
    let (mut found, mut expected) = (told.lines(), page.lines());
    for number in 1.. {
        let (found, expected) = (found.next(), expected.next());
        assert_eq!(found, expected, "docs/undo.md:{number}; UPDATE=1 writes it anew");
        if found.is_none() {
            return;
        }
    }
}
