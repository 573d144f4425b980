//! The read path: GET and HEAD, answered from what is durable. Event streams have a file of their own.

use std::sync::{Arc, atomic::AtomicU64};

use headwater_protocol::{
    Missing, Refusal, Unavailable,
    live::{LongPoll, PollStep},
    op::{
        head::Head,
        read::{Mode, Read, ReadContext},
    },
    progress::chunk_target,
    response::{Response, ResponseHead, Source},
    stream::StreamHead,
};
use headwater_store::Store;
use tokio::sync::watch;

use crate::{
    Body,
    clock::{Calendar, Clock},
    config::Config,
    events::EventCache,
    follower::Follower,
    live_readers::LiveReaders,
    memory::Budget,
    metrics::Metrics,
    open_stream::OpenStream,
    pieces::{NoRoom, Pieces, Range, Span},
    streams::Streams,
    writes::Writes,
};

/// Reads streams.
pub(crate) struct Reads {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) config: Arc<Config>,
    pub(crate) streams: Arc<Streams>,
    /// Reading prolongs streams with a sliding deadline.
    pub(crate) writes: Arc<Writes>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pieces: Pieces,
    pub(crate) events: EventCache,
    /// The memory of encoded events.
    pub(crate) event_bytes: Budget,
    pub(crate) live_readers: LiveReaders,
    /// Counts event streams, so that those that begin together end apart.
    pub(crate) event_streams: AtomicU64,
    /// Becomes true when the service drains.
    pub(crate) draining: watch::Receiver<bool>,
}

/// The response to a read.
pub(crate) struct ReadResponse {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    pub(crate) source: Source,
}

impl Reads {
    pub(crate) async fn head(&self, head: &Head) -> Result<Response, Refusal> {
        let stream = self.streams.open(&head.name).await?;
        match stream.usable(stream.view().head, self.calendar.now_ms()) {
            Ok(usable) => Ok(head.respond(&usable)),
            Err(missing) => Err(self.streams.forget(stream, missing)),
        }
    }

    pub(crate) async fn read(self: &Arc<Self>, read: Read) -> Result<ReadResponse, Refusal> {
        let stream = self.streams.open(&read.name).await?;
        let (durable, calendar_ms) = (stream.view().head, self.calendar.now_ms());
        let head = match stream.usable(durable.clone(), calendar_ms) {
            Ok(head) => head,
            Err(missing) => return Err(self.streams.forget(stream, missing)),
        };
        let position = head.read_position(read.from)?;
        if let Some(durable) = durable {
            self.writes.touch(&stream, &durable, calendar_ms);
        }
        let head = stream.current(head);
        match read.mode {
            Mode::CatchUp => {
                let target = chunk_target(position, head.tail, self.config.chunk_bytes);
                self.respond(&read, &stream, &head, Span { from: position, target }).await
            }
            Mode::LongPoll => Box::pin(self.long_poll(&read, stream, &head, position)).await,
            Mode::EventStream if read.ends_event_source(&head, position) => {
                let Response { head, .. } =
                    read.respond_nothing(&self.context(&head), position, self.is_draining());
                Ok(ReadResponse { head, body: Body::Empty, source: Source::Memory })
            }
            Mode::EventStream => Box::pin(self.follow_events(read, stream, &head, position)).await,
        }
    }

    async fn long_poll(
        self: &Arc<Self>,
        read: &Read,
        stream: Arc<OpenStream>,
        head: &Arc<StreamHead>,
        position: u64,
    ) -> Result<ReadResponse, Refusal> {
        let _permit = self.live_readers.permit()?;
        let deadline_ms = self.clock.now_ms().saturating_add(self.config.long_poll_timeout_ms);
        let long_poll = LongPoll { position, chunk_bytes: self.config.chunk_bytes, deadline_ms };
        let mut follower = Follower::new(self.writes.clone(), stream, head.incarnation);
        loop {
            let head = follower.head().await?;
            let draining = self.is_draining();
            match long_poll.poll(&head, self.clock.now_ms(), draining) {
                PollStep::Data { target } => {
                    return self
                        .respond(read, follower.stream(), &head, Span { from: position, target })
                        .await;
                }
                PollStep::Nothing => {
                    let Response { head, .. } =
                        read.respond_nothing(&self.context(&head), position, draining);
                    return Ok(ReadResponse { head, body: Body::Empty, source: Source::Memory });
                }
                PollStep::Wait { until_ms } => follower.changed(until_ms).await,
            }
        }
    }

    /// Responds with a range of a stream.
    async fn respond(
        self: &Arc<Self>,
        read: &Read,
        stream: &OpenStream,
        head: &Arc<StreamHead>,
        span: Span,
    ) -> Result<ReadResponse, Refusal> {
        // A response that ends at the tail is known without its bytes: if the client has them, they needn't be read.
        if span.target == head.tail {
            let head = read.respond(&self.context(head), span.from, head.tail);
            if head.is_not_modified() {
                return Ok(ReadResponse { head, body: Body::Empty, source: Source::Memory });
            }
        }
        let (range, source) = self.range(stream, head, span, NoRoom::Refuse).await?;
        let response = read.respond(&self.context(head), range.from, range.end);
        let body = if response.is_not_modified() { Body::Empty } else { self.body(head, range) };
        Ok(ReadResponse { head: response, body, source })
    }

    /// Opens a range of a stream, and tells where it came from. Bytes that the store doesn't have are damage, unless the
    /// stream itself has been removed by now.
    pub(crate) async fn range(
        &self,
        stream: &OpenStream,
        head: &StreamHead,
        span: Span,
        no_room: NoRoom,
    ) -> Result<(Range, Source), Refusal> {
        let range = self.pieces.open(&*self.store, head, span, no_room).await;
        if !matches!(range, Err(Refusal::Missing(Missing::NotFound))) {
            return range;
        }
        // The store removes a stream before readers see that.
        let queued = stream.lock().await.queued;
        stream.wait_durable(queued).await;
        let view = stream.view();
        if view.abandoned || view.head.is_none_or(|now| now.incarnation != head.incarnation) {
            return range;
        }
        tracing::error!(name = %stream.name, "the store has lost a stream's bytes");
        Err(Unavailable::StorageFailed.into())
    }

    /// Returns the values that a response depends on besides the request.
    pub(crate) fn context<'a>(&'a self, stream: &'a StreamHead) -> ReadContext<'a> {
        ReadContext { stream, policies: &self.config.policies, now_ms: self.calendar.now_ms() }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
