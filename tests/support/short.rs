//! Short words for tests that write small ledgers by hand.

use identity_ledger::*;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).unwrap()
}

pub(crate) fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

pub(crate) fn new_ledger() -> Ledger {
    Ledger::in_memory(Tenant::default(), Policy::default()).unwrap()
}
