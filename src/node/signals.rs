//! The signals that ask a program to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT (Ctrl-C, `ros2 launch`), SIGTERM or SIGHUP.
pub(crate) async fn asked_to_stop() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let waits = kinds.into_iter().filter_map(|kind| match signal(kind) {
        Ok(mut stream) => Some(Box::pin(async move { stream.recv().await })),
        Err(error) => {
            tracing::warn!("a signal cannot be listened for: {error}");
            None
        }
    });
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(waits).await;
}
