//! Links: which person each id belongs to, now and as of every record; and the proof why.
//!
//! Persons are joined by union by size without path compression, every edge stamped with the record that made it, so
//! "who" and "who as of" are the same short climb. Beside it stands a *proof forest* over ids whose edges join exactly the
//! two ids a record named: the union's roots would blame records that name neither side.

use std::collections::BTreeMap;

use crate::log::body::{IdNo, StoredClass};
use crate::model::limits::MAX_RECORDS;
use crate::model::policy::IdClass;

/// The number of a person: its place in the order of foundings. Numbers never change hands (D11, later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonNo(pub u32);

impl PersonNo {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Stands for "none" among record, id and person numbers; limits.rs keeps every real number below it.
pub(super) const NONE: u32 = u32::MAX;

/// What most records touch of one id, and what a link asks of it: 16 bytes, so that the ids of a busy hour stay in a processor's
/// own cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// The person the id first belonged to, or NONE.
    pub(super) slot: u32,
    /// The record by which it did, or NEVER, times 4, plus the class of the id or [`USER`] (MAX_RECORDS leaves the room).
    since_and_class: u32,
    /// Events captured under this id, ever (G2: they move with it).
    pub(super) events: u32,
    /// How many of them with processing on (G3).
    pub(super) identified_events: u32,
}

/// What only links and questions touch of one id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    /// The next id of the same person, in a ring.
    pub(super) next: u32,
    /// Toward the root of the proof tree, or NONE.
    pub(super) proof: u32,
    /// The record that names both ends of that edge.
    pub(super) proof_seq: u32,
    /// The record that defined the id.
    pub(super) defined: u32,
}

/// Stands where the class of an id stands: a named id with a sign-in (D9).
pub(super) const USER: u8 = 3;
/// Stands for "none" where a record's number shares its word with a class.
const NEVER: u32 = MAX_RECORDS as u32;
const _: () = assert!(NEVER <= u32::MAX >> 2);

/// How a leaf holds a class: a shared id is an unmergeable one here, of which [`super::shared::SharedIds`] knows more.
fn class_bits(class: StoredClass) -> u32 {
    let shared = IdClass::from(class) == IdClass::Shared;
    if shared { StoredClass::from(IdClass::Unmergeable).0.into() } else { class.bare().0.into() }
}

impl Leaf {
    /// The same id, as one that belongs to `slot`.
    pub(super) fn at(self, slot: u32) -> Leaf {
        Leaf { slot, ..self }
    }

    /// An id of this class without person or events.
    pub(super) fn new(class: StoredClass) -> Leaf {
        let since_and_class = NEVER << 2 | class_bits(class);
        Leaf { slot: NONE, since_and_class, events: 0, identified_events: 0 }
    }

    pub(super) fn has_person(&self) -> bool {
        self.slot != NONE
    }

    /// The record by which it came to its first person, or NONE.
    pub(super) fn since(&self) -> u32 {
        let since = self.since_and_class >> 2;
        if since == NEVER { NONE } else { since }
    }

    /// The class of the id, without its kind, or [`USER`].
    pub(super) fn class_or_user(&self) -> u8 {
        (self.since_and_class & 3) as u8
    }

    pub(super) fn class(&self) -> StoredClass {
        match self.class_or_user() {
            USER => IdClass::Named.into(),
            class => StoredClass(class),
        }
    }

    pub(super) fn is_user(&self) -> bool {
        self.class_or_user() == USER
    }

    /// A sign-in as this id, which is a named one (D9).
    pub(super) fn sign_in(&mut self) {
        debug_assert!(self.class() == IdClass::Named.into(), "no other id has a sign-in");
        self.since_and_class |= u32::from(USER);
    }

    pub(super) fn set_class(&mut self, class: StoredClass) {
        self.since_and_class = self.since_and_class & !3 | class_bits(class);
    }

    /// Belongs to a person since record `since`.
    pub(super) fn belong(&mut self, slot: u32, since: u32) {
        (self.slot, self.since_and_class) = (slot, since << 2 | self.since_and_class & 3);
    }
}

/// One founded person as a node of the union: 8 bytes. What it says of a group only a root has to know, and of an edge only
/// the others, so the two share their place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// How many ids are below, plus [`ROOT`]; or else the larger group that this one joined.
    size_or_parent: u32,
    /// The person whose group this is; or else the record by which it joined that larger one.
    carries_or_since: u32,
}

/// Marks a root; there are never that many persons.
pub(super) const ROOT: u32 = 1 << 31;

impl Slot {
    pub(super) fn root(size: u32, carries: u32) -> Slot {
        Slot { size_or_parent: ROOT | size, carries_or_since: carries }
    }

    pub(super) fn joined(parent: u32, since: u32) -> Slot {
        Slot { size_or_parent: parent, carries_or_since: since }
    }

    pub(super) fn is_root(&self) -> bool {
        self.size_or_parent & ROOT != 0
    }

    /// The larger group that this one joined, and the record by which it did; `None` for a root.
    #[inline]
    pub(super) fn edge(&self) -> Option<(u32, u32)> {
        (!self.is_root()).then_some((self.size_or_parent, self.carries_or_since))
    }

    /// How many ids are below a root.
    pub(super) fn size(&self) -> u32 {
        assert!(self.is_root(), "only roots count their ids");
        self.size_or_parent & !ROOT
    }

    /// The person whose group a root is.
    pub(super) fn carries(&self) -> u32 {
        assert!(self.is_root(), "only roots know whose group they are");
        self.carries_or_since
    }

    /// Counts `ids` more ids below a root.
    pub(super) fn grow(&mut self, ids: u32) {
        self.size_or_parent = ROOT | (self.size() + ids);
    }
}

/// What stands at `number` of a list, or at its end for a larger number. So there is no branch that a
/// processor has to predict.
pub(super) fn near<T>(list: &[T], number: u32) -> Option<&T> {
    list.get((number as usize).min(list.len().wrapping_sub(1)))
}

#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) leaves: Vec<Leaf>,
    pub(super) branches: Vec<Branch>,
    pub(super) slots: Vec<Slot>,
    /// For roots that came to carry another person than their own: since when, whom. Rare: the smaller group survived.
    pub(super) carried: BTreeMap<u32, Vec<(u32, PersonNo)>>,
    /// How many ids left the group of a root by refolds. The larger of two groups is the one with more ids, these included: what
    /// never falls keeps the trees flat.
    pub(super) left: BTreeMap<u32, u32>,
}

impl Links {
    pub(super) fn define(&mut self, seq: u32, class: StoredClass) {
        let number = self.leaves.len() as u32;
        self.leaves.push(Leaf::new(class));
        self.branches.push(Branch { next: number, proof: NONE, proof_seq: NONE, defined: seq });
    }

    /// The record that defined an id.
    pub(super) fn defined(&self, id: IdNo) -> u32 {
        self.branch(id).defined
    }

    pub(super) fn class(&self, id: IdNo) -> StoredClass {
        self.leaf(id).class()
    }

    /// Another class for an id that has neither person nor events.
    pub(super) fn reclassify(&mut self, id: IdNo, class: StoredClass) {
        let leaf = self.leaf_mut(id);
        assert!(
            !leaf.has_person() && leaf.events == 0,
            "an id has its class before anything is done with it"
        );
        leaf.set_class(class);
    }

    fn branch(&self, id: IdNo) -> &Branch {
        &self.branches[id.index()]
    }

    fn branch_mut(&mut self, id: IdNo) -> &mut Branch {
        &mut self.branches[id.index()]
    }

    pub(super) fn leaf(&self, id: IdNo) -> &Leaf {
        &self.leaves[id.index()]
    }

    /// Reads what folding a record about `id` will read, and lets the reads overlap; see [`super::State::prefetch`].
    pub(super) fn prefetch(&self, id: IdNo) -> u32 {
        near(&self.leaves, id.0).map_or(NONE, |leaf| leaf.slot)
    }

    /// As [`Links::prefetch`], for what links touch.
    pub(super) fn foresee_branch(&self, id: IdNo) -> u32 {
        near(&self.branches, id.0).map_or(NONE, |branch| branch.next)
    }

    /// As [`Links::prefetch`], one step on.
    pub(super) fn foresee_slot(&self, slot: u32) -> u32 {
        near(&self.slots, slot).map_or(NONE, |slot| slot.carries_or_since)
    }

    pub(super) fn leaf_mut(&mut self, id: IdNo) -> &mut Leaf {
        &mut self.leaves[id.index()]
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = IdNo> + use<> {
        (0..self.leaves.len() as u32).map(IdNo)
    }

    /// The person `id` belongs to.
    pub(super) fn person(&self, id: IdNo) -> Option<PersonNo> {
        let slot = self.leaf(id).slot;
        (slot != NONE).then(|| self.survivor(PersonNo(slot)))
    }

    /// The record since which `id` belongs to a person.
    pub(super) fn since(&self, id: IdNo) -> Option<u32> {
        let since = self.leaf(id).since();
        (since != NONE).then_some(since)
    }

    /// The live person that `person` became: itself, or what absorbed it (D7's redirect; total, acyclic, idempotent).
    pub(super) fn survivor(&self, person: PersonNo) -> PersonNo {
        PersonNo(self.slots[self.root(person.0) as usize].carries())
    }

    /// The person `id` belonged to right after record `seq`.
    pub(super) fn person_as_of(&self, id: IdNo, seq: u32) -> Option<PersonNo> {
        let leaf = self.leaf(id);
        (leaf.slot != NONE && leaf.since() <= seq).then(|| self.survivor_as_of(PersonNo(leaf.slot), seq))
    }

    /// The person that `person` was part of right after record `seq`; `person` must have been founded by then.
    pub(super) fn survivor_as_of(&self, person: PersonNo, seq: u32) -> PersonNo {
        let mut at = person.0;
        while let Some((parent, since)) = self.slots[at as usize].edge()
            && since <= seq
        {
            at = parent;
        }
        let carried = self.carried.get(&at).map_or(&[][..], Vec::as_slice);
        match carried.partition_point(|(since, _)| *since <= seq) {
            0 => PersonNo(at),
            after => carried[after - 1].1,
        }
    }

    /// Whose an id was that came to `person` by record `since`, as far as records before `until` say it; the last person first, each with
    /// the record since which it was that one. Cost: a climb, and then a step for each.
    pub(super) fn turns(
        &self,
        person: PersonNo,
        since: u32,
        until: u32,
    ) -> impl Iterator<Item = (u32, PersonNo)> + '_ {
        let mut path = vec![(since, person.0)];
        let mut at = person.0;
        while let Some((parent, since)) = self.slots[at as usize].edge()
            && since < until
        {
            path.push((since, parent));
            at = parent;
        }
        path.into_iter().rev().flat_map(move |(since, root)| {
            let carried = self.carried.get(&root).map_or(&[][..], Vec::as_slice);
            let place = |seq: u32| carried.partition_point(|(at, _)| *at < seq);
            let then = place(since + 1);
            let first = then.checked_sub(1).map_or(PersonNo(root), |place| carried[place].1);
            carried[then..place(until).max(then)].iter().rev().copied().chain([(since, first)])
        })
    }

    fn root(&self, mut at: u32) -> u32 {
        while let Some((parent, _)) = self.slots[at as usize].edge() {
            at = parent;
        }
        at
    }

    /// How many ids a live person has.
    pub(super) fn size(&self, person: PersonNo) -> u32 {
        self.slots[self.root(person.0) as usize].size()
    }

    /// Founds a person on `id`, which must have none.
    pub(super) fn found(&mut self, id: IdNo, seq: u32) -> PersonNo {
        let person = self.next_slot();
        self.slots.push(Slot::root(0, person));
        self.attach(id, person, seq);
        PersonNo(person)
    }

    /// Lets `id`, which must have no person, join the person of `with`, because record `seq` names both.
    pub(super) fn join(&mut self, id: IdNo, with: IdNo, seq: u32) {
        let person = self.person(with).expect("an id joins an id that has a person");
        self.attach(id, self.root(person.0), seq);
        let (next, with_next) = (self.branch(id).next, self.branch(with).next);
        self.branch_mut(id).next = with_next;
        self.branch_mut(with).next = next;
        self.connect(id, with, seq);
    }

    fn attach(&mut self, id: IdNo, root: u32, seq: u32) {
        let leaf = self.leaf_mut(id);
        assert!(leaf.slot == NONE, "an id first belongs to a person once");
        leaf.belong(root, seq);
        self.slots[root as usize].grow(1);
    }

    /// The number of the next person.
    fn next_slot(&self) -> u32 {
        let slot = self.slots.len() as u32;
        assert!(slot < ROOT, "eighty gigabytes of persons");
        slot
    }

    /// Merges the persons of two ids into `survivor`, one of the two, because record `seq` names both ids.
    pub(super) fn merge(&mut self, a: IdNo, b: IdNo, survivor: PersonNo, seq: u32) {
        let root_of = |id: IdNo| self.root(self.leaf(id).slot);
        let (root_a, root_b) = (root_of(a), root_of(b));
        assert!(root_a != root_b, "two persons merge once");
        let weight = |root: u32| self.slots[root as usize].size() + self.left.get(&root).unwrap_or(&0);
        let rank = |root: u32| (weight(root), std::cmp::Reverse(root));
        let (winner, loser) = if rank(root_a) > rank(root_b) { (root_a, root_b) } else { (root_b, root_a) };
        // The smaller tree is turned round, so that all turning together costs n log n.
        let (small, large) = if loser == root_a { (a, b) } else { (b, a) };
        self.connect(small, large, seq);

        let lost = std::mem::replace(&mut self.slots[loser as usize], Slot::joined(winner, seq));
        if let Some(left) = self.left.remove(&loser) {
            *self.left.entry(winner).or_default() += left;
        }
        let slot = &mut self.slots[winner as usize];
        slot.grow(lost.size());
        if slot.carries() != survivor.0 {
            *slot = Slot::root(slot.size(), survivor.0);
            self.carried.entry(winner).or_default().push((seq, survivor));
        }
        let (next_a, next_b) = (self.branch(a).next, self.branch(b).next); // two rings crossed once are one ring
        self.branch_mut(a).next = next_b;
        self.branch_mut(b).next = next_a;
    }

    /// Lets the ids of one person belong to a new person each group, because record `seq` parts them. New persons get the next
    /// numbers, in the order of the groups. Of the proofs those stay that join ids of one group; where they no longer join all
    /// of it, the record that let them stay together does.
    pub(super) fn part(&mut self, groups: &[Vec<IdNo>], seq: u32) {
        for ids in groups {
            let slot = self.next_slot();
            for (id, next) in ids.iter().zip(ids.iter().cycle().skip(1)) {
                self.leaf_mut(*id).slot = slot;
                self.branch_mut(*id).next = next.0;
            }
            self.slots.push(Slot::root(ids.len() as u32, slot)); // MAX_RECORDS bounds it
        }
        for ids in groups {
            let edges: Vec<(IdNo, u32, u32)> = ids
                .iter()
                .map(|id| {
                    let branch = self.branch_mut(*id);
                    let edge = (*id, branch.proof, branch.proof_seq);
                    (branch.proof, branch.proof_seq) = (NONE, NONE);
                    edge
                })
                .collect();
            let mut joined: Vec<IdNo> = Vec::new();
            for (id, parent, edge) in edges {
                if parent != NONE && self.leaf(IdNo(parent)).slot == self.leaf(id).slot {
                    let branch = self.branch_mut(id);
                    (branch.proof, branch.proof_seq) = (parent, edge);
                } else {
                    joined.push(id); // the root of a piece
                }
            }
            for piece in joined.iter().skip(1) {
                let branch = self.branch_mut(*piece);
                (branch.proof, branch.proof_seq) = (joined[0].0, seq);
            }
        }
    }

    /// Gives an id its place in a person that was folded again.
    pub(super) fn put(&mut self, id: IdNo, leaf: Leaf, next: u32, (proof, proof_seq): (u32, u32)) {
        *self.leaf_mut(id) = leaf;
        let branch = self.branch_mut(id);
        *branch = Branch { next, proof, proof_seq, ..*branch };
    }

    /// The node of a live person, which carries it.
    pub(super) fn node(&self, person: PersonNo) -> u32 {
        self.root(person.0)
    }

    /// The node of a person that is live, for one that is.
    pub(super) fn group(&self, person: PersonNo) -> Option<u32> {
        let root = self.root(person.0);
        (self.slots[root as usize].carries() == person.0).then_some(root)
    }

    /// Makes a node for the next person: the root of a group that has no id yet, or, from record `seq` on, part of the group of
    /// `survivor`.
    pub(super) fn add(&mut self, absorbed: Option<(PersonNo, u32)>) -> PersonNo {
        let number = self.next_slot();
        self.slots.push(match absorbed {
            Some((survivor, seq)) => Slot::joined(self.root(survivor.0), seq),
            None => Slot::root(0, number),
        });
        PersonNo(number)
    }

    /// Makes a node for the next person, whose group from record `seq` on is that of a live one.
    pub(super) fn succeed(&mut self, person: PersonNo, seq: u32) -> PersonNo {
        let (root, next) = (self.root(person.0), PersonNo(self.next_slot()));
        self.slots.push(Slot::joined(root, seq));
        let slot = &mut self.slots[root as usize];
        *slot = Slot::root(slot.size(), next.0);
        self.carried.entry(root).or_default().push((seq, next));
        next
    }

    /// Says how many ids the group of a live person has, and how many just left it.
    pub(super) fn resize(&mut self, person: PersonNo, ids: u32, gone: u32) {
        let root = self.root(person.0);
        let slot = &mut self.slots[root as usize];
        *slot = Slot::root(ids, slot.carries());
        if ids == 0 {
            self.left.remove(&root);
        } else if gone > 0 {
            *self.left.entry(root).or_default() += gone;
        }
    }

    /// The person that `id` first belonged to, in the present generation.
    pub(super) fn person_first(&self, id: IdNo) -> Option<PersonNo> {
        let slot = self.leaf(id).slot;
        (slot != NONE).then_some(PersonNo(slot))
    }

    /// Turns `from`'s proof tree so that `from` is its root, and hangs it on `to`.
    fn connect(&mut self, from: IdNo, to: IdNo, seq: u32) {
        let (mut child, mut edge) = (to.0, seq);
        let mut at = from.0;
        while at != NONE {
            let branch = &mut self.branches[at as usize];
            let (parent, parent_edge) = (branch.proof, branch.proof_seq);
            (branch.proof, branch.proof_seq) = (child, edge);
            (child, edge) = (at, parent_edge);
            at = parent;
        }
    }

    /// The ids of one person, beginning with `id`.
    pub(super) fn ring(&self, id: IdNo) -> impl Iterator<Item = IdNo> {
        let mut next = Some(id);
        std::iter::from_fn(move || {
            let at = next?;
            let following = IdNo(self.branch(at).next);
            next = (following != id).then_some(following);
            Some(at)
        })
    }

    /// The edge from `id` toward the root of its proof tree: the other end and the record that names both.
    pub(super) fn proof(&self, id: IdNo) -> Option<(IdNo, u32)> {
        let branch = self.branch(id);
        (branch.proof != NONE).then_some((IdNo(branch.proof), branch.proof_seq))
    }

    /// First person and its stamp, for digests.
    pub(super) fn first(&self, id: IdNo) -> (u32, u32) {
        let leaf = self.leaf(id);
        (leaf.slot, leaf.since())
    }

    /// Parent, stamp and carried person of a slot, for digests.
    pub(super) fn slot(&self, person: PersonNo) -> (u32, u32, u32) {
        let (parent, since) = self.slots[person.index()].edge().unwrap_or((person.0, NONE));
        let carried = self.carried.get(&person.0).and_then(|list| list.last());
        (parent, since, carried.map_or(person, |(_, carried)| *carried).0)
    }

    /// How many ids left the group of each root, for digests.
    pub(super) fn left(&self) -> impl ExactSizeIterator<Item = (u32, u32)> {
        self.left.iter().map(|(root, ids)| (*root, *ids))
    }

    /// When roots came to carry other persons, for digests.
    pub(super) fn carried(&self) -> impl Iterator<Item = (u32, u32, PersonNo)> {
        self.carried
            .iter()
            .flat_map(|(slot, list)| list.iter().map(move |(since, person)| (*slot, *since, *person)))
    }

    /// Bytes held, counting capacity.
    pub(super) fn memory(&self) -> usize {
        self.leaves.capacity() * size_of::<Leaf>()
            + self.branches.capacity() * size_of::<Branch>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.carried.values().map(|list| 48 + list.capacity() * 8).sum::<usize>()
            + self.left.len() * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_at_thirty_two_bytes_and_its_leaf_at_sixteen() {
        assert_eq!((size_of::<Leaf>(), size_of::<Branch>(), size_of::<Slot>()), (16, 16, 8));
    }

    #[test]
    fn as_of_follows_the_stamps_when_the_smaller_group_survives() {
        let mut links = Links::default();
        (0..4).for_each(|seq| links.define(seq, StoredClass(0)));
        let ids: Vec<IdNo> = links.ids().collect();
        let big = links.found(ids[0], 10);
        links.join(ids[1], ids[0], 11);
        links.join(ids[2], ids[1], 12);
        let small = links.found(ids[3], 13);
        links.merge(ids[3], ids[2], small, 14);
        assert_eq!(links.person(ids[0]), Some(small));
        assert_eq!(links.survivor(big), small);
        assert_eq!(links.person_as_of(ids[0], 13), Some(big));
        assert_eq!(links.person_as_of(ids[0], 14), Some(small));
        assert_eq!(links.person_as_of(ids[1], 10), None);
        assert_eq!(links.person_as_of(ids[3], 13), Some(small));
        let mut ring: Vec<IdNo> = links.ring(ids[2]).collect();
        ring.sort();
        assert_eq!(ring, ids);
        assert_eq!(links.proof(ids[3]), Some((ids[2], 14)));
        assert_eq!(links.size(small), 4);
    }
}
