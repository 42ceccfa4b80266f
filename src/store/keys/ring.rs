//! The key ring: trees of keys, and hashes of texts that are not to come back. As bytes it is for a [`super::KeyProvider`] to keep.

use std::collections::BTreeSet;

use crate::log::chain::Checkpoint;
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::payload::KeysError;
use crate::model::id::{CopyId, LedgerId};
use crate::model::limits::MAX_RECORDS;

use super::tree::{Key, Node, Path, SNAPSHOTS, Tree};

/// As `LEDGER` begins, with a K.
const MAGIC: [u8; 8] = *b"\x89ILK\r\n\x1a\n";
const VERSION: u16 = 2;
/// Of the keyed hash of a refused text: 128 bits tell any two apart.
const TEXT_HASH_BYTES: usize = 16;
/// Bytes of a stored node: first leaf, depth, key.
const NODE_BYTES: usize = 37;

/// What a copy has reached that the ring was not held against yet.
const NOTHING: Checkpoint = Checkpoint { records: 0, head: Digest([0; 32]) };

/// What opens a ledger. With it and the log, everything that is not erased can be read.
#[derive(Debug)]
pub(super) struct Ring {
    /// The copy of the ledger that may write with it.
    pub(super) copy: CopyId,
    /// How far that copy's log was durable when the ring was stored; no records before anything was.
    pub(super) reached: Checkpoint,
    /// The keys of every erasure whose record has a lower number are destroyed.
    forgotten: u64,
    /// One tree; another for what is written after the log was rolled back over keys that were destroyed.
    epochs: Vec<Tree>,
    /// The way to the key that was asked for last, and in which epoch.
    path: (usize, Path),
    /// Keys the hashes of refused texts: without it no text can be tried against them.
    text_key: Key,
    refusing: bool,
    refused: BTreeSet<[u8; TEXT_HASH_BYTES]>,
}

impl Ring {
    pub(super) fn new(copy: CopyId, root: Key, text_key: Key) -> Ring {
        let (epochs, path) = (vec![Tree::new(root)], (0, Path::new()));
        let refused = BTreeSet::new();
        Ring { copy, reached: NOTHING, forgotten: 0, epochs, path, text_key, refusing: false, refused }
    }

    /// Makes it the ring of this copy, whose log it was not held against yet.
    pub(super) fn adopt(&mut self, copy: CopyId) {
        (self.copy, self.reached, self.forgotten) = (copy, NOTHING, 0);
    }

    /// The keys of every erasure whose record has a lower number are destroyed.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Notes that the keys of every erasure up to this record are destroyed.
    pub(super) fn forget(&mut self, last: u64) {
        self.forgotten = self.forgotten.max(last + 1);
    }

    /// Makes it a ring of its own: what is sealed from here on, no other ring opens.
    pub(super) fn fork(&mut self, copy: CopyId, root: Key) {
        self.adopt(copy);
        self.epochs.push(Tree::new(root));
    }

    /// The key of a leaf. `None` if there is no such epoch; nothing in it if the key is destroyed.
    pub(super) fn key(&mut self, epoch: u32, leaf: u32) -> Option<Option<Key>> {
        let epoch = epoch as usize;
        let tree = self.epochs.get(epoch)?;
        if self.path.0 != epoch {
            self.path = (epoch, Path::new());
        }
        Some(tree.key(leaf, &mut self.path.1))
    }

    /// How many epochs there are.
    pub(super) fn epochs(&self) -> u32 {
        self.epochs.len() as u32 // each was a rollback
    }

    /// The key under which a leaf is sealed from now on, and its epoch; `None` if it is destroyed.
    pub(super) fn newest_key(&mut self, leaf: u32) -> Option<(u32, Key)> {
        let epoch = self.epochs() - 1;
        Some((epoch, self.key(epoch, leaf)??))
    }

    /// Destroys the keys of these leaves, both ends included, in every epoch.
    pub(super) fn destroy(&mut self, ranges: impl Iterator<Item = (u32, u32)>) {
        for (from, to) in ranges {
            self.epochs.iter_mut().for_each(|tree| tree.destroy(from, to));
        }
        self.path = (0, Path::new());
    }

    /// Begins another epoch if the key of a record from `next` on is destroyed, or of a snapshot: the log was longer once. Gives
    /// whether it did.
    pub(super) fn begin_epoch(&mut self, next: u32, root: Key) -> bool {
        let newest = self.epochs.last().expect("a ring has an epoch");
        let last = MAX_RECORDS as u32; // a snapshot may cover as many
        let lacks = newest.lacks_any(next, last) || newest.lacks_any(SNAPSHOTS | next, SNAPSHOTS | last);
        if lacks {
            self.epochs.push(Tree::new(root));
        }
        lacks
    }

    pub(super) fn refuses(&self, text: &str) -> bool {
        !self.refused.is_empty() && self.refused.contains(&hash(&self.text_key, text))
    }

    /// Remembers texts, if any are refused; gives whether that is new.
    pub(super) fn remember(&mut self, texts: &mut dyn Iterator<Item = &str>) -> bool {
        let before = self.refused.len();
        if self.refusing {
            self.refused.extend(texts.map(|text| hash(&self.text_key, text)));
        }
        self.refused.len() > before
    }

    pub(super) fn set_refusing(&mut self, refusing: bool) {
        self.refusing = refusing;
        if !refusing {
            self.refused.clear();
        }
    }

    pub(super) fn to_bytes(&self, ledger: LedgerId) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).expect("fewer than there are records").to_le_bytes();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.refusing), 0]);
        out.extend_from_slice(ledger.0.as_bytes());
        out.extend_from_slice(&self.copy.0);
        out.extend_from_slice(&self.reached.records.to_le_bytes());
        out.extend_from_slice(&self.reached.head.0);
        out.extend_from_slice(&self.forgotten.to_le_bytes());
        out.extend_from_slice(&self.text_key);
        out.extend_from_slice(&count(self.epochs.len()));
        for tree in &self.epochs {
            out.extend_from_slice(&count(tree.nodes().len()));
            for (start, Node { depth, key }) in tree.nodes() {
                out.extend_from_slice(&start.to_le_bytes());
                out.push(depth);
                out.extend_from_slice(&key);
            }
        }
        out.extend_from_slice(&count(self.refused.len()));
        self.refused.iter().for_each(|hash| out.extend_from_slice(hash));
        let digest = Hasher::new(Purpose::KeyRing).update(&out).finish();
        out.extend_from_slice(&digest.0);
        out
    }

    /// Reads what [`Ring::to_bytes`] wrote, and nothing else.
    pub(super) fn parse(bytes: &[u8], ledger: LedgerId, keys: &str) -> Result<Ring, KeysError> {
        let damaged = |what| KeysError::Damaged { keys: keys.to_owned(), what };
        let Some((mut rest, digest)) = bytes.split_last_chunk::<32>() else {
            return Err(damaged("it is too short"));
        };
        if !rest.starts_with(&MAGIC) {
            return Err(damaged("it does not begin as a key ring does"));
        }
        if Hasher::new(Purpose::KeyRing).update(rest).finish() != Digest(*digest) {
            return Err(damaged("its digest does not match"));
        }
        let rest = &mut rest;
        let short = || damaged("it ends inside a field");
        let _magic: [u8; 8] = take(rest).ok_or_else(short)?;
        let version = u16::from_le_bytes(take(rest).ok_or_else(short)?);
        if version != VERSION {
            let keys = keys.to_owned();
            return Err(KeysError::Newer { keys, found: version, known: VERSION });
        }
        let [refusing @ (0 | 1), 0] = take(rest).ok_or_else(short)? else {
            return Err(damaged("a flag is neither 0 nor 1"));
        };
        let found = LedgerId(uuid::Uuid::from_bytes(take(rest).ok_or_else(short)?));
        if found != ledger {
            return Err(KeysError::Foreign { keys: keys.to_owned(), found, expected: ledger });
        }
        let copy = CopyId(take(rest).ok_or_else(short)?);
        let records = u64::from_le_bytes(take(rest).ok_or_else(short)?);
        let reached = Checkpoint { records, head: Digest(take(rest).ok_or_else(short)?) };
        let forgotten = u64::from_le_bytes(take(rest).ok_or_else(short)?);
        let text_key = take(rest).ok_or_else(short)?;
        let mut epochs = Vec::new();
        for _ in 0..u32::from_le_bytes(take(rest).ok_or_else(short)?) {
            let count = u32::from_le_bytes(take(rest).ok_or_else(short)?) as usize;
            let nodes = count.checked_mul(NODE_BYTES).and_then(|len| rest.split_at_checked(len));
            let (nodes, after) = nodes.ok_or_else(short)?;
            *rest = after;
            let node = |bytes: &[u8; NODE_BYTES]| {
                let (start, key) = (u32::from_le_bytes(part(bytes, 0)), part(bytes, 5));
                (start, Node { depth: bytes[4], key })
            };
            let tree = Tree::of(nodes.as_chunks().0.iter().map(node));
            epochs.push(tree.ok_or_else(|| damaged("its nodes are not a tree"))?);
        }
        if epochs.is_empty() {
            return Err(damaged("it has no epoch"));
        }
        let count = u32::from_le_bytes(take(rest).ok_or_else(short)?) as usize;
        let (hashes, left) = rest.as_chunks::<TEXT_HASH_BYTES>();
        if hashes.len() != count || !left.is_empty() || !hashes.is_sorted_by(|a, b| a < b) {
            return Err(damaged("its hashes are not as many as it says, or not ascending"));
        }
        let refused = hashes.iter().copied().collect();
        let (path, refusing) = ((0, Path::new()), refusing == 1);
        Ok(Ring { copy, reached, forgotten, epochs, path, text_key, refusing, refused })
    }
}

/// The digest that a ring ends with; `None` if these bytes are too short to have one.
pub(super) fn digest_of(bytes: &[u8]) -> Option<Digest> {
    bytes.last_chunk().copied().map(Digest)
}

/// What a text is recognised by.
fn hash(key: &Key, text: &str) -> [u8; TEXT_HASH_BYTES] {
    let Digest(hash) = Hasher::new(Purpose::RefusedText).update(key).update(text.as_bytes()).finish();
    *hash.first_chunk().expect("a digest is longer")
}

/// Takes `N` bytes from the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn part<const N: usize>(bytes: &[u8; NODE_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a node has all its fields")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: LedgerId = LedgerId(uuid::Uuid::from_u128(7));

    fn used() -> Ring {
        let mut ring = Ring::new(CopyId([9; 16]), [1; 32], [2; 32]);
        ring.set_refusing(true);
        assert!(ring.remember(&mut ["ann", "bob"].into_iter()));
        ring.destroy([(3, 3), (9, 12)].into_iter());
        assert!(ring.begin_epoch(5, [3; 32]));
        ring
    }

    #[test]
    fn a_ring_reads_back_and_every_flip_and_cut_is_noticed() {
        let bytes = used().to_bytes(LEDGER);
        let mut read = Ring::parse(&bytes, LEDGER, "keys").unwrap();
        assert_eq!(read.to_bytes(LEDGER), bytes);
        assert!(read.refuses("ann") && !read.refuses("cat"));
        assert_eq!((read.key(0, 3), read.key(2, 4)), (Some(None), None));
        assert_eq!(read.key(0, 4), Some(Ring::new(CopyId([9; 16]), [1; 32], [0; 32]).key(0, 4).unwrap()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Ring::parse(&damaged, LEDGER, "keys").is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Ring::parse(&bytes[..len], LEDGER, "keys").is_err(), "{len} bytes");
        }
        let other = LedgerId(uuid::Uuid::from_u128(8));
        assert!(matches!(Ring::parse(&bytes, other, "keys"), Err(KeysError::Foreign { .. })));
    }

    /// With a digest made right again, whatever is read is what would be written, and what is not is refused.
    #[test]
    fn a_forged_ring_is_a_ring_or_refused() {
        let bytes = used().to_bytes(LEDGER);
        let content = bytes.len() - 32;
        for at in 0..content {
            for flip in [1, 0x80, 0xff] {
                let mut forged = bytes[..content].to_vec();
                forged[at] ^= flip;
                let digest = Hasher::new(Purpose::KeyRing).update(&forged).finish();
                forged.extend_from_slice(&digest.0);
                if let Ok(ring) = Ring::parse(&forged, LEDGER, "keys") {
                    assert_eq!(ring.to_bytes(LEDGER), forged, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn another_epoch_begins_only_over_destroyed_keys() {
        let mut ring = Ring::new(CopyId([9; 16]), [1; 32], [2; 32]);
        ring.destroy([(3, 3)].into_iter());
        assert!(!ring.begin_epoch(4, [3; 32]));
        assert!(ring.begin_epoch(3, [3; 32]));
        assert!(!ring.begin_epoch(0, [3; 32]));
        assert_eq!(ring.newest_key(3).unwrap().0, 1);
        ring.destroy([(SNAPSHOTS, SNAPSHOTS | 8)].into_iter());
        assert!(!ring.begin_epoch(9, [4; 32]));
        assert!(ring.begin_epoch(8, [4; 32]));
        assert_ne!(ring.key(0, 4), ring.key(1, 4));
    }

    #[test]
    fn texts_are_refused_only_while_somebody_wants_it() {
        let mut ring = Ring::new(CopyId([9; 16]), [1; 32], [2; 32]);
        assert!(!ring.remember(&mut ["ann"].into_iter()) && !ring.refuses("ann"));
        ring.set_refusing(true);
        assert!(ring.remember(&mut ["ann"].into_iter()) && ring.refuses("ann"));
        assert!(!ring.remember(&mut ["ann"].into_iter()), "once is enough");
        ring.set_refusing(false);
        assert!(!ring.refuses("ann"), "forgotten for good");
        ring.set_refusing(true);
        assert!(!ring.refuses("ann"));
    }
}
