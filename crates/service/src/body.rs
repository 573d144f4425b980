//! Request bodies, which are received within bounds, and response bodies, which are bytes or an event stream.

use std::{
    convert::Infallible,
    fmt, io, mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use headwater_protocol::{BadRequest, Refusal, Unavailable};
use http_body::{Frame, SizeHint};

use crate::{clock::Clock, config::Config};

/// Bodies up to this size are copied, so that they don't keep the whole buffer of the connection, which can then be
/// used again.
const COPIED_BYTES_MAX: usize = 2 << 10;

/// The body of a response.
pub enum Body {
    /// No bytes.
    Empty,
    /// Bytes of known length.
    Full(Bytes),
    /// The events of an event stream, as they come.
    Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    /// Returns the number of bytes that are left to send, if it is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Events(_) => None,
        }
    }

    /// Polls for the next bytes to send; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Self::Events(events) => events.as_mut().poll_next(context),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Events(_) => f.write_str("Events"),
        }
    }
}

/// Receives request bodies within bounds.
pub(crate) struct Bodies {
    /// The memory that bodies take now, in bytes.
    budget: Arc<AtomicU64>,
    budget_max: u64,
    /// The longest pause in a body.
    timeout_ms: u64,
    clock: Arc<dyn Clock>,
}

/// A part of the budget, which is returned when dropped.
struct Share {
    budget: Arc<AtomicU64>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64, max: u64) -> Result<(), Refusal> {
        let before = self.budget.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > max {
            Err(Unavailable::Overloaded { what: "request bodies" }.into())
        } else {
            Ok(())
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Bodies {
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let (budget_max, timeout_ms) = (config.bodies_bytes_max, config.body_timeout_ms);
        Self { budget: Arc::default(), budget_max, timeout_ms, clock }
    }

    /// Returns the memory that bodies take now, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// Receives a whole body of at most `bytes_max` bytes.
    pub(crate) async fn receive<B>(&self, mut body: B, bytes_max: u64) -> Result<Bytes, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let mut share = Share { budget: self.budget.clone(), bytes: 0 };
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        loop {
            // Most bodies have arrived already: then no timer is needed.
            let next = match body.next().now_or_never() {
                Some(next) => next,
                None => {
                    let deadline_ms = self.clock.now_ms().saturating_add(self.timeout_ms);
                    tokio::select! {
                        biased;
                        next = body.next() => next,
                        () = self.clock.sleep_until(deadline_ms) => return Err(BadRequest::BodyTimeout.into()),
                    }
                }
            };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|_| BadRequest::BodyBroken)?;
            let bytes = (first.len() + rest.len() + chunk.len()) as u64;
            if bytes > bytes_max {
                return Err(BadRequest::BodyTooLarge { limit_bytes: bytes_max }.into());
            }
            share.grow(chunk.len() as u64, self.budget_max)?;
            // Most bodies come in one piece.
            if first.is_empty() && rest.is_empty() {
                first = if chunk.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&chunk) } else { chunk };
            } else {
                rest.extend_from_slice(&mem::take(&mut first));
                rest.extend_from_slice(&chunk);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }
}
