//! The limits of [`Connections`] as settings of hyper's connection builder.

use headwater_listener::Connections;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};

/// hyper's default limit of header lines.
const HEADERS_MAX: usize = 100;

/// Returns a builder of connections, which detects the version of each.
pub(crate) fn builder(connections: &Connections) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Activity` bounds it, with another time for silence.
        .header_read_timeout(None)
        // A client that has sent its requests may close its half.
        .half_close(true)
        .max_buf_size(connections.header_bytes_max);
    // hyper allocates for every request once `max_headers` is set, so its default is left alone.
    if connections.headers_max != HEADERS_MAX {
        builder.http1().max_headers(connections.headers_max);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(connections.http2_streams_max)
        .max_header_list_size(u32::try_from(connections.header_bytes_max).unwrap_or(u32::MAX))
        // Pings notice peers that are gone while they wait.
        .keep_alive_interval(connections.idle_timeout())
        .keep_alive_timeout(connections.idle_timeout());
    builder
}
