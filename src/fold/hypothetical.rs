//! Supposing: a state under a policy that its log does not hold (H4). The records are folded as they are, by the same
//! `apply`; only the policies among them are passed over, and ids get the classes that this policy would have given them.

use crate::fold::State;
use crate::log::body::IdNo;
use crate::model::policy::{IdClass, Policy};

impl State {
    /// The state before the first record, if `policy` held from then on whatever the log says.
    pub(crate) fn under_policy(policy: Policy) -> State {
        State { policy, supposed: true, ..State::new() }
    }

    /// Whether the policy is that of a what-if, and not the log's.
    pub(crate) fn is_supposed(&self) -> bool {
        self.supposed
    }

    /// Gives an id that no operation has named yet another class than its definition recorded.
    ///
    /// # Panics
    /// When the state is a log's own: there, classes are decided once (B4).
    pub(crate) fn classify_anew(&mut self, id: IdNo, class: IdClass) {
        assert!(self.supposed, "classes are decided once");
        self.links.reclassify(id, class.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::body::StoredClass;
    use crate::model::id::Seq;

    #[test]
    fn another_class_is_all_that_changes_of_an_id() {
        let mut state = State::under_policy(Policy::default());
        for (number, (before, after)) in (0..9).map(|case| (case % 3, case / 3)).enumerate() {
            let id = IdNo(number as u32);
            state.links.define(100 + id.0, StoredClass(before));
            state.classify_anew(id, StoredClass(after).into());
            assert_eq!(state.class(id), StoredClass(after).into());
            assert_eq!(state.defined_by(id), Seq(100 + u64::from(id.0)), "from {before} to {after}");
        }
        assert!(state.is_supposed() && !State::new().is_supposed());
    }

    #[test]
    #[should_panic(expected = "classes are decided once")]
    fn in_a_log_classes_are_decided_once_b4() {
        State::new().classify_anew(IdNo(0), StoredClass(0).into());
    }
}
