//! Importers: what SDKs send, read as operations.
//!
//! [`Importer`] takes any [`Read`](std::io::Read), plain, gzip or zstd, UTF-8 or UTF-16, and yields one [`Parsed`] for each event or operation it finds, in the
//! order of the input. It knows the formats; it knows nothing of ledgers, persons or files.
//!
//! # Shapes
//! JSON Lines; one JSON document over several lines; an array; `{"batch":[..]}`; one object. PostHog's wire formats also
//! as forms (`data=<base64>`) and as recorded requests (`{"path":..,"received_ms":..,"body":..}`). Blank lines are passed
//! over, a byte order mark at the start of a line is tolerated, lines end with LF or CRLF. PostHog's exports: rows with `properties` as an
//! object or as text, and pages of its events API (`{"results":[..]}`).
//!
//! # Other vendors
//! [`Format::Segment`] and its siblings read what their vendors' libraries send. A call that names a user and a visitor is two operations:
//! their link and what happened. Rows of their warehouse tables are read too. [`Format::Persons`] reads who is who as a vendor says it. With [`Format::Auto`] an event of another vendor is rejected by name ([`Rejection::Foreign`]). An input in another encoding (UTF-32, xz, zip, Parquet) is not read at all ([`ImportError::Encoding`]).
//!
//! # Servers
//! [`Request`] reads one HTTP request as a server received it. It takes nothing but what SDKs send.
//!
//! # Documents over several lines
//! A line that is one whole JSON document is one, always. A line that begins an array or an object and does not end it
//! is joined with the lines that follow only if they complete it, token by token. If they do not (a comma is missing, the
//! input ends, the document grows beyond [`MAX_DOCUMENT_BYTES`]), that one line is rejected and reading
//! continues with the line after it: a line cut short never swallows its neighbours.
//!
//! # Ids
//! An operation without an id gets one derived from its content, its time and the number of equal ones before it in this
//! input (G4). Importing a file twice yields the same ids.

mod amplitude;
mod body;
mod derive;
mod encoding;
mod envelope;
mod foreign;
mod future;
mod importer;
mod json;
mod layer;
mod lift;
mod lines;
mod mixpanel;
mod ops;
mod options;
mod persons;
mod posthog;
mod profile;
mod rejection;
mod request;
mod run;
mod segment;
mod vendor;

pub use self::importer::{Importer, Parsed, ReadAs, operation};
pub use self::lines::MAX_DOCUMENT_BYTES;
pub use self::options::{Format, FormatError, FutureTimes, FutureTimesError, Options};
pub use self::persons::Mapped;
pub use self::rejection::{ImportError, Rejection};
pub use self::request::{
    Endpoint, MAX_REQUEST_BYTES, Received, RejectedEvent, Request, RequestError, RequestOptions,
};
pub use self::run::{AppendEach, Complaint, Reason, RunError, Tally, Watch, run};
