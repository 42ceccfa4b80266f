//! Laws: what must hold for every history under every policy, and so under yours.
//!
//! Each law takes a history, folds it as often as it needs to, and says in a sentence what broke it. The crate's own tests
//! run the same functions over histories that proptest makes up.

mod as_of;
mod classes;
mod content;
mod event_time;
mod kit;
mod minds;
mod order;
mod relative;
mod shared;

use std::ops::Range;

use crate::model::policy::Policy;
use crate::testing::history::History;
pub use as_of::as_of;
pub use classes::{reclassified_is_so_from_the_definition_on, second_thoughts_commute};
pub use content::{attribution, components, digests, proofs};
pub use event_time::values_come_in_any_order;
pub use minds::{
    differences_lead, erasing, previews_come_true, retract_takes_back, splits_commute, what_if_is_the_fold,
};
pub use order::{
    any_batching, any_reopening, created_at, engine_is_reference, identified_grows, identified_join_by_merge,
    log_tells_all, no_event_crosses_a_reset, outcomes_name_the_ids_they_moved, persons_partition, prefixes,
    properties, redirects, refusals_change_no_link, refusals_name_their_record, repeats_change_nothing,
};
pub use relative::counters_add_up;
pub use shared::said_under_shared_ids_is_said_for_users;

/// A law: says what is wrong with a history, if something is.
pub type Law = fn(&History) -> Result<(), String>;

/// All laws, by name.
pub const LAWS: [(&str, Law); 32] = [
    ("the engine is the reference model", engine_is_reference),
    ("the log alone tells all", log_tells_all),
    ("persons partition the ids that have one", persons_partition),
    ("any batching is the same", any_batching),
    ("reopening anywhere is the same", any_reopening),
    ("as of n is the fold of the first n", prefixes),
    ("every answer as of n is that of the first n", as_of),
    ("a refused operation changes no link", refusals_change_no_link),
    ("refusals name the record that blocks", refusals_name_their_record),
    ("outcomes name the ids that they moved", outcomes_name_the_ids_they_moved),
    ("a repeated link changes nothing", repeats_change_nothing),
    ("identified only grows, and keeps its record", identified_grows),
    ("redirects are total, acyclic and idempotent", redirects),
    ("created_at is the earliest founding", created_at),
    ("what is retracted was never asked", retract_takes_back),
    ("two identified persons join by merge only", identified_join_by_merge),
    ("no event crosses a reset", no_event_crosses_a_reset),
    ("properties follow E1 and E2", properties),
    ("components are independent and commute", components),
    ("events follow their ids, then and now", attribution),
    ("equal digests mean equal content", digests),
    ("two ids of a person have a proof", proofs),
    ("what is erased stays erased, and nothing else changes", erasing),
    ("a difference leads from one content to the other", differences_lead),
    ("what-if is the fold of a log with that policy", what_if_is_the_fold),
    ("a preview of a change of mind comes true", previews_come_true),
    ("two splits of different ids come to the same in either order", splits_commute),
    ("what is reclassified was so from its definition on", reclassified_is_so_from_the_definition_on),
    ("a reclassification and another change of mind commute", second_thoughts_commute),
    ("values by event time come in any order", values_come_in_any_order),
    ("counters add up, whatever is merged, split and retracted", counters_add_up),
    ("what is said under a shared id is said for its user", said_under_shared_ids_is_said_for_users),
];

/// Runs all laws over made-up histories under `policy`, one history a seed.
///
/// ```
/// use identity_ledger::testing::laws;
/// use identity_ledger::{Policy, Preset};
///
/// let mine = Policy { max_moved_ids: Some(2), ..Policy::preset(Preset::OneUser) };
/// laws::hold(&mine, 0..20)?;
/// # Ok::<(), laws::Broken>(())
/// ```
///
/// # Errors
/// [`Broken`]: the first law that is, and the shortest history found that breaks it.
pub fn hold(policy: &Policy, seeds: Range<u64>) -> Result<(), Broken> {
    for seed in seeds {
        let history = History::seeded(policy, seed);
        for (name, law) in LAWS {
            if law(&history).is_err() {
                let (history, what) = shortened(law, history);
                return Err(Broken { name, what, seed, history: Box::new(history) });
            }
        }
    }
    Ok(())
}

/// A law that does not hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed} breaks a law: {name}\n{what}\n\n{history}")]
pub struct Broken {
    /// The name of the law.
    pub name: &'static str,
    /// What was found.
    pub what: String,
    /// The seed of the history it was found with.
    pub seed: u64,
    /// A history that breaks it, as short as leaving out single operations makes it.
    pub history: Box<History>,
}

/// Leaves out every operation that is not needed for the law to be broken.
fn shortened(law: Law, mut history: History) -> (History, String) {
    let mut at = history.operations.len();
    while at > 0 {
        at -= 1;
        let left_out = history.operations.remove(at);
        if law(&history).is_ok() {
            history.operations.insert(at, left_out);
        }
    }
    let what = law(&history).err().unwrap_or_default();
    (history, what)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kit::{Folded, all, holds};
    use super::*;
    use crate::fold::{Correction, Link, SharedEffect};
    use crate::ledger::appended::Appended;

    #[test]
    fn a_broken_law_is_shown_with_no_more_operations_than_it_needs() {
        fn nobody_is_identified(history: &History) -> Result<(), String> {
            let Folded { ledger, .. } = all(history)?;
            holds(ledger.persons().all(|person| !person.unwrap().is_identified), || "a person is".to_owned())
        }
        let policy = Policy::default();
        let breaking = (0..).map(|seed| History::seeded(&policy, seed));
        let breaking = { breaking }.find(|history| nobody_is_identified(history).is_err()).unwrap();
        let (history, what) = shortened(nobody_is_identified, breaking);
        assert_eq!((history.operations.len(), &what[..]), (1, "a person is"), "{history}");
        assert!(history.to_string().contains(" is identified"), "{history}");
    }

    /// A law over histories in which nothing happens would say nothing.
    #[test]
    fn made_up_histories_reach_every_refusal_and_every_effect() {
        let mut seen = BTreeSet::new();
        for seed in 0..300 {
            let history = History::from_bytes(&crate::testing::chance::Chance::new(seed).bytes(150));
            let seeded = History::seeded(&history.policy, seed);
            for history in [history, seeded] {
                let Folded { ledger, appended, .. } = all(&history).unwrap();
                seen.extend(appended.iter().map(|appended| match appended {
                    None => "error",
                    Some(Appended::Recorded { .. }) => "recorded",
                    Some(Appended::Duplicate { .. }) => "duplicate",
                    Some(Appended::Conflict { .. }) => "conflict",
                    Some(Appended::Ignored) => "ignored",
                }));
                let outcomes = appended.iter().flatten().filter_map(Appended::outcome);
                for outcome in outcomes.copied().collect::<Vec<_>>() {
                    seen.extend(outcome.refusal.map(|refusal| refusal.name()));
                    seen.extend(outcome.notices.joins_identified.map(|_| "late"));
                    seen.extend(outcome.notices.users_exceed_limit.map(|_| "users_exceed_limit"));
                    seen.extend(outcome.link.map(|link| match link {
                        Link::Joined(_) => "joined",
                        Link::Absorbed { .. } => "absorbed",
                    }));
                    seen.extend(outcome.shared.map(|effect| match effect {
                        SharedEffect::SignedIn(_) => "signed_in",
                        SharedEffect::SignedOut(_) => "signed_out",
                    }));
                    seen.extend(outcome.undone.map(|undone| match undone {
                        Correction::Retracted { .. } => "retracted",
                        Correction::Split { .. } => "split",
                        Correction::Reclassified { .. } => "reclassified",
                    }));
                }
                drop(ledger);
            }
        }
        let expected = [
            "absorbed",
            "already_of_class",
            "already_retracted",
            "conflict",
            "duplicate",
            "error",
            "id_of_another_person",
            "ignored",
            "joined",
            "joins_identified_person",
            "late",
            "no_person",
            "processing_off",
            "reclassified",
            "recorded",
            "retracted",
            "signed_in",
            "signed_out",
            "source_identified",
            "split",
            "too_many_ids",
            "too_many_ids_of_kind",
            "too_many_moved_ids",
            "too_many_user_ids",
            "unmergeable_id",
            "users_exceed_limit",
            "whole_person",
        ];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
}
