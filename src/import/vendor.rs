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
pub(super) fn id<'a>(members: &Object<'a>, key: &'static str) -> Result<Option<Json<'a>>, Rejection> {
    match members.some(key) {
        Some(json) if json.is_string() || json.is_number() => {
            Ok(Some(json).filter(|json| json.text() != "\"\""))
        }
        Some(json) => Err(wrong(key, json, "a string or a number")),
        None => Ok(None),
    }
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
