//! Clients: the connections of one program to the brokers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use identity_ledger::follow::LogName;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

/// How long one question to the brokers takes at most.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How a program connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Addresses of brokers, with a comma between them.
    pub servers: String,
    /// Settings of topics that are not checked, by name: for brokers that do not have them. What they would prevent is then yours to prevent.
    /// `docs/scale.md` says what that is for each.
    pub unchecked: BTreeSet<String>,
    /// Properties of librdkafka, such as those of TLS and SASL. They come after this crate's own, and can undo them.
    pub properties: Vec<(String, String)>,
}

impl ClientOptions {
    /// Nothing unchecked, and no properties of your own.
    pub fn new(servers: impl Into<String>) -> ClientOptions {
        ClientOptions { servers: servers.into(), unchecked: BTreeSet::new(), properties: Vec::new() }
    }

    fn config(&self, of_this: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config.set("message.max.bytes", MOST_BYTES.to_string());
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("allow.auto.create.topics", "false");
        let own = self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in of_this.iter().copied().chain(own) {
            config.set(key, value);
        }
        config
    }

    fn consumer<C: FromClientConfig>(&self, of_this: &[(&str, &str)]) -> KafkaResult<C> {
        // No group is joined: a follower's position is that of its ledger. The client wants a name all the same.
        let always = [
            ("group.id", "identity-ledger"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
            ("fetch.error.backoff.ms", "100"),
            // A broker gives at least one message. A client takes no fewer bytes than its largest message, so that is small here.
            ("message.max.bytes", "1000"),
            ("fetch.max.bytes", "262144"),
            ("queued.min.messages", "1000"),
            ("queued.max.messages.kbytes", "16384"),
        ];
        self.config(&[&always[..], of_this].concat()).create()
    }

    /// One message in a request: what the tests ran with, for their broker loses its way in larger ones.
    fn batches(&self) -> KafkaResult<FutureProducer> {
        self.config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "0"),
            ("batch.num.messages", "1"),
            ("message.timeout.ms", "40000"),
            ("request.timeout.ms", "5000"),
            ("compression.type", "none"),
        ])
        .create()
    }
}

/// The largest message that a client sends or takes.
pub(crate) const MOST_BYTES: usize = 32 << 20;

/// The connections of one program. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("servers", &self.inner.options.servers).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) options: ClientOptions,
    pub(crate) admin: AdminClient<DefaultClientContext>,
    /// Statuses: lost ones are said again.
    pub(crate) statuses: FutureProducer,
    batches: Mutex<FutureProducer>,
    /// Reads what stands at an offset.
    reader: Mutex<BaseConsumer>,
    /// Of each topic its log, and when that was looked at: its first offset and the one behind its last.
    logs: Mutex<HashMap<String, Seen>>,
}

/// What a topic's first message said.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) log: LogName,
    /// The position of offset 0.
    pub(crate) base: u64,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the brokers say of a topic.
pub(crate) struct Placed {
    pub(crate) partitions: usize,
    pub(crate) replicas: usize,
}

impl Client {
    /// A client. It connects when it is used, and again when it has to.
    ///
    /// # Errors
    /// `KafkaError`, of a property that librdkafka does not have or take.
    pub fn new(options: &ClientOptions) -> KafkaResult<Client> {
        let inner = Inner {
            admin: options.config(&[]).create()?,
            statuses: options.config(&[("acks", "1"), ("message.timeout.ms", "5000")]).create()?,
            batches: Mutex::new(options.batches()?),
            reader: Mutex::new(options.consumer(&[
                ("enable.partition.eof", "true"),
                ("fetch.max.bytes", "1000"),
                ("fetch.message.max.bytes", "1"),
            ])?),
            logs: Mutex::default(),
            options: options.clone(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// The consumer of one follower, from an offset on.
    pub(crate) fn follow(&self, topic: &str, from: Offset) -> KafkaResult<StreamConsumer> {
        let consumer: StreamConsumer = self.inner.options.consumer(&[("fetch.wait.max.ms", "100")])?;
        consumer.assign(&at(topic, from)?)?;
        Ok(consumer)
    }

    pub(crate) fn batches(&self) -> FutureProducer {
        lock(&self.inner.batches).clone()
    }

    /// Another producer, after the one in use failed for good: an idempotent one does not continue once it lost count.
    pub(crate) fn renew_if_fatal(&self, used: &FutureProducer) {
        let Some((code, why)) = used.client().fatal_error() else { return };
        warn!("the producer failed, and is made again: {code}: {why}");
        let mut batches = lock(&self.inner.batches);
        if batches.client().fatal_error().is_some()
            && let Ok(next) = self.inner.options.batches()
        {
            *batches = next;
        }
    }

    pub(crate) fn seen(&self, topic: &str) -> Option<Seen> {
        lock(&self.inner.logs).get(topic).cloned()
    }

    pub(crate) fn remember(&self, topic: &str, seen: Seen) {
        lock(&self.inner.logs).insert(topic.to_owned(), seen);
    }

    /// How a topic is placed; `None` if the brokers do not have it.
    pub(crate) async fn placed(&self, topic: &str) -> Result<Option<Placed>, String> {
        let name = topic.to_owned();
        self.ask(move |reader| {
            let metadata =
                reader.fetch_metadata(Some(&name), ANSWER_WAIT).map_err(|error| error.to_string())?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
                return Ok(None);
            };
            match topic.error().map(RDKafkaErrorCode::from) {
                None => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    return Ok(None);
                }
                Some(error) => return Err(error.to_string()),
            }
            // Each broker counts once: one that is named twice holds one copy.
            let brokers = |replicas: &[i32]| replicas.iter().collect::<HashSet<_>>().len();
            let fewest = topic.partitions().iter().map(|partition| brokers(partition.replicas())).min();
            Ok(Some(Placed { partitions: topic.partitions().len(), replicas: fewest.unwrap_or(0) }))
        })
        .await
    }

    /// The first offset of a topic, and the one behind its last.
    pub(crate) async fn offsets(&self, topic: &str) -> Result<(i64, i64), String> {
        let name = topic.to_owned();
        self.ask(move |reader| {
            reader.fetch_watermarks(&name, 0, ANSWER_WAIT).map_err(|error| error.to_string())
        })
        .await
    }

    /// The message at an offset; `None` if there is none.
    pub(crate) async fn message(&self, topic: &str, offset: i64) -> Result<Option<OwnedMessage>, String> {
        let name = topic.to_owned();
        self.ask(move |reader| {
            let text = |error: KafkaError| error.to_string();
            reader.assign(&at(&name, Offset::Offset(offset)).map_err(text)?).map_err(text)?;
            let found = polled(reader, &name, offset);
            reader.unassign().map_err(text)?;
            match found {
                Some(found) => found.map_err(text),
                // Nothing came. If the broker answers otherwise, it has nothing there.
                None => reader.fetch_watermarks(&name, 0, ANSWER_WAIT).map(|_| None).map_err(text),
            }
        })
        .await
    }

    /// Asks on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let inner = Arc::clone(&self.inner);
        let asked = tokio::task::spawn_blocking(move || question(&lock(&inner.reader)));
        asked.await.unwrap_or_else(|_| Err("the client ended without a word".to_owned()))
    }
}

/// What comes from a topic first: the message of an offset, or that there is none. `None` if nothing came in time.
fn polled(reader: &BaseConsumer, topic: &str, offset: i64) -> Option<KafkaResult<Option<OwnedMessage>>> {
    let until = Instant::now() + ANSWER_WAIT;
    loop {
        return match reader.poll(until.saturating_duration_since(Instant::now()))? {
            // Of an earlier question.
            Ok(message) if message.topic() != topic || message.offset() < offset => continue,
            // The client connects again by itself.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            )) => continue,
            Ok(message) => Some(Ok(Some(message.detach()).filter(|message| message.offset() == offset))),
            Err(
                KafkaError::PartitionEOF(_)
                | KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset,
                ),
            ) => Some(Ok(None)),
            Err(error) => Some(Err(error)),
        };
    }
}

/// The one partition of a topic, from an offset on.
pub(crate) fn at(topic: &str, offset: Offset) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset)?;
    Ok(list)
}

pub(crate) fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_WAIT)).operation_timeout(Some(ANSWER_WAIT))
}
