//! Reading a snapshot: any bytes are taken, and what passes can be used without a panic.

use std::io;

use crate::fold::replay::Replay;
use crate::fold::{FOLD_VERSION, State};
use crate::ledger::snapshot::{
    DIGEST_BYTES, ENTRY_BYTES, HEADER_BYTES, IgnoredSnapshot, MAGIC, MARK_BYTES, PIECE_BYTES,
};
use crate::log::chain::{Chain, ChainPlace, Checkpoint, Defined};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::payload::Keys;
use crate::model::id::{DeviceId, DistinctId, EventName, LedgerId, PropertyKey};
use crate::model::limits::MAX_RECORDS;
use crate::model::time::Timestamp;
use crate::store::dictionary::{Dictionaries, Dictionary, FingerprintKey, Seen};
use crate::store::layout::snapshot_name;
use crate::store::layout::{FORMAT_VERSION, SEGMENT_HEADER_BYTES};
use crate::store::segments::Mark;
use crate::store::segments::SnapshotFault;
use crate::store::storage::Storage;

/// How a snapshot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) fold: u32,
    pub(super) ledger: LedgerId,
    /// Where it was made.
    pub(super) end: ChainPlace,
    /// Where the log continues: the first record of a segment, and a place in it.
    pub(super) tail: (u64, u64),
    pub(super) state: Digest,
    pub(super) key: FingerprintKey,
    /// How many operation ids, and how many places.
    pub(super) entries: u64,
    pub(super) marks: u64,
    /// How long the texts of ids, devices, keys and names are.
    pub(super) texts: [u64; 4],
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.fold.to_le_bytes());
        out.extend_from_slice(self.ledger.0.as_bytes());
        out.extend_from_slice(&place_bytes(self.end));
        out.extend_from_slice(&self.tail.0.to_le_bytes());
        out.extend_from_slice(&self.tail.1.to_le_bytes());
        out.extend_from_slice(&self.state.0);
        out.extend_from_slice(&self.key.to_bytes());
        let [ids, devices, keys, names] = self.texts;
        [self.entries, self.marks, ids, devices, keys, names]
            .iter()
            .for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        debug_assert!(out.len() == HEADER_BYTES);
        out
    }

    /// `None` if its time is out of all years.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let mut fields = Fields(bytes);
        let _magic: [u8; 8] = fields.array();
        let version = u16::from_le_bytes(fields.array());
        let _zeros: [u8; 2] = fields.array();
        let fold = fields.u32();
        let ledger = LedgerId(uuid::Uuid::from_bytes(fields.array()));
        let end = fields.place()?;
        let tail = (fields.u64(), fields.u64());
        let state = Digest(fields.array());
        let key = FingerprintKey::from_bytes(&fields.array());
        let (entries, marks) = (fields.u64(), fields.u64());
        let texts = std::array::from_fn(|_| fields.u64());
        Some(Header { version, fold, ledger, end, tail, state, key, entries, marks, texts })
    }
}

/// Fields of a fixed width, from the front; the caller has counted them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().expect("the fields were counted");
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// `None` if its time is out of all years.
    fn place(&mut self) -> Option<ChainPlace> {
        let checkpoint = Checkpoint { records: self.u64(), head: Digest(self.array()) };
        let recorded_at = Timestamp::from_micros(i64::from_le_bytes(self.array()));
        let [ids, devices, keys, names] = std::array::from_fn(|_| self.u32());
        let defined = Defined { ids, devices, keys, names };
        Some(ChainPlace { checkpoint, recorded_at: recorded_at.ok()?, defined })
    }
}

/// What [`Fields::place`] reads.
pub(super) fn place_bytes(place: ChainPlace) -> Vec<u8> {
    let ChainPlace { checkpoint: Checkpoint { records, head }, recorded_at, defined } = place;
    let Defined { ids, devices, keys, names } = defined;
    let mut out = records.to_le_bytes().to_vec();
    out.extend_from_slice(&head.0);
    out.extend_from_slice(&recorded_at.as_micros().to_le_bytes());
    [ids, devices, keys, names].iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
    out
}

/// A snapshot file whose bytes are those that were written, and of this ledger.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) file: String,
    pub(super) header: Header,
    /// Whether the ledger's items are sealed.
    sealed: bool,
    bytes: Vec<u8>,
}

/// What follows the header.
pub(super) struct Parts<'a> {
    marks: &'a [u8],
    /// Of ids, devices, keys and names.
    pub(super) texts: [StoredTexts<'a>; 4],
    entries: &'a [u8],
    state: &'a [u8],
}

/// The texts of one dictionary.
#[derive(Clone, Copy, Default)]
pub(super) struct StoredTexts<'a> {
    pub(super) lengths: &'a [[u8; 2]],
    pub(super) texts: &'a [u8],
}

/// What a snapshot restores, ready to continue from.
pub(super) struct Restored {
    pub(super) replay: Replay,
    pub(super) dictionaries: Dictionaries,
    pub(super) seen: Seen,
    pub(super) marks: Vec<Mark>,
}

/// What tells a snapshot from another one: its header, its places in the log, and digests of the rest.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) header: Header,
    pub(super) marks: Vec<Mark>,
    /// Of ids, devices, keys and names; and how many bytes of text they have.
    pub(super) texts: [(Digest, usize); 4],
    /// Of its operation ids.
    pub(super) entries: Digest,
}

fn damaged<T>(what: &'static str) -> Result<T, SnapshotFault> {
    Err(SnapshotFault::Damaged { what })
}

pub(super) fn malformed(what: &'static str) -> SnapshotFault {
    SnapshotFault::Malformed { what }
}

impl Read {
    /// Reads the snapshot of `records` records. `None` if there is none any more: a writer has removed it
    /// since.
    pub(super) fn open(
        storage: &dyn Storage,
        records: u64,
        ledger: LedgerId,
        keys: &Keys,
    ) -> Option<Result<Read, IgnoredSnapshot>> {
        let file = snapshot_name(records);
        let ignored = |why| Some(Err(IgnoredSnapshot { file: file.clone(), why }));
        match read_hashing(storage, &file) {
            Ok(None) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => ignored(SnapshotFault::Unreadable { what: error.to_string() }),
            Ok(Some(read)) => match open_sealed(keys, records, read).and_then(|(bytes, digest)| {
                Read::parse(bytes, digest, &file, records, ledger, keys.is_some())
            }) {
                Ok(read) => Some(Ok(read)),
                Err(why) => ignored(why),
            },
        }
    }

    /// Takes apart bytes whose digest, the last of them left out, was found to be `found`.
    fn parse(
        bytes: Vec<u8>,
        found: Digest,
        file: &str,
        records: u64,
        ledger: LedgerId,
        sealed: bool,
    ) -> Result<Read, SnapshotFault> {
        let Some((content, digest)) = bytes.split_last_chunk::<DIGEST_BYTES>() else {
            return damaged("it is too short");
        };
        if found != Digest(*digest) {
            return damaged("its digest does not match");
        }
        let Some(head) = content.first_chunk::<HEADER_BYTES>() else { return damaged("it is too short") };
        let version = |what, found, expected| Err(SnapshotFault::Version { what, found, expected });
        if head[..8] != MAGIC {
            return damaged("it does not begin as a snapshot does");
        }
        let format = u16::from_le_bytes([head[8], head[9]]);
        if format != FORMAT_VERSION {
            return version("format version", format.into(), FORMAT_VERSION.into());
        }
        let Some(header) = Header::parse(head) else { return damaged("its time is out of all years") };
        if header.to_bytes()[..] != head[..] {
            return damaged("reserved bytes are not zero");
        }
        if header.ledger != ledger {
            return Err(SnapshotFault::Foreign { found: header.ledger, expected: ledger });
        }
        if header.end.checkpoint.records != records || !(1..=MAX_RECORDS).contains(&records) {
            return Err(malformed("its name and its number of records differ"));
        }
        if header.fold != FOLD_VERSION {
            return version("fold version", header.fold, FOLD_VERSION);
        }
        Ok(Read { file: file.to_owned(), header, sealed, bytes })
    }

    /// Takes the parts behind the header apart; none may be longer than the file.
    pub(super) fn parts(&self) -> Result<Parts<'_>, SnapshotFault> {
        let mut rest = &self.bytes[HEADER_BYTES..self.bytes.len() - DIGEST_BYTES];
        let mut take = |count: u64, each: usize| {
            let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(each));
            let split = len.and_then(|len| rest.split_at_checked(len));
            let (part, left) = split.ok_or(malformed("a part is longer than the file"))?;
            rest = left;
            Ok::<_, SnapshotFault>(part)
        };
        let Header { entries, marks, texts, end: ChainPlace { defined, .. }, .. } = self.header;
        let marks = take(marks, MARK_BYTES)?;
        let counts = [defined.ids, defined.devices, defined.keys, defined.names];
        let mut stored = [StoredTexts::default(); 4];
        for ((stored, count), bytes) in stored.iter_mut().zip(counts).zip(texts) {
            stored.lengths = take(count.into(), 2)?.as_chunks().0;
            stored.texts = take(bytes, 1)?;
        }
        let entries = take(entries, ENTRY_BYTES)?;
        Ok(Parts { marks, texts: stored, entries, state: rest })
    }

    /// Reads everything, and checks that it fits together and to its own digest. What the log says is not looked at.
    pub(super) fn restore(&self) -> Result<Restored, SnapshotFault> {
        let Parts { marks, texts, entries, state } = self.parts()?;
        let Header { ledger, end, state: expected, key, .. } = self.header;
        let ChainPlace { checkpoint: Checkpoint { records, .. }, defined, .. } = end;
        // Parts that have nothing to do with each other: two processors are done sooner than one.
        let (read, found, seen, dictionaries) = std::thread::scope(|scope| {
            let beside = std::thread::Builder::new().spawn_scoped(scope, || {
                let found = Hasher::new(Purpose::State).update(state).finish();
                (found, operation_ids(entries, key, records), Read::dictionaries(texts))
            });
            let beside = beside.map_err(|error| SnapshotFault::Unreadable { what: error.to_string() })?;
            let read = State::from_canonical(state);
            let (found, seen, dictionaries) = beside.join().expect("reading a snapshot does not panic");
            Ok::<_, SnapshotFault>((read, found, seen, dictionaries))
        })?;
        let (state, seen, dictionaries, marks) = (read?, seen?, dictionaries?, self.marks(marks)?);
        // A state has one encoding, so the digest of the bytes is the state's.
        debug_assert_eq!(state.digest(), found);
        if found != expected {
            return Err(SnapshotFault::State { found, expected });
        }
        let fits = state.records() == records
            && defined.sum() <= records
            && state.ids().len() == defined.ids as usize
            && state.devices().len() == defined.devices as usize
            && state.keys() == defined.keys;
        if !fits {
            return Err(malformed("its state is of another place in the log"));
        }
        let replay = Replay::resumed(Chain::resumed(ledger, end, self.sealed), state);
        Ok(Restored { replay, dictionaries, seen, marks })
    }

    fn dictionaries(stored: [StoredTexts<'_>; 4]) -> Result<Dictionaries, SnapshotFault> {
        let mut dictionaries = Dictionaries::default();
        let Dictionaries { ids, devices, keys, names } = &mut dictionaries;
        let restore = |into: &mut Dictionary, at: usize, check: fn(&str) -> bool| {
            let StoredTexts { lengths, texts } = stored[at];
            into.restore(lengths, texts, check).map_err(malformed)
        };
        restore(ids, 0, |text| DistinctId::check(text).is_ok())?;
        restore(devices, 1, |text| DeviceId::check(text).is_ok())?;
        restore(keys, 2, |text| PropertyKey::check(text).is_ok())?;
        restore(names, 3, |text| EventName::check(text).is_ok())?;
        Ok(dictionaries)
    }

    fn marks(&self, stored: &[u8]) -> Result<Vec<Mark>, SnapshotFault> {
        let mut marks: Vec<Mark> = Vec::with_capacity(stored.len() / MARK_BYTES);
        for bytes in stored.as_chunks::<MARK_BYTES>().0 {
            let mut fields = Fields(bytes);
            let disorder = malformed("its places in the log are out of order");
            let Some(before) = fields.place() else { return Err(disorder) };
            let (segment, offset) = (fields.u32(), fields.u64());
            let next = before.checkpoint.records;
            let follows = match marks.last() {
                None => next == 0 && (segment, offset) == (0, SEGMENT_HEADER_BYTES as u64),
                Some(last) => {
                    last.before.next_seq() < next
                        && last.before.recorded_at() <= before.recorded_at
                        && (last.segment, last.offset) < (segment, offset)
                }
            };
            let end = self.header.end;
            if !follows
                || next >= end.checkpoint.records
                || before.recorded_at > end.recorded_at
                || before.defined.sum() > next
            {
                return Err(disorder);
            }
            let before = Chain::resumed(self.header.ledger, before, self.sealed);
            marks.push(Mark { before, segment, offset });
        }
        if marks.is_empty() { Err(malformed("it knows no place in the log")) } else { Ok(marks) }
    }

    /// What an audit holds against the log, instead of the bytes themselves.
    pub(super) fn outline(&self) -> Result<Outline, SnapshotFault> {
        let Parts { marks, texts, entries, state } = self.parts()?;
        let (found, expected) = (Hasher::new(Purpose::State).update(state).finish(), self.header.state);
        if found != expected {
            return Err(SnapshotFault::State { found, expected });
        }
        let marks = self.marks(marks)?;
        let texts = texts.map(|stored| (stored.digest(), stored.texts.len()));
        let entries = Hasher::new(Purpose::Snapshot).update(entries).finish();
        Ok(Outline { header: self.header, marks, texts, entries })
    }
}

impl StoredTexts<'_> {
    /// Tells these texts from any others.
    pub(super) fn digest(&self) -> Digest {
        let StoredTexts { lengths, texts } = self;
        Hasher::new(Purpose::Snapshot).field(lengths.as_flattened()).field(texts).finish()
    }
}

/// What [`Outline::entries`] is of such entries.
pub(super) fn entries_digest(mut entries: impl Iterator<Item = u64>) -> Digest {
    let mut hasher = Hasher::new(Purpose::Snapshot);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        entries.by_ref().take(PIECE_BYTES / ENTRY_BYTES).for_each(|entry| bytes.extend(entry.to_le_bytes()));
        if bytes.is_empty() {
            return hasher.finish();
        }
        hasher.update(&bytes);
    }
}

fn numbers(entries: &[u8]) -> Vec<u64> {
    entries.as_chunks::<ENTRY_BYTES>().0.iter().map(|entry| u64::from_le_bytes(*entry)).collect()
}

/// Opens what was read, if it is sealed.
fn open_sealed(
    keys: &Keys,
    records: u64,
    read: (Vec<u8>, Digest),
) -> Result<(Vec<u8>, Digest), SnapshotFault> {
    let Some(sealer) = keys else { return Ok(read) };
    let Some(plain) = sealer.open_snapshot(records, &read.0) else {
        return damaged("it does not open with these keys");
    };
    let content = plain.len().saturating_sub(DIGEST_BYTES);
    let digest = Hasher::new(Purpose::Snapshot).update(&plain[..content]).finish();
    Ok((plain, digest))
}

/// Reads a whole file, and hashes all but the digest at its end while it is read. `None` if there is none.
fn read_hashing(storage: &dyn Storage, file: &str) -> io::Result<Option<(Vec<u8>, Digest)>> {
    let Some(len) = storage.len(file)? else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let content = bytes.len().saturating_sub(DIGEST_BYTES);
    let (content, digest) = bytes.split_at_mut(content);
    let (found, at) = std::thread::scope(|scope| {
        let (pieces, read) = std::sync::mpsc::channel::<&[u8]>();
        let hashing = std::thread::Builder::new().spawn_scoped(scope, move || {
            let mut hasher = Hasher::new(Purpose::Snapshot);
            for piece in read {
                hasher.update(piece);
            }
            hasher.finish()
        })?;
        let mut at = 0;
        for piece in content.chunks_mut(PIECE_BYTES) {
            if storage.read_at(file, at, piece)? < piece.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += piece.len() as u64;
            pieces.send(piece).expect("it hashes until there are no more pieces");
        }
        drop(pieces);
        Ok::<_, io::Error>((hashing.join().expect("hashing does not panic"), at))
    })?;
    if storage.read_at(file, at, digest)? < digest.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((bytes, found)))
}

fn operation_ids(entries: &[u8], key: FingerprintKey, records: u64) -> Result<Seen, SnapshotFault> {
    let entries = numbers(entries);
    if entries.iter().any(|entry| u64::from(*entry as u32) >= records) {
        return Err(malformed("an operation id of no record"));
    }
    Seen::restored(key, entries).ok_or(malformed("its operation ids are out of order"))
}
