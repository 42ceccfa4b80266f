//! Frames: one atomic batch of records as bytes. Knows layout and checksums, nothing of meaning.
//!
//! ```text
//! header 48 | body (chained) | payload (erasable, not chained) | frame hash 32 | zero padding to 8
//! ```
//! `docs/format.md` has the byte tables. Set in stone.

use crate::log::codec::CODEC_ID;
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::model::id::LedgerId;
use crate::model::limits::{MAX_FRAME_BYTES, MAX_FRAME_RECORDS};
use crate::model::time::Timestamp;

/// Begins every frame; not a byte sequence that text or zeros produce.
pub(crate) const MARKER: [u8; 4] = [0xF5, b'i', b'l', 0x1A];
/// The version of the frame layout.
pub(crate) const FRAME_VERSION: u8 = 2;
/// Bytes of a frame header.
pub(crate) const HEADER_BYTES: usize = 48;
/// Bytes of a salt: 128 bits make a commitment hide even a guessable text.
pub(crate) const SALT_BYTES: usize = 16;
/// Stands where a payload item's length would, counted from 1, if it was erased.
pub(crate) const ABSENT: u64 = 0;
/// That number as it stands there.
pub(crate) const ABSENT_ITEM: [u8; 1] = [1];

const HASH_BYTES: usize = 32;
const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// CRC-32C, as in iSCSI and ext4.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// The CRC of a frame header: over its bytes and the ledger id. Recovery believes headers that it finds beyond a fault, where
/// values of senders lie too; without the id, which senders do not know, a value could be made to look like a header.
fn header_crc(header: &[u8], ledger: LedgerId) -> u32 {
    let mut digest = CRC.digest();
    digest.update(header);
    digest.update(ledger.0.as_bytes());
    digest.finalize()
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u32,
    pub(crate) payload_len: u32,
    pub(crate) first_seq: u64,
    /// When it was recorded, by the writer's clock, and never before the frame in front of it. History: under the hash.
    pub(crate) recorded_at: Timestamp,
    pub(crate) records: u32,
    /// How many records of the ledger were known to be durable when the frame was built. Outside the hash: the head must
    /// not depend on timing.
    pub(crate) durable: u64,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There are fewer bytes than a frame needs.
    #[error("the bytes end inside a frame: {found} of {expected} bytes are there")]
    Short {
        /// How many the frame needs, as far as known.
        expected: usize,
        /// How many are there.
        found: usize,
    },
    /// The frame does not begin with the marker.
    #[error("no frame begins here: expected marker f5 69 6c 1a, found {found:02x?}")]
    Marker {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The header's checksum does not match.
    #[error("the frame header is damaged: expected CRC-32C {expected:08x}, found {found:08x}")]
    Checksum {
        /// What the header's bytes give.
        expected: u32,
        /// What the header says.
        found: u32,
    },
    /// A header field has a value that no writer of this version writes.
    #[error("frame header field `{field}` is {found}; this version knows {expected}")]
    Field {
        /// The name of the header field.
        field: &'static str,
        /// What stands there.
        found: u64,
        /// What may stand there.
        expected: &'static str,
    },
    /// The time of recording is not in the years 0001 to 9999.
    #[error(
        "the frame header says that it was recorded at {found} microseconds since 1970; expected a time in the years 0001 to 9999"
    )]
    RecordedAt {
        /// What stands there.
        found: i64,
    },
    /// A padding byte is not zero.
    #[error("the padding after the frame is not zero")]
    Padding,
}

impl Header {
    /// Bytes of the whole frame, padding included.
    pub(crate) fn frame_len(&self) -> usize {
        (HEADER_BYTES + self.body_len as usize + self.payload_len as usize + HASH_BYTES).next_multiple_of(8)
    }

    pub(crate) fn to_bytes(self, ledger: LedgerId) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MARKER);
        out[4] = FRAME_VERSION;
        out[5] = CODEC_ID;
        out[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.recorded_at.as_micros().to_le_bytes());
        out[32..40].copy_from_slice(&self.durable.to_le_bytes());
        out[40..44].copy_from_slice(&self.records.to_le_bytes());
        let crc = header_crc(&out[..44], ledger);
        out[44..48].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads and checks a header. Nothing in it is believed before its checksum holds.
    pub(crate) fn parse(bytes: &[u8], ledger: LedgerId) -> Result<Header, FrameError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(FrameError::Short { expected: HEADER_BYTES, found: bytes.len() });
        };
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if bytes[..4] != MARKER {
            return Err(FrameError::Marker { found: bytes[..4].try_into().expect("4 bytes") });
        }
        let (expected, found) = (header_crc(&bytes[..44], ledger), u32_at(44));
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        let field = |field, found: u64, expected| Err(FrameError::Field { field, found, expected });
        if bytes[4] != FRAME_VERSION {
            return field("version", bytes[4].into(), "2");
        }
        if bytes[5] != CODEC_ID {
            return field("codec", bytes[5].into(), "2");
        }
        if bytes[6..8] != [0; 2] {
            return field("reserved", 1, "0");
        }
        let micros = i64::from_le_bytes(bytes[24..32].try_into().expect("8 bytes"));
        let recorded_at =
            Timestamp::from_micros(micros).map_err(|_| FrameError::RecordedAt { found: micros })?;
        let header = Header {
            body_len: u32_at(8),
            payload_len: u32_at(12),
            first_seq: u64_at(16),
            recorded_at,
            records: u32_at(40),
            durable: u64_at(32),
        };
        if header.records == 0 || header.records > MAX_FRAME_RECORDS {
            return field("records", header.records.into(), "1 to 262144");
        }
        let parts = u64::from(header.body_len) + u64::from(header.payload_len);
        if parts > (MAX_FRAME_BYTES - HEADER_BYTES - HASH_BYTES - 8) as u64 {
            return field("body and payload length", parts, "at most 16 MiB together");
        }
        if header.durable > header.first_seq {
            return field("durable", header.durable, "at most the number of the first record");
        }
        if header.first_seq.checked_add(header.records.into()).is_none() {
            return field("first_seq", header.first_seq, "a record number");
        }
        Ok(header)
    }
}

/// A frame's parts, borrowed. Its hash is a claim until the chain accepts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) body: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) hash: Digest,
}

impl<'a> Frame<'a> {
    /// Takes the frame that begins `bytes`.
    pub(crate) fn parse(bytes: &'a [u8], ledger: LedgerId) -> Result<Frame<'a>, FrameError> {
        let header = Header::parse(bytes, ledger)?;
        let len = header.frame_len();
        let Some(bytes) = bytes.get(..len) else {
            return Err(FrameError::Short { expected: len, found: bytes.len() });
        };
        let (frame, padding) = Frame::split(header, header.payload_len as usize, bytes);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(FrameError::Padding);
        }
        Ok(frame)
    }

    /// Takes a frame apart whose header was read from these bytes before; gives also what follows its hash. Its payload may be
    /// another than the header's: the one that was sealed, opened.
    pub(crate) fn split(header: Header, payload_len: usize, bytes: &'a [u8]) -> (Frame<'a>, &'a [u8]) {
        let (body, rest) = bytes[HEADER_BYTES..].split_at(header.body_len as usize);
        let (payload, rest) = rest.split_at(payload_len);
        let (hash, rest) = rest.split_first_chunk::<HASH_BYTES>().expect("frame_len counts the hash");
        (Frame { header, body, payload, hash: Digest(*hash) }, rest)
    }

    /// Appends what [`Frame::split`] takes: everything but the padding.
    pub(crate) fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; HEADER_BYTES]); // read already, and kept beside
        out.extend_from_slice(self.body);
        out.extend_from_slice(self.payload);
        out.extend_from_slice(&self.hash.0);
    }

    /// The hash this frame must carry to follow `previous`.
    pub(crate) fn hash_after(&self, previous: &Digest) -> Digest {
        hash(previous, &self.header, self.body)
    }
}

/// previous hash, version, codec, first seq, time, record count, body length, body: all that is history, all of fixed width but
/// the last, so no two histories give the same bytes.
fn hash(previous: &Digest, header: &Header, body: &[u8]) -> Digest {
    let mut prefix = [0; 58];
    prefix[..32].copy_from_slice(&previous.0);
    prefix[32] = FRAME_VERSION;
    prefix[33] = CODEC_ID;
    prefix[34..42].copy_from_slice(&header.first_seq.to_le_bytes());
    prefix[42..50].copy_from_slice(&header.recorded_at.as_micros().to_le_bytes());
    prefix[50..54].copy_from_slice(&header.records.to_le_bytes());
    prefix[54..58].copy_from_slice(&header.body_len.to_le_bytes());
    let mut hasher = Hasher::new(Purpose::Frame);
    // BLAKE3 takes many pieces of 1 KiB at once, but only from a place that is a multiple of as many: fed the
    // prefix alone, it would continue in ones, twos, fours and eights first.
    match body.split_at_checked(TOGETHER - prefix.len()) {
        Some((begin, rest)) => {
            let mut first = [0; TOGETHER];
            first[..prefix.len()].copy_from_slice(&prefix);
            first[prefix.len()..].copy_from_slice(begin);
            hasher.update(&first).update(rest)
        }
        None => hasher.update(&prefix).update(body),
    };
    hasher.finish()
}

/// As much as BLAKE3 takes at once on any processor: 16 pieces of 1 KiB.
const TOGETHER: usize = 16 * 1_024;

/// Writes a whole frame; the inverse of [`Frame::parse`].
pub(crate) fn write(
    header: Header,
    body: &[u8],
    payload: &[u8],
    ledger: LedgerId,
    previous: &Digest,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.reserve(header.frame_len());
    out.extend_from_slice(&header.to_bytes(ledger));
    out.extend_from_slice(body);
    out.extend_from_slice(payload);
    out.extend_from_slice(&hash(previous, &header, body).0);
    out.resize(start + header.frame_len(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: LedgerId = LedgerId(uuid::Uuid::from_u128(5));
    const RECORDED_AT: Timestamp = Timestamp::MAX;

    fn header(body_len: u32, payload_len: u32, records: u32) -> Header {
        Header { body_len, payload_len, first_seq: 7, recorded_at: RECORDED_AT, records, durable: 6 }
    }

    fn sample() -> Vec<u8> {
        let header = header(3, 2, 1);
        let mut out = Vec::new();
        write(header, b"abc", b"xy", LEDGER, &Digest([9; 32]), &mut out);
        out
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = sample();
        let frame = Frame::parse(&bytes, LEDGER).unwrap();
        assert_eq!((frame.body, frame.payload), (&b"abc"[..], &b"xy"[..]));
        assert_eq!(frame.hash, frame.hash_after(&Digest([9; 32])));
        assert_eq!(bytes.len() % 8, 0);
    }

    #[test]
    fn how_a_body_is_fed_to_the_hash_does_not_change_it() {
        for len in [0, 1, 1_000, TOGETHER - 59, TOGETHER - 58, TOGETHER - 57, TOGETHER, 5 * TOGETHER + 7] {
            let body: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let body_len = u32::try_from(len).unwrap();
            let header = header(body_len, 0, 3);
            let mut all = vec![9; 32];
            all.extend([FRAME_VERSION, CODEC_ID]);
            all.extend(7_u64.to_le_bytes());
            all.extend(RECORDED_AT.as_micros().to_le_bytes());
            all.extend(3_u32.to_le_bytes());
            all.extend(body_len.to_le_bytes());
            all.extend(&body);
            let whole = Hasher::new(Purpose::Frame).update(&all).finish();
            assert_eq!(hash(&Digest([9; 32]), &header, &body), whole, "{len}");
        }
    }

    #[test]
    fn every_flip_outside_the_payload_is_noticed() {
        let bytes = sample();
        let payload = HEADER_BYTES + 3..HEADER_BYTES + 5;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = match Frame::parse(&damaged, LEDGER) {
                Err(_) => true,
                Ok(frame) => frame.hash != frame.hash_after(&Digest([9; 32])),
            };
            assert_eq!(noticed, !payload.contains(&(bit / 8)), "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_ledger_is_none() {
        let other = LedgerId(uuid::Uuid::from_u128(6));
        assert!(matches!(Frame::parse(&sample(), other), Err(FrameError::Checksum { .. })));
    }

    /// With a right checksum, as a writer of another version might have made it.
    #[test]
    fn every_reserved_byte_must_be_zero() {
        for at in [6, 7] {
            let error = with_bytes(at, &[1]).unwrap_err();
            assert!(matches!(error, FrameError::Field { field: "reserved", .. }), "byte {at}: {error}");
        }
    }

    #[test]
    fn no_frame_was_durable_when_it_was_built() {
        let first = 7_u64; // of the sample
        assert!(with_bytes(32, &first.to_le_bytes()).is_ok());
        let expected =
            "frame header field `durable` is 8; this version knows at most the number of the first record";
        assert_eq!(with_bytes(32, &(first + 1).to_le_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_header_of_another_version_says_which() {
        for version in [1, 3] {
            let expected = format!("frame header field `version` is {version}; this version knows 2");
            assert_eq!(with_bytes(4, &[version]).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_time_lies_in_the_years_0001_to_9999() {
        let with = |micros: i64| with_bytes(24, &micros.to_le_bytes());
        for (edge, beyond) in [(Timestamp::MIN, -1), (Timestamp::MAX, 1)] {
            assert_eq!(with(edge.as_micros()).unwrap().recorded_at, edge);
            let found = edge.as_micros() + beyond;
            assert_eq!(with(found), Err(FrameError::RecordedAt { found }));
        }
    }

    /// The header of the sample with other bytes at a place, under a checksum that holds.
    fn with_bytes(at: usize, other: &[u8]) -> Result<Header, FrameError> {
        let mut bytes = sample();
        bytes[at..at + other.len()].copy_from_slice(other);
        let crc = header_crc(&bytes[..44], LEDGER);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        Header::parse(&bytes, LEDGER)
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(matches!(Frame::parse(&bytes[..len], LEDGER), Err(FrameError::Short { .. })), "{len}");
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_read() {
        let fits = (MAX_FRAME_BYTES - HEADER_BYTES - HASH_BYTES - 8) as u32;
        let with = |body_len, payload_len, records| {
            Header::parse(&header(body_len, payload_len, records).to_bytes(LEDGER), LEDGER)
        };
        assert!(with(fits, 0, 1).is_ok());
        assert!(with(fits, 1, 1).is_err());
        assert!(with(u32::MAX, u32::MAX, 1).is_err());
        assert!(with(0, 0, 0).is_err());
        assert!(with(0, 0, MAX_FRAME_RECORDS).is_ok());
        assert!(with(0, 0, MAX_FRAME_RECORDS + 1).is_err());
    }
}
