//! Text to lines: bounds a line, and joins the lines of a document that is spread over several.
//!
//! Knows nothing of events.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use super::encoding::{Encoding, encoding};
use super::layer::Unpacked;

/// Largest line, and largest document over several lines, in bytes. Bounds the memory of an import to a small multiple.
///
/// PostHog takes requests of at most 20 MiB; an array of a million events belongs on a million lines.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1_024 * 1_024;

/// How much is read at once: large enough that calls do not show, small enough for the cache.
const READ_BYTES: usize = 128 * 1_024;

/// The lines of an input.
pub(super) struct Lines<R> {
    input: BufReader<Unpacked<R>>,
    /// Lines read and not yet done with: the one being looked at, and any that a failed join hands back.
    buffer: Vec<u8>,
    /// Where in `buffer` the next line starts.
    at: usize,
    /// What stands behind the last byte of `buffer`, once known.
    behind: Option<Behind>,
    at_start: bool,
    /// What the input is, if it cannot be read.
    encoding: Option<Encoding>,
}

enum Behind {
    TooLong,
    Failed(io::Error),
    End,
}

/// One line of the input.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Its place in the buffer, its line end left out.
    Text(Range<usize>),
    /// It was longer than [`MAX_DOCUMENT_BYTES`] and is not kept.
    TooLong,
}

/// Whether several lines make one document.
#[derive(Debug, PartialEq)]
pub(super) enum Joined {
    /// They do: the document's place, and how many lines were added.
    Document(Range<usize>, u64),
    /// They do not.
    No,
    /// They might, but are too large.
    TooLarge,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Lines<R> {
        let input = BufReader::with_capacity(READ_BYTES, Unpacked::new(input));
        Lines { input, buffer: Vec::new(), at: 0, behind: None, at_start: true, encoding: None }
    }

    /// Bytes taken from the input.
    pub(super) fn bytes(&self) -> u64 {
        self.input.get_ref().taken()
    }

    /// What the input is compressed with, if it is.
    pub(super) fn compression(&self) -> Option<&'static str> {
        self.input.get_ref().compression()
    }

    /// Whether reading failed because the input unpacks to too much.
    pub(super) fn is_too_dense(&self) -> bool {
        self.input.get_ref().is_too_dense()
    }

    /// What the input is, where reading failed because of that.
    pub(super) fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// The bytes of a place that a line or document was given as; valid until the next line is asked for.
    pub(super) fn text(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// The next line; forgets all before it.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > MAX_DOCUMENT_BYTES {
            self.buffer.drain(..self.at); // failed joins, one after the other, must not pile up
            self.at = 0;
        }
        self.line()
    }

    /// Tries to complete the document that `first`, the line given last, begins. On failure all lines behind `first`
    /// are given again: a truncated line never swallows its neighbours.
    pub(super) fn join(&mut self, first: Range<usize>) -> Joined {
        let behind_first = self.at;
        let mut outline = Outline::default();
        let mut fit = outline.feed(&self.buffer[first.clone()]);
        let mut added = 0;
        let mut too_large = false;
        while fit == Fit::Open {
            if self.at - first.start > MAX_DOCUMENT_BYTES {
                too_large = true;
                break;
            }
            fit = match self.line() {
                Ok(Some(Line::Text(place))) => outline.feed(&self.buffer[place]),
                Ok(Some(Line::TooLong)) => {
                    self.behind = Some(Behind::TooLong);
                    Fit::Broken
                }
                Ok(None) => Fit::Broken,
                Err(error) => {
                    self.behind = Some(Behind::Failed(error));
                    Fit::Broken
                }
            };
            added += 1;
        }
        if fit == Fit::Closed && self.at - first.start <= MAX_DOCUMENT_BYTES {
            return Joined::Document(first.start..self.at, added);
        }
        self.at = behind_first;
        if too_large || fit == Fit::Closed { Joined::TooLarge } else { Joined::No }
    }

    /// The next line, from the buffer or read into it.
    fn line(&mut self) -> io::Result<Option<Line>> {
        let start = self.at;
        if start == self.buffer.len() {
            match self.behind.take() {
                Some(Behind::TooLong) => return Ok(Some(Line::TooLong)),
                Some(Behind::Failed(error)) => return Err(error),
                Some(Behind::End) => {
                    self.behind = Some(Behind::End);
                    return Ok(None);
                }
                None => {}
            }
            if !self.fill()? {
                return Ok(Some(Line::TooLong));
            }
            if start == self.buffer.len() {
                self.behind = Some(Behind::End);
                return Ok(None);
            }
            self.at = self.buffer.len(); // exactly one line was read
        } else {
            let rest = &self.buffer[start..];
            let len = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |newline| newline + 1);
            self.at += len;
        }
        let end = if self.buffer[start..self.at].ends_with(b"\n") { self.at - 1 } else { self.at };
        Ok(Some(Line::Text(start..end)))
    }

    /// Appends one line with its line end, or nothing at the end of the input; false when the line was too long.
    fn fill(&mut self) -> io::Result<bool> {
        let start = self.buffer.len();
        let reader = &mut self.input;
        let most = MAX_DOCUMENT_BYTES as u64 + 1; // and its line end
        if let Err(error) = Read::take(&mut *reader, most).read_until(b'\n', &mut self.buffer) {
            self.buffer.truncate(start); // half a line says nothing
            return Err(error);
        }
        let line = &self.buffer[start..];
        if line.len() > MAX_DOCUMENT_BYTES && !line.ends_with(b"\n") {
            self.buffer.truncate(start);
            reader.skip_until(b'\n')?;
            return Ok(false);
        }
        if line.starts_with(BYTE_ORDER_MARK) {
            self.buffer.drain(start..start + BYTE_ORDER_MARK.len()); // files that were joined have one each
        }
        if std::mem::take(&mut self.at_start)
            && let Some(encoding) = encoding(&self.buffer[start..])
        {
            self.encoding = Some(encoding);
            self.buffer.truncate(start);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(true)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How far a text fits one JSON array or object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fit {
    /// So far so good, and not at its end.
    Open,
    /// It ends with the text.
    Closed,
    /// It fits nothing.
    Broken,
}

/// The grammar of brackets, keys and commas, fed line by line: it sees at once that `{"a":` and `{"b":1}` do not make a
/// document, which keeps a failed join short. Scalars are not judged here; `serde_json` reads the joined text anyway.
#[derive(Default)]
struct Outline {
    /// One bit a level, the innermost lowest: 1 for an object.
    kinds: u128,
    depth: u32,
    expected: Expected,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Expected {
    #[default]
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

impl Outline {
    fn feed(&mut self, line: &[u8]) -> Fit {
        let mut at = 0;
        while let Some(&byte) = line.get(at) {
            at += 1;
            let fits = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => true,
                b'{' | b'[' => self.open(byte == b'{'),
                b'}' | b']' => self.close(byte == b'}'),
                b',' => self.comma(),
                b':' => self.step(Expected::Colon, Expected::Value),
                b'"' => match string_end(&line[at..]) {
                    Some(len) => {
                        at += len;
                        self.string()
                    }
                    None => false, // a string never continues on the next line
                },
                _ => {
                    at += line[at..].iter().take_while(|&&byte| !is_structure(byte)).count();
                    self.value()
                }
            };
            if !fits {
                return Fit::Broken;
            }
        }
        if self.expected == Expected::Nothing { Fit::Closed } else { Fit::Open }
    }

    fn in_object(&self) -> bool {
        self.kinds & 1 == 1
    }

    fn open(&mut self, object: bool) -> bool {
        let deeper = self.depth < u128::BITS && self.value();
        if deeper {
            self.depth += 1;
            self.kinds = self.kinds << 1 | u128::from(object);
            self.expected = if object { Expected::KeyOrEnd } else { Expected::ValueOrEnd };
        }
        deeper
    }

    fn close(&mut self, object: bool) -> bool {
        let empty = if object { Expected::KeyOrEnd } else { Expected::ValueOrEnd };
        let fits = self.depth > 0
            && self.in_object() == object
            && (self.expected == Expected::CommaOrEnd || self.expected == empty);
        if fits {
            self.depth -= 1;
            self.kinds >>= 1;
            self.expected = if self.depth == 0 { Expected::Nothing } else { Expected::CommaOrEnd };
        }
        fits
    }

    fn comma(&mut self) -> bool {
        let next = if self.in_object() { Expected::Key } else { Expected::Value };
        self.step(Expected::CommaOrEnd, next)
    }

    fn string(&mut self) -> bool {
        if matches!(self.expected, Expected::Key | Expected::KeyOrEnd) {
            self.expected = Expected::Colon;
            return true;
        }
        self.value()
    }

    fn value(&mut self) -> bool {
        let fits = matches!(self.expected, Expected::Value | Expected::ValueOrEnd);
        if fits {
            self.expected = if self.depth == 0 { Expected::Nothing } else { Expected::CommaOrEnd };
        }
        fits
    }

    fn step(&mut self, from: Expected, to: Expected) -> bool {
        let fits = self.expected == from;
        if fits {
            self.expected = to;
        }
        fits
    }
}

fn is_structure(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' | b' ' | b'\t' | b'\r' | b'\n')
}

/// Length of the rest of a string, its closing quote included.
fn string_end(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, &byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(input);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Text(place) => String::from_utf8_lossy(lines.text(place)).into_owned(),
                Line::TooLong => "TOO LONG".to_owned(),
            });
        }
        found
    }

    #[test]
    fn lines_end_with_newlines_or_the_input() {
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines(b"a\r\n"), ["a\r"]);
        assert_eq!(lines(b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb"), ["a", "b"]);
        assert_eq!(lines(b"\xEF\xBB\xBF"), [""; 0]);
        assert_eq!(lines(b"\x1F"), ["\x1F"]);
    }

    #[test]
    fn a_line_has_a_bound_and_the_next_one_is_read() {
        let mut input = vec![b'x'; MAX_DOCUMENT_BYTES];
        input.extend_from_slice(b"\nx");
        input.resize(input.len() + MAX_DOCUMENT_BYTES, b'x');
        input.extend_from_slice(b"\nlast");
        let found = lines(&input);
        assert_eq!(
            (found[0].len(), found[1].as_str(), found[2].as_str()),
            (MAX_DOCUMENT_BYTES, "TOO LONG", "last")
        );
    }

    #[test]
    fn lines_are_joined_only_into_a_whole_document() {
        let joined = |input: &str| {
            let mut lines = Lines::new(input.as_bytes());
            let Some(Line::Text(first)) = lines.next().unwrap() else { panic!("an input has a line") };
            let joined = lines.join(first);
            let next = match lines.next().unwrap() {
                Some(Line::Text(place)) => String::from_utf8_lossy(lines.text(place)).into_owned(),
                _ => "END".to_owned(),
            };
            match joined {
                Joined::Document(_, added) => format!("{added} added, then {next}"),
                other => format!("{other:?}, then {next}"),
            }
        };
        assert_eq!(joined("[\n1,\n{\n\"a\":\n[]}\n]\nx"), "5 added, then x");
        assert_eq!(joined("{\n\"a\": \"}\\\"\",\n\n\"b\": {}\n}"), "4 added, then END");
        for broken in ["{", "[", "{\"a\":", "{\"a\":1,", "[{}", "{\"a", "[1,"] {
            let input = format!("{broken}\n{{\"b\":1}}\n{{\"c\":1}}\n");
            assert_eq!(joined(&input), "No, then {\"b\":1}", "{broken}");
        }
        assert_eq!(joined("[[\n1"), "No, then 1");
        assert_eq!(joined("{\n]"), "No, then ]");
    }

    #[test]
    fn a_join_deeper_than_the_outline_fails() {
        let mut lines = Lines::new(&b"[\n[\n[\n"[..]);
        let Some(Line::Text(first)) = lines.next().unwrap() else { panic!("an input has a line") };
        assert_eq!(lines.join(first), Joined::No);
        let deep = "[\n".repeat(200) + &"]\n".repeat(200);
        let mut lines = Lines::new(deep.as_bytes());
        let Some(Line::Text(first)) = lines.next().unwrap() else { panic!("an input has a line") };
        assert_eq!(lines.join(first), Joined::No);
    }
}
