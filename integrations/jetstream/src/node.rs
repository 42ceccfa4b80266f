//! Nodes: one server of many, with a ledger of its own that follows the stream and a publisher into it.

use std::time::Duration;

use async_nats::jetstream::context::Context;
use identity_ledger_shared_log::Status;

use crate::stream::{Stream, StreamError};

pub use identity_ledger_shared_log::node::NodeOptions;

/// A node at work. Dropped, it stops as if it was killed; `close` ends it in order.
pub type Node = identity_ledger_shared_log::Node<Stream>;

/// Listens for a while to what nodes say of themselves: the newest word of each, by name.
///
/// # Errors
/// [`StreamError::Unreachable`].
pub async fn statuses(context: &Context, stream: &str, wait: Duration) -> Result<Vec<Status>, StreamError> {
    identity_ledger_shared_log::node::statuses::<Stream>(context, stream, wait).await
}
