//! JSON as it was written: numbers by their text, and nothing built that no importer asks for.
//!
//! `serde_json` says whether a text is JSON at all ([`Json::read`]); everything below walks a text it has accepted, so
//! it can meet surprises of meaning (a key twice, half a surrogate pair, a number beyond 64 bits) but none of syntax. What surprises in
//! a part costs nothing until that part is asked for: most of an event is never stored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::{memchr, memchr2};
use serde_json::value::RawValue;

use super::rejection::Rejection;
use crate::model::id::PropertyKey;
use crate::model::limits::{MAX_OPERATION_KEYS, MAX_VALUE_BYTES, MAX_VALUE_DEPTH};
use crate::model::operation::OperationError;
use crate::model::value::{Properties, Value, ValueError, without_nul};

/// Deepest nesting an importer looks at. Stored values end at [`MAX_VALUE_DEPTH`]; the rest is envelope and properties
/// that are not kept. Bounds every recursion here, whatever the input.
const MAX_JSON_DEPTH: usize = 128;

/// One JSON value: a text that `serde_json` accepted, without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Json<'a>(&'a str);

/// Why a text is not JSON.
#[derive(Debug)]
pub(super) enum Unread {
    /// It ends too early; more lines could complete it.
    Truncated(Rejection),
    /// Nothing could complete it.
    Broken(Rejection),
}

impl From<Unread> for Rejection {
    fn from(unread: Unread) -> Rejection {
        match unread {
            Unread::Truncated(rejection) | Unread::Broken(rejection) => rejection,
        }
    }
}

impl<'a> Json<'a> {
    /// Takes a text that is one JSON value.
    pub(super) fn read(text: &'a str) -> Result<Json<'a>, Unread> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Json(raw.get())),
            Err(error) => {
                let message = error.to_string();
                let what = message.split(" at line ").next().unwrap_or(&message).to_owned();
                let rejection = Rejection::NotJson { what, column: error.column() };
                Err(if error.is_eof() { Unread::Truncated(rejection) } else { Unread::Broken(rejection) })
            }
        }
    }

    /// Takes a part of an accepted text that [`place`] gave.
    pub(super) fn part(text: &'a str) -> Json<'a> {
        assert!(!text.is_empty(), "a part of an accepted text holds a value");
        Json(text)
    }

    /// The text itself.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    /// What kind of value it is, with its article, for messages.
    pub(super) fn kind(self) -> &'static str {
        match self.first() {
            b'{' => "an object",
            b'[' => "an array",
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            _ => "a number",
        }
    }

    fn first(self) -> u8 {
        self.0.as_bytes()[0] // an accepted text is not empty
    }

    pub(super) fn is_null(self) -> bool {
        self.first() == b'n'
    }

    /// Whether it holds nothing where an object is expected: PHP writes an empty object as an empty array.
    pub(super) fn is_nothing(self) -> bool {
        self.is_null() || self.elements().is_some_and(|mut elements| elements.next().is_none())
    }

    pub(super) fn is_object(self) -> bool {
        self.first() == b'{'
    }

    pub(super) fn is_array(self) -> bool {
        self.first() == b'['
    }

    pub(super) fn is_string(self) -> bool {
        self.first() == b'"'
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self.first(), b'-' | b'0'..=b'9')
    }

    pub(super) fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The string, unescaped; `None` when it is not a string. For ids and names, which must be what was meant.
    pub(super) fn as_str(self) -> Option<Result<Cow<'a, str>, HalfPair>> {
        self.quoted().map(Quoted::unescaped)
    }

    /// The string, each half of a surrogate pair having become U+FFFD; `None` when it is not a string.
    pub(super) fn as_text(self) -> Option<Cow<'a, str>> {
        self.quoted().map(Quoted::text)
    }

    fn quoted(self) -> Option<Quoted<'a>> {
        self.is_string().then(|| Quoted { text: self.0, escaped: memchr(b'\\', self.0.as_bytes()).is_some() })
    }

    /// Whether one of its texts or keys has half of a surrogate pair in it.
    pub(super) fn has_half_pair(self) -> bool {
        half_pairs(self.0).next().is_some()
    }

    /// The members of an object in the order written; what a text cannot hold has become U+FFFD in keys (E4). `None`: not an object.
    ///
    /// Keys that stand twice are for the caller to notice: it knows which keys it takes.
    pub(super) fn members(self) -> Option<Members<'a>> {
        self.is_object().then(|| Members { walk: Walk { at: 1, ..Walk::of(self.0) } })
    }

    /// The elements of an array; `None` when it is none.
    pub(super) fn elements(self) -> Option<Elements<'a>> {
        self.is_array().then(|| Elements { walk: Walk { at: 1, ..Walk::of(self.0) } })
    }

    /// The value of the property `key`, exactly, or an error (E4).
    pub(super) fn value(self, key: &str) -> Result<Value, Rejection> {
        let error = |source| Rejection::Value { key: key.to_owned(), source };
        if self.0.len() > MAX_VALUE_BYTES {
            // Measured before it is built: a list of small numbers grows twentyfold in memory.
            let mut bytes = Vec::new();
            self.canonical(&mut bytes)?;
            if bytes.len() > MAX_VALUE_BYTES {
                return Err(error(ValueError::TooLarge { found: bytes.len() }));
            }
        }
        Walk::of(self.0).value(1).map_err(error)
    }

    /// Properties under [`PropertyKey`]s; `None` when it is not an object.
    pub(super) fn properties(self) -> Option<Result<Properties, Rejection>> {
        let members = self.members()?;
        Some(members.collect_properties())
    }

    /// The members of an object by key. No key that is `looked_at` may stand twice (E4). `None`: not an object.
    pub(super) fn object(self, looked_at: &[&str]) -> Option<Result<Object<'a>, Rejection>> {
        Some(Object::new(self.members()?.collect(), looked_at))
    }

    /// The text without white space between its parts.
    pub(super) fn compact(self) -> Cow<'a, str> {
        if !self.is_object() && !self.is_array() {
            return Cow::Borrowed(self.named());
        }
        let (mut quoted, mut escaped) = (false, false);
        let mut kept = self.0.to_owned();
        kept.retain(|c| {
            (quoted, escaped) = match c {
                _ if escaped => (quoted, false),
                '\\' => (quoted, true),
                '"' => (!quoted, false),
                _ => (quoted, false),
            };
            quoted || !matches!(c, ' ' | '\t' | '\n' | '\r')
        });
        Cow::Owned(kept)
    }

    /// What JavaScript's `String()` makes of it, except that numbers keep their digits: to round an id would join
    /// strangers. Part of an event whose depth was checked, which bounds the recursion.
    pub(super) fn js_string(self) -> Result<Cow<'a, str>, HalfPair> {
        if let Some(text) = self.as_str() {
            return text;
        }
        if self.is_object() {
            return Ok(Cow::Borrowed("[object Object]"));
        }
        let Some(elements) = self.elements() else { return Ok(Cow::Borrowed(self.named())) };
        let joined: Result<Vec<_>, _> = elements
            .map(|element| if element.is_null() { Ok(Cow::Borrowed("")) } else { element.js_string() })
            .collect();
        Ok(Cow::Owned(joined?.join(",")))
    }

    /// A scalar as it was written, also one that [`with_numbers`] wrote in another way.
    fn named(self) -> &'a str {
        NAMED.iter().find(|(_, number)| *number == self.0).map_or(self.0, |(name, _)| name)
    }

    /// Whether JavaScript takes it for true.
    pub(super) fn js_truthy(self) -> bool {
        match self.0 {
            "null" | "false" | "\"\"" => false,
            _ if self.named() == "NaN" => false,
            number if self.is_number() => number.parse() != Ok(0.0_f64),
            _ => true,
        }
    }

    /// Checks that it is not nested deeper than anything an importer looks at.
    pub(super) fn check_depth(self) -> Result<(), Rejection> {
        let mut walk = Walk::of(self.0);
        walk.skip();
        if walk.deepest > MAX_JSON_DEPTH { Err(Rejection::TooDeep { max: MAX_JSON_DEPTH }) } else { Ok(()) }
    }

    /// Appends bytes that are the same for two spellings of one value: keys sorted, numbers exact (G4). They are those
    /// of [`Value::to_canonical_bytes`]; a number beyond 64 bits stays as its text, marked by a U+0000 no stored text
    /// can hold, and of a key that stands twice both values stay, in their order. Builds no tree, so that memory stays in
    /// proportion to the text.
    pub(super) fn canonical(self, out: &mut Vec<u8>) -> Result<(), Rejection> {
        Walk::of(self.0).canonical(1, out)
    }
}

/// The members of an object. Those that an importer looks at have different keys.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    fn new(members: Vec<(Cow<'a, str>, Json<'a>)>, looked_at: &[&str]) -> Result<Object<'a>, Rejection> {
        let mut seen = vec![false; looked_at.len()];
        for (key, _) in &members {
            if let Some(place) = looked_at.iter().position(|looked_at| looked_at == key)
                && std::mem::replace(&mut seen[place], true)
            {
                return Err(Rejection::DuplicateKey { key: key.to_string() });
            }
        }
        Ok(Object(members))
    }

    /// The member `key`, even if it is null.
    pub(super) fn get(&self, key: &str) -> Option<Json<'a>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, json)| *json)
    }

    /// The member `key`, null counting as absent.
    pub(super) fn some(&self, key: &str) -> Option<Json<'a>> {
        self.get(key).filter(|json| !json.is_null())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(key, json)| (key.as_ref(), *json))
    }
}

/// An object of which a member is a text that holds an object, as in exports to BigQuery and Snowflake: the same with the object.
pub(super) fn with_object(object: Json<'_>, key: &str) -> Option<String> {
    let (_, member) = object.members()?.find(|(name, _)| name == key)?;
    // One whole object: a text that closes it early must not add keys to the object around it.
    let inner = member.as_text().filter(|text| Json::read(text).is_ok_and(Json::is_object))?;
    let std::ops::Range { start, end } = place(object.0, member);
    Some([&object.0[..start], &inner, &object.0[end..]].concat())
}

/// Where a part stands in its document: lets a caller keep a place without keeping a borrow.
pub(super) fn place(document: &str, part: Json<'_>) -> std::ops::Range<usize> {
    let start = (part.0.as_ptr() as usize).saturating_sub(document.as_ptr() as usize);
    start..start + part.0.len()
}

/// The members of an object.
#[derive(Clone)]
pub(super) struct Members<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.walk.key()?.storable();
        Some((key, self.walk.skip()))
    }
}

impl Members<'_> {
    fn collect_properties(mut self) -> Result<Properties, Rejection> {
        let mut properties = Properties::new();
        while let Some((key, json)) = self.next() {
            if properties.len() == MAX_OPERATION_KEYS {
                let found = properties.len() + 1 + self.count(); // counted, not kept
                return Err(OperationError::TooManyKeys { found }.into());
            }
            insert_property(&mut properties, key, json)?;
        }
        Ok(properties)
    }
}

/// Adds one property, whose key must be new.
pub(super) fn insert_property(
    properties: &mut Properties,
    key: Cow<'_, str>,
    json: Json<'_>,
) -> Result<(), Rejection> {
    let value = json.value(&key)?;
    let key = property_key(key)?;
    match properties.entry(key) {
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert(value);
            Ok(())
        }
        std::collections::btree_map::Entry::Occupied(taken) => {
            Err(Rejection::DuplicateKey { key: taken.key().to_string() })
        }
    }
}

/// The text as a property key.
pub(super) fn property_key(key: Cow<'_, str>) -> Result<PropertyKey, Rejection> {
    PropertyKey::new(key).map_err(Rejection::PropertyKey)
}

/// The elements of an array.
pub(super) struct Elements<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        self.walk.more(b']').then(|| self.walk.skip())
    }
}

/// A place in a text that `serde_json` accepted. Behind its end stand zeros, so that no walk runs on.
#[derive(Clone)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// The deepest nesting that was passed over.
    deepest: usize,
}

impl<'a> Walk<'a> {
    fn of(text: &'a str) -> Walk<'a> {
        Walk { text, at: 0, deepest: 0 }
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Passes white space and the separators between members and elements.
    fn gap(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            self.at += 1;
        }
    }

    /// Whether another element follows; passes `close` when none does.
    fn more(&mut self, close: u8) -> bool {
        self.gap();
        let byte = self.peek();
        if byte == close {
            self.at += 1;
        }
        byte != close && byte != 0
    }

    /// The next key of an object.
    fn key(&mut self) -> Option<Quoted<'a>> {
        self.more(b'}').then(|| {
            let key = self.string();
            self.gap();
            key
        })
    }

    /// The string that starts here.
    fn string(&mut self) -> Quoted<'a> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                self.at = bytes.len(); // an accepted string has its end
                break;
            };
            if rest[found] == b'"' {
                self.at += found + 1;
                break;
            }
            escaped = true;
            self.at += found + 2;
        }
        Quoted { text: &self.text[start..self.at], escaped }
    }

    /// The number or literal that starts here.
    fn scalar(&mut self) -> &'a str {
        let start = self.at;
        while !matches!(self.peek(), b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | 0) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// The value that starts here, unread. Counts brackets, so its cost has nothing to do with depth.
    fn skip(&mut self) -> Json<'a> {
        let start = self.at;
        match self.peek() {
            b'"' => return Json(self.string().text),
            b'{' | b'[' => {}
            _ => return Json(self.scalar()),
        }
        let mut open = 0_usize;
        loop {
            match self.peek() {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => {
                    open += 1;
                    self.deepest = self.deepest.max(open);
                }
                b'}' | b']' => open -= 1, // it began with one that opens
                0 => break,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        Json(&self.text[start..self.at])
    }

    fn value(&mut self, depth: usize) -> Result<Value, ValueError> {
        if depth > MAX_VALUE_DEPTH {
            return Err(ValueError::TooDeep);
        }
        self.gap();
        Ok(match self.peek() {
            b'"' => Value::Text(self.string().storable().into_owned()),
            b'{' => {
                self.at += 1;
                let mut entries = BTreeMap::new();
                while let Some(key) = self.key() {
                    let key = key.storable().into_owned();
                    let value = self.value(depth + 1)?;
                    if entries.contains_key(&key) {
                        return Err(ValueError::DuplicateKey { key });
                    }
                    entries.insert(key, value);
                }
                Value::Map(entries)
            }
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                while self.more(b']') {
                    items.push(self.value(depth + 1)?);
                }
                Value::List(items)
            }
            _ => scalar(self.scalar())?,
        })
    }

    fn canonical(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), Rejection> {
        if depth > MAX_JSON_DEPTH {
            return Err(Rejection::TooDeep { max: MAX_JSON_DEPTH });
        }
        self.gap();
        match self.peek() {
            b'"' => Value::Text(self.string().storable().into_owned()).encode(out),
            b'{' => {
                self.at += 1;
                let start = out.len();
                let mut members = Vec::new();
                while let Some(key) = self.key() {
                    let (key, from) = (key.storable(), out.len());
                    self.canonical(depth + 1, out)?;
                    members.push((key, from..out.len()));
                }
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                let unsorted = out.split_off(start);
                Value::Map(BTreeMap::new()).encode(out);
                set_count(out, start + 1, members.len());
                for (key, place) in members {
                    let at = out.len();
                    out.extend_from_slice(&[0; 4]);
                    set_count(out, at, key.len());
                    out.extend_from_slice(key.as_bytes());
                    out.extend_from_slice(&unsorted[place.start - start..place.end - start]);
                }
            }
            b'[' => {
                self.at += 1;
                let start = out.len();
                Value::List(Vec::new()).encode(out);
                let mut items = 0;
                while self.more(b']') {
                    self.canonical(depth + 1, out)?;
                    items += 1;
                }
                set_count(out, start + 1, items);
            }
            _ => {
                let text = self.scalar();
                scalar(text).unwrap_or_else(|_| Value::Text(format!("\0{text}"))).encode(out);
            }
        }
        Ok(())
    }
}

/// Overwrites the length that stands at byte `at`.
fn set_count(out: &mut [u8], at: usize, count: usize) {
    let count = u32::try_from(count).expect("a document is far below 4 GiB");
    out[at..at + 4].copy_from_slice(&count.to_le_bytes());
}

/// A literal or a number.
fn scalar(text: &str) -> Result<Value, ValueError> {
    match text {
        "null" => Ok(Value::Null),
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        number => Value::number(number),
    }
}

/// The places of the objects in a text that is several of them, one behind the other: what files without a last line end become when they
/// are joined, with or without the byte order mark that each begins with. `None` if it is anything else.
pub(super) fn documents(text: &str) -> Option<Vec<std::ops::Range<usize>>> {
    const BETWEEN: [char; 5] = [' ', '\t', '\r', '\n', '\u{FEFF}'];
    let mut places = Vec::new();
    let mut rest = text.trim_start_matches(BETWEEN);
    while rest.starts_with('{') {
        let document = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>().next()?.ok()?.get();
        places.push(place(text, Json(document)));
        rest = rest.get(document.len()..)?.trim_start_matches(BETWEEN);
    }
    (rest.is_empty() && places.len() > 1).then_some(places)
}

/// Numbers that JavaScript and Python write by a name that JSON does not have, and what stands for them here: numbers of JSON that no
/// value can be (E4), so that they cost nothing where nothing is stored.
const NAMED: [(&str, &str); 3] = [("NaN", "1e999990"), ("Infinity", "1e999991"), ("-Infinity", "-1e999991")];

/// A text with such numbers as JSON; `None` if there are none. Whether it is JSON then, [`Json::read`] says.
pub(super) fn with_numbers(text: &str) -> Option<String> {
    let is_gap = |byte: Option<u8>| byte.is_none_or(|byte| b" \t\r\n,:[]}".contains(&byte));
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            let mut string = Walk { at, ..Walk::of(text) };
            string.string();
            at = string.at;
            continue;
        }
        let named = NAMED.iter().find(|(name, _)| {
            bytes[at..].starts_with(name.as_bytes())
                && is_gap(at.checked_sub(1).map(|before| bytes[before]))
                && is_gap(bytes.get(at + name.len()).copied())
        });
        match named {
            Some((name, number)) => {
                out += &text[copied..at];
                out += number;
                at += name.len();
                copied = at;
            }
            None => at += 1,
        }
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// A text has an escape in it that stands for no Unicode scalar value: half of a surrogate pair.
#[derive(Debug, PartialEq)]
pub(super) struct HalfPair;

/// Where the escapes begin that are half of a surrogate pair. A backslash stands in strings only, so any accepted text will do.
fn half_pairs(text: &str) -> impl Iterator<Item = usize> {
    /// Whether the escape that begins here is the first half of a pair; `None` if it is neither half.
    fn half(text: &str, at: usize) -> Option<bool> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        match u16::from_str_radix(digits, 16).ok()? {
            0xD800..=0xDBFF => Some(true),
            0xDC00..=0xDFFF => Some(false),
            _ => None,
        }
    }
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += memchr(b'\\', text.as_bytes().get(at..)?)?;
            let here = at;
            match (half(text, at), half(text, at + 6)) {
                (Some(true), Some(false)) => at += 12,
                (Some(_), _) => {
                    at += 6;
                    return Some(here);
                }
                (None, _) => at += 2,
            }
        }
    })
}

/// A string as it was written, with its quotes.
#[derive(Clone, Copy)]
struct Quoted<'a> {
    text: &'a str,
    /// Whether a backslash stands in it: most have none, and are what they say.
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// The text it stands for.
    fn unescaped(self) -> Result<Cow<'a, str>, HalfPair> {
        if !self.escaped {
            return Ok(Cow::Borrowed(&self.text[1..self.text.len() - 1])); // an accepted string has both its quotes
        }
        serde_json::from_str(self.text).map(Cow::Owned).map_err(|_| HalfPair) // the one thing that acceptance does not look at
    }

    /// The same, each half of a surrogate pair having become U+FFFD.
    fn text(self) -> Cow<'a, str> {
        self.unescaped().unwrap_or_else(|HalfPair| {
            let (mut whole, mut copied) = (String::with_capacity(self.text.len()), 0);
            for at in half_pairs(self.text) {
                whole += &self.text[copied..at];
                whole += "\\ufffd";
                copied = at + 6;
            }
            whole += &self.text[copied..];
            Cow::Owned(serde_json::from_str(&whole).unwrap_or_default())
        })
    }

    /// The same, U+0000 having become U+FFFD too (E4): JSON writes it as an escape only.
    fn storable(self) -> Cow<'a, str> {
        let text = self.text();
        if self.escaped { Cow::Owned(without_nul(text.into_owned())) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::read(text).unwrap()
    }

    #[test]
    fn numbers_are_read_from_their_text_e4() {
        assert_eq!(json("18446744073709551615").value("k"), Ok(Value::UInt(u64::MAX)));
        assert_ne!(json("1").value("k"), json("1.0").value("k"));
        assert_ne!(json("-0.0").value("k"), json("0.0").value("k"));
        for huge in
            ["18446744073709551616", "-9223372036854775809", "1e400", "[1,{\"a\":99999999999999999999}]"]
        {
            assert!(matches!(json(huge).value("k"), Err(Rejection::Value { .. })), "{huge}");
        }
    }

    #[test]
    fn a_key_twice_is_seen_at_any_depth_e4() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"b":{"a":1,"a":2}}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a\u0000":1,"a\ufffd":2}"#,
        ] {
            let value = json(twice).value("k");
            let is_named = |source: &ValueError| matches!(source, ValueError::DuplicateKey { .. });
            assert!(matches!(&value, Err(Rejection::Value { source, .. }) if is_named(source)), "{value:?}");
        }
        assert!(json(r#"[{"a":1},{"a":1}]"#).value("k").is_ok());
        let object = |text, looked_at: &[&str]| json(text).object(looked_at).unwrap().map(|_| ());
        assert_eq!(object(r#"{"a":1,"a":1,"b":1}"#, &["b"]), Ok(()));
        assert!(matches!(object(r#"{"a":1,"\u0061":1}"#, &["a"]), Err(Rejection::DuplicateKey { .. })));
    }

    #[test]
    fn depth_is_bounded_wherever_it_is_looked_at() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(json(&nested(MAX_VALUE_DEPTH)).value("k").is_ok());
        assert!(json(&nested(MAX_VALUE_DEPTH + 1)).value("k").is_err());
        assert_eq!(json(&nested(MAX_JSON_DEPTH)).check_depth(), Ok(()));
        let too_deep = Err(Rejection::TooDeep { max: MAX_JSON_DEPTH });
        for deep in [nested(MAX_JSON_DEPTH + 1), nested(100_000)] {
            assert_eq!(json(&deep).check_depth(), too_deep);
            assert_eq!(json(&deep).canonical(&mut Vec::new()), too_deep);
        }
        let deep = nested(100_000);
        assert!(json(&deep).elements().unwrap().next().is_some());
    }

    #[test]
    fn two_spellings_of_one_value_have_one_canonical_form_g4() {
        let bytes = |text: &str| {
            let mut out = Vec::new();
            json(text).canonical(&mut out).unwrap();
            out
        };
        assert_eq!(bytes(r#"{"a":"x","b":[1, 2.50]}"#), bytes(r#" { "b" : [1,2.5e0], "a":"\u0078" } "#));
        assert_ne!(bytes(r#"{"a":1}"#), bytes(r#"{"a":1.0}"#));
        let value = r#"[{"b":{},"a":[null,true,-1,1.5,18446744073709551615]},"x\u0000",[]]"#;
        assert_eq!(bytes(value), json(value).value("k").unwrap().to_canonical_bytes());
        assert_ne!(bytes(r#"{"a":99999999999999999999}"#), bytes(r#"{"a":"99999999999999999999"}"#));
        assert_ne!(bytes(r#"{"a":1,"b":1,"a":2}"#), bytes(r#"{"a":1,"b":1}"#));
        assert_eq!(bytes(r#"{"b":1,"a":1,"a":2}"#), bytes(r#"{"a":1,"b":1,"\u0061":2}"#));
    }

    #[test]
    fn size_has_edges_and_is_measured_before_it_is_built() {
        let sized = |len: usize| json(&format!("\"{}\"", "x".repeat(len - 5))).value("k");
        assert!(sized(MAX_VALUE_BYTES).is_ok());
        let found = MAX_VALUE_BYTES + 1;
        // One more is for `Operation::check` to find; what is much larger is found here.
        assert!(matches!(sized(found), Ok(value) if value.check() == Err(ValueError::TooLarge { found })));
        assert!(matches!(
            sized(2 * found),
            Err(Rejection::Value { source: ValueError::TooLarge { found: size }, .. }) if size == 2 * found
        ));
        let keys = |count: usize| {
            let members: Vec<_> = (0..count).map(|i| format!("\"k{i}\":0")).collect();
            json(&format!("{{{}}}", members.join(","))).properties().unwrap()
        };
        assert_eq!(keys(MAX_OPERATION_KEYS).unwrap().len(), MAX_OPERATION_KEYS);
        let found = MAX_OPERATION_KEYS + 7;
        assert_eq!(keys(found), Err(OperationError::TooManyKeys { found }.into()));
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_in_texts_and_refused_in_ids_e4() {
        for (text, replaced) in [
            (r#""\ud83d""#, "\u{FFFD}"),
            (r#""\uDE00\ud83d""#, "\u{FFFD}\u{FFFD}"),
            (r#""a\ud83d\ud83d\ude00b""#, "a\u{FFFD}\u{1F600}b"),
            (r#""\ud83dx\ude00\u0000""#, "\u{FFFD}x\u{FFFD}\u{FFFD}"),
            (r#""\\\ud83d\n\"""#, "\\\u{FFFD}\n\""),
        ] {
            assert_eq!(json(text).as_str(), Some(Err(HalfPair)), "{text}");
            assert_eq!(json(text).value("k"), Ok(Value::Text(replaced.to_owned())), "{text}");
            assert!(json(text).has_half_pair() && json(&format!("[{{{text}:1}}]")).has_half_pair());
            let object = format!("{{{text}:1}}");
            assert_eq!(json(&object).members().unwrap().next().unwrap().0, replaced);
        }
        for whole in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\\\\ud83d""#, r#""ud83d""#, r#""\u00e9""#] {
            assert!(json(whole).as_str().unwrap().is_ok() && !json(whole).has_half_pair(), "{whole}");
        }
    }

    #[test]
    fn numbers_with_names_are_read_and_are_no_values() {
        let text = r#"{"a":NaN,"b":[Infinity, -Infinity],"NaN":"NaN \" Infinity"}"#;
        assert!(Json::read(text).is_err());
        let mended = with_numbers(text).unwrap();
        let members: Vec<_> = json(&mended).members().unwrap().collect();
        assert_eq!(members[0].1.js_string(), Ok("NaN".into()));
        assert_eq!(members[1].1.js_string(), Ok("Infinity,-Infinity".into()));
        assert_eq!((members[2].0.as_ref(), members[2].1.text()), ("NaN", r#""NaN \" Infinity""#));
        assert!(!members[0].1.js_truthy() && members[1].1.js_truthy());
        for (_, json) in &members[..2] {
            let not_finite = Rejection::Value { key: "k".to_owned(), source: ValueError::NotFinite };
            assert_eq!(json.value("k"), Err(not_finite));
        }
        for none in [
            "{}",
            r#"{"a":"NaN"}"#,
            "[1NaN]",
            "[NaNN]",
            "[-NaN]",
            "[--Infinity]",
            "\"NaN",
            "nan",
            "\u{E9}NaN",
        ] {
            assert_eq!(with_numbers(none), None, "{none}");
        }
        assert!(with_numbers("NaN").is_some() && with_numbers("[\nNaN\t]").is_some());
    }

    proptest::proptest! {
        /// The second opinion: what we read is what `serde_json` reads.
        #[test]
        fn values_are_those_of_serde_json(text in r#"[\[\]{}",:a1. \\u0-]{0,24}"#) {
            if let Ok(read) = Json::read(&text) {
                let theirs: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                if let (Ok(ours), false) = (read.value("k"), text.contains('\\')) {
                    proptest::prop_assert_eq!(serde_json::to_value(&ours).unwrap(), theirs);
                }
            }
        }

        /// Any value, printed and spaced out, comes back whole.
        #[test]
        fn printed_values_come_back(value in value()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let mut canonical = Vec::new();
            json(&text).canonical(&mut canonical).unwrap();
            proptest::prop_assert_eq!(canonical, value.to_canonical_bytes());
            proptest::prop_assert_eq!(json(&text).value("k"), Ok(value));
        }
    }

    fn value() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::uint),
            (-1e9..1e9_f64).prop_map(Value::Float),
            ".*".prop_map(Value::text),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::btree_map(".*".prop_map(without_nul), inner, 0..6).prop_map(Value::Map),
            ]
        })
    }
}
