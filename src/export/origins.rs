//! Which write made the value of a property with relative changes (E9). Each takes a look at all its changes, and the rows of all its writes
//! ask for the same one again and again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::fold::{PersonNo, Property};
use crate::log::body::KeyNo;
use crate::store::segments::Fault;

/// The write that made a value last, and whether what it is made of was erased since, and that is to be marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) property: Property,
    pub(super) is_lost: bool,
}

/// The origins that were asked for.
#[derive(Debug, Default)]
pub(super) struct Origins(Mutex<BTreeMap<(PersonNo, KeyNo), Origin>>);

impl Origins {
    /// The origin of a person's property, as `find` gives it.
    pub(super) fn get(
        &self,
        of: (PersonNo, KeyNo),
        find: impl FnOnce() -> Result<Origin, Fault>,
    ) -> Result<Origin, Fault> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = known.get(&of) {
            return Ok(*origin);
        }
        let origin = find()?;
        known.insert(of, origin);
        Ok(origin)
    }
}

/// A copy begins with nothing.
impl Clone for Origins {
    fn clone(&self) -> Origins {
        Origins::default()
    }
}
