//! Inputs: files of events or policies, and standard input.
#![expect(clippy::disallowed_types, reason = "the shell: inputs are files")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// An input, open.
pub(crate) struct Input {
    pub(crate) reader: Box<dyn Read>,
    /// Its size, if it has one.
    pub(crate) bytes: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(file: &Path) -> Result<Input, Failure> {
        if is_stdin(file) {
            return Ok(Input { reader: Box::new(io::stdin().lock()), bytes: None });
        }
        let opened = File::open(file).map_err(Failure::read(file))?;
        let metadata = opened.metadata().map_err(Failure::read(file))?;
        if metadata.is_dir() {
            return Err(Failure::IsDirectory { file: file.to_owned() });
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Input { reader: Box::new(opened), bytes })
    }

    /// Whether [`Input::open`] would work. A pipe is left alone: once opened, it has to be read.
    pub(crate) fn check(file: &Path) -> Result<(), Failure> {
        if is_stdin(file) {
            return Ok(());
        }
        let metadata = fs::metadata(file).map_err(Failure::read(file))?;
        if metadata.is_file() || metadata.is_dir() { Input::open(file).map(drop) } else { Ok(()) }
    }
}

pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == STDIN
}

/// What stands for standard input.
pub(crate) const STDIN: &str = "-";

/// The lines of standard input, without their ends.
pub(crate) fn lines() -> impl Iterator<Item = Result<String, Failure>> {
    io::stdin().lines().map(|line| line.map_err(Failure::read(Path::new(STDIN))))
}

/// `-` stands for a list wherever a command takes one, so here it is not taken for an id.
pub(crate) fn expect_no_list<const N: usize>(
    command: &'static str,
    ids: [&String; N],
) -> Result<(), Failure> {
    if ids.iter().any(|id| *id == STDIN) { Err(Failure::NoList { command }) } else { Ok(()) }
}
