//! Topics: one partition is one log. A message's position is its offset and that of the topic's first one, which is 1 unless the topic
//! continues a log whose topic lost messages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use identity_ledger::follow::LogName;
use identity_ledger::{Policy, Tenant};
use identity_ledger_shared_log::engine::{
    Engine, Failure, Range, Raw, Room, StreamError, Unsent, check_name, time,
};
use identity_ledger_shared_log::message::{Batch, BatchId, Content, decode, log_of, new_uuid};
use identity_ledger_shared_log::{Published, Stop, UnsafeStream};
use rdkafka::Offset;
use rdkafka::admin::{NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::FutureRecord;
use rdkafka::util::Timeout;
use tracing::debug;

use crate::client::{Client, MOST_BYTES, Seen, admin_options};
use crate::settings::{Settings, TIMESTAMP, check, status_topic};

/// The header of each message that says which position offset 0 of its topic has.
const FIRST: &str = "identity-ledger.first";

/// For how long a topic that was just made may not be there yet.
const SETTLE: Duration = Duration::from_secs(15);

/// A topic of a ledger, its settings checked.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) log: LogName,
    /// The position of offset 0.
    pub(crate) base: u64,
    range: Range,
    most: usize,
}

/// Messages of a topic, as they come.
pub struct Messages {
    topic: Topic,
    /// There until it is dropped.
    consumer: Option<StreamConsumer>,
}

/// What nodes say of themselves.
pub struct Statuses {
    consumer: Option<StreamConsumer>,
}

/// A consumer may wait for its broker when it ends, where no task may.
fn end(consumer: &mut Option<StreamConsumer>) {
    if let Some(consumer) = consumer.take() {
        drop(std::thread::spawn(move || drop(consumer)));
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        end(&mut self.consumer);
    }
}

impl Drop for Statuses {
    fn drop(&mut self) {
        end(&mut self.consumer);
    }
}

/// What is known of a topic that may not have a log yet.
struct Looked {
    low: i64,
    high: i64,
    most: usize,
    begun: Option<Seen>,
}

impl Topic {
    /// Makes a topic, and the log in it: its first message says with which tenant and policy each follower's ledger begins. Called again
    /// after a failure, it continues where it stopped. Call it from one place: two at the same time can begin the log twice, which every
    /// follower refuses by name.
    ///
    /// # Errors
    /// [`StreamError`]. A broker that ignores a setting leaves a topic that is refused by the setting's name.
    pub async fn create(
        client: &Client,
        settings: &Settings,
        tenant: Tenant,
        policy: Policy,
    ) -> Result<Topic, StreamError> {
        let log = LogName::new(format!("{}.{}", settings.topic, new_uuid().simple()))
            .map_err(|_| StreamError::Name { stream: settings.topic.clone() })?;
        Topic::begin(client, settings, &log, 1, &Batch::begin(tenant, policy)?).await
    }

    /// Makes a topic that holds a log from a position on, where its first message stands.
    pub(crate) async fn begin(
        client: &Client,
        settings: &Settings,
        log: &LogName,
        base: u64,
        first: &Batch,
    ) -> Result<Topic, StreamError> {
        let Settings { topic: name, replicas, .. } = settings;
        check_name(name)?;
        let looked = match Topic::look(client, name, *replicas).await {
            Err(StreamError::Missing { .. }) => {
                Topic::make(client, settings).await?;
                Topic::settled(client, name, *replicas).await?
            }
            looked => looked?,
        };
        if looked.high > 0 {
            let last = looked.begun.map_or(0, |begun| begun.base) + looked.high.unsigned_abs() - 1;
            return Err(StreamError::Exists { stream: name.clone(), last });
        }
        let sent = send(client, name, base, first.encode(log).into()).await;
        sent.map_err(|why| StreamError::unreachable(name, format!("{why:?}")))?;
        let opened = Topic::open(client, name, *replicas).await?;
        match opened.log == *log {
            true => Ok(opened),
            false => Err(StreamError::Exists { stream: name.clone(), last: opened.range.last }),
        }
    }

    async fn make(client: &Client, settings: &Settings) -> Result<(), StreamError> {
        let Settings { topic: name, replicas, .. } = settings;
        let replication = || TopicReplication::Fixed(i32::try_from(*replicas).unwrap_or(i32::MAX));
        let (config, status) = (settings.config(), status_topic(name));
        let log = config
            .iter()
            .fold(NewTopic::new(name, 1, replication()), |log, (setting, value)| log.set(setting, value));
        let statuses = NewTopic::new(&status, 1, replication()).set("cleanup.policy", "compact");
        let made = client.inner.admin.create_topics([&log, &statuses], &admin_options()).await;
        for made in made.map_err(|error| StreamError::unreachable(name, error))? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, error)) => {
                    return Err(StreamError::unreachable(name, format!("`{topic}` is not made: {error}")));
                }
            }
        }
        Ok(())
    }

    /// Waits until brokers know of a topic that was just made.
    async fn settled(client: &Client, name: &str, replicas: usize) -> Result<Looked, StreamError> {
        let begun = Instant::now();
        loop {
            match Topic::look(client, name, replicas).await {
                Err(StreamError::Missing { .. } | StreamError::Unreachable { .. })
                    if begun.elapsed() < SETTLE => {}
                looked => return looked,
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Opens a topic that is there, and checks its settings.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(client: &Client, name: &str, min_replicas: usize) -> Result<Topic, StreamError> {
        let Looked { low, high, most, begun } = Topic::look(client, name, min_replicas).await?;
        let Some(Seen { log, base, .. }) = begun else {
            let found = format!("none from offset {low} on");
            let expected = "one that names the log, as `create` and `purge` leave it";
            return Err(UnsafeStream::new(name, "messages", found, expected).into());
        };
        let range = Range {
            first: low.unsigned_abs() + base,
            last: high.unsigned_abs() + base - 1,
            sealed: false, // the protocol does not have it
        };
        Ok(Topic { client: client.clone(), name: name.to_owned(), log, base, range, most })
    }

    async fn look(client: &Client, name: &str, min_replicas: usize) -> Result<Looked, StreamError> {
        check_name(name)?;
        let unreachable = |why: String| StreamError::unreachable(name, why);
        let placed = client.placed(name).await.map_err(unreachable)?;
        let Some(placed) = placed else { return Err(StreamError::Missing { stream: name.to_owned() }) };
        let config = described(client, name).await.map_err(unreachable)?;
        let unchecked = &client.inner.options.unchecked;
        check(name, placed.partitions, placed.replicas, &config, min_replicas, unchecked)?;
        let (low, high) = client.offsets(name).await.map_err(unreachable)?;
        let most = config.get("max.message.bytes").and_then(|most| most.parse().ok());
        let most = most.unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let begun = first_said(client, name, low, high).await.map_err(unreachable)?;
        Ok(Looked { low, high, most, begun })
    }

    /// The log in it: that of its followers' ledgers.
    pub fn log(&self) -> &LogName {
        &self.log
    }

    /// Which positions it held when it was opened.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Whose ledger it holds, as its first message says; `None` if that was purged.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn tenant(&self) -> Result<Option<Tenant>, StreamError> {
        let first = self.client.message(&self.name, 0).await;
        let first = first.map_err(|why| StreamError::unreachable(&self.name, why))?;
        let begun = first.and_then(|message| decode(message.payload()?, &self.log).ok());
        Ok(begun.and_then(|batch| match batch.content {
            Content::Begin { tenant, .. } => Some(tenant),
            _ => None,
        }))
    }

    pub(crate) fn offset(&self, position: u64) -> i64 {
        i64::try_from(position.saturating_sub(self.base)).unwrap_or(i64::MAX)
    }

    fn raw(&self, message: &impl Message) -> Result<Raw, Stop> {
        let position = message.offset().unsigned_abs() + self.base;
        let not_a_message = |why: &str| Stop::NotAMessage { position, why: why.to_owned() };
        let millis = match message.timestamp() {
            Timestamp::LogAppendTime(millis) => millis,
            Timestamp::CreateTime(millis) if self.client.inner.options.unchecked.contains(TIMESTAMP.0) => {
                millis
            }
            other => {
                let found = format!("{other:?} at position {position}");
                return Err(UnsafeStream::new(&self.name, TIMESTAMP.0, found, TIMESTAMP.1).into());
            }
        };
        if first_of(message) != Ok(self.base) {
            return Err(not_a_message("it names another first position than the topic has"));
        }
        let payload = message.payload().ok_or_else(|| not_a_message("it is empty"))?;
        let recorded_at = time(position, i128::from(millis) * 1_000_000)?;
        Ok(Raw { position, recorded_at, payload: Bytes::copy_from_slice(payload) })
    }
}

/// Which position offset 0 has, as a message says.
fn first_of(message: &impl Message) -> Result<u64, ()> {
    let Some(headers) = message.headers() else { return Ok(1) };
    let Some(header) = headers.iter().find(|header| header.key == FIRST) else { return Ok(1) };
    let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).filter(|first| *first > 0).ok_or(())
}

/// The settings of a topic, as its broker names them.
async fn described(client: &Client, name: &str) -> Result<HashMap<String, String>, String> {
    let asked = [ResourceSpecifier::Topic(name)];
    let described = client.inner.admin.describe_configs(&asked, &admin_options()).await;
    let described = described.map_err(|error| error.to_string())?;
    let topic = described.into_iter().next().ok_or("it describes nothing")?;
    let entries = topic.map_err(|error| error.to_string())?.entries;
    Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

/// The log of a topic and the position of its first offset, as its first message says; `None` if it has no message, or not one of ours.
async fn first_said(client: &Client, name: &str, low: i64, high: i64) -> Result<Option<Seen>, String> {
    let seen = client.seen(name);
    if let Some(seen) = seen.clone().filter(|seen| seen.low == low && seen.high <= high) {
        client.remember(name, Seen { high, ..seen.clone() });
        return Ok(Some(seen));
    }
    if low == high {
        return Ok(seen); // of one that it had
    }
    let Some(message) = client.message(name, low).await? else {
        return Err("its first message does not come".to_owned());
    };
    let (log, base) = (message.payload().and_then(log_of), first_of(&message));
    let seen = log.zip(base.ok()).map(|(log, base)| Seen { log, base, low, high });
    if let Some(seen) = &seen {
        client.remember(name, seen.clone());
    }
    Ok(seen)
}

/// Sends a message, and waits until all replicas in sync have it.
async fn send(client: &Client, topic: &str, base: u64, payload: Bytes) -> Result<Published, Unsent> {
    let producer = client.batches();
    let first = base.to_string();
    let headers = OwnedHeaders::new().insert(Header { key: FIRST, value: Some(&first) });
    let record = FutureRecord::<(), [u8]>::to(topic).partition(0).payload(&payload).headers(headers);
    match producer.send(record, Timeout::After(Duration::ZERO)).await {
        Ok(delivery) if delivery.offset >= 0 => {
            Ok(Published { position: delivery.offset.unsigned_abs() + base, duplicate: false })
        }
        // The broker had it from an earlier attempt of the client. Whether that is so shows when followers have it.
        Ok(_) => Err(Unsent::Unknown("it is acknowledged without its place".to_owned())),
        Err((error, _)) => {
            client.renew_if_fatal(&producer);
            let why = error.to_string();
            match error {
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::InvalidTopic
                    | RDKafkaErrorCode::InvalidRequiredAcks
                    | RDKafkaErrorCode::InvalidRecord
                    | RDKafkaErrorCode::PolicyViolation,
                ) => Err(Unsent::Refused(why)),
                _ => Err(Unsent::Unknown(why)),
            }
        }
    }
}

impl Engine for Topic {
    type Client = Client;
    type Handle = Client;
    type Messages = Messages;
    type Statuses = Statuses;

    const LEAVES_OUT_DUPLICATES: bool = false;
    const STATUS_PAUSE: Duration = Duration::from_millis(20);

    fn handle(client: Client) -> Client {
        client
    }

    async fn open(client: &Client, name: &str, min_replicas: usize) -> Result<Topic, StreamError> {
        Topic::open(client, name, min_replicas).await
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> &LogName {
        &self.log
    }

    fn range(&self) -> Range {
        self.range
    }

    async fn message(&self, position: u64) -> Result<Option<Raw>, Failure> {
        if position < self.base {
            return Ok(None);
        }
        let found = self.client.message(&self.name, self.offset(position)).await;
        let found = found.map_err(Failure::Unreachable)?;
        Ok(found.map(|message| self.raw(&message)).transpose()?)
    }

    async fn read_from(&self, position: u64) -> Result<Messages, Failure> {
        let consumer = self.client.follow(&self.name, Offset::Offset(self.offset(position)));
        let consumer = consumer.map_err(|error| Failure::Unreachable(error.to_string()))?;
        Ok(Messages { topic: self.clone(), consumer: Some(consumer) })
    }

    async fn next(messages: &mut Messages) -> Result<Raw, Failure> {
        let consumer = messages.consumer.as_ref().expect("it is there until it is dropped");
        match consumer.recv().await {
            Ok(message) => Ok(messages.topic.raw(&message)?),
            Err(error) => Err(Failure::Unreachable(error.to_string())),
        }
    }

    fn room(&self) -> Room {
        Room { most: self.most, overhead: 256 } // the header of a record batch is 61 bytes; the rest is for ours
    }

    async fn send(&self, batch: BatchId, payload: Bytes) -> Result<Published, Unsent> {
        let sent = send(&self.client, &self.name, self.base, payload).await;
        debug!(%batch, ?sent, "sent");
        sent
    }

    async fn say(client: &Client, topic: &str, node: &str, status: Vec<u8>) -> Result<(), String> {
        let topic = status_topic(topic);
        let record = FutureRecord::to(&topic).partition(0).key(node).payload(&status);
        let sent = client.inner.statuses.send_result(record);
        sent.map(drop).map_err(|(error, _)| error.to_string()) // the client keeps it; what becomes of it is not waited for
    }

    async fn hear(client: &Client, topic: &str) -> Result<Statuses, StreamError> {
        let consumer = client.follow(&status_topic(topic), Offset::End);
        let consumer = consumer.map_err(|error| StreamError::unreachable(topic, error))?;
        Ok(Statuses { consumer: Some(consumer) })
    }

    async fn next_status(statuses: &mut Statuses) -> Option<Bytes> {
        let message = statuses.consumer.as_ref()?.recv().await.ok()?;
        Some(Bytes::copy_from_slice(message.payload().unwrap_or_default()))
    }
}
