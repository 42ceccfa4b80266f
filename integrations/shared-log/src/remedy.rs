//! What an operator does with any engine: look for what a stream lost, and see whether all followers are past what is to be purged.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use identity_ledger::follow::LogName;
use identity_ledger::{OperationId, ReadOnlyLedger};

use crate::engine::{Engine, Failure, Range, Raw, StreamError};
use crate::message::{Batch, Content};
use crate::peers::Status;
use crate::publisher::PublishError;
use crate::stop::Stop;
use crate::trail::{Trail, digest};

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
pub async fn compare<E: Engine>(
    handle: &E::Handle,
    stream: &E,
    node_dir: &Path,
) -> Result<Vec<Finding>, RemedyError> {
    let (position, _) = followed(node_dir, stream.log())?;
    let trail = Trail::read(&node_dir.join("trail"))?;
    let Range { first, last, .. } = E::open(handle, stream.name(), 1).await?.range();
    let (mut next, mut findings) = (first, Vec::new());
    walk(stream, first, last, |raw| {
        findings.extend((next..raw.position).map(Finding::Lost));
        next = raw.position + 1;
        let noted = trail.as_ref().map_or(Ok(None), |trail| trail.at(raw.position))?;
        if noted.is_some_and(|noted| noted != digest(raw.recorded_at, &raw.payload)) {
            findings.push(Finding::Differs(raw.position));
        }
        Ok(())
    })
    .await?;
    findings.extend((next..=last).map(Finding::Lost));
    if last < position {
        findings.push(Finding::CutBack(last));
    }
    Ok(findings)
}

/// How long nothing may come from a stream that has more: the last messages may be lost on their way.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How often a reading of a stream is begun again without coming further, before it is given up.
const MAX_ATTEMPTS: u32 = 60;

/// Shows every message that a stream has between two positions, in order. One that did not come is asked for by its number: a connection
/// may lose messages on their way, and that must not look like a loss of the stream.
///
/// # Errors
/// [`RemedyError`].
pub async fn walk<E: Engine>(
    stream: &E,
    first: u64,
    last: u64,
    mut each: impl FnMut(&Raw) -> Result<(), Stop>,
) -> Result<(), RemedyError> {
    let (mut next, mut attempts) = (first, 0);
    while next <= last {
        let before = next;
        let ended = walk_from(stream, &mut next, last, &mut each).await;
        attempts = if next > before { 0 } else { attempts + 1 };
        match ended {
            Ok(()) => {}
            Err(Failure::Unreachable(_)) if attempts < MAX_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(Failure::Unreachable(why)) => return Err(StreamError::unreachable(stream.name(), why).into()),
            Err(Failure::Stop(stop) | Failure::Doubtful(stop)) => return Err(stop.into()),
        }
    }
    Ok(())
}

async fn walk_from<E: Engine>(
    stream: &E,
    next: &mut u64,
    last: u64,
    each: &mut impl FnMut(&Raw) -> Result<(), Stop>,
) -> Result<(), Failure> {
    let mut messages = stream.read_from(*next).await?;
    while *next <= last {
        let Ok(Ok(raw)) = tokio::time::timeout(MAX_SILENCE, E::next(&mut messages)).await else { break };
        ask_for(stream, next, last.min(raw.position - 1), each).await?;
        if raw.position == *next && *next <= last {
            each(&raw)?;
            *next += 1;
        }
    }
    ask_for(stream, next, last.min(*next), each).await // if there is one more, it did not come
}

/// Asks for the messages up to a position by their numbers.
async fn ask_for<E: Engine>(
    stream: &E,
    next: &mut u64,
    until: u64,
    each: &mut impl FnMut(&Raw) -> Result<(), Stop>,
) -> Result<(), Failure> {
    while *next <= until {
        if let Some(raw) = stream.message(*next).await? {
            each(&raw)?;
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

/// Checks that every follower has a log up to a position, and has taken out of its files what was erased up to there.
///
/// `nodes` names every follower; `statuses` is what they say, and one that is heard without being named counts too.
///
/// # Errors
/// [`RemedyError::Silent`] and `NotPast`, for a node that may need it still, and `NotErased`.
pub fn check_purge(
    log: &LogName,
    position: u64,
    nodes: &[String],
    statuses: &[Status],
) -> Result<(), RemedyError> {
    let heard: Vec<&Status> = statuses.iter().filter(|status| status.log == log.as_str()).collect();
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
    Ok(())
}

/// What a ledger holds of its log.
#[derive(Debug)]
pub struct Held {
    position: u64,
    operations: HashSet<OperationId>,
    trail: Option<Trail>,
}

impl Held {
    /// Reads the ledger.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn of(ledger: &ReadOnlyLedger, position: u64, trail: Option<Trail>) -> Result<Held, Stop> {
        let mut operations = HashSet::new();
        ledger.reader().replay(|step| operations.extend(step.record.operation_id()))?;
        Ok(Held { position, operations, trail })
    }

    /// Whether the ledger holds a message: by the digest that it noted at its position, which also tells of batches that were rejected;
    /// or by the ids of its operations. Without either, a policy behind which the ledger is counts as held: setting it again would undo
    /// later ones. So does an erasure: it could take what came later under the same text.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn has(&self, raw: &Raw, batch: &Batch) -> Result<bool, Stop> {
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
