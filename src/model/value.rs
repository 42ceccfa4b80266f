//! Property values: JSON's, but exact. One value has one sequence of bytes (E4).
//!
//! Integers are never rounded, 1 and 1.0 differ, -0.0 and 0.0 differ, NaN does not exist, object keys are sorted.
//! The canonical bytes are what the log stores; they are also what two values are compared by.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize};

use crate::model::id::PropertyKey;
use crate::model::limits::{MAX_VALUE_BYTES, MAX_VALUE_DEPTH};

/// Properties by key, in the order of the keys' bytes.
pub type Properties = BTreeMap<PropertyKey, Value>;

/// A property value.
///
/// Equality is exact: it is equality of canonical bytes.
///
/// ```
/// use identity_ledger::Value;
/// assert_ne!(Value::from(1), Value::float(1.0)?);
/// assert_ne!(Value::float(0.0)?, Value::float(-0.0)?);
/// assert!(Value::float(f64::NAN).is_err());
/// # Ok::<(), identity_ledger::model::ValueError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Value {
    /// JSON null; a value like any other (E4).
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above `i64::MAX`. Smaller ones are [`Value::Int`]; [`Value::uint`] chooses.
    UInt(u64),
    /// A finite number with a point or an exponent.
    Float(f64),
    /// Text without U+0000.
    Text(String),
    /// A list of values, in order.
    List(Vec<Value>),
    /// An object, sorted by key.
    Map(BTreeMap<String, Value>),
}

/// Why something is not a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// NaN or an infinity.
    #[error("a number is not finite; expected a finite number")]
    NotFinite,
    /// An integer outside i64 and u64.
    #[error("integer {found} does not fit 64 bits; expected {} to {}", i64::MIN, u64::MAX)]
    IntegerTooLarge {
        /// The digits found, at most 64 of them.
        found: String,
    },
    /// Nested deeper than [`MAX_VALUE_DEPTH`].
    #[error("a value is nested deeper than {MAX_VALUE_DEPTH}")]
    TooDeep,
    /// Larger than [`MAX_VALUE_BYTES`].
    #[error("a value takes {found} canonical bytes; expected at most {MAX_VALUE_BYTES}")]
    TooLarge {
        /// Its size in canonical bytes.
        found: usize,
    },
    /// One JSON object names a key twice.
    #[error("key `{key}` stands twice in one object")]
    DuplicateKey {
        /// The key that stands twice.
        key: String,
    },
    /// Stored bytes that no encoder writes.
    #[error("stored value is not canonical at byte {at}: {what}")]
    NotCanonical {
        /// Offset into the stored bytes.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

impl Value {
    /// A whole number, as [`Value::Int`] where it fits.
    pub fn uint(number: u64) -> Value {
        i64::try_from(number).map_or(Value::UInt(number), Value::Int)
    }

    /// A finite floating-point number.
    ///
    /// # Errors
    /// [`ValueError::NotFinite`].
    pub fn float(number: f64) -> Result<Value, ValueError> {
        if number.is_finite() { Ok(Value::Float(number)) } else { Err(ValueError::NotFinite) }
    }

    /// Text, with U+0000 replaced by U+FFFD (E4).
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(without_nul(text.into()))
    }

    /// A number from its JSON text: exact, or an error (E4).
    ///
    /// # Errors
    /// [`ValueError::IntegerTooLarge`] for a whole number beyond 64 bits, [`ValueError::NotFinite`] for a number whose
    /// nearest double is infinite.
    pub fn number(text: &str) -> Result<Value, ValueError> {
        if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
            return Value::float(text.parse().map_err(|_| ValueError::NotFinite)?);
        }
        if text == "-0" {
            return Ok(Value::Float(-0.0)); // what JSON.parse makes of it; an integer has no negative zero
        }
        if let Ok(number) = text.parse() {
            return Ok(Value::Int(number));
        }
        let number = text
            .parse()
            .map_err(|_| ValueError::IntegerTooLarge { found: text.chars().take(64).collect() })?;
        Ok(Value::UInt(number))
    }

    /// What kind of value it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    /// Checks depth and size (E4) and that every part is canonical; gives the size in canonical bytes.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn check(&self) -> Result<usize, ValueError> {
        let size = self.measure(1)?;
        if size > MAX_VALUE_BYTES { Err(ValueError::TooLarge { found: size }) } else { Ok(size) }
    }

    /// Canonical size in bytes, unless something inside is not canonical or too deep.
    fn measure(&self, depth: usize) -> Result<usize, ValueError> {
        if depth > MAX_VALUE_DEPTH {
            return Err(ValueError::TooDeep);
        }
        Ok(match self {
            Value::Null | Value::Bool(_) => 1,
            Value::Int(_) => 9,
            Value::UInt(number) if *number > i64::MAX as u64 => 9,
            Value::UInt(_) => return Err(ValueError::NotCanonical { at: 0, what: "small number as UInt" }),
            Value::Float(number) if number.is_finite() => 9,
            Value::Float(_) => return Err(ValueError::NotFinite),
            Value::Text(text) => text_size(text)?,
            Value::List(items) => {
                items.iter().try_fold(5, |size, item| Ok(size + item.measure(depth + 1)?))?
            }
            Value::Map(entries) => entries.iter().try_fold(5, |size, (key, value)| {
                Ok::<_, ValueError>(size + text_size(key)? - 1 + value.measure(depth + 1)?)
            })?,
        })
    }

    /// Appends the canonical bytes: one tag byte, then little-endian fixed-width numbers, u32 lengths, UTF-8.
    /// Set in stone: `docs/format.md`, "Values".
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(TAG_NULL),
            Value::Bool(false) => out.push(TAG_FALSE),
            Value::Bool(true) => out.push(TAG_TRUE),
            Value::Int(number) => {
                out.push(TAG_INT);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Value::UInt(number) => {
                out.push(TAG_UINT);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Value::Float(number) => {
                out.push(TAG_FLOAT);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Value::Text(text) => {
                out.push(TAG_TEXT);
                encode_text(text, out);
            }
            Value::List(items) => {
                out.push(TAG_LIST);
                encode_len(items.len(), out);
                items.iter().for_each(|item| item.encode(out));
            }
            Value::Map(entries) => {
                out.push(TAG_MAP);
                encode_len(entries.len(), out);
                for (key, value) in entries {
                    encode_text(key, out);
                    value.encode(out);
                }
            }
        }
    }

    /// Reads one value from the front of `bytes` at `*at` and moves `*at` behind it.
    pub(crate) fn decode(bytes: &[u8], at: &mut usize) -> Result<Value, ValueError> {
        let mut reader = ByteReader { bytes, at: *at };
        let value = reader.value(1)?;
        *at = reader.at;
        Ok(value)
    }

    /// The canonical bytes of this value alone.
    pub fn to_canonical_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// U+0000 becomes U+FFFD (E4).
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

fn text_size(text: &str) -> Result<usize, ValueError> {
    if text.contains('\0') {
        return Err(ValueError::NotCanonical { at: 0, what: "U+0000 in text" });
    }
    Ok(5 + text.len())
}

fn encode_len(len: usize, out: &mut Vec<u8>) {
    let len = u32::try_from(len).expect("Value::check bounds every length below 256 KiB");
    out.extend_from_slice(&len.to_le_bytes());
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    encode_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

// Set in stone.
const TAG_NULL: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_INT: u8 = 3;
const TAG_UINT: u8 = 4;
const TAG_FLOAT: u8 = 5;
const TAG_TEXT: u8 = 6;
const TAG_LIST: u8 = 7;
const TAG_MAP: u8 = 8;

/// Reads canonical bytes and refuses every other spelling.
struct ByteReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl ByteReader<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, ValueError> {
        Err(ValueError::NotCanonical { at: self.at, what })
    }

    fn take(&mut self, len: usize) -> Result<&[u8], ValueError> {
        match self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => self.fail("the bytes end inside a value"),
        }
    }

    fn eight(&mut self) -> Result<[u8; 8], ValueError> {
        Ok(self.take(8)?.try_into().expect("take(8) gives 8 bytes"))
    }

    /// A count of things that take at least one byte each, so it is bounded by what is left.
    fn len(&mut self) -> Result<usize, ValueError> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().expect("take(4) gives 4 bytes")) as usize;
        if len > self.bytes.len() - self.at { self.fail("a length runs past the end") } else { Ok(len) }
    }

    fn text(&mut self) -> Result<String, ValueError> {
        let (at, len) = (self.at, self.len()?);
        match std::str::from_utf8(self.take(len)?) {
            Ok(text) if text.contains('\0') => Err(ValueError::NotCanonical { at, what: "U+0000 in text" }),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(ValueError::NotCanonical { at, what: "text is not UTF-8" }),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ValueError> {
        if depth > MAX_VALUE_DEPTH {
            return Err(ValueError::TooDeep);
        }
        Ok(match self.take(1)?[0] {
            TAG_NULL => Value::Null,
            TAG_FALSE => Value::Bool(false),
            TAG_TRUE => Value::Bool(true),
            TAG_INT => Value::Int(i64::from_le_bytes(self.eight()?)),
            TAG_UINT => match u64::from_le_bytes(self.eight()?) {
                number if number > i64::MAX as u64 => Value::UInt(number),
                _ => return self.fail("a number that fits i64 stands as u64"),
            },
            TAG_FLOAT => match f64::from_bits(u64::from_le_bytes(self.eight()?)) {
                number if number.is_finite() => Value::Float(number),
                _ => return self.fail("a number is not finite"),
            },
            TAG_TEXT => Value::Text(self.text()?),
            TAG_LIST => {
                let len = self.len()?;
                let mut items = Vec::new(); // no allocation is believed before its bytes are seen
                for _ in 0..len {
                    items.push(self.value(depth + 1)?);
                }
                Value::List(items)
            }
            TAG_MAP => {
                let mut entries = BTreeMap::new();
                for _ in 0..self.len()? {
                    let key = self.text()?;
                    if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
                        return self.fail("object keys are not in order");
                    }
                    let value = self.value(depth + 1)?;
                    entries.insert(key, value);
                }
                Value::Map(entries)
            }
            _ => return self.fail("unknown tag"),
        })
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::UInt(a), Value::UInt(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::uint(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Value {
        Value::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::text(value)
    }
}

/// Prints compact JSON; a whole float keeps its point, so that 1.0 reads back as 1.0.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::UInt(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => write_json_text(f, value),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Value::Map(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write_json_text(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_json_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
            c => fmt::Write::write_char(f, c)?,
        }
    }
    f.write_str("\"")
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::UInt(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Reads from any serde format. A format that hands out doubles for huge integers has rounded already; the importers
/// read numbers from their text ([`Value::number`]) instead.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a property value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::uint(value))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
                Value::float(value).map_err(E::custom)
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    let key = without_nul(key);
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(ValueError::DuplicateKey { key }));
                    }
                    entries.insert(key, value);
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        (1..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]))
    }

    #[test]
    fn numbers_are_exact_or_refused_e4() {
        assert_eq!(Value::number("9223372036854775807"), Ok(Value::Int(i64::MAX)));
        assert_eq!(Value::number("9223372036854775808"), Ok(Value::UInt(1 << 63)));
        assert_eq!(Value::number("18446744073709551615"), Ok(Value::UInt(u64::MAX)));
        assert!(matches!(Value::number("18446744073709551616"), Err(ValueError::IntegerTooLarge { .. })));
        assert!(matches!(Value::number("-9223372036854775809"), Err(ValueError::IntegerTooLarge { .. })));
        assert_eq!(Value::number("0.1").unwrap().to_string(), "0.1");
        assert_eq!(Value::number("1e400"), Err(ValueError::NotFinite));
        assert_ne!(Value::number("-0.0"), Value::number("0.0"));
        assert_ne!(Value::number("1"), Value::number("1.0"));
    }

    #[test]
    fn depth_and_size_have_edges() {
        assert_eq!(nested(MAX_VALUE_DEPTH).check(), Ok(5 * (MAX_VALUE_DEPTH - 1) + 1));
        assert_eq!(nested(MAX_VALUE_DEPTH + 1).check(), Err(ValueError::TooDeep));
        assert_eq!(Value::text("x".repeat(MAX_VALUE_BYTES - 5)).check(), Ok(MAX_VALUE_BYTES));
        let found = MAX_VALUE_BYTES + 1;
        assert_eq!(Value::text("x".repeat(found - 5)).check(), Err(ValueError::TooLarge { found }));
    }

    #[test]
    fn measured_size_is_encoded_size() {
        let value = Value::Map(BTreeMap::from([
            ("a".to_owned(), Value::List(vec![Value::Null, Value::from(1), Value::text("x")])),
            ("b".to_owned(), Value::Float(-0.0)),
        ]));
        let bytes = value.to_canonical_bytes();
        assert_eq!(value.measure(1), Ok(bytes.len()));
        let mut at = 0;
        assert_eq!(Value::decode(&bytes, &mut at), Ok(value));
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn other_spellings_are_refused() {
        let refused = |bytes: &[u8]| Value::decode(bytes, &mut 0).is_err();
        assert!(refused(&[]));
        assert!(refused(&[9]));
        assert!(refused(&[TAG_UINT, 1, 0, 0, 0, 0, 0, 0, 0]));
        assert!(refused(&[TAG_TEXT, 1, 0, 0, 0, 0]));
        assert!(refused(&[TAG_TEXT, 255, 255, 255, 255, b'x']));
        assert!(refused(&[TAG_MAP, 2, 0, 0, 0, 1, 0, 0, 0, b'b', 0, 1, 0, 0, 0, b'a', 0]));
        assert!(refused(&[TAG_MAP, 2, 0, 0, 0, 1, 0, 0, 0, b'a', 0, 1, 0, 0, 0, b'a', 0]));
        let mut nan = vec![TAG_FLOAT];
        nan.extend_from_slice(&f64::NAN.to_bits().to_le_bytes());
        assert!(refused(&nan));
        let deep: Vec<u8> = std::iter::repeat_n([TAG_LIST, 1, 0, 0, 0], 10_000).flatten().collect();
        assert_eq!(Value::decode(&deep, &mut 0), Err(ValueError::TooDeep));
    }

    #[test]
    fn nul_becomes_the_replacement_character_e4() {
        assert_eq!(Value::text("a\0b"), Value::Text("a\u{FFFD}b".into()));
        assert!(Value::Text("a\0b".into()).check().is_err());
    }
}
