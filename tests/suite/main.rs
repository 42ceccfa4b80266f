//! The integration tests, one program: it is linked once. `cargo test --all-features --test suite -- golden::` runs those of one file.
//! Programs of their own are `laws`, `house`, `campaign` and `fuzz_bodies`: docs/testing.md says why.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod concurrent;
mod corrections;
mod deep_link;
mod detached;
mod determinism;
mod directory;
mod erasure;
mod examples;
mod explain;
mod export;
mod follow;
mod follow_erase;
mod forged;
mod format;
mod golden;
mod history;
mod import;
mod key_ring;
mod kinds;
mod kit;
mod ledger;
mod mapping;
mod merge_cases;
mod order_of_checks;
mod proofs;
mod recorded_at;
mod refresh;
mod relative;
mod request;
mod salvage;
mod scenarios;
mod sdk_cases;
mod sealed;
mod shared;
mod shared_ids;
mod snapshot;
#[cfg(feature = "tracing")]
mod trace;
mod undo;
mod vendors;
mod verify;
mod what_if;
mod why;
mod whynot;
