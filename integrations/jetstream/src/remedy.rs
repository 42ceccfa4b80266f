//! What an operator does: look for what a stream lost, purge what all followers have, continue a stream that lost messages.

use std::collections::BTreeMap;
use std::path::Path;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::Config;
use identity_ledger::ReadOnlyLedger;
use identity_ledger::follow::LogName;
use identity_ledger_shared_log::follower::read;
use identity_ledger_shared_log::remedy::{Held, check_purge, walk};
use identity_ledger_shared_log::trail::Trail;
use identity_ledger_shared_log::{Status, Stop};
use tracing::info;

use crate::publisher::Publisher;
use crate::stream::{Settings, Stream, StreamError};

pub use identity_ledger_shared_log::remedy::{Finding, RemedyError};

/// Compares a stream, message by message, with what a node recorded: for losses in the middle, which followers that are past them do not
/// see. Cost: the stream is read once.
///
/// # Errors
/// [`RemedyError`].
pub async fn compare(stream: &Stream, node_dir: &Path) -> Result<Vec<Finding>, RemedyError> {
    identity_ledger_shared_log::remedy::compare(&stream.context, stream, node_dir).await
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
    check_purge(&stream.log, position, nodes, statuses)?;
    let purged = stream.inner.purge().sequence(position + 1).await;
    Ok(purged.map_err(|error| StreamError::unreachable(&stream.name, error))?.purged)
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
        context.update_stream(&config).await.map_err(|error| StreamError::unreachable(&old.name, error))?;
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
                context
                    .update_stream(&config)
                    .await
                    .map_err(|error| StreamError::unreachable(&stream.name, error))?;
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
        let state = old.state().await?;
        walk(old, state.first_sequence, state.last_sequence, |raw| {
            match read(raw, &old.log) {
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
