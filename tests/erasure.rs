//! Erasing (H3), on ledgers that lie open: see `tests/support/erasing.rs`.
#![cfg(feature = "testing")]

#[path = "support/erasing.rs"]
mod erasing;
#[path = "support/markers.rs"]
mod markers;

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
