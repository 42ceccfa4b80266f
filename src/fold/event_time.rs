//! Values by event time (E8): which write of a key counts, whatever the order of the records. Knows keys, verbs and times, and no
//! values (E6).

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::profile::{Property, PropertyCounts, winner_of};
use crate::log::body::{Change, KeyNo, Verb};

/// A write of a key, as late as its operation says. Of two with one time the later record is the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Write {
    /// When its operation happened, by the sender's clock, in microseconds.
    pub(super) time: i64,
    /// Its record.
    pub(super) seq: u32,
    /// The value's place among those of its record; 0 of an `unset`.
    pub(super) place: u16,
}

/// What is known of a key by event time. Of a value written by record it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The latest `set` or `unset`: no write before it counts.
    pub(super) barrier: Option<Write>,
    /// Whether that is a `set`.
    pub(super) sets: bool,
    /// The earliest `set_once` behind it: the value, unless the key is set.
    pub(super) once: Option<Write>,
}

/// The marks of one person. Empty where no value was ever written by event time.
pub(super) type Marks = BTreeMap<KeyNo, Mark>;

impl Mark {
    /// The write whose value the key has; `None` if it is known to be unset.
    fn stands(self) -> Option<Write> {
        if self.sets { self.barrier } else { self.once }
    }

    /// The property that the key is.
    pub(super) fn property(self, key: KeyNo) -> Option<Property> {
        self.stands().map(|Write { seq, place, .. }| Property { key, seq, place })
    }

    /// Takes in a `set` or an `unset`, if it is the latest.
    fn bar(&mut self, write: Write, sets: bool) {
        if self.barrier < Some(write) {
            (self.barrier, self.sets) = (Some(write), sets);
            self.once = self.once.filter(|once| *once > write);
        }
    }

    /// Takes in a `set_once`, if it is the earliest behind the barrier.
    fn once(&mut self, write: Write) {
        if self.barrier < Some(write) && self.once.is_none_or(|once| write < once) {
            self.once = Some(write);
        }
    }

    /// What is known of a key that two persons have, once they are one.
    fn and(mut self, other: Mark) -> Mark {
        if let Some(barrier) = other.barrier {
            self.bar(barrier, other.sets);
        }
        if let Some(once) = other.once {
            self.once(once);
        }
        self
    }
}

/// How many keys are known to be unset.
pub(super) fn unset(marks: &Marks) -> usize {
    marks.values().filter(|mark| mark.stands().is_none()).count()
}

/// Applies an operation's changes, as [`super::profile::change`] does, by event time.
pub(super) fn change(
    entries: &mut Vec<Property>,
    marks: &mut Marks,
    changes: &[Change],
    (time, seq): (i64, u32),
) -> PropertyCounts {
    let mut written = PropertyCounts::default();
    let mut place = 0;
    for group in changes.chunk_by(|a, b| a.key == b.key) {
        let (key, (winner, unset)) = (group[0].key, winner_of(group, &mut place));
        let (known, there) = (marks.get(&key).copied(), entry(entries, key));
        let mut mark = known.unwrap_or_default();
        let write = |place| Write { time, seq, place };
        let removes = there.is_some() && mark.stands() < Some(write(0));
        match winner {
            _ if unset && (removes || winner.is_none()) => mark.bar(write(0), false),
            Some((Verb::SET, place)) => mark.bar(write(place), true),
            // A value that was written by record is there, and its time is not known (E1).
            Some(_) if there.is_some() && known.is_none() => continue,
            Some((_, place)) => mark.once(write(place)),
            None => continue,
        }
        let now = mark.property(key);
        put(entries, key, now);
        marks.insert(key, mark);
        written.set += u16::from(now.is_some_and(|now| now.seq == seq));
        written.removed += u16::from(there.is_some() && now.is_none());
    }
    written
}

/// Forgets the times of what an operation wrote or removed by record: `entries` are those after it.
pub(super) fn forget(entries: &[Property], marks: &mut Marks, changes: &[Change], seq: u32) {
    for key in changes.iter().filter(|change| change.verb != Verb::KEPT).map(|change| change.key) {
        let there = entry(entries, key);
        if there.is_none_or(|property| property.seq == seq) {
            marks.remove(&key);
        }
    }
}

/// Lays the values of P(S) over those of P(T), where they count and P(T)'s do not.
pub(super) fn merge(
    (entries, marks): (&mut Vec<Property>, &mut Marks),
    (others, other_marks): (&[Property], &Marks),
) {
    let keys: BTreeSet<KeyNo> =
        others.iter().map(|property| property.key).chain(other_marks.keys().copied()).collect();
    for key in keys {
        let there = entry(entries, key);
        let (now, mark) = match (marks.get(&key), other_marks.get(&key)) {
            (Some(ours), Some(theirs)) => {
                let both = ours.and(*theirs);
                (both.property(key), Some(both))
            }
            _ if there.is_some() => continue, // E2, where one of the times is not known
            (_, theirs) => (entry(others, key), theirs.copied()),
        };
        put(entries, key, now);
        match mark {
            Some(mark) => drop(marks.insert(key, mark)),
            None => drop(marks.remove(&key)),
        }
    }
}

/// The marks of two persons whose values were merged by E2: `entries` are what came of it.
pub(super) fn marks_of(entries: &[Property], ours: Marks, theirs: Marks) -> Marks {
    let fits = |(key, mark): &(KeyNo, Mark)| mark.property(*key) == entry(entries, *key);
    theirs.into_iter().chain(ours).filter(fits).collect()
}

fn entry(entries: &[Property], key: KeyNo) -> Option<Property> {
    let place = entries.binary_search_by_key(&key, |property| property.key).ok()?;
    Some(entries[place])
}

/// Gives a key this entry, or none.
fn put(entries: &mut Vec<Property>, key: KeyNo, now: Option<Property>) {
    match (entries.binary_search_by_key(&key, |property| property.key), now) {
        (Ok(at), Some(now)) => entries[at] = now,
        (Err(at), Some(now)) => entries.insert(at, now),
        (Ok(at), None) => drop(entries.remove(at)),
        (Err(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each three writes of a key, recorded in every order, of one person or of two that are merged: the same counts. One is left out: a
    /// `set_once` that came to nothing because there was an earlier one, which is behind the barrier that a later record sets.
    #[test]
    fn three_writes_come_to_the_same_in_every_order_e8() {
        use Verb as V;
        let verbs = [V::SET, V::SET_ONCE, V::UNSET];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let triples = verbs.iter().flat_map(|a| verbs.iter().flat_map(move |b| verbs.map(|c| [*a, *b, c])));
        for triple in triples.filter(|[a, b, c]| (*a, *c) != (V::SET_ONCE, V::SET_ONCE) || *b != V::UNSET) {
            let mut found = Vec::new();
            for (order, whose) in orders.iter().flat_map(|order| (0..8_u32).map(move |whose| (order, whose)))
            {
                let mut persons = [(Vec::new(), Marks::new()), (Vec::new(), Marks::new())];
                for at in order {
                    let (entries, marks) = &mut persons[(whose >> at & 1) as usize];
                    let (time, seq) = (*at as i64, *at as u32);
                    change(entries, marks, &[Change { key: KeyNo(0), verb: triple[*at] }], (time, seq));
                }
                let [(mut entries, mut marks), (others, other_marks)] = persons;
                merge((&mut entries, &mut marks), (&others, &other_marks));
                found.push(entries);
            }
            assert!(found.iter().all(|entries| *entries == found[0]), "{triple:?}: {found:?}");
        }
    }

    #[test]
    fn a_value_written_by_record_has_no_time_e8() {
        let list = |verb| [Change { key: KeyNo(0), verb }];
        let old = || vec![Property { key: KeyNo(0), seq: 1, place: 0 }];
        for (verb, seqs) in [(Verb::SET, vec![2]), (Verb::SET_ONCE, vec![1]), (Verb::UNSET, vec![])] {
            let (mut entries, mut marks) = (old(), Marks::new());
            change(&mut entries, &mut marks, &list(verb), (-5, 2));
            assert_eq!(entries.iter().map(|property| property.seq).collect::<Vec<_>>(), seqs, "{verb:?}");
            let (mut entries, mut marks) = (Vec::new(), Marks::new());
            change(&mut entries, &mut marks, &list(verb), (5, 2));
            let mut by_record = old();
            merge((&mut by_record, &mut Marks::new()), (&entries, &marks));
            assert_eq!(by_record, old(), "P(T)'s stays (E2)");
        }
    }
}
