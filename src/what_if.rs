//! What-if: what a log would mean if another policy had held from its first record on (H4). The records are taken as they are;
//! nothing is written.

use std::borrow::Cow;

use crate::book::Book;
use crate::content::Name;
use crate::diff::Diff;
use crate::log::Fault;
use crate::mention::Unmentioned;
use crate::policy::{FirstMention, Policy, PolicyError};
use crate::record::IdNo;
use crate::row::{Kind, Record, Row};
use crate::state::{Outcome, State};
use crate::view::{Refused, View};

/// What a log would mean under another policy, and in what that differs from what it means.
#[derive(Clone, Debug)]
pub struct WhatIf<'a> {
    diff: Diff,
    view: View<'a>,
}

/// Why a question about another policy has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhatIfError {
    /// The policy is out of its bounds.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The log cannot be read back.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl WhatIf<'_> {
    /// From what the log means to what it would mean.
    pub fn diff(&self) -> &Diff {
        &self.diff
    }

    /// The log under that policy.
    pub fn view(&self) -> &View<'_> {
        &self.view
    }
}

impl Book {
    /// What the log would mean if `policy` had held from its first record on, instead of the policies in it (H4).
    ///
    /// Each id gets the class that its text and first mention have under `policy` (B4); one whose text is erased keeps the class
    /// it has, and [`Diff::classes_kept`] names it. The records stay as they are: what a device's call was resolved to when it
    /// was appended (`dialect`, `person_profiles`: F3, F8), and what an importer lifted or kept (E7), is not asked again.
    ///
    /// Cost: one replay that folds twice, and [`Diff::between`].
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Preset, Source, Tenant, Timestamp};
    ///
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// // One browser, and two people who sign in on it.
    /// for user in ["ann", "bob"] {
    ///     ledger.append(Operation::identify(at, DistinctId::new(user)?, Some(Source::new("browser"))))?;
    /// }
    /// let what_if = ledger.what_if(&Policy::preset(Preset::OneUser))?;
    /// let split = &what_if.diff().split[0];
    /// assert_eq!(split.into.len(), 2);
    /// assert_eq!(what_if.diff().refusals[0].after.as_ref().unwrap().rule, "D9");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`WhatIfError`]: the policy is out of its bounds, or the log cannot be read back.
    pub fn what_if(&self, policy: &Policy) -> Result<WhatIf<'_>, WhatIfError> {
        policy.check()?;
        let mut supposed = Supposed::new(self, policy);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        self.replay(|step| {
            let there = supposed.fold(step.record);
            before.extend(step.outcome.and_then(|outcome| Refused::of(step.record, outcome)));
            after.extend(there.and_then(|outcome| Refused::of(step.record, &outcome)));
        })?;
        let (state, classes_kept) = supposed.finish();
        let now = View { refused: Some(before), ..self.view() };
        let view = View { book: self, state: Cow::Owned(state), refused: Some(after) };
        let diff = Diff { classes_kept, ..Diff::between(&now, &view)? };
        Ok(WhatIf { diff, view })
    }
}

/// A fold under another policy.
struct Supposed<'a> {
    book: &'a Book,
    policy: &'a Policy,
    state: State,
    unmentioned: Unmentioned,
    /// Ids whose text is erased.
    kept: Vec<Name>,
}

impl<'a> Supposed<'a> {
    fn new(book: &'a Book, policy: &'a Policy) -> Supposed<'a> {
        let state = State::supposing(policy.clone());
        Supposed { book, policy, state, unmentioned: Unmentioned::default(), kept: Vec::new() }
    }

    fn fold(&mut self, record: Record<'_>) -> Option<Outcome> {
        let row = record.row;
        match row.kind {
            Kind::DefineId => self.unmentioned.id(IdNo(self.state.ids().len() as u32)), // MAX_RECORDS bounds them
            Kind::DefineDevice => self.unmentioned.device(row.id),
            Kind::DefineKey | Kind::DefineName => {}
            _ if self.unmentioned.is_empty() => {}
            _ => self.classify(Some(row)),
        }
        self.state.apply(record)
    }

    /// Decides anew the classes of the ids that `next` mentions first.
    fn classify(&mut self, next: Option<&Row>) {
        let Supposed { book, policy, state, unmentioned, kept } = self;
        unmentioned.settle(next, |id, mention: FirstMention| match book.id_text(id) {
            Some(text) => state.reclassify(id, policy.classify(text, mention)),
            None => kept.push(book.id_named(id)),
        });
    }

    fn finish(mut self) -> (State, Vec<Name>) {
        self.classify(None);
        (self.state, self.kept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::Walk;
    use crate::{DistinctId, LedgerOptions, Memory, Operation, Preset, Source, Tenant, Timestamp};

    /// An erased id says no more what it was, and its class was decided from that: it stays (B4, H4).
    #[test]
    fn ids_whose_text_is_erased_keep_their_class_and_are_named() {
        let storage = Arc::new(Memory::new());
        let ledger = LedgerOptions::new().create_in(storage.clone(), Tenant::default(), Policy::default());
        let mut ledger = ledger.unwrap();
        let (at, id) = (Timestamp::from_micros(0).unwrap(), |text: &str| DistinctId::new(text).unwrap());
        for user in ["ann", "bob"] {
            let identify = Operation::identify(at, id(user), Some(Source::new("browser")));
            assert!(ledger.append(identify).is_ok());
        }
        let blocking = Policy { blocked_ids: ["bob".to_owned()].into(), ..Policy::default() };
        let mut book = Book::begin(storage, ledger.identity.clone()).unwrap();
        let walk = Walk { commitments: true, upto: None, witnesses: &[], progress: &mut |_| {} };
        book.fold(walk).unwrap();
        let split = |book: &Book| book.what_if(&blocking).unwrap().diff().split.len();
        assert_eq!(split(&book), 1, "bob is unmergeable under this policy");

        let texts: Vec<Option<String>> = book
            .state()
            .ids()
            .map(|id| book.id_text(id).filter(|text| *text != "bob").map(str::to_owned))
            .collect();
        book.dictionaries.ids = Default::default();
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(book.dictionaries.ids.push(text.as_deref()), number);
        }
        let what_if = book.what_if(&blocking).unwrap();
        assert_eq!(what_if.diff().split, [], "nobody knows any more that it was bob");
        assert_eq!(what_if.diff().classes_kept, [Name::Erased(2)]);
        let one_user = book.what_if(&Policy::preset(Preset::OneUser)).unwrap();
        assert_eq!(one_user.diff().split.len(), 1, "the class that was recorded is a user's");
    }
}
