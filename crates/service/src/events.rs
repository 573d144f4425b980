//! Event streams: the session of the rules is driven, and readers of one event share its bytes.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::stream;
use headwater_protocol::{
    Refusal,
    cache::Class,
    content_type::SseEncoding,
    cursor::Cursor,
    live::{self, EventSession, EventStep, EventTimes},
    offset::Incarnation,
    op::read::Read,
    progress::{Progress, chunk_target},
    sse,
    stream::StreamHead,
};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Body,
    chunks::{Chunk, Span},
    follower::Follower,
    open_stream::OpenStream,
    read::{ReadResponse, Reads},
};

/// The memory of an entry besides its bytes, about.
const ENTRY_BYTES: u64 = 160;

/// Encoded events: readers at the same position send the same bytes.
pub(crate) type EventCache = Cache<EventKey, Bytes, ByBytes>;

/// Everything that the bytes of an event depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventKey {
    incarnation: Incarnation,
    from: u64,
    end: u64,
    next: u64,
    up_to_date: bool,
    closed: bool,
    cursor: Cursor,
}

#[derive(Clone, Debug)]
pub(crate) struct ByBytes;

impl Weighter<EventKey, Bytes> for ByBytes {
    fn weight(&self, _: &EventKey, event: &Bytes) -> u64 {
        event.len() as u64 + ENTRY_BYTES
    }
}

pub(crate) fn cache(bytes_max: u64) -> EventCache {
    let items = usize::try_from(bytes_max / 1_024).unwrap_or(usize::MAX).clamp(16, 1 << 16);
    Cache::with_weighter(items, bytes_max, ByBytes)
}

/// A response that follows a stream.
struct EventReader {
    reads: Arc<Reads>,
    read: Read,
    follower: Follower,
    session: EventSession,
    encoding: SseEncoding,
    _permit: OwnedSemaphorePermit,
}

impl Reads {
    pub(crate) async fn follow_events(
        self: &Arc<Self>,
        read: Read,
        stream: Arc<OpenStream>,
        head: &StreamHead,
        position: u64,
    ) -> Result<ReadResponse, Refusal> {
        let permit = self.live_readers.permit()?;
        // An unreadable range is refused while there still is a status to do so.
        let target = chunk_target(position, head.tail, self.config.chunk_bytes);
        let (_, source) = self.chunk(&stream, head, Span { from: position, target }).await?;
        let context = self.context(head);
        let lifetime_ms = self.event_stream_lifetime_ms(context.now_ms);
        let response = read.respond_events(&context, context.now_ms.saturating_add(lifetime_ms));
        let now_ms = self.clock.now_ms();
        let end_ms = now_ms.saturating_add(lifetime_ms);
        let times = EventTimes { end_ms, heartbeat_ms: self.config.sse_heartbeat_ms };
        let reader = EventReader {
            reads: self.clone(),
            read,
            follower: Follower::new(self.writes.clone(), stream, head.incarnation),
            session: EventSession::new(position, self.config.chunk_bytes, times, now_ms),
            encoding: head.content_type.sse_encoding(),
            _permit: permit,
        };
        let events = stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            reader.reads.metrics.read_bytes(Class::EventStream, event.len() as u64);
            Some((event, reader))
        });
        Ok(ReadResponse { head: response, body: Body::Events(Box::pin(events)), source })
    }

    /// Returns how long an event stream lasts that begins at `wall_ms`. Those that caches share end all at once, at a
    /// common wall time, so that their readers ask for the next one together; others that begin together end apart.
    fn event_stream_lifetime_ms(&self, wall_ms: u64) -> u64 {
        let longest_ms = self.config.sse_lifetime_ms;
        if self.config.policies.cache.event_stream_max_age_s.is_some() {
            return live::shared_end_ms(longest_ms, wall_ms) - wall_ms;
        }
        let spread_ms = longest_ms / 6;
        let number = self.event_streams.fetch_add(1, Ordering::Relaxed);
        // Multiples of the golden ratio cover the spread evenly, however many there are.
        let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        longest_ms - (spread_ms.saturating_mul(part) >> 32)
    }
}

impl EventReader {
    /// Returns the next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let head = self.follower.head().await.ok();
            let now_ms = self.reads.clock.now_ms();
            match (self.session.poll(head.as_deref(), now_ms, self.reads.is_draining()), head) {
                (EventStep::Data { from, target, last }, Some(head)) => {
                    let span = Span { from, target };
                    let (chunk, _) = self.reads.chunk(self.follower.stream(), &head, span).await.ok()?;
                    if let Some(event) = self.data(&head, from, &chunk, last, now_ms) {
                        return Some(event);
                    }
                }
                (EventStep::Control(progress), Some(head)) => {
                    let mut text = String::new();
                    sse::write_control(&mut text, progress, self.cursor(&head, progress));
                    return Some(Bytes::from(text));
                }
                (EventStep::Heartbeat, _) => return Some(Bytes::from_static(sse::HEARTBEAT)),
                (EventStep::Wait { until_ms }, _) => self.follower.changed(until_ms).await,
                (EventStep::End | EventStep::Data { .. } | EventStep::Control(_), _) => return None,
            }
        }
    }

    /// Returns a data event and the control event that follows it; `None` if nothing of the chunk can be sent yet.
    fn data(
        &mut self,
        head: &StreamHead,
        from: u64,
        chunk: &Chunk,
        last: bool,
        now_ms: u64,
    ) -> Option<Bytes> {
        let complete = sse::complete_bytes(self.encoding, &chunk.body, last);
        let sent = if complete == chunk.body.len() { chunk.end } else { from + complete as u64 };
        let progress = self.session.on_data(head, sent, chunk.end, now_ms)?;
        let cursor = self.cursor(head, progress);
        let key = EventKey {
            incarnation: head.incarnation,
            from,
            end: chunk.end,
            next: sent,
            up_to_date: progress.up_to_date,
            closed: progress.closed,
            cursor,
        };
        let encode = || {
            let body = chunk.body.get(..complete).unwrap_or_default();
            let mut text = String::with_capacity(body.len() + 256);
            sse::write_data(&mut text, self.encoding, body, progress.next);
            sse::write_control(&mut text, progress, cursor);
            Ok::<_, std::convert::Infallible>(Bytes::from(text))
        };
        self.reads.events.get_or_insert_with(&key, encode).ok()
    }

    fn cursor(&self, head: &StreamHead, progress: Progress) -> Cursor {
        self.read.next_cursor(&self.reads.context(head), progress.next.position)
    }
}
