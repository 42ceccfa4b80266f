//! Erasing (H3), on ledgers that lie open: see `tests/support/erasing.rs`.
#![cfg(feature = "testing")]

#[path = "../support/erasing.rs"]
#[allow(clippy::duplicate_mod, reason = "twice: on open ledgers, and on sealed ones")]
mod erasing;

use std::sync::Arc;

use identity_ledger::LedgerOptions;
use identity_ledger::storage::Storage;

const SEALED: bool = false;

fn keyed(options: LedgerOptions<'static>, _: Arc<dyn Storage>, _: &str) -> LedgerOptions<'static> {
    options
}

fn adopting(options: LedgerOptions<'static>) -> LedgerOptions<'static> {
    options
}
