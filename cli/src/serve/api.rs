//! `/api/`: what the commands answer with `--json`, asked over HTTP. Each answer is the command's own object; a list is a page of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use identity_ledger::explain::Subject;
use identity_ledger::graph::Graph;
use identity_ledger::{OutcomeAnswer, PageRequest, ReadOnlyLedger, Reader, Seq};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::drawing;
use crate::explain::{Explained, Valued, check};
use crate::failure::Failure;
use crate::find::{find_value, key_and_value};
use crate::moment::Moment;
use crate::resolve::Resolved;
use crate::screen::remark;
use crate::serve::app::App;
use crate::serve::tenants::Tenant;
use crate::source::AnsweredFrom;
use crate::unknown::unknown;
use crate::why_not::Said;

/// Items of a page, unless the request says otherwise; and the most there are. A page is read while writers wait.
const PAGE_ITEMS: usize = 100;
const MAX_PAGE_ITEMS: usize = 1_000;

/// Operations that are worth a look, at most: the newest.
const NOTABLE: usize = 200;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/tenants", get(tenants)).route("/api/{tenant}/{question}", get(answer)).layer(
        map_response(async |mut response: Response| {
            // Answers hold what senders wrote, and persons that may be erased.
            let headers = response.headers_mut();
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }),
    )
}

/// What can be asked, in the words of the commands' arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: Option<String>,
    /// Another id.
    other: Option<String>,
    key: Option<String>,
    /// `KEY=VALUE`.
    property: Option<String>,
    /// A record, a time or a date.
    at: Option<String>,
    /// Records of the whole person.
    #[serde(default)]
    person: bool,
    limit: Option<usize>,
    from: Option<String>,
}

/// Why a question is not answered.
enum NoAnswer {
    NotAdmitted,
    NoTenant,
    NoQuestion,
    Bad(String),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for NoAnswer {
    fn from(error: E) -> NoAnswer {
        NoAnswer::Failed(error.into())
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            NoAnswer::NotAdmitted => {
                (StatusCode::UNAUTHORIZED, "the admin token is missing or wrong".to_owned())
            }
            NoAnswer::NoTenant => (
                StatusCode::NOT_FOUND,
                "this is not a tenant of this server, or it does not have a ledger yet".to_owned(),
            ),
            NoAnswer::NoQuestion => {
                (StatusCode::NOT_FOUND, "this is not a question; see docs/embedding.md".to_owned())
            }
            NoAnswer::Bad(error) => (StatusCode::BAD_REQUEST, error),
            NoAnswer::Failed(failure) => {
                remark("error", &failure.to_string());
                (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
            }
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}

/// The tenants that can be asked about.
async fn tenants(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, NoAnswer> {
    if !app.admin.admits(&headers) {
        return Err(NoAnswer::NotAdmitted);
    }
    let names: std::collections::BTreeSet<String> =
        app.tokens.iter().map(|(_, tenant)| tenant.to_string()).collect();
    Ok(Json(json!({ "tenants": names })).into_response())
}

async fn answer(
    State(app): State<Arc<App>>,
    Path((tenant, question)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    if !app.admin.admits(&headers) {
        return Err(NoAnswer::NotAdmitted);
    }
    if !is_text(query.as_deref().unwrap_or_default()) {
        return Err(NoAnswer::Bad("the query is not UTF-8 once `%` is decoded; ids are exact".to_owned()));
    }
    let Query(asked) = asked.map_err(|error| NoAnswer::Bad(error.body_text()))?;
    let Some(name) = app.tokens.iter().map(|(_, name)| name).find(|name| name.to_string() == tenant).cloned()
    else {
        return Err(NoAnswer::NoTenant);
    };
    let answered = tokio::task::spawn_blocking(move || {
        let tenant = app.tenants.existing(&name)?.ok_or(NoAnswer::NoTenant)?;
        // What reads every record or every value is asked beside the writer, of its files.
        if matches!(&question[..], "notable" | "find") {
            let ledger = ReadOnlyLedger::open(app.tenants.place(&name))?;
            return if question == "find" { find(&ledger, asked) } else { notable(&ledger) };
        }
        tenant.ledger.read(|reader| ask(reader, &tenant, &question, asked))
    });
    answered.await.map_err(|error| NoAnswer::Failed(Failure::Serve(error.into())))?
}

/// Whether a query is UTF-8 once it is decoded. What is not would be read as another text (A5).
fn is_text(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = after.first_chunk::<2>().filter(|_| *byte == b'%');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn needed(name: &str, value: Option<String>) -> Result<String, NoAnswer> {
    value.ok_or_else(|| NoAnswer::Bad(format!("`{name}` is missing; expected `?{name}=`")))
}

fn ask(reader: &Reader, tenant: &Tenant, question: &str, asked: Asked) -> Result<Response, NoAnswer> {
    let Asked { id, other, key, at, person, limit, from, .. } = asked;
    let page = || {
        let from = from
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error: identity_ledger::answer::CursorError| NoAnswer::Bad(error.to_string()))?;
        let items = limit.unwrap_or(PAGE_ITEMS);
        if !(1..=MAX_PAGE_ITEMS).contains(&items) {
            return Err(NoAnswer::Bad(format!("`limit` is {items}; expected 1 to {MAX_PAGE_ITEMS}")));
        }
        Ok::<_, NoAnswer>(PageRequest { from, items })
    };
    let said_at = |answer: Value, at: Option<Seq>| {
        let from = AnsweredFrom::open_ledger(tenant.from_snapshot, reader.checkpoint()).at(at);
        let mut answer = answer;
        answer["answered_from"] = value(&from);
        Ok(Json(answer).into_response())
    };
    let said = |answer: Value| said_at(answer, None);
    match question {
        "resolve" => {
            let id = needed("id", id)?;
            let bad = |error: &dyn std::fmt::Display| NoAnswer::Bad(format!("`at`: {error}"));
            let at = at.map(|at| at.parse::<Moment>()).transpose().map_err(|error| bad(&error))?;
            let at = at.map(|at| at.seq(reader)).transpose().map_err(|failure| bad(&failure))?;
            said_at(value(&Resolved::of(reader, &id, at)?), at)
        }
        // Beyond `resolve`: the record that won each property.
        "properties" => {
            let profile = reader.profile(&needed("id", id)?)?;
            let properties: BTreeMap<String, Value> = profile
                .map(|profile| profile.properties)
                .unwrap_or_default()
                .into_iter()
                .map(|(key, property)| {
                    (key, json!({ "value": property.value, "seq": property.seq, "erased_by": property.erased_by }))
                })
                .collect();
            said(json!({ "properties": properties }))
        }
        "persons" => said(value(&reader.persons_page(page()?)?)),
        "history" => {
            let id = needed("id", id)?;
            let subject = if person { Subject::Person(&id) } else { Subject::Id(&id) };
            match reader.history(subject, page()?)? {
                Some(page) => said(value(&page)),
                None => said(json!({ "items": [], "next": null })),
            }
        }
        "explain" => {
            let ids = [needed("id", id)?, needed("other", other)?];
            let explanation = reader.explain(&ids[0], &ids[1])?;
            if let Some(explanation) = &explanation {
                check(reader, explanation)?;
            }
            let ids = [&ids[0][..], &ids[1]];
            let unknown_ids = unknown(reader, ids);
            said(value(&Explained::of(explanation.as_ref(), &ids, &unknown_ids)))
        }
        "why-not" => {
            let (id, other) = (needed("id", id)?, needed("other", other)?);
            let found = reader.why_not(&id, &other)?;
            said(value(&Said::of(found.as_ref(), &unknown(reader, [&id[..], &other]))))
        }
        "property" => {
            let (id, key) = (needed("id", id)?, needed("key", key)?);
            let why = reader.why_property(&id, &key)?;
            said(value(&Valued::of(reader, &id, &key, why.as_ref(), &unknown(reader, [&id[..]]))))
        }
        "graph" => match Graph::of(reader, &needed("id", id)?)? {
            Some(graph) => {
                let svg = HeaderValue::from_static("image/svg+xml");
                Ok(([(header::CONTENT_TYPE, svg)], drawing::document(&graph)).into_response())
            }
            None => Err(NoAnswer::Bad("the id was never written".to_owned())),
        },
        _ => Err(NoAnswer::NoQuestion),
    }
}

/// The persons whose property has a value, the oldest of them.
fn find(ledger: &ReadOnlyLedger, asked: Asked) -> Result<Response, NoAnswer> {
    let property = needed("property", asked.property)?;
    let (key, wanted) = key_and_value(&property).map_err(NoAnswer::Bad)?;
    let found = find_value(ledger.reader(), &key, &wanted)?;
    let items: Vec<Value> = found.iter().take(MAX_PAGE_ITEMS).map(value).collect();
    Ok(Json(json!({ "items": items, "found": found.len() })).into_response())
}

/// The newest operations that were refused or have a notice, the newest first.
fn notable(ledger: &ReadOnlyLedger) -> Result<Response, NoAnswer> {
    let mut newest: std::collections::VecDeque<OutcomeAnswer> = std::collections::VecDeque::new();
    let mut count = 0_u64;
    ledger.reader().outcomes(|outcome| {
        if outcome.refusal.is_some() || !outcome.notices.is_empty() {
            count += 1;
            newest.truncate(NOTABLE - 1);
            newest.push_front(outcome);
        }
    })?;
    let items: Vec<Value> = newest.iter().map(value).collect();
    Ok(Json(json!({ "items": items, "found": count })).into_response())
}

fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have texts as keys")
}
