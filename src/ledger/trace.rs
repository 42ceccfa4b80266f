//! What a ledger tells `tracing` of its work, with the feature of that name; without it these functions do nothing. No event holds a text,
//! a value or a property key: what is known of persons does not leave the ledger through a program's own log.
#![cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]

use std::fmt::Display;
use std::io;

use crate::ledger::recovery::Recovery;
use crate::model::id::LedgerId;

#[cfg(feature = "tracing")]
const TARGET: &str = "identity_ledger";

/// Opened for writing, and what opening found.
pub(crate) fn opened(ledger: LedgerId, records: u64, recovery: &Recovery) {
    #[cfg(feature = "tracing")]
    {
        let Recovery { from_snapshot, erasures_pending, .. } = recovery;
        tracing::info!(target: TARGET, %ledger, records, from_snapshot, erasures_pending, "opened");
        if let Some(torn) = &recovery.torn {
            tracing::warn!(target: TARGET, %ledger, bytes = torn.bytes, "the end of the log was torn and is cut off");
        }
        for ignored in &recovery.snapshots_ignored {
            tracing::warn!(target: TARGET, %ledger, "{ignored}");
        }
        if let Some(error) = &recovery.keys_not_stored {
            tracing::warn!(target: TARGET, %ledger, error, "the key ring cannot be stored");
        }
    }
}

/// A frame was written, and is not known to be durable yet.
pub(crate) fn frame_written(ledger: LedgerId, first_seq: u64, records: u32, bytes: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, %ledger, first_seq, records, bytes, "frame written");
}

/// The log was to be made durable up to a number of records.
pub(crate) fn synced(ledger: LedgerId, records: u64, synced: &io::Result<()>) {
    #[cfg(feature = "tracing")]
    match synced {
        Ok(()) => tracing::debug!(target: TARGET, %ledger, records, "durable"),
        Err(error) => {
            tracing::error!(target: TARGET, %ledger, records, %error, "not durable: nothing is written any more")
        }
    }
}

/// A snapshot was to be made.
pub(crate) fn snapshot(ledger: LedgerId, records: u64, made: Result<(), &impl Display>) {
    #[cfg(feature = "tracing")]
    match made {
        Ok(()) => tracing::info!(target: TARGET, %ledger, records, "snapshot made"),
        Err(error) => tracing::warn!(target: TARGET, %ledger, records, %error, "snapshot not made"),
    }
}

/// Erasures are recorded: from here on nothing shows what is erased.
pub(crate) fn erasing(ledger: LedgerId, erasures: usize) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, %ledger, erasures, "erasing");
}

/// What was erased is in no file any more.
pub(crate) fn erased(ledger: LedgerId, erasures: usize) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, %ledger, erasures, "erased from every file");
}
