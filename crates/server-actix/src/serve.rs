//! A listening socket, its connections, and their end.

use std::{cell::Cell, future::Future, io, net, num::NonZero, rc::Rc, thread, time::Duration};

use actix_http::{HttpService, KeepAlive, Protocol, Request, Response, body::BoxBody, error::DispatchError};
use actix_server::Server;
use actix_service::{
    Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig};
use futures_util::stream;
use headwater_service::{Service, config::Connections, preface::begins_http2};
use tokio::{net::TcpStream, time};

use crate::{Streams, convert, limits::Connection};

/// How long a client may go on sending what nobody reads, so that it sees the answer instead of a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How long an HTTP/2 connection stays after its last answer when the server shuts down: actix says no GOAWAY.
const LAST_FRAMES: Duration = Duration::from_millis(500);

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
    let workers =
        thread::available_parallelism().map_or(1, NonZero::get).min(connections.connections_max).max(1);
    let draining = service.clone();
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.connections_max / workers)
        .shutdown_timeout(connections.drain_ms.div_ceil(1_000))
        .disable_signals()
        .listen("streams", listener, move || conversation(service.clone(), connections))?
        .run();
    let handle = server.handle();
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => {}
    }
    draining.drain();
    drop(handle.stop(true));
    let ended = time::timeout(Duration::from_millis(connections.drain_ms), server).await;
    ended.unwrap_or_else(|_| {
        tracing::warn!("connections are cut that took longer than the grace for shutting down");
        Ok(())
    })
}

/// What one worker does with the connections that it gets.
fn conversation(
    service: Service,
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let silence = Duration::from_millis(connections.header_timeout_ms);
    let streams = Streams::new(service.clone());
    let app = App::new().configure(move |config| streams.configure(config));
    // actix gives a connection to the callback, and its future to the caller: here they meet.
    let newest = Rc::new(Cell::new(None::<Rc<Connection>>));
    let connected = newest.clone();
    let (draining, asked) = (service.clone(), service.clone());
    let http = HttpService::build()
        .keep_alive(KeepAlive::Timeout(silence))
        // The time for heads is ours, see `limits`.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // Who goes away while waiting for events has closed its half first.
        .h1_allow_half_closed(false)
        .graceful_shutdown_signal(move || service.drained())
        .expect(fn_service(move |request| welcome(asked.clone(), request)))
        .on_connect_ext(move |_, data| {
            if let Some(connection) = connected.take() {
                data.insert(connection);
            }
        })
        .finish(map_config(app, |()| AppConfig::default()));
    let greeting = draining.clone();
    fn_service(move |socket| greet(socket, silence, greeting.drained())).and_then(apply_fn_factory(
        http,
        move |(socket, protocol), http: &_| {
            let connection = Connection::new(connections);
            newest.set(Some(connection.clone()));
            let conversation = http.call((socket, protocol, None));
            let drained = draining.drained();
            let is_http2 = protocol == Protocol::Http2;
            async move {
                let finished = async {
                    drained.await;
                    connection.is_idle(LAST_FRAMES).await;
                };
                tokio::select! {
                    ended = conversation => ended,
                    () = connection.is_silent(is_http2) => Ok(()),
                    () = finished, if is_http2 => Ok(()),
                }
            }
        },
    ))
}

/// What a client gets who asks before it sends a body (`Expect: 100-continue`): a refusal, or leave to go on.
async fn welcome(service: Service, request: Request) -> Result<Request, Response<BoxBody>> {
    let call = service.parse(&convert::Head(request.head()));
    if !call.is_refused() {
        return Ok(request);
    }
    let refusal = service.execute(call, stream::empty()).await;
    Err(convert::response(refusal, request.head(), None).map_into_boxed_body().into())
}

/// Waits for the first bytes and looks at them without taking them.
async fn greet(
    socket: TcpStream,
    silence: Duration,
    drained: impl Future<Output = ()>,
) -> Result<(TcpStream, Protocol), DispatchError> {
    // Small answers must not wait for each other; where it can't be set they do.
    let _ = socket.set_nodelay(true);
    let begun = tokio::select! {
        begun = begins_http2(&socket) => begun,
        () = time::sleep(silence) => Err(io::ErrorKind::TimedOut.into()),
        () = drained => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let is_http2 = begun.map_err(DispatchError::Io)?;
    Ok((socket, if is_http2 { Protocol::Http2 } else { Protocol::Http1 }))
}
