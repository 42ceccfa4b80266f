//! Corrections: what a retract, split or erasure would change, and doing it. A page of another origin can do neither: a token in a
//! header admits, and no cookie does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use identity_ledger::diff::PreviewError;
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::{DistinctId, Operation, PropertyKey, Reader, Seq, SplitMode, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::now;
use crate::correction::Said;
use crate::failure::Failure;
use crate::screen::remark;
use crate::serve::api::{open, value};
use crate::serve::app::App;
use crate::serve::ingest::read_body;
use crate::serve::recorder::Change;
use crate::serve::refused::NoAnswer;
use crate::serve::tenants::Tenant;
use crate::serve::tokens::TenantName;

/// Most bytes of a correction: a split of as many ids as it may name, each of them short.
const MAX_BYTES: usize = 1 << 20;

/// How long the files of an erasure are waited for. It is in force before that, and continues after.
const FILES_WAIT: Duration = Duration::from_secs(20);

pub(crate) fn router() -> Router<Arc<App>> {
    let with_post = || async {
        NoAnswer::Refused(StatusCode::METHOD_NOT_ALLOWED, "send it with POST, as JSON".to_owned())
    };
    Router::new()
        .route("/api/{tenant}/preview", post(preview).fallback(with_post))
        .route("/api/{tenant}/correct", post(correct).fallback(with_post))
}

/// What is to be corrected.
#[derive(Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Correction {
    /// The record counts as never asked.
    Retract { seq: u64 },
    /// The ids leave the person of `id`: each for itself, or together.
    Split {
        id: String,
        ids: Vec<String>,
        #[serde(default)]
        together: bool,
    },
    /// The person of `id` is forgotten, or only the values of some keys.
    Erase {
        id: String,
        #[serde(default)]
        keys: Vec<String>,
        #[serde(default)]
        reason: String,
    },
}

/// A correction, and the mark of what was shown of it.
#[derive(Deserialize)]
struct Confirmed {
    confirm: String,
    #[serde(flatten)]
    correction: Correction,
}

/// `POST /api/TENANT/preview`: what it would change.
async fn preview(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    request: Request,
) -> Result<Response, NoAnswer> {
    let (name, correction): (_, Correction) = admitted(&app, &tenant, request).await?;
    blocking(move || {
        let tenant = open(&app, &name)?;
        tenant.ledger.index_records()?;
        tenant.ledger.read(|reader| Ok(Json(shown(reader, &correction)?).into_response()))
    })
    .await
}

/// `POST /api/TENANT/correct`: does what was shown, if it is still what would change.
async fn correct(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    request: Request,
) -> Result<Response, NoAnswer> {
    let (name, confirmed): (_, Confirmed) = admitted(&app, &tenant, request).await?;
    if !app.allow_corrections || app.admin.token().is_none() {
        let error =
            "this server takes no corrections; start it with --allow-corrections, or use the commands";
        return Err(NoAnswer::Refused(StatusCode::FORBIDDEN, error.to_owned()));
    }
    let Confirmed { confirm, correction } = confirmed;
    let (shared, named) = (Arc::clone(&app), name.clone());
    let (tenant, answer) = blocking(move || {
        let tenant = open(&shared, &named)?;
        let answer = record(&tenant, &correction, &confirm)?;
        Ok((tenant, answer))
    })
    .await?;
    remark(
        "note",
        &format!("tenant {name}: a correction was asked for over HTTP and is record {}", answer["seq"]),
    );
    if answer["do"] == "erase" {
        finish(&name, tenant, answer).await
    } else {
        Ok(Json(answer).into_response())
    }
}

/// Checks who sends it, from where and as what, and reads it.
async fn admitted<T: serde::de::DeserializeOwned>(
    app: &App,
    tenant: &str,
    request: Request,
) -> Result<(TenantName, T), NoAnswer> {
    let (parts, body) = request.into_parts();
    if !app.admin.admits(&parts.headers) {
        return Err(NoAnswer::NotAdmitted);
    }
    check_origin(&parts.headers)?;
    let name = app.tokens.tenant(tenant).cloned().ok_or(NoAnswer::NoTenant)?;
    let body = read_body(body, MAX_BYTES)
        .await
        .map_err(|refused| NoAnswer::Refused(refused.status, refused.error))?;
    let correction = serde_json::from_slice(&body).map_err(|error| {
        NoAnswer::Bad(format!("the correction cannot be read: {error}; see docs/embedding.md"))
    })?;
    Ok((name, correction))
}

/// A page of another origin can send no JSON without being asked first, and says where it is from. Nothing here depends on that alone:
/// it does not know the token.
fn check_origin(headers: &HeaderMap) -> Result<(), NoAnswer> {
    let said = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_json = said(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        let error = "the content type is not `application/json`; send the correction as JSON";
        return Err(NoAnswer::Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_owned()));
    }
    let host = said(header::HOST).unwrap_or_default();
    let is_elsewhere =
        |origin: &str| !origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host));
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if said(header::ORIGIN).is_some_and(is_elsewhere)
        || site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
    {
        let error = "the request comes from a page of another origin; use the page of this server. A proxy must pass `Host` unchanged";
        return Err(NoAnswer::Refused(StatusCode::FORBIDDEN, error.to_owned()));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NoAnswer> + Send + 'static,
) -> Result<T, NoAnswer> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| NoAnswer::Failed(Failure::Serve(error.into())))?
}

fn id(text: &str) -> Result<DistinctId, NoAnswer> {
    DistinctId::new(text).map_err(|error| NoAnswer::Bad(error.to_string()))
}

impl Correction {
    /// The operation, unless it is an erasure.
    fn operation(&self) -> Result<Option<Operation>, NoAnswer> {
        match self {
            Correction::Retract { seq } => Ok(Some(Operation::retract(now(), Target::Record(Seq(*seq))))),
            Correction::Split { id: whose, ids, together } => {
                let mode = if *together { SplitMode::Together } else { SplitMode::Each };
                let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
                Ok(Some(Operation::split(now(), id(whose)?, ids, mode)))
            }
            Correction::Erase { .. } => Ok(None),
        }
    }
}

fn preview_failed(error: PreviewError) -> NoAnswer {
    match error {
        PreviewError::Fault(fault) => fault.into(),
        error => NoAnswer::Bad(format!("{error}; nothing was recorded")),
    }
}

/// What a correction would change, and the mark of that.
fn shown(reader: &Reader, correction: &Correction) -> Result<Value, NoAnswer> {
    let mut shown = match correction.operation()? {
        Some(operation) => {
            let preview = reader.preview(&operation).map_err(preview_failed)?;
            value(&Said::of(reader, &operation, &preview, false))
        }
        None => forgotten(reader, correction)?,
    };
    shown["do"] = value(correction)["do"].take();
    shown["confirm"] = mark(correction, &shown).into();
    Ok(shown)
}

/// A digest of a correction and of what it would change: not of its record's number, which is another one after each event.
fn mark(correction: &Correction, shown: &Value) -> String {
    let text =
        json!([correction, shown["diff"], shown["rule"], shown["ids"], shown["properties"]]).to_string();
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// What an erasure would take.
fn forgotten(reader: &Reader, correction: &Correction) -> Result<Value, NoAnswer> {
    let Correction::Erase { id: whose, keys, .. } = correction else { return Ok(Value::Null) };
    let profile = reader.profile(whose)?.ok_or_else(|| {
        NoAnswer::Bad("the id has no person, so there is nothing to erase; is it spelled right?".to_owned())
    })?;
    let is_scoped = !keys.is_empty();
    let taken = |key: &str| !is_scoped || keys.iter().any(|asked| asked == key);
    let properties: serde_json::Map<String, Value> = profile
        .properties
        .iter()
        .filter(|(key, property)| taken(key) && property.erased_by.is_none())
        .map(|(key, property)| (key.to_string(), json!(property.value)))
        .collect();
    let ids = if is_scoped { json!([]) } else { json!(profile.distinct_ids) };
    Ok(json!({
        "person_id": profile.person_id, "ids": ids, "properties": properties, "keys": keys,
        "events": profile.events, "recorded": false,
    }))
}

/// Records what was shown.
fn record(tenant: &Tenant, correction: &Correction, confirm: &str) -> Result<Value, NoAnswer> {
    let mut done = Value::Null;
    let corrected = tenant.recorder.correct(confirm, &mut |reader| {
        let shown = shown(reader, correction)?;
        if shown["confirm"] != confirm {
            let error = "what it would change is not what was shown, so nothing was recorded; look at the preview again";
            return Err(NoAnswer::Refused(StatusCode::CONFLICT, error.to_owned()));
        }
        if let (Some(rule), Some(reason)) = (shown["rule"].as_str(), shown["reason"].as_str()) {
            let error = format!("refused by {rule}: {reason}; nothing was recorded");
            return Err(NoAnswer::Refused(StatusCode::CONFLICT, error));
        }
        done = shown;
        match correction.operation()? {
            Some(operation) => Ok(Change::Operation(Box::new(operation))),
            None => erasure(correction).map(Change::Erasure),
        }
    })?;
    done["recorded"] = true.into();
    done["seq"] = value(&corrected.seq);
    for (key, fact) in corrected.facts {
        done[key] = fact;
    }
    Ok(done)
}

fn erasure(correction: &Correction) -> Result<ErasureRequest, NoAnswer> {
    let Correction::Erase { id: whose, keys, reason } = correction else {
        return Err(NoAnswer::NoQuestion); // asked for erasures alone
    };
    if reason.trim().is_empty() {
        return Err(NoAnswer::Bad(
            "`reason` is missing; say why, such as `request 17`. Nothing was erased".to_owned(),
        ));
    }
    let keys = keys
        .iter()
        .map(|key| PropertyKey::new(key.as_str()).map_err(|error| NoAnswer::Bad(error.to_string())));
    let subject = ErasureSubject::PersonOf(id(whose)?);
    Ok(ErasureRequest::new(now(), subject, reason).with_keys(keys.collect::<Result<Vec<_>, _>>()?))
}

/// Takes what is erased out of the files. What the answer says of them is what is known after a while.
async fn finish(name: &TenantName, tenant: Arc<Tenant>, mut answer: Value) -> Result<Response, NoAnswer> {
    let since = answer["seq"].as_u64().map(Seq);
    let work = tokio::task::spawn_blocking(move || tenant.recorder.finish_erasures(since));
    let failed = |what: &str| {
        remark("error", &format!("tenant {name}: erased for every answer, and not in the files yet: {what}"));
        "erased for every answer; the files are not rewritten yet: the next opening of the ledger does it, or `erase`"
    };
    answer["files"] = match tokio::time::timeout(FILES_WAIT, work).await {
        Ok(Ok(Ok(receipts))) => {
            answer["receipts"] = value(&receipts);
            "rewritten".into()
        }
        Ok(Ok(Err(NoAnswer::Failed(failure)))) => failed(&failure.to_string()).into(),
        Ok(Ok(Err(_))) => failed("it was refused").into(),
        Ok(Err(error)) => failed(&error.to_string()).into(),
        Err(_) => {
            "erased for every answer; the files are still being rewritten, `erasures` tells when that is done"
                .into()
        }
    };
    Ok(Json(answer).into_response())
}
