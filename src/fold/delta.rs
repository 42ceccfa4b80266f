//! Relative changes (E9): which of them count for a key, and in which order. Knows keys, verbs and times, and no values (E6).
//!
//! What is known of a person's keys beside its profile lies here and in [`super::event_time`]. Most persons have nothing there.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::profile::{Property, PropertyCounts, change, overlay};
use crate::log::body::{Change, KeyNo, Verb};

/// A write of a key, as late as its operation says. Of two with one time the later record is the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    /// When its operation happened, by the sender's clock, in microseconds; [`Write::UNTIMED`] of a relative change that was written by
    /// record.
    pub(crate) time: i64,
    /// Its record.
    pub(crate) seq: u32,
    /// The value's place among those of its record; 0 of an `unset`.
    pub(crate) place: u16,
}

impl Write {
    /// Before any event time.
    pub(crate) const UNTIMED: i64 = i64::MIN;

    /// Whether its event time is known.
    pub(super) fn is_timed(&self) -> bool {
        self.time != Write::UNTIMED
    }

    /// The property that this write is.
    pub(super) fn of(self, key: KeyNo) -> Property {
        Property { key, seq: self.seq, place: self.place }
    }
}

/// The relative changes of a key that count: those since its value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deltas {
    /// Whether they are all that the key has. Then the first of them is its entry in the profile.
    pub(crate) alone: bool,
    /// In the order in which they apply; at least one.
    pub(crate) list: BTreeSet<Write>,
}

/// The relative changes of one person, by key.
pub(super) type DeltasOf = BTreeMap<KeyNo, Deltas>;

impl Deltas {
    /// Bytes held, near enough.
    pub(super) fn memory(&self) -> usize {
        64 + self.list.len() * 2 * size_of::<Write>()
    }
}

/// What is known of a key by event time, beside its relative changes. Of a value written by record it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The latest `set` or `unset`: no write before it counts.
    pub(super) floor: Option<Write>,
    /// Whether that is a `set`.
    pub(super) sets: bool,
    /// The earliest `set_once` behind it: the value, unless the key is set or a relative change is earlier.
    pub(super) once: Option<Write>,
}

/// The marks of one person. Empty where no value was ever written by event time.
pub(super) type Marks = BTreeMap<KeyNo, Mark>;

impl Mark {
    /// The write with which the value of the key begins, and whether that is a relative change; `None` if the key is known to be unset.
    pub(super) fn begins(self, deltas: &BTreeSet<Write>) -> Option<(Write, bool)> {
        let first = deltas.first().copied();
        match if self.sets { self.floor } else { self.once } {
            Some(base) if self.sets || first.is_none_or(|first| base < first) => Some((base, false)),
            _ => first.map(|first| (first, true)),
        }
    }

    /// Whether this is what is known of a key that has this entry and these relative changes.
    pub(super) fn fits(&self, key: KeyNo, of: &Key) -> bool {
        let begins = self.begins(&of.deltas).map(|(write, alone)| (write.of(key), alone));
        let is_later = |first: &Write| first.is_timed() && self.floor < Some(*first);
        begins == of.entry.map(|entry| (entry, of.alone)) && of.deltas.first().is_none_or(is_later)
    }
}

/// All that is known of the keys of one person, taken out of the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The profile, ascending by key.
    pub(super) entries: Vec<Property>,
    pub(super) marks: Marks,
    pub(super) deltas: DeltasOf,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) entry: Option<Property>,
    /// `None` of a key without a value, or with one that was written by record.
    pub(super) mark: Option<Mark>,
    pub(super) alone: bool,
    pub(super) deltas: BTreeSet<Write>,
}

impl Key {
    /// The write of its value, if it has one that is not made of relative changes alone.
    fn base(&self) -> Option<Property> {
        self.entry.filter(|_| !self.alone)
    }

    /// Whether the event times of all that counts are known (E8).
    pub(super) fn is_timed(&self) -> bool {
        self.mark.is_some() || self.entry.is_none()
    }

    /// Adds relative changes, at a cost of the fewer ones.
    pub(super) fn extend(&mut self, mut others: BTreeSet<Write>) {
        if others.len() > self.deltas.len() {
            std::mem::swap(&mut self.deltas, &mut others);
        }
        self.deltas.extend(others);
    }

    /// E2: the value is P(T)'s if it has one, and the relative changes of both count.
    pub(super) fn and_by_record(mut self, key: KeyNo, other: Key) -> Key {
        let base = self.base().or(other.base());
        let marks = [self.mark, other.mark];
        self.extend(other.deltas);
        self.alone = base.is_none() && !self.deltas.is_empty();
        self.entry = base.or(self.deltas.first().map(|first| first.of(key)));
        let fits = |mark: &Mark| mark.fits(key, &self);
        self.mark = marks.into_iter().flatten().find(fits);
        self
    }
}

impl Known {
    /// Takes a key out.
    pub(super) fn take(&mut self, key: KeyNo) -> Key {
        let Deltas { alone, list } = self.deltas.remove(&key).unwrap_or_default();
        Key { entry: entry(&self.entries, key), mark: self.marks.remove(&key), alone, deltas: list }
    }

    /// Puts a key back that was taken out.
    pub(super) fn put(&mut self, key: KeyNo, Key { entry, mark, alone, deltas: list }: Key) {
        match (self.entries.binary_search_by_key(&key, |property| property.key), entry) {
            (Ok(at), Some(now)) => self.entries[at] = now,
            (Err(at), Some(now)) => self.entries.insert(at, now),
            (Ok(at), None) => drop(self.entries.remove(at)),
            (Err(_), None) => {}
        }
        self.marks.extend(mark.map(|mark| (key, mark)));
        if !list.is_empty() {
            self.deltas.insert(key, Deltas { alone, list });
        }
    }

    /// Applies an operation's changes by record (E1, E9). What it writes or removes has no event time.
    pub(super) fn change(&mut self, changes: &[Change], seq: u32) -> PropertyCounts {
        let mut written = change(&mut self.entries, changes, seq);
        let mut place = 0;
        for Change { key, verb } in changes {
            let there = entry(&self.entries, *key);
            if verb.is_relative() {
                let write = Write { time: Write::UNTIMED, seq, place };
                let deltas = self.deltas.entry(*key).or_default();
                deltas.alone |= there.is_none();
                deltas.list.insert(write);
                if let Some(first) = deltas.list.first().filter(|_| deltas.alone) {
                    put(&mut self.entries, first.of(*key));
                }
                self.marks.remove(key);
                written.set += 1;
            } else if *verb != Verb::KEPT && there.is_none_or(|property| property.seq == seq) {
                self.marks.remove(key);
                self.deltas.remove(key);
            }
            place += u16::from(verb.has_value());
        }
        written
    }

    /// Takes in what another person has (E2, E8); its own values are P(T)'s.
    pub(super) fn merge(&mut self, mut other: Known, by_time: bool) {
        let keys = other.entries.iter().map(|property| property.key).chain(other.marks.keys().copied());
        for key in keys.collect::<BTreeSet<KeyNo>>() {
            let (ours, theirs) = (self.take(key), other.take(key));
            let both = match by_time && ours.is_timed() && theirs.is_timed() {
                true => ours.and_by_time(key, theirs),
                false => ours.and_by_record(key, theirs),
            };
            self.put(key, both);
        }
    }

    /// Takes in the keys of another person, as far as their number goes.
    pub(super) fn join(&mut self, other: Known) {
        let mut entries = Vec::new();
        overlay(&self.entries, &other.entries, &mut entries);
        self.entries = entries;
        for (key, mark) in other.marks {
            self.marks.entry(key).or_insert(mark);
        }
    }

    /// How many keys count in the bound on a person's keys: those that it has, and those that are known as removed.
    pub(super) fn keys(&self) -> usize {
        keys(&self.entries, Some(&self.marks))
    }
}

/// As [`Known::keys`], of what lies in the state.
pub(super) fn keys(entries: &[Property], marks: Option<&Marks>) -> usize {
    let known = marks.into_iter().flat_map(BTreeMap::keys);
    entries.len() + known.filter(|key| entry(entries, **key).is_none()).count()
}

pub(super) fn entry(entries: &[Property], key: KeyNo) -> Option<Property> {
    let place = entries.binary_search_by_key(&key, |property| property.key).ok()?;
    Some(entries[place])
}

fn put(entries: &mut Vec<Property>, now: Property) {
    match entries.binary_search_by_key(&now.key, |property| property.key) {
        Ok(at) => entries[at] = now,
        Err(at) => entries.insert(at, now),
    }
}
