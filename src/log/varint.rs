//! Numbers in one to nine bytes. The low bits of the first byte say how many there are, so a reader looks once and never loops.
//!
//! A number of *n* bytes, *n* at most 8: `number << n | 1 << (n - 1)`, little-endian, so the first byte ends in *n* - 1 zeros and
//! a one. A number of more than 56 bits: a zero byte, then eight bytes. Each number stands in as few bytes as it fits. Set in stone.

use crate::log::codec::CodecError;

/// Numbers of ids, devices, keys, names and records are lower: the highest stand for "none" and the like.
pub(super) const HIGHEST: u32 = u32::MAX - 2;
/// Most bytes of a number.
pub(crate) const MAX_BYTES: usize = 9;

/// Appends a number.
pub(crate) fn write(number: u64, out: &mut Vec<u8>) {
    let bits = (u64::BITS - number.leading_zeros()) as usize;
    let len = bits.div_ceil(7).max(1);
    if len >= MAX_BYTES {
        out.push(0);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.extend_from_slice(&(number << len | 1 << (len - 1)).to_le_bytes()[..len]);
    }
}

/// The number at `at` of `bytes`, and moves `at` behind it. `None` if the bytes end before, or the number fits fewer.
#[inline]
pub(crate) fn read(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let rest = bytes.get(*at..)?;
    let word = match rest.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    };
    let len = (word as u8).trailing_zeros() as usize + 1;
    if len >= MAX_BYTES {
        let number = u64::from_le_bytes(*rest.get(1..)?.first_chunk()?);
        *at += MAX_BYTES;
        return (number >> 56 != 0).then_some(number);
    }
    *at += len;
    let number = word << (64 - 8 * len) >> (64 - 7 * len);
    (len <= rest.len() && (len == 1 || number >> (7 * (len - 1)) != 0)).then_some(number)
}

/// The number at `at` of `bytes`, as [`read`] reads it.
#[inline]
pub(crate) fn any(body: &[u8], at: &mut usize) -> Result<u64, CodecError> {
    read(body, at).ok_or_else(cut_off)
}

#[inline]
pub(crate) fn number(body: &[u8], at: &mut usize) -> Result<u32, CodecError> {
    real(any(body, at)?)
}

/// A number that does not pass for "none" or the like: those are the highest.
#[inline]
pub(crate) fn real(number: u64) -> Result<u32, CodecError> {
    u32::try_from(number).ok().filter(|number| *number < HIGHEST).ok_or_else(CodecError::overlong)
}

#[cold]
pub(super) fn cut_off() -> CodecError {
    CodecError::of("the bytes end inside a record, or a number has more bytes than it needs")
}

/// The number at `at`, behind which eight bytes stand at least, if it takes no more than eight; and whether it does and is spelled in as
/// few as it fits. Without a branch: what stands in a row of numbers is asked once.
#[inline]
pub(super) fn short(bytes: &[u8], at: &mut usize) -> (u64, bool) {
    let word = u64::from_le_bytes(*bytes[*at..].first_chunk().expect("eight bytes stand there"));
    let len = (word as u8).trailing_zeros().min(7) + 1;
    let number = word << (64 - 8 * len) >> (64 - 7 * len);
    *at += len as usize;
    (number, (word as u8 != 0) & ((len == 1) | (number >> (7 * len - 7) != 0)))
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2, 2 and so on are 0, 1, 2, 3, 4.
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write(number, &mut out);
        out
    }

    #[test]
    fn seven_bits_a_byte() {
        assert_eq!(written(0), [0b1]);
        assert_eq!(written(127), [0b1111_1111]);
        assert_eq!(written(128), [0b10, 0b10]);
        for bytes in 1..=8 {
            let last = (1_u64 << (7 * bytes)) - 1;
            assert_eq!((written(last).len(), written(last + 1).len()), (bytes, bytes + 1));
        }
        assert_eq!(written(u64::MAX), [[0].as_slice(), &[0xFF; 8]].concat());
    }

    proptest! {
        #[test]
        fn a_number_reads_back_and_no_other_bytes_are_it(number: u64, shift in 0..64_u32, tail: Vec<u8>) {
            let number = number >> shift;
            let bytes = [written(number), tail].concat();
            let mut at = 0;
            prop_assert_eq!(read(&bytes, &mut at), Some(number));
            prop_assert_eq!(written(number), &bytes[..at]);
            prop_assert_eq!(unzigzag(zigzag(number as i64)), number as i64);
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes: Vec<u8>) {
            let mut at = 0;
            if let Some(number) = read(&bytes, &mut at) {
                prop_assert_eq!(written(number), &bytes[..at]);
            }
        }
    }
}
