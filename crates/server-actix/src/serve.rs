//! The server: accepts connections, serves them, and completes them at shutdown.

use std::{cell::Cell, future::Future, io, net, num::NonZero, rc::Rc, sync::Arc, thread, time::Duration};

use actix_http::{HttpService, KeepAlive, Protocol, Request, Response, body::BoxBody, error::DispatchError};
use actix_server::Server;
use actix_service::{
    Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig};
use futures_util::stream;
use headwater_listener::{Activity, Connections, Monitored};
use headwater_service::Service;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use crate::{Streams, convert, limits::Connection};

/// How long a client may go on sending after the last response, so that it can read the response before a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection without a request stays open at shutdown: on HTTP/2 actix sends no GOAWAY that would let the
/// client close it.
const CLOSE_DELAY: Duration = Duration::from_millis(100);
/// How long actix's workers may take to see that their last connection has ended. Later they look once a second.
const WORKER_DELAY: Duration = Duration::from_millis(20);
/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on `listeners` until `shutdown` resolves.
///
/// Then it [drains](Service::drain) the service and lets requests in progress complete, for
/// [`connections.drain_ms`](Connections::drain_ms) at most. It must run within a tokio runtime; the workers are threads
/// of actix, one for each processor.
///
/// # Errors
/// When a listener can't be used, or a worker can't be started. Failures of single connections are not errors.
pub async fn serve(
    listeners: Vec<net::TcpListener>,
    service: Service,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let workers =
        thread::available_parallelism().map_or(1, NonZero::get).min(connections.connections_max).max(1);
    let open = Open::default();
    let (draining, counted) = (service.clone(), open.clone());
    let mut builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.connections_max / workers)
        .shutdown_timeout(connections.drain_ms.div_ceil(1_000))
        .disable_signals();
    for listener in listeners {
        let (service, counted) = (service.clone(), counted.clone());
        builder = builder.listen("streams", listener, move || {
            connection_service(service.clone(), connections, counted.clone())
        })?;
    }
    let mut server = builder.run();
    let handle = server.handle();
    let drained = async {
        shutdown.await;
        handle.pause().await;
        draining.drain();
        let ended = time::timeout(connections.drain_timeout(), open.all_ended()).await;
        time::sleep(WORKER_DELAY).await;
        ended.is_ok()
    };
    let is_drained = tokio::select! {
        ended = &mut server => return ended,
        is_drained = drained => is_drained,
    };
    if !is_drained {
        tracing::warn!("connections that did not complete within the shutdown grace are closed");
    }
    drop(handle.stop(is_drained));
    server.await
}

/// The connections that are open.
#[derive(Clone)]
struct Open(Arc<Semaphore>);

impl Default for Open {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }
}

impl Open {
    /// Counts a connection until the permit is dropped.
    fn begin(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }

    async fn all_ended(&self) {
        while self.0.available_permits() < Semaphore::MAX_PERMITS {
            time::sleep(WORKER_DELAY / 4).await;
        }
    }
}

/// Returns the service that a worker runs for each of its connections.
fn connection_service(
    service: Service,
    connections: Connections,
    open: Open,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let streams = Streams::new(service.clone());
    let app = App::new().configure(move |config| streams.configure(config));
    // The service below stores the connection here and calls actix, which calls `on_connect_ext` before it returns.
    let newest = Rc::new(Cell::new(None::<Rc<Connection>>));
    let connected = newest.clone();
    let (draining, expecting, trusting) = (service.clone(), service.clone(), service.clone());
    let http = HttpService::build()
        .keep_alive(KeepAlive::Timeout(connections.idle_timeout()))
        // `Activity` bounds it, with another time for silence.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // A client that has sent its requests may close its half.
        .h1_allow_half_closed(true)
        .graceful_shutdown_signal(move || service.drained())
        .expect(fn_service(move |request| on_expect(expecting.clone(), request)))
        .on_connect_ext(move |_, data| {
            if let Some(connection) = connected.take() {
                data.insert(connection);
            }
        })
        .finish(map_config(app, |()| AppConfig::default()));
    let detecting = draining.clone();
    let detect = move |socket| detect_version(socket, connections, open.begin(), detecting.drained());
    fn_service(detect).and_then(apply_fn_factory(http, move |accepted: Accepted, http: &_| {
        let Accepted { socket, activity, protocol, permit } = accepted;
        let is_from_trusted_proxy = socket.peer_addr().is_ok_and(|peer| trusting.trusts(peer.ip()));
        let connection =
            Connection { limits: connections, activity: activity.clone(), is_from_trusted_proxy };
        newest.set(Some(Rc::new(connection)));
        let served = http.call((Monitored::new(socket, activity.clone()), protocol, None));
        let drained = draining.drained();
        async move {
            let _permit = permit;
            let drained_and_idle = async {
                drained.await;
                activity.idle_for(CLOSE_DELAY).await;
            };
            tokio::select! {
                ended = served => ended,
                _ = activity.overdue() => Ok(()),
                () = drained_and_idle => Ok(()),
            }
        }
    }))
}

/// A connection whose version is known.
struct Accepted {
    socket: TcpStream,
    activity: Arc<Activity>,
    protocol: Protocol,
    permit: Option<OwnedSemaphorePermit>,
}

/// Handles `Expect: 100-continue`: returns the request, so that actix sends `100 Continue`, or a refusal.
async fn on_expect(service: Service, request: Request) -> Result<Request, Response<BoxBody>> {
    // The origin is in no refusal, so that it doesn't matter here who says it.
    let call = service.parse(&convert::Head { head: request.head(), is_from_trusted_proxy: false });
    if !call.is_refused() {
        return Ok(request);
    }
    let refusal = service.execute(call, stream::empty()).await;
    Err(convert::response(refusal, request.head(), None).map_into_boxed_body().into())
}

/// Detects the HTTP version of a connection by its first bytes, as actix's own `tcp_auto_h2c` does: it looks once, and
/// anything else is HTTP/1.1.
async fn detect_version(
    socket: TcpStream,
    connections: Connections,
    permit: Option<OwnedSemaphorePermit>,
    drained: impl Future<Output = ()>,
) -> Result<Accepted, DispatchError> {
    // Without Nagle's algorithm small responses don't wait for each other. Failure costs latency only.
    let _ = socket.set_nodelay(true);
    let activity = Activity::new(connections);
    let mut first = [0; HTTP2_PREFACE.len()];
    let seen = tokio::select! {
        seen = socket.peek(&mut first) => seen,
        _ = activity.overdue() => Err(io::ErrorKind::TimedOut.into()),
        () = drained => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    seen.map_err(DispatchError::Io)?;
    let protocol = if first == HTTP2_PREFACE { Protocol::Http2 } else { Protocol::Http1 };
    Ok(Accepted { socket, activity, protocol, permit })
}
