//! Many servers, one order: what identity ledgers that follow a shared log have in common, whatever the log's engine is.
//!
//! A program uses the crate of its engine, `identity-ledger-jetstream` or `identity-ledger-kafka`, which re-export what is here.
//! `docs/scale.md` says when one machine is enough, how to operate many, and what they promise.
//!
//! | file | what it is for |
//! |---|---|
//! | `message.rs`, `wire.rs` | the message format |
//! | `peers.rs` | what nodes say of their chains: acknowledgements, and the health check |
//! | `trail.rs` | the digest of each message, beside the ledger |
//! | `stop.rs` | why a node stops |

pub mod message;
pub mod peers;
pub mod stop;
pub mod trail;
mod wire;
