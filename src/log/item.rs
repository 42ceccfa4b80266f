//! Values in payload items. What most values are, short texts and whole numbers, stands there in fewer bytes than the canonical ones of
//! [`Value`], which digests and limits are made of. Set in stone: `docs/format.md`, "Values".

use crate::log::varint;
use crate::model::value::{Value, ValueError};

/// A whole number in as few bytes as it fits, at most 8.
const WHOLE: u8 = 9;
/// A text of fewer than 64 bytes: the low six bits are its length.
const TEXT: u8 = 1 << 6;
const TEXT_BYTES: u8 = TEXT - 1;

/// The number as it stands behind [`WHOLE`], if it is short enough.
fn short(number: i64) -> Option<u64> {
    Some(varint::zigzag(number)).filter(|number| number >> 56 == 0)
}

/// Appends a value.
pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) if text.len() <= TEXT_BYTES.into() => {
            out.push(TEXT | text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Int(number) => match short(*number) {
            Some(short) => {
                out.push(WHOLE);
                varint::write(short, out);
            }
            None => value.encode(out),
        },
        value => value.encode(out),
    }
}

/// Reads the value at `*at` of an item, and moves `*at` behind it.
pub(crate) fn read_value(item: &[u8], at: &mut usize) -> Result<Value, ValueError> {
    let wrong = |what| Err(ValueError::NotCanonical { at: *at, what });
    let (first, begin) = (item.get(*at).copied(), *at + 1);
    match first {
        Some(WHOLE) => {
            let mut end = begin;
            match varint::read(item, &mut end).filter(|number| number >> 56 == 0) {
                Some(number) => {
                    *at = end;
                    Ok(Value::Int(varint::unzigzag(number)))
                }
                None => wrong("a whole number that is cut off, or has more bytes than it needs"),
            }
        }
        Some(tag @ TEXT..=0x7F) => {
            let end = begin + usize::from(tag & TEXT_BYTES);
            match item.get(begin..end).map(std::str::from_utf8) {
                Some(Ok(text)) if !text.contains('\0') => {
                    *at = end;
                    Ok(Value::Text(text.to_owned()))
                }
                _ => wrong("a text that is cut off, is not UTF-8, or has U+0000 in it"),
            }
        }
        _ => {
            let mut end = *at;
            let value = Value::decode(item, &mut end)?;
            match &value {
                Value::Text(text) if text.len() <= TEXT_BYTES.into() => {
                    wrong("a short text that stands as a long one")
                }
                Value::Int(number) if short(*number).is_some() => {
                    wrong("a short number that stands as a long one")
                }
                _ => {
                    *at = end;
                    Ok(value)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(value, &mut out);
        out
    }

    #[test]
    fn short_values_are_short_on_both_sides_of_each_edge() {
        let text = |len| Value::text("x".repeat(len));
        let whole = |number: i64| Value::Int(number);
        let sizes = [
            text(0),
            text(63),
            text(64),
            whole(0),
            whole(-64),
            whole(64),
            whole(i64::MIN),
            whole(1 << 55),
            whole((1 << 55) - 1),
        ];
        let sizes = sizes.map(|value| written(&value).len());
        assert_eq!(sizes, [1, 64, 69, 2, 2, 3, 9, 9, 9]);
        assert_eq!(written(&text(2)), [0x42, b'x', b'x']);
        assert_eq!(written(&whole(-1)), [9, 0b11]);
        assert_eq!(written(&Value::Null), Value::Null.to_canonical_bytes());
    }

    proptest! {
        #[test]
        fn a_value_reads_back_in_no_more_bytes_than_its_canonical_ones(number: i64, shift in 0..64_u32, text in "[a-zé]{0,80}") {
            for value in [Value::Int(number >> shift), Value::text(text.clone()), Value::uint(number as u64), Value::List(vec![Value::text(text)])] {
                let bytes = written(&value);
                let mut at = 0;
                prop_assert_eq!(read_value(&bytes, &mut at), Ok(value.clone()));
                prop_assert_eq!(at, bytes.len());
                prop_assert!(bytes.len() <= value.to_canonical_bytes().len());
            }
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes in prop::collection::vec(prop_oneof![0..10_u8, any::<u8>()], 0..20)) {
            let mut at = 0;
            if let Ok(value) = read_value(&bytes, &mut at) {
                prop_assert_eq!(written(&value), &bytes[..at]);
            } else {
                prop_assert_eq!(at, 0);
            }
        }
    }
}
