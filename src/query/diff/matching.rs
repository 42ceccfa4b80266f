//! Matching: which numbers of two views mean the same. Those of one log do by themselves; those of two logs have their texts to
//! tell. It knows no differences, only who is compared with whom.

use crate::fold::{PersonIdBasis, PersonNo};
use crate::log::body::IdNo;
use crate::model::id::PersonId;
use crate::query::diff::view::View;
use crate::store::dictionary::Dictionary;

/// Numbers of the second view as numbers that both share: those of the first, and behind them those that only the second has.
pub(crate) enum Matching {
    /// Of one reader.
    Same { first: u32, second: u32 },
    /// Two logs: numbers match if their texts are equal.
    Texts {
        /// How many the first view has.
        first: u32,
        /// The shared number of each of the second's.
        shared: Vec<u32>,
        /// The second's number of each shared one, or NONE.
        second: Vec<u32>,
    },
}

const NONE: u32 = u32::MAX;

impl Matching {
    pub(crate) fn new(
        same_book: bool,
        [first, second]: [u32; 2],
        [ours, theirs]: [&Dictionary; 2],
    ) -> Matching {
        if same_book {
            return Matching::Same { first, second };
        }
        let mut shared = Vec::with_capacity(second as usize);
        let mut back = vec![NONE; first as usize];
        for number in 0..second {
            let here = match theirs.text(number) {
                Some(text) => ours.find(text).filter(|found| *found < first),
                None => Some(number).filter(|number| *number < first && ours.text(*number).is_none()),
            };
            let here = here.unwrap_or_else(|| {
                back.push(NONE);
                back.len() as u32 - 1 // at most the numbers of two logs
            });
            back[here as usize] = number;
            shared.push(here);
        }
        Matching::Texts { first, shared, second: back }
    }

    pub(crate) fn len(&self) -> u32 {
        match self {
            Matching::Same { first, second } => *first.max(second),
            Matching::Texts { second, .. } => second.len() as u32,
        }
    }

    /// The numbers that a shared one has in the first and in the second view.
    pub(crate) fn pair(&self, shared: u32) -> [Option<u32>; 2] {
        match self {
            Matching::Same { first, second } => [first, second].map(|len| (shared < *len).then_some(shared)),
            Matching::Texts { first, second, .. } => {
                let there = second.get(shared as usize).copied();
                [(shared < *first).then_some(shared), there.filter(|number| *number != NONE)]
            }
        }
    }

    /// The shared number of one of the second view's.
    pub(crate) fn shared(&self, second: u32) -> u32 {
        match self {
            Matching::Same { .. } => second,
            Matching::Texts { shared, .. } => shared[second as usize],
        }
    }
}

/// What tells persons apart, the same in both views: in one reader what their public ids are made of, in two these themselves.
pub(crate) enum PersonKeys {
    PersonIdBasis,
    /// By person number; those that live.
    PersonIds(Vec<PersonId>),
}

/// Tells one person from another, or from one that is only implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PersonKey {
    PersonIdBasis(PersonIdBasis),
    PersonId(PersonId),
}

impl PersonKeys {
    pub(crate) fn new(view: &View<'_>, same_book: bool) -> PersonKeys {
        if same_book {
            return PersonKeys::PersonIdBasis;
        }
        let mut keys = vec![PersonId(uuid::Uuid::nil()); view.state.persons_founded()];
        for person in view.state.persons() {
            keys[person.number.0 as usize] = view.person_id(person.number);
        }
        PersonKeys::PersonIds(keys)
    }

    pub(crate) fn of(&self, view: &View<'_>, person: PersonNo) -> PersonKey {
        match self {
            PersonKeys::PersonIdBasis => PersonKey::PersonIdBasis(view.called(person)),
            PersonKeys::PersonIds(keys) => PersonKey::PersonId(keys[person.0 as usize]),
        }
    }

    /// The key of the person that `id`, which has none, would found.
    pub(crate) fn implied(&self, view: &View<'_>, id: IdNo) -> PersonKey {
        match self {
            PersonKeys::PersonIdBasis => PersonKey::PersonIdBasis(view.called_of(id).0),
            PersonKeys::PersonIds(_) => PersonKey::PersonId(view.whose(id).person_id),
        }
    }
}
