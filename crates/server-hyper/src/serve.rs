//! A listening socket, its connections, and their end.

use std::{future::Future, io, net, pin::pin, sync::Arc, time::Duration};

use headwater_service::{Service, config::Connections, preface::begins_http2};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};

use crate::{Streams, limits};

const RETRY: Duration = Duration::from_millis(50);

/// Serves until `shutdown` resolves; then answers what was begun, for as long as `connections.drain_ms` allows.
///
/// # Errors
/// When the listener can't be used.
pub async fn serve(
    listener: net::TcpListener,
    service: Service,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let streams = Streams::new(service.clone());
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(connections.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((socket, permit)) = accepted else { continue };
        let connection = converse(socket, streams.clone(), connections, graceful.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    service.drain();
    let drained = time::timeout(Duration::from_millis(connections.drain_ms), graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("connections are cut that took longer than the grace for shutting down");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => Some((socket, permit)),
        Err(error) => {
            // Out of descriptors, most likely: others are closed soon.
            tracing::warn!(%error, "a connection could not be accepted");
            time::sleep(RETRY).await;
            None
        }
    }
}

async fn converse(socket: TcpStream, streams: Streams, connections: Connections, watcher: Watcher) {
    // Small answers must not wait for each other; where it can't be set they do.
    let _ = socket.set_nodelay(true);
    let silence = Duration::from_millis(connections.header_timeout_ms);
    let Ok(Ok(is_http2)) = time::timeout(silence, begins_http2(&socket)).await else { return };
    let io = TokioIo::new(socket);
    // How a connection ends is the client's business; what matters was answered or logged before.
    let _ = if is_http2 {
        watcher.watch(limits::http2(&connections).serve_connection(io, streams)).await
    } else {
        watcher.watch(limits::http1(&connections).serve_connection(io, streams)).await
    };
}
