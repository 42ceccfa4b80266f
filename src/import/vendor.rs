//! What the readers of other vendors' events have in common: their ids, and the link that an event implies.

use std::borrow::Cow;

use super::derive;
use super::json::{Json, Object};
use super::ops::{string, wrong};
use super::options::Format;
use super::rejection::Rejection;
use crate::model::id::DistinctId;
use crate::model::operation::{Actor, Operation, Request, Source};
use crate::model::time::Timestamp;

/// The operations that one event asks for.
pub(super) struct Asked {
    /// The link of the two ids that it names, unless the event itself is one. It comes first.
    pub(super) link: Option<Operation>,
    /// What the event says; without an id when it has none.
    pub(super) operation: Operation,
}

/// The link that an event implies because it names both `who` and `other`: recorded once, however many events repeat it (G4).
pub(super) fn implied_link(who: DistinctId, other: Source, at: Timestamp, format: Format) -> Operation {
    let id = derive::link_id(&who, &other, format);
    let request = Request::Identify { who: Actor::Id(who), anonymous: Some(other) };
    Operation { id: Some(id), derived_id: true, time_by_arrival: true, ..Operation::new(at, request) }
}

/// An id; an empty text is none.
pub(super) fn id<'a>(key: &'static str, json: Json<'a>) -> Result<Option<Json<'a>>, Rejection> {
    if json.is_string() || json.is_number() {
        Ok(Some(json).filter(|json| json.text() != "\"\""))
    } else {
        Err(wrong(key, json, "a string or a number"))
    }
}

/// The id that a member of an object is; null and an empty text are none.
pub(super) fn member_id<'a>(members: &Object<'a>, key: &'static str) -> Result<Option<Json<'a>>, Rejection> {
    members.some(key).map_or(Ok(None), |json| id(key, json))
}

/// The text of an id that [`id`] found.
pub(super) fn id_text<'a>(key: &'static str, id: Json<'a>) -> Result<Cow<'a, str>, Rejection> {
    if id.is_string() { string(key, id) } else { Ok(id.compact()) }
}

/// T, of an id that [`id`] found.
pub(super) fn distinct_id(key: &'static str, id: Json<'_>) -> Result<DistinctId, Rejection> {
    DistinctId::new(id_text(key, id)?).map_err(|source| Rejection::Id { key, source })
}

/// S, of an id that [`id`] found; what is not a text that can be stored cannot be linked (B2).
pub(super) fn source(key: &'static str, id: Json<'_>) -> Source {
    id_text(key, id).map_or(Source::Unstorable, |text| Source::new(&text))
}

/// What a device's id begins with where a vendor's devices and users have ids of their own: so no user is taken for a device.
const DEVICE: &str = "$device:";

/// The text of a device's id among distinct ids.
pub(super) fn device_text(key: &'static str, device: Json<'_>) -> Result<String, Rejection> {
    id_text(key, device).map(|text| match text.starts_with(DEVICE) {
        true => text.into_owned(),
        false => format!("{DEVICE}{text}"),
    })
}

/// S, of a device.
pub(super) fn device_source(text: Result<String, Rejection>) -> Source {
    text.map_or(Source::Unstorable, |text| Source::new(&text))
}

/// The time in a text, as databases write it too: `2026-01-01 00:00:00 UTC`. An offset beside the `UTC` is an error.
pub(super) fn utc_time(key: &'static str, json: Json<'_>) -> Result<Timestamp, Rejection> {
    let text = string(key, json)?;
    let read = match text.strip_suffix(" UTC") {
        Some(utc) => format!("{utc}Z").parse(),
        None => text.parse(),
    };
    read.map_err(|source| Rejection::Time { key, source })
}

/// The time in a column of a table: a text, or a number of the epoch.
pub(super) fn row_time(key: &'static str, json: Json<'_>) -> Result<Timestamp, Rejection> {
    let is_epoch = json.text().trim_matches('"').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_epoch { epoch(key, json) } else { utc_time(key, json) }
}

/// From here on a number of the epoch counts milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973.
const FIRST_MILLIS: i64 = 100_000_000_000;

/// A time in seconds or milliseconds since 1970, as a number or the text of one; exact, digits below a microsecond cut.
pub(super) fn epoch(key: &'static str, json: Json<'_>) -> Result<Timestamp, Rejection> {
    const EXPECTED: &str = "a number of seconds or milliseconds since 1970";
    let refused = || wrong(key, json, EXPECTED);
    let text = json.text().trim_matches('"');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(refused());
    }
    let whole: i64 = whole.parse().map_err(|_| Rejection::TimeOutOfRange)?;
    let (unit, places) = if whole < FIRST_MILLIS { (1_000_000, 6) } else { (1_000, 3) };
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(places);
    let part = digits.fold(0, |part, digit| part * 10 + i64::from(digit - b'0'));
    let micros = whole.checked_mul(unit).and_then(|micros| micros.checked_add(part));
    let time = micros.ok_or(Rejection::TimeOutOfRange)?;
    Timestamp::from_micros(time).map_err(|_| Rejection::TimeOutOfRange)
}
