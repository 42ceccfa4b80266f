//! Public ids of persons that were computed last. Each is a SHA-1 of a text (D10), and events ask for the same ones again and again.

use std::sync::{Mutex, PoisonError};

use crate::fold::PersonNo;
use crate::log::body::IdNo;
use crate::model::id::PersonId;

/// How many are kept at most: 2 MB. Each has one place, by its number.
const MOST_PLACES: usize = 1 << 16;

/// Whose public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A person's.
    Person(PersonNo),
    /// That of the person that an id would found.
    Implied(IdNo),
}

/// The public ids of one state, each with whose it is.
#[derive(Debug)]
pub(super) struct Names {
    places: Mutex<Vec<Option<(Whose, PersonId)>>>,
    size: usize,
}

impl Names {
    /// Room for the names of persons of `ids` ids.
    pub(super) fn of(ids: usize) -> Names {
        Names { places: Mutex::default(), size: ids.clamp(1, MOST_PLACES) }
    }

    /// A public id, as `compute` gives it.
    pub(super) fn get(&self, whose: Whose, compute: impl FnOnce() -> PersonId) -> PersonId {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(self.size, None);
        }
        let (Whose::Person(PersonNo(number)) | Whose::Implied(IdNo(number))) = whose;
        let place = &mut places[number as usize % self.size];
        match place {
            Some((known, person_id)) if *known == whose => *person_id,
            _ => place.insert((whose, compute())).1,
        }
    }
}

/// A copy begins with nothing.
impl Clone for Names {
    fn clone(&self) -> Names {
        Names::of(self.size)
    }
}
