//! One HTTP request of an SDK, as a server received it: whose it is, and what it asks.

use std::borrow::Cow;

use super::body;
use super::envelope::{Envelope, Found, open_body};
use super::importer::Reader;
use super::json::{self, Json};
use super::layer::GZIP;
use super::ops::uuid;
use super::options::{Format, FutureTimes, Options};
use super::rejection::{Rejection, excerpt};
use crate::model::id::OperationId;
use crate::model::limits::MAX_BATCH_OPERATIONS;
use crate::model::operation::{Operation, Request as Asked};
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
use crate::store::entropy::{Entropy, uuid_v7};

/// Most bytes that a request's body may have once it is decompressed, unless [`RequestOptions::max_bytes`] says otherwise. PostHog takes
/// 20 MB.
pub const MAX_REQUEST_BYTES: usize = 20 * 1_000 * 1_000;

/// One HTTP request of an SDK: its target, the headers that matter, and when it arrived. [`Request::read`] takes its body.
///
/// Only what SDKs send is read, never the ledger's own operations: a person who knows a public token could otherwise split or retract people.
/// Recorded requests ([`Importer`](super::Importer) reads them from files) are not unwrapped either. An event without a uuid gets a fresh
/// one, so two equal events are two events. An importer of files derives it from the content instead.
///
/// ```
/// use identity_ledger::import::{Request, RequestOptions};
/// use identity_ledger::storage::OsEntropy;
/// use identity_ledger::{Ledger, Policy, Tenant};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let options = RequestOptions::from(ledger.policy());
/// let body = br#"{"api_key":"phc_shop","batch":[
///     {"event":"$identify","distinct_id":"ann","properties":{"$anon_distinct_id":"a1"}},
///     {"event":"$identify"}
/// ]}"#;
/// let request = Request::new("/batch/?ver=1", "2026-01-01T00:00:00Z".parse()?).header("Content-Encoding", b"identity");
/// let received = request.read(body, &options, &mut OsEntropy::default())?;
/// assert_eq!(received.token.as_deref(), Some("phc_shop"));
/// assert_eq!(received.rejected[0].index, 1);
/// assert_eq!(ledger.append_batch(&received.operations)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request<'a> {
    path: &'a str,
    query: &'a str,
    received: Timestamp,
    encoding: Option<&'a str>,
    bearer: Option<&'a str>,
    /// The user of `Authorization: Basic`: the write key of Segment and RudderStack. It counts where nothing else names a token, for a
    /// proxy may have asked for it.
    basic: Option<String>,
    /// When this attempt was sent, by the sender's clock.
    stamped: Option<Timestamp>,
}

/// What a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// Events, of any version before capture v1. Senders look at the status of the answer.
    Events,
    /// Events of PostHog's capture v1. The answer names each event by its uuid.
    EventsV1,
}

impl Endpoint {
    /// Returns what a path takes; `None` if it takes no events, such as `/decide`. A prefix and a slash at the end do not matter.
    ///
    /// ```
    /// use identity_ledger::import::Endpoint;
    ///
    /// assert_eq!(Endpoint::of("/i/v0/e/"), Some(Endpoint::Events));
    /// assert_eq!(Endpoint::of("/relay/i/v1/analytics/events"), Some(Endpoint::EventsV1));
    /// assert_eq!(Endpoint::of("/decide/"), None);
    /// ```
    pub fn of(path: &str) -> Option<Endpoint> {
        const EVENTS: [&str; 6] = ["e", "batch", "capture", "track", "engage", "httpapi"];
        /// Calls of Segment and RudderStack, each at a path of its own below `/v1/`. `/import` is Mixpanel's and theirs.
        const CALLS: [&str; 7] = ["batch", "identify", "track", "page", "screen", "group", "alias"];
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.ends_with("/i/v1/analytics/events") {
            return Some(Endpoint::EventsV1);
        }
        let (before, last) = path.rsplit_once('/')?;
        let is_call = last == "import" || before.ends_with("/v1") && CALLS.contains(&last);
        (is_call || EVENTS.contains(&last)).then_some(Endpoint::Events)
    }
}

/// How the requests of a server are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    /// What its senders speak: [`Format::Sdk`] (the default), or another vendor's format. The formats that read the ledger's own
    /// operations, or any vendor's events, are taken as [`Format::Sdk`]: a token is known to everybody.
    pub format: Format,
    /// E7: whether event properties such as `$browser` are lifted into person properties.
    pub lift: bool,
    /// Whether an event's own properties are kept.
    pub keep_event_properties: bool,
    /// Whether a sender may ask for `$merge_dangerously`, which joins persons whatever they are (C4). Off by default: a token that stands
    /// in a web page is known to everybody.
    pub merge_dangerously: bool,
    /// G5: what becomes of a time from the future; the time of recording is when the request arrived.
    pub future_times: FutureTimes,
    /// Most bytes of a body, decompressed. [`MAX_REQUEST_BYTES`] by default.
    pub max_bytes: usize,
}

impl From<&Policy> for RequestOptions {
    /// As the policy says; without `$merge_dangerously`.
    fn from(policy: &Policy) -> RequestOptions {
        RequestOptions {
            format: Format::Sdk,
            lift: policy.lift,
            keep_event_properties: policy.keep_event_properties,
            merge_dangerously: false,
            future_times: FutureTimes::Clamp,
            max_bytes: MAX_REQUEST_BYTES,
        }
    }
}

/// What a request holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Whose it is: the token (PostHog's `api_key`) that it names. `None` if it names none.
    pub token: Option<String>,
    /// What its events ask, in their order. Each has an id.
    pub operations: Vec<Operation>,
    /// For each of the operations its event's position in the batch, from 0, ascending. A call of another vendor that names both of
    /// its ids asks for two.
    pub indexes: Vec<usize>,
    /// The events that are not recorded, in their order.
    pub rejected: Vec<RejectedEvent>,
}

/// An event of a request that asks for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedEvent {
    /// Its position in the batch, from 0.
    pub index: usize,
    /// Its uuid, if it has one that can be read.
    pub uuid: Option<OperationId>,
    /// What is wrong with it.
    pub rejection: Rejection,
}

/// Why nothing of a request is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path takes no events.
    #[error(
        "`{path}` takes no events; expected an endpoint of SDKs, such as `/e/`, `/batch/` or `/v1/batch`"
    )]
    NoEndpoint {
        /// The path, at most 64 characters of it.
        path: String,
    },
    /// The body is too large.
    #[error(
        "the body has more than {max} bytes once decompressed; expected at most that many: send it in parts"
    )]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// The batch is too long.
    #[error(
        "the batch has more than {MAX_BATCH_OPERATIONS} events; expected at most that many: send it in parts"
    )]
    TooMany,
    /// The body cannot be read.
    #[error(transparent)]
    Body(Rejection),
    /// The events name more than one token.
    #[error("the request names the tokens `{first}` and `{other}`; expected one token")]
    Tokens {
        /// The first that was found, at most 64 characters of it.
        first: String,
        /// Another one, at most 64 characters of it.
        other: String,
    },
}

impl RequestError {
    /// Returns the HTTP status that says this to a sender: 400, 404, 413 or 415. PostHog's SDKs do not send such a request again.
    pub fn status(&self) -> u16 {
        match self {
            RequestError::NoEndpoint { .. } => 404,
            RequestError::TooLarge { .. } | RequestError::TooMany => 413,
            RequestError::Body(Rejection::UnknownCompression { .. }) => 415,
            RequestError::Body(_) | RequestError::Tokens { .. } => 400,
        }
    }
}

impl<'a> Request<'a> {
    /// A request for `target`, a path and perhaps a query, that arrived at `received` by the server's clock.
    pub fn new(target: &'a str, received: Timestamp) -> Request<'a> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request { path, query, received, encoding: None, bearer: None, basic: None, stamped: None }
    }

    /// Adds a header. Those that matter are `Content-Encoding`, `Authorization` (a bearer token, or the user of `Basic`) and `PostHog-Request-Timestamp`, in any case; others may
    /// be given and are ignored.
    #[must_use]
    pub fn header(mut self, name: &str, value: &'a [u8]) -> Request<'a> {
        let is = |header| name.eq_ignore_ascii_case(header);
        let Ok(value) = std::str::from_utf8(value).map(str::trim) else { return self };
        if is("content-encoding") {
            self.encoding = Some(value);
        } else if is("authorization") {
            let (scheme, said) = value.split_once(' ').unwrap_or_default();
            self.bearer = scheme.eq_ignore_ascii_case("bearer").then(|| said.trim());
            self.basic =
                if scheme.eq_ignore_ascii_case("basic") { body::basic_user(said.trim()) } else { None };
        } else if is("posthog-request-timestamp") {
            self.stamped = value.parse().ok();
        }
        self
    }

    /// Returns what the path takes.
    pub fn endpoint(&self) -> Option<Endpoint> {
        Endpoint::of(self.path)
    }

    /// Reads the body: the token, and for each event an operation or a rejection. `entropy` makes the uuids of events that have none.
    ///
    /// A body is JSON, a form (`data=<base64>`) or base64, each plain or gzip; gzip is known by its first bytes, whatever the headers say.
    /// An empty body leaves the form to the query, as in `GET /e/?data=`.
    ///
    /// # Errors
    /// [`RequestError`] if nothing of it can be read. What is wrong with one event is in [`Received::rejected`].
    pub fn read(
        &self,
        body: &[u8],
        options: &RequestOptions,
        entropy: &mut dyn Entropy,
    ) -> Result<Received, RequestError> {
        if self.endpoint().is_none() {
            return Err(RequestError::NoEndpoint { path: excerpt(self.path) });
        }
        let RequestOptions {
            format,
            lift,
            keep_event_properties,
            merge_dangerously,
            future_times,
            max_bytes: max,
        } = *options;
        let format = match format {
            Format::Auto | Format::Ops | Format::Posthog | Format::Persons => Format::Sdk,
            format => format,
        };
        let unread = |rejection| match rejection {
            Rejection::TooLarge => RequestError::TooLarge { max },
            rejection => RequestError::Body(rejection),
        };
        let text = self.text(body, max).map_err(unread)?;
        let rewritten = if Json::read(&text).is_err() { json::with_numbers(&text) } else { None };
        let document =
            Json::read(rewritten.as_ref().unwrap_or(&text)).map_err(|error| unread(error.into()))?;
        let mut envelope = Envelope::of_request(format, self.received, self.path, self.query);
        let events = match open_body(document, &mut envelope).map_err(unread)? {
            Found::One(event) => vec![event],
            Found::Many(events) => {
                events.elements().into_iter().flatten().take(MAX_BATCH_OPERATIONS + 1).collect()
            }
            Found::Encoded(_) => return Err(unread(Rejection::NotAnEvent { found: "a string" })),
        };
        if events.len() > MAX_BATCH_OPERATIONS {
            return Err(RequestError::TooMany);
        }
        envelope.stamped = self.stamped;
        let token = self.token(document, &events)?;
        let options = Options { format, lift, keep_event_properties, future_times };
        let mut reader = Reader::new(options, None);
        let mut found = Received { token, operations: Vec::new(), indexes: Vec::new(), rejected: Vec::new() };
        for (index, event) in events.into_iter().enumerate() {
            match reader.operation(event, &envelope) {
                Ok(Operation { request: Asked::Merge { .. }, id, .. }) if !merge_dangerously => {
                    found.rejected.push(RejectedEvent { index, uuid: id, rejection: Rejection::Dangerous });
                }
                Ok(operation) => {
                    // A call of another vendor asks for two operations if it names both of its ids.
                    for mut operation in std::iter::once(operation).chain(reader.also()) {
                        if let Err(rejection) = future_times.judge(&mut operation, self.received) {
                            found.rejected.push(RejectedEvent { index, uuid: operation.id, rejection });
                            break;
                        }
                        operation.id.get_or_insert_with(|| OperationId(uuid_v7(self.received, entropy)));
                        found.operations.push(operation);
                        found.indexes.push(index);
                    }
                }
                Err(rejection) => {
                    found.rejected.push(RejectedEvent { index, uuid: uuid_of(event), rejection });
                }
            }
        }
        Ok(found)
    }

    /// The JSON text of the body.
    fn text(&self, body: &[u8], max: usize) -> Result<String, Rejection> {
        let compression = body::field(self.query, "compression").unwrap_or_default();
        for (found, known) in [
            (self.encoding.unwrap_or_default(), &["", "identity", "gzip", "x-gzip"][..]),
            (compression, &["", "base64", "gzip", "gzip-js"]),
        ] {
            if !known.iter().any(|known| found.eq_ignore_ascii_case(known)) {
                return Err(Rejection::UnknownCompression { found: excerpt(found) });
            }
        }
        let body =
            if body.starts_with(&GZIP) { Cow::Owned(body::gunzip(body, max)?) } else { Cow::Borrowed(body) };
        if body.len() > max {
            return Err(Rejection::TooLarge);
        }
        let text =
            std::str::from_utf8(&body).map_err(|error| Rejection::NotUtf8 { at: error.valid_up_to() })?;
        let text = text.trim_start_matches('\u{FEFF}').trim();
        body::decode(if text.is_empty() { self.query } else { text }, max)
    }

    /// Whose the request is: what the header says, the body around the events, or the query; else all events must say the same. Last comes
    /// the user of a basic authorization.
    fn token(&self, document: Json<'_>, events: &[Json<'_>]) -> Result<Option<String>, RequestError> {
        let in_query = || ["api_key", "token"].into_iter().find_map(|name| body::field(self.query, name));
        let around = self.bearer.map(Cow::Borrowed).or_else(|| token_of(document));
        if let Some(token) = around.or_else(|| in_query().map(Cow::Borrowed)) {
            return Ok(Some(token.into_owned()));
        }
        let mut tokens = events.iter().filter_map(|event| token_of(*event));
        let Some(first) = tokens.next() else { return Ok(self.basic.clone()) };
        match tokens.find(|token| *token != first) {
            Some(other) => Err(RequestError::Tokens { first: excerpt(&first), other: excerpt(&other) }),
            None => Ok(Some(first.into_owned())),
        }
    }
}

/// The token that an object names: beside its events or its other members, or in its properties.
fn token_of(object: Json<'_>) -> Option<Cow<'_, str>> {
    named_token(object, &["api_key", "token", "$token", "writeKey"]).or_else(|| {
        let (_, properties) = object.members()?.find(|(key, _)| key == "properties")?;
        named_token(properties, &["api_key", "token", "$token"])
    })
}

fn named_token<'a>(object: Json<'a>, names: &[&str]) -> Option<Cow<'a, str>> {
    let is_token = |key: &str| names.contains(&key);
    let texts =
        object.members()?.filter_map(|(key, json)| if is_token(&key) { json.as_text() } else { None });
    texts.into_iter().find(|token| !token.is_empty())
}

fn uuid_of(event: Json<'_>) -> Option<OperationId> {
    let (_, json) = event.members()?.find(|(key, _)| key == "uuid")?;
    uuid("uuid", json).ok()
}
