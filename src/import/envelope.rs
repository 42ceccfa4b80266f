//! What stands around events: recorded requests, batches, pages, and when they were sent.
//!
//! The same for every sender's format, but for the keys that say when a request was sent.

use std::borrow::Cow;

use super::body;
use super::json::{Json, Object};
use super::ops::{time, wrong};
use super::options::Format;
use super::rejection::Rejection;
use crate::model::time::Timestamp;

/// What a request says about all its events.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    format: Format,
    /// The last part of the path that a recorded request was sent to.
    endpoint: Option<String>,
    /// When the server received it, by the server's clock.
    pub(super) received: Option<Timestamp>,
    /// When the client sent it, by the client's clock; if that cannot be read, it is each event's to say whether it needs it.
    pub(super) sent: Option<Result<Timestamp, Rejection>>,
    /// The same of this very attempt: a header is written again when a client tries again, what stands in a body is not.
    pub(super) stamped: Option<Timestamp>,
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

/// The keys by which a format's envelopes are known.
struct Keys {
    /// What is looked at around events. Another key that stands twice is its sender's own affair.
    looked_at: &'static [&'static str],
    /// What holds a batch.
    batches: &'static [&'static str],
    /// What says when the request was sent: beside one event the first of them, beside a batch the first that is there.
    sent: &'static [&'static str],
}

const POSTHOG: Keys = Keys {
    looked_at: &["path", "body", "received_ms", "headers", "batch", PAGE, "sent_at", "created_at"],
    batches: &["batch", PAGE],
    sent: &["sent_at", "created_at"], // capture v1 says `created_at`: made just before the first send
};

/// A page of PostHog's events API is `{"next":..,"results":[..]}`.
const PAGE: &str = "results";

/// Segment and RudderStack.
const SEGMENT: Keys = Keys {
    looked_at: &["path", "body", "received_ms", "batch", "sentAt"],
    batches: &["batch"],
    sent: &["sentAt"],
};

/// Mixpanel's batches are arrays, and its events say when they happened.
const MIXPANEL: Keys = Keys { looked_at: &["path", "body", "received_ms"], batches: &[], sent: &[] };

/// Amplitude's say when they happened, too.
const AMPLITUDE: Keys =
    Keys { looked_at: &["path", "body", "received_ms", "events"], batches: &["events"], sent: &[] };

impl Envelope {
    /// That of a document in `format`, of which nothing is known yet.
    pub(super) fn new(format: Format) -> Envelope {
        Envelope { format, endpoint: None, received: None, sent: None, stamped: None }
    }

    /// That of a request to `path` that arrived at `received`, with the time of sending that its query gives.
    pub(super) fn of_request(format: Format, received: Timestamp, path: &str, query: &str) -> Envelope {
        let sent = sent_in_query(query).map(Ok);
        let endpoint = endpoint(path).map(str::to_owned);
        Envelope { endpoint, received: Some(received), sent, ..Envelope::new(format) }
    }

    /// By how many microseconds the clock of a client of PostHog is behind, as far as that is known (G5).
    pub(super) fn correction(&self) -> Result<i64, Rejection> {
        let Some(received) = self.received else { return Ok(0) };
        let behind = |sent: Timestamp| received.as_micros() - sent.as_micros(); // both within the calendar
        match (self.stamped, &self.sent) {
            (Some(stamped), _) => Ok(behind(stamped)),
            (None, Some(sent)) => Ok(beyond_delay(behind(sent.clone()?))),
            (None, None) => Ok(0),
        }
    }

    /// The last part of the path that a recorded request was sent to: `track` of `/v1/track?x=1`.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    fn keys(&self) -> &'static Keys {
        match self.format {
            Format::Segment | Format::Rudderstack => &SEGMENT,
            Format::Mixpanel | Format::MixpanelOriginal => &MIXPANEL,
            Format::Amplitude => &AMPLITUDE,
            Format::Auto | Format::Ops | Format::Posthog | Format::Sdk | Format::Persons => &POSTHOG,
        }
    }
}

/// Opens the envelopes of a document: a recorded request (`path` and `body`), then a batch.
pub(super) fn open<'a>(document: Json<'a>, envelope: &mut Envelope) -> Result<Found<'a>, Rejection> {
    let Some(members) = document.object(envelope.keys().looked_at) else {
        return open_body(document, envelope);
    };
    let members = members?;
    let (Some(body), Some(path)) = (members.get("body"), members.get("path").and_then(Json::as_text)) else {
        return open_object(document, &members, envelope);
    };
    if let Some(received) = members.some("received_ms") {
        let received = millis("received_ms", received)?;
        envelope.received = Some(Timestamp::from_micros(received).map_err(|_| Rejection::TimeOutOfRange)?);
    }
    envelope.sent = path.split_once('?').and_then(|(_, query)| sent_in_query(query)).map(Ok);
    envelope.endpoint = endpoint(&path).map(str::to_owned);
    envelope.stamped = members.some("headers").and_then(stamped);
    match body.as_text() {
        Some(text) => Ok(Found::Encoded(text)),
        None => open_body(body, envelope),
    }
}

/// Opens a request body: a batch, an array or an event.
pub(super) fn open_body<'a>(body: Json<'a>, envelope: &mut Envelope) -> Result<Found<'a>, Rejection> {
    if body.is_array() {
        return Ok(Found::Many(body));
    }
    let members =
        body.object(envelope.keys().looked_at).ok_or(Rejection::NotAnEvent { found: body.kind() })??;
    open_object(body, &members, envelope)
}

fn open_object<'a>(
    object: Json<'a>,
    members: &Object<'a>,
    envelope: &mut Envelope,
) -> Result<Found<'a>, Rejection> {
    let Keys { batches, sent, .. } = envelope.keys();
    let holds_events =
        |key: &str, json: &Json<'_>| key != PAGE || json.is_array() && members.get("event").is_none();
    let batch = batches.iter().find_map(|key| members.get(key).filter(|json| holds_events(key, json)));
    let sent = if batch.is_some() { sent } else { sent.get(..1).unwrap_or_default() };
    if let Some((key, json)) = sent.iter().find_map(|key| Some((*key, members.some(key)?))) {
        envelope.sent = Some(time(key, json));
    }
    match batch {
        Some(batch) if !batch.is_array() => Err(wrong("batch", batch, "an array")),
        Some(batch) => Ok(Found::Many(batch)),
        None => Ok(Found::One(object)),
    }
}

/// How long a request may take, retries included, before the difference of the clocks is taken for an error of the sender's clock: PostHog's
/// figure.
const MAX_DELAY_MICROS: i64 = 150_000_000;

/// What of a difference between the clocks cannot be the delay of a request that was sent more than once.
fn beyond_delay(behind: i64) -> i64 {
    behind - behind.clamp(-MAX_DELAY_MICROS, MAX_DELAY_MICROS)
}

/// When this attempt of a recorded request was sent, if its headers were recorded.
fn stamped(headers: Json<'_>) -> Option<Timestamp> {
    let is_stamp = |key: &str| key.eq_ignore_ascii_case("PostHog-Request-Timestamp");
    let (_, stamp) = headers.members()?.find(|(key, _)| is_stamp(key))?;
    stamp.as_text()?.trim().parse().ok()
}

fn endpoint(path: &str) -> Option<&str> {
    path.split('?').next()?.rsplit('/').find(|part| !part.is_empty())
}

/// Old posthog-js says when it sent a request as `?_=<ms>`; anything else there only defeats caches.
fn sent_in_query(query: &str) -> Option<Timestamp> {
    let value = body::field(query, "_")?;
    Timestamp::from_micros(value.parse::<i64>().ok()?.checked_mul(1_000)?).ok()
}

/// Milliseconds as microseconds.
pub(super) fn millis(key: &'static str, json: Json<'_>) -> Result<i64, Rejection> {
    if !json.is_number() {
        return Err(wrong(key, json, "a number of milliseconds"));
    }
    let micros = match json.text().parse::<i64>() {
        Ok(millis) => millis.checked_mul(1_000),
        Err(_) => json.text().parse::<f64>().ok().map(|millis| (millis * 1_000.0) as i64), // as saturates
    };
    micros.ok_or(Rejection::TimeOutOfRange)
}
