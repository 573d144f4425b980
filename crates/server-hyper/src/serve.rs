//! The server: accepts connections, serves them, and completes them at shutdown.

use std::{future::Future, io, net, pin::pin, sync::Arc, time::Duration};

use headwater_listener::{Connections, begins_http2};
use headwater_service::Service;
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

/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on `listener` until `shutdown` resolves.
///
/// Then it [drains](Service::drain) the service and lets requests in progress complete, for
/// [`connections.drain_ms`](Connections::drain_ms) at most. It must run within a tokio runtime with I/O and time.
///
/// # Errors
/// When the listener can't be registered with the runtime. Failures of single connections are not errors.
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
        let connection = serve_connection(socket, streams.clone(), connections, graceful.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    service.drain();
    let drained = time::timeout(connections.drain_timeout(), graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("connections that did not complete within the shutdown grace are closed");
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
            // Most likely the process is out of file descriptors, and connections that close free some.
            tracing::warn!(%error, "can't accept a connection");
            time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

async fn serve_connection(socket: TcpStream, streams: Streams, connections: Connections, watcher: Watcher) {
    // Without Nagle's algorithm small responses don't wait for each other. Failure costs latency only.
    let _ = socket.set_nodelay(true);
    let version = time::timeout(connections.header_timeout(), begins_http2(&socket)).await;
    let Ok(Ok(is_http2)) = version else { return };
    let io = TokioIo::new(socket);
    // Connection errors are the client's doing: failures of the server have been responses or log lines already.
    let _ = if is_http2 {
        watcher.watch(limits::http2(&connections).serve_connection(io, streams)).await
    } else {
        watcher.watch(limits::http1(&connections).serve_connection(io, streams)).await
    };
}
