//! A live reader's view of its stream, which survives commits that fail.

use std::sync::Arc;

use headwater_protocol::{Missing, Refusal, expiry::Lifetime, offset::Incarnation, stream::StreamHead};
use tokio::sync::watch;

use crate::{
    clock::Alarm,
    open_stream::{OpenStream, View},
    writes::Writes,
};

/// Follows one incarnation of a stream.
pub(crate) struct Follower {
    writes: Arc<Writes>,
    stream: Arc<OpenStream>,
    incarnation: Incarnation,
    changes: watch::Receiver<View>,
    alarm: Alarm,
    /// The steady time at which the stream has to be looked at again, though nothing changed.
    again_ms: u64,
}

impl Follower {
    pub(crate) fn new(writes: Arc<Writes>, stream: Arc<OpenStream>, incarnation: Incarnation) -> Self {
        let (changes, alarm) = (stream.subscribe(), Alarm::new(writes.clock.clone()));
        Self { writes, stream, incarnation, changes, alarm, again_ms: 0 }
    }

    /// Returns the durable state of the stream, and counts as a use of it. A change after that wakes
    /// [`Follower::changed`].
    ///
    /// # Errors
    /// Fails if the stream isn't usable any more. One that was created again is another one: the reader's position is
    /// gone with the old one.
    pub(crate) async fn head(&mut self) -> Result<Arc<StreamHead>, Refusal> {
        let mut view = self.changes.borrow_and_update().clone();
        while view.abandoned {
            self.stream = self.writes.streams.open(&self.stream.name).await?;
            self.changes = self.stream.subscribe();
            view = self.changes.borrow_and_update().clone();
        }
        let (now_ms, calendar_ms) = (self.writes.clock.now_ms(), self.writes.calendar.now_ms());
        let head = self.stream.usable(view.head.clone(), calendar_ms)?;
        if head.incarnation != self.incarnation {
            return Err(Missing::OffsetGone.into());
        }
        if let Some(durable) = &view.head {
            self.writes.touch(&self.stream, durable, calendar_ms);
        }
        self.again_ms = now_ms.saturating_add(look_again_after_ms(&head, calendar_ms));
        Ok(head)
    }

    /// Waits until the stream changes, or until the steady time `until_ms`, or shorter.
    pub(crate) async fn changed(&mut self, until_ms: u64) {
        tokio::select! {
            _ = self.changes.changed() => {}
            () = self.alarm.ring(until_ms.min(self.again_ms)) => {}
        }
    }

    pub(crate) fn stream(&self) -> &OpenStream {
        &self.stream
    }
}

/// Returns after how many milliseconds a waiting reader has to look at a stream again, though nothing changed: to
/// prolong a sliding one, which doesn't expire while it has live readers, or to notice that another one is over.
fn look_again_after_ms(head: &StreamHead, calendar_ms: u64) -> u64 {
    match head.lifetime {
        Lifetime::Sliding { ttl_s } => ttl_s.saturating_mul(500).max(100),
        Lifetime::Unlimited => u64::MAX,
        Lifetime::Until { expires_at_ms } => expires_at_ms.saturating_sub(calendar_ms),
    }
}
