//! Documents, batches and lines taken apart: one [`Parsed`] for each event or operation.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use super::derive::Occurrences;
use super::encoding::{Encoding, is_header};
use super::envelope::{Envelope, Found};
use super::json::{Json, Unread};
use super::lines::{Joined, Line, Lines, MAX_DOCUMENT_BYTES};
use super::options::{Format, Options};
use super::persons::{Mapped, Persons};
use super::rejection::{ImportError, Rejection};
use super::vendor::Asked;
use super::{amplitude, body, envelope, foreign, json, mixpanel, ops, posthog, segment};
use crate::model::operation::Operation;

/// One event or operation of an input, or why it is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The line it starts on, from 1.
    pub line: u64,
    /// Its position in the array or batch that holds it, from 0; `None` when it stands alone.
    pub index: Option<usize>,
    /// What it asks. A call of another vendor may ask two things; then two stand at its place, its link first.
    pub operation: Result<Operation, Rejection>,
}

/// What the operations of an input were taken for, by their shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ReadAs {
    /// Operations in the ledger's own format.
    pub ops: u64,
    /// Events of PostHog.
    pub posthog: u64,
    /// Those of the events that are rows of an export. The columns about their persons (`person_id`, `person_properties`) are not used:
    /// the ledger finds out by itself whose an event is.
    pub exported: u64,
    /// Calls of Segment; a call that names two ids gives two operations, its link and what happened.
    pub segment: u64,
    /// Calls of RudderStack, likewise.
    pub rudderstack: u64,
    /// Events and profile updates of Mixpanel, likewise.
    pub mixpanel: u64,
    /// Events of Amplitude, likewise.
    pub amplitude: u64,
    /// Rows that say who is who; one with several ids gives several operations.
    pub persons: u64,
}

impl std::ops::AddAssign for ReadAs {
    fn add_assign(&mut self, more: ReadAs) {
        self.ops += more.ops;
        self.posthog += more.posthog;
        self.exported += more.exported;
        self.segment += more.segment;
        self.rudderstack += more.rudderstack;
        self.mixpanel += more.mixpanel;
        self.amplitude += more.amplitude;
        self.persons += more.persons;
    }
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
/// assert!(matches!(parsed[0].operation.clone()?.request, Request::Identify { .. }));
/// assert_eq!(parsed[1].operation, Err(Rejection::Missing { key: "ts" }));
/// assert_eq!(parsed[2].line, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Importer<R> {
    lines: Lines<R>,
    line: u64,
    reader: Reader,
    batch: Option<Batch>,
    /// The text that `batch` lies in, when that is not the input's own.
    decoded: String,
    /// What else the document asks for that was yielded last.
    also: VecDeque<Parsed>,
    over: bool,
}

impl<R: Read> Importer<R> {
    /// Starts reading at the front of `input`.
    pub fn new(input: R, options: Options) -> Importer<R> {
        Importer {
            lines: Lines::new(input),
            line: 0,
            reader: Reader::new(options, Some(Occurrences::default())),
            batch: None,
            decoded: String::new(),
            also: VecDeque::new(),
            over: false,
        }
    }

    /// How the input is read.
    pub fn options(&self) -> &Options {
        &self.reader.options
    }

    /// Lines read so far, blank and rejected ones included.
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Bytes taken from the input so far: compressed ones, when it is compressed.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// Whose ids are, as the row says that was read last, once; of [`Format::Persons`] only. Also of a row that is rejected, if it says that.
    pub fn mapped(&mut self) -> impl Iterator<Item = Mapped> + '_ {
        self.reader.mapped.drain(..)
    }

    /// What the operations so far were read as; rejected ones count nowhere.
    pub fn read_as(&self) -> ReadAs {
        self.reader.read_as
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
        if let Some(operation) = self.reader.plain(text) {
            return Some(Parsed { line, index: None, operation }); // the common case is read in one pass
        }
        let open = self.reader.open();
        let truncated = match self.reader.document(text, self.reader.envelope(), open) {
            Ok((content, rewritten)) => {
                let home = self.home(place, rewritten);
                return self.take(content, line, home);
            }
            Err(_) if self.reader.options.format != Format::Ops && body::is_form(text) => {
                let content =
                    Content::Encoded(body::decode(text, MAX_DOCUMENT_BYTES), self.reader.envelope());
                return self.take(content, line, Home::Line(place));
            }
            Err(Unread::Broken(_)) if line == 1 && is_header(text) => return rejected(Rejection::Csv),
            Err(Unread::Broken(rejection)) => {
                let Some(documents) = json::documents(text) else { return rejected(rejection) };
                self.batch = Some(Batch::new(Home::Line(place), documents, self.reader.envelope(), line));
                return None;
            }
            Err(Unread::Truncated(rejection)) => rejection,
        };
        match self.lines.join(place) {
            Joined::No => rejected(truncated),
            Joined::TooLarge => rejected(Rejection::TooLarge),
            Joined::Document(place, added) => {
                self.line += added;
                let text = match std::str::from_utf8(self.lines.text(place.clone())) {
                    Ok(text) => text,
                    Err(error) => return rejected(Rejection::NotUtf8 { at: error.valid_up_to() }),
                };
                match self.reader.document(text, self.reader.envelope(), open) {
                    Ok((content, rewritten)) => {
                        let home = self.home(place, rewritten);
                        self.take(content, line, home)
                    }
                    Err(unread) => rejected(unread.into()),
                }
            }
        }
    }

    /// Where a document's text is from now on: in its lines, or where it had to be rewritten.
    fn home(&mut self, place: Range<usize>, rewritten: Option<String>) -> Home {
        let Some(text) = rewritten else { return Home::Line(place) };
        self.decoded = text;
        Home::Rewritten
    }

    /// Keeps a batch, opens an encoded body, or gives the one operation there is.
    fn take(&mut self, content: Content, line: u64, home: Home) -> Option<Parsed> {
        let single = |operation| Some(Parsed { line, index: None, operation });
        let (body, envelope) = match content {
            Content::One(operation) => return single(operation),
            Content::Many(elements, envelope) => {
                self.batch = Some(Batch::new(home, elements, envelope, line));
                return None;
            }
            Content::Encoded(Ok(body), envelope) => (body, envelope),
            Content::Encoded(Err(rejection), _) => return single(Err(rejection)),
        };
        let content = match self.reader.document(&body, envelope, envelope::open_body) {
            Ok((content, rewritten)) => {
                self.decoded = rewritten.unwrap_or(body);
                content
            }
            Err(unread) => return single(Err(unread.into())),
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
        if let Some(Encoding { found, remedy }) = self.lines.encoding() {
            return ImportError::Encoding { found, remedy };
        }
        if self.lines.is_too_dense() {
            return ImportError::TooDense { line };
        }
        match self.lines.compression() {
            Some(found) if matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) => {
                ImportError::Damaged { found, line, byte, source }
            }
            _ => ImportError::Read { line, source },
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
            Home::Decoded | Home::Rewritten => &self.decoded.as_bytes()[part],
            Home::Line(document) => self.lines.text(document.start + part.start..document.start + part.end),
        };
        if !matches!(batch.home, Home::Decoded) {
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
        if let Some(parsed) = self.also.pop_front() {
            return Some(Ok(parsed));
        }
        let parsed = self.advance()?;
        if let Ok(Parsed { line, index, .. }) = &parsed {
            let also = self.reader.also();
            self.also.extend(also.map(|operation| Parsed {
                line: *line,
                index: *index,
                operation: Ok(operation),
            }));
        }
        Some(parsed)
    }
}

impl<R: Read> Importer<R> {
    /// What is read next, in the input's order.
    fn advance(&mut self) -> Option<Result<Parsed, ImportError>> {
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
    /// A body that stood encoded in its line.
    Decoded,
    /// The document itself, line by line, with its numbers as JSON writes them.
    Rewritten,
}

/// What a document turned out to be.
enum Content {
    One(Result<Operation, Rejection>),
    Many(Vec<Range<usize>>, Envelope),
    Encoded(Result<String, Rejection>, Envelope),
}

/// Makes operations of JSON, one after the other.
pub(super) struct Reader {
    options: Options,
    /// What ids are derived from where none was given (G4); `None` leaves such operations without one.
    occurrences: Option<Occurrences>,
    read_as: ReadAs,
    /// What else the object asks for that was read last.
    also: VecDeque<Operation>,
    persons: Persons,
    mapped: Vec<Mapped>,
}

impl Reader {
    pub(super) fn new(options: Options, occurrences: Option<Occurrences>) -> Reader {
        Reader {
            options,
            occurrences,
            read_as: ReadAs::default(),
            also: VecDeque::new(),
            persons: Persons::default(),
            mapped: Vec::new(),
        }
    }

    /// The envelope of a document that is about to be opened.
    fn envelope(&self) -> Envelope {
        Envelope::new(self.options.format)
    }

    /// What a text is, and the text itself where it had to be rewritten to be JSON.
    fn document(
        &mut self,
        text: &str,
        envelope: Envelope,
        open: Open,
    ) -> Result<(Content, Option<String>), Unread> {
        let unread = match Json::read(text) {
            Ok(json) => return Ok((self.content(json, text, envelope, open), None)),
            Err(unread) => unread,
        };
        let Some(rewritten) = json::with_numbers(text) else { return Err(unread) };
        let json = Json::read(&rewritten)?;
        let content = self.content(json, &rewritten, envelope, open);
        Ok((content, Some(rewritten)))
    }

    /// What a whole document is; `open` knows which envelopes it may have.
    fn content(&mut self, json: Json<'_>, text: &str, mut envelope: Envelope, open: Open) -> Content {
        if let Some(operation) = self.ops(json) {
            return Content::One(operation); // it needs no envelope
        }
        match open(json, &mut envelope) {
            Ok(Found::One(event)) => Content::One(self.operation(event, &envelope)),
            Ok(Found::Many(events)) => {
                let places = events.elements().into_iter().flatten().map(|event| json::place(text, event));
                Content::Many(places.collect(), envelope)
            }
            Ok(Found::Encoded(body)) => Content::Encoded(body::decode(&body, MAX_DOCUMENT_BYTES), envelope),
            Err(rejection) => Content::One(Err(rejection)),
        }
    }

    /// Which envelopes a document of the input may have.
    fn open(&self) -> Open {
        if self.options.format == Format::Ops { envelope::open_body } else { envelope::open }
    }

    /// The operation that one object asks for.
    pub(super) fn operation(&mut self, json: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
        if !json.is_object() {
            return Err(Rejection::NotAnEvent { found: json.kind() });
        }
        if let Some(operation) = self.ops(json) {
            return operation;
        }
        if self.options.format == Format::Ops {
            return Err(Rejection::Missing { key: "op" });
        }
        let read = self.read(json, envelope);
        if let Err(Rejection::WrongType { key, .. }) = read
            && TEXTS.contains(&key)
            && let Some(rewritten) = json::with_object(json, key)
        {
            return self.operation(Json::read(&rewritten)?, envelope); // it has one such text less
        }
        match self.options.format {
            Format::Auto | Format::Ops | Format::Posthog | Format::Sdk => read,
            format => read.map_err(|rejection| foreign::instead(json, format).unwrap_or(rejection)),
        }
    }

    /// The operation that an object of a sender's format asks for.
    fn read(&mut self, json: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
        let (read, count): (Reads, fn(&mut ReadAs) -> &mut u64) = match self.options.format {
            Format::Segment => (segment::operations, |read_as| &mut read_as.segment),
            Format::Rudderstack => (segment::operations, |read_as| &mut read_as.rudderstack),
            Format::Mixpanel | Format::MixpanelOriginal => {
                (mixpanel::operations, |read_as| &mut read_as.mixpanel)
            }
            Format::Amplitude => (amplitude::operations, |read_as| &mut read_as.amplitude),
            Format::Persons => return self.person(json, envelope),
            Format::Auto | Format::Ops | Format::Posthog | Format::Sdk => return self.event(json, envelope),
        };
        let asked = read(json, envelope, &self.options)?;
        self.foreign(asked, json, count)
    }

    /// What else the object asks for that was read last, once.
    pub(super) fn also(&mut self) -> impl Iterator<Item = Operation> + '_ {
        self.also.drain(..)
    }

    /// The operations that make true what a row says, and what it says.
    fn person(&mut self, json: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
        let (operations, mapped) = self.persons.read(json, envelope);
        self.mapped = mapped;
        let operations: Result<VecDeque<_>, _> =
            operations?.into_iter().map(|operation| self.finish(operation, json, "persons")).collect();
        let mut operations = operations?;
        self.read_as.persons += operations.len() as u64;
        let first = operations.pop_front().ok_or(Rejection::Missing { key: "distinct_id" })?;
        self.also = operations;
        Ok(first)
    }

    fn event(&mut self, json: Json<'_>, envelope: &Envelope) -> Result<Operation, Rejection> {
        let posthog::Asked { operation, is_exported } = posthog::operation(json, envelope, &self.options)?;
        let operation = self.finish(operation, json, "posthog")?;
        self.read_as.posthog += 1;
        self.read_as.exported += u64::from(is_exported);
        Ok(operation)
    }

    /// What another vendor's event asks for: its link, if it has one, and then what happened.
    fn foreign(
        &mut self,
        asked: Asked,
        json: Json<'_>,
        count: fn(&mut ReadAs) -> &mut u64,
    ) -> Result<Operation, Rejection> {
        let Asked { link, operation } = asked;
        let operation = self.finish(operation, json, self.options.format.name())?;
        *count(&mut self.read_as) += 1 + u64::from(link.is_some());
        let Some(link) = link else { return Ok(operation) };
        self.also.push_back(operation);
        Ok(link)
    }

    /// The operation, if the object is one of the `ops` format.
    fn ops(&mut self, json: Json<'_>) -> Option<Result<Operation, Rejection>> {
        if !self.options.format.has_ops() {
            return None;
        }
        let line = ops::Line::sort(json).filter(|line| line.is_operation(self.options.format))?;
        Some(self.asked(&line, json))
    }

    /// The operation, if a text is one of the `ops` format and spelled as most are; `None` says nothing.
    fn plain(&mut self, text: &str) -> Option<Result<Operation, Rejection>> {
        if !self.options.format.has_ops() {
            return None;
        }
        let line = ops::Line::read(text).filter(|line| line.is_operation(self.options.format))?;
        Some(self.asked(&line, Json::part(text.trim_matches(JSON_SPACE))))
    }

    /// The operation that a line of the `ops` format asks for.
    fn asked(&mut self, line: &ops::Line<'_>, json: Json<'_>) -> Result<Operation, Rejection> {
        let operation = line.operation(&self.options)?;
        let operation = self.finish(operation, json, "ops")?;
        self.read_as.ops += 1;
        Ok(operation)
    }

    /// Checks the bounds and derives an id where none was given (G4).
    fn finish(
        &mut self,
        mut operation: Operation,
        json: Json<'_>,
        tag: &'static str,
    ) -> Result<Operation, Rejection> {
        operation.check()?;
        if let (None, Some(occurrences)) = (operation.id, &mut self.occurrences) {
            operation.id = Some(occurrences.derive(json, operation.time, tag)?);
            operation.derived_id = true;
        }
        Ok(operation)
    }
}

/// Reads one operation of [`Format::Ops`] from its text. It gets no id that it does not say, for one that is derived depends on the whole
/// input (G4).
///
/// ```
/// use identity_ledger::import::{Options, operation};
/// use identity_ledger::{Policy, Request};
/// let text = r#"{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"ann"}"#;
/// let operation = operation(text, &Options::from(&Policy::default()))?;
/// assert!(matches!(operation.request, Request::Set { .. }));
/// assert_eq!(operation.id, None);
/// # Ok::<(), identity_ledger::import::Rejection>(())
/// ```
///
/// # Errors
/// The [`Rejection`] of a text that is not one operation within its bounds.
pub fn operation(text: &str, options: &Options) -> Result<Operation, Rejection> {
    let mut reader = Reader::new(Options { format: Format::Ops, ..options.clone() }, None);
    match reader.plain(text) {
        Some(operation) => operation,
        None => reader.operation(Json::read(text)?, &Envelope::new(Format::Ops)),
    }
}

/// What exports to databases hold as a text in which the object stands.
const TEXTS: [&str; 3] = ["properties", "user_properties", "event_properties"];

/// White space around a JSON value.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A reader of another vendor's events.
type Reads = fn(Json<'_>, &Envelope, &Options) -> Result<Asked, Rejection>;

type Open = for<'a> fn(Json<'a>, &mut Envelope) -> Result<Found<'a>, Rejection>;

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
pub(in crate::import) mod tests {
    use super::*;
    use crate::import::FutureTimes;
    use crate::model::operation::{Actor, Processing, Request, Source, Target};

    pub(in crate::import) const AUTO: Options = Options {
        format: Format::Auto,
        lift: false,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };

    /// What an input holds, a line each: where, and what is asked or why it is refused.
    pub(in crate::import) fn import(input: &[u8], options: &Options) -> Vec<String> {
        Importer::new(input, options.clone())
            .map(|parsed| match parsed {
                Ok(Parsed { line, index: Some(index), operation }) => {
                    format!("{line}[{index}] {}", shown(&operation))
                }
                Ok(Parsed { line, index: None, operation }) => format!("{line} {}", shown(&operation)),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    /// The one operation of an input.
    pub(in crate::import) fn only(input: &str, options: &Options) -> Result<Operation, Rejection> {
        let mut found = Importer::new(input.as_bytes(), options.clone());
        let first = found.next().expect("one thing is found").expect("memory does not fail");
        assert!(found.next().is_none(), "only one thing is found");
        first.operation
    }

    /// An operation in one line.
    pub(in crate::import) fn shown(operation: &Result<Operation, Rejection>) -> String {
        let operation = match operation {
            Ok(operation) => operation,
            Err(rejection) => return rejection.to_string(),
        };
        let who = |who: &Actor| match who {
            Actor::Id(id) => id.to_string(),
            Actor::Device(device) => format!("device {device}"),
        };
        let source = |source: &Option<Source>| match source {
            Some(Source::Id(id)) => format!(" <- {id}"),
            Some(Source::Unstorable) => " <- UNSTORABLE".to_owned(),
            None => String::new(),
        };
        let mut shown = match &operation.request {
            Request::Capture { who: t, event: Some(event), .. } => format!("capture `{event}` {}", who(t)),
            Request::Capture { who: t, event: None, .. } => format!("capture {}", who(t)),
            Request::Identify { who: t, anonymous } => format!("identify {}{}", who(t), source(anonymous)),
            Request::DeviceIdentify { device, user, .. } => format!("device {device} identifies {user}"),
            Request::Alias { who: t, alias } => format!("alias {}{}", who(t), source(alias)),
            Request::Merge { who: t, alias } => format!("merge {}{}", who(t), source(alias)),
            Request::Set { who: t } => format!("set {}", who(t)),
            Request::Reset { device, reset_device, new_id } => {
                let also = if *reset_device { " and the device" } else { "" };
                let to = new_id.as_ref().map_or(String::new(), |id| format!(" to {id}"));
                format!("reset {device}{also}{to}")
            }
            Request::Retract { target: Target::Record(seq) } => format!("retract record {seq}"),
            Request::Retract { target: Target::Operation(id) } => format!("retract {id}"),
            Request::Split { id, ids, mode } => {
                let ids: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
                format!("split {id}: {} {mode:?}", ids.join(","))
            }
            Request::Reclassify { id, class } => format!("reclassify {id} as {}", class.name()),
        };
        let changes = &operation.changes;
        let kept = match &operation.request {
            Request::Capture { properties, .. } => properties,
            _ => &Default::default(),
        };
        for (word, properties) in [("set", &changes.set), ("once", &changes.set_once), ("with", kept)] {
            if !properties.is_empty() {
                shown += &format!(" {word}{}", serde_json::to_string(properties).unwrap());
            }
        }
        for (word, properties) in changes.relative().filter(|(_, properties)| !properties.is_empty()) {
            shown += &format!(" {word}{}", serde_json::to_string(properties).unwrap());
        }
        if !changes.unset.is_empty() {
            let keys: Vec<_> = changes.unset.iter().map(|key| key.as_str()).collect();
            shown += &format!(" unset[{}]", keys.join(","));
        }
        shown += match operation.processing {
            Processing::Unsaid => "",
            Processing::On => " on",
            Processing::Off => " off",
            Processing::Invalid => " invalid",
        };
        for (bent, word) in
            [(operation.bent.shortened_id, " SHORTENED"), (operation.bent.replaced_nul, " TEXT-REPLACED")]
        {
            shown += if bent { word } else { "" };
        }
        shown
    }

    fn set(id: &str) -> String {
        format!(r#"{{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"{id}"}}"#)
    }

    #[test]
    fn shapes_of_json_are_found_with_their_lines() {
        let (a, b) = (&set("a"), &set("b"));
        let event = r#"{"event":"x","distinct_id":"c","timestamp":"2026-01-01T00:00:00Z"}"#;
        #[rustfmt::skip]
        let table = [
            (format!("{a}\n{b}\n"), vec!["1 set a", "2 set b"]),
            (format!("\u{FEFF}{a}\r\n\r\n  {b}"), vec!["1 set a", "3 set b"]),
            (format!("{a}\n{event}\n[{b},{event}]"), vec!["1 set a", "2 capture `x` c", "3[0] set b", "3[1] capture `x` c"]),
            (format!("[\n{a},\n{b}\n]\n{a}"), vec!["2[0] set a", "3[1] set b", "5 set a"]),
            (format!("[{a},\n{b}]"), vec!["1[0] set a", "2[1] set b"]),
            (format!("{{\n  \"batch\": [\n    {a},\n\n    7,\n    {b}\n  ]\n}}\n"), vec!["3[0] set a", "5[1] found a number; expected an object: an operation or an event", "6[2] set b"]),
            (a.replace(',', ",\n"), vec!["1 set a"]),
            (format!("{a} {b}"), vec!["1[0] set a", "1[1] set b"]),
            (format!("{a} {b}]"), vec!["1 not JSON at column 60: trailing characters; expected one JSON document"]),
            (format!("\n\n7\nnull\n\"x\"\n{a}"), vec!["3 found a number; expected an object: an operation or an event", "4 found null; expected an object: an operation or an event", "5 found a string; expected an object: an operation or an event", "6 set a"]),
            (String::new(), vec![]),
            ("\n \r\n".to_owned(), vec![]),
        ];
        for (input, expected) in table {
            assert_eq!(import(input.as_bytes(), &AUTO), expected, "{input}");
        }
    }

    #[test]
    fn a_line_cut_anywhere_never_swallows_its_neighbours() {
        let whole = format!(r#"[{},{{"op":"set","set":{{"a":[1,{{}}]}},"ts":"x"}}]"#, set("a"));
        for cut in 1..whole.len() {
            let input = format!("{}\n{}\n{}\n", &whole[..cut], set("b"), set("c"));
            let found = import(input.as_bytes(), &AUTO);
            assert_eq!(found.len(), 3, "{input}");
            assert!(found[0].starts_with("1 not JSON"), "{input}");
            assert_eq!(found[1..], ["2 set b", "3 set c"], "{input}");
        }
    }

    #[test]
    fn bad_lines_are_told_and_the_rest_is_imported() {
        let mut input = Vec::new();
        for line in [&b"\xFF{}"[..], b"{", b"{}}", b"nonsense", b"[1,2", &[b'['; 100_000], &[b'{'; 100_000]] {
            input.extend_from_slice(line);
            input.extend_from_slice(format!("\n{}\n", set("a")).as_bytes());
        }
        let found = import(&input, &AUTO);
        assert_eq!(found.len(), 14);
        assert_eq!(found[0], "1 byte 0 is not UTF-8; expected UTF-8 text");
        for (line, found) in found.iter().enumerate() {
            assert_eq!(found.ends_with("set a"), line % 2 == 1, "{found}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_deep_recursion() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for line in [
            deep.clone(),
            format!(r#"{{"event":"x","distinct_id":"a","lib":{deep}}}"#),
            format!(r#"{{"event":"x","distinct_id":{deep}}}"#),
            format!(r#"{{"event":"$create_alias","distinct_id":"a","properties":{{"alias":{deep}}}}}"#),
            format!(r#"{{"path":"x","body":{{}},"x":{deep}}}"#),
            format!(r#"{{"op":{deep}}}"#),
            format!(r#"{{"op":"set","ts":"2026-01-01T00:00:00Z","distinct_id":"a","set":{{"k":{deep}}}}}"#),
        ] {
            let found = import(format!("{line}\n{}", set("b")).as_bytes(), &AUTO);
            assert_eq!(found.len(), 2);
            assert!(!found[0].contains("set a") && found[1] == "2 set b", "{}", &line[..40]);
        }
    }

    pub(in crate::import) fn gzip(text: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes() {
        let mut members = gzip(format!("{}\n{}", set("a"), &set("b")[..20]).as_bytes());
        members.extend(gzip(&set("b").as_bytes()[20..]));
        assert_eq!(import(&members, &AUTO), ["1 set a", "2 set b"]);
    }

    #[test]
    fn damaged_gzip_ends_the_import_once_and_says_where() {
        let text: String = (0..2_000).map(|i| set(&format!("id-{}", i * 7_919 % 2_003)) + "\n").collect();
        let whole = gzip(text.as_bytes());
        let mut importer = Importer::new(&whole[..whole.len() / 2], AUTO);
        let found: Vec<_> = importer.by_ref().collect();
        let (last, before) = found.split_last().unwrap();
        assert!(before.iter().all(|parsed| parsed.as_ref().is_ok_and(|parsed| parsed.operation.is_ok())));
        let line_count = before.len() as u64;
        assert!(
            matches!(last, Err(ImportError::Damaged { found: "gzip", line, .. }) if *line == line_count),
            "{last:?}"
        );
        assert!(importer.next().is_none());
    }

    #[test]
    fn a_failing_read_ends_the_import_after_what_was_read() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the cable is out"))
            }
        }
        for first in [set("a"), set("a") + "\n{", set("a") + "\n[\n1,\n"] {
            let input = io::Cursor::new(first.clone() + "\n").chain(Failing);
            let found: Vec<_> = Importer::new(input, AUTO).collect();
            assert!(found[0].as_ref().is_ok_and(|parsed| parsed.operation.is_ok()));
            assert!(matches!(found.last(), Some(Err(ImportError::Read { .. }))), "{first}");
            assert_eq!(found.len(), first.lines().count() + 1, "{first}");
        }
    }

    #[test]
    fn progress_counts_lines_and_input_bytes() {
        let input = gzip(format!("{}\n\n[\n{}\n]\n", set("a"), set("b")).as_bytes());
        let mut importer = Importer::new(&input[..], AUTO);
        assert_eq!((importer.lines(), importer.bytes()), (0, 0));
        assert_eq!(importer.by_ref().count(), 2);
        assert_eq!((importer.lines(), importer.bytes()), (5, input.len() as u64));
    }

    #[test]
    fn forms_are_bodies_too() {
        use base64::Engine;
        let event = r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"}"#;
        let data = |text: &str| base64::prelude::BASE64_STANDARD.encode(text).replace('=', "%3D");
        let input = format!(
            "ip=1&data={}&_=5\ndata={}\ndata=e30\n{}",
            data(event),
            data(&format!("[{event},{event}]")),
            set("b")
        );
        let found = import(input.as_bytes(), &AUTO);
        assert_eq!(found[..3], ["1 capture `x` a", "2[0] capture `x` a", "2[1] capture `x` a"]);
        assert!(found[3].starts_with("3 the object has neither"), "{}", found[3]);
        assert_eq!(found[4..], ["4 set b"]);
        let ops = Options { format: Format::Ops, ..AUTO };
        assert!(import(input.as_bytes(), &ops)[0].starts_with("1 not JSON"));
    }

    #[test]
    fn importing_twice_gives_the_same_ids_g4() {
        let input = format!(
            "{0}\n{0}\n{1}\n[{1}]",
            set("a"),
            r#"{"event":"x","distinct_id":"a","timestamp":"2026-01-01T00:00:00Z"}"#
        );
        let ids = || -> Vec<_> {
            let parsed = Importer::new(input.as_bytes(), AUTO);
            parsed.map(|parsed| parsed.unwrap().operation.unwrap().id.unwrap()).collect()
        };
        assert_eq!(ids(), ids());
        let distinct: std::collections::BTreeSet<_> = ids().into_iter().collect();
        assert_eq!(distinct.len(), 4);
        let expected = "c222b887-8d57-77ae-0423-5d8ee70722c8";
        assert_eq!(
            ids()[0].to_string(),
            expected,
            "set in stone: a changed derivation imports old files again"
        );
    }

    #[test]
    fn formats_have_names() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let error = "csv".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`csv` is not a format that this version imports; expected auto, ops, posthog, sdk, segment, rudderstack, mixpanel, mixpanel-original, amplitude or persons"
        );
    }

    mod laws {
        use super::*;
        use crate::import::encoding::encoding;
        use crate::import::layer;
        use proptest::prelude::*;

        /// Lines that mean something, lines cut short, lines of noise.
        fn line() -> impl Strategy<Value = Vec<u8>> {
            let words = prop_oneof![
                Just("{"),
                Just("}"),
                Just("["),
                Just("]"),
                Just(","),
                Just(":"),
                Just("1"),
                Just("null"),
                Just("\"op\""),
                Just("\"set\""),
                Just("\"event\""),
                Just("\"distinct_id\""),
                Just("\"body\""),
                Just("\"path\""),
                Just("\"batch\""),
                Just("\"ts\""),
                Just("\"2026-01-01T00:00:00Z\""),
                Just("data="),
                Just("\"timestamp\""),
                Just("\"properties\""),
                Just("\"\\ud800\""),
                Just("1e999"),
                Just("\""),
            ];
            prop_oneof![
                3 => "[a-c]".prop_map(|id| set(&id).into_bytes()),
                1 => (0_usize..58).prop_map(|cut| set("x").into_bytes()[..cut].to_vec()),
                2 => prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes()),
                1 => prop::collection::vec(any::<u8>(), 0..40),
            ]
        }

        proptest! {
            #[test]
            fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..300), layer in 0..5_usize) {
                let marks: [&[u8]; 5] = [b"", &layer::GZIP, &layer::ZSTD, b"\xFF\xFE", b"\0{"];
                let bytes = [marks[layer], &bytes].concat();
                for options in [AUTO, Options { format: Format::Ops, ..AUTO }] {
                    let found: Vec<_> = Importer::new(&bytes[..], options).collect();
                    prop_assert!(found.len() <= bytes.len() + 1);
                }
            }

            #[test]
            fn whole_lines_are_all_imported_among_any_others(all in prop::collection::vec(line(), 0..12)) {
                let whole = all.iter().filter(|line| {
                    std::str::from_utf8(line).is_ok_and(only_if_valid)
                }).count();
                let input = all.join(&b'\n');
                prop_assume!(encoding(&input).is_none() && layer::is_plain(&input));
                prop_assume!(!is_within_a_document(&all));
                let options = Options { format: Format::Ops, ..AUTO };
                let found = Importer::new(&input[..], options).filter(|parsed| {
                    parsed.as_ref().is_ok_and(|parsed| parsed.operation.is_ok())
                }).count();
                prop_assert!(found >= whole, "{found} of {whole}");
            }
        }

        /// Whether lines are a document together, as `{"op":`, a whole line and `}` are: then its lines are not documents of their own.
        fn is_within_a_document(lines: &[Vec<u8>]) -> bool {
            let begins = (0..lines.len()).flat_map(|from| (from + 2..=lines.len()).map(move |to| from..to));
            begins
                .map(|range| lines[range].join(&b'\n'))
                .any(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok())
        }

        fn only_if_valid(text: &str) -> bool {
            ["a", "b", "c"].iter().any(|id| set(id) == text)
        }
    }
}
