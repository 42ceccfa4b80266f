//! Reads an input of which every line must be good.

use identity_ledger::import::{Format, Importer, Options};
use identity_ledger::{Operation, Policy};

/// The operations of `input`, in order.
pub(crate) fn operations(input: &str, format: Format, policy: &Policy) -> Vec<Operation> {
    let options = Options { format, ..Options::from(policy) };
    let parsed = Importer::new(input.as_bytes(), options).map(|parsed| {
        let parsed = parsed.expect("text in memory can be read");
        parsed.operation.unwrap_or_else(|rejection| panic!("line {}: {rejection}", parsed.line))
    });
    parsed.collect()
}
