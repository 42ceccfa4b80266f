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

/// The answers to the operations of a batch, in their order; `T` is what one operation is answered.
///
/// An append that returns `Ok` may still have refused each of its operations: so these are not to be dropped unread.
///
/// ```
/// # use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// # let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// # let at = Timestamp::from_micros(0)?;
/// let ann = DistinctId::new("ann")?;
/// let answers = ledger.append_batch(&[Operation::alias(at, ann, Source::new("null"))])?;
/// for (index, appended) in answers.iter().enumerate() {
///     if let Some(refusal) = appended.outcome().and_then(|outcome| outcome.refusal) {
///         println!("operation {index} is refused by rule {}", refusal.rule());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "operations can be refused, or not be recorded at all, without an error: look at each answer"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<T = Appended>(Vec<T>);

impl<T> Answers<T> {
    pub(crate) fn new(answers: Vec<T>) -> Answers<T> {
        Answers(answers)
    }

    /// Goes through the answers.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// How many operations are answered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no operation was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> std::ops::Index<usize> for Answers<T> {
    type Output = T;

    /// # Panics
    /// If there was no such operation.
    fn index(&self, index: usize) -> &T {
        &self.0[index]
    }
}

impl<T> IntoIterator for Answers<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Answers<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
