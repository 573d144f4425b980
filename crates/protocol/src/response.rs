//! Responses: status, headers and bodies, as every adapter sends them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{cache::Class, names, offset::Offset};

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status and the headers.
    pub head: ResponseHead,
    /// The body; empty if there is none.
    pub body: Bytes,
}

/// The part of a response that comes before its body. It always has a Cache-Control.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers, except for those that the transport adds itself (Date, Content-Length, Connection).
    pub headers: HeaderMap,
    /// What caches may do with the response.
    pub class: Class,
}

/// About as many headers as responses to writes and reads have: with that much capacity the map never grows.
const WRITE_HEADERS: usize = 12;
const READ_HEADERS: usize = 20;

/// Where the server took the bytes of a response from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// The bytes were in memory.
    #[default]
    Memory,
    /// The bytes were read from the store.
    Store,
    /// The bytes were read from the store by another request at the same time.
    Collapsed,
}

impl From<ResponseHead> for Response {
    /// A response without a body.
    fn from(head: ResponseHead) -> Self {
        Self { head, body: Bytes::new() }
    }
}

impl Response {
    /// A JSON response that no cache may keep.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut head = ResponseHead::new(status);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { head, body: body.into() }
    }
}

impl ResponseHead {
    /// Returns a head that no cache may keep.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let mut headers = HeaderMap::with_capacity(WRITE_HEADERS);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, class: Class::Never }
    }

    /// Returns the head of a read, still without its Cache-Control.
    pub(crate) fn of_read(status: StatusCode, class: Class) -> Self {
        Self { status, headers: HeaderMap::with_capacity(READ_HEADERS), class }
    }

    /// Returns whether the client has the bytes already, so that the response has no body (RFC 9110, 15.4.5).
    #[must_use]
    pub fn is_not_modified(&self) -> bool {
        self.status == StatusCode::NOT_MODIFIED
    }

    /// Adds `Stream-Closed` if the stream is closed. An open stream has no such header: clients test its presence.
    pub(crate) fn closed(&mut self, closed: bool) {
        if closed {
            self.headers.insert(names::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
    }
}

/// The question of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/livez`: would a restart help?
    Live,
    /// `/readyz` and `/health`: should requests be sent here?
    Ready,
}

/// The state of a server, as probes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It serves.
    Ok,
    /// It ends.
    ShuttingDown,
    /// The store can't do its work now, and goes on by itself once what it needs is there again.
    StorageFailing,
    /// The store takes no more writes until the server is started again.
    StorageStopped,
}

/// Returns the response to a probe: 200, or 503 if the answer is to act.
#[must_use]
pub fn probe(probe: Probe, state: ServerState) -> Response {
    let text = match state {
        ServerState::Ok => "ok",
        ServerState::ShuttingDown => "shutting-down",
        ServerState::StorageFailing => "storage-failing",
        ServerState::StorageStopped => "storage-stopped",
    };
    let is_good = match probe {
        Probe::Live => state != ServerState::StorageStopped,
        Probe::Ready => state == ServerState::Ok,
    };
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Response::json(status, format!("{{\"status\":\"{text}\"}}"))
}

/// Returns the response that carries metrics in the OpenMetrics text format.
#[must_use]
pub fn metrics(text: String) -> Response {
    let mut head = ResponseHead::new(StatusCode::OK);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Response { head, body: text.into() }
}

/// Adds how long the server took (`Server-Timing`): a page subtracts it to see the network and the caches.
pub fn server_timing(head: &mut ResponseHead, took_us: u64) {
    let mut milliseconds = itoa::Buffer::new();
    // A thousand more, so that there are three digits after the first.
    let mut rest = itoa::Buffer::new();
    let rest = rest.format(1_000 + took_us % 1_000).get(1..).unwrap_or_default();
    let timing = ["origin;dur=", milliseconds.format(took_us / 1_000), ".", rest].concat();
    head.headers.insert(names::SERVER_TIMING, text_value(&timing));
}

/// Adds where the server took the bytes from, as a cache does (RFC 9211). Caches on the way add to it.
pub fn cache_status(head: &mut ResponseHead, source: Source) {
    let status = match source {
        Source::Memory => "headwater; hit",
        Source::Store => "headwater; fwd=miss; stored",
        Source::Collapsed => "headwater; fwd=miss; collapsed",
    };
    head.headers.insert(names::CACHE_STATUS, HeaderValue::from_static(status));
}

/// Returns an offset as a header's value.
#[expect(clippy::expect_used, reason = "digits and an underscore are a header's value")]
pub(crate) fn offset_value(offset: Offset) -> HeaderValue {
    HeaderValue::from_bytes(&offset.encode()).expect("digits and an underscore")
}

/// Returns a text as a header's value. The caller has made it of visible ASCII, spaces and tabs.
#[expect(clippy::expect_used, reason = "visible ASCII, spaces and tabs are a header's value")]
pub(crate) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII, spaces and tabs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_fails_when_somebody_should_act() {
        for (state, live, ready) in [
            (ServerState::Ok, 200, 200),
            (ServerState::ShuttingDown, 200, 503),
            (ServerState::StorageFailing, 200, 503),
            (ServerState::StorageStopped, 503, 503),
        ] {
            for (question, status) in [(Probe::Live, live), (Probe::Ready, ready)] {
                assert_eq!(probe(question, state).head.status, status, "{question:?} {state:?}");
            }
        }
    }
}
