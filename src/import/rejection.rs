//! Ways in which an importer says no: to one event ([`Rejection`]) or to the whole input ([`ImportError`]).

use std::io;

use super::layer::MAX_UNPACKED_TIMES;
use super::lines::MAX_DOCUMENT_BYTES;
use super::options::Format;
use crate::model::id::IdError;
use crate::model::operation::OperationError;
use crate::model::time::{Timestamp, TimestampError};
use crate::model::value::ValueError;

/// The changes of a profile that an importer reads.
const PROFILE_OPERATIONS: &str = "`$set`, `$set_once` (Amplitude: `$setOnce`), `$unset`, `$add`, `$append`, `$union` (Amplitude: `$postInsert`) or `$remove`";

/// Why one line, document or event is not imported. Everything around it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A line, or the body encoded in it, is not UTF-8.
    #[error("byte {at} is not UTF-8; expected UTF-8 text")]
    NotUtf8 {
        /// Offset of the first bad byte in the line or body.
        at: usize,
    },
    /// A text is not JSON.
    #[error("not JSON at column {column}: {what}; expected one JSON document")]
    NotJson {
        /// What the JSON reader says.
        what: String,
        /// Where it says so: a column of the text's last line looked at, 1-based.
        column: usize,
    },
    /// The first line names columns, as that of a CSV file does.
    #[error("the input looks like CSV; expected JSON: write its rows as JSON Lines first")]
    Csv,
    /// A line, or a document over several lines, is too large.
    #[error("the document has more than {MAX_DOCUMENT_BYTES} bytes; expected smaller documents, one a line")]
    TooLarge,
    /// Nested deeper than anything an importer looks at.
    #[error("the document is nested deeper than {max}")]
    TooDeep {
        /// The greatest depth allowed.
        max: usize,
    },
    /// A document or an element of a batch is not an object.
    #[error("found {found}; expected an object: an operation or an event")]
    NotAnEvent {
        /// What was found.
        found: &'static str,
    },
    /// An object that no format claims.
    #[error(
        "the object has neither {}`event`, `batch`, or `$set` with `$distinct_id`; expected {}an event",
        if *ops { "`op` nor " } else { "" },
        if *ops { "an operation or " } else { "" }
    )]
    UnknownShape {
        /// Whether the format was chosen by each object, so that the ledger's own operations are read too.
        ops: bool,
    },
    /// An event that another vendor's sender wrote, in a shape that would be misread as PostHog's.
    #[error("this is {vendor}, by its `{mark}`; {}", remedy(.formats))]
    Foreign {
        /// Whose it is.
        vendor: &'static str,
        /// The key that shows it.
        mark: &'static str,
        /// The formats that read it; the sender knows which of them it is.
        formats: &'static [Format],
    },
    /// The same in a request to a server, whose sender cannot choose a format.
    #[error("this is {vendor}, by its `{mark}`; expected an event of an SDK of PostHog")]
    ForeignSdk {
        /// Whose it is.
        vendor: &'static str,
        /// The key that shows it.
        mark: &'static str,
    },
    /// A call of Segment or RudderStack that says nothing an operation can say.
    #[error("unknown call `{found}`; expected identify, track, page, screen, group or alias")]
    UnknownCall {
        /// The `type` found, at most 64 characters of it.
        found: String,
    },
    /// An event by which Mixpanel links ids under the rules of Original ID Merge only.
    #[error(
        "`{event}` links nothing under Simplified ID Merge; read it with `--format mixpanel-original` if that is the project's"
    )]
    OriginalMerge {
        /// The event's name.
        event: String,
    },
    /// A change of a profile that no operation can say.
    #[error("`{key}` has no operation in a ledger; expected {PROFILE_OPERATIONS}")]
    ProfileOperation {
        /// The key of the update.
        key: &'static str,
    },
    /// A change of a profile that the vendor does not have.
    #[error("`{key}` is not a profile operation; expected {PROFILE_OPERATIONS}")]
    UnknownProfileOperation {
        /// The key found, at most 64 characters of it.
        key: String,
    },
    /// A change of a profile by a value that it does not take.
    #[error("`{key}` of property `{name}` is {found}; expected a list of values")]
    ProfileValue {
        /// The key of the change.
        key: &'static str,
        /// The property.
        name: String,
        /// What was found.
        found: &'static str,
    },
    /// A value beside changes of a profile, which the vendor takes for one of them.
    #[error("`{key}` stands beside profile operations; expected operations alone, or values alone")]
    BesideProfileOperations {
        /// The key found, at most 64 characters of it.
        key: String,
    },
    /// A row of a person that its vendor has deleted.
    #[error("the person was deleted; nothing is asserted of it")]
    DeletedPerson,
    /// An event that joins persons whatever they are, from a sender that may not ask for that.
    #[error(
        "`$merge_dangerously` is not taken from senders; expected another event, or a server that allows it"
    )]
    Dangerous,
    /// An `op` that does not exist.
    #[error(
        "unknown operation `{found}`; expected capture, identify, alias, merge_dangerously, set, reset, retract, split or reclassify"
    )]
    UnknownOperation {
        /// The `op` found, at most 64 characters of it.
        found: String,
    },
    /// A way to split that there is not.
    #[error("unknown mode `{found}`; expected each or together")]
    Mode {
        /// The `mode` found, at most 64 characters of it.
        found: String,
    },
    /// A class of ids that there is not.
    #[error("unknown class `{found}`; expected named, anonymous or unmergeable")]
    Class {
        /// The `class` found, at most 64 characters of it.
        found: String,
    },
    /// An unknown dialect.
    #[error("unknown dialect `{found}`; expected browser or core")]
    Dialect {
        /// The `dialect` found, at most 64 characters of it.
        found: String,
    },
    /// A key that the operation does not have.
    #[error("unknown key `{key}` in `{op}`")]
    UnknownKey {
        /// The operation, by its name in the `op` field.
        op: &'static str,
        /// The key, at most 64 characters of it.
        key: String,
    },
    /// Two keys that cannot stand together.
    #[error("`{first}` and `{second}` stand together in `{op}`; expected one of them")]
    Conflicting {
        /// The operation, by its name in the `op` field.
        op: &'static str,
        /// One of the two keys.
        first: &'static str,
        /// The other of the two keys.
        second: &'static str,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing")]
    Missing {
        /// The key that must be there.
        key: &'static str,
    },
    /// An event without any time, and no time of receipt known.
    #[error("the event has no time; expected `timestamp`, or a recorded time of receipt")]
    MissingTime,
    /// A value of the wrong type.
    #[error("`{key}` is {found}; expected {expected}")]
    WrongType {
        /// The key whose value has the wrong type.
        key: &'static str,
        /// What was found.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// An id or a name with half of a surrogate pair in it. In values it becomes U+FFFD (E4); here that could make one id of two.
    #[error("`{key}` has half of a surrogate pair in it; expected whole Unicode characters")]
    HalfPair {
        /// The key that holds the text.
        key: &'static str,
    },
    /// One JSON object names a key twice that is stored or looked at.
    #[error("key `{key}` stands twice in one object")]
    DuplicateKey {
        /// The key that stands twice.
        key: String,
    },
    /// A text that cannot be an id or a name.
    #[error("`{key}`: {source}")]
    Id {
        /// The key that holds the text.
        key: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// A text that cannot be a property key.
    #[error(transparent)]
    PropertyKey(IdError),
    /// An event id that is not a UUID.
    #[error("`{key}` is `{found}`; expected a UUID")]
    EventId {
        /// The key that holds the event id.
        key: &'static str,
        /// What was found, at most 64 characters of it.
        found: String,
    },
    /// A time that cannot be read.
    #[error("`{key}`: {source}")]
    Time {
        /// The key that holds the time.
        key: &'static str,
        /// What is wrong with it.
        source: TimestampError,
    },
    /// A time that the correction of the sender's clock moves out of the calendar.
    #[error("the event's time, its sender's clock corrected, lies outside the years 0001 to 9999")]
    TimeOutOfRange,
    /// A time that lies too far in the future, where those are rejected (G5).
    #[error("the time {time} lies more than 23 hours ahead of {now}; expected one at most 23 hours ahead")]
    FromTheFuture {
        /// The operation's time.
        time: Timestamp,
        /// The time of recording.
        now: Timestamp,
    },
    /// A property value that cannot be stored.
    #[error("property `{key}`: {source}")]
    Value {
        /// The key of the property.
        key: String,
        /// What is wrong with it.
        source: ValueError,
    },
    /// The operation crosses a bound.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// A request body or form that says it is base64 and is not.
    #[error("the body is not valid base64: {source}")]
    NotBase64 {
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// A compressed request body that cannot be decompressed.
    #[error("the body is damaged gzip: {what}")]
    NotGzip {
        /// What the decompressor says.
        what: String,
    },
    /// A compression that this version does not read.
    #[error("the body is compressed as `{found}`; expected base64 or gzip")]
    UnknownCompression {
        /// The name given.
        found: String,
    },
}

/// Why an input cannot be read any further. What was read before it stays imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The input returned an error while it was read.
    #[error("reading failed after line {line}: {source}")]
    Read {
        /// Lines read before.
        line: u64,
        /// The error of the input.
        source: io::Error,
    },
    /// The input is not text in UTF-8 or UTF-16, or not JSON at all.
    #[error("the input is {found}; expected JSON in UTF-8 or UTF-16, plain, gzip or zstd; {remedy}")]
    Encoding {
        /// What it is.
        found: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The input is compressed and damaged, or cut off.
    #[error("damaged {found} after line {line}, near byte {byte} of the input: {source}")]
    Damaged {
        /// What it is compressed with.
        found: &'static str,
        /// Lines read before.
        line: u64,
        /// Compressed bytes read before.
        byte: u64,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The input unpacks to far more than events do.
    #[error(
        "after line {line} the input has unpacked to more than {MAX_UNPACKED_TIMES} times its size; expected events, which shrink to a tenth: unpack it first"
    )]
    TooDense {
        /// Lines read before.
        line: u64,
    },
}

/// What to do with another vendor's event.
fn remedy(formats: &[Format]) -> String {
    let named: Vec<_> = formats.iter().map(|format| format!("`--format {format}`")).collect();
    match &named[..] {
        [] => "no format reads it, so write it as operations, as `export --format ops` does".to_owned(),
        [persons] if formats == [Format::Persons] => {
            format!("{persons} reads it where it has `created_at`, and `compare` as it is")
        }
        named => format!("{} reads it", named.join(" or ")),
    }
}

impl Rejection {
    /// The same for a format: a server's sender cannot choose another.
    pub(super) fn for_format(self, format: Format) -> Rejection {
        match self {
            Rejection::Foreign { vendor, mark, .. } if format == Format::Sdk => {
                Rejection::ForeignSdk { vendor, mark }
            }
            other => other,
        }
    }
}

/// At most 64 characters of a text, for a message.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}
