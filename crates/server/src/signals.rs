//! When to stop: SIGTERM or SIGINT, and which signals must not stop the server.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when somebody asks the server to stop.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: answering what was begun");
    })
}
