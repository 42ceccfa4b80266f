//! The files of a ledger: their names and fixed parts. `docs/format.md` has the byte tables. Set in stone.

use std::io;

use crate::fold::State;
use crate::fold::replay::Replay;
use crate::log::chain::Chain;
use crate::log::codec::{self, CODEC_ID, Decode, Encode};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::frame::crc32c;
use crate::model::id::{CopyId, LedgerId, Tenant};
use crate::model::limits::MIN_SEGMENT_BYTES;
use crate::store::storage::{Storage, read_all};

/// Who the ledger is; written once.
pub(crate) const LEDGER: &str = "LEDGER";
/// Two slots, written in turn: a witness of what is durable.
pub(crate) const HEAD: &str = "HEAD";
/// Which copy of a sealed ledger this is; no backup holds it.
pub(crate) const COPY: &str = "COPY";
/// Where segments lie.
pub(crate) const LOG: &str = "log";
/// Where recovery keeps what it cut off.
pub(crate) const QUARANTINE: &str = "quarantine";
/// Where snapshots lie.
pub(crate) const SNAPSHOTS: &str = "snap";
/// Where a ledger that follows a log keeps what it took out of its files.
pub(crate) const RECEIPTS: &str = "receipts";
/// `LEDGER` of a copy that is not complete yet.
pub(crate) const PARTIAL: &str = "LEDGER.partial";
/// Ends the name of a file in `log/` that is to become a segment.
pub(crate) const COPY_SUFFIX: &str = ".new";
/// How the name of a snapshot ends, and of one that is being made.
pub(crate) const WHOLE: &str = ".snap";
pub(crate) const BUILDING: &str = ".new";
/// How the name of a receipt ends.
const DONE: &str = ".done";
/// What may stand in a ledger's directory, or a copy's.
const OWN: [&str; 11] =
    [LEDGER, "LEDGER.new", PARTIAL, HEAD, COPY, "COPY.new", LOG, "LOCK", SNAPSHOTS, QUARANTINE, RECEIPTS];

/// PNG's trick: a high bit, a name, both line ends and DOS's end of file, so that any text-mode copy is noticed.
const LEDGER_MAGIC: [u8; 8] = *b"\x89ILG\r\n\x1a\n";
const COPY_MAGIC: [u8; 8] = *b"\x89ILC\r\n\x1a\n";
const SEGMENT_MAGIC: [u8; 8] = *b"\x89ILS\r\n\x1a\n";
const HEAD_MAGIC: [u8; 8] = *b"\x89ILH\r\n\x1a\n";

/// The format's version. A reader refuses any other.
pub const FORMAT_VERSION: u16 = 2;

/// Bytes of a segment header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 96;
/// Bytes of `COPY`.
#[cfg(feature = "encryption")]
const COPY_BYTES: usize = 44;
/// Bytes of a HEAD slot, and where the second begins: another sector on any disk.
const HEAD_SLOT_BYTES: usize = 88;
const HEAD_SLOT_DISTANCE: u64 = 4_096;

/// What `LEDGER` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) ledger: LedgerId,
    pub(crate) tenant: Tenant,
    pub(crate) segment_bytes: u64,
    /// Whether payload items are sealed, and snapshots with them.
    pub(crate) sealed: bool,
}

/// `LEDGER` as stored. The feature words follow ext4: a reader may ignore unknown `compat` bits, must not write past unknown
/// `ro_compat` bits, and must not read past unknown `incompat` bits. Version 2 knows one `incompat` bit.
#[derive(Encode, Decode)]
struct StoredIdentity {
    version: u16,
    codec: u8,
    compat: u64,
    ro_compat: u64,
    incompat: u64,
    ledger: [u8; 16],
    segment_bytes: u64,
    tenant: String,
}

/// Why `LEDGER` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no such file: this is not a ledger.
    #[error("{place} is not a ledger: it holds no file LEDGER; create one with `init`")]
    Missing {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The file is called `LEDGER.partial` here: this is a copy that a backup has begun and not completed.
    #[error(
        "{place} is an unfinished copy of a ledger: a backup was cut off; run `backup` again, it completes the copy, \
         or, if the ledger is lost, `salvage` what the copy holds"
    )]
    Unfinished {
        /// The directory, as its storage describes itself.
        place: String,
    },
    /// The file is damaged.
    #[error(
        "{place}/LEDGER is damaged ({what}); restore this one file from a copy, it never changes after creation"
    )]
    Damaged {
        /// The directory, as its storage describes itself.
        place: String,
        /// What is wrong with the file's bytes.
        what: &'static str,
    },
    /// The ledger was written by an older version, which this one does not read.
    #[error(
        "{place} has format version {found}; this version reads {FORMAT_VERSION} only. Export its operations with the program that \
         wrote it, and import them into a new ledger"
    )]
    Older {
        /// The directory, as its storage describes itself.
        place: String,
        /// The format version that stands there.
        found: u16,
    },
    /// The ledger was written by a newer version.
    #[error("{place} needs a newer reader: {feature} {found}; this version knows {known}")]
    Newer {
        /// The directory, as its storage describes itself.
        place: String,
        /// Which feature word or number.
        feature: &'static str,
        /// What stands there.
        found: String,
        /// What this version knows.
        known: &'static str,
    },
    /// The file cannot be read.
    #[error("{place}/LEDGER cannot be opened: {source}")]
    Io {
        /// The directory, as its storage describes itself.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The `incompat` bit of a ledger whose payload items are sealed.
const SEALED: u64 = 1;

impl Identity {
    /// The chain of its log, before the first frame.
    pub(crate) fn chain(&self) -> Chain {
        Chain::new(self.ledger, &self.tenant).with_items_sealed(self.sealed)
    }

    /// The replay of its log, before the first frame.
    pub(crate) fn replay(&self) -> Replay {
        Replay::resumed(self.chain(), State::new())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = LEDGER_MAGIC.to_vec();
        let stored = StoredIdentity {
            version: FORMAT_VERSION,
            codec: CODEC_ID,
            compat: 0,
            ro_compat: 0,
            incompat: if self.sealed { SEALED } else { 0 },
            ledger: *self.ledger.0.as_bytes(),
            segment_bytes: self.segment_bytes,
            tenant: self.tenant.as_str().to_owned(),
        };
        codec::encode(&stored, &mut out);
        let digest = Hasher::new(Purpose::File).update(&out).finish();
        out.extend_from_slice(&digest.0);
        out
    }

    /// Reads `LEDGER`; `writing` also refuses features that only readers may ignore.
    pub(crate) fn read(storage: &dyn Storage, writing: bool) -> Result<Identity, IdentityError> {
        let place = storage.describe();
        let failed = |source| IdentityError::Io { place: place.clone(), source };
        match read_all(storage, LEDGER, 4_096).map_err(failed)? {
            Some(bytes) => Identity::parse(&bytes, &place, writing),
            None if storage.len(PARTIAL).map_err(failed)?.is_some() => {
                Err(IdentityError::Unfinished { place })
            }
            None => Err(IdentityError::Missing { place }),
        }
    }

    /// Reads `LEDGER.partial` of a copy that is not complete; `None` if the backup was cut off before that was written.
    pub(crate) fn read_unfinished(storage: &dyn Storage) -> io::Result<Option<Identity>> {
        let bytes = read_all(storage, PARTIAL, 4_096)?.unwrap_or_default();
        Ok(Identity::parse(&bytes, &storage.describe(), false).ok())
    }

    fn parse(bytes: &[u8], place: &str, writing: bool) -> Result<Identity, IdentityError> {
        let place = || place.to_owned();
        let damaged = |what| Err(IdentityError::Damaged { place: place(), what });
        let Some(rest) = bytes.strip_prefix(&LEDGER_MAGIC) else {
            return damaged("it does not begin as LEDGER does");
        };
        let Some((content, digest)) = rest.split_last_chunk::<32>() else {
            return damaged("it is too short");
        };
        let end = bytes.len() - 32;
        if Hasher::new(Purpose::File).update(&bytes[..end]).finish() != Digest(*digest) {
            return damaged("its digest does not match");
        }
        let newer = |feature, found: String, known| {
            Err(IdentityError::Newer { place: place(), feature, found, known })
        };
        let version = content.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
        // Of another version the rest may be laid out otherwise.
        match version {
            Some(found) if found < FORMAT_VERSION => {
                return Err(IdentityError::Older { place: place(), found });
            }
            Some(found) if found > FORMAT_VERSION => return newer("format version", found.to_string(), "2"),
            _ => {}
        }
        let (stored, taken) = match codec::decode::<StoredIdentity>(content) {
            Ok(decoded) => decoded,
            Err(_) => return damaged("it is unreadable"),
        };
        if taken != content.len() {
            return damaged("bytes follow its end");
        }
        if stored.codec != CODEC_ID {
            return newer("codec", stored.codec.to_string(), "1 (bincode 2, legacy)");
        }
        if stored.incompat & !SEALED != 0 {
            return newer("incompat feature bits", format!("{:#x}", stored.incompat), "0x1 (sealed payload)");
        }
        if writing && stored.ro_compat != 0 {
            return newer("ro_compat feature bits", format!("{:#x}", stored.ro_compat), "none for writing");
        }
        let Ok(tenant) = Tenant::new(stored.tenant) else {
            return damaged("its tenant is none");
        };
        if stored.segment_bytes < MIN_SEGMENT_BYTES {
            return damaged("its segment size is below the least");
        }
        Ok(Identity {
            ledger: LedgerId(uuid::Uuid::from_bytes(stored.ledger)),
            tenant,
            segment_bytes: stored.segment_bytes,
            sealed: stored.incompat & SEALED != 0,
        })
    }
}

impl CopyId {
    fn to_bytes(self, ledger: LedgerId) -> Vec<u8> {
        let mut out = [&COPY_MAGIC[..], ledger.0.as_bytes(), &self.0].concat();
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads `COPY`; `None` if it is missing, damaged or another ledger's: then this is a copy that no key ring belongs to.
    #[cfg(feature = "encryption")]
    pub(crate) fn read(storage: &dyn Storage, ledger: LedgerId) -> io::Result<Option<CopyId>> {
        let mut bytes = [0; COPY_BYTES];
        if storage.len(COPY)? != Some(COPY_BYTES as u64) || storage.read_at(COPY, 0, &mut bytes)? < COPY_BYTES
        {
            return Ok(None);
        }
        let copy = CopyId(*bytes[24..].first_chunk().expect("16 bytes"));
        Ok((copy.to_bytes(ledger) == bytes).then_some(copy))
    }

    /// Makes `COPY` say this: before and after a crash it is the former one or this one, whole.
    pub(crate) fn write(self, storage: &dyn Storage, ledger: LedgerId) -> io::Result<()> {
        let building = format!("{COPY}.new");
        if storage.len(&building)?.is_some() {
            storage.remove(&building)?;
        }
        storage.create(&building)?;
        storage.write_at(&building, 0, &self.to_bytes(ledger))?;
        storage.sync(&building)?;
        storage.rename(&building, COPY)?;
        storage.sync_dir("")
    }
}

/// The name of the snapshot that covers `records` records.
pub(crate) fn snapshot_name(records: u64) -> String {
    format!("{SNAPSHOTS}/{records:020}{WHOLE}")
}

/// The name of the receipt of a removal whose last erasure is this record.
pub(crate) fn receipt_name(last: u32) -> String {
    format!("{RECEIPTS}/{last:020}{DONE}")
}

/// The last erase record of the removal whose receipt has this name; `None` if no receipt is called so.
pub(crate) fn last_erasure_of(name: &str) -> Option<u32> {
    numbered(name, DONE).and_then(|last| u32::try_from(last).ok())
}

/// Whether a writer gives this name to a file in `receipts/`.
pub(crate) fn is_receipt(name: &str) -> bool {
    last_erasure_of(name).is_some() || numbered(name, BUILDING).is_some()
}

/// The name of the segment that begins with record `first_seq`.
pub(crate) fn segment_name(first_seq: u64) -> String {
    format!("{LOG}/{first_seq:020}.seg")
}

/// The first record of a segment file of this name; `None` if it is not the name of a segment.
pub(crate) fn first_seq_of(name: &str) -> Option<u64> {
    numbered(name, ".seg")
}

/// How many records a snapshot of this name covers; `None` if no snapshot is called so.
pub(crate) fn covered_by(name: &str) -> Option<u64> {
    numbered(name, WHOLE)
}

/// The number in a name of 20 digits and a suffix.
fn numbered(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix).filter(|digits| is_number(digits, 20))?;
    digits.parse().ok()
}

fn is_number(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a writer gives this name to a file in `log/` that is to become a segment.
pub(crate) fn is_copy(name: &str) -> bool {
    name.strip_suffix(COPY_SUFFIX).and_then(first_seq_of).is_some()
}

/// Whether a writer gives this name to a file in `snap/`.
pub(crate) fn is_snapshot(name: &str) -> bool {
    covered_by(name).is_some() || is_half_snapshot(name)
}

/// Whether a writer gives this name to a snapshot that is being made.
pub(crate) fn is_half_snapshot(name: &str) -> bool {
    numbered(name, BUILDING).is_some()
}

/// Whether recovery gives this name to a file in `quarantine/`.
pub(crate) fn is_cut(name: &str) -> bool {
    let mut parts = name.strip_suffix(".cut").into_iter().flat_map(|name| name.split('-'));
    let mut number = |digits: Option<usize>| {
        parts.next().is_some_and(|part| is_number(part, digits.unwrap_or(part.len())) && !part.is_empty())
    };
    number(Some(20)) && number(None) && number(None) && parts.next().is_none()
}

/// Whether a name in a ledger's own directory is one of its files or directories.
pub(crate) fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// What no ledger makes among its files: it is never read, changed or removed.
pub(crate) fn foreign(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let is_segment: fn(&str) -> bool = |name| first_seq_of(name).is_some() || is_copy(name);
    let mut found = Vec::new();
    let dirs = [
        ("", is_own as fn(&str) -> bool),
        (LOG, is_segment),
        (SNAPSHOTS, is_snapshot),
        (QUARANTINE, is_cut),
        (RECEIPTS, is_receipt),
    ];
    for (dir, is_ours) in dirs {
        let names = storage.list(dir)?.into_iter().filter(|name| !is_ours(name));
        found.extend(names.map(|name| if dir.is_empty() { name } else { format!("{dir}/{name}") }));
    }
    found.sort_unstable();
    Ok(found)
}

/// What a file is that begins with these bytes; `None` if no ledger and no key ring does.
pub(crate) fn kind_of_file(beginning: [u8; 8]) -> Option<&'static str> {
    let letter = beginning[3];
    let alike = [b'\x89', b'I', b'L', letter, b'\r', b'\n', b'\x1a', b'\n'];
    let kind = match letter {
        b'G' => "the LEDGER file of a ledger",
        b'C' => "the COPY file of a ledger",
        b'S' => "a segment of a ledger",
        b'H' => "the HEAD file of a ledger",
        b'P' => "a snapshot of a ledger",
        b'R' => "a receipt of a ledger",
        b'K' => "a key ring",
        _ => return None,
    };
    (beginning == alike).then_some(kind)
}

/// How a segment begins: it names what comes before it, so that a missing one is noticed and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) ledger: LedgerId,
    pub(crate) first_seq: u64,
    /// The hash of the last frame before.
    pub(crate) previous: Digest,
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[16..32].copy_from_slice(self.ledger.0.as_bytes());
        out[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        out[40..72].copy_from_slice(&self.previous.0);
        let crc = crc32c(&out[..92]);
        out[92..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The format version of a whole header of another version.
    pub(crate) fn other_version(bytes: &[u8]) -> Option<u16> {
        let bytes = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()?;
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        let crc = u32::from_le_bytes(bytes[92..].try_into().expect("4 bytes"));
        let is_whole = bytes.starts_with(&SEGMENT_MAGIC) && crc == crc32c(&bytes[..92]);
        (is_whole && version != FORMAT_VERSION).then_some(version)
    }

    /// Reads a header; `None` if these bytes are none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<SegmentHeader> {
        let bytes = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()?;
        let crc = u32::from_le_bytes(bytes[92..].try_into().expect("4 bytes"));
        let header = SegmentHeader {
            ledger: LedgerId(uuid::Uuid::from_bytes(bytes[16..32].try_into().expect("16 bytes"))),
            first_seq: u64::from_le_bytes(bytes[32..40].try_into().expect("8 bytes")),
            previous: Digest(bytes[40..72].try_into().expect("32 bytes")),
        };
        // Written again, it gives the same bytes: magic, version and reserved zeros are checked with it.
        (crc == crc32c(&bytes[..92]) && header.to_bytes() == *bytes).then_some(header)
    }
}

/// One slot of `HEAD`: how many records are durable, and the hash of the frame that ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadSlot {
    pub(crate) ledger: LedgerId,
    /// Grows by one a write; the larger of two slots is the newer, and its parity is its place.
    pub(crate) turn: u64,
    pub(crate) records: u64,
    pub(crate) head: Digest,
}

impl HeadSlot {
    fn to_bytes(self) -> [u8; HEAD_SLOT_BYTES] {
        let mut out = [0; HEAD_SLOT_BYTES];
        out[..8].copy_from_slice(&HEAD_MAGIC);
        out[8..24].copy_from_slice(self.ledger.0.as_bytes());
        out[24..32].copy_from_slice(&self.turn.to_le_bytes());
        out[32..40].copy_from_slice(&self.records.to_le_bytes());
        out[40..72].copy_from_slice(&self.head.0);
        let crc = crc32c(&out[..84]);
        out[84..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8], ledger: LedgerId) -> Option<HeadSlot> {
        let bytes = bytes.first_chunk::<HEAD_SLOT_BYTES>()?;
        let slot = HeadSlot {
            ledger,
            turn: u64::from_le_bytes(bytes[24..32].try_into().expect("8 bytes")),
            records: u64::from_le_bytes(bytes[32..40].try_into().expect("8 bytes")),
            head: Digest(bytes[40..72].try_into().expect("32 bytes")),
        };
        (slot.to_bytes() == *bytes).then_some(slot)
    }

    /// Writes the slot in its place.
    pub(crate) fn write(self, storage: &dyn Storage) -> io::Result<()> {
        storage.write_at(HEAD, self.turn % 2 * HEAD_SLOT_DISTANCE, &self.to_bytes())
    }

    /// The whole slots of `HEAD`, newest first. A missing file has none; so has one of another ledger.
    pub(crate) fn read(storage: &dyn Storage, ledger: LedgerId) -> io::Result<Vec<HeadSlot>> {
        let parts = HeadSlot::parts(storage)?;
        let mut slots: Vec<HeadSlot> =
            parts.iter().filter_map(|part| HeadSlot::parse(part, ledger)).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.turn));
        Ok(slots)
    }

    /// Whether a slot that was written is damaged, cut or gone, or something else stands in `HEAD`. The first write of a
    /// ledger's `HEAD` has turn 1 and is the only one that leaves the other place empty; of later ones the turn before stands
    /// there.
    pub(crate) fn is_torn(storage: &dyn Storage, ledger: LedgerId) -> io::Result<bool> {
        let parts = HeadSlot::parts(storage)?;
        let slots = parts.each_ref().map(|part| HeadSlot::parse(part, ledger));
        let is_more = |part: &Vec<u8>, slot: &Option<HeadSlot>| {
            let slot = if slot.is_some() { HEAD_SLOT_BYTES } else { 0 };
            part[slot..].iter().any(|byte| *byte != 0)
        };
        let turns = match slots.map(|slot| slot.map(|slot| slot.turn)) {
            [Some(a), Some(b)] => a.abs_diff(b) == 1,
            [Some(turn), None] | [None, Some(turn)] => turn == 1,
            [None, None] => true, // there is no HEAD at all, and that is not a remark but a fault
        };
        Ok(!turns || parts.iter().zip(&slots).any(|(part, slot)| is_more(part, slot)))
    }

    /// The bytes of each slot's place, as far as the file has them, read at one time: a writer may be at work.
    fn parts(storage: &dyn Storage) -> io::Result<[Vec<u8>; 2]> {
        let mut bytes = vec![0; HEAD_SLOT_DISTANCE as usize + HEAD_SLOT_BYTES];
        let read = if storage.len(HEAD)?.is_some() { storage.read_at(HEAD, 0, &mut bytes)? } else { 0 };
        bytes.truncate(read);
        let second = bytes.split_off(read.min(HEAD_SLOT_DISTANCE as usize));
        Ok([bytes, second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            ledger: LedgerId(uuid::Uuid::from_u128(7)),
            tenant: Tenant::default(),
            segment_bytes: 4_096,
            sealed: false,
        }
    }

    #[test]
    fn every_flip_in_ledger_and_segment_header_is_noticed() {
        let bytes = identity().to_bytes();
        assert_eq!(Identity::parse(&bytes, "here", true).unwrap(), identity());
        let sealed = Identity { sealed: true, ..identity() };
        assert_eq!(Identity::parse(&sealed.to_bytes(), "here", true).unwrap(), sealed);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::parse(&damaged, "here", false).is_err(), "bit {bit}");
        }
        let header =
            SegmentHeader { ledger: identity().ledger, first_seq: 5, previous: Digest([3; 32]) }.to_bytes();
        assert!(SegmentHeader::parse(&header).is_some());
        for bit in 0..header.len() * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::parse(&damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn unknown_features_are_refused_by_name() {
        let with = |change: fn(&mut StoredIdentity)| {
            let mut stored = StoredIdentity {
                version: FORMAT_VERSION,
                codec: CODEC_ID,
                compat: 0,
                ro_compat: 0,
                incompat: 0,
                ledger: [0; 16],
                segment_bytes: 4_096,
                tenant: "1".to_owned(),
            };
            change(&mut stored);
            let mut bytes = LEDGER_MAGIC.to_vec();
            codec::encode(&stored, &mut bytes);
            let digest = Hasher::new(Purpose::File).update(&bytes).finish();
            bytes.extend_from_slice(&digest.0);
            bytes
        };
        let read = |bytes: Vec<u8>, writing| {
            Identity::parse(&bytes, "here", writing).map(drop).map_err(|e| e.to_string())
        };
        let message = read(with(|stored| stored.incompat = 4), false).unwrap_err();
        assert_eq!(
            message,
            "here needs a newer reader: incompat feature bits 0x4; this version knows 0x1 (sealed payload)"
        );
        assert!(read(with(|stored| stored.version = 3), false).unwrap_err().contains("format version 3"));
        let message = read(with(|stored| stored.version = 1), false).unwrap_err();
        assert!(
            message.starts_with("here has format version 1; this version reads 2 only. Export"),
            "{message}"
        );
        assert!(read(with(|stored| stored.ro_compat = 1), true).is_err());
        assert!(read(with(|stored| stored.ro_compat = 1), false).is_ok());
        assert!(read(with(|stored| stored.compat = 1), true).is_ok());
    }

    #[test]
    fn segment_names_sort_as_their_numbers() {
        assert_eq!(segment_name(7), "log/00000000000000000007.seg");
        assert_eq!(first_seq_of("00000000000000000007.seg"), Some(7));
        for other in
            ["7.seg", "0000000000000000000x.seg", "00000000000000000007.tmp", "99999999999999999999.seg"]
        {
            assert_eq!(first_seq_of(other), None, "{other}");
        }
    }
}
