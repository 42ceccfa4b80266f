//! The components that corrections refolded last, kept so that the next correction folds only what it changes.
//!
//! Nothing here belongs to what the log means: no digest, no snapshot and no copy of a state has it.

use crate::fold::generations::Origin;
use crate::fold::links::{NONE, PersonNo};
use crate::log::body::{DeviceNo, IdNo};
use crate::log::component::{ComponentRecords, Node, nodes_of};
use crate::log::kind::Kind;
use crate::log::record::{Record, Row};

/// How many components are kept.
const KEPT_COMPONENTS: usize = 8;
/// Most bytes that the kept components may hold together. A component that is larger by itself is not kept.
const KEPT_BYTES: usize = 64 << 20;
/// A checkpoint for each eighth of a component's records: a copy of the state costs about as much as folding an eighth.
const CHECKPOINTS: usize = 8;
/// Fewest records between two checkpoints.
const CHECKPOINT_RECORDS: usize = 64;

/// The components that were refolded last, the latest at the end. `S` is the state of a component folded alone.
#[derive(Debug)]
pub(super) struct FoldCache<S>(Vec<CachedFold<S>>);

impl<S> Default for FoldCache<S> {
    fn default() -> FoldCache<S> {
        FoldCache(Vec::new())
    }
}

/// A copy begins empty: what is kept saves work and says nothing.
impl<S> Clone for FoldCache<S> {
    fn clone(&self) -> FoldCache<S> {
        FoldCache::default()
    }
}

impl<S: Clone> FoldCache<S> {
    /// Takes out the component that holds an id.
    pub(super) fn take(&mut self, id: IdNo) -> Option<CachedFold<S>> {
        let found = self.0.iter().position(|fold| fold.ids.binary_search(&id).is_ok())?;
        Some(self.0.remove(found))
    }

    /// Keeps a component; `bytes` gives what a state of one holds.
    pub(super) fn put(&mut self, fold: CachedFold<S>, bytes: impl Fn(&S) -> usize) {
        // Components only grow together: one that shares an id with this one is part of it.
        self.0.retain(|other| other.ids.first().is_none_or(|id| fold.ids.binary_search(id).is_err()));
        self.0.push(fold);
        let bytes: Vec<usize> = self.0.iter().map(|fold| fold.bytes(&bytes)).collect();
        let (mut kept, mut total) = (0, 0);
        for bytes in bytes.iter().rev().take(KEPT_COMPONENTS) {
            total += bytes;
            if total > KEPT_BYTES {
                break;
            }
            kept += 1;
        }
        self.0.drain(..self.0.len() - kept);
    }
}

/// What a split needs to know of an operation before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    /// The id that it spoke for: T, or for whom T spoke (D13).
    pub(super) id: IdNo,
    pub(super) to: CameTo,
    /// Whether it said that its ends are one user (D1), by the policy of the time.
    pub(super) identifies: bool,
    /// Whether it wrote by event time (E8), by the policy of the time.
    pub(super) by_time: bool,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CameTo {
    /// It was not folded, or refused before any effect.
    ToNothing,
    /// It was refused by D3, D6, D9 or D12, or was a sign-in on a shared id (D13): it joined nothing that a split could part.
    ToNoLink,
    /// It was folded and not refused.
    Through,
}

/// A component folded up to a record.
#[derive(Clone, Debug)]
pub(super) struct Stage<S> {
    /// How many of the component's records were folded or passed over.
    pub(super) records: usize,
    pub(super) state: S,
}

/// The fold that the last correction changed, for the correction that undoes it.
#[derive(Debug)]
struct Undo<S> {
    /// The place of the operation that the correction retracted or restored.
    operation: usize,
    end: Stage<S>,
    came: Vec<Came>,
}

/// A person of a component: what tells it from others, and its number in the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// The component's own number of the id that founded it.
    pub(super) founding: u32,
    pub(super) origin: Origin,
    pub(super) person: PersonNo,
    /// Whether the whole's generations have its origin.
    pub(super) is_noted: bool,
}

impl Present {
    fn key(&self) -> (u32, Option<u32>) {
        (self.founding, self.origin.key())
    }
}

/// The persons of a component, found by what tells them apart.
#[derive(Debug, Default)]
pub(super) struct PresentPersons {
    /// Ascending by founding id and key.
    list: Vec<Present>,
    /// By founding id: where its persons begin in the list.
    begins: Vec<u32>,
}

impl PresentPersons {
    /// The persons of a component of this many ids.
    pub(super) fn new(mut list: Vec<Present>, ids: usize) -> PresentPersons {
        list.sort_by_key(Present::key); // few runs that ascend already
        let mut begins = Vec::with_capacity(ids + 1);
        for (place, person) in (0..).zip(&list) {
            begins.resize(begins.len().max(person.founding as usize + 1), place);
        }
        begins.resize(ids + 1, list.len() as u32); // MAX_RECORDS bounds it
        PresentPersons { list, begins }
    }

    /// The place in the list of the person of a founding id and key.
    pub(super) fn find(&self, founding: u32, key: Option<u32>) -> Option<usize> {
        let begin = self.begins[founding as usize] as usize;
        let same = &self.list[begin..self.begins[founding as usize + 1] as usize];
        let found = same.binary_search_by_key(&key, |person| person.origin.key()).ok()?;
        Some(begin + found)
    }

    pub(super) fn list(&self) -> &[Present] {
        &self.list
    }
}

/// One component, folded alone: the records that count, with checkpoints of the fold.
#[derive(Debug)]
pub(super) struct CachedFold<S> {
    /// The whole's numbers, ascending; the place of each is the component's own number.
    pub(super) ids: Vec<IdNo>,
    pub(super) devices: Vec<DeviceNo>,
    /// The component's records, in its own numbers.
    pub(super) told: ComponentRecords,
    /// By place among the records: the place of what a retract retracts, or NONE.
    targets: Vec<u32>,
    /// By place: how many retracts of the record are not retracted themselves.
    retracts: Vec<u32>,
    /// By place, of the records that `end` has folded.
    pub(super) came: Vec<Came>,
    pub(super) end: Stage<S>,
    /// The fold at earlier records, ascending.
    checkpoints: Vec<Stage<S>>,
    /// The operations that were retracted or restored since `end` was folded.
    changed: Vec<usize>,
    undo: Option<Undo<S>>,
    /// What the whole had after the last refold, if it refolded this component.
    pub(super) refolded: Option<Refolded>,
}

/// What the whole had after a refold.
#[derive(Debug, Default)]
pub(super) struct Refolded {
    /// The component's persons.
    pub(super) present: Vec<Present>,
    /// How many ids the component had.
    pub(super) ids: usize,
    /// How many persons the whole had.
    pub(super) persons: u32,
}

impl<S: Clone> CachedFold<S> {
    /// The first `count` of a component's records, of which none is folded yet; `empty` gives the state before them.
    pub(super) fn new(
        records: &ComponentRecords,
        count: usize,
        empty: impl FnOnce(&[IdNo]) -> S,
    ) -> CachedFold<S> {
        let records = records.first(count);
        let (ids, devices) = records.named();
        let told = records.relabelled(&ids, &devices);
        let target = |record| told.retracts(record).map_or(NONE, |place| place as u32); // MAX_RECORDS bounds it
        let targets: Vec<u32> = told.records().map(target).collect();
        let mut retracts = vec![0; targets.len()];
        // From the end: what retracts a record stands behind it.
        for (place, target) in targets.iter().enumerate().rev() {
            if *target != NONE && retracts[place] == 0 {
                retracts[*target as usize] += 1;
            }
        }
        let end = Stage { records: 0, state: empty(&ids) };
        CachedFold {
            ids,
            devices,
            told,
            targets,
            retracts,
            came: Vec::new(),
            end,
            checkpoints: Vec::new(),
            changed: Vec::new(),
            undo: None,
            refolded: None,
        }
    }

    /// Adds what is new among the first `count` of the component's records. `false` if the component is more than this one continued:
    /// then it is of no use any more.
    pub(super) fn extend(&mut self, records: &ComponentRecords, count: usize) -> bool {
        let had = self.targets.len();
        let continues = match had.checked_sub(1) {
            // A component loses no record, so if that many were there before, they were the same.
            Some(last) => had <= count && records.row(last).seq == self.told.row(last).seq,
            None => true,
        };
        continues && (had..count).all(|place| self.push(records.at(place)))
    }

    /// Adds the component's next record; `false` as [`CachedFold::extend`].
    pub(super) fn push(&mut self, record: Record<'_>) -> bool {
        let is_known = nodes_of(record).into_iter().all(|node| match node {
            Node::Id(id) => know(&mut self.ids, id),
            Node::Device(device) => know(&mut self.devices, device),
        });
        if !is_known {
            return false;
        }
        self.told.push_relabelled(record, &self.ids, &self.devices);
        let target = self.told.retracts(self.told.at(self.targets.len()));
        self.targets.push(target.map_or(NONE, |place| place as u32)); // MAX_RECORDS bounds it
        self.retracts.push(0);
        if let Some(target) = target {
            self.retract(target);
        }
        true
    }

    /// Counts one more retract of a record, and what follows for the records that the record retracts (H1).
    fn retract(&mut self, target: usize) {
        let (mut at, mut stands) = (target, true);
        loop {
            let retracts = &mut self.retracts[at];
            let others = if stands { *retracts } else { *retracts - 1 };
            *retracts = others + u32::from(stands);
            if others > 0 {
                return; // it is retracted either way
            }
            match self.targets[at] {
                NONE if self.told.row(at).kind == Kind::Retract => return,
                NONE => return self.changed.push(at),
                target => (at, stands) = (target as usize, !stands),
            }
        }
    }

    /// Whether what was retracted or restored since the last fold gave an id a class (H5).
    pub(super) fn changes_class(&self) -> bool {
        self.changed.iter().any(|place| self.told.row(*place).kind == Kind::Reclassify)
    }

    /// Whether the record at a place counts as never asked.
    pub(super) fn is_retracted(&self, place: usize) -> bool {
        self.retracts[place] > 0
    }

    /// The place of what the retract at a place retracts.
    pub(super) fn target(&self, place: usize) -> Option<usize> {
        let target = self.targets[place];
        (target != NONE).then_some(target as usize)
    }

    /// Whether a retract of the whole names an operation of its T.
    pub(super) fn fits(&self, retract: &Row) -> Option<usize> {
        let place = self.told.place(retract.target()?)?;
        let found = self.told.row(place);
        (found.is_operation() && self.ids[found.id.index()] == retract.id).then_some(place)
    }

    /// The first record by which the one at a place is retracted.
    pub(super) fn retracting(&self, place: usize) -> Option<u32> {
        if !self.is_retracted(place) {
            return None;
        }
        let of = |by: &usize| self.target(*by) == Some(place) && !self.is_retracted(*by);
        (place + 1..self.targets.len()).find(of).map(|by| self.told.row(by).seq)
    }

    /// Goes back to before the first operation that was retracted or restored since the last fold. Gives the place up to which
    /// checkpoints are of use: the next correction is likely near this one.
    pub(super) fn rewind(&mut self, empty: impl FnOnce(&[IdNo]) -> S) -> usize {
        let changed = std::mem::take(&mut self.changed);
        let Some(first) = changed.iter().min().copied() else { return 0 };
        if first >= self.end.records {
            return first;
        }
        self.checkpoints.retain(|checkpoint| checkpoint.records <= first);
        let undo = self
            .undo
            .take()
            .filter(|undo| changed == [undo.operation] && self.only_retracts(undo.end.records));
        let (end, came) = match undo {
            Some(Undo { end, came, .. }) => (end, came),
            None => {
                let end = match self.checkpoints.last() {
                    Some(checkpoint) => checkpoint.clone(),
                    None => Stage { records: 0, state: empty(&self.ids) },
                };
                let came = self.came[..end.records].to_vec();
                (end, came)
            }
        };
        let (end, came) = (std::mem::replace(&mut self.end, end), std::mem::replace(&mut self.came, came));
        self.undo = (changed.len() == 1).then_some(Undo { operation: first, end, came });
        first
    }

    /// Whether nothing but retracts comes behind the first records.
    fn only_retracts(&self, first: usize) -> bool {
        (first..self.targets.len()).all(|place| self.told.row(place).kind == Kind::Retract)
    }

    /// Keeps the fold as it is now, if the last checkpoint is far enough behind.
    pub(super) fn keep_checkpoint(&mut self) {
        let last = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.records);
        let gap = (self.targets.len() / CHECKPOINTS).max(CHECKPOINT_RECORDS);
        if self.end.records >= last + gap {
            self.checkpoints.push(self.end.clone());
        }
    }

    /// Bytes held, near enough.
    fn bytes(&self, state: impl Fn(&S) -> usize) -> usize {
        let undo = self.undo.iter().map(|undo| &undo.end);
        let stages = self.checkpoints.iter().chain(undo).chain([&self.end]);
        stages.map(|stage| state(&stage.state)).sum::<usize>() + self.told.memory() + self.ids.len() * 32
    }
}

/// Whether `all`, which ascend, hold `of`; if it is behind them, it is added.
fn know<T: Ord + Copy>(all: &mut Vec<T>, of: T) -> bool {
    if all.last().is_none_or(|last| *last < of) {
        all.push(of);
    }
    all.binary_search(&of).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(ids: &[u32]) -> CachedFold<usize> {
        let mut fold = CachedFold::new(&ComponentRecords::default(), 0, |_| 1);
        fold.ids.extend(ids.iter().copied().map(IdNo));
        fold
    }

    fn kept(cache: &FoldCache<usize>) -> Vec<u32> {
        cache.0.iter().map(|fold| fold.ids[0].0).collect()
    }

    #[test]
    fn the_components_that_were_asked_for_last_are_kept() {
        let mut cache = FoldCache::default();
        (0..10).for_each(|id| cache.put(fold(&[id]), |_| 1));
        assert_eq!(kept(&cache), [2, 3, 4, 5, 6, 7, 8, 9]);
        let again = cache.take(IdNo(3)).unwrap();
        assert!(cache.take(IdNo(3)).is_none());
        cache.put(again, |_| 1);
        assert_eq!(kept(&cache), [2, 4, 5, 6, 7, 8, 9, 3]);
        assert_eq!(kept(&cache.clone()), [0; 0], "a copy begins empty");
    }

    #[test]
    fn what_is_kept_has_room_up_to_the_limit() {
        let mut cache = FoldCache::default();
        (0..3).for_each(|id| cache.put(fold(&[id]), |_| KEPT_BYTES / 2 - 1_000));
        assert_eq!(kept(&cache), [1, 2]);
        cache.put(fold(&[3]), |_| KEPT_BYTES);
        assert_eq!(kept(&cache), [0; 0], "one that is too large by itself is not kept");
    }

    /// Else the parts would stand for the whole.
    #[test]
    fn components_that_were_joined_are_kept_as_one() {
        let mut cache = FoldCache::default();
        [&[1, 4][..], &[2], &[3]].into_iter().for_each(|ids| cache.put(fold(ids), |_| 1));
        cache.put(fold(&[1, 2, 4, 5]), |_| 1);
        assert_eq!(kept(&cache), [3, 1]);
        assert_eq!(cache.take(IdNo(2)).unwrap().ids.len(), 4);
    }

    #[test]
    fn persons_are_found_by_founding_id_and_split() {
        let person = |founding, split: Option<u32>, number| Present {
            founding,
            origin: Origin { founded: split.unwrap_or(9), split: split.is_some() },
            person: PersonNo(number),
            is_noted: true,
        };
        let all = [person(3, None, 0), person(1, Some(7), 1), person(1, None, 2), person(1, Some(5), 3)];
        let persons = PresentPersons::new(all.to_vec(), 5);
        for Present { founding, origin, person, .. } in all {
            let place = persons.find(founding, origin.key()).unwrap();
            assert_eq!(persons.list()[place].person, person);
        }
        let none = [(0, None), (1, Some(6)), (2, None), (3, Some(5)), (4, None)];
        assert!(none.iter().all(|(founding, key)| persons.find(*founding, *key).is_none()));
    }
}
