//! Kinds of ids (D12): which id is of which, and how many of each a person has.

use crate::fold::links::PersonNo;
use crate::log::body::IdNo;
use crate::model::kind::KindNo;

/// Empty, and without cost, as long as no id is of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// By id, up to the last that is of a kind: one more than the place of its kind, or 0.
    of: Vec<u8>,
    /// By kind, then by person, up to the last that has one: how many ids of it. An absorbed or former person has none.
    held: Vec<Vec<u32>>,
}

impl Kinds {
    /// One more than the place of an id's kind; 0 if it has none.
    pub(super) fn of(&self, id: IdNo) -> u8 {
        self.of.get(id.index()).copied().unwrap_or(0)
    }

    /// Says of which kind an id is, before it belongs to a person.
    pub(super) fn set(&mut self, id: IdNo, kind: u8) {
        if kind > 0 && self.of.len() <= id.index() {
            self.of.resize(id.index() + 1, 0);
        }
        if let Some(of) = self.of.get_mut(id.index()) {
            *of = kind;
        }
    }

    /// How many ids of a kind a person has.
    pub(super) fn held(&self, kind: KindNo, person: PersonNo) -> u32 {
        self.held.get(usize::from(kind.0)).and_then(|held| held.get(person.index())).copied().unwrap_or(0)
    }

    /// An id came to a person.
    pub(super) fn join(&mut self, id: IdNo, person: PersonNo) {
        if let Some(kind) = self.of(id).checked_sub(1) {
            *self.held_mut(usize::from(kind), person) += 1;
        }
    }

    /// A person was absorbed by another.
    pub(super) fn merge(&mut self, survivor: PersonNo, absorbed: PersonNo) {
        for kind in 0..self.held.len() {
            let moved = self.held[kind].get_mut(absorbed.index()).map_or(0, std::mem::take);
            if moved > 0 {
                *self.held_mut(kind, survivor) += moved;
            }
        }
    }

    /// A person has no ids any more.
    pub(super) fn clear(&mut self, person: PersonNo) {
        self.held.iter_mut().filter_map(|held| held.get_mut(person.index())).for_each(|held| *held = 0);
    }

    /// A person has what another one has in `from`.
    pub(super) fn copy(&mut self, person: PersonNo, from: &Kinds, of: PersonNo) {
        self.clear(person);
        for (kind, held) in from.held.iter().enumerate() {
            if let Some(1..) = held.get(of.index()) {
                *self.held_mut(kind, person) = held[of.index()];
            }
        }
    }

    fn held_mut(&mut self, kind: usize, person: PersonNo) -> &mut u32 {
        if self.held.len() <= kind {
            self.held.resize(kind + 1, Vec::new());
        }
        let held = &mut self.held[kind];
        if held.len() <= person.index() {
            held.resize(person.index() + 1, 0);
        }
        &mut held[person.index()]
    }

    /// Bytes held, counting capacity.
    pub(super) fn memory(&self) -> usize {
        self.of.capacity() + self.held.iter().map(|held| held.capacity() * size_of::<u32>()).sum::<usize>()
    }
}
