//! What-if: what a log would mean if another policy had held from its first record on (H4). The records are taken as they are;
//! nothing is written.

use std::borrow::Cow;

use crate::fold::replay::Step;
use crate::fold::{Outcome, State};
use crate::log::body::{IdNo, StoredClass};
use crate::log::kind::Kind;
use crate::log::record::Row;
use crate::model::policy::{FirstMention, Policy, PolicyError};
use crate::query::diff::Diff;
use crate::query::diff::first_mention::PendingDefinitions;
use crate::query::diff::view::Name;
use crate::query::diff::view::{Refusals, View};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

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

impl Reader {
    /// What the log would mean if `policy` had held from its first record on, instead of the policies in it (H4).
    ///
    /// Each id gets the class and the kind that its text and first mention have under `policy` (B4, D12); one whose text is erased keeps the class
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
    ///     let _ = ledger.append(Operation::identify(at, DistinctId::new(user)?, Some(Source::new("browser"))))?;
    /// }
    /// let what_if = ledger.reader().what_if(&Policy::preset(Preset::OneUser))?;
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
        let mut supposed = UnderPolicy::new(self, policy);
        let mut refusals = [Refusals::default(), Refusals::default()];
        self.replay(|step| {
            refusals[0].see(step);
            if let Some(outcome) = supposed.fold(step) {
                refusals[1].see_outcome(step.record, &outcome);
            }
        })?;
        let (state, classes_kept) = supposed.finish();
        let [before, after] = refusals;
        let now = View { refused: Some(before.settle(self, self.state())?), ..self.view() };
        let refused = Some(after.settle(self, &state)?);
        let view = View { state: Cow::Owned(state), refused, ..self.view() };
        let diff = Diff { classes_kept, ..Diff::between(&now, &view)? };
        Ok(WhatIf { diff, view })
    }
}

/// A fold under another policy.
struct UnderPolicy<'a> {
    reader: &'a Reader,
    policy: &'a Policy,
    state: State,
    unmentioned: PendingDefinitions,
    /// Ids whose text is erased.
    kept: Vec<Name>,
}

impl<'a> UnderPolicy<'a> {
    fn new(reader: &'a Reader, policy: &'a Policy) -> UnderPolicy<'a> {
        let state = State::under_policy(policy.clone());
        UnderPolicy { reader, policy, state, unmentioned: PendingDefinitions::default(), kept: Vec::new() }
    }

    fn fold(&mut self, step: Step<'_>) -> Option<Outcome> {
        let row = step.record.row;
        match row.kind {
            Kind::DefineId => self.unmentioned.id(IdNo(self.state.ids().len() as u32)), // MAX_RECORDS bounds them
            Kind::DefineDevice => self.unmentioned.device(row.id),
            Kind::DefineKey | Kind::DefineName => {}
            _ if self.unmentioned.is_empty() => {}
            _ => self.classify(Some(row)),
        }
        if let (Some(given), Some(text)) = (row.given_class(), self.reader.id_text(row.id)) {
            self.state.suppose_kind(row.seq, self.policy.kind_of(text, given.into()));
        }
        self.state.apply(step.record, step.past)
    }

    /// Decides again the classes of the ids that `next` mentions first.
    fn classify(&mut self, next: Option<&Row>) {
        let UnderPolicy { reader, policy, state, unmentioned, kept } = self;
        unmentioned.settle(next, |id, mention: FirstMention| match reader.id_text(id) {
            Some(text) => {
                let class = policy.classify(text, mention);
                state.classify_anew(id, StoredClass::under(policy, class, text));
            }
            None => kept.push(reader.id_named(id)),
        });
    }

    fn finish(mut self) -> (State, Vec<Name>) {
        self.classify(None);
        (self.state, self.kept)
    }
}
