//! Events: from a request to a durable record, and what the sender is told.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use identity_ledger::import::{Endpoint, Format, Received, RejectedEvent, Request, RequestOptions};
use identity_ledger::storage::OsEntropy;
use identity_ledger::{Appended, OperationId, visible};
use serde_json::{Map, Value, json};

use crate::clock::{Clock, now};
use crate::failure::Failure;
use crate::screen::remark;
use crate::serve::app::App;
use crate::serve::recorder::{Answers, Recording, Unrecorded};
use crate::serve::refused::{Refused, refused};
use crate::serve::tokens::{Destination, TenantName};

/// What was written and is not durable yet.
struct Written {
    tenant: TenantName,
    shape: Shape,
    recording: Recording,
    events: Events,
}

/// What the answer looks like, by what its sender reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    /// PostHog's capture v1: each event by its uuid.
    EachUuid,
    /// Mixpanel's senders read `1` and nothing else, unless they ask for more words.
    One,
    /// Mixpanel's `/import`.
    Code,
    /// Amplitude's HTTP API.
    Ingested,
}

impl Shape {
    fn of(request: &Request<'_>, format: Format, uri: &Uri) -> Shape {
        let is_verbose = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "verbose=1"));
        match format {
            Format::Mixpanel | Format::MixpanelOriginal if uri.path().contains("import") => Shape::Code,
            Format::Mixpanel | Format::MixpanelOriginal if !is_verbose => Shape::One,
            Format::Amplitude => Shape::Ingested,
            _ if request.endpoint() == Some(Endpoint::EventsV1) => Shape::EachUuid,
            _ => Shape::Json,
        }
    }
}

/// The events of a request, by their places in its batch.
struct Events {
    /// Those that ask for something.
    asked: Vec<(usize, Option<OperationId>)>,
    rejected: Vec<RejectedEvent>,
}

/// Takes a request for any path that nothing else is for.
pub(crate) async fn receive(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let clock = Clock::new();
    let response = match record(&app, request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    };
    app.metrics.count_request(response.status(), clock.elapsed());
    response
}

async fn record(app: &Arc<App>, request: HttpRequest) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let Ok(_slot) = app.slots.try_acquire() else {
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way; try again"));
    };
    let body = read_body(body, app.max_bytes).await?;
    let shared = Arc::clone(app);
    let (uri, headers) = (parts.uri, parts.headers);
    let written = tokio::task::spawn_blocking(move || write(&shared, &uri, &headers, &body)).await;
    let Written { tenant, shape, recording, events } = written.map_err(|error| {
        remark("error", &format!("a request was not recorded: {error}"));
        refused(StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot record now; try again")
    })??;
    let clock = Clock::new();
    // Nothing is said to the sender before it is durable.
    let answers = recording.await.map_err(|error| unrecorded(&tenant, error))?;
    app.metrics.count_wait(clock.elapsed());
    Ok(answer(app, &tenant, shape, events, answers))
}

pub(crate) async fn read_body(body: Body, max: usize) -> Result<Vec<u8>, Refused> {
    match to_bytes(body, max).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => {
            let is_long =
                std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("limit"));
            Err(match is_long {
                true => refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {max} bytes")),
                false => refused(StatusCode::BAD_REQUEST, "the body ended too early"),
            })
        }
    }
}

/// What is not known to be recorded is sent again.
fn unrecorded(tenant: &TenantName, Unrecorded { told, remark: noted }: Unrecorded) -> Refused {
    if let Some(noted) = noted {
        remark("error", &format!("tenant {tenant}: {noted}"));
    }
    refused(StatusCode::SERVICE_UNAVAILABLE, told)
}

/// Reads, judges and writes a request. Blocks: for the ledger's lock, and now and then for a disk.
fn write(app: &App, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Written, Refused> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = headers.iter().fold(Request::new(target, now()), |request, (name, value)| {
        request.header(name.as_str(), value.as_bytes())
    });
    let found = |token: Option<&str>| {
        let token = token
            .ok_or_else(|| refused(StatusCode::UNAUTHORIZED, "the request names no token (`api_key`)"))?;
        match app.tokens.destination(token) {
            Some(destination) => Ok(destination.clone()),
            None => {
                let shown: String = token.chars().take(64).collect();
                Err(refused(
                    StatusCode::UNAUTHORIZED,
                    format!("`{}` is not a token of this server", visible(&shown)),
                ))
            }
        }
    };
    // The token is in the body, and how to read the rest is the tenant's policy. So it is read as for a new ledger first.
    let mut options = app.tenants.new_options();
    let read = |options: &RequestOptions| {
        request.read(body, options, &mut OsEntropy::default()).map_err(|error| {
            refused(StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST), error)
        })
    };
    let mut received = read(&options)?;
    let Destination { tenant: name, format } = found(received.token.as_deref())?;
    if format != options.format {
        options.format = format;
        received = read(&options)?;
    }
    let count = received.operations.len() + received.rejected.len();
    if !app.tokens.admit(received.token.as_deref().unwrap_or_default(), count) {
        return Err(refused(
            StatusCode::TOO_MANY_REQUESTS,
            "this token sends too many events; try again later",
        ));
    }
    if let ([], [first, ..]) = (&received.operations[..], &received.rejected[..]) {
        app.metrics.count_events(&name, "rejected", received.rejected.len());
        return Err(refused(StatusCode::BAD_REQUEST, format!("event {}: {}", first.index, first.rejection)));
    }
    let unavailable = |error: Failure| {
        remark("error", &format!("tenant {name}: {error}"));
        refused(StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot be opened now; try again")
    };
    let tenant = app.tenants.tenant(&name).map_err(unavailable)?;
    let by_policy = RequestOptions { format, ..app.tenants.options(&tenant) };
    if by_policy != options {
        received = read(&by_policy)?;
    }
    let Received { operations, indexes, rejected, .. } = received;
    let asked = indexes.into_iter().zip(operations.iter().map(|operation| operation.id)).collect();
    let recording = tenant.recorder.submit(operations).map_err(|error| unrecorded(&name, error))?;
    let shape = Shape::of(&request, format, uri);
    Ok(Written { tenant: name, shape, recording, events: Events { asked, rejected } })
}

/// What the sender is told of events that are durable.
fn answer(app: &App, tenant: &TenantName, shape: Shape, events: Events, answers: Answers) -> Response {
    app.metrics.count_events(tenant, "rejected", events.rejected.len());
    let mut rejected: Vec<(usize, Option<OperationId>, String)> = events
        .rejected
        .into_iter()
        .map(|RejectedEvent { index, uuid, rejection }| (index, uuid, rejection.to_string()))
        .collect();
    // A call of another vendor asks for two operations where it names two ids.
    let count = events.asked.chunk_by(|one, next| one.0 == next.0).count() + rejected.len();
    let mut results = Map::new();
    for (answer, (index, uuid)) in answers.into_iter().zip(events.asked) {
        let outcome = match &answer {
            Ok(Appended::Recorded { outcome, .. }) if outcome.refusal.is_some() => "refused",
            Ok(Appended::Recorded { .. }) => "recorded",
            Ok(Appended::Duplicate { .. } | Appended::Ignored) => "duplicate",
            Ok(Appended::Conflict { .. }) => "conflict",
            Err(_) => "rejected",
        };
        app.metrics.count_events(tenant, outcome, 1);
        match answer {
            Ok(Appended::Conflict { seq }) => {
                rejected.push((
                    index,
                    uuid,
                    format!("record {seq} has the same uuid and says something else"),
                ));
            }
            Err(error) => rejected.push((index, uuid, error)),
            Ok(_) => {
                results.extend(uuid.map(|uuid| (uuid.to_string(), json!({ "result": "ok" }))));
            }
        }
    }
    rejected.sort_by_key(|(index, ..)| *index);
    if shape == Shape::EachUuid {
        let drop = |(_, uuid, error): (usize, Option<OperationId>, String)| {
            uuid.map(|uuid| (uuid.to_string(), json!({ "result": "drop", "details": error })))
        };
        results.extend(rejected.into_iter().filter_map(drop));
        return Json(json!({ "results": results })).into_response();
    }
    let list: Vec<Value> = rejected
        .into_iter()
        .map(|(index, uuid, error)| {
            json!({ "index": index, "uuid": uuid.map(|uuid| uuid.to_string()), "error": error })
        })
        .collect();
    match list.is_empty() {
        _ if shape == Shape::One => "1".into_response(),
        _ if shape == Shape::Code => {
            Json(json!({ "code": 200, "status": "OK", "num_records_imported": count.saturating_sub(list.len()), "rejected": list }))
                .into_response()
        }
        _ if shape == Shape::Ingested => {
            Json(json!({ "code": 200, "events_ingested": count.saturating_sub(list.len()), "rejected": list }))
                .into_response()
        }
        true => Json(json!({ "status": 1 })).into_response(),
        false => Json(json!({ "status": 1, "rejected": list })).into_response(),
    }
}
