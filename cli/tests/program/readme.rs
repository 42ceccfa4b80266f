//! The README is true: its program is the example, the example prints what the README shows, and its first command shows what the README
//! says. A test run compiles once, so nothing is compiled here; `.ci/run` runs the commands themselves on a fresh clone.

use std::cell::RefCell;
use std::fmt;

use crate::place::{Place, Said, program};

thread_local! {
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Hides the standard library's macro from the example below, so that the test can read what it prints.
macro_rules! println {
    ($($line:tt)*) => { crate::readme::print(format_args!($($line)*)) };
}

fn print(line: fmt::Arguments<'_>) {
    PRINTED.with_borrow_mut(|printed| *printed += &format!("{line}\n"));
}

#[path = "../../../examples/why.rs"]
mod why;

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn block<'a>(text: &'a str, fence: &str) -> &'a str {
    text.split_once(fence).unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let readme = read("README.md");
    let shown: Vec<&str> =
        block(&readme, "```rust\n").lines().filter(|line| !line.starts_with("# ")).map(str::trim).collect();
    let example = read("examples/why.rs");
    let written: Vec<&str> = example.lines().map(str::trim).collect();
    for line in shown {
        assert!(written.contains(&line), "not in examples/why.rs: {line}");
    }
}

#[test]
fn the_example_prints_what_the_readme_shows() {
    why::main().unwrap();
    assert_eq!(PRINTED.take(), block(&read("README.md"), "```text\n"));
}

#[test]
fn cargo_commands_of_the_readme_name_packages_that_exist_and_build_what_is_locked() {
    let (readme, manifest) = (read("README.md"), read("cli/Cargo.toml"));
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("$ cargo ")).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(commands.contains(&"test --all-features"), "the command that runs every test: {commands:?}");
    for command in commands {
        if let Some((_, package)) = command.split_once("-p ") {
            let package = package.split(' ').next().unwrap();
            assert!(manifest.contains(&format!("name = \"{package}\"")), "{command}");
        }
        assert!(!command.starts_with("install") || command.contains("--locked"), "{command}");
    }
}

/// In a directory with the files that they name, as in a clone. A shell reads the lines, and keeps what one of them prints in a file.
#[cfg(unix)]
#[test]
fn every_command_of_the_readme_runs_in_their_order() {
    let place = Place::new();
    let clone = place.path("clone");
    for file in ["tests/data/posthog-js-1.449.2.jsonl", "examples/posthog-persons.jsonl"] {
        std::fs::create_dir_all(clone.join(file).parent().unwrap()).unwrap();
        std::fs::write(clone.join(file), read(file)).unwrap();
    }
    let name = program().get_program().to_str().unwrap().to_owned();
    let mut commands = 0;
    for line in read("README.md").lines().filter_map(|line| line.strip_prefix("$ identity-ledger ")) {
        if line.starts_with("serve ") {
            continue; // until it is stopped
        }
        let answer_is_no = line.starts_with("diff ") || line.starts_with("compare ");
        let mut shell = std::process::Command::new("sh");
        let command = format!("exec '{name}' {line}");
        Said::of(shell.args(["-c", &command]).current_dir(&clone), b"").with_code(answer_is_no.into());
        commands += 1;
    }
    assert!(commands >= 30, "{commands}");
}

#[test]
fn the_first_command_of_the_readme_shows_one_person() {
    let readme = read("README.md");
    let command = readme.lines().find_map(|line| line.strip_prefix("$ cargo run ")).unwrap();
    let arguments = command.strip_prefix("--release -p identity-ledger-cli -- ").unwrap();
    let run = |more: &[&str]| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        Said::of(program().args(arguments.split(' ')).args(more).current_dir(root), b"").with_code(0).out
    };
    assert!(run(&[]).contains("DISTINCT IDS"));
    assert_eq!(run(&["--json"]).lines().count(), 1, "`One person comes out`");
    assert_eq!(run(&["--json", "--preset", "one-user"]).lines().count(), 2, "`one-user` keeps the two apart");
}
