//! Bodies: request bodies are received within bounds, response bodies are bytes or an event stream.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use headwater_protocol::Refusal;

use crate::{clock::Clock, config::Config};

/// What follows a response head.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes of known length.
    Full(Bytes),
    /// Events, until the stream ends.
    Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    /// How many bytes are there already; those of events come later.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Full(bytes) => bytes.len(),
            Self::Empty | Self::Events(_) => 0,
        }
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

/// How much memory request bodies take together.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget(Arc<AtomicU64>);

/// A part of the budget; given back when dropped.
struct Share {
    budget: Arc<AtomicU64>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64, max: u64) -> Result<(), Refusal> {
        let before = self.budget.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > max { Err(Refusal::Overloaded { what: "request bodies" }) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl BodyBudget {
    /// How much they take now.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Receives a whole body.
    pub(crate) async fn collect<B>(
        &self,
        mut body: B,
        config: &Config,
        clock: &dyn Clock,
    ) -> Result<Bytes, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let mut share = Share { budget: self.0.clone(), bytes: 0 };
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        loop {
            // Most bodies are there already: then nobody needs a timer.
            let next = match body.next().now_or_never() {
                Some(next) => next,
                None => {
                    let deadline_ms = clock.now_ms().saturating_add(config.body_timeout_ms);
                    tokio::select! {
                        biased;
                        next = body.next() => next,
                        () = clock.sleep_until(deadline_ms) => return Err(Refusal::BodyTimeout),
                    }
                }
            };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|_| Refusal::BodyBroken)?;
            let bytes = (first.len() + rest.len() + chunk.len()) as u64;
            if bytes > config.body_bytes_max {
                return Err(Refusal::BodyTooLarge { limit_bytes: config.body_bytes_max });
            }
            share.grow(chunk.len() as u64, config.bodies_bytes_max)?;
            // Most bodies come in one piece, which is kept as it is.
            if first.is_empty() && rest.is_empty() {
                first = chunk;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&chunk);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }
}
