//! The codec: the one file that knows bincode. What is rare in a log, and what stands beside it, passes through here; operations and
//! definitions have a spelling of their own ([`crate::log::encode`]).
//!
//! bincode 2.0.1 with `config::legacy()`: fixed-width little-endian integers, u32 variant numbers, u64 lengths. It is
//! unmaintained (RUSTSEC-2025-0141) but small and nearly free of unsafe code; the codec id in every frame stands for it and for those spellings, and the
//! bytes are those of `wincode`'s default, which tests use as a second reader.

use std::borrow::Cow;

pub(crate) use bincode::{Decode, Encode};

use crate::model::limits::MAX_RECORD_BODY_BYTES;

/// The codec's number in every frame header and in `LEDGER`.
pub(crate) const CODEC_ID: u8 = 2;

/// A length field may never ask for more than this: without it 15 hostile bytes abort the process.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<MAX_RECORD_BODY_BYTES>,
> = bincode::config::legacy().with_limit::<MAX_RECORD_BODY_BYTES>();

/// Why stored bytes are not a value of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct CodecError {
    what: Cow<'static, str>,
}

impl CodecError {
    /// Says what is wrong with the bytes.
    pub(crate) fn of(what: &'static str) -> CodecError {
        CodecError { what: what.into() }
    }

    /// A number or list that is longer than any writer makes it.
    pub(crate) fn overlong() -> CodecError {
        CodecError::of("a number or list is longer than any writer makes it")
    }
}

/// Appends the bytes of `value` to `out`.
pub(crate) fn encode<T: Encode>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, CONFIG)
        .expect("a Vec takes all bytes, and stored types are bounded");
}

/// Reads one value from the front of `bytes`; gives it and the number of bytes it took.
pub(crate) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::decode_from_slice(bytes, CONFIG).map_err(|error| CodecError { what: error.to_string().into() })
}
