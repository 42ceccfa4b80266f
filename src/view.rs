//! Views: what a log meant now, right after one of its records, or under another policy. A [`Diff`](crate::Diff) is found
//! between two of them. A view answers nothing by itself that a book cannot answer; it only holds still.

use std::borrow::Cow;

use crate::book::{Book, Resolution};
use crate::id::{OperationId, PersonId, Seq};
use crate::log::Fault;
use crate::record::{IdNo, Other};
use crate::row::Record;
use crate::state::{Outcome, PersonNo, Refusal, State};

/// What a log meant: now, right after one of its records, or under another policy.
///
/// Views come from [`Book::view`], [`Book::view_as_of`] and [`WhatIf::view`](crate::WhatIf::view).
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) book: &'a Book,
    pub(crate) state: Cow<'a, State>,
    /// What was refused up to here, by record, if whoever made the view walked through the log anyway.
    pub(crate) refused: Option<Vec<Refused>>,
}

/// An operation whose link was refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) seq: u32,
    pub(crate) op: &'static str,
    pub(crate) id: IdNo,
    pub(crate) other: Option<IdNo>,
    pub(crate) operation_id: Option<OperationId>,
    pub(crate) time: i64,
    pub(crate) refusal: Refusal,
}

impl Refused {
    /// `None` if it was not.
    pub(crate) fn of(record: Record<'_>, outcome: &Outcome) -> Option<Refused> {
        let refusal = outcome.refusal?;
        let row = record.row;
        let other = match row.other() {
            Other::Id(id) => Some(id),
            Other::None | Other::Unstorable => None,
        };
        let (op, operation_id) = (record.body().name(), record.operation_id());
        Some(Refused { seq: row.seq, op, id: row.id, other, operation_id, time: record.time(), refusal })
    }
}

impl Book {
    /// What the log means now.
    pub fn view(&self) -> View<'_> {
        View { book: self, state: Cow::Borrowed(self.state()), refused: None }
    }

    /// What the log meant right after record `seq`; after the last one it is [`Book::view`]. Cost: a replay up to there.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn view_as_of(&self, seq: Seq) -> Result<View<'_>, Fault> {
        let records = seq.0.saturating_add(1);
        if records >= self.checkpoint().records {
            return Ok(self.view());
        }
        let (mut state, mut refused) = (None, Vec::new());
        self.replay_first(records, |step| {
            refused.extend(step.outcome.and_then(|outcome| Refused::of(step.record, outcome)));
            if step.record.seq() == seq {
                state = Some(step.state.clone());
            }
        })?;
        let state = Cow::Owned(state.expect("a walk through the first records meets the last of them"));
        Ok(View { book: self, state, refused: Some(refused) })
    }
}

impl View<'_> {
    /// The state, in numbers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many records it is of.
    pub fn records(&self) -> u64 {
        self.state.records()
    }

    /// Whether a record counts here.
    pub(crate) fn has(&self, seq: Seq) -> bool {
        seq.0 < self.records()
    }

    pub(crate) fn person_id(&self, person: PersonNo) -> PersonId {
        self.book.person_id_of(self.state.founding(person))
    }

    /// Who an id is here.
    pub(crate) fn whose(&self, id: IdNo) -> Resolution {
        let person = self.state.person(id);
        let founding = person.map_or(id, |person| self.state.founding(person));
        Resolution { person_id: self.book.person_id_of(founding), implied: person.is_none() }
    }
}
