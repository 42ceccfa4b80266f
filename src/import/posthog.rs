//! What PostHog's SDKs send: events, batches, people updates and the envelopes around them.
//!
//! The rules are those of PostHog's ingestion, cited where a test cites them too. Lenient where it is, because the
//! senders are not ours: unknown keys are theirs to have, and only what would change a person must be right.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Options;
use super::json::{Json, Object, insert_property, property_key};
use super::lift;
use super::ops::{processing, time, uuid, wrong};
use super::rejection::Rejection;
use crate::id::{DistinctId, EventName, PropertyKey};
use crate::limits::CAPTURE_ID_SCALARS;
use crate::operation::{Bent, Changes, Operation, Processing, Request, Source, Who};
use crate::time::Timestamp;
use crate::value::Properties;

/// What a request says about all its events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope {
    /// When the server received it, by the server's clock.
    received: Option<Timestamp>,
    /// When the client sent it, by the client's clock.
    sent: Option<Timestamp>,
}

/// What a document holds.
pub(super) enum Found<'a> {
    /// One event or operation.
    One(Json<'a>),
    /// An array of them.
    Many(Json<'a>),
    /// A request body as text, still encoded.
    Encoded(Cow<'a, str>),
}

/// Opens the envelopes of a document: a recorded request (`path` and `body`), then a batch.
pub(super) fn open<'a>(document: Json<'a>, envelope: &mut Envelope) -> Result<Found<'a>, Rejection> {
    let Some(members) = document.object() else { return open_body(document, envelope) };
    let members = members?;
    let (Some(body), Some(path)) = (members.get("body"), members.get("path").and_then(Json::as_str)) else {
        return open_object(document, &members, envelope);
    };
    members.audit_all_but(&["body", "path", "received_ms"])?;
    if let Some(received) = members.some("received_ms") {
        let received = millis("received_ms", received)?;
        envelope.received = Some(Timestamp::from_micros(received).map_err(|_| Rejection::TimeOutOfRange)?);
    }
    envelope.sent = sent_in_query(&path?);
    match body.as_str() {
        Some(text) => Ok(Found::Encoded(text?)),
        None => open_body(body, envelope),
    }
}

/// Opens a request body: a batch, an array or an event.
pub(super) fn open_body<'a>(body: Json<'a>, envelope: &mut Envelope) -> Result<Found<'a>, Rejection> {
    if body.is_array() {
        return Ok(Found::Many(body));
    }
    let members = body.object().ok_or(Rejection::NotAnEvent { found: body.kind() })??;
    open_object(body, &members, envelope)
}

fn open_object<'a>(
    object: Json<'a>,
    members: &Object<'a>,
    envelope: &mut Envelope,
) -> Result<Found<'a>, Rejection> {
    let sent = members.some("sent_at").map(|json| ("sent_at", json));
    let Some(batch) = members.get("batch") else {
        if let Some((key, sent)) = sent {
            envelope.sent = Some(time(key, sent)?);
        }
        return Ok(Found::One(object));
    };
    if !batch.is_array() {
        return Err(wrong("batch", batch, "an array"));
    }
    members.audit_all_but(&["batch"])?;
    // Capture v1 says `created_at` in place of `sent_at`: made just before the send.
    if let Some((key, sent)) = sent.or_else(|| members.some("created_at").map(|json| ("created_at", json))) {
        envelope.sent = Some(time(key, sent)?);
    }
    Ok(Found::Many(batch))
}

/// Old posthog-js says when it sent a request as `?_=<ms>`; anything else there only defeats caches.
fn sent_in_query(path: &str) -> Option<Timestamp> {
    let (_, query) = path.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("_="))?;
    Timestamp::from_micros(value.parse::<i64>().ok()?.checked_mul(1_000)?).ok()
}

/// Milliseconds as microseconds.
fn millis(key: &'static str, json: Json<'_>) -> Result<i64, Rejection> {
    if !json.is_number() {
        return Err(wrong(key, json, "a number of milliseconds"));
    }
    let micros = match json.text().parse::<i64>() {
        Ok(millis) => millis.checked_mul(1_000),
        Err(_) => json.text().parse::<f64>().ok().map(|millis| (millis * 1_000.0) as i64), // as saturates
    };
    micros.ok_or(Rejection::TimeOutOfRange)
}

/// The members of an event, or of a people update of the old `/engage/`.
struct Event<'a> {
    name: Cow<'a, str>,
    members: Object<'a>,
    properties: Option<Object<'a>>,
    options: Option<Object<'a>>,
}

const READ: [&str; 12] = [
    "event",
    "distinct_id",
    "$distinct_id",
    "uuid",
    "timestamp",
    "offset",
    "sent_at",
    "properties",
    "options",
    "$set",
    "$set_once",
    "$unset",
];

/// The operation that an event asks for; without an id when the event has none.
pub(super) fn operation(
    event: Json<'_>,
    envelope: &Envelope,
    options: &Options,
) -> Result<Operation, Rejection> {
    let event = Event::read(event)?;
    let (id, bent) = event.distinct_id()?;
    let mut operation = Operation::new(event.time(envelope)?, event.request(Who::Id(id))?);
    operation.bent = bent;
    operation.id = event.members.some("uuid").map(|json| uuid("uuid", json)).transpose()?;
    operation.processing = event.processing();
    let changes = event.changes()?;
    if operation.processing != Processing::Off {
        operation.changes = changes; // C1, C7: off means no property change, lifting included
        if options.lift {
            event.lift(&mut operation.changes)?;
        }
    }
    if let (true, Request::Capture { properties, .. }) =
        (options.keep_event_properties, &mut operation.request)
    {
        *properties = event.kept()?;
    }
    Ok(operation)
}

impl<'a> Event<'a> {
    fn read(json: Json<'a>) -> Result<Event<'a>, Rejection> {
        let members = json.object().ok_or(Rejection::NotAnEvent { found: json.kind() })??;
        members.audit_all_but(&READ)?;
        let name = match members.some("event") {
            Some(name) => name.as_str().unwrap_or_else(|| Err(wrong("event", name, "a string")))?,
            None if is_people_update(&members) => Cow::Borrowed("$set"),
            None => return Err(Rejection::UnknownShape),
        };
        let properties = object(&members, "properties")?;
        if let Some(properties) = &properties {
            properties.audit_all_but(&["$set", "$set_once", "$unset"])?;
        }
        // `options` is an envelope of capture v1 only; elsewhere it is anybody's key.
        let options = match members.some("options") {
            Some(json) if json.is_object() => json.object().transpose()?,
            Some(json) => json.audit().map(|()| None)?,
            None => None,
        };
        Ok(Event { name, members, properties, options })
    }

    fn property(&self, key: &str) -> Option<Json<'a>> {
        self.properties.as_ref()?.get(key)
    }

    /// T: at top level first (a deep link may put another id into the properties), then in the properties; a null is
    /// no id. Not a string: its text. Shortened and cleaned as PostHog's capture does (B1).
    fn distinct_id(&self) -> Result<(DistinctId, Bent), Rejection> {
        const KEY: &str = "distinct_id";
        let json = (self.members.some(KEY).or_else(|| self.members.some("$distinct_id")))
            .or_else(|| self.property(KEY).filter(|json| !json.is_null()))
            .ok_or(Rejection::Missing { key: KEY })?;
        json.audit()?;
        let mut text = json.as_str().unwrap_or_else(|| Ok(json.compact()))?;
        let mut bent = Bent::default();
        if let Some((cut, _)) = text.char_indices().nth(CAPTURE_ID_SCALARS) {
            bent.shortened_id = true;
            text = Cow::Owned(text[..cut].to_owned());
        }
        if text.contains('\0') {
            bent.replaced_nul = true;
            text = Cow::Owned(text.replace('\0', "\u{FFFD}"));
        }
        let id = DistinctId::new(text).map_err(|source| Rejection::Id { key: KEY, source })?;
        Ok((id, bent))
    }

    /// What the event's name asks for.
    fn request(&self, who: Who) -> Result<Request, Rejection> {
        Ok(match self.name.as_ref() {
            // The key counts, not its value: a null is the text `null`, which is then refused (B2).
            "$identify" => Request::Identify {
                who,
                anonymous: self.property("$anon_distinct_id").map(source).transpose()?,
            },
            "$create_alias" => Request::Alias { who, alias: self.alias()? },
            "$merge_dangerously" => Request::Merge { who, alias: self.alias()? },
            "$set" | "$set_once" | "$unset" => Request::Set { who },
            name => {
                let event = EventName::new(name).map_err(|source| Rejection::Id { key: "event", source })?;
                Request::Capture { who, event: Some(event), properties: Properties::new() }
            }
        })
    }

    /// S of an alias; what JavaScript takes for false is none (C3).
    fn alias(&self) -> Result<Option<Source>, Rejection> {
        self.property("alias").filter(|json| json.js_truthy()).map(source).transpose()
    }

    /// The sender's time, its clock corrected by what the server's said when the request arrived.
    fn time(&self, envelope: &Envelope) -> Result<Timestamp, Rejection> {
        let Some(timestamp) = self.members.some("timestamp") else {
            let received = envelope.received.ok_or(Rejection::MissingTime)?;
            let before = self.members.some("offset").map_or(Ok(0), |json| millis("offset", json))?;
            let moved = before.checked_neg().and_then(|micros| received.checked_add_micros(micros));
            return moved.ok_or(Rejection::TimeOutOfRange);
        };
        let timestamp = time("timestamp", timestamp)?;
        match (envelope.received, envelope.sent) {
            (Some(received), Some(sent)) if !self.keeps_its_clock() => timestamp
                .checked_add_micros(received.as_micros() - sent.as_micros()) // both within the calendar
                .ok_or(Rejection::TimeOutOfRange),
            _ => Ok(timestamp),
        }
    }

    fn keeps_its_clock(&self) -> bool {
        let option = self.options.as_ref().and_then(|options| options.get("disable_skew_correction"));
        option.or_else(|| self.property("$ignore_sent_at")).and_then(Json::as_bool) == Some(true)
    }

    fn processing(&self) -> Processing {
        let option = self.options.as_ref().and_then(|options| options.some("process_person_profile"));
        option.or_else(|| self.property("$process_person_profile")).map_or(Processing::Unsaid, processing)
    }

    /// Property changes: in the properties, and over them those at top level.
    fn changes(&self) -> Result<Changes, Rejection> {
        let unset = self.members.some("$unset").or_else(|| self.property("$unset"));
        Ok(Changes {
            set: self.layered("$set")?,
            set_once: self.layered("$set_once")?,
            unset: unset.map_or_else(|| Ok(BTreeSet::new()), unset_keys)?,
        })
    }

    fn layered(&self, key: &'static str) -> Result<Properties, Rejection> {
        let mut merged = Properties::new();
        for layer in [self.property(key), self.members.get(key)].into_iter().flatten() {
            if !is_nothing(layer) {
                let layer = layer.properties().unwrap_or_else(|| Err(wrong(key, layer, "an object")));
                merged.append(&mut layer?);
            }
        }
        Ok(merged)
    }

    fn lift(&self, changes: &mut Changes) -> Result<(), Rejection> {
        let Some(properties) = &self.properties else { return Ok(()) };
        if lift::is_recording(&self.name) {
            return Ok(());
        }
        let is_server = properties.get("$is_server").and_then(Json::as_bool) == Some(true);
        let mut lifted = Vec::new();
        for (key, json) in properties.iter().filter(|(key, _)| lift::is_lifted(key)) {
            lifted.push((property_key(key.into())?, json.value(key)?));
        }
        lift::lift_all(lifted.into_iter(), is_server, changes);
        Ok(())
    }

    /// The event's own properties; its property changes are recorded as such.
    fn kept(&self) -> Result<Properties, Rejection> {
        let mut kept = Properties::new();
        for (key, json) in self.properties.iter().flat_map(Object::iter) {
            if !matches!(key, "$set" | "$set_once" | "$unset") {
                insert_property(&mut kept, key.into(), json)?;
            }
        }
        Ok(kept)
    }
}

fn is_people_update(members: &Object<'_>) -> bool {
    let has = |key| members.some(key).is_some();
    (has("$distinct_id") || has("distinct_id")) && (has("$set") || has("$set_once") || has("$unset"))
}

/// PHP writes an empty object as an empty array.
fn is_nothing(json: Json<'_>) -> bool {
    json.is_null() || json.elements().is_some_and(|mut elements| elements.next().is_none())
}

fn object<'a>(members: &Object<'a>, key: &'static str) -> Result<Option<Object<'a>>, Rejection> {
    match members.get(key) {
        Some(json) if !is_nothing(json) => {
            json.object().unwrap_or_else(|| Err(wrong(key, json, "an object"))).map(Some)
        }
        _ => Ok(None),
    }
}

/// S: any JSON, as text; neither shortened nor cleaned, because PostHog does neither.
fn source(json: Json<'_>) -> Result<Source, Rejection> {
    json.audit()?;
    Ok(Source::new(&json.js_string()?))
}

/// Strings of an array, what is no string being passed over; or the keys of an object.
fn unset_keys(json: Json<'_>) -> Result<BTreeSet<PropertyKey>, Rejection> {
    if json.is_null() {
        return Ok(BTreeSet::new());
    }
    if let Some(elements) = json.elements() {
        return elements.filter_map(Json::as_str).map(|key| property_key(key?)).collect();
    }
    let object = json.object().ok_or_else(|| wrong("$unset", json, "an array of strings or an object"))??;
    object.iter().map(|(key, _)| property_key(key.into())).collect()
}
