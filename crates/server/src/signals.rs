//! When to stop: SIGTERM or SIGINT, and which signals must not stop the server.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

const SIGXFSZ: i32 = 25;

/// Resolves when somebody asks the server to stop.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Sent where a file reaches the process's limit, and deadly unless it was listened to once: then the write
    // fails, which is answered with 507.
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: answering what was begun");
    })
}
