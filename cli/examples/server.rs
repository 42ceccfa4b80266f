//! A server for PostHog's SDKs: `cargo run -p identity-ledger-cli --example server -- shop.ledger phc_shop`, then point an SDK at
//! http://127.0.0.1:8000. `docs/embedding.md` explains it line by line.
#![expect(clippy::disallowed_types, reason = "a server has a clock, the ledger has none")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Json, Router, routing};
use identity_ledger::import::{MAX_REQUEST_BYTES, Request, RequestOptions};
use identity_ledger::sharing::Ticket;
use identity_ledger::storage::OsEntropy;
use identity_ledger::{Answers, AppendError, Appended, Ledger, Policy, SharedLedger, Tenant, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

/// One tenant: its ledger, the token that its web page sends, and how its requests are read.
pub(crate) struct App {
    pub(crate) ledger: SharedLedger,
    pub(crate) token: String,
    pub(crate) options: RequestOptions,
}

type Answer = (StatusCode, Json<Value>);
type Recorded = Ticket<Answers<Result<Appended, AppendError>>>;

fn refuse(status: u16, error: impl std::fmt::Display) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(json!({ "error": error.to_string() })))
}

/// Judges, writes and folds a request: microseconds, but they may wait for the ledger's lock or, now and then, for the disk.
fn record(app: &App, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(Recorded, usize), Answer> {
    let target = uri.path_and_query().map_or("/", |it| it.as_str());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let now = Timestamp::from_micros(micros).map_err(|error| refuse(500, error))?;
    let request = headers.iter().fold(Request::new(target, now), |request, (name, value)| {
        request.header(name.as_str(), value.as_bytes())
    });
    let read = request.read(body, &app.options, &mut OsEntropy::default());
    let received = read.map_err(|error| refuse(error.status(), error))?;
    if received.token.as_deref() != Some(&app.token) {
        return Err(refuse(401, "the request names no token of this server"));
    }
    if let ([], [first, ..]) = (&received.operations[..], &received.rejected[..]) {
        return Err(refuse(400, &first.rejection));
    }
    let ticket = app.ledger.submit(|ledger| ledger.append_each(&received.operations));
    // The SDK sends a request with 503 again; the uuids of its events make that harmless.
    ticket.map(|ticket| (ticket, received.rejected.len())).map_err(|error| refuse(503, error))
}

async fn receive(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let (ticket, rejected) = match spawn_blocking(move || record(&app, &uri, &headers, &body)).await {
        Ok(Ok(recorded)) => recorded,
        Ok(Err(answer)) => return answer,
        Err(panicked) => return refuse(500, panicked),
    };
    // Not a word to the sender before it is durable. No thread waits here.
    match ticket.await {
        Ok(answers) => {
            let refused = answers.iter().filter(|answer| answer.is_err()).count();
            (StatusCode::OK, Json(json!({ "status": 1, "rejected": rejected + refused })))
        }
        Err(error) => refuse(503, error),
    }
}

/// Serves until `stop` says so and the last request is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/flags/", routing::any(async || Json(json!({ "flags": {} }))))
        .fallback(receive)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(app);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (place, token) =
        args.next().zip(args.next()).ok_or("expected the directory of a ledger, and a token")?;
    let ledger =
        Ledger::open(&place).or_else(|_| Ledger::create(&place, Tenant::default(), Policy::default()))?;
    let options = RequestOptions::from(ledger.policy());
    let app = Arc::new(App { ledger: SharedLedger::new(ledger), token, options });
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    serve(TcpListener::bind("127.0.0.1:8000").await?, Arc::clone(&app), stop).await?;
    app.ledger.flush()?; // closing does that too, without a word of a disk that fails
    Ok(())
}
