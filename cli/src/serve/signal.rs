//! The signals that end a server.

/// Returns when a signal asks the server to stop.
pub(crate) async fn stop_signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        return tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        };
    }
    tokio::signal::ctrl_c().await.unwrap_or_default();
}
