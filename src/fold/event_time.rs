//! Values by event time (E8): which write of a key counts, whatever the order of the records. Knows keys, verbs and times, and no
//! values (E6).

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::profile::{Property, PropertyCounts, winner_of};
use crate::log::body::{Change, KeyNo, Verb};

/// The write of a key that counts. Of a value written by record it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// When its operation happened, by the sender's clock, in microseconds.
    pub(super) time: i64,
    /// Its record.
    pub(super) seq: u32,
    /// `UNSET` stands for a key that the person does not have.
    pub(super) verb: Verb,
}

/// The marks of one person. Empty where no value was ever written by event time.
pub(super) type Marks = BTreeMap<KeyNo, Mark>;

impl Mark {
    fn is_later(self, other: Mark) -> bool {
        (self.time, self.seq) > (other.time, other.seq)
    }

    /// Whether this write counts, and not the other.
    fn beats(self, other: Mark) -> bool {
        match (self.verb, other.verb) {
            (Verb::SET, Verb::SET_ONCE) => true,
            (Verb::SET_ONCE, Verb::SET) => false,
            (Verb::SET_ONCE, Verb::SET_ONCE) => other.is_later(self),
            _ => self.is_later(other),
        }
    }
}

/// How many keys are known to be unset.
pub(super) fn unset(marks: &Marks) -> usize {
    marks.values().filter(|mark| mark.verb == Verb::UNSET).count()
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
        let known = marks.get(&key).copied();
        let counts = |verb| known.is_none_or(|known| Mark { time, seq, verb }.beats(known));
        let there = entries.binary_search_by_key(&key, |property| property.key);
        let by = match (there, winner) {
            (Ok(at), _) if unset && counts(Verb::UNSET) => {
                entries.remove(at);
                written.removed += 1;
                Verb::UNSET
            }
            // A value that was written by record is there, and its time is not known (E1).
            (Ok(_), Some((Verb::SET_ONCE, _))) if known.is_none() => continue,
            (Ok(at), Some((verb, place))) if counts(verb) => {
                entries[at] = Property { key, seq, place };
                written.set += 1;
                verb
            }
            (Err(at), Some((verb, place))) if counts(verb) => {
                entries.insert(at, Property { key, seq, place });
                written.set += 1;
                verb
            }
            (Err(_), None) if unset && counts(Verb::UNSET) => Verb::UNSET,
            _ => continue,
        };
        marks.insert(key, Mark { time, seq, verb: by });
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
        let there = entries.binary_search_by_key(&key, |property| property.key);
        let counts = match (marks.get(&key), other_marks.get(&key)) {
            (Some(ours), Some(theirs)) => theirs.beats(*ours),
            _ => there.is_err(), // E2, where one of the times is not known
        };
        if !counts {
            continue;
        }
        match (there, entry(others, key)) {
            (Ok(at), Some(property)) => entries[at] = property,
            (Err(at), Some(property)) => entries.insert(at, property),
            (Ok(at), None) => drop(entries.remove(at)),
            (Err(_), None) => {}
        }
        match other_marks.get(&key) {
            Some(mark) => drop(marks.insert(key, *mark)),
            None => drop(marks.remove(&key)),
        }
    }
}

/// The marks of two persons whose values were merged by E2: `entries` are what came of it.
pub(super) fn marks_of(entries: &[Property], ours: Marks, theirs: Marks) -> Marks {
    let fits = |(key, mark): &(KeyNo, Mark)| match entry(entries, *key) {
        Some(property) => property.seq == mark.seq,
        None => mark.verb == Verb::UNSET,
    };
    theirs.into_iter().chain(ours).filter(fits).collect()
}

fn entry(entries: &[Property], key: KeyNo) -> Option<Property> {
    let place = entries.binary_search_by_key(&key, |property| property.key).ok()?;
    Some(entries[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each two writes of a key, in both orders: the same counts.
    #[test]
    fn two_writes_come_to_the_same_in_either_order_e8() {
        let verbs = [Verb::SET, Verb::SET_ONCE, Verb::UNSET];
        for (first, second) in verbs.iter().flat_map(|first| verbs.map(|second| (*first, second))) {
            let fold = |writes: [(Verb, i64); 2]| {
                let (mut entries, mut marks) = (Vec::new(), Marks::new());
                for (verb, time) in writes {
                    let seq = time as u32;
                    change(&mut entries, &mut marks, &[Change { key: KeyNo(0), verb }], (time, seq));
                }
                (entries, marks)
            };
            let (one, other) = (fold([(first, 1), (second, 2)]), fold([(second, 2), (first, 1)]));
            assert_eq!(one, other, "{first:?} {second:?}");
            let merged = |ours: (Verb, i64), theirs: (Verb, i64)| {
                let alone = |write: (Verb, i64)| {
                    let (mut entries, mut marks) = (Vec::new(), Marks::new());
                    let list = [Change { key: KeyNo(0), verb: write.0 }];
                    change(&mut entries, &mut marks, &list, (write.1, write.1 as u32));
                    (entries, marks)
                };
                let ((mut entries, mut marks), (others, other_marks)) = (alone(ours), alone(theirs));
                merge((&mut entries, &mut marks), (&others, &other_marks));
                (entries, marks)
            };
            assert_eq!(merged((first, 1), (second, 2)), one, "{first:?} {second:?}, of two persons");
            assert_eq!(merged((second, 2), (first, 1)), one, "{first:?} {second:?}, the other way round");
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
