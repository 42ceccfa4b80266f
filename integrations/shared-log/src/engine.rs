//! Engines: what followers, nodes and publishers need of the servers that keep a log.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use identity_ledger::Timestamp;
use identity_ledger::follow::LogName;

use crate::message::{BatchError, BatchId};
use crate::publisher::Published;
use crate::stop::{Stop, UnsafeStream};

/// A stream of an engine, its settings checked: a JetStream stream, a Kafka topic. It holds one log.
///
/// An engine is not believed. It says what it has, and followers hold that against their own chains.
pub trait Engine: Sized + Clone + Send + Sync + 'static {
    /// What a program connects with.
    type Client: Send + 'static;
    /// What the calls below are made with.
    type Handle: Clone + Send + Sync + 'static;
    /// Messages as they come.
    type Messages: Send;
    /// What nodes say of themselves, as it comes.
    type Statuses: Send;

    /// Whether a stream leaves out a batch that comes again under its id while a publisher tries ([`crate::publisher::RETRY_FOR`]). Where it
    /// does not, only operations are sent again, for ledgers know them by their ids (G4).
    const LEAVES_OUT_DUPLICATES: bool;
    /// The shortest time between two statuses of a node.
    const STATUS_PAUSE: Duration;

    /// The handle of a client.
    fn handle(client: Self::Client) -> Self::Handle;

    /// Opens a stream that is there, checks its settings, and asks what it holds.
    fn open(
        handle: &Self::Handle,
        name: &str,
        min_replicas: usize,
    ) -> impl Future<Output = Result<Self, StreamError>> + Send;

    /// Its name.
    fn name(&self) -> &str;

    /// The log in it.
    fn log(&self) -> &LogName;

    /// Which positions it held when it was opened.
    fn range(&self) -> Range;

    /// The message at a position; `None` if there is none.
    fn message(&self, position: u64) -> impl Future<Output = Result<Option<Raw>, Failure>> + Send;

    /// The messages from a position on. Nothing is kept for this reader when it goes away.
    fn read_from(&self, position: u64) -> impl Future<Output = Result<Self::Messages, Failure>> + Send;

    /// The next message. Dropped while it waits, it loses none.
    fn next(messages: &mut Self::Messages) -> impl Future<Output = Result<Raw, Failure>> + Send;

    /// How many bytes a message may have, and how many of them are not the batch's.
    fn room(&self) -> Room;

    /// Sends a message, and waits until the stream has it.
    fn send(&self, batch: BatchId, payload: Bytes) -> impl Future<Output = Result<Published, Unsent>> + Send;

    /// Says to the other nodes of a stream how far a node is. Statuses may be lost.
    fn say(
        handle: &Self::Handle,
        stream: &str,
        node: &str,
        status: Vec<u8>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Begins to hear what the nodes of a stream say.
    fn hear(
        handle: &Self::Handle,
        stream: &str,
    ) -> impl Future<Output = Result<Self::Statuses, StreamError>> + Send;

    /// The next status; `None` if they have to be asked for again.
    fn next_status(statuses: &mut Self::Statuses) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A message of the stream that nothing was decided about.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Where it stands.
    pub position: u64,
    /// When the stream took it.
    pub recorded_at: Timestamp,
    /// What it says.
    pub payload: Bytes,
}

/// Which positions a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one. Of an empty stream, the one behind `last`.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Whether it takes nothing more.
    pub sealed: bool,
}

/// How large a message may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The largest message.
    pub most: usize,
    /// What a message has besides its batch.
    pub overhead: usize,
}

/// Why a stream cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The servers do not have the stream.
    #[error("the servers do not have a stream `{stream}`")]
    Missing {
        /// The stream.
        stream: String,
    },
    /// Its settings are unsafe.
    #[error(transparent)]
    Unsafe(#[from] UnsafeStream),
    /// A stream of this name is there, and it is not an empty one of this log.
    #[error("the stream `{stream}` is there already, up to position {last}")]
    Exists {
        /// The stream.
        stream: String,
        /// Its last position.
        last: u64,
    },
    /// The first policy is out of bounds.
    #[error(transparent)]
    Begin(#[from] BatchError),
    /// A name is not one that a stream can have.
    #[error("`{stream}` is not a name for a stream: letters, digits, `-` and `_`, at most 200")]
    Name {
        /// The name.
        stream: String,
    },
    /// The servers did not answer as expected; it can be tried again.
    #[error("the servers of the stream `{stream}` did not do what they were asked: {why}")]
    Unreachable {
        /// The stream.
        stream: String,
        /// What the client says.
        why: String,
    },
}

impl StreamError {
    /// That the servers did not do what they were asked.
    pub fn unreachable(stream: &str, why: impl std::fmt::Display) -> StreamError {
        StreamError::Unreachable { stream: stream.to_owned(), why: why.to_string() }
    }
}

/// Checks that a stream can have this name, before a server is asked for it.
///
/// # Errors
/// [`StreamError::Name`].
pub fn check_name(stream: &str) -> Result<(), StreamError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if stream.is_empty() || stream.len() > 200 || !stream.chars().all(allowed) {
        return Err(StreamError::Name { stream: stream.to_owned() });
    }
    Ok(())
}

/// Why a stream does not have a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It refuses it, however often it is sent.
    Refused(String),
    /// It did not acknowledge it. It may have it all the same.
    Unknown(String),
}

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It will not, however often it is tried.
    Stop(Stop),
    /// It may be so, or look so for a moment: servers that have just started know less than they have.
    Doubtful(Stop),
    /// The servers did not answer.
    Unreachable(String),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        Failure::Stop(stop)
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Failure {
        match error {
            StreamError::Missing { stream } => Failure::Doubtful(Stop::StreamMissing { stream }),
            StreamError::Unsafe(setting) => Failure::Stop(setting.into()),
            error => Failure::Unreachable(error.to_string()),
        }
    }
}

/// A stream's time in nanoseconds since 1970, in microseconds as frames have it.
///
/// # Errors
/// [`Stop::NotAMessage`], of a time that no ledger can have.
pub fn time(position: u64, nanos: i128) -> Result<Timestamp, Stop> {
    let micros = nanos.div_euclid(1_000);
    i64::try_from(micros).ok().and_then(|micros| Timestamp::from_micros(micros).ok()).ok_or_else(|| {
        Stop::NotAMessage { position, why: format!("its time, {micros} microseconds, is out of range") }
    })
}
