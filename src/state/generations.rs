//! Generations: what was before a component was refolded, and what became of it (H1, H2).
//!
//! A retract or split gives a component new persons and new links. The former ones stay: they say who was who before, and
//! their person ids resolve for ever. A ledger without retracts and splits stores nothing here.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{DeviceNo, IdNo};
use crate::state::links::{NONE, PersonNo};

/// What there is beside the present generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Generations {
    /// Persons of former generations, and who each is now: another person, or the owner of its founding id.
    pub(super) retired: BTreeMap<PersonNo, Option<PersonNo>>,
    /// Persons that were not founded by the record since which their founding id belongs to them: all that a refold made or
    /// retired.
    pub(super) origins: BTreeMap<PersonNo, Origin>,
    /// To whom ids belonged in former generations, oldest first.
    pub(super) former: BTreeMap<IdNo, Vec<Former>>,
    /// Which records are retracted, and were: since when, and whether.
    pub(super) retractions: BTreeMap<u32, Vec<(u32, bool)>>,
    /// The persons of `origins` by founding id; made from it.
    pub(super) founded_by: BTreeMap<IdNo, Vec<PersonNo>>,
    /// One id each of persons whose founding id left them; made from the links.
    pub(super) anchors: BTreeMap<PersonNo, IdNo>,
    /// Devices that a refold made speak for an erased id, until they are reset (H3). No digest covers it: after an opening it is empty.
    pub(super) due_resets: BTreeSet<DeviceNo>,
}

/// How a person came to be: what its public id is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The record that founded it.
    pub(crate) founded: u32,
    /// Whether that was a split (D11): then the record's number is part of the public id.
    pub(crate) split: bool,
}

/// To whom an id belonged before a record refolded its component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Former {
    /// The record that refolded the component: `slot` and `since` hold for records before it.
    pub(super) until: u32,
    /// As in [`super::links::Leaf`].
    pub(super) slot: u32,
    pub(super) since: u32,
}

impl Generations {
    /// Whether no component was ever refolded, and no split happened in one that is folded alone.
    pub(super) fn is_empty(&self) -> bool {
        self.former.is_empty() && self.retractions.is_empty() && self.origins.is_empty()
    }

    /// Where `id` belonged right after record `seq`, if that was in a former generation: slot and since.
    pub(super) fn former(&self, id: IdNo, seq: u32) -> Option<(u32, u32)> {
        let formers = self.former.get(&id)?;
        let Former { slot, since, .. } =
            formers.get(formers.partition_point(|former| former.until <= seq))?;
        Some((*slot, *since))
    }

    /// To whom `id` belonged before, oldest first.
    pub(super) fn formers(&self, id: IdNo) -> &[Former] {
        self.former.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn origin(&mut self, person: PersonNo, founding: IdNo, origin: Origin) {
        if self.origins.insert(person, origin).is_none() {
            self.founded_by.entry(founding).or_default().push(person);
        }
    }

    /// Whether record `target` is retracted right after record `seq`.
    pub(super) fn retracted(&self, target: u32, seq: u32) -> bool {
        let turns = self.retractions.get(&target).map_or(&[][..], Vec::as_slice);
        let after = turns.partition_point(|(since, _)| *since <= seq);
        after > 0 && turns[after - 1].1
    }

    /// Notes that `target` is retracted or not, from record `seq` on.
    pub(super) fn turn(&mut self, target: u32, seq: u32, retracted: bool) {
        if self.retracted(target, NONE) != retracted {
            self.retractions.entry(target).or_default().push((seq, retracted));
        }
    }

    /// Bytes held, near enough.
    pub(super) fn memory(&self) -> usize {
        let turns: usize = self.retractions.values().map(|turns| 32 + turns.capacity() * 8).sum();
        let formers: usize = self.former.values().map(|formers| 32 + formers.capacity() * 12).sum();
        self.retired.len() * 16 + self.origins.len() * 64 + turns + formers
    }
}
