//! Any bytes are a history with erasures. The body is `tests/support/fuzz_bodies.rs`, which the stable tests run too.
#![no_main]

#[path = "../../tests/support/fuzz_bodies.rs"]
#[allow(dead_code, reason = "each target runs one body")]
mod fuzz_bodies;

use identity_ledger::testing::history::History;

libfuzzer_sys::fuzz_target!(|history: History| fuzz_bodies::erase(&history));
