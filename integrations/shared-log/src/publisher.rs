//! Publishers: batches on their way into the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::engine::{Engine, Room, StreamError, Unsent};
use crate::message::{Batch, BatchId, Content};
use crate::stop::Stop;

/// For how long a publisher tries one batch again. Shorter than the window for duplicates of an engine that has one, so that it leaves
/// out what it had already.
pub const RETRY_FOR: Duration = Duration::from_secs(45);

/// Most batches of one publisher that are on their way. More wait, and after [`RETRY_FOR`] they are refused as `Busy`.
pub const MAX_IN_FLIGHT: usize = 256;

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
pub struct Publisher<E> {
    stream: E,
    in_flight: Arc<Semaphore>,
    /// The highest position that was acknowledged.
    floor: Arc<AtomicU64>,
}

impl<E: Engine> Publisher<E> {
    /// A publisher to a stream.
    pub fn new(stream: E) -> Publisher<E> {
        Publisher { stream, in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)), floor: Arc::default() }
    }

    /// Opens the stream and its publisher.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(
        handle: &E::Handle,
        stream: &str,
        min_replicas: usize,
    ) -> Result<Publisher<E>, StreamError> {
        Ok(Publisher::new(E::open(handle, stream, min_replicas).await?))
    }

    /// The stream it sends to.
    pub fn stream(&self) -> &E {
        &self.stream
    }

    /// Sends a batch, again and again under its id, until the stream acknowledges it. What has no operation ids is sent again only to an
    /// engine that leaves out what comes twice.
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
        let again = E::LEAVES_OUT_DUPLICATES || matches!(batch.content, Content::Operations(_));
        let mut pause = Duration::from_millis(20);
        loop {
            let why = match self.stream.send(batch.id, payload.clone()).await {
                Ok(published) => {
                    let Published { position, duplicate } = published;
                    if !duplicate && position <= before {
                        return Err(PublishError::WentBack { batch: batch.id, found: position, before });
                    }
                    self.floor.fetch_max(position, Ordering::SeqCst);
                    debug!(batch = %batch.id, position, duplicate, "acknowledged by the stream");
                    return Ok(published);
                }
                Err(Unsent::Refused(why)) => return Err(PublishError::Refused { batch: batch.id, why }),
                Err(Unsent::Unknown(why)) => why,
            };
            if !again || Instant::now() + pause >= deadline {
                return Err(PublishError::Unknown { batch: batch.id, why });
            }
            warn!(batch = %batch.id, why, "not acknowledged by the stream; sending it again");
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn encode(&self, batch: &Batch) -> Result<Bytes, PublishError> {
        let payload = batch.encode(self.stream.log());
        let Room { most, overhead } = self.stream.room();
        let bytes = payload.len() + overhead;
        match bytes > most {
            true => Err(PublishError::TooLarge { batch: batch.id, bytes, most }),
            false => Ok(payload.into()),
        }
    }
}
