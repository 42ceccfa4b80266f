//! For tests of this crate and of yours.
//!
//! | | |
//! |---|---|
//! | [`check()`] | everything that can be said against a ledger from its bytes |
//! | [`laws`] | what must hold for every history, under your policy |
//! | [`history`] | made-up histories, from a seed or from a fuzzer's bytes |
//! | [`reference`] | the rules once more, in sets and maps |
//! | [`notation`] | histories written down so that people can read them |
//! | [`workload`] | traffic of made-up people, as long as a disk is large |
//! | [`disk`] | a disk that tells the visible from the durable, and fails when told to |
//! | [`chance`] | seeded chance |
//!
//! `examples/handler.rs` shows a server's author at work with them.

pub mod chance;
mod check;
pub mod disk;
pub mod history;
pub mod laws;
pub mod notation;
pub mod reference;
pub mod workload;

pub use check::{Checked, Unsound, check, differences};
