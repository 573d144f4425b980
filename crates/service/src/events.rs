//! Event streams, done: the session says what to do, this does it. Readers of one event share its bytes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use headwater_protocol::{
    Refusal,
    cache::Class,
    content_type::SseEncoding,
    cursor::Cursor,
    live::{EventSession, EventStep, EventTimes},
    offset::Incarnation,
    op::read::Read,
    progress::{Progress, chunk_target},
    sse,
    stream::StreamHead,
};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{
    Body, Found, Inner,
    chunks::{Chunk, Span},
    clock::Alarm,
    read::touch_again_ms,
    streams::{OpenStream, View},
};

/// What a key and its entry take besides the bytes, about.
const ENTRY_BYTES: u64 = 160;

/// Events that were encoded: readers who stand at the same place send the same bytes.
pub(crate) type EventCache = Cache<EventKey, Bytes, ByBytes>;

/// All that an event's bytes depend on.
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

struct Reader {
    service: Arc<Inner>,
    read: Read,
    stream: Arc<OpenStream>,
    changes: watch::Receiver<View>,
    alarm: Alarm,
    session: EventSession,
    encoding: SseEncoding,
    incarnation: Incarnation,
    _permit: OwnedSemaphorePermit,
}

impl Inner {
    pub(crate) async fn events(
        self: &Arc<Self>,
        read: Read,
        stream: Arc<OpenStream>,
        head: &StreamHead,
        position: u64,
    ) -> Result<Found, Refusal> {
        let permit = self.live_permit()?;
        // What can't be read is refused while there still is a status to say so.
        let target = chunk_target(position, head.tail, self.config.chunk_bytes);
        let (_, source) = self.chunk(&stream, head, Span { from: position, target }).await?;
        let (now_ms, wall_ms) = (self.clock.now_ms(), self.clock.wall_ms());
        let lifetime_ms = self.event_stream_lifetime_ms(wall_ms);
        let wall_end_ms = wall_ms.saturating_add(lifetime_ms);
        let response = read.respond_events(&self.read_context(head, wall_ms), wall_end_ms);
        let end_ms = now_ms.saturating_add(lifetime_ms);
        let times = EventTimes { end_ms, heartbeat_ms: self.config.sse_heartbeat_ms };
        let reader = Reader {
            service: self.clone(),
            changes: stream.subscribe(),
            alarm: Alarm::new(self.clock.clone()),
            session: EventSession::new(position, self.config.chunk_bytes, times, now_ms),
            encoding: head.content_type.sse_encoding(),
            incarnation: head.incarnation,
            read,
            stream,
            _permit: permit,
        };
        let events = stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            reader.service.metrics.read_bytes(Class::EventStream, event.len() as u64);
            Some((event, reader))
        });
        Ok(Found { head: response, body: Body::Events(Box::pin(events)), source })
    }
}

impl Reader {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut view = self.changes.borrow_and_update().clone();
            if view.abandoned {
                self.stream = self.service.open(&self.read.name).await.ok()?;
                self.changes = self.stream.subscribe();
                view = self.changes.borrow_and_update().clone();
            }
            let (now_ms, wall_ms) = (self.service.clock.now_ms(), self.service.clock.wall_ms());
            // A stream that was recreated under the same name is another one: this reader's is gone.
            let usable = self.service.usable(&self.stream, view.head.clone()).ok();
            let head = usable.filter(|head| head.incarnation == self.incarnation);
            if let Some(durable) = view.head.filter(|_| head.is_some()) {
                self.service.touch(&self.stream, &durable, wall_ms);
            }
            let draining = *self.service.draining.borrow();
            match (self.session.poll(head.as_deref(), now_ms, draining), head) {
                (EventStep::Data { from, target, last }, Some(head)) => {
                    let span = Span { from, target };
                    let (chunk, _) = self.service.chunk(&self.stream, &head, span).await.ok()?;
                    if let Some(event) = self.data(&head, from, &chunk, last, (now_ms, wall_ms)) {
                        return Some(event);
                    }
                }
                (EventStep::Control(progress), Some(head)) => {
                    let mut text = String::new();
                    sse::write_control(&mut text, progress, self.cursor(&head, progress, wall_ms));
                    return Some(Bytes::from(text));
                }
                (EventStep::Heartbeat, _) => return Some(Bytes::from_static(sse::HEARTBEAT)),
                (EventStep::Wait { until_ms }, head) => {
                    let touch_ms = head.map_or(u64::MAX, |head| touch_again_ms(&head, wall_ms));
                    tokio::select! {
                        _ = self.changes.changed() => {}
                        () = self.alarm.ring(until_ms.min(now_ms.saturating_add(touch_ms))) => {}
                    }
                }
                (EventStep::End | EventStep::Data { .. } | EventStep::Control(_), _) => return None,
            }
        }
    }

    /// A data event and the control event that follows it; `None` when nothing of the chunk can be sent yet.
    fn data(
        &mut self,
        head: &StreamHead,
        from: u64,
        chunk: &Chunk,
        last: bool,
        (now_ms, wall_ms): (u64, u64),
    ) -> Option<Bytes> {
        let complete = sse::complete_bytes(self.encoding, &chunk.body, last);
        let sent = if complete == chunk.body.len() { chunk.end } else { from + complete as u64 };
        let progress = self.session.on_data(head, sent, chunk.end, now_ms)?;
        let cursor = self.cursor(head, progress, wall_ms);
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
        self.service.event_cache.get_or_insert_with(&key, encode).ok()
    }

    fn cursor(&self, head: &StreamHead, progress: Progress, wall_ms: u64) -> Cursor {
        self.read.next_cursor(&self.service.read_context(head, wall_ms), progress.next.position)
    }
}
