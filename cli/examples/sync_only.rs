//! What `serve` is measured against: a server that appends each body to a file and answers once that is synced, and knows nothing of
//! events. `cargo run --release -p identity-ledger-cli --example sync_only -- FILE` prints its port. `docs/embedding.md` has the figures.
#![expect(clippy::disallowed_types, reason = "it is measured against the ledger, and knows nothing of it")]

use std::fs::File;
use std::io::{Error, Write};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::{Router, routing};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::spawn_blocking;

type Waiting = oneshot::Sender<()>;

/// The file, and who waits for its next sync.
struct App {
    file: Mutex<File>,
    waiting: mpsc::UnboundedSender<Waiting>,
}

async fn receive(State(app): State<Arc<App>>, body: Bytes) -> StatusCode {
    let written = {
        let mut file = app.file.lock().await;
        file.write_all(&body)
    };
    let (synced, wait) = oneshot::channel();
    let is_durable = written.is_ok() && app.waiting.send(synced).is_ok() && wait.await.is_ok();
    if is_durable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// One sync for all who wait, again and again: a larger group where the disk is slower.
async fn sync(file: File, mut waiting: mpsc::UnboundedReceiver<Waiting>) -> Result<(), Error> {
    let file = Arc::new(file);
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, usize::MAX).await > 0 {
        let synced = Arc::clone(&file);
        spawn_blocking(move || synced.sync_data()).await??;
        for waits in group.drain(..) {
            waits.send(()).ok(); // its sender may be gone
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::other("expected a file to append to"))?;
    let file = File::options().create(true).append(true).open(path)?;
    let (waiting, waits) = mpsc::unbounded_channel();
    tokio::spawn(sync(file.try_clone()?, waits));
    let app = Arc::new(App { file: Mutex::new(file), waiting });
    let router = Router::new().fallback(routing::any(receive)).layer(DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, router.with_state(app)).await
}
