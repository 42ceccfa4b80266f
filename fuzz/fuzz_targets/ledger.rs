//! Any bytes are a history and a disk that fails. The body is `tests/support/fuzz_bodies.rs`, which the stable tests run too.
#![no_main]

#[path = "../../tests/support/fuzz_bodies.rs"]
#[allow(dead_code, reason = "each target runs one body")]
mod fuzz_bodies;

use identity_ledger::testing::history::History;

libfuzzer_sys::fuzz_target!(|input: ([u8; 3], History)| fuzz_bodies::ledger(input.0, input.1));
