//! Conversion between actix's types, which are those of `http` 0.2, and those of the service.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, Method, RequestHead as ActixHead, Version,
    body::{BodySize, MessageBody},
    header, uri,
};
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, stream};
use headwater_listener::InFlight;
use headwater_protocol::RequestHead;
use headwater_service::{Body, Response};
use http::HeaderName;

/// A borrowed request head.
pub(crate) struct Head<'a> {
    pub(crate) head: &'a ActixHead,
    pub(crate) is_from_trusted_proxy: bool,
}

impl<'h> RequestHead for Head<'h> {
    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    fn path(&self) -> &str {
        self.head.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    fn authority(&self) -> Option<&str> {
        let host = || self.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        self.head.uri.authority().map(uri::Authority::as_str).or_else(host)
    }

    fn scheme(&self) -> Option<&str> {
        self.head.uri.scheme_str()
    }

    fn version(&self) -> http::Version {
        match self.head.version {
            Version::HTTP_2 => http::Version::HTTP_2,
            Version::HTTP_11 => http::Version::HTTP_11,
            _ => http::Version::HTTP_10,
        }
    }

    fn is_from_trusted_proxy(&self) -> bool {
        self.is_from_trusted_proxy
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'h> {
        self.head.headers.get_all(name.as_str()).map(header::HeaderValue::as_bytes)
    }
}

/// Returns the request's body without actix's limits, as the service has its own.
pub(crate) fn body(
    head: &ActixHead,
    mut body: web::Payload,
) -> impl Stream<Item = io::Result<Bytes>> + Unpin + use<> {
    let mut left = if is_upgrade(head) { declared_bytes(head) } else { u64::MAX };
    stream::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(Pin::new(&mut body).poll_next(context));
        Poll::Ready(piece.map(|piece| match piece {
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= bytes.len() as u64;
                Ok(bytes)
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }))
    })
}

/// Returns whether actix treats everything after the head as its body, whatever its declared length, so that a handler
/// could switch protocols.
fn is_upgrade(head: &ActixHead) -> bool {
    head.method == Method::CONNECT || head.headers.contains_key(header::UPGRADE)
}

/// Returns the length of the body in bytes, as the head declares it (RFC 9112, section 6.3).
fn declared_bytes(head: &ActixHead) -> u64 {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return u64::MAX;
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

/// Converts the response to `request`. It carries `in_flight` until its body is sent.
#[expect(clippy::expect_used, reason = "http 0.2 and 1 accept the same statuses, names and values")]
pub(crate) fn response(
    response: Response,
    request: &ActixHead,
    in_flight: Option<InFlight>,
) -> HttpResponse<ResponseBody> {
    let Response { head, body } = response;
    let size = match body.bytes_left() {
        // An HTTP/1.1 client without a `Content-Length` would wait for a body. HTTP/2 ends the stream with the head.
        Some(0) if request.method == Method::HEAD || request.version == Version::HTTP_2 => BodySize::None,
        Some(bytes) => BodySize::Sized(bytes),
        None => BodySize::Stream,
    };
    let status = head.status.as_u16().try_into().expect("a status in http 1 is one in http 0.2");
    let body = ResponseBody { body, size, rest: Bytes::new(), in_flight };
    let mut converted = HttpResponse::with_body(status, body);
    for (name, value) in &head.headers {
        let name = header::HeaderName::from_bytes(name.as_str().as_bytes())
            .expect("a name in http 1 is one in http 0.2");
        let value =
            header::HeaderValue::from_bytes(value.as_bytes()).expect("a value in http 1 is one in http 0.2");
        converted.headers_mut().append(name, value);
    }
    // HTTP/1.0 has no chunked encoding: closing the connection ends the body.
    let ends_by_closing = size == BodySize::Stream && request.version <= Version::HTTP_10;
    if ends_by_closing || is_upgrade(request) {
        converted.head_mut().no_chunking(true);
        converted.head_mut().set_connection_type(ConnectionType::Close);
    }
    converted
}

/// The most bytes that are given to actix at a time, which copies them into its own buffer.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// The body of a response.
pub struct ResponseBody {
    body: Body,
    size: BodySize,
    /// What of the last piece wasn't given to actix yet.
    rest: Bytes,
    /// Dropped with the body, when it is sent or abandoned.
    in_flight: Option<InFlight>,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl MessageBody for ResponseBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        let this = &mut *self;
        if let Some(in_flight) = &mut this.in_flight {
            in_flight.taken();
        }
        if this.rest.is_empty() {
            let is_live = this.body.bytes_left().is_none();
            let ends = is_live && this.in_flight.as_ref().is_some_and(InFlight::ends_events);
            let next = this.body.poll_next(context);
            if ends && next.is_pending() {
                return Poll::Ready(None);
            }
            match ready!(next) {
                Some(Ok(piece)) => this.rest = piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES_MAX));
        Poll::Ready(Some(Ok(piece)))
    }
}
