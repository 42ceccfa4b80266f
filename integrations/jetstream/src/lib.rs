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
//! | file | what it is for |
//! |---|---|
//! | `message.rs`, `wire.rs` | the message format |
//! | `connect.rs` | who a client is |
//! | `stream.rs` | streams: created safely, refused if unsafe |
//! | `publisher.rs` | batches into the stream |
//! | `follower.rs` | the stream into a ledger |
//! | `peers.rs` | what nodes say of their chains: acknowledgements, and the health check |
//! | `trail.rs` | the digest of each message, beside the ledger |
//! | `node.rs` | one server: a follower and a publisher |
//! | `remedy.rs` | what an operator does: compare, purge, continue a stream that lost messages |
//! | `stop.rs` | why a node stops |

mod connect;
pub mod follower;
pub mod message;
pub mod node;
pub mod peers;
pub mod publisher;
pub mod remedy;
pub mod stop;
pub mod stream;
mod trail;
mod wire;

/// The client, in the version that this crate uses.
pub use async_nats;

pub use connect::{connect_options, shown};
pub use follower::{Applied, BatchResult};
pub use message::{Batch, BatchError, BatchId};
pub use node::{Node, NodeOptions};
pub use peers::Status;
pub use publisher::{PublishError, Published, Publisher, context};
pub use stop::Stop;
pub use stream::{Settings, Stream, StreamError, UnsafeStream};
