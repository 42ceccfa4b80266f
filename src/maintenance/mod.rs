//! For a stranger and for a bad day: audit, backup, salvage. Nothing here repairs a ledger where it lies.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod finding;
pub(crate) mod salvage;
