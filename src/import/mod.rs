//! Importers: what SDKs send, read as operations.
//!
//! [`Importer`] takes any [`Read`], plain or gzip, and yields one [`Parsed`] for each event or operation it finds, in the
//! order of the input. It knows the formats; it knows nothing of ledgers, persons or files.
//!
//! # Shapes
//! JSON Lines; one JSON document over several lines; an array; `{"batch":[..]}`; one object. PostHog's wire formats also
//! as forms (`data=<base64>`) and as recorded requests (`{"path":..,"received_ms":..,"body":..}`). Blank lines are passed
//! over, a byte order mark at the start is tolerated, lines end with LF or CRLF.
//!
//! # Documents over several lines
//! A line that is one whole JSON document is one, always. A line that begins an array or an object and does not end it
//! is joined with the lines that follow only if they complete it, token by token. If they do not (a comma is missing, the
//! input ends, the document grows beyond [`MAX_DOCUMENT_BYTES`]), that one line is rejected and reading goes on with the
//! line after it: a line cut short never swallows its neighbours.
//!
//! # Ids
//! An operation without an id gets one derived from its content, its time and the number of equal ones before it in this
//! input (G4). Importing a file twice yields the same ids.

mod body;
mod derive;
mod json;
mod lift;
mod lines;
mod ops;
mod posthog;
mod rejection;

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::str::FromStr;

use self::derive::Occurrences;
use self::json::{Json, Unread};
use self::lines::{Joined, Line, Lines};
use self::posthog::{Envelope, Found};
pub use self::rejection::{ImportError, Rejection};
use crate::operation::Operation;
use crate::policy::Policy;

/// Largest line, and largest document over several lines, in bytes. Bounds the memory of an import to a small multiple.
///
/// PostHog takes requests of at most 20 MiB; an array of a million events belongs on a million lines.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1_024 * 1_024;

/// What an input is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Decided for each document: an object with a string `op` is `ops`, any other is `posthog`.
    #[default]
    Auto,
    /// The ledger's own format: one operation a line.
    Ops,
    /// What PostHog's SDKs send.
    Posthog,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Auto => "auto",
            Format::Ops => "ops",
            Format::Posthog => "posthog",
        })
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Format, FormatError> {
        [Format::Auto, Format::Ops, Format::Posthog]
            .into_iter()
            .find(|format| format.to_string() == name)
            .ok_or_else(|| FormatError { found: rejection::excerpt(name) })
    }
}

/// A name that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no format this version imports; expected auto, ops or posthog")]
pub struct FormatError {
    found: String,
}

/// How to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the input is written in.
    pub format: Format,
    /// E7: whether event properties such as `$browser` are lifted into person properties.
    pub lift: bool,
    /// Whether an event's own properties are kept.
    pub keep_event_properties: bool,
}

impl From<&Policy> for Options {
    /// As the policy says, format [`Format::Auto`].
    fn from(policy: &Policy) -> Options {
        Options {
            format: Format::Auto,
            lift: policy.lift,
            keep_event_properties: policy.keep_event_properties,
        }
    }
}

/// One event or operation of an input, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The line it starts on, from 1.
    pub line: u64,
    /// Its position in the array or batch that holds it, from 0; `None` when it stands alone.
    pub index: Option<usize>,
    /// What it asks.
    pub operation: Result<Operation, Rejection>,
}

/// Reads an input and yields its operations, in order.
///
/// What is wrong with one event is told in its [`Parsed`]; the rest is imported. Only an input that cannot be read any
/// further yields an `Err`, once, and then nothing more.
///
/// ```
/// use identity_ledger::import::{Importer, Options, Rejection};
/// use identity_ledger::{Policy, Request};
///
/// let input = r#"
///     {"op":"identify","ts":"2026-01-01T00:00:00Z","distinct_id":"ann","anon_distinct_id":"a1"}
///     {"op":"identify","distinct_id":"ann"}
///     {"event":"$identify","distinct_id":"ann","timestamp":"2026-01-01T00:00:00Z","properties":{"$anon_distinct_id":"a2"}}
/// "#;
/// let options = Options::from(&Policy::default());
/// let parsed = Importer::new(input.as_bytes(), options).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(parsed.len(), 3);
/// assert!(matches!(parsed[0].operation.as_ref()?.request, Request::Identify { .. }));
/// assert_eq!(parsed[1].operation, Err(Rejection::Missing { key: "ts" }));
/// assert_eq!(parsed[2].line, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Importer<R> {
    lines: Lines<R>,
    line: u64,
    reader: Reader,
    batch: Option<Batch>,
    /// The body that `batch` lies in, when it stood encoded in its line.
    decoded: String,
    over: bool,
}

impl<R: Read> Importer<R> {
    /// Starts reading at the front of `input`.
    pub fn new(input: R, options: Options) -> Importer<R> {
        Importer {
            lines: Lines::new(input),
            line: 0,
            reader: Reader { options, occurrences: Occurrences::default() },
            batch: None,
            decoded: String::new(),
            over: false,
        }
    }

    /// Lines read so far, blank and rejected ones included.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Bytes taken from the input so far: compressed ones, when it is gzip.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// What a line yields at once; a batch is left in `self.batch`.
    fn line(&mut self, line: Line) -> Option<Parsed> {
        let (place, line) = (line, self.line);
        let rejected = |rejection| Some(Parsed { line, index: None, operation: Err(rejection) });
        let Line::Text(place) = place else { return rejected(Rejection::TooLarge) };
        let text = match std::str::from_utf8(self.lines.text(place.clone())) {
            Ok(text) if is_blank(text) => return None,
            Ok(text) => text,
            Err(error) => return rejected(Rejection::NotUtf8 { at: error.valid_up_to() }),
        };
        let open = self.reader.open();
        let truncated = match Json::read(text) {
            Ok(json) => {
                let content = self.reader.content(json, text, Envelope::default(), open);
                return self.take(content, line, place);
            }
            Err(_) if self.reader.options.format != Format::Ops && body::is_form(text) => {
                let content = Content::Encoded(body::decode(text), Envelope::default());
                return self.take(content, line, place);
            }
            Err(Unread::Broken(rejection)) => return rejected(rejection),
            Err(Unread::Truncated(rejection)) => rejection,
        };
        match self.lines.join(place) {
            Joined::No => rejected(truncated),
            Joined::TooLarge => rejected(Rejection::TooLarge),
            Joined::Document(place, added) => {
                self.line += added;
                let content = match read(self.lines.text(place.clone())) {
                    Ok((text, json)) => self.reader.content(json, text, Envelope::default(), open),
                    Err(rejection) => Content::One(Err(rejection)),
                };
                self.take(content, line, place)
            }
        }
    }

    /// Keeps a batch, opens an encoded body, or gives the one operation there is.
    fn take(&mut self, content: Content, line: u64, place: Range<usize>) -> Option<Parsed> {
        let single = |operation| Some(Parsed { line, index: None, operation });
        let (body, envelope) = match content {
            Content::One(operation) => return single(operation),
            Content::Many(elements, envelope) => {
                self.batch = Some(Batch::new(Home::Line(place), elements, envelope, line));
                return None;
            }
            Content::Encoded(Ok(body), envelope) => (body, envelope),
            Content::Encoded(Err(rejection), _) => return single(Err(rejection)),
        };
        self.decoded = body;
        let content = match Json::read(&self.decoded) {
            Ok(json) => self.reader.content(json, &self.decoded, envelope, posthog::open_body),
            Err(unread) => Content::One(Err(unread.into())),
        };
        match content {
            Content::One(operation) => single(operation),
            Content::Many(elements, envelope) => {
                self.batch = Some(Batch::new(Home::Decoded, elements, envelope, line));
                None
            }
            Content::Encoded(..) => single(Err(Rejection::NotAnEvent { found: "a string" })),
        }
    }

    fn error(&self, source: io::Error) -> ImportError {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let (line, byte) = (self.line, self.bytes());
        if self.lines.is_gzip() && matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) {
            ImportError::Gzip { line, byte, source }
        } else {
            ImportError::Read { line, source }
        }
    }

    /// The next event of the batch at hand.
    fn next_in_batch(&mut self) -> Option<Parsed> {
        let batch = self.batch.as_mut()?;
        let Some((index, place)) = batch.elements.next() else {
            self.batch = None;
            return None;
        };
        let bytes = |part: Range<usize>| match &batch.home {
            Home::Decoded => &self.decoded.as_bytes()[part],
            Home::Line(document) => self.lines.text(document.start + part.start..document.start + part.end),
        };
        if matches!(batch.home, Home::Line(_)) {
            batch.line +=
                bytes(batch.counted..place.start).iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
            batch.counted = place.start;
        }
        let text = std::str::from_utf8(bytes(place)).expect("a part of a document is UTF-8 as the whole");
        let operation = self.reader.operation(Json::part(text), &batch.envelope);
        Some(Parsed { line: batch.line, index: Some(index), operation })
    }
}

impl<R: Read> Iterator for Importer<R> {
    type Item = Result<Parsed, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            if let Some(parsed) = self.next_in_batch() {
                return Some(Ok(parsed));
            }
            let found = match self.lines.next() {
                Ok(Some(line)) => {
                    self.line += 1;
                    self.line(line)
                }
                Ok(None) => {
                    self.over = true;
                    None
                }
                Err(source) => {
                    self.over = true;
                    return Some(Err(self.error(source)));
                }
            };
            if found.is_some() {
                return found.map(Ok);
            }
        }
        None
    }
}

/// An array of events, of which some have been yielded.
struct Batch {
    home: Home,
    elements: std::iter::Enumerate<std::vec::IntoIter<Range<usize>>>,
    envelope: Envelope,
    /// The line at byte `counted` of the document.
    line: u64,
    counted: usize,
}

impl Batch {
    fn new(home: Home, elements: Vec<Range<usize>>, envelope: Envelope, line: u64) -> Batch {
        Batch { home, elements: elements.into_iter().enumerate(), envelope, line, counted: 0 }
    }
}

/// Where a document's text is.
enum Home {
    Line(Range<usize>),
    Decoded,
}

/// What a document turned out to be.
enum Content {
    One(Result<Operation, Rejection>),
    Many(Vec<Range<usize>>, Envelope),
    Encoded(Result<String, Rejection>, Envelope),
}

/// Makes operations of JSON, one after the other.
struct Reader {
    options: Options,
    occurrences: Occurrences,
}

impl Reader {
    /// What a whole document is; `open` knows which envelopes it may have.
    fn content(&mut self, json: Json<'_>, text: &str, mut envelope: Envelope, open: Open) -> Content {
        if let Some(operation) = self.ops(json) {
            return Content::One(operation); // the common case needs no envelope
        }
        match open(json, &mut envelope) {
            Ok(Found::One(event)) => Content::One(self.operation(event, &envelope)),
            Ok(Found::Many(events)) => {
                let places = events.elements().into_iter().flatten().map(|event| json::place(text, event));
                Content::Many(places.collect(), envelope)
            }
            Ok(Found::Encoded(body)) => Content::Encoded(body::decode(&body), envelope),
            Err(rejection) => Content::One(Err(rejection)),
        }
    }

    /// Which envelopes a document of the input may have.
    fn open(&self) -> Open {
        if self.options.format == Format::Ops { posthog::open_body } else { posthog::open }
    }

    /// The operation that one object asks for.
    fn operation(&mut self, json: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
        if !json.is_object() {
            return Err(Rejection::NotAnEvent { found: json.kind() });
        }
        if let Some(operation) = self.ops(json) {
            return operation;
        }
        if self.options.format == Format::Ops {
            return Err(Rejection::Missing { key: "op" });
        }
        let operation = posthog::operation(json, envelope, &self.options)?;
        self.finish(operation, json, "posthog")
    }

    /// The operation, if the object is one of the `ops` format.
    fn ops(&mut self, json: Json<'_>) -> Option<Result<Operation, Rejection>> {
        if self.options.format == Format::Posthog {
            return None;
        }
        let line = match ops::Line::sort(json)? {
            Ok(line) if line.is_operation() => line,
            Ok(_) => return None,
            Err(rejection) => return Some(Err(rejection)),
        };
        let operation = line.operation(&self.options);
        Some(operation.and_then(|operation| self.finish(operation, json, "ops")))
    }

    /// Checks the bounds and derives an id where none was given (G4).
    fn finish(
        &mut self,
        mut operation: Operation,
        json: Json<'_>,
        tag: &'static str,
    ) -> Result<Operation, Rejection> {
        operation.check()?;
        if operation.id.is_none() {
            operation.id = Some(self.occurrences.derive(json, operation.time, tag)?);
            operation.derived_id = true;
        }
        Ok(operation)
    }
}

type Open = for<'a> fn(Json<'a>, &mut Envelope) -> Result<Found<'a>, Rejection>;

/// Bytes as text and as JSON.
fn read(bytes: &[u8]) -> Result<(&str, Json<'_>), Rejection> {
    let text = std::str::from_utf8(bytes).map_err(|error| Rejection::NotUtf8 { at: error.valid_up_to() })?;
    Ok((text, Json::read(text)?))
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
