//! The server: accepts connections, serves them, and completes them at shutdown.

use std::{cell::Cell, future::Future, io, net, num::NonZero, rc::Rc, thread, time::Duration};

use actix_http::{HttpService, KeepAlive, Protocol, Request, Response, body::BoxBody, error::DispatchError};
use actix_server::Server;
use actix_service::{
    Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig};
use futures_util::stream;
use headwater_listener::{Connections, begins_http2};
use headwater_service::Service;
use tokio::{net::TcpStream, time};

use crate::{Streams, convert, limits::Connection};

/// How long a client may go on sending after the last response, so that it can read the response before a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How long an idle HTTP/2 connection stays open at shutdown. actix sends no GOAWAY that would let the client close it.
const CLOSE_DELAY: Duration = Duration::from_millis(500);

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on `listener` until `shutdown` resolves.
///
/// Then it [drains](Service::drain) the service and lets requests in progress complete, for
/// [`connections.drain_ms`](Connections::drain_ms) at most. It must run within a tokio runtime; the workers are threads
/// of actix, one for each processor.
///
/// # Errors
/// When the listener can't be used, or a worker can't be started. Failures of single connections are not errors.
pub async fn serve(
    listener: net::TcpListener,
    service: Service,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let workers =
        thread::available_parallelism().map_or(1, NonZero::get).min(connections.connections_max).max(1);
    let draining = service.clone();
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.connections_max / workers)
        .shutdown_timeout(connections.drain_ms.div_ceil(1_000))
        .disable_signals()
        .listen("streams", listener, move || connection_service(service.clone(), connections))?
        .run();
    let handle = server.handle();
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => {}
    }
    draining.drain();
    drop(handle.stop(true));
    let ended = time::timeout(connections.drain_timeout(), server).await;
    ended.unwrap_or_else(|_| {
        tracing::warn!("connections that did not complete within the shutdown grace are closed");
        Ok(())
    })
}

/// Returns the service that a worker runs for each of its connections.
fn connection_service(
    service: Service,
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let streams = Streams::new(service.clone());
    let app = App::new().configure(move |config| streams.configure(config));
    // The service below stores the connection here and calls actix, which calls `on_connect_ext` before it returns.
    let newest = Rc::new(Cell::new(None::<Rc<Connection>>));
    let connected = newest.clone();
    let (draining, expecting) = (service.clone(), service.clone());
    let http = HttpService::build()
        .keep_alive(KeepAlive::Timeout(connections.header_timeout()))
        // `Connection::idle_timeout` replaces it.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // A reader that goes away closes its half first: this ends its long-poll or event stream.
        .h1_allow_half_closed(false)
        .graceful_shutdown_signal(move || service.drained())
        .expect(fn_service(move |request| on_expect(expecting.clone(), request)))
        .on_connect_ext(move |_, data| {
            if let Some(connection) = connected.take() {
                data.insert(connection);
            }
        })
        .finish(map_config(app, |()| AppConfig::default()));
    let detecting = draining.clone();
    let detect = move |socket| detect_version(socket, connections.header_timeout(), detecting.drained());
    fn_service(detect).and_then(apply_fn_factory(http, move |(socket, protocol), http: &_| {
        let connection = Connection::new(connections);
        newest.set(Some(connection.clone()));
        let served = http.call((socket, protocol, None));
        let drained = draining.drained();
        let is_http2 = protocol == Protocol::Http2;
        async move {
            let drained_and_idle = async {
                drained.await;
                connection.idle_for(CLOSE_DELAY).await;
            };
            tokio::select! {
                ended = served => ended,
                () = connection.idle_timeout(is_http2) => Ok(()),
                () = drained_and_idle, if is_http2 => Ok(()),
            }
        }
    }))
}

/// Handles `Expect: 100-continue`: returns the request, so that actix sends `100 Continue`, or a refusal.
async fn on_expect(service: Service, request: Request) -> Result<Request, Response<BoxBody>> {
    let call = service.parse(&convert::Head(request.head()));
    if !call.is_refused() {
        return Ok(request);
    }
    let refusal = service.execute(call, stream::empty()).await;
    Err(convert::response(refusal, request.head(), None).map_into_boxed_body().into())
}

/// Detects the HTTP version of a connection, within `timeout`.
async fn detect_version(
    socket: TcpStream,
    timeout: Duration,
    drained: impl Future<Output = ()>,
) -> Result<(TcpStream, Protocol), DispatchError> {
    // Without Nagle's algorithm small responses don't wait for each other. Failure costs latency only.
    let _ = socket.set_nodelay(true);
    let is_http2 = tokio::select! {
        is_http2 = begins_http2(&socket) => is_http2,
        () = time::sleep(timeout) => Err(io::ErrorKind::TimedOut.into()),
        () = drained => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let is_http2 = is_http2.map_err(DispatchError::Io)?;
    Ok((socket, if is_http2 { Protocol::Http2 } else { Protocol::Http1 }))
}
