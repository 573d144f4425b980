//! From hyper's types to the service's and back, and nothing else.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use headwater_service::{Body, Response};
use http_body::{Frame, SizeHint};

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
