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
    /// By place in `stand`: the least `since` up to there. Made from it.
    earliest: Vec<u32>,
    /// By place in `former`: the last correction up to there. Made from it.
    latest: Vec<u32>,
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
    /// The interval in which a record stands, as things were right after record `as_of`.
    ///
    /// Cost: two searches, and a look at each interval right before the record that came or went with a correction; at none where all came
    /// after `as_of`, or all were gone by then.
    pub(super) fn at(&self, seq: u32, as_of: u32) -> Option<Interval> {
        let stand = self.stand.partition_point(|interval| interval.begin <= seq);
        let former = self.former.partition_point(|(interval, _)| interval.begin <= seq);
        let is_some = |bounds: &[u32], len: usize, holds: &dyn Fn(u32) -> bool| {
            len.checked_sub(1).and_then(|last| bounds.get(last)).is_some_and(|bound| holds(*bound))
        };
        let stand = if is_some(&self.earliest, stand, &|since| since <= as_of) { stand } else { 0 };
        let former = if is_some(&self.latest, former, &|until| as_of < until) { former } else { 0 };
        let stands = self.stand[..stand].iter().rfind(|interval| interval.since <= as_of);
        let stood =
            self.former[..former].iter().rfind(|(interval, until)| interval.since <= as_of && as_of < *until);
        stands.max(stood.map(|(interval, _)| interval)).copied()
    }

    fn push(&mut self, interval: Interval) {
        self.earliest.push(self.earliest.last().map_or(interval.since, |least| interval.since.min(*least)));
        self.stand.push(interval);
    }

    /// Makes what is made from the lists.
    fn bound(&mut self) {
        let running = |values: &mut dyn Iterator<Item = u32>, of: fn(u32, u32) -> u32| -> Vec<u32> {
            let mut last = None;
            values.map(|value| *last.insert(last.map_or(value, |last| of(last, value)))).collect()
        };
        self.earliest = running(&mut self.stand.iter().map(|interval| interval.since), u32::min);
        self.latest = running(&mut self.former.iter().map(|(_, until)| *until), u32::max);
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
        self.bound();
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
            self.intervals.entry(id).or_default().push(interval);
            self.note(id, whom);
        }
        changes
    }

    /// Takes what was read back of an id.
    pub(super) fn put(&mut self, id: IdNo, mut intervals: Intervals) {
        intervals.bound();
        let Intervals { stand, former, .. } = &intervals;
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
            64 + intervals.stand.capacity() * interval
                + intervals.former.capacity() * (interval + 4)
                + (intervals.earliest.capacity() + intervals.latest.capacity()) * 4
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
        intervals.push(interval(3, 3, 0));
        intervals.push(interval(5, 5, 2));
        intervals.adopt(vec![interval(3, 3, 0), interval(9, 9, 1)], 12);
        assert_eq!(intervals.stand, [interval(3, 3, 0), interval(9, 12, 1)]);
        assert_eq!(intervals.former, [(interval(5, 5, 2), 12)]);
        let whom = |seq, as_of| intervals.at(seq, as_of).map(|interval| interval.whom);
        assert_eq!([whom(2, NONE), whom(4, 4), whom(4, NONE)], [None, Some(0), Some(0)]);
        assert_eq!([whom(6, 11), whom(6, 12)], [Some(2), Some(0)]);
        assert_eq!([whom(10, 11), whom(10, 12)], [Some(2), Some(1)]);
    }

    /// As a look at each of them finds it, whatever corrections took away and gave back.
    #[test]
    fn an_interval_is_found_whatever_corrections_came() {
        let mut intervals = Intervals::default();
        for begin in 1..=20 {
            intervals.push(Interval { begin: begin * 3, since: begin * 3, whom: begin % 4 });
        }
        let all = intervals.stand.clone();
        for correction in [70, 80, 90, 100, 110, 120] {
            let left = match correction % 3 {
                0 => Vec::new(),
                1 => all.clone(),
                _ => all.iter().copied().filter(|interval| interval.begin % 2 == 0).collect(),
            };
            intervals.adopt(left, correction);
            for (seq, as_of) in (0..130).flat_map(|seq| (0..130).map(move |as_of| (seq, as_of))) {
                let stand = intervals.stand.iter().filter(|interval| interval.since <= as_of);
                let former = intervals.former.iter();
                let stood = former.filter(|(interval, until)| interval.since <= as_of && as_of < *until);
                let naive =
                    stand.chain(stood.map(|(interval, _)| interval)).filter(|found| found.begin <= seq);
                assert_eq!(intervals.at(seq, as_of), naive.max().copied(), "{seq} as of {as_of}");
            }
        }
        let mut again = SharedIds::default();
        let (stand, former) = (intervals.stand.clone(), intervals.former.clone());
        again.put(IdNo(7), Intervals { stand, former, ..Intervals::default() });
        assert_eq!(again.intervals[&IdNo(7)], intervals);
    }

    #[test]
    fn another_sign_in_of_the_same_user_begins_no_interval() {
        let mut shared = SharedIds::default();
        let mut begin = |seq, whom: Option<u32>| shared.begin(IdNo(7), seq, whom.map(IdNo));
        let begun = [begin(1, None), begin(2, Some(0)), begin(3, Some(0)), begin(4, None), begin(5, None)];
        assert_eq!(begun, [false, true, false, true, false]);
    }
}
