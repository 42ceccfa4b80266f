//! Many servers, one order: identity ledgers that follow a NATS JetStream.
//!
//! The stream carries requests and gives them an order. Each node records them in a ledger of its own, so every node answers, and every
//! node takes batches. The ledgers' chains are the truth; the stream is order and transport, and is not believed: what it loses or changes
//! is noticed by name ([`Stop`]), and a batch counts as recorded only once followers have it in their own chains.
//!
//! `docs/scale.md` says when one machine is enough, how to operate this, and what it promises.
//!
//! ```no_run
//! use identity_ledger::{DistinctId, Operation, Policy, Tenant, Timestamp};
//! use identity_ledger_jetstream::{Batch, Node, NodeOptions, Settings, Stream, context};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = async_nats::connect("nats://127.0.0.1:4222").await?;
//! Stream::create(&context(client.clone()), &Settings::new("shop"), Tenant::default(), Policy::default()).await?;
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
//! What does not know NATS stands in `identity-ledger-shared-log`: the message format, followers, nodes and their statuses, and why they stop.
//!
//! | file | what it is for |
//! |---|---|
//! | `connect.rs` | who a client is |
//! | `stream.rs` | streams: created safely, refused if unsafe; what followers and publishers need of them |
//! | `publisher.rs` | batches into the stream |
//! | `node.rs` | one server: a follower and a publisher |
//! | `remedy.rs` | what an operator does: compare, purge, continue a stream that lost messages |

mod connect;
pub mod node;
pub mod publisher;
pub mod remedy;
pub mod stream;

/// The operator's command, as [`Stop::remedy`] wants it.
pub const COMMAND: &str = "identity-ledger-jetstream";

/// The client, in the version that this crate uses.
pub use async_nats;

pub use identity_ledger_shared_log::{follower, message, peers, stop};

pub use connect::{connect_options, shown};
pub use follower::{Applied, BatchResult};
pub use message::{Batch, BatchError, BatchId};
pub use node::{Node, NodeOptions};
pub use peers::Status;
pub use publisher::{PublishError, Published, Publisher, context};
pub use stop::{Stop, UnsafeStream};
pub use stream::{Settings, Stream, StreamError};
