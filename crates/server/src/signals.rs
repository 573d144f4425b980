//! Signals: SIGTERM and SIGINT stop the server, SIGXFSZ and SIGHUP must not kill it.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Installs the handlers and returns a future that resolves on the first SIGTERM or SIGINT.
///
/// # Errors
/// When a handler can't be installed.
pub(crate) fn shutdown_requested() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The kernel sends SIGXFSZ when a file reaches the process's size limit, and its default action kills. tokio's
    // handler stays installed after the drop, so the write fails instead and the request is refused with 507.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
    // A terminal that is closed, or a rotation of logs, ends no server. Its handler stays too.
    drop(signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutdown requested: completing the requests in progress");
    })
}
