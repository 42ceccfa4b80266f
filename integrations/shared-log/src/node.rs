//! Nodes: one server of many, with a ledger of its own that follows the stream and a publisher into it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity_ledger::{LedgerOptions, SharedLedger};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tracing::{info, warn};

use crate::engine::{Engine, StreamError};
use crate::follower::{self, Applied, BatchResult, Core, Doubt, OpenWith};
use crate::publisher::{PublishError, Publisher};

use crate::message::{Batch, BatchId};
use crate::peers::Status;
use crate::stop::Stop;

/// How often a node says how far it is, also when nothing moves.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How a node is set up.
pub struct NodeOptions {
    /// Its name, which no other node of the stream has.
    pub name: String,
    /// Its directory: the ledger in `ledger/`, beside it `trail` and `rejected.jsonl`. To begin a node from a backup, put the ledger there.
    pub dir: PathBuf,
    /// The stream.
    pub stream: String,
    /// The fewest replicas that the stream must have. Three survive the loss of a server.
    pub min_replicas: usize,
    /// How many followers must have a batch durably before a caller hears that it is recorded, this node included. With one, a batch is in
    /// the stream and in this node's ledger; with two it survives that the stream and this node are both lost.
    pub acknowledgements: usize,
    /// How long [`Node::publish_and_wait`] waits.
    pub timeout: Duration,
    /// How the ledger is opened: keys, snapshots, segments. What is chained does not depend on it.
    pub ledger: OpenWith,
}

impl NodeOptions {
    /// Three replicas, two acknowledgements, one minute.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>, stream: impl Into<String>) -> NodeOptions {
        NodeOptions {
            name: name.into(),
            dir: dir.into(),
            stream: stream.into(),
            min_replicas: 3,
            acknowledgements: 2,
            timeout: Duration::from_secs(60),
            ledger: Arc::new(LedgerOptions::new),
        }
    }
}

/// A node at work. Dropped, it stops as if it was killed; [`Node::close`] ends it in order.
pub struct Node<E: Engine> {
    core: Arc<Core>,
    publisher: Publisher<E>,
    acknowledgements: usize,
    timeout: Duration,
    /// The reader's and the recorder's.
    halves: [JoinHandle<()>; 2],
    others: [JoinHandle<()>; 3],
}

impl<E: Engine> Node<E> {
    /// Opens or creates the ledger, and begins to follow. Servers that do not answer yet are waited for.
    ///
    /// # Errors
    /// [`Stop`].
    pub async fn start(client: E::Client, options: NodeOptions) -> Result<Node<E>, Stop> {
        let handle = E::handle(client);
        let NodeOptions { name, dir, stream: stream_name, min_replicas, .. } = options;
        let mut doubt = Doubt::default();
        let (stream, core) = loop {
            let begin = async {
                let stream = E::open(&handle, &stream_name, min_replicas).await?;
                let core = follower::open(&stream, &dir, &name, &options.ledger).await?;
                Ok((stream, core))
            };
            match begin.await {
                Ok(begun) => break begun,
                Err(failure) => match doubt.judge(failure) {
                    Some(stop) => return Err(stop),
                    None => tokio::time::sleep(Duration::from_millis(250)).await,
                },
            }
        };
        let core = Arc::new(core);
        let (sender, receiver) = mpsc::channel(follower::MAX_WAITING);
        let (for_reader, for_recorder, log) = (Arc::clone(&core), Arc::clone(&core), stream.log().clone());
        let looking = follower::look_at_stream::<E>(
            Arc::clone(&core),
            handle.clone(),
            stream_name.clone(),
            min_replicas,
        );
        let reading =
            follower::read_stream::<E>(for_reader, handle.clone(), stream_name.clone(), min_replicas, sender);
        let reader = tokio::spawn(reading);
        let recorder = tokio::task::spawn_blocking(move || follower::record(&for_recorder, &log, receiver));
        let halves =
            [watch("reader", Arc::clone(&core), reader), watch("recorder", Arc::clone(&core), recorder)];
        let others = [
            tokio::spawn(looking),
            tokio::spawn(say::<E>(Arc::clone(&core), handle.clone(), stream_name.clone())),
            tokio::spawn(listen::<E>(Arc::clone(&core), handle, stream_name)),
        ];
        let NodeOptions { acknowledgements, timeout, .. } = options;
        Ok(Node { core, publisher: Publisher::new(stream), acknowledgements, timeout, halves, others })
    }

    /// Sends a batch, and waits until the stream has acknowledged it, this node's ledger has it durably, and so have
    /// [`NodeOptions::acknowledgements`] followers whose heads are equal to this node's.
    ///
    /// After an error the batch may be recorded all the same. Send the same batch again, here or at any other node: it is recorded once.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_and_wait(&self, batch: &Batch) -> Result<Applied, PublishError> {
        let mut over = self.core.progress.subscribe();
        let done = tokio::select! {
            biased;
            _ = over.wait_for(|progress| progress.closed || progress.stop.is_some()) => Err(self.ended()),
            done = self.publish_until(batch, Instant::now() + self.timeout) => done,
        };
        if let Err(PublishError::WentBack { found, before: position, .. }) = done {
            let stream = self.publisher.stream().name().to_owned();
            self.core.stop(Stop::WentBack { stream, position, found });
        }
        done
    }

    async fn publish_until(&self, batch: &Batch, deadline: Instant) -> Result<Applied, PublishError> {
        let unknown = |why: String| PublishError::Unknown { batch: batch.id, why };
        let held = self.core.position();
        let mut listener = self.core.listen(batch.id);
        // What this ledger holds is not sent to a stream that would take it twice.
        let held_already = if E::LEAVES_OUT_DUPLICATES { None } else { listener.applied.try_recv().ok() };
        if let Some(applied) = held_already {
            return self.acknowledged(batch.id, applied.position, deadline).await.map(|()| applied);
        }
        let published = timeout_at(deadline, self.publisher.publish_behind(batch, held))
            .await
            .map_err(|_| unknown("the stream did not acknowledge it in time".to_owned()))??;
        let mut progress = self.core.progress.subscribe();
        let passed = progress.wait_for(|progress| progress.position >= published.position);
        let applied = tokio::select! {
            biased;
            applied = &mut listener.applied => applied.ok(),
            passed = timeout_at(deadline, passed) => match passed {
                Ok(_) => None,
                Err(_) => {
                    let (position, at) = (published.position, self.core.position());
                    let why = format!("the stream has it at position {position}, and this node is at {at}");
                    return Err(unknown(why));
                }
            },
        };
        let applied = match applied.or_else(|| listener.applied.try_recv().ok()) {
            Some(applied) => applied,
            None if published.duplicate => {
                let checkpoint = self.status().checkpoint;
                Applied { position: published.position, checkpoint, result: BatchResult::Earlier }
            }
            None => {
                return Err(PublishError::Swapped { batch: batch.id, position: published.position });
            }
        };
        self.acknowledged(batch.id, applied.position, deadline).await.map(|()| applied)
    }

    /// Waits until enough followers have a position.
    async fn acknowledged(
        &self,
        batch: BatchId,
        position: u64,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let mut heard = self.core.heard.subscribe();
        loop {
            heard.borrow_and_update();
            let (found, expected) = (self.core.followers_at(position), self.acknowledgements);
            if found >= expected {
                return Ok(());
            }
            if timeout_at(deadline, heard.changed()).await.is_err() {
                let why = format!("{found} of {expected} followers have position {position}");
                return Err(PublishError::Unknown { batch, why });
            }
        }
    }

    /// The ledger, for questions. Writing to it is refused by name.
    pub fn ledger(&self) -> &SharedLedger {
        &self.core.ledger
    }

    /// Its publisher: for senders who need not wait for a follower.
    pub fn publisher(&self) -> &Publisher<E> {
        &self.publisher
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// How many followers, this one included, have a position durably with a head equal to this node's.
    pub fn followers_at(&self, position: u64) -> usize {
        self.core.followers_at(position)
    }

    /// How many batches were rejected since it started.
    pub fn rejected(&self) -> u64 {
        self.core.rejected_count()
    }

    /// Waits until its ledger is at a position: read your writes, on another node than the one that wrote.
    ///
    /// # Errors
    /// [`PublishError::Stopped`] or `Closed`.
    pub async fn wait_for(&self, position: u64) -> Result<(), PublishError> {
        let mut progress = self.core.progress.subscribe();
        let there = progress
            .wait_for(|progress| progress.position >= position || progress.closed || progress.stop.is_some())
            .await;
        if there.is_ok_and(|progress| progress.position >= position) { Ok(()) } else { Err(self.ended()) }
    }

    /// Waits until it stops by itself, and says why; `None` once it is closed.
    pub async fn stopped(&self) -> Option<Arc<Stop>> {
        let mut progress = self.core.progress.subscribe();
        let over = progress.wait_for(|progress| progress.closed || progress.stop.is_some()).await;
        over.ok().and_then(|progress| progress.stop.clone())
    }

    /// Why it stopped by itself; `None` while it works.
    pub fn stop_reason(&self) -> Option<Arc<Stop>> {
        self.core.progress.borrow().stop.clone()
    }

    fn ended(&self) -> PublishError {
        self.stop_reason().map_or(PublishError::Closed, PublishError::Stopped)
    }

    /// Ends it in order: nothing more is read, what was begun is recorded, and the ledger is flushed. Gives where it is.
    ///
    /// # Errors
    /// [`Stop`], when the ledger cannot be flushed.
    pub async fn close(mut self) -> Result<Status, Stop> {
        self.core.close();
        for half in &mut self.halves {
            drop(half.await);
        }
        // They share the ledger, which another program may open once this returns.
        for other in &mut self.others {
            other.abort();
            drop(other.await);
        }
        let ledger = self.core.ledger.clone();
        tokio::task::spawn_blocking(move || ledger.flush())
            .await
            .map_err(|_| Stop::Died { thread: "flush" })??;
        info!(node = self.core.node, position = self.core.position(), "closed");
        Ok(self.status())
    }
}

impl<E: Engine> Drop for Node<E> {
    fn drop(&mut self) {
        self.core.close();
        self.halves.iter().chain(&self.others).for_each(JoinHandle::abort);
    }
}

/// Stops the node if one of its halves panics.
fn watch(thread: &'static str, core: Arc<Core>, half: JoinHandle<()>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if half.await.is_err_and(|error| error.is_panic()) {
            core.stop(Stop::Died { thread });
        }
    })
}

/// Says to the other nodes how far this one is.
async fn say<E: Engine>(core: Arc<Core>, handle: E::Handle, stream: String) {
    let mut progress = core.progress.subscribe();
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !core.is_over() {
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { return },
            _ = beat.tick() => {}
        }
        let status = serde_json::to_vec(&core.status()).expect("a status is JSON");
        if let Err(error) = E::say(&handle, &stream, &core.node, status).await {
            warn!(node = core.node, "its status was not sent: {error}");
        }
        tokio::time::sleep(E::STATUS_PAUSE).await;
    }
}

/// Hears how far the other nodes are.
async fn listen<E: Engine>(core: Arc<Core>, handle: E::Handle, stream: String) {
    while !core.is_over() {
        match E::hear(&handle, &stream).await {
            Ok(mut statuses) => {
                while let Some(status) = E::next_status(&mut statuses).await {
                    match serde_json::from_slice(&status) {
                        Ok(status) => core.heard(status),
                        Err(error) => warn!(node = core.node, "a status cannot be read: {error}"),
                    }
                }
            }
            Err(error) => warn!(node = core.node, "the other nodes are not heard: {error}"),
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Listens for a while to what nodes say of themselves: the newest word of each, by name.
///
/// # Errors
/// [`StreamError::Unreachable`].
pub async fn statuses<E: Engine>(
    handle: &E::Handle,
    stream: &str,
    wait: Duration,
) -> Result<Vec<Status>, StreamError> {
    let mut said = E::hear(handle, stream).await?;
    let mut newest = std::collections::BTreeMap::new();
    let deadline = Instant::now() + wait;
    while let Ok(Some(status)) = timeout_at(deadline, E::next_status(&mut said)).await {
        if let Ok(status) = serde_json::from_slice::<Status>(&status) {
            newest.insert(status.node.clone(), status);
        }
    }
    Ok(newest.into_values().collect())
}
