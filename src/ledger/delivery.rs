//! Deliveries: what stands at a position of a log that a ledger follows, and what became of it.

use crate::ledger::appended::Appended;
use crate::ledger::error::{AppendError, EraseError};
use crate::log::body::{Body, Followed};
use crate::model::id::{LedgerId, LogName};
use crate::model::time::Timestamp;
use crate::store::entropy::{Entropy, SeededEntropy};

/// What stands at a position of a log, but for its content. All that a follower would else decide by itself comes with it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The name of the log.
    pub log: &'a LogName,
    /// Its place in the log. Positions ascend; there may be gaps.
    pub position: u64,
    /// When it was recorded there. The frame has this time, or that of the frame before if it is later.
    pub recorded_at: Timestamp,
    /// Where salts and generated ids come from. The publisher draws it. Anyone who knows it can guess the salts.
    pub seed: [u8; 32],
}

impl Delivery<'_> {
    pub(crate) fn entropy(&self) -> SeededEntropy {
        SeededEntropy::from_bytes(self.seed)
    }

    /// How a ledger begins that is created by it.
    pub(crate) fn beginning(&self) -> Beginning {
        let bytes = (&mut self.entropy() as &mut dyn Entropy).array();
        let ledger = LedgerId(uuid::Builder::from_random_bytes(bytes).into_uuid());
        Beginning { ledger, recorded_at: self.recorded_at, record: self.record() }
    }

    pub(crate) fn record(&self) -> Body {
        Body::Followed(Box::new(Followed { log: self.log.to_string(), position: self.position }))
    }
}

/// Where salts and generated ids come from, and nonces if from elsewhere: what a log delivers brings its chance with it, but not that of
/// the ciphers, which is one copy's.
pub(crate) fn chance<'e>(
    delivered: &'e mut Option<SeededEntropy>,
    own: &'e mut dyn Entropy,
) -> (&'e mut dyn Entropy, Option<&'e mut dyn Entropy>) {
    match delivered {
        Some(delivered) => (delivered, Some(own)),
        None => (own, None),
    }
}

/// How a ledger begins that follows a log: what its followers have in common. Keys are not among it.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) ledger: LedgerId,
    pub(crate) recorded_at: Timestamp,
    pub(crate) record: Body,
}

/// What became of a delivery. In each case the ledger is at its position, durably as the ledger's durability says.
#[derive(Debug)]
#[must_use]
pub enum Delivered<T = Vec<Appended>, E = AppendError> {
    /// It was taken: an answer for each operation, as of [`Ledger::append_batch`](crate::Ledger::append_batch); of an erasure its records.
    Taken(T),
    /// It is out of bounds, for every follower alike. The position moved, and nothing else of it is recorded.
    Rejected(E),
}

/// Why a delivery was not taken. The ledger is where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The ledger follows no log.
    #[error(
        "this ledger follows no log, and cannot take what stands at position {position} of `{log}`; create another with `LedgerOptions::follow`"
    )]
    NotAFollower {
        /// The log that something was delivered from.
        log: LogName,
        /// Its position there.
        position: u64,
    },
    /// The ledger follows another log.
    #[error("this ledger follows the log `{expected}`; found a delivery of `{found}`")]
    OtherLog {
        /// The log that the ledger follows.
        expected: String,
        /// The log that something was delivered from.
        found: LogName,
    },
    /// The position is not behind the ledger's: this was delivered before, or out of order.
    #[error(
        "the ledger holds the log `{log}` up to position {position}; found a delivery of position {found}: pass over it, and continue behind {position}"
    )]
    NotForward {
        /// The name of the log.
        log: LogName,
        /// Up to where it is in the ledger.
        position: u64,
        /// What was delivered.
        found: u64,
    },
    /// The ledger could not write it. Reopen the ledger, ask it for its position, and continue behind that.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// This copy cannot erase now, as its key ring or its log is. Once that is put right, it can be delivered again.
    #[error(transparent)]
    Erase(EraseError),
}
