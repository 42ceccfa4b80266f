//! Many servers, one order: what identity ledgers that follow a shared log have in common, whatever the log's engine is.
//!
//! A program uses the crate of its engine, `identity-ledger-jetstream` or `identity-ledger-kafka`, which re-export what is here.
//! `docs/scale.md` says when one machine is enough, how to operate many, and what they promise.
//!
//! | file | what it is for |
//! |---|---|
//! | `engine.rs` | what is needed of the servers that keep a log |
//! | `message.rs`, `wire.rs` | the message format |
//! | `publisher.rs` | batches into the stream |
//! | `follower.rs` | the stream into a ledger |
//! | `peers.rs` | what nodes say of their chains: acknowledgements, and the health check |
//! | `trail.rs` | the digest of each message, beside the ledger |
//! | `node.rs` | one server: a follower and a publisher |
//! | `remedy.rs` | what an operator does: compare, purge, and what continuing a stream needs |
//! | `stop.rs` | why a node stops |

pub mod engine;
pub mod follower;
pub mod message;
pub mod node;
pub mod peers;
pub mod publisher;
pub mod remedy;
pub mod stop;
pub mod trail;
mod wire;

pub use engine::{Engine, StreamError};
pub use follower::{Applied, BatchResult};
pub use message::{Batch, BatchError, BatchId};
pub use node::{Node, NodeOptions};
pub use peers::Status;
pub use publisher::{PublishError, Published, Publisher};
pub use stop::{Stop, UnsafeStream};
