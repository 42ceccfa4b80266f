//! Supposing: a state under a policy that its log does not hold (H4). The records are folded as they are, by the same
//! `apply`; only the policies among them are passed over, and ids get the classes that this policy would have given them.

use crate::fold::State;
use crate::log::body::{IdNo, StoredClass};
use crate::log::record::Row;
use crate::model::class::IdClass;
use crate::model::kind::KindNo;
use crate::model::policy::Policy;

impl State {
    /// The state before the first record, if `policy` held from then on whatever the log says.
    pub(crate) fn under_policy(policy: Policy) -> State {
        State { policy, supposed: true, ..State::new() }
    }

    /// Whether the policy is that of a what-if, and not the log's.
    pub(crate) fn is_supposed(&self) -> bool {
        self.supposed
    }

    /// Gives an id that no operation has named yet another class and kind than its definition recorded.
    ///
    /// # Panics
    /// When the state is a log's own: there, classes are decided once (B4).
    pub(crate) fn classify_anew(&mut self, id: IdNo, class: StoredClass) {
        assert!(self.supposed, "classes are decided once");
        self.links.reclassify(id, class);
        self.kinds.set(id, class.kind());
        self.shared.set(id, IdClass::from(class) == IdClass::Shared);
    }
}

impl State {
    /// Says which kind the reclassification of record `seq` gives under the policy of a what-if.
    pub(crate) fn suppose_kind(&mut self, seq: u32, kind: Option<KindNo>) {
        assert!(self.supposed, "a record says which kind it gives");
        self.supposed_kinds.insert(seq, kind);
    }

    /// The class and the kind that a reclassification gives; `None` of any other record.
    pub(super) fn given_class(&self, row: &Row) -> Option<StoredClass> {
        let given = row.given_class()?;
        let supposed = self.supposed_kinds.get(&row.seq);
        Some(supposed.map_or(given, |kind| StoredClass::of(given.into(), *kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Seq;

    #[test]
    fn another_class_is_all_that_changes_of_an_id() {
        let mut state = State::under_policy(Policy::default());
        for (number, (before, after)) in (0..16).map(|case| (4 + case % 4, 8 + case / 4)).enumerate() {
            let id = IdNo(number as u32);
            state.define_id(100 + id.0, StoredClass(before));
            state.classify_anew(id, StoredClass(after));
            assert_eq!(state.stored_class(id), StoredClass(after));
            assert_eq!(state.defined_by(id), Seq(100 + u64::from(id.0)), "from {before} to {after}");
        }
        assert!(state.is_supposed() && !State::new().is_supposed());
    }

    #[test]
    #[should_panic(expected = "classes are decided once")]
    fn in_a_log_classes_are_decided_once_b4() {
        State::new().classify_anew(IdNo(0), StoredClass(0));
    }
}
