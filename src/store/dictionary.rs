//! Dictionaries: which number stands for which text. The shell's side of the log's numbers; no fold needs them.
//!
//! Texts lie in one run of bytes; the index over them stores numbers only. It holds texts that attackers choose, so its
//! hash is seeded per process; the seed never reaches state or bytes. The index of operation ids has a key that a snapshot
//! keeps, so that it need not be built again; the key never reaches state or log.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use uuid::Uuid;

use crate::log::body::{Body, Erasure};
use crate::model::id::{OperationId, PersonId};

/// How many texts [`Dictionary::find_all`] looks up together: more than a processor has reads under way, and few enough that what
/// the first step read is still near at the last.
const TOGETHER: usize = 64;
/// Runs in which a dictionary is indexed again: each stays in one part of the index, small enough for a
/// processor's cache.
const RUNS: usize = 256;

/// The texts of one kind of thing, by number, and the numbers by text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    texts: Vec<u8>,
    /// Where each text ends. A text is never empty, so an empty span says "erased".
    ends: Vec<u64>,
    index: HashTable<u32>,
    seed: RandomState,
    /// Numbers whose texts were overwritten and whose spans are still there.
    forgotten: BTreeSet<u32>,
    /// The first number whose text waits for [`Dictionary::settle`], if one does.
    waits: Option<u32>,
}

impl Dictionary {
    pub(crate) fn len(&self) -> u32 {
        self.ends.len() as u32 // limits.rs keeps record numbers, and so these, below 2^32
    }

    /// The text of a number; `None` once erased, or if there is no such number.
    pub(crate) fn text(&self, number: u32) -> Option<&str> {
        let bytes = self.text_bytes(number);
        (!bytes.is_empty()).then(|| std::str::from_utf8(bytes).expect("only texts are pushed"))
    }

    /// The bytes of the text of a number; none once erased, or if there is no such number.
    pub(crate) fn text_bytes(&self, number: u32) -> &[u8] {
        let is_there = number < self.len() && !self.forgotten.contains(&number);
        if is_there { self.bytes(number) } else { &[] }
    }

    /// Whether a number had a text and has none any more.
    pub(crate) fn is_erased(&self, number: u32) -> bool {
        number < self.len() && self.text(number).is_none()
    }

    fn span(&self, number: u32) -> Range<usize> {
        spanned(&self.ends, number)
    }

    fn bytes(&self, number: u32) -> &[u8] {
        &self.texts[self.span(number)]
    }

    fn hash(&self, text: &[u8]) -> u64 {
        hashed(&self.seed, text)
    }

    /// The number of a text. Nothing may wait for [`Dictionary::settle`].
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hash(text.as_bytes());
        self.index.find(hash, |number| self.bytes(*number) == text.as_bytes()).copied()
    }

    /// The numbers of texts, as [`Dictionary::find`] gives them. In a large dictionary each look into the index, into the ends and
    /// into the texts waits for memory; here each step is made for many texts before the next, so that the waits overlap.
    pub(crate) fn find_all(&self, texts: &[&str]) -> Vec<Option<u32>> {
        let mut found = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TOGETHER) {
            let (mut hashes, mut near, mut begins) = ([0; TOGETHER], [0; TOGETHER], [0; TOGETHER]);
            for (hash, text) in hashes.iter_mut().zip(texts) {
                *hash = self.hash(text.as_bytes());
            }
            for (near, hash) in near.iter_mut().zip(hashes) {
                *near = self.index.find(hash, |_| true).map_or(0, |number| *number); // nearly always the one, if there is one
            }
            for (begin, near) in begins.iter_mut().zip(near) {
                *begin = self.ends.get((near as usize).wrapping_sub(1)).map_or(0, |end| *end as usize);
            }
            let read =
                begins.iter().fold(0, |read, begin| read ^ self.texts.get(*begin).map_or(0, |byte| *byte));
            std::hint::black_box(read);
            found.extend(texts.iter().zip(hashes).map(|(text, hash)| {
                self.index.find(hash, |number| self.bytes(*number) == text.as_bytes()).copied()
            }));
        }
        found
    }

    /// Forgets the text of a number: it is overwritten in memory, and the same text is a new one from now on (H3).
    pub(crate) fn forget(&mut self, number: u32) {
        if self.text(number).is_none() {
            return;
        }
        let hash = self.hash(self.bytes(number));
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == number) {
            entry.remove();
        }
        let span = self.span(number);
        self.texts[span].fill(0);
        self.forgotten.insert(number);
    }

    /// Closes the gaps that forgotten texts left.
    pub(crate) fn compact(&mut self) {
        if self.forgotten.is_empty() {
            return;
        }
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut texts = Vec::with_capacity(self.texts.len());
        let mut start = 0;
        for (number, end) in (0..).zip(&mut self.ends) {
            if !forgotten.contains(&number) {
                texts.extend_from_slice(&self.texts[start as usize..*end as usize]);
            }
            start = std::mem::replace(end, texts.len() as u64);
        }
        self.texts = texts;
    }

    /// Gives the next number to `text`, which must have none; `None` stands for an erased text.
    pub(crate) fn push(&mut self, text: Option<&str>) -> u32 {
        let number = self.len();
        match text {
            Some(text) => assert!(self.push_new(text), "a text has one number"),
            None => self.ends.push(self.texts.len() as u64),
        }
        number
    }

    /// Gives the next number to `text` if it has none yet, and else to a text that is not there; says whether it had none.
    pub(crate) fn push_new(&mut self, text: &str) -> bool {
        let (number, begin) = (self.len(), self.texts.len());
        self.texts.extend_from_slice(text.as_bytes());
        self.ends.push(self.texts.len() as u64);
        let is_new = self.enter(self.hash(text.as_bytes()), number);
        if !is_new {
            self.texts.truncate(begin);
            self.ends[number as usize] = begin as u64;
        }
        is_new
    }

    /// Gives the next number to a text of a log that is being read. It is found once [`Dictionary::settle`] was called.
    pub(crate) fn note(&mut self, text: &str) {
        self.waits.get_or_insert(self.ends.len() as u32); // as in `len`
        self.texts.extend_from_slice(text.as_bytes());
        self.ends.push(self.texts.len() as u64);
    }

    /// Takes up what was noted: the index grows once, and is filled in the order in which it lies in memory. Gives the numbers of texts that
    /// had a number already; those texts are not there from then on.
    pub(crate) fn settle(&mut self) -> Vec<u32> {
        let Some(first) = self.waits.take() else { return Vec::new() };
        let Dictionary { texts, ends, index, seed, .. } = self;
        let text = |number: u32| &texts[spanned(ends, number)];
        let count = ends.len() as u32; // as in `len`
        index.reserve((count - first) as usize, |number| hashed(seed, text(*number)));
        let buckets = index.capacity().saturating_mul(8).div_ceil(7).next_power_of_two(); // as the index has them
        let per_run = (buckets / RUNS).max(1) as u64;
        let mut runs = vec![Vec::new(); RUNS];
        for number in (first..count).filter(|number| !text(*number).is_empty()) {
            let hash = hashed(seed, text(number));
            runs[(hash / per_run) as usize % RUNS].push((hash, number));
        }
        let mut again = Vec::new();
        for (hash, number) in runs.into_iter().flatten() {
            if !self.enter(hash, number) {
                again.push(number);
            }
        }
        again.sort_unstable();
        for number in &again {
            let span = self.span(*number);
            self.texts[span].fill(0);
            self.forgotten.insert(*number);
        }
        again
    }

    /// Fills an empty dictionary from what a snapshot holds: the length of each text (u16, 0 for an erased one) and the texts
    /// themselves. `check` is what B1 says of such a text.
    pub(crate) fn restore(
        &mut self,
        lengths: &[[u8; 2]],
        texts: &[u8],
        check: impl Fn(&str) -> bool,
    ) -> Result<(), &'static str> {
        let text = std::str::from_utf8(texts).map_err(|_| "a text is not UTF-8")?;
        self.texts.extend_from_slice(texts);
        self.ends.reserve_exact(lengths.len());
        self.waits = Some(0);
        let mut at = 0;
        for length in lengths {
            let end = at + usize::from(u16::from_le_bytes(*length));
            let one = text.get(at..end).ok_or("a text ends outside the texts, or inside a character")?;
            self.ends.push(end as u64);
            at = end;
            if !one.is_empty() && !check(one) {
                return Err("a text is out of bounds"); // an empty one is erased
            }
        }
        if at != texts.len() {
            return Err("bytes follow the last text");
        }
        if self.settle().is_empty() { Ok(()) } else { Err("a text has two numbers") }
    }

    /// Enters a text that has its number already into the index; says whether it had none before.
    fn enter(&mut self, hash: u64, number: u32) -> bool {
        let Dictionary { texts, ends, index, seed, .. } = self;
        let text = |number: u32| &texts[spanned(ends, number)];
        match index.entry(hash, |other| text(*other) == text(number), |other| hashed(seed, text(*other))) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(number);
                true
            }
        }
    }

    /// What [`Dictionary::restore`] takes: the lengths of all texts, and the texts. Nothing may be forgotten without
    /// [`Dictionary::compact`] after it.
    pub(crate) fn stored(&self) -> (impl Iterator<Item = [u8; 2]>, &[u8]) {
        assert!(self.forgotten.is_empty(), "a snapshot is made when erasures are done");
        let lengths = (0..self.len()).map(|number| self.span(number).len());
        let bounded = |len| u16::try_from(len).expect("B1 bounds every text that gets a number");
        (lengths.map(move |len| bounded(len).to_le_bytes()), &self.texts)
    }

    /// Whether each number stands for the same text here and there.
    pub(crate) fn has_texts_of(&self, other: &Dictionary) -> bool {
        self.len() == other.len() && (0..self.len()).all(|number| self.text(number) == other.text(number))
    }

    /// Forgets every number from `len` on: the write that would have recorded them failed.
    pub(crate) fn truncate(&mut self, len: u32) {
        self.forgotten.split_off(&len);
        for number in (len..self.len()).rev() {
            let hash = self.hash(self.bytes(number));
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

/// Where the text of a number stands.
fn spanned(ends: &[u64], number: u32) -> Range<usize> {
    let at = number as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start as usize..ends[at] as usize
}

fn hashed(seed: &RandomState, text: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(text);
    hasher.finish()
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
    /// Ids, devices, keys, names.
    pub(crate) fn all(&self) -> [&Dictionary; 4] {
        [&self.ids, &self.devices, &self.keys, &self.names]
    }

    /// Forgets the texts that a record erases (H3); any other does nothing.
    pub(crate) fn forget(&mut self, body: &Body) {
        if let Body::Erase(erasure) = body {
            self.erase(erasure);
        }
    }

    /// Forgets the texts that an erasure covers.
    pub(crate) fn erase(&mut self, erasure: &Erasure) {
        erasure.ids.iter().for_each(|id| self.ids.forget(id.0));
        erasure.devices.iter().for_each(|device| self.devices.forget(device.device.0));
    }

    /// Closes the gaps that forgotten texts left.
    pub(crate) fn compact(&mut self) {
        self.ids.compact();
        self.devices.compact();
    }

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

/// The key of a table of fingerprints: five numbers that senders do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FingerprintKey(pub(crate) [u64; 5]);

impl FingerprintKey {
    /// A key of unguessable bytes.
    pub(crate) fn from_bytes(bytes: &[u8; 40]) -> FingerprintKey {
        let (numbers, _) = bytes.as_chunks::<8>();
        FingerprintKey(std::array::from_fn(|at| u64::from_le_bytes(numbers[at])))
    }

    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let mut out = [0; 40];
        for (place, number) in out.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *place = number.to_le_bytes();
        }
        out
    }

    /// 32 bits of a UUID: Dietzfelbinger's multiply-shift over its four words. Of any two UUIDs chosen without knowing the
    /// key the chance to get the same fingerprint is 2^-32. It is written out here because snapshots keep fingerprints: no
    /// crate promises to hash alike in its next version, or on a machine of another word size.
    pub(crate) fn fingerprint(self, uuid: &Uuid) -> u32 {
        let number = uuid.as_u128();
        let [first, keys @ ..] = self.0;
        let words = [0, 32, 64, 96].map(|shift| (number >> shift) as u32);
        let product = |(key, word): (u64, u32)| key.wrapping_mul(u64::from(word));
        let sum = keys.into_iter().zip(words).map(product).fold(first, u64::wrapping_add);
        (sum >> 32) as u32
    }
}

impl Default for FingerprintKey {
    /// Another key each time, by the seed that hash maps get.
    fn default() -> FingerprintKey {
        let seed = RandomState::new();
        FingerprintKey(std::array::from_fn(|at| seed.hash_one(at)))
    }
}

/// A table from UUIDs to numbers that keeps only 32 bits of each UUID: what it finds are candidates, and who asks confirms
/// them against the log. 8 bytes an entry.
#[derive(Clone, Debug, Default)]
struct Fingerprints {
    table: HashTable<(u32, u32)>,
    key: FingerprintKey,
}

impl Fingerprints {
    /// The table looks at the top and the bottom bits of a hash.
    fn spread(fingerprint: u32) -> u64 {
        u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn insert(&mut self, uuid: &Uuid, number: u32) {
        let fingerprint = self.key.fingerprint(uuid);
        self.table.insert_unique(Self::spread(fingerprint), (fingerprint, number), |(fingerprint, _)| {
            Self::spread(*fingerprint)
        });
    }

    fn candidates(&self, uuid: Uuid) -> impl Iterator<Item = u32> {
        let fingerprint = self.key.fingerprint(&uuid);
        let near = self.table.iter_hash(Self::spread(fingerprint));
        near.filter(move |entry| entry.0 == fingerprint).map(|entry| entry.1)
    }
}

/// Which operation ids were seen, over all history (G4).
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Those that were there when the ledger was opened, ascending: fingerprint in the upper half, record in the lower. A list takes half
    /// the memory of a table, and making one waits for no memory.
    listed: Vec<u64>,
    /// Where in the list the fingerprints begin that share their upper bits with this place's number.
    begins: Vec<u32>,
    /// All entries that came since.
    table: Fingerprints,
    /// Entries of a log that is being read, by the upper bits of their fingerprints and else not yet in order: each part is put in order by
    /// itself, near the processor, and given up as the list grows.
    noted: Vec<Vec<u64>>,
}

/// Upper bits of a fingerprint that say to which part of what is noted it goes.
const NOTED_BITS: u32 = 8;

fn entry(fingerprint: u32, seq: u32) -> u64 {
    u64::from(fingerprint) << 32 | u64::from(seq)
}

/// Most upper bits of a fingerprint that lead to its part of the list: of the largest list a part has sixteen thousand entries, of
/// one of eight million 122. A short list has as many parts as give each some [`PART_ENTRIES`].
const MAX_PART_BITS: u32 = 16;
const PART_ENTRIES: usize = 64;

impl Seen {
    /// Nothing seen yet.
    pub(crate) fn new(key: FingerprintKey) -> Seen {
        Seen { table: Fingerprints { key, ..Fingerprints::default() }, ..Seen::default() }
    }

    /// What [`Seen::stored`] gave; `None` if the list does not ascend.
    pub(crate) fn restored(key: FingerprintKey, listed: Vec<u64>) -> Option<Seen> {
        if !listed.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let bits = (listed.len() / PART_ENTRIES).checked_ilog2().map_or(0, |bits| bits.min(MAX_PART_BITS));
        let part = |entry: u64| (entry >> 32 << bits >> 32) as usize;
        let mut begins = vec![0_u32; (1 << bits) + 1];
        for entry in &listed {
            begins[part(*entry) + 1] += 1; // MAX_RECORDS bounds the sum
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        Some(Seen { listed, begins, ..Seen::new(key) })
    }

    /// The key, and all entries, ascending.
    pub(crate) fn stored(&self) -> (FingerprintKey, Vec<u64>) {
        let mut all = Vec::with_capacity(self.listed.len() + self.table.table.len());
        all.extend_from_slice(&self.listed);
        all.extend(self.table.table.iter().map(|(fingerprint, seq)| entry(*fingerprint, *seq)));
        all.sort(); // a list that ascends already, and something behind it
        (self.table.key, all)
    }

    /// Notes an id of a log that is being read. It is found once [`Seen::settle`] was called.
    pub(crate) fn note(&mut self, id: OperationId, seq: u32) {
        let fingerprint = self.table.key.fingerprint(&id.0);
        self.noted.resize_with(1 << NOTED_BITS, Vec::new);
        self.noted[(fingerprint >> (u32::BITS - NOTED_BITS)) as usize].push(entry(fingerprint, seq));
    }

    /// Takes up what was noted.
    pub(crate) fn settle(&mut self) {
        if self.noted.is_empty() {
            return;
        }
        let noted = std::mem::take(&mut self.noted);
        let before = std::mem::take(&mut self.listed);
        let mut all = Vec::with_capacity(before.len() + noted.iter().map(Vec::len).sum::<usize>());
        all.extend(before);
        for mut part in noted {
            part.sort_unstable();
            all.extend(part);
        }
        all.sort(); // a list that ascends, and mostly nothing before it
        let table = std::mem::take(&mut self.table);
        *self = Seen::restored(table.key, all).expect("each record has one id");
        self.table = table;
    }

    /// The entries of the records before this one, ascending, of those that were there when the ledger was opened.
    pub(crate) fn listed_before(&self, record: u64) -> impl Iterator<Item = u64> {
        self.listed.iter().copied().filter(move |entry| u64::from(*entry as u32) < record)
    }

    /// The records whose ids may be those of others too, ascending.
    pub(crate) fn doubtful(&self) -> Vec<u32> {
        let alike = self.listed.chunk_by(|a, b| a >> 32 == b >> 32).filter(|alike| alike.len() > 1);
        let mut seqs: Vec<u32> = alike.flatten().map(|entry| *entry as u32).collect();
        seqs.sort_unstable();
        seqs
    }

    /// Forgets what these records were called; `seqs` ascend.
    pub(crate) fn forget(&mut self, seqs: &[u32]) {
        if seqs.is_empty() {
            return;
        }
        let is_kept = |seq: u32| seqs.binary_search(&seq).is_err();
        self.table.table.retain(|(_, seq)| is_kept(*seq));
        let before = self.listed.len();
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|entry| is_kept(*entry as u32));
        if listed.len() == before {
            self.listed = listed;
            return;
        }
        let table = std::mem::take(&mut self.table);
        *self = Seen::restored(table.key, listed).expect("a part of a list that ascends");
        self.table = table;
    }

    pub(crate) fn insert(&mut self, id: OperationId, seq: u32) {
        self.table.insert(&id.0, seq);
    }

    /// The records that may carry this id: nearly always none, or the one that does.
    pub(crate) fn candidates(&self, id: OperationId) -> impl Iterator<Item = u32> {
        let fingerprint = self.table.key.fingerprint(&id.0);
        let listed = self.listed_under(fingerprint).iter().map(|entry| *entry as u32);
        listed.chain(self.table.candidates(id.0))
    }

    /// Whether one of them may; there is nothing to be confirmed if not.
    pub(crate) fn may_have(&self, id: OperationId) -> bool {
        self.candidates(id).next().is_some()
    }

    fn listed_under(&self, fingerprint: u32) -> &[u64] {
        let bits = self.begins.len().saturating_sub(1).checked_ilog2().unwrap_or(0);
        let part = (u64::from(fingerprint) << bits >> 32) as usize;
        let [begin, end] = [part, part + 1].map(|at| self.begins.get(at).map_or(0, |begin| *begin as usize));
        let part = &self.listed[begin..end];
        let from = part.partition_point(|entry| ((entry >> 32) as u32) < fingerprint);
        let len = part[from..].iter().take_while(|entry| (*entry >> 32) as u32 == fingerprint).count();
        &part[from..from + len]
    }

    /// Bytes held, counting capacity.
    pub(crate) fn memory(&self) -> usize {
        let noted: usize = self.noted.iter().map(Vec::capacity).sum();
        (self.listed.capacity() + noted) * 8 + self.begins.capacity() * 4 + self.table.table.allocation_size()
    }
}

/// From public person ids to persons, in the order of their founding (D7's redirects start here).
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonIds {
    ids: Fingerprints,
    persons: u32,
}

impl PersonIds {
    /// How many persons were added.
    pub(crate) fn len(&self) -> u32 {
        self.persons
    }

    /// Adds the next person with every id that stands for it.
    pub(crate) fn push(&mut self, ids: impl IntoIterator<Item = PersonId>) {
        ids.into_iter().for_each(|id| self.ids.insert(&id.0, self.persons));
        self.persons += 1;
    }

    /// The persons that may have this id.
    pub(crate) fn candidates(&self, id: PersonId) -> impl Iterator<Item = u32> {
        self.ids.candidates(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_are_found_in_list_and_table() {
        let id = |number: u32| OperationId(Uuid::from_u128(u128::from(number) << 64 | 7));
        let mut seen =
            Seen::new(FingerprintKey([1, 2, 3, 4, 5].map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
        (0..1_000).for_each(|number| seen.insert(id(number), number));
        let (key, stored) = seen.stored();
        let mut again = Seen::restored(key, stored.clone()).unwrap();
        (1_000..2_000).for_each(|number| again.insert(id(number), number));
        again.insert(id(3), 2_000);
        for number in 0..2_000 {
            assert!(again.candidates(id(number)).any(|found| found == number), "{number}");
        }
        assert_eq!(again.candidates(id(3)).collect::<Vec<u32>>(), [3, 2_000]);
        assert_eq!(again.candidates(id(2_001)).count(), 0);
        assert_eq!(again.stored().1.len(), 2_001);
        let mut unsorted = stored;
        unsorted.swap(0, 1);
        assert!(Seen::restored(key, unsorted).is_none());
        assert_eq!(Seen::restored(key, Vec::new()).unwrap().candidates(id(0)).count(), 0);
    }

    #[test]
    fn forgotten_texts_and_ids_are_gone_and_the_others_stay() {
        let mut dictionary = Dictionary::default();
        for text in ["ann", "bob", "cat"] {
            dictionary.push(Some(text));
        }
        dictionary.forget(1);
        dictionary.forget(1);
        let texts = |dictionary: &Dictionary| {
            (0..4).map(|n| dictionary.text(n).map(str::to_owned)).collect::<Vec<_>>()
        };
        let rest = [Some("ann".to_owned()), None, Some("cat".to_owned()), None];
        assert_eq!((texts(&dictionary), dictionary.find("bob")), (rest.to_vec(), None));
        assert_eq!(dictionary.push(Some("bob")), 3, "the same text is a new one");
        dictionary.compact();
        assert_eq!(dictionary.texts, b"anncatbob");
        assert_eq!(
            (dictionary.find("cat"), dictionary.find("bob"), dictionary.text(1)),
            (Some(2), Some(3), None)
        );
        dictionary.forget(3);
        dictionary.truncate(3);
        assert_eq!((dictionary.push(Some("bob")), dictionary.text(3)), (3, Some("bob")));

        let id = |number: u32| OperationId(Uuid::from_u128(u128::from(number) << 64 | 7));
        let mut seen = Seen::new(FingerprintKey([1, 2, 3, 4, 5]));
        (0..10).for_each(|number| seen.insert(id(number), number));
        let (key, stored) = seen.stored();
        let mut seen = Seen::restored(key, stored).unwrap();
        (10..20).for_each(|number| seen.insert(id(number), number));
        seen.forget(&[3, 14]);
        for number in 0..20 {
            let found = seen.candidates(id(number)).any(|found| found == number);
            assert_eq!(found, number != 3 && number != 14, "{number}");
        }
    }

    #[test]
    fn a_fingerprint_stays_what_it_is() {
        // Snapshots keep fingerprints: this is the value on every machine and in every version.
        let key = FingerprintKey::from_bytes(&std::array::from_fn(|at| at as u8));
        assert_eq!(FingerprintKey::from_bytes(&key.to_bytes()), key);
        let uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let [a, b, c, d, e] = key.0.map(u128::from);
        let sum = a + b * 0xccdd_eeff + c * 0x8899_aabb + d * 0x4455_6677 + e * 0x0011_2233;
        assert_eq!(u128::from(key.fingerprint(&uuid)), sum >> 32 & 0xffff_ffff);
    }

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
