//! Supposing: a state under a policy that its log does not hold (H4). The records are folded as they are, by the same
//! `apply`; only the policies among them are passed over, and ids get the classes that this policy would have given them.

use crate::policy::{IdClass, Policy};
use crate::record::IdNo;
use crate::state::State;

impl State {
    /// The state before the first record, if `policy` held from then on whatever the log says.
    pub(crate) fn supposing(policy: Policy) -> State {
        State { policy, supposed: true, ..State::new() }
    }

    /// Whether the policy is one that somebody asks about, and not the log's.
    pub(crate) fn is_supposed(&self) -> bool {
        self.supposed
    }

    /// Gives an id that no operation has named yet another class than its definition recorded.
    ///
    /// # Panics
    /// When the state is a log's own: there, classes are decided once (B4).
    pub(crate) fn reclassify(&mut self, id: IdNo, class: IdClass) {
        assert!(self.supposed, "classes are decided once");
        self.links.reclassify(id, class.into());
    }
}
