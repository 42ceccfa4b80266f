//! Profiles: for each property key the record that won it. Values are looked up only when they are read (E5,
//! E6).
//!
//! All profiles lie in one piece of memory: most are a few entries long, and an allocation for each would cost more than
//! what it holds.

use crate::log::body::{Change, KeyNo, Verb};
use crate::model::limits::MAX_RECORDS;

/// Where a property's value stands: the record that won the key, and the value's place among that record's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// The number of the property key.
    pub key: KeyNo,
    /// The record's number.
    pub(crate) seq: u32,
    /// Which of the record's values, counted from 0.
    pub(crate) place: u16,
}

impl Property {
    /// The record that won the key (E5).
    pub fn seq(&self) -> crate::model::id::Seq {
        crate::model::id::Seq(self.seq.into())
    }
}

/// How many keys an operation wrote and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PropertyCounts {
    /// Keys written, overwritten ones included.
    pub set: u16,
    /// Keys that had a value and lost it.
    pub removed: u16,
}

/// A person's place among the [`Profiles`]: where its entries begin, and how many there are, in one word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Profile(u64);

/// Bits for a profile's length: it has at most one entry for each key, and each key took a record.
const LEN_BITS: u32 = 30;
const _: () = assert!(MAX_RECORDS < 1 << LEN_BITS);

impl Profile {
    fn new(at: usize, len: usize) -> Profile {
        let (at, len) = (at as u64, len as u64);
        assert!(at < 1 << (u64::BITS - LEN_BITS), "two hundred gigabytes of profiles");
        Profile(at << LEN_BITS | len)
    }

    fn at(self) -> usize {
        (self.0 >> LEN_BITS) as usize
    }

    fn len(self) -> usize {
        (self.0 & ((1 << LEN_BITS) - 1)) as usize
    }
}

/// The entries of all persons, each person's ascending by key number.
///
/// A profile of `n` entries lies in a block of the next power of two; blocks that came free are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Profiles {
    entries: Vec<Property>,
    /// Free blocks of 1, 2, 4, ... entries: where each begins.
    free: Vec<Vec<usize>>,
    /// Where a profile is made before it gets its place.
    draft: Vec<Property>,
}

impl Profiles {
    pub(super) fn entries(&self, profile: Profile) -> &[Property] {
        &self.entries[profile.at()..][..profile.len()]
    }

    /// Reads the memory that a change of this profile will need (see [`super::State::prefetch`]).
    pub(super) fn prefetch(&self, profile: Profile) -> u32 {
        let seq = |at: usize| self.entries.get(at).map_or(0, |property| property.seq);
        seq(profile.at()) ^ seq(profile.at() + profile.len().saturating_sub(1))
    }

    pub(super) fn memory(&self) -> usize {
        let free: usize = self.free.iter().map(|blocks| blocks.capacity() * size_of::<usize>()).sum();
        (self.entries.capacity() + self.draft.capacity()) * size_of::<Property>() + free
    }

    /// A profile of these entries, which takes the place of another.
    pub(super) fn replaced(&mut self, before: Profile, entries: &[Property]) -> Profile {
        self.replace(before, entries)
    }

    /// A profile of these entries.
    pub(super) fn add(&mut self, entries: &[Property]) -> Profile {
        self.replace(Profile::default(), entries)
    }

    /// Gives a profile's place back.
    pub(super) fn drop(&mut self, profile: Profile) {
        self.replace(profile, &[]);
    }

    /// Applies an operation's changes to a profile; see [`change`].
    pub(super) fn change(&mut self, profile: &mut Profile, changes: &[Change], seq: u32) -> PropertyCounts {
        if let Some(written) = self.set_all(profile, changes, seq) {
            return written;
        }
        let mut draft = std::mem::take(&mut self.draft);
        draft.extend_from_slice(self.entries(*profile));
        let written = change(&mut draft, changes, seq);
        *profile = self.replace(*profile, &draft);
        self.keep(draft);
        written
    }

    /// Does what [`change`] does where that is simple, and it mostly is: nothing is removed, no key changes twice, and the
    /// profile is empty or has just these keys. `None` where it is not; then nothing was done.
    fn set_all(&mut self, profile: &mut Profile, changes: &[Change], seq: u32) -> Option<PropertyCounts> {
        let sets = changes.iter().all(|change| change.verb <= Verb::SET_ONCE);
        if !sets || !changes.is_sorted_by(|a, b| a.key < b.key) {
            return None;
        }
        let places = (0..).zip(changes); // every change has a value
        let mut written = PropertyCounts::default();
        if profile.len() == 0 {
            let at = self.take(block(changes.len())?);
            let entries = &mut self.entries[at..][..changes.len()];
            for (entry, (place, change)) in entries.iter_mut().zip(places) {
                *entry = Property { key: change.key, seq, place };
            }
            *profile = Profile::new(at, changes.len());
            written.set = changes.len() as u16; // at most MAX_OPERATION_KEYS
            return Some(written);
        }
        let entries = self.entries.get_mut(profile.at()..)?.get_mut(..changes.len())?;
        let same = profile.len() == changes.len()
            && entries.iter().zip(changes).all(|(entry, change)| entry.key == change.key);
        if !same {
            return None;
        }
        for (entry, (place, change)) in entries.iter_mut().zip(places) {
            if change.verb == Verb::SET {
                *entry = Property { key: change.key, seq, place };
                written.set += 1;
            }
        }
        Some(written)
    }

    /// E2: `target`'s entries, and `source`'s for the keys it lacks, as one profile; the two are used up.
    pub(super) fn merge(&mut self, target: Profile, source: Profile) -> Profile {
        if target.len() == 0 || source.len() == 0 {
            return if source.len() == 0 { target } else { source };
        }
        let mut draft = std::mem::take(&mut self.draft);
        overlay(self.entries(target), self.entries(source), &mut draft);
        let merged = self.replace(target, &draft);
        self.replace(source, &[]);
        self.keep(draft);
        merged
    }

    /// Gives a profile other entries: in its own block if they would get one of that size anyway.
    fn replace(&mut self, profile: Profile, entries: &[Property]) -> Profile {
        let (before, after) = (block(profile.len()), block(entries.len()));
        let mut at = profile.at();
        if before != after {
            if let Some(size) = before {
                self.free[size].push(at);
            }
            at = after.map_or(0, |size| self.take(size));
        }
        self.entries[at..][..entries.len()].copy_from_slice(entries);
        Profile::new(at, entries.len())
    }

    /// A block of 2^size entries.
    fn take(&mut self, size: usize) -> usize {
        if self.free.len() <= size {
            self.free.resize(size + 1, Vec::new());
        }
        self.free[size].pop().unwrap_or_else(|| {
            let at = self.entries.len();
            self.entries.resize(at + (1 << size), Property { key: KeyNo(0), seq: 0, place: 0 });
            at
        })
    }

    /// Keeps the room of a draft for the next.
    fn keep(&mut self, mut draft: Vec<Property>) {
        draft.clear();
        self.draft = draft;
    }
}

/// The block that `len` entries lie in, as a power of two; `None` for no entries.
fn block(len: usize) -> Option<usize> {
    (len > 0).then(|| len.next_power_of_two().trailing_zeros() as usize)
}

/// What an operation writes to a key, by its changes of it: a set before a set_once, with the place of the value; and whether it unsets
/// the key. `place` counts the values.
#[inline]
pub(super) fn winner_of(group: &[Change], place: &mut u16) -> (Option<(Verb, u16)>, bool) {
    let (mut winner, mut unset) = (None, false);
    for change in group {
        match change.verb {
            Verb::SET => winner = Some((Verb::SET, *place)),
            Verb::SET_ONCE => winner = winner.or(Some((Verb::SET_ONCE, *place))),
            Verb::UNSET => unset = true,
            _ => {}
        }
        *place += u16::from(change.verb.has_value());
    }
    (winner, unset)
}

/// E1: set_once where absent and not also set; set; then unset of what was there before.
///
/// `changes` is ascending by key, then verb, so the changes of one key stand together: set, set_once, unset.
pub(super) fn change(entries: &mut Vec<Property>, changes: &[Change], seq: u32) -> PropertyCounts {
    let mut written = PropertyCounts::default();
    let mut place = 0;
    for group in changes.chunk_by(|a, b| a.key == b.key) {
        let (winner, unset) = winner_of(group, &mut place);
        let key = group[0].key;
        match entries.binary_search_by_key(&key, |property| property.key) {
            Ok(at) if unset => {
                entries.remove(at);
                written.removed += 1;
            }
            Ok(at) => {
                if let Some((Verb::SET, place)) = winner {
                    entries[at] = Property { key, seq, place };
                    written.set += 1;
                }
            }
            Err(at) => {
                if let Some((_, place)) = winner {
                    entries.insert(at, Property { key, seq, place });
                    written.set += 1;
                }
            }
        }
    }
    written
}

/// Both lists as one, ascending, appended to `out`; of equal keys `winner`'s stays.
pub(super) fn overlay(winner: &[Property], other: &[Property], out: &mut Vec<Property>) {
    let (mut a, mut b) = (winner.iter().peekable(), other.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        if x.key <= y.key {
            if x.key == y.key {
                b.next();
            }
            out.extend(a.next());
        } else {
            out.extend(b.next());
        }
    }
    out.extend(a);
    out.extend(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(list: &[(u32, Verb)]) -> Vec<Change> {
        list.iter().map(|(key, verb)| Change { key: KeyNo(*key), verb: *verb }).collect()
    }

    fn keys(entries: &[Property]) -> Vec<(u32, u32, u16)> {
        entries.iter().map(|p| (p.key.0, p.seq, p.place)).collect()
    }

    #[test]
    fn one_key_in_every_mix_of_verbs_e1() {
        use Verb as V;
        // verbs, after an absent key, after a present one (won by record 1)
        type Row<'a> = (&'a [Verb], &'a [(u32, u32, u16)], &'a [(u32, u32, u16)]);
        let rows: [Row<'_>; 7] = [
            (&[V::SET], &[(0, 2, 0)], &[(0, 2, 0)]),
            (&[V::SET_ONCE], &[(0, 2, 0)], &[(0, 1, 0)]),
            (&[V::UNSET], &[], &[]),
            (&[V::SET, V::SET_ONCE], &[(0, 2, 0)], &[(0, 2, 0)]),
            (&[V::SET, V::UNSET], &[(0, 2, 0)], &[]),
            (&[V::SET_ONCE, V::UNSET], &[(0, 2, 0)], &[]),
            (&[V::SET, V::SET_ONCE, V::UNSET], &[(0, 2, 0)], &[]),
        ];
        for (verbs, absent, present) in rows {
            let list: Vec<(u32, Verb)> = verbs.iter().map(|verb| (0, *verb)).collect();
            let mut entries = Vec::new();
            change(&mut entries, &changes(&list), 2);
            assert_eq!(keys(&entries), absent, "{verbs:?} after nothing");
            let mut entries = Vec::new();
            change(&mut entries, &changes(&[(0, V::SET)]), 1);
            change(&mut entries, &changes(&list), 2);
            assert_eq!(keys(&entries), present, "{verbs:?} after something");
        }
    }

    #[test]
    fn places_count_the_values_before() {
        let mut entries = Vec::new();
        let list = [(0, Verb::SET), (0, Verb::SET_ONCE), (1, Verb::UNSET), (2, Verb::KEPT), (3, Verb::SET)];
        change(&mut entries, &changes(&list), 5);
        assert_eq!(keys(&entries), [(0, 5, 0), (3, 5, 3)]);
    }

    #[test]
    fn the_short_way_writes_what_the_long_one_does() {
        let verbs = [Verb::SET, Verb::SET_ONCE, Verb::UNSET, Verb::KEPT];
        let pairs =
            |keys: [u32; 2]| verbs.iter().flat_map(move |a| verbs.map(|b| [(keys[0], *a), (keys[1], b)]));
        let mut lists: Vec<Vec<(u32, Verb)>> = verbs.iter().map(|verb| vec![(1, *verb)]).collect();
        lists.extend([[1, 2], [1, 3], [2, 2]].into_iter().flat_map(pairs).map(Vec::from));
        for before in &lists {
            for list in &lists {
                let (mut profiles, mut expected) = (Profiles::default(), Vec::new());
                let mut profile = Profile::default();
                for (seq, list) in (1..).zip([before, list]) {
                    let mut list = changes(list);
                    list.sort();
                    let written = profiles.change(&mut profile, &list, seq);
                    assert_eq!(written, change(&mut expected, &list, seq), "{list:?}");
                    assert_eq!(profiles.entries(profile), expected, "{list:?}");
                }
            }
        }
    }

    #[test]
    fn the_target_wins_a_merge_e2() {
        let mut profiles = Profiles::default();
        let (mut target, mut source) = (Profile::default(), Profile::default());
        profiles.change(&mut target, &changes(&[(1, Verb::SET), (3, Verb::SET)]), 1);
        profiles.change(&mut source, &changes(&[(0, Verb::SET), (1, Verb::SET), (4, Verb::SET)]), 2);
        let merged = profiles.merge(target, source);
        assert_eq!(keys(profiles.entries(merged)), [(0, 2, 0), (1, 1, 0), (3, 1, 1), (4, 2, 2)]);
    }

    #[test]
    fn profiles_that_grow_shrink_and_merge_never_lie_in_each_others_place() {
        let mut profiles = Profiles::default();
        let mut here = [Profile::default(); 7];
        let mut expected: [Vec<Property>; 7] = Default::default();
        for step in 0..4_000_u32 {
            let who = (step * 5 % 7) as usize;
            let verb = if step / 300 % 3 == 2 { Verb::UNSET } else { Verb::SET };
            let list: Vec<_> = (0..step % 4).map(|key| (key * 3 + step % 11, verb)).collect();
            profiles.change(&mut here[who], &changes(&list), step);
            change(&mut expected[who], &changes(&list), step);
            if step % 50 == 49 {
                let other = (who + 1) % 7;
                here[who] = profiles.merge(here[who], std::mem::take(&mut here[other]));
                let source = std::mem::take(&mut expected[other]);
                let mut merged = Vec::new();
                overlay(&expected[who], &source, &mut merged);
                expected[who] = merged;
            }
            for (profile, expected) in here.iter().zip(&expected) {
                assert_eq!(profiles.entries(*profile), expected, "step {step}");
            }
        }
        // Seven profiles of at most 17 keys lie in blocks of 32; twice that leaves room for what is free.
        assert!(profiles.entries.len() <= 2 * 7 * 32, "freed blocks are used again");
    }
}
