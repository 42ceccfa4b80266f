//! What an operator does: look for what a stream lost, purge what all followers have, continue a stream that lost messages.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::Config;
use futures_util::StreamExt;
use identity_ledger::follow::LogName;
use identity_ledger::{OperationId, ReadOnlyLedger};
use tracing::info;

use crate::follower::{Raw, raw, read, time};
use crate::publisher::{PublishError, Publisher};
use crate::stream::{Settings, Stream, StreamError, unreachable};
use identity_ledger_shared_log::message::{Batch, Content};
use identity_ledger_shared_log::peers::Status;
use identity_ledger_shared_log::stop::Stop;
use identity_ledger_shared_log::trail::{Trail, digest};

/// Why an operator's command did not end well. It can be given again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemedyError {
    /// The stream cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The ledger, or a file beside it, cannot be read.
    #[error(transparent)]
    Ledger(#[from] Stop),
    /// A batch was not acknowledged by the new stream.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The ledger does not follow the log of the stream.
    #[error("the ledger follows {found}; expected the log `{expected}`")]
    OtherLog {
        /// The log of the stream.
        expected: String,
        /// The log of the ledger.
        found: String,
    },
    /// A node is not past the position.
    #[error("node `{node}` is at position {found}, which is before {position}: nothing was purged")]
    NotPast {
        /// The node.
        node: String,
        /// Where it is.
        found: u64,
        /// Where it must be.
        position: u64,
    },
    /// A node is past the position, and what was erased up to there is not out of its files.
    #[error(
        "node `{node}` has taken what is erased out of its files up to position {found}, which is before {position}: nothing was purged"
    )]
    NotErased {
        /// The node.
        node: String,
        /// Up to where it has.
        found: u64,
        /// Up to where it must have.
        position: u64,
    },
    /// A node did not say how far it is.
    #[error("node `{node}` did not say how far it is: nothing was purged")]
    Silent {
        /// The node.
        node: String,
    },
}

/// What a stream does not hold as a ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// It lost the message at a position.
    Lost(u64),
    /// It gives another message there than the one that was recorded.
    Differs(u64),
    /// It ends at this position, and the ledger is further.
    CutBack(u64),
}

/// Compares a stream, message by message, with what a node recorded: for losses in the middle, which followers that are past them do not
/// see. Cost: the stream is read once.
///
/// # Errors
/// [`RemedyError`].
pub async fn compare(stream: &Stream, node_dir: &Path) -> Result<Vec<Finding>, RemedyError> {
    let (position, _) = followed(node_dir, &stream.log)?;
    let trail = Trail::read(&node_dir.join("trail"))?;
    let state = stream.state().await?;
    let (mut next, mut findings) = (state.first_sequence, Vec::new());
    walk(stream, |raw| {
        findings.extend((next..raw.position).map(Finding::Lost));
        next = raw.position + 1;
        let noted = trail.as_ref().map_or(Ok(None), |trail| trail.at(raw.position))?;
        if noted.is_some_and(|noted| noted != digest(raw.recorded_at, &raw.payload)) {
            findings.push(Finding::Differs(raw.position));
        }
        Ok(())
    })
    .await?;
    findings.extend((next..=state.last_sequence).map(Finding::Lost));
    if state.last_sequence < position {
        findings.push(Finding::CutBack(state.last_sequence));
    }
    Ok(findings)
}

/// How long nothing may come from a stream that has more: the last messages may be lost on their way.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How often a reading of a stream is begun again before it is given up.
const MAX_ATTEMPTS: u32 = 60;

/// Shows every message that a stream still has, in order. One that did not come is asked for by its number: a connection may lose messages
/// on their way, and that must not look like a loss of the stream.
async fn walk(stream: &Stream, mut each: impl FnMut(&Raw) -> Result<(), Stop>) -> Result<(), RemedyError> {
    let state = stream.state().await?;
    let (mut next, last, mut attempts) = (state.first_sequence, state.last_sequence, 0);
    while next <= last {
        let before = next;
        let ended = walk_from(stream, &mut next, last, &mut each).await;
        attempts = if next > before { 0 } else { attempts + 1 };
        match ended {
            Err(RemedyError::Stream(StreamError::Unreachable { .. })) if attempts < MAX_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            ended => ended?,
        }
    }
    Ok(())
}

async fn walk_from(
    stream: &Stream,
    next: &mut u64,
    last: u64,
    each: &mut impl FnMut(&Raw) -> Result<(), Stop>,
) -> Result<(), RemedyError> {
    let mut messages = stream.read_from(*next).await?;
    while *next <= last {
        let message = match tokio::time::timeout(MAX_SILENCE, messages.next()).await {
            Ok(Some(message)) => message.map_err(|error| unreachable(&stream.name, error))?,
            _ => return Err(unreachable(&stream.name, "nothing came, and the stream has more").into()),
        };
        let pending = message.info().map_err(|error| unreachable(&stream.name, error))?.pending;
        let raw = raw(&message).map_err(|error| unreachable(&stream.name, error))?;
        let found = raw.position;
        ask_for(stream, next, found - 1, each).await?;
        if found == *next {
            each(&raw)?;
            *next += 1;
        }
        if pending == 0 {
            break;
        }
    }
    ask_for(stream, next, last, each).await
}

/// Asks for the messages up to a position by their numbers.
async fn ask_for(
    stream: &Stream,
    next: &mut u64,
    until: u64,
    each: &mut impl FnMut(&Raw) -> Result<(), Stop>,
) -> Result<(), RemedyError> {
    while *next <= until {
        if let Some(message) = stream.message(*next).await? {
            let recorded_at = time(message.time)?;
            each(&Raw { position: *next, recorded_at, payload: message.payload })?;
        }
        *next += 1;
    }
    Ok(())
}

/// The position of a node's ledger, which must follow this log.
fn followed(node_dir: &Path, log: &LogName) -> Result<(u64, ReadOnlyLedger), RemedyError> {
    let ledger = ReadOnlyLedger::open(node_dir.join("ledger")).map_err(Stop::from)?;
    match ledger.reader().followed() {
        Some(followed) if followed.log == log.as_str() => Ok((followed.position, ledger)),
        other => {
            let found = other.map_or("no log".to_owned(), |followed| format!("the log `{}`", followed.log));
            Err(RemedyError::OtherLog { expected: log.to_string(), found })
        }
    }
}

/// Removes from a stream what all followers have, up to a position. A later node begins with a copy of a follower's ledger. After an erasure
/// the position is that of the erasure: texts stand in the messages before it, and it names ids itself.
///
/// `nodes` names every follower; `statuses` is what they say ([`crate::node::statuses`]), and one that is heard without being named counts too.
///
/// # Errors
/// [`RemedyError::Silent`] and `NotPast`, for a node that may need it still, and `NotErased`; nothing is purged then.
pub async fn purge(
    stream: &Stream,
    position: u64,
    nodes: &[String],
    statuses: &[Status],
) -> Result<u64, RemedyError> {
    let heard: Vec<&Status> = statuses.iter().filter(|status| status.log == stream.log.as_str()).collect();
    if let Some(node) = nodes.iter().find(|node| heard.iter().all(|status| status.node != **node)) {
        return Err(RemedyError::Silent { node: node.clone() });
    }
    for Status { node, position: at, erased, .. } in heard {
        let (node, erased) = (node.clone(), erased.unwrap_or(*at));
        if *at < position {
            return Err(RemedyError::NotPast { node, found: *at, position });
        }
        if erased < position {
            return Err(RemedyError::NotErased { node, found: erased, position });
        }
    }
    let purged = stream.inner.purge().sequence(position + 1).await;
    Ok(purged.map_err(|error| unreachable(&stream.name, error))?.purged)
}

/// What continuing a stream came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Continued {
    /// The log.
    pub log: String,
    /// The first position of the new stream: right behind the ledger's.
    pub first: u64,
    /// Batches of the old stream that the ledger does not hold, sent again by their ids.
    pub republished: u64,
    /// Messages of the old stream that cannot be read, and why. Nothing of them is in the new one.
    pub left_out: BTreeMap<u64, String>,
    /// Whether the old stream was there, and takes no more messages from now on.
    pub old_sealed: bool,
}

/// Continues a log in a new stream, from the longest good follower: after the old stream lost or changed messages.
///
/// The old stream is sealed. The new one takes messages at least as large, and begins right behind the follower's position; what the old one
/// holds and the follower does not is sent to it again under the same batch and operation ids. Other nodes continue with a copy of this follower's ledger. Given again
/// after a failure, it continues.
///
/// # Errors
/// [`RemedyError`].
pub async fn continue_stream(
    context: &Context,
    old: &str,
    node_dir: &Path,
    new: &Settings,
) -> Result<Continued, RemedyError> {
    let ledger = ReadOnlyLedger::open(node_dir.join("ledger")).map_err(Stop::from)?;
    let Some(followed) = ledger.reader().followed().cloned() else {
        let (expected, found) = (format!("of the stream {old}"), "no log".to_owned());
        return Err(RemedyError::OtherLog { expected, found });
    };
    let (position, first) = (followed.position, followed.position + 1);
    let log = LogName::new(followed.log.clone()).expect("a ledger's log has a name");
    let held = Held::of(&ledger, position, Trail::read(&node_dir.join("trail"))?)?;
    let old = match Stream::open(context, old, 1).await {
        Ok(old) if old.log != log => {
            let (expected, found) = (old.log.to_string(), format!("the log `{log}`"));
            return Err(RemedyError::OtherLog { expected, found });
        }
        Ok(old) => Some(old),
        Err(StreamError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(old) = &old {
        let config = Config { sealed: true, ..old.inner.cached_info().config.clone() };
        context.update_stream(&config).await.map_err(|error| unreachable(&old.name, error))?;
        info!(stream = old.name, "sealed");
    }
    let most = old.as_ref().map_or(0, |old| old.settings().max_message_bytes);
    let new = &Settings { max_message_bytes: new.max_message_bytes.max(most), ..new.clone() };
    let stream = match Stream::open(context, &new.stream, new.replicas).await {
        Ok(stream) if stream.log == log && stream.state().await?.first_sequence == first => {
            if stream.settings().max_message_bytes >= new.max_message_bytes {
                stream
            } else {
                // Begun before, with less room for a message.
                let config = Config {
                    max_message_size: new.max_message_size(),
                    ..stream.inner.cached_info().config.clone()
                };
                context.update_stream(&config).await.map_err(|error| unreachable(&stream.name, error))?;
                Stream::open(context, &new.stream, new.replicas).await?
            }
        }
        Ok(stream) => {
            let last = stream.state().await?.last_sequence;
            return Err(StreamError::Exists { stream: new.stream.clone(), last }.into());
        }
        Err(StreamError::Missing { .. }) => Stream::create_for(context, new, &log, Some(first)).await?,
        Err(error) => return Err(error.into()),
    };
    let mut done =
        Continued { log: log.to_string(), first, old_sealed: old.is_some(), ..Continued::default() };
    let mut again = Vec::new();
    if let Some(old) = &old {
        walk(old, |raw| {
            match read(raw, old) {
                Ok(batch) if held.has(raw, &batch)? => {}
                Ok(batch) => again.push(batch),
                Err(stop) => drop(done.left_out.insert(raw.position, stop.to_string())),
            }
            Ok(())
        })
        .await?;
    }
    let publisher = Publisher::new(stream);
    for batch in again {
        publisher.publish(&batch).await?;
        done.republished += 1;
    }
    info!(log = done.log, first, republished = done.republished, "the log continues in `{}`", new.stream);
    Ok(done)
}

/// What a ledger holds of its log.
struct Held {
    position: u64,
    operations: HashSet<OperationId>,
    trail: Option<Trail>,
}

impl Held {
    fn of(ledger: &ReadOnlyLedger, position: u64, trail: Option<Trail>) -> Result<Held, Stop> {
        let mut operations = HashSet::new();
        ledger.reader().replay(|step| operations.extend(step.record.operation_id()))?;
        Ok(Held { position, operations, trail })
    }

    /// Whether the ledger holds a message: by the digest that it noted at its position, which also tells of batches that were rejected;
    /// or by the ids of its operations. Without either, a policy behind which the ledger is counts as held: setting it again would undo
    /// later ones. So does an erasure: it could take what came later under the same text.
    fn has(&self, raw: &Raw, batch: &Batch) -> Result<bool, Stop> {
        let noted = self.trail.as_ref().map_or(Ok(None), |trail| trail.at(raw.position))?;
        if noted == Some(digest(raw.recorded_at, &raw.payload)) {
            return Ok(true);
        }
        Ok(match &batch.content {
            Content::Begin { .. } => true,
            Content::Policy(_) | Content::Erase(_) => noted.is_none() && raw.position <= self.position,
            Content::Operations(_) => batch.operation_ids().all(|id| self.operations.contains(&id)),
        })
    }
}
