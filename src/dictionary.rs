//! Dictionaries: which number stands for which text. The shell's side of the log's numbers; no fold needs them.
//!
//! Texts lie in one run of bytes; the index over them stores numbers only. It holds texts that attackers choose, so its
//! hash is seeded per process; the seed never reaches state or bytes.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use uuid::Uuid;

use crate::id::{OperationId, PersonId};

/// The texts of one kind of thing, by number, and the numbers by text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    texts: Vec<u8>,
    /// Where each text ends. A text is never empty, so an empty span says "erased".
    ends: Vec<u64>,
    index: HashTable<u32>,
    seed: RandomState,
}

impl Dictionary {
    pub(crate) fn len(&self) -> u32 {
        self.ends.len() as u32 // limits.rs keeps record numbers, and so these, below 2^32
    }

    /// The text of a number; `None` once erased, or if there is no such number.
    pub(crate) fn text(&self, number: u32) -> Option<&str> {
        if number >= self.len() {
            return None;
        }
        let span = self.span(number);
        (!span.is_empty()).then(|| std::str::from_utf8(&self.texts[span]).expect("only texts are pushed"))
    }

    fn span(&self, number: u32) -> std::ops::Range<usize> {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        start as usize..self.ends[at] as usize
    }

    fn bytes(&self, number: u32) -> &[u8] {
        &self.texts[self.span(number)]
    }

    /// The number of a text.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.seed.hash_one(text.as_bytes());
        self.index.find(hash, |number| self.bytes(*number) == text.as_bytes()).copied()
    }

    /// Gives the next number to `text`, which must have none; `None` stands for an erased text.
    pub(crate) fn push(&mut self, text: Option<&str>) -> u32 {
        let number = self.len();
        self.texts.extend_from_slice(text.unwrap_or_default().as_bytes());
        self.ends.push(self.texts.len() as u64);
        if let Some(text) = text {
            let hash = self.seed.hash_one(text.as_bytes());
            let (texts, ends, seed) = (&self.texts, &self.ends, &self.seed);
            self.index.insert_unique(hash, number, |number| {
                let at = *number as usize;
                let start = if at == 0 { 0 } else { ends[at - 1] };
                seed.hash_one(&texts[start as usize..ends[at] as usize])
            });
        }
        number
    }

    /// Takes back every number from `len` on: the write that would have recorded them failed.
    pub(crate) fn truncate(&mut self, len: u32) {
        for number in (len..self.len()).rev() {
            let hash = self.seed.hash_one(self.bytes(number));
            if let Ok(entry) = self.index.find_entry(hash, |found| *found == number) {
                entry.remove();
            }
        }
        self.texts.truncate(if len == 0 { 0 } else { self.ends[len as usize - 1] as usize });
        self.ends.truncate(len as usize);
    }

    /// Bytes held, counting capacity: (the texts themselves, everything around them).
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.texts.capacity(), self.ends.capacity() * 8 + self.index.allocation_size())
    }
}

/// The texts of everything that has a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionaries {
    pub(crate) ids: Dictionary,
    pub(crate) devices: Dictionary,
    pub(crate) keys: Dictionary,
    pub(crate) names: Dictionary,
}

impl Dictionaries {
    /// How much each holds, to go back to.
    pub(crate) fn lengths(&self) -> [u32; 4] {
        [self.ids.len(), self.devices.len(), self.keys.len(), self.names.len()]
    }

    /// Back to these lengths.
    pub(crate) fn truncate(&mut self, [ids, devices, keys, names]: [u32; 4]) {
        self.ids.truncate(ids);
        self.devices.truncate(devices);
        self.keys.truncate(keys);
        self.names.truncate(names);
    }
}

/// A table from UUIDs to numbers that keeps only 32 bits of each UUID: what it finds are candidates, and who asks confirms
/// them against the log. 8 bytes an entry.
#[derive(Clone, Debug, Default)]
struct Fingerprints {
    table: HashTable<(u32, u32)>,
    seed: RandomState,
}

impl Fingerprints {
    fn of(&self, uuid: &Uuid) -> u32 {
        (self.seed.hash_one(uuid.as_bytes()) >> 32) as u32
    }

    /// The table looks at the top and the bottom bits of a hash.
    fn spread(fingerprint: u32) -> u64 {
        u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn insert(&mut self, uuid: &Uuid, number: u32) {
        let fingerprint = self.of(uuid);
        self.table.insert_unique(Self::spread(fingerprint), (fingerprint, number), |(fingerprint, _)| {
            Self::spread(*fingerprint)
        });
    }

    fn candidates(&self, uuid: Uuid) -> impl Iterator<Item = u32> {
        let fingerprint = self.of(&uuid);
        let near = self.table.iter_hash(Self::spread(fingerprint));
        near.filter(move |entry| entry.0 == fingerprint).map(|entry| entry.1)
    }
}

/// Which operation ids were seen, over all history (G4).
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Fingerprints);

impl Seen {
    pub(crate) fn insert(&mut self, id: OperationId, seq: u32) {
        self.0.insert(&id.0, seq);
    }

    /// The records that may carry this id: nearly always none, or the one that does.
    pub(crate) fn candidates(&self, id: OperationId) -> impl Iterator<Item = u32> {
        self.0.candidates(id.0)
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        self.0.table.allocation_size()
    }
}

/// From public person ids to persons, in the order of their founding (D7's redirects start here).
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonIds(Fingerprints);

impl PersonIds {
    pub(crate) fn len(&self) -> u32 {
        self.0.table.len() as u32 // MAX_RECORDS bounds it
    }

    pub(crate) fn push(&mut self, id: PersonId) {
        let number = self.len();
        self.0.insert(&id.0, number);
    }

    /// The persons that may have this id.
    pub(crate) fn candidates(&self, id: PersonId) -> impl Iterator<Item = u32> {
        self.0.candidates(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_taken_back_are_free_again() {
        let mut dictionary = Dictionary::default();
        assert_eq!(dictionary.push(Some("a")), 0);
        assert_eq!(dictionary.push(None), 1);
        for i in 0..100 {
            dictionary.push(Some(&format!("t{i}")));
        }
        dictionary.truncate(2);
        assert_eq!((dictionary.find("a"), dictionary.find("t0"), dictionary.text(1)), (Some(0), None, None));
        assert_eq!(dictionary.push(Some("t50")), 2);
        assert_eq!((dictionary.find("t50"), dictionary.text(2)), (Some(2), Some("t50")));
    }

    /// A sender who knows the hash function can choose texts that meet in one place of an index without a seed, so that each
    /// look goes through all of them. Here are such texts for std's hasher as it is without keys.
    #[test]
    fn texts_chosen_to_collide_do_not_collide_here() {
        use std::hash::{DefaultHasher, Hasher as _};
        const PLACE: u64 = 0x3FF;
        let unseeded = |text: &str| {
            let mut hasher = DefaultHasher::new();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        let colliding: Vec<String> = (0..)
            .map(|number| format!("visitor-{number}"))
            .filter(|text| unseeded(text) & PLACE == 0)
            .take(400)
            .collect();
        let mut dictionary = Dictionary::default();
        for text in &colliding {
            dictionary.push(Some(text));
        }
        for (number, text) in (0..).zip(&colliding) {
            assert_eq!(dictionary.find(text), Some(number));
        }
        let mut places: Vec<u64> =
            colliding.iter().map(|text| dictionary.seed.hash_one(text.as_bytes()) & PLACE).collect();
        places.sort_unstable();
        places.dedup();
        // 400 texts thrown at 1,024 places take some 331 of them on average; chance alone stays far from 250.
        assert!(places.len() > 250, "{} places", places.len());

        let other = Dictionary::default();
        assert!(
            colliding.iter().any(|text| other.seed.hash_one(text) != dictionary.seed.hash_one(text)),
            "two processes, or two ledgers, have different seeds"
        );
    }
}
