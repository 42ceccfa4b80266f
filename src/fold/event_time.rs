//! Values by event time (E8): which write of a key counts, whatever the order of the records. Knows keys, verbs and times, and no
//! values (E6).

use crate::fold::delta::{Key, Known, Mark, Write};
use crate::fold::profile::{PropertyCounts, winner_of};
use crate::log::body::{Change, KeyNo, Verb};

impl Mark {
    /// Takes in a `set` or an `unset`, if it is the latest.
    fn raise(&mut self, write: Write, sets: bool) {
        if self.floor < Some(write) {
            (self.floor, self.sets) = (Some(write), sets);
            self.once = self.once.filter(|once| *once > write);
        }
    }

    /// Takes in a `set_once`, if it is the earliest behind the floor.
    fn once(&mut self, write: Write) {
        if self.floor < Some(write) && self.once.is_none_or(|once| write < once) {
            self.once = Some(write);
        }
    }
}

impl Key {
    /// Gives the key what this mark and the relative changes behind its floor come to.
    fn settle(&mut self, key: KeyNo, mark: Mark) {
        while self.deltas.first().is_some_and(|first| mark.floor > Some(*first)) {
            self.deltas.pop_first();
        }
        let begins = mark.begins(&self.deltas);
        self.entry = begins.map(|(write, _)| write.of(key));
        self.alone = begins.is_some_and(|(_, alone)| alone);
        self.mark = Some(mark);
    }

    /// What is known of a key that two persons have, once they are one. Of both the event times are known.
    pub(super) fn and_by_time(mut self, key: KeyNo, other: Key) -> Key {
        let (mut mark, others) = (self.mark.unwrap_or_default(), other.mark.unwrap_or_default());
        if let Some(floor) = others.floor {
            mark.raise(floor, others.sets);
        }
        if let Some(once) = others.once {
            mark.once(once);
        }
        self.extend(other.deltas);
        self.settle(key, mark);
        self
    }
}

impl Known {
    /// Applies an operation's changes, as [`Known::change`] does, by event time.
    pub(super) fn change_by_time(&mut self, changes: &[Change], (time, seq): (i64, u32)) -> PropertyCounts {
        let mut written = PropertyCounts::default();
        let mut place = 0;
        for group in changes.chunk_by(|a, b| a.key == b.key) {
            let (key, begin) = (group[0].key, place);
            let (winner, unset) = winner_of(group, &mut place);
            let mut of = self.take(key);
            let (there, was_timed) = (of.entry, of.is_timed());
            let mut mark = of.mark.unwrap_or_default();
            let write = |place| Write { time, seq, place };
            let stood = mark.begins(&of.deltas).filter(|_| was_timed).map(|(write, _)| write);
            let removes = there.is_some() && stood < Some(write(0));
            let mut is_delta = false;
            let writes = match winner {
                _ if unset && (removes || winner.is_none()) => {
                    mark.raise(write(0), false);
                    true
                }
                Some((Verb::SET, place)) => {
                    mark.raise(write(place), true);
                    true
                }
                // A value that was written by record is there, and its time is not known (E1).
                Some(_) if !was_timed => false,
                Some((_, place)) => {
                    mark.once(write(place));
                    true
                }
                None => {
                    let mut places = (begin..).zip(group); // a key with a relative change has no unset
                    let delta = places.find(|(_, change)| change.verb.is_relative());
                    let delta =
                        delta.map(|(place, _)| write(place)).filter(|delta| mark.floor < Some(*delta));
                    is_delta = delta.is_some();
                    of.deltas.extend(delta);
                    is_delta && was_timed
                }
            };
            if writes {
                of.settle(key, mark);
            }
            let now = of.entry;
            self.put(key, of);
            written.set += u16::from(is_delta || now.is_some() && now != there);
            written.removed += u16::from(there.is_some() && now.is_none());
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::profile::Property;

    /// Each three writes of a key, recorded in every order, of one person or of two that are merged: the same counts. One is left out: a
    /// `set_once` that came to nothing because there was an earlier one, which is behind the floor that a later record sets.
    #[test]
    fn three_writes_come_to_the_same_in_every_order_e8() {
        use Verb as V;
        let verbs = [V::SET, V::SET_ONCE, V::UNSET, V::ADD];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let triples = verbs.iter().flat_map(|a| verbs.iter().flat_map(move |b| verbs.map(|c| [*a, *b, c])));
        for triple in triples.filter(|[a, b, c]| (*a, *c) != (V::SET_ONCE, V::SET_ONCE) || *b != V::UNSET) {
            let mut found = Vec::new();
            for (order, whose) in orders.iter().flat_map(|order| (0..8_u32).map(move |whose| (order, whose)))
            {
                let mut persons = [Known::default(), Known::default()];
                for at in order {
                    let known = &mut persons[(whose >> at & 1) as usize];
                    let change = [Change { key: KeyNo(0), verb: triple[*at] }];
                    known.change_by_time(&change, (*at as i64, *at as u32));
                }
                let [mut one, other] = persons;
                one.merge(other, true);
                found.push((one.entries, one.deltas));
            }
            assert!(found.iter().all(|one| *one == found[0]), "{triple:?}: {found:?}");
        }
    }

    #[test]
    fn a_value_written_by_record_has_no_time_e8() {
        let list = |verb| [Change { key: KeyNo(0), verb }];
        let old =
            || Known { entries: vec![Property { key: KeyNo(0), seq: 1, place: 0 }], ..Known::default() };
        for (verb, seqs) in
            [(Verb::SET, vec![2]), (Verb::SET_ONCE, vec![1]), (Verb::UNSET, vec![]), (Verb::ADD, vec![1])]
        {
            let mut known = old();
            known.change_by_time(&list(verb), (-5, 2));
            let found = known.entries.iter().map(|property| property.seq).collect::<Vec<_>>();
            assert_eq!(found, seqs, "{verb:?}");
            let mut other = Known::default();
            other.change_by_time(&list(verb), (5, 2));
            let mut by_record = old();
            by_record.merge(other, true);
            assert_eq!(by_record.entries, old().entries, "P(T)'s stays (E2)");
            assert_eq!(by_record.deltas.len(), usize::from(verb == Verb::ADD), "both count (E9)");
        }
    }
}
