//! `/api/`: what the commands answer with `--json`, asked over HTTP. Each answer is the command's own object; a list is a page of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use identity_ledger::explain::Subject;
use identity_ledger::graph::Graph;
use identity_ledger::{Cursor, OutcomeAnswer, PageRequest, Reader, Seq};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::drawing;
use crate::explain::{Explained, Valued, check};
use crate::failure::Failure;
use crate::find::{find_value, key_and_value};
use crate::moment::Moment;
use crate::resolve::Resolved;
use crate::serve::app::App;
use crate::serve::refused::NoAnswer;
use crate::serve::tenants::Tenant;
use crate::serve::tokens::TenantName;
use crate::source::AnsweredFrom;
use crate::unknown::unknown;
use crate::why_not::Said;

/// Items of a page, unless the request says otherwise; and the most there are. A page is read while writers wait.
const PAGE_ITEMS: usize = 100;
const MAX_PAGE_ITEMS: usize = 1_000;

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

/// The tenants that can be asked about.
async fn tenants(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, NoAnswer> {
    if !app.admin.admits(&headers) {
        return Err(NoAnswer::NotAdmitted);
    }
    let names: std::collections::BTreeSet<String> =
        app.tokens.iter().map(|(_, destination)| destination.tenant.to_string()).collect();
    Ok(Json(json!({ "tenants": names, "corrections": app.allow_corrections })).into_response())
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
    let name = app.tokens.tenant(&tenant).cloned().ok_or(NoAnswer::NoTenant)?;
    // What reads the whole log is asked beside the writer, of its files, and not by many at the same time.
    let reads_log =
        matches!(&question[..], "notable" | "find") || asked.at.is_some() && question != "resolve";
    let permit = if reads_log { app.log_readers.acquire().await.ok() } else { None };
    let shared = Arc::clone(&app);
    let answered = tokio::task::spawn_blocking(move || {
        let tenant = open(&shared, &name)?;
        if reads_log {
            return ask_log(&shared, &name, &question, asked);
        }
        if matches!(&question[..], "history" | "why-not" | "graph" | "moments") {
            tenant.ledger.index_records()?;
        }
        tenant.ledger.read(|reader| {
            let from = AnsweredFrom::open_ledger(tenant.from_snapshot, reader.checkpoint());
            ask(reader, from, &question, asked)
        })
    });
    let answered = answered.await.map_err(|error| NoAnswer::Failed(Failure::Serve(error.into())))?;
    drop(permit);
    answered
}

/// The tenant, if it has a ledger. Blocks.
pub(crate) fn open(app: &App, name: &TenantName) -> Result<Arc<Tenant>, NoAnswer> {
    app.tenants.existing(name)?.ok_or(NoAnswer::NoTenant)
}

/// Answers from the files of a ledger: as they are, or as they were right after a record. Pages are of the moment of the first.
fn ask_log(app: &App, name: &TenantName, question: &str, asked: Asked) -> Result<Response, NoAnswer> {
    let ledger = app.tenants.ledger_options(name)?.open_read_only(app.tenants.place(name))?;
    let reader = ledger.reader();
    let at = match &asked.at {
        Some(at) => Some(moment(reader, at)?),
        None if matches!(question, "find" | "notable") => asked.cursor()?.map(|cursor| cursor.as_of),
        None => None,
    };
    let last = Seq(reader.checkpoint().records - 1); // there is always the genesis record
    if at.is_some_and(|at| at > last) {
        return Err(NoAnswer::Bad(format!("`from` is of a later record than the last one, {last}")));
    }
    let then = at.filter(|at| *at < last).map(|at| reader.as_of(at, &mut |_| {})).transpose()?;
    let reader = then.as_ref().unwrap_or(reader);
    let from = AnsweredFrom::reader(&ledger).at(at);
    let begin = asked.cursor()?.unwrap_or(Cursor::beginning(at.unwrap_or(last)));
    match question {
        "find" => find(reader, &from, begin, asked),
        "notable" => notable(reader, &from, begin, asked.items()?),
        _ => ask(reader, from, question, asked),
    }
}

fn moment(reader: &Reader, at: &str) -> Result<Seq, NoAnswer> {
    let bad = |error: &dyn std::fmt::Display| NoAnswer::Bad(format!("`at`: {error}"));
    let moment = at.parse::<Moment>().map_err(|error| bad(&error))?;
    moment.seq(reader).map_err(|failure| bad(&failure))
}

impl Asked {
    /// Where a page begins.
    fn cursor(&self) -> Result<Option<Cursor>, NoAnswer> {
        let cursor = self.from.as_deref().map(str::parse).transpose();
        cursor.map_err(|error: identity_ledger::answer::CursorError| NoAnswer::Bad(error.to_string()))
    }

    /// How many items a page has.
    fn items(&self) -> Result<usize, NoAnswer> {
        let items = self.limit.unwrap_or(PAGE_ITEMS);
        if !(1..=MAX_PAGE_ITEMS).contains(&items) {
            return Err(NoAnswer::Bad(format!("`limit` is {items}; expected 1 to {MAX_PAGE_ITEMS}")));
        }
        Ok(items)
    }
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

fn needed<'a>(name: &str, value: &'a Option<String>) -> Result<&'a str, NoAnswer> {
    value.as_deref().ok_or_else(|| NoAnswer::Bad(format!("`{name}` is missing; expected `?{name}=`")))
}

fn ask(reader: &Reader, from: AnsweredFrom, question: &str, asked: Asked) -> Result<Response, NoAnswer> {
    let page = || Ok::<_, NoAnswer>(PageRequest { from: asked.cursor()?, items: asked.items()? });
    let said = |answer: Value| Ok(answered(answer, &from));
    let Asked { id, other, key, at, person, .. } = &asked;
    let (id, other, key) = (|| needed("id", id), || needed("other", other), || needed("key", key));
    match question {
        "resolve" => {
            let at = at.as_deref().map(|at| moment(reader, at)).transpose()?;
            Ok(answered(value(&Resolved::of(reader, id()?, at)?), &from.at(at)))
        }
        // Beyond `resolve`: the record that won each property.
        "properties" => {
            let profile = reader.profile(id()?)?;
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
            let subject = if *person { Subject::Person(id()?) } else { Subject::Id(id()?) };
            match reader.history(subject, page()?)? {
                Some(page) => said(value(&page)),
                None => said(json!({ "items": [], "next": null })),
            }
        }
        "explain" => {
            let ids = [id()?, other()?];
            let explanation = reader.explain(ids[0], ids[1])?;
            if let Some(explanation) = &explanation {
                check(reader, explanation)?;
            }
            let unknown_ids = unknown(reader, ids);
            said(value(&Explained::of(explanation.as_ref(), &ids, &unknown_ids)))
        }
        "why-not" => {
            let ids = [id()?, other()?];
            let found = reader.why_not(ids[0], ids[1])?;
            said(value(&Said::of(found.as_ref(), &unknown(reader, ids))))
        }
        "property" => {
            let (id, key) = (id()?, key()?);
            let why = reader.why_property(id, key)?;
            said(value(&Valued::of(reader, id, key, why.as_ref(), &unknown(reader, [id]))))
        }
        "graph" => {
            let svg = HeaderValue::from_static("image/svg+xml");
            Ok(([(header::CONTENT_TYPE, svg)], drawing::document(&graph(reader, id()?)?)).into_response())
        }
        // The records after which the picture changed since the id was first written: where a slider through time stops.
        "moments" => {
            let Graph { asked, nodes, moments, last, hidden_nodes, .. } = graph(reader, id()?)?;
            let moments: Vec<Seq> = moments.into_iter().filter(|seq| *seq >= nodes[asked].since).collect();
            said(json!({ "moments": moments, "last": last, "hidden_nodes": hidden_nodes }))
        }
        _ => Err(NoAnswer::NoQuestion),
    }
}

fn graph(reader: &Reader, id: &str) -> Result<Graph, NoAnswer> {
    Graph::of(reader, id)?.ok_or_else(|| NoAnswer::Bad("the id was never written".to_owned()))
}

/// An answer, and what it was answered from.
fn answered(mut answer: Value, from: &AnsweredFrom) -> Response {
    answer["answered_from"] = value(from);
    Json(answer).into_response()
}

/// The persons whose property has a value, in the order in which they were founded.
fn find(reader: &Reader, from: &AnsweredFrom, begin: Cursor, asked: Asked) -> Result<Response, NoAnswer> {
    let (key, wanted) = key_and_value(needed("property", &asked.property)?).map_err(NoAnswer::Bad)?;
    let found = find_value(reader, &key, &wanted)?;
    let before = usize::try_from(begin.after()).unwrap_or(usize::MAX).min(found.len());
    let end = found.len().min(before + asked.items()?);
    let next = (end < found.len()).then(|| Cursor::behind(begin.as_of, end as u64));
    let items: Vec<Value> = found[before..end].iter().map(value).collect();
    Ok(answered(json!({ "items": items, "next": next, "found": found.len() }), from))
}

/// The operations that were refused or have a notice, the newest first. A page continues before the record where the one before ended.
fn notable(reader: &Reader, from: &AnsweredFrom, begin: Cursor, items: usize) -> Result<Response, NoAnswer> {
    let mut newest: std::collections::VecDeque<OutcomeAnswer> = std::collections::VecDeque::new();
    let (mut count, mut is_more) = (0_u64, false);
    reader.outcomes(|outcome| {
        if outcome.refusal.is_some() || !outcome.notices.is_empty() {
            count += 1;
            if begin.after() == 0 || outcome.seq.0 < begin.after() {
                is_more |= newest.len() == items;
                newest.truncate(items - 1);
                newest.push_front(outcome);
            }
        }
    })?;
    let oldest = newest.back().filter(|_| is_more);
    let next = oldest.map(|oldest| Cursor::behind(begin.as_of, oldest.seq.0));
    let items: Vec<Value> = newest.iter().map(value).collect();
    Ok(answered(json!({ "items": items, "next": next, "found": count }), from))
}

pub(crate) fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have texts as keys")
}
