//! Response bodies: bytes, a range in pieces, or an event stream.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::Refusal;
use http_body::{Frame, SizeHint};

/// The body of a response.
pub enum Body {
    /// No bytes.
    Empty,
    /// Bytes that are in memory.
    Full(Bytes),
    /// Bytes of known length that are read while the client takes them.
    Streamed(Streamed),
    /// The events of an event stream, as they come.
    Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

/// A range of a stream in pieces of some hundred KiB.
pub struct Streamed {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>,
    bytes_left: u64,
}

/// The rest of a body can't be read any more: the stream was deleted meanwhile, or the store has failed. The response has to
/// be cut off, so that the client doesn't take it for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the response can't be read")]
pub struct BodyError(#[source] Refusal);

impl BodyError {
    pub(crate) const fn new(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl Streamed {
    pub(crate) fn new(
        pieces: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
        bytes_left: u64,
    ) -> Self {
        Self { pieces: Box::pin(pieces), bytes_left }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let piece = self.pieces.as_mut().poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            self.bytes_left = self.bytes_left.saturating_sub(piece.len() as u64);
        }
        piece
    }
}

impl Body {
    /// Returns the number of bytes that are left to send, if it is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Streamed(streamed) => Some(streamed.bytes_left),
            Self::Events(_) => None,
        }
    }

    /// Polls for the next bytes to send; `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]: the response has to be cut off.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                Poll::Ready(Some(mem::take(bytes)).filter(|bytes| !bytes.is_empty()).map(Ok))
            }
            Self::Streamed(streamed) => streamed.poll_next(context),
            Self::Events(events) => events.as_mut().poll_next(context).map(|event| event.map(Ok)),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_next(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streamed({} bytes left)", self.bytes_left)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Streamed(streamed) => streamed.fmt(f),
            Self::Events(_) => f.write_str("Events"),
        }
    }
}
