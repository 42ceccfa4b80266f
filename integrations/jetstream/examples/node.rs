//! One of many servers: it takes events of PostHog's SDKs over HTTP, sends them to the stream, and answers from its own ledger.
//!
//! ```console
//! $ identity-ledger-jetstream create --as shop --monitor 127.0.0.1:8222
//! $ cargo run --example node -- node-1 /var/lib/node-1 shop 127.0.0.1:8001 nats://127.0.0.1:4222
//! $ curl -d '{"api_key":"phc_shop","event":"$identify","distinct_id":"ann","uuid":"..."}' http://127.0.0.1:8001/capture/
//! $ curl 'http://127.0.0.1:8001/resolve/ann'
//! ```
//!
//! Stopped with SIGTERM or Ctrl-C, it ends in order. `/healthz` is 503 with the reason once the node has stopped by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Json, Router, routing};
use identity_ledger::import::{MAX_REQUEST_BYTES, Received, Request, RequestOptions};
use identity_ledger::storage::OsEntropy;
use identity_ledger::{Operation, Timestamp};
use identity_ledger_jetstream::async_nats::ConnectOptions;
use identity_ledger_jetstream::{Batch, BatchResult, Node, NodeOptions, PublishError};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

type Answer = (StatusCode, Json<Value>);

fn refuse(status: u16, error: impl std::fmt::Display) -> Answer {
    (
        StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        Json(json!({ "error": error.to_string() })),
    )
}

fn read(node: &Node, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Received, Answer> {
    let target = uri.path_and_query().map_or("/", |it| it.as_str());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let now = Timestamp::from_micros(micros).map_err(|error| refuse(500, error))?;
    let request = headers.iter().fold(Request::new(target, now), |request, (name, value)| {
        request.header(name.as_str(), value.as_bytes())
    });
    let options = node.ledger().read(|reader| RequestOptions::from(reader.policy()));
    request.read(body, &options, &mut OsEntropy::default()).map_err(|error| refuse(error.status(), error))
}

/// Sends operations as one batch. If every follower rejects that, one of them is to blame: then each is a batch.
async fn send(node: &Node, operations: Vec<Operation>) -> Result<usize, PublishError> {
    let batch = match Batch::new(operations) {
        Ok(batch) => batch,
        Err(_) => return Ok(1),
    };
    let applied = node.publish_and_wait(&batch).await?;
    let BatchResult::Rejected(_) = applied.result else { return Ok(0) };
    let mut rejected = 0;
    for operation in batch.operations() {
        let Ok(alone) = Batch::new(vec![operation.clone()]) else { continue };
        let applied = node.publish_and_wait(&alone).await?;
        rejected += usize::from(matches!(applied.result, BatchResult::Rejected(_)));
    }
    Ok(rejected)
}

async fn receive(State(node): State<Arc<Node>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let received = match read(&node, &uri, &headers, &body) {
        Ok(received) => received,
        Err(answer) => return answer,
    };
    if let ([], [first, ..]) = (&received.operations[..], &received.rejected[..]) {
        return refuse(400, &first.rejection);
    }
    // The SDK sends a request with 503 again; the uuids of its events make that harmless.
    match send(&node, received.operations).await {
        Ok(rejected) => {
            (StatusCode::OK, Json(json!({ "status": 1, "rejected": rejected + received.rejected.len() })))
        }
        Err(error @ PublishError::TooLarge { .. }) => refuse(413, error),
        Err(error) => refuse(503, error),
    }
}

async fn resolve(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Answer {
    match node.ledger().profile(&id) {
        Ok(Some(found)) => (StatusCode::OK, Json(json!(found))),
        Ok(None) => refuse(404, format!("`{id}` does not have a person")),
        Err(fault) => refuse(503, fault),
    }
}

async fn healthz(State(node): State<Arc<Node>>) -> Answer {
    match node.stop_reason() {
        None => (StatusCode::OK, Json(json!({ "status": node.status(), "rejected": node.rejected() }))),
        Some(stop) => refuse(503, stop),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, stream, listen, url] = &arguments[..] else {
        return Err("expected NAME DIRECTORY STREAM ADDRESS URL[,URL..]".into());
    };
    let urls: Vec<String> = url.split(',').map(str::to_owned).collect();
    let client = ConnectOptions::new().name(name).retry_on_initial_connect().connect(urls).await?;
    // On one server for a try: a stream of three replicas, and two followers for each batch, are the default.
    let few =
        |key: &str, default| std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let options = NodeOptions {
        min_replicas: few("MIN_REPLICAS", 3),
        acknowledgements: few("ACKNOWLEDGEMENTS", 2),
        ..NodeOptions::new(name, dir, stream)
    };
    let node = Arc::new(Node::start(client, options).await?);
    let router = Router::new()
        .route("/healthz", routing::get(healthz))
        .route("/resolve/{id}", routing::get(resolve))
        .fallback(receive)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::clone(&node));
    let mut term = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
    };
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    let node = Arc::into_inner(node).ok_or("a request is still under way")?;
    let status = node.close().await?;
    println!("closed at position {}, {}", status.position, status.checkpoint);
    Ok(())
}
