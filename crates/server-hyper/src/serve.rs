//! The server: accepts connections, serves them, and completes them at shutdown.

use std::{
    convert::Infallible,
    future::Future,
    io, net,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use headwater_listener::{Activity, Connections, InFlight, Monitored};
use headwater_protocol::request::FromTrustedProxy;
use headwater_service::{Body, BodyError, Service};
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time,
};

use crate::{Streams, limits};

/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long a connection without a request stays open at shutdown: its client may be answering a GOAWAY.
const CLOSE_DELAY: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on `listeners` until `shutdown` resolves.
///
/// Then it [drains](Service::drain) the service and lets requests in progress complete, for
/// [`connections.drain_ms`](Connections::drain_ms) at most. It must run within a tokio runtime with I/O and time.
///
/// # Errors
/// When a listener can't be registered with the runtime. Failures of single connections are not errors.
pub async fn serve(
    listeners: Vec<net::TcpListener>,
    service: Service,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let connections_max = u32::try_from(connections.connections_max).unwrap_or(u32::MAX);
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        accepting.spawn(accept_all(listener, permits.clone(), service.clone(), connections));
    }
    tokio::select! {
        () = shutdown => {}
        Some(ended) = accepting.join_next() => ended?,
    }
    // From here on nothing listens any more.
    accepting.shutdown().await;
    service.drain();
    let all_ended = permits.acquire_many(connections_max);
    if time::timeout(connections.drain_timeout(), all_ended).await.is_err() {
        tracing::warn!("connections that did not complete within the shutdown grace are closed");
    }
    Ok(())
}

/// Accepts connections for ever, and serves them as there are permits.
async fn accept_all(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    service: Service,
    connections: Connections,
) {
    let streams = Streams::new(service.clone());
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok((socket, peer)) => (socket, peer.ip()),
            Err(error) => {
                // Most likely the process is out of file descriptors, and connections that close free some.
                tracing::warn!(%error, "can't accept a connection");
                time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // One more than are served waits here, for each listener; all others wait to be accepted.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let is_from_trusted_proxy = service.trusts(peer);
        let connection =
            serve_connection(socket, streams.clone(), is_from_trusted_proxy, connections, service.drained());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

async fn serve_connection(
    socket: TcpStream,
    streams: Streams,
    is_from_trusted_proxy: bool,
    connections: Connections,
    drained: impl Future<Output = ()>,
) {
    // Without Nagle's algorithm small responses don't wait for each other. Failure costs latency only.
    let _ = socket.set_nodelay(true);
    let activity = Activity::new(connections);
    let io = TokioIo::new(Monitored::new(socket, activity.clone()));
    let begins = activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut in_flight = begins.begin();
        if is_from_trusted_proxy {
            request.extensions_mut().insert(FromTrustedProxy);
        }
        let response = streams.handle(request);
        async move {
            let response = response.await?;
            in_flight.taken();
            Ok::<_, Infallible>(response.map(|body| Tracked { body, in_flight }))
        }
    });
    let builder = limits::builder(&connections);
    let mut connection = pin!(builder.serve_connection(io, service));
    // Connection errors are the client's doing: failures of the server have been responses or log lines already.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = activity.overdue() => return,
        () = drained => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        // hyper waits for heads that were begun, and for the answer to its GOAWAY.
        () = activity.idle_for(CLOSE_DELAY) => {}
    }
}

/// The body of a response that counts as in flight until it is sent or abandoned.
struct Tracked {
    body: Body,
    in_flight: InFlight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.in_flight.taken();
        let is_live = self.body.bytes_left().is_none();
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if is_live && self.in_flight.ends_events() => Poll::Ready(None),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
