//! Public ids of persons that were computed last. Each is a SHA-1 of a text (D10), and events ask for the same ones again and again.

use std::sync::{Mutex, PoisonError};

use crate::fold::PersonIdBasis;
use crate::model::id::PersonId;

/// How many are kept at most: 2 MB. Each has one place, by the id that it is made of.
const MOST_PLACES: usize = 1 << 16;

/// The public ids, each with what it is made of.
#[derive(Debug)]
pub(super) struct Names {
    places: Mutex<Vec<Option<(PersonIdBasis, PersonId)>>>,
    size: usize,
}

impl Names {
    /// Room for names that are made of `ids` ids.
    pub(super) fn of(ids: usize) -> Names {
        Names { places: Mutex::default(), size: ids.clamp(1, MOST_PLACES) }
    }

    /// The public id that is made of `basis`, as `compute` gives it.
    pub(super) fn get(&self, basis: PersonIdBasis, compute: impl FnOnce() -> PersonId) -> PersonId {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(self.size, None);
        }
        let place = &mut places[basis.id().index() % self.size];
        match place {
            Some((known, person_id)) if *known == basis => *person_id,
            _ => place.insert((basis, compute())).1,
        }
    }
}

/// A copy begins with nothing.
impl Clone for Names {
    fn clone(&self) -> Names {
        Names::of(self.size)
    }
}
