//! Streams: how one is created so that it keeps what it acknowledged, and what is refused because it would not.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RawMessageErrorKind, RetentionPolicy, State, StorageType,
};
use async_nats::jetstream::{self, ErrorCode, message::StreamMessage};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use identity_ledger::follow::LogName;
use identity_ledger::{Policy, Tenant};
use identity_ledger_shared_log::engine::{Engine, Failure, Range, Raw, Room, Unsent, time};
use identity_ledger_shared_log::message::{Batch, BatchId, Content, decode, new_uuid};
use identity_ledger_shared_log::publisher::Published;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::publisher::{context, send};

pub use identity_ledger_shared_log::engine::{StreamError, check_name};
pub use identity_ledger_shared_log::stop::UnsafeStream;

/// The metadata of a stream under which its log's name stands.
pub const LOG_KEY: &str = "identity-ledger.log";

/// Shortest window for duplicates: a publisher tries again for less ([`crate::publisher::RETRY_FOR`]).
pub const MIN_DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

/// How a stream is created. Everything else is not a choice: file storage, one subject, nothing deleted, nothing dropped.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The stream's name: letters, digits, `-` and `_`.
    pub stream: String,
    /// How many servers hold each message. Three survive the loss of one.
    pub replicas: usize,
    /// For how long the stream leaves out a batch that comes again.
    pub duplicate_window: Duration,
    /// Largest message in bytes. The servers' `max_payload` is a bound too, 1 MiB unless they are configured otherwise.
    pub max_message_bytes: usize,
    /// Largest stream in bytes; `None` for no bound. A full stream refuses new messages, and drops none.
    pub max_bytes: Option<u64>,
}

impl Settings {
    /// Three replicas, two minutes for duplicates, messages of 1 MiB at most.
    pub fn new(stream: impl Into<String>) -> Settings {
        Settings {
            stream: stream.into(),
            replicas: 3,
            duplicate_window: Duration::from_secs(120),
            max_message_bytes: 1 << 20,
            max_bytes: None,
        }
    }

    /// The largest message as the server counts it.
    pub(crate) fn max_message_size(&self) -> i32 {
        i32::try_from(self.max_message_bytes).unwrap_or(i32::MAX)
    }

    fn config(&self, log: &LogName, first: Option<u64>) -> Config {
        Config {
            name: self.stream.clone(),
            subjects: vec![subject(&self.stream)],
            storage: StorageType::File,
            num_replicas: self.replicas,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            max_bytes: self.max_bytes.and_then(|max| i64::try_from(max).ok()).unwrap_or(-1),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: self.max_message_size(),
            duplicate_window: self.duplicate_window,
            deny_delete: true,
            first_sequence: first,
            metadata: [(LOG_KEY.to_owned(), log.to_string())].into(),
            ..Config::default()
        }
    }
}

/// The subject that a stream's batches are sent to.
pub(crate) fn subject(stream: &str) -> String {
    format!("identity-ledger.{stream}.batches")
}

/// The subject on which nodes say how far they are. No stream keeps it.
pub(crate) fn status_subject(stream: &str) -> String {
    format!("identity-ledger.{stream}.status")
}

/// Checks the settings of a stream, no matter which program created it.
///
/// # Errors
/// [`UnsafeStream`], for the first setting that would lose messages or let them be changed.
pub fn check(config: &Config, min_replicas: usize) -> Result<(), UnsafeStream> {
    let window = config.duplicate_window;
    let is = |flag: bool| flag.to_string();
    let set = |flag: bool| if flag { "set" } else { "not set" }.to_owned();
    let checks = [
        (config.storage == StorageType::File, "storage", format!("{:?}", config.storage), "file".to_owned()),
        (
            config.num_replicas >= min_replicas,
            "num_replicas",
            config.num_replicas.to_string(),
            format!("{min_replicas} or more"),
        ),
        (
            config.retention == RetentionPolicy::Limits,
            "retention",
            format!("{:?}", config.retention),
            "limits".to_owned(),
        ),
        (config.discard == DiscardPolicy::New, "discard", format!("{:?}", config.discard), "new".to_owned()),
        (config.deny_delete, "deny_delete", is(config.deny_delete), is(true)),
        (
            config.max_age.is_zero(),
            "max_age",
            format!("{:?}", config.max_age),
            "0, which is no limit".to_owned(),
        ),
        (!config.allow_rollup, "allow_rollup_hdrs", is(config.allow_rollup), is(false)),
        (!config.allow_message_ttl, "allow_msg_ttl", is(config.allow_message_ttl), is(false)),
        (!config.no_ack, "no_ack", is(config.no_ack), is(false)),
        (
            config.persist_mode != Some(PersistenceMode::Async),
            "persist_mode",
            "async".to_owned(),
            "default".to_owned(),
        ),
        (config.mirror.is_none(), "mirror", set(config.mirror.is_some()), "not set".to_owned()),
        (config.sources.is_none(), "sources", set(config.sources.is_some()), "not set".to_owned()),
        (
            config.subject_transform.is_none(),
            "subject_transform",
            set(config.subject_transform.is_some()),
            "not set".to_owned(),
        ),
        (
            config.subjects == [subject(&config.name)],
            "subjects",
            config.subjects.join(", "),
            subject(&config.name),
        ),
        (
            window >= MIN_DUPLICATE_WINDOW,
            "duplicate_window",
            format!("{window:?}"),
            format!("{MIN_DUPLICATE_WINDOW:?} or more"),
        ),
        (
            config.metadata.contains_key(LOG_KEY),
            "metadata",
            format!("without `{LOG_KEY}`"),
            "that of a stream which `create` made".to_owned(),
        ),
    ];
    UnsafeStream::check(&config.name, checks)
}

/// A stream of a ledger, its settings checked.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) context: Context,
    pub(crate) inner: jetstream::stream::Stream,
    pub(crate) name: String,
    pub(crate) log: LogName,
}

impl Stream {
    /// Creates a stream, and the log in it: its first message says with which tenant and policy each follower's ledger begins. Called again
    /// after a failure, it continues where it stopped.
    ///
    /// # Errors
    /// [`StreamError`]. An older server that ignores a setting leaves a stream that is refused by the setting's name.
    pub async fn create(
        context: &Context,
        settings: &Settings,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Stream, StreamError> {
        let begin = Batch::begin(tenant, policy)?;
        let stream = match Stream::open(context, &settings.stream, settings.replicas).await {
            Ok(stream) => stream,
            Err(StreamError::Missing { .. }) => {
                let log = LogName::new(format!("{}.{}", settings.stream, new_uuid().simple()))
                    .map_err(|_| StreamError::Name { stream: settings.stream.clone() })?;
                Stream::create_for(context, settings, &log, None).await?
            }
            Err(error) => return Err(error),
        };
        let message = PublishMessage::build()
            .payload(begin.encode(&stream.log).into())
            .expected_stream(&stream.name)
            .expected_last_sequence(0);
        let sent = context.send_publish(subject(&stream.name), message).await;
        match async { sent?.await }.await {
            Ok(_) => Ok(stream),
            Err(error) => match stream.state().await? {
                state if state.last_sequence > 0 => {
                    Err(StreamError::Exists { stream: stream.name, last: state.last_sequence })
                }
                _ => Err(StreamError::unreachable(&stream.name, error)),
            },
        }
    }

    /// A stream that holds a log from a position on.
    pub(crate) async fn create_for(
        context: &Context,
        settings: &Settings,
        log: &LogName,
        first: Option<u64>,
    ) -> Result<Stream, StreamError> {
        let Settings { stream, .. } = settings;
        check_name(stream)?;
        let wanted = settings.config(log, first);
        check(&wanted, 1)?;
        let inner = context.create_stream(wanted).await.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                StreamError::Exists { stream: stream.clone(), last: 0 }
            }
            _ => StreamError::unreachable(stream, error),
        })?;
        Stream::checked(context, inner, settings.replicas)
    }

    /// Opens a stream that is there, and checks its settings.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(context: &Context, name: &str, min_replicas: usize) -> Result<Stream, StreamError> {
        let inner = context.get_stream(name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                StreamError::Missing { stream: name.to_owned() }
            }
            _ => StreamError::unreachable(name, error),
        })?;
        Stream::checked(context, inner, min_replicas)
    }

    fn checked(
        context: &Context,
        inner: jetstream::stream::Stream,
        min_replicas: usize,
    ) -> Result<Stream, StreamError> {
        let config = &inner.cached_info().config;
        check(config, min_replicas)?;
        let name = config.name.clone();
        let log = LogName::new(config.metadata[LOG_KEY].as_str())
            .map_err(|_| StreamError::Name { stream: name.clone() })?;
        Ok(Stream { context: context.clone(), inner, name, log })
    }

    /// How it is created, for one that continues it.
    pub fn settings(&self) -> Settings {
        let config = &self.inner.cached_info().config;
        Settings {
            stream: self.name.clone(),
            replicas: config.num_replicas,
            duplicate_window: config.duplicate_window,
            max_message_bytes: usize::try_from(config.max_message_size).unwrap_or(usize::MAX),
            max_bytes: u64::try_from(config.max_bytes).ok(),
        }
    }

    /// The name of the log in it: that of its followers' ledgers.
    pub fn log(&self) -> &LogName {
        &self.log
    }

    /// Whose ledger it holds, as its first message says; `None` if that was purged.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn tenant(&self) -> Result<Option<Tenant>, StreamError> {
        let first = self.message(self.inner.cached_info().state.first_sequence).await?;
        let begun = first.and_then(|message| decode(&message.payload, &self.log).ok());
        Ok(begun.and_then(|batch| match batch.content {
            Content::Begin { tenant, .. } => Some(tenant),
            _ => None,
        }))
    }

    /// Which positions it holds now.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn state(&self) -> Result<State, StreamError> {
        let fresh = Stream::open(&self.context, &self.name, 1).await?;
        Ok(fresh.inner.cached_info().state.clone())
    }

    /// The message at a position, as the stream's leader has it; `None` if it does not have one there.
    pub(crate) async fn message(&self, position: u64) -> Result<Option<StreamMessage>, StreamError> {
        match self.inner.get_raw_message(position).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(StreamError::unreachable(&self.name, error)),
        }
    }
}

impl Engine for Stream {
    type Client = Client;
    type Handle = Context;
    type Messages = pull::Stream;
    type Statuses = Subscriber;

    const LEAVES_OUT_DUPLICATES: bool = true;
    const STATUS_PAUSE: Duration = Duration::ZERO;

    fn handle(client: Client) -> Context {
        context(client)
    }

    async fn open(context: &Context, name: &str, min_replicas: usize) -> Result<Stream, StreamError> {
        Stream::open(context, name, min_replicas).await
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> &LogName {
        &self.log
    }

    fn range(&self) -> Range {
        let info = self.inner.cached_info();
        Range { first: info.state.first_sequence, last: info.state.last_sequence, sealed: info.config.sealed }
    }

    async fn message(&self, position: u64) -> Result<Option<Raw>, Failure> {
        let Some(message) = Stream::message(self, position).await? else { return Ok(None) };
        let recorded_at = time(position, message.time.unix_timestamp_nanos())?;
        Ok(Some(Raw { position, recorded_at, payload: message.payload }))
    }

    async fn read_from(&self, position: u64) -> Result<pull::Stream, Failure> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: position },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self
            .inner
            .create_consumer(config)
            .await
            .map_err(|error| StreamError::unreachable(&self.name, error))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(128)
            .expires(Duration::from_secs(10))
            .heartbeat(Duration::from_secs(2));
        Ok(messages.messages().await.map_err(|error| StreamError::unreachable(&self.name, error))?)
    }

    async fn next(messages: &mut pull::Stream) -> Result<Raw, Failure> {
        let Some(message) = messages.next().await else {
            return Err(Failure::Unreachable("there is an end to its messages".to_owned()));
        };
        let unreachable = |error: &dyn Display| Failure::Unreachable(error.to_string());
        let message = message.map_err(|error| unreachable(&error))?;
        let info = message.info().map_err(|error| unreachable(&error))?;
        let position = info.stream_sequence;
        let recorded_at =
            time(position, info.published.unix_timestamp_nanos()).map_err(|stop| unreachable(&stop))?;
        Ok(Raw { position, recorded_at, payload: message.payload.clone() })
    }

    fn room(&self) -> Room {
        let bound = usize::try_from(self.inner.cached_info().config.max_message_size).unwrap_or(0);
        let bound = Some(bound).filter(|bound| *bound > 0).unwrap_or(usize::MAX);
        // Headers count too: the ids of stream and batch.
        Room { most: bound.min(self.context.client().max_payload()), overhead: 256 + self.name.len() }
    }

    async fn send(&self, batch: BatchId, payload: Bytes) -> Result<Published, Unsent> {
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(batch.to_string())
            .expected_stream(&self.name);
        send(self, message).await
    }

    async fn say(context: &Context, stream: &str, _: &str, status: Vec<u8>) -> Result<(), String> {
        let sent = context.client().publish(status_subject(stream), status.into()).await;
        sent.map_err(|error| error.to_string())
    }

    async fn hear(context: &Context, stream: &str) -> Result<Subscriber, StreamError> {
        let subscribed = context.client().subscribe(status_subject(stream)).await;
        subscribed.map_err(|error| StreamError::unreachable(stream, error))
    }

    async fn next_status(statuses: &mut Subscriber) -> Option<Bytes> {
        Some(statuses.next().await?.payload)
    }
}

/// Asks a server, at its monitoring port, whether it syncs each message before it acknowledges it (`sync_interval: always`). The client
/// cannot see that, and with the server's default a power failure loses what was acknowledged in the last two minutes.
///
/// # Errors
/// `std::io::Error`, when the port does not answer.
pub async fn syncs_always(monitor: SocketAddr) -> std::io::Result<bool> {
    let mut connection = tokio::net::TcpStream::connect(monitor).await?;
    connection.write_all(b"GET /jsz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    connection.take(1 << 20).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    Ok(compact.contains("\"sync_always\":true"))
}
