//! Generations: what was before a component was refolded, and what became of it (H1, H2).
//!
//! A retract or split folds a component again. What came out before is kept by difference: an entry for each id that is in another
//! group now, and for each person that came, went, or is absorbed by another person now. All others keep number and links. A group of
//! which most ids stay together stays, also if it is that of another person now. Nothing here is touched by a ledger without retracts
//! and splits.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::links::PersonNo;
use crate::log::body::{DeviceNo, IdNo, StoredClass};
use crate::model::limits::MAX_MOVED_NAMES;

/// What there is beside the present generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Generations {
    /// Persons of former generations, and who each is now: another person, or the owner of its founding id.
    pub(super) retired: BTreeMap<PersonNo, Option<PersonNo>>,
    /// How each person came to be that was ever part of a component that was folded again.
    pub(super) origins: BTreeMap<PersonNo, Origin>,
    /// To whom ids belonged in former generations, oldest first. Only ids have an entry that a refold moved.
    pub(super) former: BTreeMap<IdNo, Vec<Former>>,
    /// The retracts of each record, oldest first; those that were refused because there was an earlier one are among them.
    pub(super) retractions: BTreeMap<u32, Vec<u32>>,
    /// The last person of `origins` for each public id: founding id, and the record of the split; made from it.
    pub(super) latest: BTreeMap<(IdNo, Option<u32>), PersonNo>,
    /// One id each of persons whose founding id left them; made from the links.
    pub(super) anchors: BTreeMap<PersonNo, IdNo>,
    /// The ids that were ever reclassified (H5), and from what.
    pub(super) reclassified: BTreeMap<IdNo, Reclassified>,
    /// Devices that a refold made speak for an erased id, until they are reset (H3). No digest covers it: after an opening it is empty.
    pub(super) due_resets: BTreeSet<DeviceNo>,
    /// The devices of the component that was folded again last.
    pub(super) devices: Vec<DeviceNo>,
    /// The ids that it moved, for the outcome of the record that folded it again.
    pub(super) moved: Moved,
    /// How many records refolds have folded. A measure of work, not part of what the log means.
    pub(super) refolded: u64,
}

/// Ids that belong to another person since a component was folded again.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved {
    /// The first [`MAX_MOVED_NAMES`] of them, ascending.
    pub(super) named: Vec<IdNo>,
    /// How many there are.
    pub(super) count: u32,
}

impl Moved {
    pub(super) fn note(&mut self, id: IdNo) {
        self.count += 1; // MAX_RECORDS bounds it
        if self.named.len() < MAX_MOVED_NAMES {
            self.named.push(id);
        }
    }
}

/// How a person came to be: what its public id is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The record that founded it.
    pub(crate) founded: u32,
    /// Whether that was a split (D11): then the record's number is part of the public id.
    pub(crate) split: bool,
}

/// What an id was before it was reclassified (H5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reclassified {
    /// The class that its definition gave it.
    pub(super) defined: StoredClass,
    /// The reclassification by which it has the class that it has; NONE if it has that of its definition.
    pub(super) by: u32,
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
        self.origins.insert(person, origin);
        let latest = self.latest.entry((founding, origin.key())).or_insert(person);
        *latest = person.max(*latest);
    }

    /// Whether record `target` is retracted right after record `seq`: a retract of it counts that is not retracted itself.
    ///
    /// Cost: the retracts of it, the retracts of those, and so on.
    pub(super) fn retracted(&self, target: u32, seq: u32) -> bool {
        let of = |record: u32| {
            let retracts = self.retractions.get(&record).map_or(&[][..], Vec::as_slice);
            &retracts[..retracts.partition_point(|by| *by <= seq)]
        };
        let (mut tree, mut seen) = (vec![target], 0);
        while let Some(record) = tree.get(seen) {
            tree.extend_from_slice(of(*record));
            seen += 1;
        }
        let mut retracted = BTreeSet::new();
        // A retract stands in the tree behind what it retracts.
        for record in tree.into_iter().rev() {
            if of(record).iter().any(|by| !retracted.contains(by)) {
                retracted.insert(record);
            }
        }
        retracted.contains(&target)
    }

    /// The first retract of `target` up to record `seq` that is not retracted itself right after `seq`.
    pub(super) fn retracted_by(&self, target: u32, seq: u32) -> Option<u32> {
        let retracts = self.retractions.get(&target).map_or(&[][..], Vec::as_slice);
        retracts.iter().copied().find(|by| *by <= seq && !self.retracted(*by, seq))
    }

    /// All records that are retracted now. A retract stands behind what it retracts, so the last are decided first.
    pub(super) fn all_retracted(&self) -> BTreeSet<u32> {
        let mut retracted = BTreeSet::new();
        for (target, retracts) in self.retractions.iter().rev() {
            if retracts.iter().any(|by| !retracted.contains(by)) {
                retracted.insert(*target);
            }
        }
        retracted
    }

    /// Notes a retract of `target`, which must be an operation that it can retract.
    pub(super) fn retract(&mut self, target: u32, by: u32) {
        self.retractions.entry(target).or_default().push(by);
    }

    /// Bytes held, near enough.
    pub(super) fn memory(&self) -> usize {
        let retracts: usize = self.retractions.values().map(|retracts| 32 + retracts.capacity() * 4).sum();
        let formers: usize = self.former.values().map(|formers| 32 + formers.capacity() * 12).sum();
        self.retired.len() * 16 + self.reclassified.len() * 32 + self.origins.len() * 48 + retracts + formers
    }
}
