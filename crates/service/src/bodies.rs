//! Request bodies, which are received within bounds: of their size, of the memory of all, and of the time that they
//! take.

use std::{io, mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use headwater_protocol::{BadRequest, Refusal, pace::Pace};

use crate::{
    clock::Clock,
    config::Config,
    memory::{Budget, Share},
};

/// Bodies up to this size are copied, so that they don't keep the whole buffer of the connection, which can then be
/// used again.
const COPIED_BYTES_MAX: usize = 2 << 10;

/// The memory of request bodies: while they are received, and until what they ask for is durable.
pub(crate) struct Bodies {
    pub(crate) budget: Budget,
    pace: Pace,
    clock: Arc<dyn Clock>,
}

/// A request's body that is still to be received.
pub(crate) struct Incoming<B> {
    pub(crate) body: B,
    /// The length that the request's head declares, in bytes.
    pub(crate) declared_bytes: Option<u64>,
}

impl Bodies {
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let budget = Budget::new("request bodies", config.bodies_bytes_max);
        Self { budget, pace: config.pace, clock }
    }

    /// Receives a whole body of at most `bytes_max` bytes. It counts against the budget for as long as its bytes are held.
    pub(crate) async fn receive<B>(&self, incoming: Incoming<B>, bytes_max: u64) -> Result<Bytes, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let Incoming { mut body, declared_bytes } = incoming;
        let mut share = Share::empty();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut received_bytes = 0;
        let began_ms = self.clock.now_ms();
        let mut latest_ms = began_ms;
        loop {
            // Most bodies have arrived already: then no timer is needed.
            let next = match body.next().now_or_never() {
                Some(next) => next,
                None => {
                    let deadline_ms = self.pace.next_deadline_ms(began_ms, latest_ms, received_bytes);
                    tokio::select! {
                        biased;
                        next = body.next() => next,
                        () = self.clock.sleep_until(deadline_ms) => return Err(BadRequest::BodyTimeout.into()),
                    }
                }
            };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|_| BadRequest::BodyBroken)?;
            received_bytes += chunk.len() as u64;
            if received_bytes > bytes_max {
                return Err(BadRequest::BodyTooLarge { limit_bytes: bytes_max }.into());
            }
            self.budget.grow(&mut share, received_bytes)?;
            latest_ms = self.clock.now_ms();
            // Most bodies come in one piece.
            if first.is_empty() && rest.is_empty() {
                first = if chunk.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&chunk) } else { chunk };
            } else {
                rest.extend_from_slice(&mem::take(&mut first));
                rest.extend_from_slice(&chunk);
            }
        }
        // The transport may take the end of what it got for the end of the message.
        if declared_bytes.is_some_and(|declared_bytes| declared_bytes != received_bytes) {
            return Err(BadRequest::BodyBroken.into());
        }
        Ok(share.hold(if rest.is_empty() { first } else { rest.freeze() }))
    }
}
