//! The budget of property keys: E4's bound on one person, checked before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::{PersonNo, State};
use crate::log::body::{Body, Change, IdNo, KeyNo, LinkSource, Verb};
use crate::model::limits::MAX_PERSON_KEYS;

/// E4's bound on a person's keys, before anything is folded. Exact for one operation of known ids. Else an upper bound: whether
/// a new id is refused is not asked, and earlier operations of a batch are not folded yet.
pub(crate) struct KeyBudget {
    alone: bool,
    /// A union of the persons and ids that this batch names: toward the root.
    parents: BTreeMap<Node, Node>,
    /// At roots: how many keys their persons have, and which the batch may add.
    keys: BTreeMap<Node, (usize, BTreeSet<KeyNo>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Person(PersonNo),
    Id(IdNo),
}

impl KeyBudget {
    pub(crate) fn new(alone: bool) -> KeyBudget {
        KeyBudget { alone, parents: BTreeMap::new(), keys: BTreeMap::new() }
    }

    /// Counts what a record may add; an error says how many keys its person could have.
    pub(crate) fn spend(&mut self, state: &State, body: &Body) -> Result<(), usize> {
        let Some(head) = body.head() else { return Ok(()) };
        let other = match body.other() {
            LinkSource::Id(id) => Some(id),
            _ => None,
        };
        if other.is_none() && body.changes().is_empty() {
            return Ok(());
        }
        let found = if self.alone {
            let speaks_for = Some(state.speaks_for_now(head.id)).filter(|id| *id != head.id);
            let all = [Some(head.id), speaks_for, other];
            let held: usize = all.into_iter().flatten().map(|id| state.keys_of(id)).sum();
            let bound = held + body.changes().len();
            if bound > MAX_PERSON_KEYS { state.keys_after(body) } else { bound }
        } else {
            self.bound(state, head.id, other, body.changes())
        };
        if found > MAX_PERSON_KEYS { Err(found) } else { Ok(()) }
    }

    /// How many keys the person of `id` may have after this and the earlier operations of the batch.
    fn bound(&mut self, state: &State, id: IdNo, other: Option<IdNo>, changes: &[Change]) -> usize {
        let root = self.root(state, id);
        // What is said under a shared id may be for itself or for a user, as the batch has it (D13).
        let speaks_for = |id: IdNo| state.speaks_for_now(id);
        for linked in [Some(speaks_for(id)), other, other.map(speaks_for)].into_iter().flatten() {
            let from = self.root(state, linked);
            if from == root {
                continue;
            }
            let (theirs, added) = self.keys.remove(&from).unwrap_or_default();
            let (keys, more) = self.keys.entry(root).or_default();
            *keys += theirs;
            more.extend(added);
            self.parents.insert(from, root);
        }
        let (keys, more) = self.keys.entry(root).or_default();
        more.extend(changes.iter().filter(|change| change.verb != Verb::UNSET).map(|change| change.key));
        *keys + more.len()
    }

    fn root(&mut self, state: &State, id: IdNo) -> Node {
        let known = (id.index() < state.ids().len()).then(|| state.person(id)).flatten();
        let mut node = known.map_or(Node::Id(id), Node::Person);
        if !self.parents.contains_key(&node) && !self.keys.contains_key(&node) {
            self.keys.insert(node, (state.keys_of(id), BTreeSet::new()));
        }
        while let Some(parent) = self.parents.get(&node) {
            node = *parent;
        }
        node
    }
}
