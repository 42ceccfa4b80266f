//! Commands as a person runs them: in a directory of their own, with what they printed and how they ended.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Ann signs in on one browser, an unmergeable id is refused, and Bob stays another person.
pub(crate) const SMALL: &str = r#"{"op":"capture","ts":"2026-01-01T00:00:00Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8001","event":"$pageview","distinct_id":"visitor"}
{"op":"identify","ts":"2026-01-01T00:00:01Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8002","distinct_id":"ann","anon_distinct_id":"visitor","set":{"email":"ann@example.com"}}
{"op":"alias","ts":"2026-01-01T00:00:02Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8003","distinct_id":"ann","alias":"null"}
{"op":"capture","ts":"2026-01-01T00:00:03Z","event_id":"01890a5d-ac96-774b-bcce-b302099a8004","event":"order","distinct_id":"bob","process_person_profile":false}
"#;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program that is tested, as wide as without a terminal.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_identity-ledger"));
    command.env_remove("COLUMNS");
    command
}

/// What a command does with this standard input.
pub(crate) fn output_of(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let written = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&written).ok()); // it may not want its input
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

impl Said {
    /// What a command says to this standard input.
    pub(crate) fn of(command: &mut Command, input: &[u8]) -> Said {
        let output = output_of(command, input);
        Said {
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Standard output as JSON, line by line; each line has these keys.
    #[track_caller]
    pub(crate) fn lines(&self, keys: &str) -> Vec<Value> {
        let lines: Vec<Value> = self
            .out
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON mode prints JSON only"))
            .collect();
        for line in &lines {
            for key in keys.split_whitespace() {
                assert!(line.get(key).is_some(), "{key} is missing in {line}");
            }
        }
        lines
    }

    /// The one line of JSON there is.
    #[track_caller]
    pub(crate) fn object(&self, keys: &str) -> Value {
        let mut lines = self.lines(keys);
        assert_eq!(lines.len(), 1, "{self:?}");
        lines.remove(0)
    }
}

/// A directory of its own, in which commands run.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = program();
        command.current_dir(self.0.path()).args(arguments.split_whitespace());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Said {
        self.run_with(arguments, b"")
    }

    /// Runs with this standard input.
    pub(crate) fn run_with(&self, arguments: &str, input: &[u8]) -> Said {
        Said::of(&mut self.command(arguments), input)
    }

    /// A ledger of [`SMALL`].
    pub(crate) fn small() -> Place {
        let place = Place::new();
        place.write("small.jsonl", SMALL);
        place.run("import a.ledger small.jsonl").with_code(0);
        place
    }

    pub(crate) fn segment(&self, ledger: &str) -> PathBuf {
        self.path(ledger).join("log/00000000000000000000.seg")
    }

    /// Every file of a ledger.
    pub(crate) fn files(&self, ledger: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn visit(dir: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(&path, out)
                } else {
                    drop(out.insert(path.clone(), fs::read(&path).unwrap()))
                }
            }
        }
        let mut out = BTreeMap::new();
        visit(&self.path(ledger), &mut out);
        out
    }
}
