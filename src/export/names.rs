//! Public ids of persons that were computed last. Each is a SHA-1 of a text (D10), and events ask for the same ones again and again.

use std::sync::{Mutex, PoisonError};

use crate::fold::PersonIdBasis;
use crate::model::id::PersonId;

/// How many are kept: 2 MB. Each has one place, by the id that it is made of.
const PLACES: usize = 1 << 16;

/// The public ids, each with what it is made of.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Vec<Option<(PersonIdBasis, PersonId)>>>);

impl Names {
    /// The public id that is made of `basis`, as `compute` gives it.
    pub(super) fn get(&self, basis: PersonIdBasis, compute: impl FnOnce() -> PersonId) -> PersonId {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(PLACES, None);
        }
        let place = &mut places[basis.id().index() % PLACES];
        match place {
            Some((known, person_id)) if *known == basis => *person_id,
            _ => place.insert((basis, compute())).1,
        }
    }
}

/// A copy begins with nothing.
impl Clone for Names {
    fn clone(&self) -> Names {
        Names::default()
    }
}
