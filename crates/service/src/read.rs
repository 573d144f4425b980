//! GET and HEAD, done, but for event streams: answers from what is durable.

use std::sync::Arc;

use headwater_protocol::{
    Missing, Refusal, Unavailable,
    expiry::Lifetime,
    live::{LongPoll, PollStep},
    op::{
        head::Head,
        read::{Mode, Read, ReadContext},
    },
    progress::chunk_target,
    response::{Response, Source},
    stream::StreamHead,
};

use crate::{
    Body, Found, Inner,
    chunks::{Chunk, Span},
    clock::Alarm,
    streams::OpenStream,
};

impl Inner {
    pub(crate) async fn head(self: &Arc<Self>, head: &Head) -> Result<Response, Refusal> {
        let stream = self.open(&head.name).await?;
        match self.visible(&stream) {
            Ok(state) => Ok(head.respond(&state)),
            Err(refusal) => {
                self.forget(stream, &refusal);
                Err(refusal)
            }
        }
    }

    pub(crate) async fn read(self: &Arc<Self>, read: Read) -> Result<Found, Refusal> {
        let stream = self.open(&read.name).await?;
        let durable = stream.view().head;
        let head = match self.usable(&stream, durable.clone()) {
            Ok(head) => head,
            Err(refusal) => {
                self.forget(stream, &refusal);
                return Err(refusal);
            }
        };
        let position = head.position(read.from)?;
        if let Some(durable) = durable {
            self.touch(&stream, &durable, self.clock.wall_ms());
        }
        let head = stream.current(head);
        match read.mode {
            Mode::CatchUp => {
                let target = chunk_target(position, head.tail, self.config.chunk_bytes);
                self.answer(&read, &stream, &head, Span { from: position, target }).await
            }
            Mode::LongPoll => Box::pin(self.long_poll(&read, &stream, &head, position)).await,
            Mode::EventStream => Box::pin(self.events(read, stream, &head, position)).await,
        }
    }

    async fn answer(
        &self,
        read: &Read,
        stream: &OpenStream,
        head: &StreamHead,
        span: Span,
    ) -> Result<Found, Refusal> {
        let respond = |end| read.respond(&self.read_context(head, self.clock.wall_ms()), span.from, end);
        // An answer that ends at the tail is known without its bytes: who has them needs no read.
        if span.target == head.tail {
            let head = respond(head.tail);
            if head.is_not_modified() {
                return Ok(Found { head, body: Body::Empty, source: Source::Memory });
            }
        }
        let (chunk, source) = self.chunk(stream, head, span).await?;
        let head = respond(chunk.end);
        let body = if head.is_not_modified() { Body::Empty } else { Body::Full(chunk.body) };
        Ok(Found { head, body, source })
    }

    /// What responses to reads depend on.
    pub(crate) fn read_context<'a>(&'a self, stream: &'a StreamHead, now_ms: u64) -> ReadContext<'a> {
        ReadContext { stream, policies: &self.config.policies, now_ms }
    }

    /// A range of a stream, and where it came from. Bytes that the store doesn't have are damage, unless the stream itself is gone by now.
    pub(crate) async fn chunk(
        &self,
        stream: &OpenStream,
        head: &StreamHead,
        span: Span,
    ) -> Result<(Chunk, Source), Refusal> {
        let chunk = self.chunks.read(&*self.store, head, span).await;
        if !matches!(chunk, Err(Refusal::Missing(Missing::NotFound))) {
            return chunk;
        }
        // The store knows of a deletion before readers do.
        let queued = stream.lock().await.queued;
        stream.durable(queued).await;
        let view = stream.view();
        if view.abandoned || view.head.is_none_or(|now| now.incarnation != head.incarnation) {
            return chunk;
        }
        tracing::error!(name = %stream.name, "the store has lost a stream's bytes");
        Err(Unavailable::StorageFailed.into())
    }

    async fn long_poll(
        self: &Arc<Self>,
        read: &Read,
        stream: &Arc<OpenStream>,
        first: &StreamHead,
        position: u64,
    ) -> Result<Found, Refusal> {
        let _permit = self.live_permit()?;
        let deadline_ms = self.clock.now_ms().saturating_add(self.config.long_poll_timeout_ms);
        let long_poll = LongPoll { position, chunk_bytes: self.config.chunk_bytes, deadline_ms };
        let mut stream = stream.clone();
        // Subscribe, then look: the other way round a change in between would be missed.
        let mut changes = stream.subscribe();
        let mut alarm = Alarm::new(self.clock.clone());
        loop {
            let mut view = changes.borrow_and_update().clone();
            if view.abandoned {
                stream = self.open(&read.name).await?;
                changes = stream.subscribe();
                view = changes.borrow_and_update().clone();
            }
            let head = self.usable(&stream, view.head.clone())?;
            // A stream that was recreated meanwhile is another one: this reader's place is gone with the old one.
            if head.incarnation != first.incarnation {
                return Err(Missing::OffsetGone.into());
            }
            let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
            if let Some(durable) = &view.head {
                self.touch(&stream, durable, wall_ms);
            }
            let draining = *self.draining.borrow();
            match long_poll.poll(&head, now_ms, draining) {
                PollStep::Data { target } => {
                    return self.answer(read, &stream, &head, Span { from: position, target }).await;
                }
                PollStep::Nothing => {
                    let context = self.read_context(&head, wall_ms);
                    let head = read.respond_nothing(&context, position, draining).head;
                    return Ok(Found { head, body: Body::Empty, source: Source::Memory });
                }
                PollStep::Wait { until_ms } => {
                    let until_ms = until_ms.min(now_ms.saturating_add(touch_again_ms(&head, wall_ms)));
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = alarm.ring(until_ms) => {}
                    }
                }
            }
        }
    }

    /// The durable state of a stream that is usable now.
    pub(crate) fn visible(&self, stream: &OpenStream) -> Result<Arc<StreamHead>, Refusal> {
        self.usable(stream, stream.view().head)
    }

    /// The same of a state that was looked at already.
    pub(crate) fn usable(
        &self,
        stream: &OpenStream,
        durable: Option<Arc<StreamHead>>,
    ) -> Result<Arc<StreamHead>, Refusal> {
        let head = durable.map(|head| stream.current(head));
        let head = head.ok_or(Missing::NotFound)?;
        head.usable(self.clock.wall_ms())?;
        Ok(head)
    }
}

/// Returns after how many milliseconds a waiting reader has to look at a stream again, though nothing changed: to
/// prolong a sliding one, which doesn't expire while it has live readers, or to notice that another one is over.
pub(crate) fn touch_again_ms(head: &StreamHead, wall_ms: u64) -> u64 {
    match head.lifetime {
        Lifetime::Sliding { ttl_s } => ttl_s.saturating_mul(500).max(100),
        Lifetime::Unlimited => u64::MAX,
        Lifetime::Until { expires_at_ms } => expires_at_ms.saturating_sub(wall_ms),
    }
}
