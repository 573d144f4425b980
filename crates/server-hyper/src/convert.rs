//! From hyper's types to the service's and back, and nothing else.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;

use headwater_protocol::RequestHead;
use headwater_service::{Body, Response};
use http::{HeaderName, HeaderValue, Version, header::HOST, request::Parts};
use http_body::{Frame, SizeHint};

/// A request's head, borrowed.
pub(crate) struct Head<'a>(pub(crate) &'a Parts);

impl<'h> RequestHead for Head<'h> {
    fn method(&self) -> &str {
        self.0.method.as_str()
    }

    fn path(&self) -> &str {
        self.0.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.0.uri.query()
    }

    fn authority(&self) -> Option<&str> {
        let host = || self.0.headers.get(HOST).and_then(|host| host.to_str().ok());
        self.0.uri.authority().map(http::uri::Authority::as_str).or_else(host)
    }

    fn version(&self) -> Version {
        self.0.version
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'h> {
        self.0.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// The answer as hyper sends it.
pub(crate) fn response(response: Response) -> http::Response<ResponseBody> {
    let mut converted = http::Response::new(ResponseBody(response.body));
    *converted.status_mut() = response.head.status;
    *converted.headers_mut() = response.head.headers;
    converted
}

/// A response body: bytes of known length, or events.
pub struct ResponseBody(Body);

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.bytes_left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
