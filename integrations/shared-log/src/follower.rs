//! Followers: a stream in order into a ledger, from the ledger's own position on.
//!
//! Two halves. The reader is a task: it attaches to the stream, holds the message at the ledger's position against what the ledger has, and
//! passes on what comes behind it. The recorder is a thread, for it waits for a disk: it records a group of messages, each as a frame of
//! its own, and makes them durable together.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity_ledger::erase::EraseError;
use identity_ledger::follow::{Delivered, Delivery, LogName};
use identity_ledger::{Appended, Checkpoint, Durability, Ledger, LedgerOptions, Seq, SharedLedger, limits};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::engine::{Engine, Failure, Range, Raw};
use crate::message::{Batch, BatchId, Content, DecodeError, decode};
use crate::peers::{Peers, Status};
use crate::stop::Stop;
use crate::trail::{MessageDigest, Trail, digest};

/// Messages that wait for the recorder: the reader waits beyond that, and the stream keeps the rest.
pub(crate) const MAX_WAITING: usize = 64;

/// Messages that are made durable together.
const MAX_GROUP: usize = 64;

/// Batches whose position is remembered after they were recorded, for publishers that come late.
const KEPT_BATCHES: usize = 65_536;

/// The rejected-batches file is put aside at this size, and the one before it is overwritten.
const MAX_REJECTED_BYTES: u64 = 16 << 20;

/// How long a stream must look the same before it is said to have lost something: a server that has just started may not have applied all
/// that it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a stream is looked at while nothing comes from it.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Hears what becomes of a batch. Forgotten when it is dropped, also by a caller that waits no longer.
pub(crate) struct Listener {
    core: Arc<Core>,
    batch: BatchId,
    pub(crate) applied: oneshot::Receiver<Applied>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.applied.close();
        let mut state = self.core.state();
        if let Some(waiting) = state.waiting.get_mut(&self.batch) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                state.waiting.remove(&self.batch);
            }
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// Where the batch stands in the log.
    pub position: u64,
    /// The ledger right behind it; as it is now, if it was recorded earlier.
    pub checkpoint: Checkpoint,
    /// What became of its operations.
    pub result: BatchResult,
}

/// What became of the operations of a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BatchResult {
    /// They are recorded: an answer for each.
    Taken(Arc<[Appended]>),
    /// The batch is out of bounds, for every follower alike. Nothing of it is recorded.
    Rejected(String),
    /// It was an erasure, and these are its records. It is out of this node's files too.
    Erased(Arc<[Seq]>),
    /// It was recorded before this node listened for it; ask the ledger.
    Earlier,
}

/// How far a follower is, and why it is not further.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) position: u64,
    pub(crate) stop: Option<Arc<Stop>>,
    pub(crate) closed: bool,
}

/// What the halves of a follower, and those who wait for it, share.
pub(crate) struct Core {
    pub(crate) ledger: SharedLedger,
    pub(crate) node: String,
    pub(crate) log: String,
    rejected: PathBuf,
    state: Mutex<CoreState>,
    pub(crate) progress: watch::Sender<Progress>,
    /// Counts what other nodes said, so that those who wait look again.
    pub(crate) heard: watch::Sender<u64>,
    /// Counts how often nothing came although the stream has more, so that the reader begins again.
    silent: watch::Sender<u64>,
}

struct CoreState {
    trail: Trail,
    peers: Peers,
    /// Up to which position everything that the log erased is out of this node's files.
    erased: u64,
    waiting: HashMap<BatchId, Vec<oneshot::Sender<Applied>>>,
    recorded: HashMap<BatchId, u64>,
    recorded_order: VecDeque<BatchId>,
    rejected_count: u64,
}

impl Core {
    fn state(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn position(&self) -> u64 {
        self.progress.borrow().position
    }

    /// Stops the node, for the first reason there is.
    pub(crate) fn stop(&self, stop: Stop) {
        self.progress.send_if_modified(|progress| {
            let first = progress.stop.is_none() && !progress.closed;
            if first {
                error!(node = self.node, position = progress.position, "stopped: {stop}");
                progress.stop = Some(Arc::new(stop));
            }
            first
        });
    }

    pub(crate) fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    pub(crate) fn is_over(&self) -> bool {
        let progress = self.progress.borrow();
        progress.closed || progress.stop.is_some()
    }

    /// Hears when a batch is recorded; at once if it was.
    pub(crate) fn listen(self: &Arc<Core>, batch: BatchId) -> Listener {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        match state.recorded.get(&batch) {
            Some(position) => {
                let checkpoint = state.peers.own().1;
                let applied = Applied { position: *position, checkpoint, result: BatchResult::Earlier };
                drop(sender.send(applied));
            }
            None => state.waiting.entry(batch).or_default().push(sender),
        }
        Listener { core: Arc::clone(self), batch, applied: receiver }
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state();
        let ((position, checkpoint), erased) = (state.peers.own(), Some(state.erased));
        Status { node: self.node.clone(), log: self.log.clone(), position, checkpoint, erased }
    }

    pub(crate) fn heard(&self, status: Status) {
        if status.log != self.log {
            return;
        }
        if status.node == self.node {
            // Its own word comes back too, but never from ahead of it.
            if status.position > self.state().peers.own().0 {
                self.stop(Stop::NameTaken { node: status.node });
            }
            return;
        }
        match self.state().peers.heard(status) {
            Ok(()) => self.heard.send_modify(|count| *count += 1),
            Err(stop) => self.stop(stop),
        }
    }

    pub(crate) fn followers_at(&self, position: u64) -> usize {
        self.state().peers.followers_at(position)
    }

    pub(crate) fn highest(&self) -> u64 {
        self.state().peers.highest()
    }

    pub(crate) fn rejected_count(&self) -> u64 {
        self.state().rejected_count
    }
}

/// How a node's ledger is opened or created.
pub type OpenWith = Arc<dyn Fn() -> LedgerOptions<'static> + Send + Sync>;

// -- opening -----------------------------------------------------------------------------------------------------------------------------

/// Opens the ledger of a node, or creates it with the stream's first message.
pub(crate) async fn open<E: Engine>(
    stream: &E,
    dir: &Path,
    node: &str,
    options: &OpenWith,
) -> Result<Core, Failure> {
    let place = dir.join("ledger");
    let file = |source| Stop::File { file: dir.display().to_string(), source };
    std::fs::create_dir_all(dir).map_err(file)?;
    let ledger = match place.exists() {
        true => {
            let options = Arc::clone(options);
            on_a_thread(move || Ok(options().durability(Durability::Immediate).open(place)?)).await?
        }
        false => create(stream, place, options).await?,
    };
    let Some(followed) = ledger.reader().followed() else {
        return Err(Failure::Stop(Stop::ForeignStream {
            stream: stream.name().to_owned(),
            expected: "none: it has records of its own".to_owned(),
            found: stream.log().to_string(),
        }));
    };
    let (log, position) = (followed.log.clone(), followed.position);
    if stream.log().as_str() != log {
        let (stream, found) = (stream.name().to_owned(), stream.log().to_string());
        return Err(Failure::Stop(Stop::ForeignStream { stream, expected: log, found }));
    }
    let trail = Trail::open(&dir.join("trail"), position)?;
    let peers = Peers::new(position, ledger.checkpoint());
    // Opening has finished what was begun, unless the key ring could not be stored.
    let erased = if ledger.reader().erasures_pending() == 0 { position } else { 0 };
    info!(node, log, position, checkpoint = %ledger.checkpoint(), "the ledger is open");
    Ok(Core {
        ledger: SharedLedger::new(ledger),
        node: node.to_owned(),
        log,
        rejected: dir.join("rejected.jsonl"),
        state: Mutex::new(CoreState {
            trail,
            peers,
            erased,
            waiting: HashMap::new(),
            recorded: HashMap::new(),
            recorded_order: VecDeque::new(),
            rejected_count: 0,
        }),
        progress: watch::Sender::new(Progress { position, ..Progress::default() }),
        heard: watch::Sender::new(0),
        silent: watch::Sender::new(0),
    })
}

async fn create<E: Engine>(stream: &E, place: PathBuf, options: &OpenWith) -> Result<Ledger, Failure> {
    let first = stream.range().first;
    let name = || stream.name().to_owned();
    let Some(raw) = stream.message(first).await? else {
        let stop = match first {
            ..=1 => Stop::Gap { stream: name(), position: 1, found: None }, // not even a first message
            _ => Stop::Purged { stream: name(), first, next: 1 },
        };
        return Err(Failure::Doubtful(stop));
    };
    let batch = read(&raw, stream.log())?;
    let Content::Begin { tenant, policy } = batch.content else {
        return Err(Failure::Stop(Stop::Purged { stream: name(), first, next: 1 }));
    };
    let Raw { position, recorded_at, .. } = raw;
    let (log, seed, options) = (stream.log().clone(), batch.seed, Arc::clone(options));
    on_a_thread(move || {
        let delivery = Delivery { log: &log, position, recorded_at, seed };
        let options = options().durability(Durability::Immediate).follow(&delivery);
        Ok(options.create(place, tenant, policy)?)
    })
    .await
}

/// Ledgers wait for disks, where no task may.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Stop::Died { thread: "opening thread" })??)
}

/// Tells what is so from what looks so for a moment.
#[derive(Default)]
pub(crate) struct Doubt {
    since: Option<(std::mem::Discriminant<Stop>, Instant)>,
}

impl Doubt {
    /// The stop, if a failure has been the same for long enough.
    pub(crate) fn judge(&mut self, failure: Failure) -> Option<Stop> {
        match failure {
            Failure::Stop(stop) => Some(stop),
            Failure::Unreachable(why) => {
                warn!("reading the stream again: {why}");
                self.since = None;
                None
            }
            Failure::Doubtful(stop) => {
                let kind = std::mem::discriminant(&stop);
                let since = match self.since {
                    Some((before, since)) if before == kind => since,
                    _ => Instant::now(),
                };
                self.since = Some((kind, since));
                warn!("looking again: {stop}");
                (since.elapsed() >= PATIENCE).then_some(stop)
            }
        }
    }
}

// -- reading -----------------------------------------------------------------------------------------------------------------------------

/// Reads the stream until the node stops or is closed.
pub(crate) async fn read_stream<E: Engine>(
    core: Arc<Core>,
    handle: E::Handle,
    name: String,
    min_replicas: usize,
    into: mpsc::Sender<Raw>,
) {
    let mut over = core.progress.subscribe();
    let (mut doubt, mut passed) = (Doubt::default(), core.position());
    let work = async {
        loop {
            let mut recorded = core.progress.subscribe();
            if recorded.wait_for(|progress| progress.position >= passed).await.is_err() {
                return;
            }
            let before = passed;
            let ended = match attach::<E>(&core, &handle, &name, min_replicas).await {
                Ok(messages) => {
                    let mut silent = core.silent.subscribe();
                    tokio::select! {
                        ended = pass_on::<E>(messages, &name, &mut passed, &into) => ended,
                        _ = silent.changed() => Failure::Unreachable("nothing came, and the stream has more".to_owned()),
                    }
                }
                Err(failure) => failure,
            };
            if passed > before {
                doubt = Doubt::default();
            }
            // What came before a message that stops the node is good.
            if matches!(ended, Failure::Stop(_))
                && recorded.wait_for(|progress| progress.position >= passed).await.is_err()
            {
                return;
            }
            if let Some(stop) = doubt.judge(ended) {
                return core.stop(stop);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = over.wait_for(|progress| progress.closed || progress.stop.is_some()) => {}
    }
}

/// Looks at the stream now and then, also while nothing comes: at its settings, and whether it holds what nodes say they have from it. A new
/// node does not know by itself that its stream was longer.
///
/// It also has the reader begin again if nothing comes although the stream has more. A connection that broke may have lost the last
/// messages on their way, and without a later one the reader cannot know.
pub(crate) async fn look_at_stream<E: Engine>(
    core: Arc<Core>,
    handle: E::Handle,
    name: String,
    min_replicas: usize,
) {
    let (mut doubt, mut waits_at) = (Doubt::default(), None);
    while !core.is_over() {
        tokio::time::sleep(LOOK_EVERY).await;
        let (own, position) = (core.position(), core.highest());
        let failure = match E::open(&handle, &name, min_replicas).await {
            Ok(stream) => match stream.range().last {
                last if last == own && stream.range().sealed => Stop::Sealed { stream: name.clone() }.into(),
                last if last < position => {
                    Failure::Doubtful(Stop::CutBack { stream: name.clone(), last, position })
                }
                last => {
                    doubt = Doubt::default();
                    let waits = (last > own).then_some(own);
                    if waits.is_some() && waits == waits_at {
                        core.silent.send_modify(|count| *count += 1);
                    }
                    waits_at = waits;
                    continue;
                }
            },
            Err(error) => error.into(),
        };
        if let Some(stop) = doubt.judge(failure) {
            return core.stop(stop);
        }
    }
}

/// Holds the stream against the ledger, and reads on behind the ledger's position.
async fn attach<E: Engine>(
    core: &Core,
    handle: &E::Handle,
    name: &str,
    min_replicas: usize,
) -> Result<E::Messages, Failure> {
    let stream = E::open(handle, name, min_replicas).await?;
    let (expected, name) = (core.log.clone(), || stream.name().to_owned());
    if stream.log().as_str() != expected {
        let found = stream.log().to_string();
        return Err(Stop::ForeignStream { stream: name(), expected, found }.into());
    }
    let position = core.position();
    let Range { first, last, .. } = stream.range();
    if last < position {
        return Err(Failure::Doubtful(Stop::CutBack { stream: name(), last, position }));
    }
    if first > position + 1 {
        return Err(Failure::Doubtful(Stop::Purged { stream: name(), first, next: position + 1 }));
    }
    if first <= position {
        hold_against(core, &stream, position).await?;
    }
    if last > position && stream.message(position + 1).await?.is_none() {
        // Perhaps it was purged just now; perhaps the leader has just begun to lead. It is looked at again.
        return Err(Failure::Doubtful(Stop::Gap {
            stream: name(),
            position: position + 1,
            found: Some(last),
        }));
    }
    stream.read_from(position + 1).await
}

/// The message at the ledger's position must be the one that is in the ledger: by the trail, and by the time of its frame.
async fn hold_against<E: Engine>(core: &Core, stream: &E, position: u64) -> Result<(), Failure> {
    let name = || stream.name().to_owned();
    let Some(message) = stream.message(position).await? else {
        return Err(Failure::Doubtful(Stop::Gap { stream: name(), position, found: None }));
    };
    let written = message.recorded_at;
    let noted = core.state().trail.at(position)?;
    if noted.is_some_and(|noted| noted != digest(written, &message.payload)) {
        return Err(Stop::Differs { stream: name(), position, evidence: "by its digest" }.into());
    }
    let recorded = core.ledger.read(|reader| reader.recorded_at(Seq(reader.checkpoint().records - 1)));
    // A frame never has an earlier time than its message: a later message stands there now.
    if recorded.map_err(Stop::from)?.is_some_and(|recorded| written > recorded) {
        return Err(Stop::Differs { stream: name(), position, evidence: "by its time" }.into());
    }
    Ok(())
}

/// Passes messages on for as long as each is the next. Why it ended is looked into by attaching again.
async fn pass_on<E: Engine>(
    mut messages: E::Messages,
    stream: &str,
    passed: &mut u64,
    into: &mpsc::Sender<Raw>,
) -> Failure {
    loop {
        let raw = match E::next(&mut messages).await {
            Ok(raw) => raw,
            Err(failure) => return failure,
        };
        let (stream, position, found) = (stream.to_owned(), *passed, raw.position);
        if found <= position {
            // A server that starts again has its consumers begin again.
            return Failure::Doubtful(Stop::WentBack { stream, position, found });
        }
        if found > position + 1 {
            // The connection may have lost it on its way.
            return Failure::Doubtful(Stop::Gap { stream, position: position + 1, found: Some(found) });
        }
        *passed = found;
        if into.send(raw).await.is_err() {
            return Failure::Unreachable("nothing is recorded any more".to_owned());
        }
    }
}

/// Reads a message of a log.
///
/// # Errors
/// [`Stop::UnknownVersion`] and [`Stop::NotAMessage`].
pub fn read(raw: &Raw, log: &LogName) -> Result<Batch, Stop> {
    let Raw { position, payload, .. } = raw;
    decode(payload, log).map_err(|error| match error {
        DecodeError::Version { found } => Stop::UnknownVersion { position: *position, version: found },
        error => Stop::NotAMessage { position: *position, why: error.to_string() },
    })
}

// -- recording ---------------------------------------------------------------------------------------------------------------------------

/// Records what the reader passes on, until there is an end to it. Runs on a thread of its own.
pub(crate) fn record(core: &Core, log: &LogName, mut from: mpsc::Receiver<Raw>) {
    while let Some(first) = from.blocking_recv() {
        if core.is_over() {
            return;
        }
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(next) = from.try_recv()
        {
            group.push(next);
        }
        if let Err(stop) = record_group(core, log, &group) {
            return core.stop(stop);
        }
    }
}

/// A message that was recorded, and is durable with its group.
struct Recorded {
    batch: BatchId,
    applied: Applied,
    digest: MessageDigest,
}

fn record_group(core: &Core, log: &LogName, group: &[Raw]) -> Result<(), Stop> {
    let (mut batches, mut end) = (Vec::with_capacity(group.len()), Ok(()));
    for raw in group {
        match read(raw, log) {
            Ok(Batch { content: Content::Begin { .. }, .. }) => {
                end = Err(begun_again(raw.position));
                break;
            }
            Ok(batch) => batches.push((raw, batch)),
            Err(stop) => {
                end = Err(stop); // those before it are good
                break;
            }
        }
    }
    let (mut recorded, mut erases) = (Vec::with_capacity(batches.len()), false);
    let written = core.ledger.write(|ledger| {
        for (raw, batch) in &batches {
            let Raw { position, recorded_at, .. } = **raw;
            let delivery = Delivery { log, position, recorded_at, seed: batch.seed };
            let reject = |error: &dyn std::fmt::Display| {
                let error: String = error.to_string().chars().take(1_000).collect();
                core.note_rejected(position, batch.id, &error).map(|()| BatchResult::Rejected(error))
            };
            let answered = |delivered| match delivered {
                Delivered::Taken(answers) => Ok(BatchResult::Taken(Vec::into(answers))),
                Delivered::Rejected(error) => reject(&error),
            };
            let result = match &batch.content {
                Content::Operations(operations) => answered(ledger.append_at(&delivery, operations)?)?,
                Content::Policy(policy) => answered(ledger.set_policy_at(&delivery, policy)?)?,
                Content::Erase(request) => {
                    core.forget_rejected()?;
                    match ledger.erase_at(&delivery, request)? {
                        Delivered::Taken(records) => {
                            erases = true;
                            BatchResult::Erased(records.into())
                        }
                        Delivered::Rejected(error) => reject(&without_text(&error))?,
                    }
                }
                Content::Begin { .. } => return Err(begun_again(position)),
            };
            let checkpoint = ledger.reader().checkpoint();
            let applied = Applied { position, checkpoint, result };
            recorded.push(Recorded { batch: batch.id, applied, digest: digest(recorded_at, &raw.payload) });
        }
        if erases {
            ledger.finish_erasures(&mut |_| {})?;
        }
        Ok::<usize, Stop>(ledger.reader().erasures_pending())
    });
    // After an error some of them may be recorded, and will be found so when the ledger is opened again.
    let pending = written?;
    core.settle(recorded, pending == 0)?;
    end
}

fn begun_again(position: u64) -> Stop {
    Stop::NotAMessage { position, why: "it begins the log again".to_owned() }
}

/// Why an erasure is rejected, without what it names: that is to be forgotten, and the reason is kept.
fn without_text(error: &EraseError) -> String {
    match error {
        EraseError::UnknownId { .. } | EraseError::UnknownPerson { .. } => {
            "the ledger does not know an id or the person that it names; nothing was erased".to_owned()
        }
        error => error.to_string(),
    }
}

impl Core {
    /// Writes down why a batch is rejected, before its position is durable: a crash in between leaves the line twice, and never out.
    fn note_rejected(&self, position: u64, batch: BatchId, error: &str) -> Result<(), Stop> {
        warn!(node = self.node, position, %batch, error, "a batch is rejected");
        let write = || {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.rejected)?;
            if file.metadata()?.len() > MAX_REJECTED_BYTES {
                std::fs::rename(&self.rejected, self.rejected.with_extension("1.jsonl"))?;
                file = std::fs::OpenOptions::new().append(true).create(true).open(&self.rejected)?;
            }
            let line = serde_json::json!({ "position": position, "batch": batch, "error": error });
            writeln!(file, "{line}")?;
            file.sync_data()
        };
        write().map_err(|source| Stop::File { file: self.rejected.display().to_string(), source })?;
        self.state().rejected_count += 1;
        Ok(())
    }

    /// Removes the reasons so far, before something is erased: they quote what senders wrote.
    fn forget_rejected(&self) -> Result<(), Stop> {
        let remove = |file: &Path| match std::fs::remove_file(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => std::fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all(),
        };
        let removed = remove(&self.rejected).and_then(|()| remove(&self.rejected.with_extension("1.jsonl")));
        removed.map_err(|source| Stop::File { file: self.rejected.display().to_string(), source })
    }

    /// The group is durable: says so to the trail, to those who wait, and to the other nodes.
    fn settle(&self, recorded: Vec<Recorded>, nothing_pending: bool) -> Result<(), Stop> {
        let Some(last) = recorded.last().map(|last| last.applied.position) else { return Ok(()) };
        let mut state = self.state();
        state.trail.note(recorded.iter().map(|it| (it.applied.position, it.digest)))?;
        for Recorded { batch, applied, .. } in recorded {
            state.peers.advance(applied.position, applied.checkpoint)?;
            if state.recorded.insert(batch, applied.position).is_none() {
                state.recorded_order.push_back(batch);
            }
            if state.recorded_order.len() > KEPT_BATCHES
                && let Some(oldest) = state.recorded_order.pop_front()
            {
                state.recorded.remove(&oldest);
            }
            for sender in state.waiting.remove(&batch).unwrap_or_default() {
                drop(sender.send(applied.clone()));
            }
        }
        if nothing_pending {
            state.erased = last;
        }
        drop(state);
        self.progress.send_modify(|progress| progress.position = last);
        self.heard.send_modify(|count| *count += 1);
        Ok(())
    }
}

const _: () = assert!(MAX_GROUP * limits::MAX_BATCH_OPERATIONS < limits::MAX_RECORDS as usize);
