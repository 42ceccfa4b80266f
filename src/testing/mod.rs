//! For tests of this crate and of yours.
//!
//! | | |
//! |---|---|
//! | [`check()`] | everything that can be said against a ledger from its bytes |
//! | [`laws`] | what must hold for every history, under your policy |
//! | [`history`] | made-up histories, from a seed or from a fuzzer's bytes |
//! | [`mod@reference`] | the rules once more, in sets and maps |
//! | [`notation`] | histories written down so that people can read them |
//! | [`workload`] | traffic of made-up people, as long as a disk is large |
//! | [`disk`] | a disk that tells the visible from the durable, and fails when told to |
//! | [`chance`] | seeded chance |
//!
//! With the feature `arbitrary` a [`history::History`], a [`crate::Policy`] and a [`crate::Operation`] are arguments of a fuzz target.
//! `examples/handler.rs` shows a server's author at work with them.

#[cfg(feature = "arbitrary")]
mod arbitrary;
pub mod chance;
mod check;
pub mod disk;
pub mod history;
pub mod laws;
pub mod notation;
pub mod reference;
pub mod workload;

pub use check::{Checked, Unsound, check, differences};

/// Reads stored bytes and writes them again, for tests that hold one spelling against another: one record's body, or one
/// property value, from the front of `bytes`. Gives how many bytes it took and what it is written as; `None` if it is none.
pub fn rewritten(kind: Stored, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    match kind {
        Stored::Body => {
            let body = crate::log::decode::bodies(bytes).next()?.ok()?;
            let written = crate::log::encode::BodyWriter::of(&[body]);
            Some((written.len(), written))
        }
        Stored::Value => {
            let mut at = 0;
            let value = crate::log::item::read_value(bytes, &mut at).ok()?;
            let mut written = Vec::new();
            crate::log::item::write_value(&value, &mut written);
            Some((at, written))
        }
    }
}

/// What bytes are read as by [`rewritten`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The body of a record.
    Body,
    /// A property value.
    Value,
}
