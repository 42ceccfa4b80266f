//! Inputs: files of events or policies, and standard input.
#![expect(clippy::disallowed_types, reason = "the shell: inputs are files")]

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek};
use std::path::Path;

use crate::failure::Failure;
use crate::parquet;

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
        let mut opened = File::open(file).map_err(Failure::read(file))?;
        let metadata = opened.metadata().map_err(Failure::read(file))?;
        if metadata.is_dir() {
            return Err(Failure::IsDirectory { file: file.to_owned() });
        }
        if !metadata.is_file() {
            return Ok(Input { reader: Box::new(opened), bytes: None });
        }
        if is_parquet(&mut opened).map_err(Failure::read(file))? {
            return Ok(Input { reader: Box::new(parquet::Rows::of(opened)), bytes: None });
        }
        Ok(Input { reader: Box::new(opened), bytes: Some(metadata.len()) })
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

/// Whether a file begins as Parquet does. It is read from its beginning afterwards.
fn is_parquet(file: &mut File) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.by_ref().take(parquet::MAGIC[0].len() as u64).read_to_end(&mut begin)?;
    file.rewind()?;
    Ok(parquet::MAGIC.iter().any(|magic| begin == *magic))
}

pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == STDIN
}

/// What stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Longest line of a list on standard input, in bytes: two ids of four bytes a scalar take a twentieth of it.
const MAX_LINE_BYTES: u64 = 64 * 1_024;

/// The lines of standard input, without their ends.
pub(crate) fn lines() -> impl Iterator<Item = Result<String, Failure>> {
    lines_of(io::stdin().lock()).map(|line| line.map_err(Failure::read(Path::new(STDIN))))
}

fn lines_of(mut input: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = String::new();
        let read = input.by_ref().take(MAX_LINE_BYTES + 1).read_line(&mut line);
        let bytes = match read {
            Ok(0) => return None,
            Ok(bytes) => bytes as u64,
            Err(error) => return Some(Err(error)),
        };
        let end =
            line.strip_suffix('\n').map_or(line.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
        if bytes > MAX_LINE_BYTES && end == line.len() {
            let what = format!("a line is longer than {MAX_LINE_BYTES} bytes; expected distinct ids");
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        line.truncate(end);
        Some(Ok(line))
    })
}

/// `-` stands for a list wherever a command takes one, so here it is not taken for an id.
pub(crate) fn expect_no_list<const N: usize>(
    command: &'static str,
    ids: [&String; N],
) -> Result<(), Failure> {
    if ids.iter().any(|id| *id == STDIN) { Err(Failure::NoList { command }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_have_a_bound() {
        let lines = |text: &str| lines_of(text.as_bytes()).collect::<io::Result<Vec<_>>>();
        assert_eq!(lines("a\n\nb\r\nc").unwrap(), ["a", "", "b", "c"]);
        let longest = "x".repeat(MAX_LINE_BYTES as usize);
        assert_eq!(lines(&format!("{longest}\ny")).unwrap(), [longest.clone(), "y".to_owned()]);
        assert!(lines(&format!("{longest}x")).unwrap_err().to_string().contains("longer than 65536 bytes"));
    }
}
