//! Shared ids (D13): for whom each of them speaks, now and as of any record.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::links::NONE;
use crate::log::body::IdNo;

/// Empty, and without cost, as long as no id is shared.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedIds {
    /// Those that are shared as things stand.
    pub(super) ids: BTreeSet<IdNo>,
    /// By id, also one that was shared earlier.
    pub(super) intervals: BTreeMap<IdNo, Intervals>,
    /// Each id for which another ever spoke, with that. No digest covers it.
    pub(super) speakers: BTreeSet<(IdNo, IdNo)>,
}

/// Since when a shared id speaks for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals {
    /// Those that stand, ascending. Each ends where the next begins.
    pub(super) stand: Vec<Interval>,
    /// Those that a correction took away, ascending, each with the correction.
    pub(super) former: Vec<(Interval, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    /// The record that begins it.
    pub(super) begin: u32,
    /// The record from which on it is there: the one that begins it, or a correction.
    pub(super) since: u32,
    /// For whom the shared id speaks; NONE for itself.
    pub(super) whom: u32,
}

impl Intervals {
    /// The interval in which a record stands, as things were right after record `as_of`. Cost: two searches, and a look at each interval
    /// right before the record that came or went with a correction.
    pub(super) fn at(&self, seq: u32, as_of: u32) -> Option<Interval> {
        let stand = self.stand[..self.stand.partition_point(|interval| interval.begin <= seq)].iter();
        let former = self.former[..self.former.partition_point(|(interval, _)| interval.begin <= seq)].iter();
        let stands = { stand }.rfind(|interval| interval.since <= as_of);
        let stood = { former }.rfind(|(interval, until)| interval.since <= as_of && as_of < *until);
        stands.max(stood.map(|(interval, _)| interval)).copied()
    }

    /// Takes the intervals that a correction left, and keeps those that it took away.
    fn adopt(&mut self, left: Vec<Interval>, correction: u32) {
        let before = std::mem::take(&mut self.stand);
        let same = |a: &Interval, b: &Interval| (a.begin, a.whom) == (b.begin, b.whom);
        let find = |list: &[Interval], begin: u32| {
            list.binary_search_by_key(&begin, |interval| interval.begin).ok().map(|place| list[place])
        };
        self.stand = left
            .iter()
            .map(|new| match find(&before, new.begin).filter(|old| same(old, new)) {
                Some(old) => old,
                None => Interval { since: correction, ..*new },
            })
            .collect();
        let gone = before.iter().filter(|old| find(&left, old.begin).is_none_or(|new| !same(old, &new)));
        let had = self.former.len();
        self.former.extend(gone.map(|old| (*old, correction)));
        if self.former.len() > had {
            self.former.sort_unstable();
        }
    }
}

impl SharedIds {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.intervals.is_empty()
    }

    /// Says whether an id is shared.
    pub(super) fn set(&mut self, id: IdNo, shared: bool) {
        if shared {
            self.ids.insert(id)
        } else {
            self.ids.remove(&id)
        };
    }

    /// From record `seq` on a shared id speaks for `whom`, or for itself. Gives whether that is another than before.
    pub(super) fn begin(&mut self, id: IdNo, seq: u32, whom: Option<IdNo>) -> bool {
        let whom = whom.map_or(NONE, |whom| whom.0);
        let last = self.intervals.get(&id).and_then(|intervals| intervals.stand.last());
        let changes = last.map_or(NONE, |last| last.whom) != whom;
        if changes {
            let interval = Interval { begin: seq, since: seq, whom };
            self.intervals.entry(id).or_default().stand.push(interval);
            self.note(id, whom);
        }
        changes
    }

    /// Takes what was read back of an id.
    pub(super) fn put(&mut self, id: IdNo, intervals: Intervals) {
        let Intervals { stand, former } = &intervals;
        stand.iter().chain(former.iter().map(|(interval, _)| interval)).for_each(|interval| {
            self.note(id, interval.whom);
        });
        self.intervals.insert(id, intervals);
    }

    /// Notes that a shared id speaks, or spoke, for an id.
    fn note(&mut self, id: IdNo, whom: u32) {
        if whom != NONE {
            self.speakers.insert((IdNo(whom), id));
        }
    }

    /// Takes from a component that was folded alone, whose ids these are, for whom its shared ids speak from record `seq` on.
    pub(super) fn adopt(&mut self, alone: &SharedIds, ids: &[IdNo], seq: u32) {
        if self.is_empty() {
            return; // most ledgers
        }
        let whole = |whom: u32| if whom == NONE { NONE } else { ids[whom as usize].0 };
        for (place, id) in (0..).map(IdNo).zip(ids) {
            let left = alone.intervals.get(&place).map_or(&[][..], |intervals| &intervals.stand);
            if left.is_empty() && !self.intervals.contains_key(id) {
                continue;
            }
            let left: Vec<Interval> =
                left.iter().map(|interval| Interval { whom: whole(interval.whom), ..*interval }).collect();
            left.iter().for_each(|interval| self.note(*id, interval.whom));
            self.intervals.entry(*id).or_default().adopt(left, seq);
        }
    }

    /// Bytes held, near enough.
    pub(super) fn memory(&self) -> usize {
        let interval = size_of::<Interval>();
        let of = |intervals: &Intervals| {
            64 + intervals.stand.capacity() * interval + intervals.former.capacity() * (interval + 4)
        };
        self.intervals.values().map(of).sum::<usize>() + (self.ids.len() + self.speakers.len()) * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_found_as_it_was_before_and_after_a_correction() {
        let interval = |begin, since, whom| Interval { begin, since, whom };
        let mut intervals = Intervals::default();
        intervals.stand.extend([interval(3, 3, 0), interval(5, 5, 2)]);
        intervals.adopt(vec![interval(3, 3, 0), interval(9, 9, 1)], 12);
        assert_eq!(intervals.stand, [interval(3, 3, 0), interval(9, 12, 1)]);
        assert_eq!(intervals.former, [(interval(5, 5, 2), 12)]);
        let whom = |seq, as_of| intervals.at(seq, as_of).map(|interval| interval.whom);
        assert_eq!([whom(2, NONE), whom(4, 4), whom(4, NONE)], [None, Some(0), Some(0)]);
        assert_eq!([whom(6, 11), whom(6, 12)], [Some(2), Some(0)]);
        assert_eq!([whom(10, 11), whom(10, 12)], [Some(2), Some(1)]);
    }

    #[test]
    fn another_sign_in_of_the_same_user_begins_no_interval() {
        let mut shared = SharedIds::default();
        let mut begin = |seq, whom: Option<u32>| shared.begin(IdNo(7), seq, whom.map(IdNo));
        let begun = [begin(1, None), begin(2, Some(0)), begin(3, Some(0)), begin(4, None), begin(5, None)];
        assert_eq!(begun, [false, true, false, true, false]);
    }
}
