//! Profiles: for each property key the record that won it. Values are looked up only when somebody reads (E5, E6).

use crate::record::{Change, KeyNo, Verb};

/// Where a property's value stands: the record that won the key, and the value's place among that record's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key.
    pub key: KeyNo,
    /// The record's number.
    pub(crate) seq: u32,
    /// Which of the record's values, counted from 0.
    pub(crate) place: u16,
}

impl Property {
    /// The record that won the key (E5).
    pub fn seq(&self) -> crate::id::Seq {
        crate::id::Seq(self.seq.into())
    }
}

/// A person's properties, ascending by key number.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile(Vec<Property>);

/// How many keys an operation wrote and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Keys written, overwritten ones included.
    pub set: u16,
    /// Keys removed.
    pub removed: u16,
}

impl Profile {
    pub(super) fn entries(&self) -> &[Property] {
        &self.0
    }

    /// See [`super::State::foresee`].
    pub(super) fn foresee(&self) -> u32 {
        self.0.first().map_or(0, |property| property.seq)
    }

    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Property>()
    }

    /// E1: set_once where absent and not also set; set; then unset of what was there before.
    ///
    /// `changes` is ascending by key, then verb, so the changes of one key stand together: set, set_once, unset.
    pub(super) fn change(&mut self, changes: &[Change], seq: u32) -> Written {
        let mut written = Written::default();
        let mut place = 0;
        for group in changes.chunk_by(|a, b| a.key == b.key) {
            let mut winner = None;
            let mut unset = false;
            for change in group {
                match change.verb {
                    Verb::SET => winner = Some((Verb::SET, place)),
                    Verb::SET_ONCE => winner = winner.or(Some((Verb::SET_ONCE, place))),
                    Verb::UNSET => unset = true,
                    _ => {}
                }
                place += u16::from(change.verb.has_value());
            }
            let key = group[0].key;
            match self.0.binary_search_by_key(&key, |property| property.key) {
                Ok(at) if unset => {
                    self.0.remove(at);
                    written.removed += 1;
                }
                Ok(at) => {
                    if let Some((Verb::SET, place)) = winner {
                        self.0[at] = Property { key, seq, place };
                        written.set += 1;
                    }
                }
                Err(at) => {
                    if let Some((_, place)) = winner {
                        self.0.insert(at, Property { key, seq, place });
                        written.set += 1;
                    }
                }
            }
        }
        written
    }

    /// E2: this profile is P(T)'s; keys it lacks come from P(S)'s.
    pub(super) fn overlay_on(&mut self, source: Profile) {
        if self.0.is_empty() {
            self.0 = source.0;
        } else if !source.0.is_empty() {
            self.0 = merged(&self.0, &source.0);
        }
    }
}

/// Both lists as one, ascending; of equal keys `winner`'s stays.
fn merged(winner: &[Property], other: &[Property]) -> Vec<Property> {
    let mut out = Vec::with_capacity(winner.len() + other.len());
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(list: &[(u32, Verb)]) -> Vec<Change> {
        list.iter().map(|(key, verb)| Change { key: KeyNo(*key), verb: *verb }).collect()
    }

    fn keys(profile: &Profile) -> Vec<(u32, u32, u16)> {
        profile.entries().iter().map(|p| (p.key.0, p.seq, p.place)).collect()
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
            let mut profile = Profile::default();
            profile.change(&changes(&list), 2);
            assert_eq!(keys(&profile), absent, "{verbs:?} after nothing");
            let mut profile = Profile::default();
            profile.change(&changes(&[(0, V::SET)]), 1);
            profile.change(&changes(&list), 2);
            assert_eq!(keys(&profile), present, "{verbs:?} after something");
        }
    }

    #[test]
    fn places_count_the_values_before() {
        let mut profile = Profile::default();
        let list = [(0, Verb::SET), (0, Verb::SET_ONCE), (1, Verb::UNSET), (2, Verb::KEPT), (3, Verb::SET)];
        profile.change(&changes(&list), 5);
        assert_eq!(keys(&profile), [(0, 5, 0), (3, 5, 3)]);
    }

    #[test]
    fn the_target_wins_a_merge_e2() {
        let mut target = Profile::default();
        target.change(&changes(&[(1, Verb::SET), (3, Verb::SET)]), 1);
        let mut source = Profile::default();
        source.change(&changes(&[(0, Verb::SET), (1, Verb::SET), (4, Verb::SET)]), 2);
        target.overlay_on(source);
        assert_eq!(keys(&target), [(0, 2, 0), (1, 1, 0), (3, 1, 1), (4, 2, 2)]);
    }
}
