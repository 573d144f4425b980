//! The service's bounds on connections, as hyper's builders take them.

use std::time::Duration;

use headwater_service::config::Connections;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The most header lines that hyper takes if nobody says otherwise.
const HEADERS_MAX: usize = 100;

/// For HTTP/1.1.
pub(crate) fn http1(connections: &Connections) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(connections.header_timeout_ms))
        .max_buf_size(connections.header_bytes_max);
    // What is hyper's own limit anyway costs an allocation per request when it is said.
    if connections.headers_max != HEADERS_MAX {
        builder.max_headers(connections.headers_max);
    }
    builder
}

/// For HTTP/2 with prior knowledge.
pub(crate) fn http2(connections: &Connections) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let silence = Duration::from_millis(connections.header_timeout_ms);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(connections.http2_streams_max)
        .max_header_list_size(u32::try_from(connections.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(silence)
        .keep_alive_timeout(silence);
    builder
}
