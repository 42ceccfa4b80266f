//! A node of several: what is accepted goes to a stream that they share, and questions are answered from this node's own ledger.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use identity_ledger::erase::Receipt;
use identity_ledger::{Appended, Operation, Seq, Tenant};
use identity_ledger_jetstream::async_nats::{Client, Event, ServerAddr};
use identity_ledger_jetstream::node::statuses;
use identity_ledger_jetstream::stream::check_name;
use identity_ledger_jetstream::{
    Applied, Batch, BatchResult, COMMAND, Node, NodeOptions, PublishError, Stream, connect_options, context,
    shown,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::{Instant, interval_at, timeout};

use crate::failure::Failure;
use crate::screen::remark;
use crate::serve::recorder::{Answers, Change, Corrected, Decision, Facts, Recorder, Recording, Unrecorded};
use crate::serve::refused::NoAnswer;
use crate::serve::signal::stop_signal;
use crate::serve::stream::StreamArgs;
use crate::serve::tenants::{Tenants, with_keys};
use crate::serve::tokens::{TenantName, Tokens};

/// How long one batch is waited for: less than a request may take, and than requests under way are waited for at the end.
const BATCH_WAIT: Duration = Duration::from_secs(15);
/// The same for a request that takes several batches.
const REQUEST_WAIT: Duration = Duration::from_secs(18);
/// How long a node listens for another one of its name: each says its name once a second.
const NAME_WAIT: Duration = Duration::from_millis(1_500);

/// Starts a node, once its servers answer. False if a signal came before they did.
pub(crate) async fn start(
    args: &StreamArgs,
    tokens: &Tokens,
    tenants: &mut Tenants,
) -> Result<bool, Failure> {
    let (Some((node, stream)), name) = (args.names(), only_tenant(tokens)?) else {
        return Ok(true); // the arguments require both names
    };
    check_name(stream).map_err(|error| Failure::Stream(error.to_string()))?;
    let alone = tenants.place(&name);
    if std::fs::exists(&alone).map_err(Failure::read(&alone))? {
        return Err(Failure::IsNoNode { place: alone });
    }
    let dir = tenants.dir().to_owned();
    let keys = tenants.keys(&name, &dir.join("ledger"))?;
    let options = NodeOptions {
        min_replicas: args.min_replicas.into(),
        acknowledgements: args.acknowledgements.into(),
        timeout: BATCH_WAIT,
        ledger: Arc::new(move || with_keys(keys.clone())),
        ..NodeOptions::new(node, dir, stream)
    };
    let addresses = args.urls.iter().map(|url| address(url)).collect::<Result<Vec<_>, _>>()?;
    let client = connect(args, node, addresses).await?;
    let begun = tokio::select! {
        begun = begin(client, options, &name) => begun?,
        () = say_waiting(stream, &args.urls) => return Ok(true), // it says so for ever
        () = stop_signal() => return Ok(false),
    };
    let begun = Arc::new(begun);
    tokio::spawn(say_stop(Arc::downgrade(&begun)));
    let ledger = begun.ledger().clone();
    let recorder = StreamRecorder {
        name: node.to_owned(),
        stream: stream.to_owned(),
        node: Mutex::new(Some(begun)),
        unsure: Mutex::default(),
        runtime: Handle::current(),
    };
    tenants.follow(name, ledger, Box::new(recorder));
    Ok(true)
}

/// One stream carries one ledger, and a ledger is of one tenant.
fn only_tenant(tokens: &Tokens) -> Result<TenantName, Failure> {
    let mut names = tokens.iter().map(|(_, destination)| &destination.tenant);
    let first = names.next().ok_or(Failure::NoTokens)?;
    match names.find(|name| *name != first) {
        Some(other) => Err(Failure::TenantsOfStream { first: first.to_string(), other: other.to_string() }),
        None => Ok(first.clone()),
    }
}

fn address(url: &str) -> Result<ServerAddr, Failure> {
    let bad = |what: String| Failure::NatsUrl { url: shown(url), what };
    let address: ServerAddr = url.parse().map_err(|error: std::io::Error| bad(error.to_string()))?;
    match address.scheme() {
        "nats" | "tls" if !address.host().is_empty() => Ok(address),
        _ => Err(bad("the scheme or the host is wrong".to_owned())),
    }
}

/// A client that connects when it can, and again when it has to.
async fn connect(args: &StreamArgs, node: &str, addresses: Vec<ServerAddr>) -> Result<Client, Failure> {
    let last = Arc::new(Mutex::new(String::new()));
    let file = args.jetstream_credentials.as_deref();
    let options = connect_options(&addresses, file)
        .await
        .map_err(|source| Failure::Read { file: file.unwrap_or(Path::new("")).to_owned(), source })?;
    let options = options.name(node).retry_on_initial_connect().event_callback(move |event| {
        say_event(&last, &event);
        std::future::ready(())
    });
    options.connect(addresses).await.map_err(|error| Failure::Stream(error.to_string()))
}

/// Says what the connection does, once for as long as it stays the same.
fn say_event(last: &Mutex<String>, event: &Event) {
    let text = event.to_string();
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != text {
        remark("note", &format!("NATS: {text}"));
        *last = text;
    }
}

async fn say_waiting(stream: &str, urls: &[String]) {
    let urls: Vec<String> = urls.iter().map(|url| shown(url)).collect();
    let text = format!("waiting for the stream `{stream}` at {}", urls.join(", "));
    let mut ticks = interval_at(Instant::now() + Duration::from_secs(3), Duration::from_secs(30));
    loop {
        ticks.tick().await;
        remark("note", &text);
    }
}

/// Says why the node stopped, if it does by itself.
async fn say_stop(node: Weak<Node>) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Some(node) = node.upgrade() else { return };
        if let Some(stop) = node.stop_reason() {
            let (name, position) = (stop.name(), node.status().position);
            remark("error", &format!("the node stopped at position {position} ({name}): {stop}"));
            return remark("  try", &stop.remedy(COMMAND));
        }
    }
}

/// Checks what could go wrong for good, and begins to follow.
async fn begin(client: Client, options: NodeOptions, name: &TenantName) -> Result<Node, Failure> {
    client.flush().await.map_err(|error| Failure::Stream(error.to_string()))?; // waits for the connection
    let context = context(client.clone());
    let (node, stream) = (options.name.clone(), options.stream.clone());
    let expect = |found: &Tenant| match *found == name.tenant() {
        true => Ok(()),
        false => Err(Failure::OtherTenantOfStream {
            stream: stream.clone(),
            found: found.to_string(),
            expected: name.to_string(),
        }),
    };
    // Before a ledger of the wrong stream is made. What else is wrong with it, the node says.
    if let Ok(opened) = Stream::open(&context, &stream, 1).await
        && let Ok(Some(tenant)) = opened.tenant().await
    {
        expect(&tenant)?;
    }
    let others = statuses(&context, &stream, NAME_WAIT).await;
    if others.is_ok_and(|others| others.iter().any(|other| other.node == node)) {
        return Err(Failure::NodeName { node, stream });
    }
    let node = Node::start(client, options).await.map_err(|stop| Failure::Stop { stop: Box::new(stop) })?;
    node.ledger().read(|reader| expect(reader.tenant()))?;
    Ok(node)
}

/// Records by way of the stream.
struct StreamRecorder {
    name: String,
    stream: String,
    /// `None` once it is closed.
    node: Mutex<Option<Arc<Node>>>,
    /// The last correction, by its mark, if it is not known whether it is recorded: sent again it is the same batch.
    unsure: Mutex<Option<(String, Batch)>>,
    runtime: Handle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamRecorder {
    fn node(&self) -> Result<Arc<Node>, PublishError> {
        lock(&self.node).clone().ok_or(PublishError::Closed)
    }

    fn facts(&self, facts: Value) -> Facts {
        let mut all = Facts::from_iter([
            ("node".to_owned(), self.name.clone().into()),
            ("stream".to_owned(), self.stream.clone().into()),
        ]);
        if let Value::Object(facts) = facts {
            all.extend(facts);
        }
        all
    }
}

impl Recorder for StreamRecorder {
    fn submit(&self, operations: Vec<Operation>) -> Result<Recording, Unrecorded> {
        let node = self.node()?;
        Ok(Box::pin(async move {
            timeout(REQUEST_WAIT, send(&node, operations)).await.unwrap_or_else(|_| {
                let told = "not all of the events are recorded in time; send the request again".to_owned();
                Err(Unrecorded { remark: Some(told.clone()), told })
            })
        }))
    }

    /// One at a time, so that the next one sees what this one changed. What another node sends meanwhile may come before it in the stream.
    fn correct(&self, mark: &str, decide: Decision<'_>) -> Result<Corrected, NoAnswer> {
        let Ok(mut unsure) = self.unsure.try_lock() else {
            let error = "another correction is under way; try again".to_owned();
            return Err(NoAnswer::Refused(StatusCode::SERVICE_UNAVAILABLE, error));
        };
        let node = self.node().map_err(uncorrected)?;
        let change = node.ledger().read(decide)?;
        let again = unsure.take().filter(|(of, _)| of == mark).map(|(_, batch)| batch);
        let batch = match (again, change) {
            (Some(batch), _) => batch,
            (None, Change::Erasure(request)) => Batch::erase(request),
            (None, Change::Operation(operation)) => {
                Batch::new(vec![*operation]).map_err(|error| NoAnswer::Bad(error.to_string()))?
            }
        };
        let applied = self.runtime.block_on(node.publish_and_wait(&batch)).map_err(|error| {
            *unsure = Some((mark.to_owned(), batch));
            uncorrected(error)
        })?;
        let position = applied.position;
        let mut facts = Facts::from_iter([("position".to_owned(), position.into())]);
        let seq = match applied.result {
            BatchResult::Taken(answers) => {
                let answer = answers.first().copied();
                if let Some(Appended::Recorded { seq, outcome }) = answer
                    && let Some(refusal) = outcome.refusal
                {
                    let rule = refusal.rule();
                    return Err(conflict(&format!(
                        "something came before it, and it is record {seq}, refused by {rule}"
                    )));
                }
                answer.and_then(|answer| answer.seq())
            }
            BatchResult::Erased(records) => {
                let purge = format!(
                    "holds the texts until `identity-ledger-jetstream purge {} --to {position}`, with each node by name",
                    self.stream
                );
                facts.insert("stream".to_owned(), purge.into());
                records.first().copied()
            }
            BatchResult::Rejected(why) => {
                return Err(conflict(&format!("something came before it, and nothing was recorded: {why}")));
            }
            _ => None, // it was recorded before this node listened for it
        };
        Ok(Corrected { seq, facts })
    }

    /// They are out of this node's files before the stream's answer comes.
    fn finish_erasures(&self, since: Option<Seq>) -> Result<Vec<Receipt>, NoAnswer> {
        let node = self.node().map_err(uncorrected)?;
        let mut receipts = node.ledger().read(|reader| reader.erasures())?;
        receipts.retain(|receipt| Some(receipt.seq) >= since);
        Ok(receipts)
    }

    fn health(&self) -> Result<Facts, Facts> {
        let Ok(node) = self.node() else { return Err(self.facts(json!({}))) };
        let status = node.status();
        let (position, checkpoint) = (status.position, status.checkpoint.to_string());
        match node.stop_reason() {
            None => Ok(self.facts(json!({
                "position": position, "checkpoint": checkpoint, "rejected": node.rejected(),
            }))),
            Some(stop) => Err(self.facts(json!({
                "position": position, "checkpoint": checkpoint, "rejected": node.rejected(),
                "stop": stop.name(), "error": stop.to_string(), "remedy": stop.remedy(COMMAND),
            }))),
        }
    }

    fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        let Ok(node) = self.node() else { return Vec::new() };
        vec![
            (
                "stream_position",
                "Up to which position of its stream a node is.",
                node.status().position as f64,
            ),
            (
                "stream_rejected",
                "Batches of the stream that all nodes rejected, since the start.",
                node.rejected() as f64,
            ),
            (
                "stream_stopped",
                "1 if the node stopped; /healthz says why.",
                f64::from(u8::from(node.stop_reason().is_some())),
            ),
        ]
    }

    fn close(&self) -> Result<(), String> {
        // A request that is still under way has the node too: then it ends as if it was killed, which loses nothing.
        let Some(node) = lock(&self.node).take().and_then(Arc::into_inner) else { return Ok(()) };
        if let Some(stop) = node.stop_reason() {
            return Err(format!("the node had stopped ({}): {stop}", stop.name()));
        }
        let status = self.runtime.block_on(node.close()).map_err(|stop| stop.to_string())?;
        remark("note", &format!("closed at position {}, {}", status.position, status.checkpoint));
        Ok(())
    }
}

/// Sends operations in their order, as one batch if it can be: one that is too large for a message, or that every node rejects, is halved until
/// it is clear which operation is to blame. A ledger of one machine does the same.
async fn send(node: &Node, operations: Vec<Operation>) -> Result<Answers, Unrecorded> {
    let mut answers = Answers::with_capacity(operations.len());
    let mut parts = vec![operations];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let why = match Batch::new(part.clone()) {
            Err(error) => error.to_string(),
            Ok(batch) => match node.publish_and_wait(&batch).await {
                Ok(Applied { result: BatchResult::Taken(taken), .. }) => {
                    answers.extend(taken.iter().copied().map(Ok));
                    continue;
                }
                Ok(Applied { result: BatchResult::Rejected(why), .. }) => why,
                Err(error @ PublishError::TooLarge { .. }) => error.to_string(),
                // Recorded, and this node did not hear what became of each: sent again, they are duplicates.
                Ok(_) => return Err(Unrecorded { told: "send the request again".to_owned(), remark: None }),
                Err(error) => return Err(error.into()),
            },
        };
        match part.len() {
            1 => {
                let why = why.strip_prefix("operation 0: ").unwrap_or(&why);
                answers.push(Err(format!("operation {}: {why}", answers.len())));
            }
            many => {
                let last = part.split_off(many / 2);
                parts.extend([last, part]);
            }
        }
    }
    Ok(answers)
}

/// What a sender is told whose batch is not known to be recorded.
fn told(error: &PublishError) -> String {
    match error {
        PublishError::Unknown { why, .. } => {
            format!("it is not known whether this is recorded ({why}); send the request again")
        }
        PublishError::Stopped(stop) => {
            format!(
                "this node stopped ({}) and records nothing more; send the request to another one",
                stop.name()
            )
        }
        PublishError::Closed => "this node is closed; send the request to another one".to_owned(),
        error => error.to_string(),
    }
}

impl From<PublishError> for Unrecorded {
    fn from(error: PublishError) -> Unrecorded {
        // Each of these is said once, elsewhere.
        let is_said = matches!(error, PublishError::Stopped(_) | PublishError::Closed | PublishError::Busy);
        Unrecorded { told: told(&error), remark: (!is_said).then(|| error.to_string()) }
    }
}

fn uncorrected(error: PublishError) -> NoAnswer {
    let status = match error {
        PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    NoAnswer::Refused(status, told(&error))
}

fn conflict(why: &str) -> NoAnswer {
    NoAnswer::Refused(StatusCode::CONFLICT, format!("{why}; look at the preview again"))
}
