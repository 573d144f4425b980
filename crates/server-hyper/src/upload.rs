//! Request bodies: what hyper takes for the end of one and isn't, and what is left of one that was refused.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::{Version, header, request::Parts};
use http_body::Body;
use tokio::time;

/// How long the rest of a refused body is read. A client that still sends gets a reset otherwise, and may lose the
/// response to it (RFC 9112, section 9.6).
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// How much of it is read, in bytes.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// A request's body as bytes.
pub(crate) struct Upload<B> {
    body: B,
    version: Version,
    expects_continue: bool,
    is_begun: bool,
    is_ended: bool,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    pub(crate) fn new(head: &Parts, body: B) -> Self {
        let expects_continue = head.headers.contains_key(header::EXPECT);
        let is_ended = body.is_end_stream();
        Self { body, version: head.version, expects_continue, is_begun: false, is_ended }
    }

    /// Returns whether a client may still be sending, which has to be read so that it sees the response.
    ///
    /// On HTTP/2 each stream ends by itself. A client that waits for `100 Continue` would get it by the first read.
    pub(crate) fn needs_draining(&self) -> bool {
        let waits = self.expects_continue && !self.is_begun;
        !self.is_ended && !waits && self.version <= Version::HTTP_11
    }

    /// Reads what is left and drops it, within bounds.
    pub(crate) async fn drain(mut self) {
        let mut bytes = 0;
        let read = async {
            while let Some(Ok(piece)) = self.next().await
                && bytes < DRAIN_BYTES_MAX
            {
                bytes += piece.remaining() as u64;
            }
        };
        // Whatever is left then ends with the connection.
        let _ = time::timeout(DRAIN_TIME, read).await;
    }
}

impl<B> Stream for Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.is_begun = true;
        while !self.is_ended {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                    // Trailers mean nothing here.
                }
                Some(Err(error)) => {
                    self.is_ended = true;
                    return Poll::Ready(Some(Err(io::Error::other(error.to_string()))));
                }
                None => {
                    self.is_ended = true;
                    // hyper ends the body of a stream that was reset with NO_ERROR or CANCEL as if it were whole.
                    if self.version == Version::HTTP_2 && !self.body.is_end_stream() {
                        return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
            }
        }
        Poll::Ready(None)
    }
}
