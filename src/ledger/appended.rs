//! What became of an operation.

use crate::fold::Outcome;
use crate::model::id::Seq;

/// What became of an operation.
#[must_use = "an operation can be refused, or not be recorded at all, without an error: look at the outcome"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is recorded, and this is what it did or was refused.
    Recorded {
        /// The operation's record.
        seq: Seq,
        /// What it did.
        outcome: Outcome,
    },
    /// It was recorded before, word for word (G4). Nothing was written.
    Duplicate {
        /// The earlier record of the same operation.
        seq: Seq,
    },
    /// Another operation was recorded under its id (G4). Nothing was written.
    Conflict {
        /// The earlier record that has the same operation id.
        seq: Seq,
    },
    /// Its device said just that before (F3). Nothing was written.
    Ignored,
}

impl Appended {
    /// What an operation is whose id record `seq` has, whether or not it says the same.
    pub(crate) fn again(seq: Seq, same: bool) -> Appended {
        if same { Appended::Duplicate { seq } } else { Appended::Conflict { seq } }
    }

    /// What the operation did, if it was recorded.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Appended::Recorded { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// The record, of this operation or of the one before it.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Appended::Recorded { seq, .. } | Appended::Duplicate { seq } | Appended::Conflict { seq } => {
                Some(*seq)
            }
            Appended::Ignored => None,
        }
    }
}
