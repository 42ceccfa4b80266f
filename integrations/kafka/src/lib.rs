//! Many servers, one order: identity ledgers that follow a topic of Apache Kafka's protocol.
//!
//! The topic carries requests and gives them an order: it has one partition. Each node records them in a ledger of its own, so every node
//! answers, and every node takes batches. The ledgers' chains are the truth; the topic is order and transport, and is not believed: what it
//! loses or changes is noticed by name ([`Stop`]), and a batch counts as recorded only once followers have it in their own chains.
//!
//! `docs/scale.md` says when one machine is enough, how to operate this, what it promises, and what was not tested.
//!
//! ```no_run
//! use identity_ledger::{DistinctId, Operation, Policy, Tenant, Timestamp};
//! use identity_ledger_kafka::{Batch, Client, ClientOptions, Node, NodeOptions, Settings, Topic};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&ClientOptions::new("127.0.0.1:9092"))?;
//! Topic::create(&client, &Settings::new("shop"), Tenant::default(), Policy::default()).await?;
//! let node = Node::start(client, NodeOptions::new("node-1", "/var/lib/shop", "shop")).await?;
//!
//! let at = Timestamp::from_micros(0)?;
//! let batch = Batch::new(vec![Operation::properties(at, DistinctId::new("ann")?)])?;
//! let applied = node.publish_and_wait(&batch).await?; // an error? send this batch again, here or elsewhere
//! println!("recorded at position {}", applied.position);
//! # Ok(())
//! # }
//! ```
//!
//! What does not know Kafka stands in `identity-ledger-shared-log`: the message format, followers, nodes and their statuses, and why they
//! stop. It calls a topic a stream.
//!
//! | file | what it is for |
//! |---|---|
//! | `client.rs` | the connections of a program |
//! | `settings.rs` | topics: how one is made safely, and what is refused |
//! | `topic.rs` | what followers and publishers need of a topic |
//! | `remedy.rs` | what an operator does: compare, purge, continue a log whose topic lost messages |

mod client;
pub mod remedy;
pub mod settings;
mod topic;

/// The operator's command, as [`Stop::remedy`] wants it.
pub const COMMAND: &str = "identity-ledger-kafka";

/// The client library, in the version that this crate uses.
pub use rdkafka;

pub use identity_ledger_shared_log::{
    Applied, Batch, BatchError, BatchId, BatchResult, NodeOptions, PublishError, Published, Status, Stop,
    StreamError, UnsafeStream, follower, message, peers, stop,
};

pub use client::{Client, ClientOptions};
pub use settings::Settings;
pub use topic::{Messages, Statuses, Topic};

/// A node at work. Dropped, it stops as if it was killed; `close` ends it in order.
pub type Node = identity_ledger_shared_log::Node<Topic>;

/// Sends batches. Cheap to clone; clones share what is on its way.
pub type Publisher = identity_ledger_shared_log::Publisher<Topic>;

/// Listens for a while to what nodes say of themselves: the newest word of each, by name.
///
/// # Errors
/// [`StreamError::Unreachable`].
pub async fn statuses(
    client: &Client,
    topic: &str,
    wait: std::time::Duration,
) -> Result<Vec<Status>, StreamError> {
    identity_ledger_shared_log::node::statuses::<Topic>(client, topic, wait).await
}
