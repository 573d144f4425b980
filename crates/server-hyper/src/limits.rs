//! The limits of [`Connections`] as settings of hyper's connection builders.

use headwater_listener::Connections;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// hyper's default limit of header lines.
const HEADERS_MAX: usize = 100;

/// Returns a builder of HTTP/1.1 connections.
pub(crate) fn http1(connections: &Connections) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(connections.header_timeout())
        .max_buf_size(connections.header_bytes_max);
    // hyper allocates for every request once `max_headers` is set, so its default is left alone.
    if connections.headers_max != HEADERS_MAX {
        builder.max_headers(connections.headers_max);
    }
    builder
}

/// Returns a builder of HTTP/2 connections.
pub(crate) fn http2(connections: &Connections) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(connections.http2_streams_max)
        .max_header_list_size(u32::try_from(connections.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(connections.header_timeout())
        .keep_alive_timeout(connections.header_timeout());
    builder
}
