//! `serve`: ledgers behind HTTP, for PostHog's SDKs and for people.

mod admin;
mod api;
mod app;
mod corrections;
mod demo;
mod ingest;
mod metrics;
#[cfg(feature = "jetstream")]
mod node;
mod page;
mod recorder;
mod refused;
mod signal;
mod stream;
mod stubs;
mod tenants;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use clap::Args;
use identity_ledger::import::{FutureTimes, MAX_REQUEST_BYTES};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;

use crate::answer::Answer;
use crate::args::PolicyArgs;
use crate::failure::Failure;
use crate::screen::{Screen, remark};
use crate::serve::admin::Admin;
use crate::serve::app::App;
use crate::serve::demo::DemoDir;
use crate::serve::metrics::Metrics;
use crate::serve::recorder::Facts;
use crate::serve::signal::stop_signal;
use crate::serve::stream::StreamArgs;
use crate::serve::tenants::Tenants;
use crate::serve::tokens::Tokens;

/// The long help.
pub(crate) const HELP: &str = "\
Take events from SDKs over HTTP, into one ledger for each tenant. An answer of 200 says that the events are durable: neither \
kill -9 nor a power cut loses them. A request that is sent again adds nothing, as its events have uuids.

  identity-ledger serve --demo                                  # people to look at, and a page that sends events
  identity-ledger serve ledgers --token phc_shop=shop           # tenant `shop`: ledgers/shop.ledger
  identity-ledger serve ledgers --tokens tokens.txt --listen 0.0.0.0:8377
  identity-ledger serve node-1 --jetstream nats://10.0.0.1:4222 --stream shop --node node-1 --token phc_shop=shop

A token says whose events a request brings, and in which vendor's words; SDKs send it with every request, so it is not a secret. Each \
line of a file of tokens is a token, a blank and TENANT or TENANT:VENDOR. A tenant's name has lower-case letters, digits, `-` and `_`; its ledger is created with the first event, \
and closed when no event came for --idle seconds.

PostHog's senders: set `api_host` of posthog-js (`host` elsewhere) to this server's address. Endpoints: /e/ /i/v0/e/ /batch/ /capture/ \
/track/ /engage/ /i/v1/analytics/events; what SDKs ask besides (/flags, /decide, /array/TOKEN/config) is answered with everything off. \
Others want a token with their name: --token KEY=shop:segment or :rudderstack takes /v1/batch, /v1/track and the like, \
:mixpanel or :mixpanel-original takes /track, /engage and /import, :amplitude takes /2/httpapi and /batch. Events of another shape than their token says \
are rejected by name. `$merge_dangerously` is taken only with --allow-merge-dangerously.

Statuses: 200 durable (`rejected` lists events that are not recorded); 400 cannot be read; 401 unknown token; 413 too large; 429 and 503 \
try again later. /healthz says whether it serves. The page / shows persons, and why they are what they are; /api/TENANT/QUESTION answers what the \
commands answer with --json; /metrics is for Prometheus. All three want the admin token that is printed at the start \
(`Authorization: Bearer`), or --open. They change nothing, unless --allow-corrections lets who knows the token retract, split and erase \
after a look at what it would change.

With --jetstream it is one of several nodes, for one tenant (docs/scale.md). Each takes events and answers, from the ledger in its DIR. \
200 says that the stream and --acknowledgements nodes have the events; 503 that this is not known: send them again, to any node; \
those with uuids are recorded once. A new ledger has the policy of the stream, and --idle closes none. A node that stops by itself says why at /healthz, and still answers questions.

Ctrl-C or SIGTERM: no request is accepted any more, those under way are answered, every ledger is flushed and closed. TLS is a proxy's.";

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// The directory of the tenants' ledgers; created if it does not exist
    #[arg(value_name = "DIR", required_unless_present = "demo")]
    dir: Option<PathBuf>,
    /// Serve made-up people from a temporary directory, openly, with a page that sends events
    #[arg(long, conflicts_with_all = ["dir", "token", "tokens"])]
    demo: bool,
    /// Where to listen; port 0 lets the system choose one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8377")]
    listen: SocketAddr,
    /// A token and whose events it brings; may be given several times
    #[arg(long, value_name = "TOKEN=TENANT[:VENDOR]", value_parser = tokens::pair)]
    token: Vec<(String, tokens::Destination)>,
    /// A file of tokens: a token, a blank and TENANT[:VENDOR] on each line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Seal new ledgers, and open sealed ones, with the key rings in a directory: TENANT.ring for each; keep it apart from DIR
    #[arg(long, value_name = "DIR", conflicts_with = "demo")]
    key_rings: Option<PathBuf>,
    /// Let everybody who reaches this address see metrics and persons, without the admin token; only on a loopback address
    #[arg(long)]
    open: bool,
    /// Let who knows the admin token retract, split and erase; without it the page shows only what that would change
    #[arg(long, conflicts_with_all = ["open", "demo"])]
    allow_corrections: bool,
    /// Take `$merge_dangerously` from senders
    #[arg(long)]
    allow_merge_dangerously: bool,
    /// What becomes of times more than 23 hours ahead of the clock: clamp (to the time of arrival, with a notice), reject or keep
    #[arg(long, value_name = "CHOICE", default_value = "clamp")]
    future_times: FutureTimes,
    /// Most bytes of a request, decompressed
    #[arg(long, value_name = "BYTES", default_value_t = MAX_REQUEST_BYTES)]
    max_bytes: usize,
    /// Most requests that are read and recorded at the same time; others are answered 503
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_requests: usize,
    /// Most events a second of one token, over ten seconds; others are answered 429 [default: no limit]
    #[arg(long, value_name = "N")]
    max_events: Option<u32>,
    /// Seconds after which a ledger that nothing came for is closed
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    idle: u64,
    #[command(flatten, next_help_heading = "A new ledger")]
    choice: PolicyArgs,
    #[command(flatten, next_help_heading = "With other servers, on one stream")]
    stream: StreamArgs,
}

/// How long requests under way are waited for once the server stops: less than the 30 seconds that are usual before a kill.
const STOP_SECONDS: u64 = 20;
/// Questions that read a whole log at the same time: each may take the memory of a ledger.
const LOG_READERS: usize = 2;
/// How long a request may take, its body included.
const REQUEST_SECONDS: u64 = 30;

pub(crate) fn serve(args: ServeArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let admin = Admin::new(args.open || args.demo, args.listen)?;
    let demo = args.demo.then(DemoDir::new).transpose()?;
    let given = if args.demo {
        vec![tokens::pair(demo::TOKEN).expect("the token of the demo is one")]
    } else {
        args.token.clone()
    };
    let tokens = Tokens::read(given, args.tokens.as_deref(), args.max_events)?;
    let policy = args.choice.policy()?.unwrap_or_default();
    let dir = demo.as_ref().map_or(args.dir.clone().unwrap_or_default(), |demo| demo.path().to_owned());
    let mut tenants = Tenants::new(
        dir,
        policy,
        args.key_rings.clone(),
        args.allow_merge_dangerously,
        args.future_times,
        args.max_bytes,
    )?;
    if demo.is_some() {
        demo::fill(&tenants)?;
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::Serve)?;
    if !runtime.block_on(follow(&args.stream, &tokens, &mut tenants))? {
        return Ok(Answer::Yes);
    }
    let (stop, stopping) = watch::channel(false);
    let app = App {
        tokens,
        tenants,
        metrics: Metrics::default(),
        admin,
        slots: Semaphore::new(args.max_requests),
        log_readers: Semaphore::new(LOG_READERS),
        max_bytes: args.max_bytes,
        allow_corrections: args.allow_corrections,
        is_demo: demo.is_some(),
        stopping,
    };
    runtime.block_on(run(Arc::new(app), &args, stop, screen))
}

/// Follows a stream, if one was named; false if a signal came before the stream did.
async fn follow(args: &StreamArgs, tokens: &Tokens, tenants: &mut Tenants) -> Result<bool, Failure> {
    if args.urls.is_empty() {
        return tenants.check_alone().map(|()| true);
    }
    #[cfg(feature = "jetstream")]
    return node::start(args, tokens, tenants).await;
    #[cfg(not(feature = "jetstream"))]
    {
        let _ = tokens;
        Err(Failure::NoJetstream)
    }
}

async fn run(
    app: Arc<App>,
    args: &ServeArgs,
    stop: watch::Sender<bool>,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|source| Failure::Listen { address: args.listen.to_string(), source })?;
    let address = listener.local_addr().map_err(Failure::Serve)?;
    announce(&app, address, &args.stream, screen)?;
    let closer = tokio::spawn(close_idle(Arc::clone(&app), Duration::from_secs(args.idle)));
    tokio::spawn(async move {
        stop_signal().await;
        remark("note", "stopping: requests under way are answered, ledgers are closed");
        stop.send_replace(true);
    });
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        stopping.wait_for(|stopping| *stopping).await.ok(); // an error: the sender is gone
    };
    let router = router(Arc::clone(&app));
    let served = axum::serve(listener, router).with_graceful_shutdown(stopped(app.stopping.clone()));
    let too_long = async {
        stopped(app.stopping.clone()).await;
        tokio::time::sleep(Duration::from_secs(STOP_SECONDS)).await;
    };
    tokio::select! {
        served = served => served.map_err(Failure::Serve)?,
        () = too_long => remark("note", "some connections are still open, and are closed now"),
    }
    closer.abort();
    let closed = tokio::task::spawn_blocking(move || app.tenants.close_all()).await;
    let failed = closed.map_err(|error| Failure::Serve(error.into()))?;
    for (tenant, error) in &failed {
        remark("error", &format!("tenant {tenant}: {error}"));
    }
    Ok(Answer::yes_if(failed.is_empty()))
}

fn announce(app: &App, address: SocketAddr, stream: &StreamArgs, screen: &mut Screen) -> Result<(), Failure> {
    let names = stream.names();
    if screen.json {
        let mut said = json!({ "address": address.to_string(), "admin_token": app.admin.token() });
        if let Some((node, stream)) = names {
            (said["node"], said["stream"]) = (node.into(), stream.into());
        }
        screen.object(&said)?;
        return screen.finish();
    }
    screen.headline(&format!("Listening on http://{address}"))?;
    let mut facts = vec![("ledgers", app.tenants.dir().display().to_string())];
    facts.extend(names.map(|(node, stream)| ("node", format!("{node}, of the stream {stream}"))));
    facts.extend(
        app.tokens.iter().map(|(token, tenant)| ("token", format!("{token} brings events of {tenant}"))),
    );
    match app.admin.token() {
        Some(token) => {
            facts.push(("admin token", token.to_owned()));
            facts.push(("persons", format!("http://{address}/#token={token}")));
        }
        None => facts.push(("persons", format!("http://{address}/"))),
    }
    if app.is_demo {
        facts.push(("a shop", format!("http://{address}/demo")));
    }
    screen.facts(&facts)?;
    screen.finish()
}

fn router(app: Arc<App>) -> Router {
    // A token is public, so any page may send with one. What only the admin may see, another page must not read.
    let sdk = stubs::router()
        .fallback(ingest::receive)
        .layer(CorsLayer::very_permissive().allow_credentials(false))
        .with_state(Arc::clone(&app));
    Router::new()
        .route("/healthz", routing::get(health))
        .route("/metrics", routing::get(metrics_text))
        .merge(api::router())
        .merge(corrections::router())
        .merge(page::router(app.is_demo))
        .fallback_service(sdk)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(REQUEST_SECONDS),
        ))
        .with_state(app)
}

/// Whether requests are taken, and every ledger that is open can record.
async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let (mut said, mut failed) = (Facts::new(), 0);
    for (_, tenant) in app.tenants.open_tenants() {
        said.extend(tenant.recorder.health().unwrap_or_else(|facts| {
            failed += 1;
            facts
        }));
    }
    let (code, status) = match (*app.stopping.borrow(), failed) {
        (false, 0) => (StatusCode::OK, "ok"),
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    said.insert("status".to_owned(), status.into());
    if status == "failed" {
        said.insert("ledgers".to_owned(), failed.into());
    }
    (code, Json(Value::Object(said)))
}

/// `GET /metrics`.
async fn metrics_text(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !app.admin.admits(&headers) {
        return (StatusCode::UNAUTHORIZED, "the admin token is missing\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.text(&app.tenants.open_tenants()))
        .into_response()
}

/// Closes idle ledgers again and again.
async fn close_idle(app: Arc<App>, idle: Duration) {
    let mut ticks = tokio::time::interval((idle / 4).max(Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        tokio::task::spawn_blocking(move || app.tenants.close_idle(idle)).await.ok(); // a panic was reported where it was
    }
}
