//! What an operator does: look for what a topic lost, purge what all followers have, continue a log whose topic lost messages.

use std::collections::BTreeMap;
use std::path::Path;

use identity_ledger::ReadOnlyLedger;
use identity_ledger::follow::LogName;
use identity_ledger_shared_log::engine::Engine;
use identity_ledger_shared_log::follower::read;
use identity_ledger_shared_log::remedy::{Held, check_purge, walk};
use identity_ledger_shared_log::trail::Trail;
use identity_ledger_shared_log::{Batch, Publisher, Status, Stop, StreamError, UnsafeStream};
use rdkafka::Offset;
use tracing::info;

use crate::client::{admin_options, at};
use crate::settings::Settings;
use crate::{Client, Topic};

pub use identity_ledger_shared_log::remedy::{Finding, RemedyError};

/// Compares a topic, message by message, with what a node recorded: for losses in the middle, which followers that are past them do not
/// see. Cost: the topic is read once.
///
/// # Errors
/// [`RemedyError`].
pub async fn compare(topic: &Topic, node_dir: &Path) -> Result<Vec<Finding>, RemedyError> {
    identity_ledger_shared_log::remedy::compare(&topic.client, topic, node_dir).await
}

/// Removes from a topic what all followers have, up to a position. A later node begins with a copy of a follower's ledger. After an erasure
/// the position is that of the erasure: texts stand in the messages before it, and it names ids itself.
///
/// `nodes` names every follower; `statuses` is what they say ([`crate::statuses`]), and one that is heard without being named counts too.
/// A topic is never left empty, for its messages name its log: where all of them are to be removed, an empty batch is sent first.
///
/// # Errors
/// [`RemedyError::Silent`] and `NotPast`, for a node that may need it still, and `NotErased`; nothing is purged then.
pub async fn purge(
    topic: &Topic,
    position: u64,
    nodes: &[String],
    statuses: &[Status],
) -> Result<u64, RemedyError> {
    check_purge(topic.log(), position, nodes, statuses)?;
    let now = || Topic::open(&topic.client, &topic.name, 1);
    let before = now().await?.range();
    if before.last <= position {
        Publisher::new(topic.clone()).publish(&Batch::new(Vec::new()).map_err(StreamError::from)?).await?;
    }
    let unreachable = |why: String| StreamError::unreachable(&topic.name, why);
    let behind = at(&topic.name, Offset::Offset(topic.offset(position + 1)));
    let behind = behind.map_err(|error| unreachable(error.to_string()))?;
    let deleted = topic.client.inner.admin.delete_records(&behind, &admin_options()).await;
    let deleted = deleted.map_err(|error| unreachable(error.to_string()))?;
    let refused = deleted.elements().into_iter().find_map(|of_partition| of_partition.error().err());
    if let Some(error) = refused {
        return Err(unreachable(error.to_string()).into());
    }
    match now().await?.range().first {
        first if first > position => Ok(first - before.first),
        first => Err(unreachable(format!("it still begins at position {first}")).into()),
    }
}

/// What continuing a log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Continued {
    /// The log.
    pub log: String,
    /// The first position of the new topic: right behind the ledger's.
    pub first: u64,
    /// Batches of the old topic that the ledger does not hold, sent again by their ids.
    pub republished: u64,
    /// Messages of the old topic that cannot be read, and why. Nothing of them is in the new one.
    pub left_out: BTreeMap<u64, String>,
    /// Whether the old topic is there. Delete it once this is done: it would still take batches.
    pub old_is_there: bool,
}

/// Continues a log in a new topic, from the longest good follower: after the old topic lost or changed messages. Close every node first, for
/// nothing seals a topic.
///
/// The new topic takes messages at least as large, and begins right behind the follower's position, with an empty batch. What the old one
/// holds and the follower does not is sent to it again under the same batch and operation ids. Other nodes continue with a copy of this
/// follower's ledger. Given again after a failure, it continues.
///
/// # Errors
/// [`RemedyError`].
pub async fn continue_topic(
    client: &Client,
    old: &str,
    node_dir: &Path,
    new: &Settings,
) -> Result<Continued, RemedyError> {
    let ledger = ReadOnlyLedger::open(node_dir.join("ledger")).map_err(Stop::from)?;
    let other = |expected: String, found: String| RemedyError::OtherLog { expected, found };
    let Some(followed) = ledger.reader().followed().cloned() else {
        return Err(other(format!("of the topic {old}"), "no log".to_owned()));
    };
    let (position, first) = (followed.position, followed.position + 1);
    let log = LogName::new(followed.log.clone()).expect("a ledger's log has a name");
    let held = Held::of(&ledger, position, Trail::read(&node_dir.join("trail"))?)?;
    let old = match Topic::open(client, old, 1).await {
        Ok(old) if old.log != log => return Err(other(old.log.to_string(), format!("the log `{log}`"))),
        Ok(old) => Some(old),
        Err(StreamError::Missing { .. } | StreamError::Unsafe(UnsafeStream { setting: "messages", .. })) => {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let most = new.max_message_bytes.max(old.as_ref().map_or(0, |old| old.room().most));
    let new = Settings { max_message_bytes: most, ..new.clone() };
    let topic = match Topic::open(client, &new.topic, new.replicas).await {
        Ok(topic) if topic.log == log && topic.base == first => topic, // begun before
        Ok(topic) => {
            let (stream, last) = (new.topic.clone(), topic.range().last);
            return Err(StreamError::Exists { stream, last }.into());
        }
        Err(_) => {
            let empty = Batch::new(Vec::new()).map_err(StreamError::from)?;
            Topic::begin(client, &new, &log, first, &empty).await?
        }
    };
    let (old_is_there, log) = (old.is_some(), log.to_string());
    let mut done = Continued { log, first, old_is_there, ..Continued::default() };
    let mut again = Vec::new();
    if let Some(old) = &old {
        walk(old, old.range().first, old.range().last, |raw| {
            match read(raw, &old.log) {
                Ok(batch) if held.has(raw, &batch)? => {}
                Ok(batch) => again.push(batch),
                Err(stop) => drop(done.left_out.insert(raw.position, stop.to_string())),
            }
            Ok(())
        })
        .await?;
    }
    let publisher = Publisher::new(topic);
    for batch in again {
        publisher.publish(&batch).await?;
        done.republished += 1;
    }
    info!(log = done.log, first, republished = done.republished, "the log continues in `{}`", new.topic);
    Ok(done)
}
