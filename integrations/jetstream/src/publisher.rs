//! Publishers: batches on their way into the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::stream::{MIN_DUPLICATE_WINDOW, Stream, StreamError, subject};
use identity_ledger_shared_log::message::{Batch, BatchId};
use identity_ledger_shared_log::stop::Stop;

/// For how long a publisher tries one batch again. Shorter than any stream's window for duplicates, so that the stream leaves out what
/// it had already.
pub const RETRY_FOR: Duration = Duration::from_secs(45);

const _: () = assert!(RETRY_FOR.as_secs() + 2 * ACK_TIMEOUT.as_secs() < MIN_DUPLICATE_WINDOW.as_secs());

/// How long one attempt waits for the stream.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Most batches of one publisher that are on their way. More wait, and after [`RETRY_FOR`] they are refused as `Busy`.
pub const MAX_IN_FLIGHT: usize = 256;

/// A client's handle on JetStream, with the time limits that this crate counts on.
pub fn context(client: Client) -> Context {
    ContextBuilder::new().timeout(ACK_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client)
}

/// That the stream has a batch: on all replicas that its quorum needs, and on their disks if they sync always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it stands.
    pub position: u64,
    /// Whether the stream had it before, and left it out this time.
    pub duplicate: bool,
}

/// Why a batch is not acknowledged. Unless it says "nothing was sent", the batch may be recorded all the same: send it again under the
/// same id, and it is recorded once.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The batch is larger than a message may be. Nothing was sent; split it.
    #[error("batch {batch} takes {bytes} bytes as a message; expected at most {most}: split it")]
    TooLarge {
        /// The batch.
        batch: BatchId,
        /// What it takes.
        bytes: usize,
        /// What the stream and the servers allow.
        most: usize,
    },
    /// Too many batches are on their way. Nothing was sent; try again later.
    #[error("{} batches are on their way already; nothing was sent: try again later", MAX_IN_FLIGHT)]
    Busy,
    /// The stream refused it: it is full, or sealed, or another stream has its subject.
    #[error("the stream refused batch {batch}: {why}")]
    Refused {
        /// The batch.
        batch: BatchId,
        /// What the server says.
        why: String,
    },
    /// The stream did not acknowledge it in time.
    #[error("batch {batch} is not acknowledged: {why}; send it again under this id")]
    Unknown {
        /// The batch.
        batch: BatchId,
        /// What was missing.
        why: String,
    },
    /// The stream put it at a position that is not behind what it acknowledged before: it lost messages.
    #[error(
        "the stream put batch {batch} at position {found}, and acknowledged {before} before: it was cut back"
    )]
    WentBack {
        /// The batch.
        batch: BatchId,
        /// The position that it acknowledged now.
        found: u64,
        /// The highest that it had acknowledged when the batch was sent.
        before: u64,
    },
    /// The stream acknowledged it at a position where this node's follower read another batch.
    #[error("the stream acknowledged batch {batch} at position {position}, and gave another one from there")]
    Swapped {
        /// The batch.
        batch: BatchId,
        /// The position.
        position: u64,
    },
    /// This node's follower stopped.
    #[error("this node stopped: {0}")]
    Stopped(Arc<Stop>),
    /// This node is closed.
    #[error("this node is closed")]
    Closed,
}

/// Sends batches. Cheap to clone; clones share what is on its way.
#[derive(Clone, Debug)]
pub struct Publisher {
    stream: Stream,
    most: usize,
    in_flight: Arc<Semaphore>,
    /// The highest position that was acknowledged.
    floor: Arc<AtomicU64>,
}

impl Publisher {
    /// A publisher to a stream.
    pub fn new(stream: Stream) -> Publisher {
        let bound = usize::try_from(stream.inner.cached_info().config.max_message_size).unwrap_or(0);
        let most = Some(bound).filter(|bound| *bound > 0).unwrap_or(usize::MAX);
        Publisher { stream, most, in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)), floor: Arc::default() }
    }

    /// Opens the stream and its publisher.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(
        context: &Context,
        stream: &str,
        min_replicas: usize,
    ) -> Result<Publisher, StreamError> {
        Ok(Publisher::new(Stream::open(context, stream, min_replicas).await?))
    }

    /// The stream it sends to.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends a batch, again and again under its id, until the stream acknowledges it.
    ///
    /// The stream's word alone is not what a caller should be told: [`crate::node::Node::publish_and_wait`] is.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, batch: &Batch) -> Result<Published, PublishError> {
        self.publish_behind(batch, 0).await
    }

    /// As [`Publisher::publish`]; `held` is a position that a follower holds already, so the batch must come behind it.
    pub(crate) async fn publish_behind(&self, batch: &Batch, held: u64) -> Result<Published, PublishError> {
        let payload = self.encode(batch)?;
        let deadline = Instant::now() + RETRY_FOR;
        let permit = tokio::time::timeout_at(deadline, self.in_flight.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(PublishError::Busy) };
        let before = self.floor.load(Ordering::SeqCst).max(held);
        let mut pause = Duration::from_millis(20);
        loop {
            let message = PublishMessage::build()
                .payload(payload.clone().into())
                .message_id(batch.id.to_string())
                .expected_stream(&self.stream.name);
            let why = match self.attempt(message).await {
                Ok(PublishAck { sequence, duplicate, .. }) => {
                    if !duplicate && sequence <= before {
                        return Err(PublishError::WentBack { batch: batch.id, found: sequence, before });
                    }
                    self.floor.fetch_max(sequence, Ordering::SeqCst);
                    debug!(batch = %batch.id, position = sequence, duplicate, "acknowledged by the stream");
                    return Ok(Published { position: sequence, duplicate });
                }
                Err(Failure::Final(why)) => return Err(PublishError::Refused { batch: batch.id, why }),
                Err(Failure::Again(why)) => why,
            };
            if Instant::now() + pause >= deadline {
                return Err(PublishError::Unknown { batch: batch.id, why });
            }
            warn!(batch = %batch.id, why, "not acknowledged by the stream; sending it again");
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn encode(&self, batch: &Batch) -> Result<Vec<u8>, PublishError> {
        let payload = batch.encode(&self.stream.log);
        // Headers count too: the ids of stream and batch.
        let bytes = payload.len() + 256 + self.stream.name.len();
        let most = self.most.min(self.stream.context.client().max_payload());
        match bytes > most {
            true => Err(PublishError::TooLarge { batch: batch.id, bytes, most }),
            false => Ok(payload),
        }
    }

    async fn attempt(&self, message: PublishMessage) -> Result<PublishAck, Failure> {
        let sent = async {
            let sent = self.stream.context.send_publish(subject(&self.stream.name), message).await?;
            sent.await
        };
        match tokio::time::timeout(ACK_TIMEOUT, sent).await {
            Err(_) => Err(Failure::Again("no answer in time".to_owned())),
            Ok(Ok(ack)) => Ok(ack),
            Ok(Err(error)) => {
                use async_nats::jetstream::Error as ServerError;
                let refused = std::error::Error::source(&error)
                    .and_then(|source| source.downcast_ref::<ServerError>())
                    .is_some_and(|refused| is_final(refused.error_code().0, &refused.to_string()));
                let why = error.to_string();
                match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => Err(Failure::Final(why)),
                    _ if refused => Err(Failure::Final(why)),
                    _ => Err(Failure::Again(why)),
                }
            }
        }
    }
}

enum Failure {
    Final(String),
    Again(String),
}

/// Whether a server's error is about the stream or the batch, and not about the moment: full (10047, 10122, and 10077 with a maximum), too
/// large (10054), another stream under this subject (10060), sealed (10109).
fn is_final(code: u64, says: &str) -> bool {
    matches!(code, 10_047 | 10_054 | 10_060 | 10_109 | 10_122) || code == 10_077 && says.contains("maximum")
}
