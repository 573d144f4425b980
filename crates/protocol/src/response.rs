//! Response heads: status and headers, as every adapter sends them.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{cache::Class, names, offset::Offset, progress::Progress};

/// What comes before a body. It always has a Cache-Control.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers, but those that the transport adds itself (Date, Content-Length, Connection).
    pub headers: HeaderMap,
    /// What the answer is to a cache.
    pub class: Class,
}

/// As many headers as writers and readers get, about: room for them from the beginning saves moving them.
const WRITE_HEADERS: usize = 12;
const READ_HEADERS: usize = 20;

/// Where the origin had an answer's bytes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// Memory.
    #[default]
    Memory,
    /// The store.
    Store,
    /// A read of the store that another request had begun.
    Collapsed,
}

impl ResponseHead {
    /// A head that no cache may keep.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let mut headers = HeaderMap::with_capacity(WRITE_HEADERS);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, class: Class::Never }
    }

    /// A head of a class of reads, still without its Cache-Control.
    pub(crate) fn of_read(status: StatusCode, class: Class) -> Self {
        Self { status, headers: HeaderMap::with_capacity(READ_HEADERS), class }
    }

    /// Whether the client has the bytes already.
    #[must_use]
    pub fn is_not_modified(&self) -> bool {
        self.status == StatusCode::NOT_MODIFIED
    }

    /// Says where the reader stands.
    pub(crate) fn progress(&mut self, progress: Progress) {
        self.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(progress.next));
        if progress.up_to_date {
            self.headers.insert(names::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
        }
        self.closed(progress.closed);
    }

    /// Says that nothing will follow. There is no such header on an open stream: clients test its presence.
    pub(crate) fn closed(&mut self, closed: bool) {
        if closed {
            self.headers.insert(names::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
    }
}

/// The answer to a liveness probe.
#[must_use]
pub fn health() -> ResponseHead {
    let mut head = ResponseHead::new(StatusCode::OK);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head
}

/// Says how long the origin took: what a page can subtract to see the network and the caches.
pub fn server_timing(head: &mut ResponseHead, took_us: u64) {
    let mut milliseconds = itoa::Buffer::new();
    // A thousand more, so that there are three digits after the first.
    let mut rest = itoa::Buffer::new();
    let rest = rest.format(1_000 + took_us % 1_000).get(1..).unwrap_or_default();
    let timing = ["origin;dur=", milliseconds.format(took_us / 1_000), ".", rest].concat();
    head.headers.insert(names::SERVER_TIMING, text_value(&timing));
}

/// Says where the origin had the bytes from, as a cache does (RFC 9211). Caches on the way add to it.
pub fn cache_status(head: &mut ResponseHead, source: Source) {
    let status = match source {
        Source::Memory => "headwater; hit",
        Source::Store => "headwater; fwd=miss; stored",
        Source::Collapsed => "headwater; fwd=miss; collapsed",
    };
    head.headers.insert(names::CACHE_STATUS, HeaderValue::from_static(status));
}

/// The answer to a collector of metrics.
#[must_use]
pub fn metrics() -> ResponseHead {
    let mut head = ResponseHead::new(StatusCode::OK);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    head
}

/// An offset as a header's value.
pub(crate) fn offset_value(offset: Offset) -> HeaderValue {
    HeaderValue::from_bytes(&offset.encode()).unwrap_or(HeaderValue::from_static(Offset::BEGINNING))
}

/// A text that was checked to be visible ASCII, as a header's value.
pub(crate) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
