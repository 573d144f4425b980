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
    sse::{self, DataEncoder},
    stream::StreamHead,
};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Body,
    follower::Follower,
    open_stream::OpenStream,
    pieces::{self, NoRoom, Piece, Span, weight},
    read::{ReadResponse, Reads},
};

/// The longest part of an event's body that is sent at a time, in bytes: more than a piece of a range that is cut.
const PART_BYTES_MAX: usize = 1 << 20;

/// Encoded parts of events: readers at the same position send the same bytes.
pub(crate) type EventCache = Cache<EventKey, Frame, ByBytes>;

/// Everything that the bytes of a part of an event depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventKey {
    incarnation: Incarnation,
    from: u64,
    end: u64,
    next: u64,
    up_to_date: bool,
    closed: bool,
    cursor: Cursor,
    /// The position that the part begins at.
    at: u64,
}

/// A part of an event as it is sent: all of most events.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    bytes: Bytes,
    /// How to go on; `None` after the end.
    encoder: Option<DataEncoder>,
    /// The position after it.
    next: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct ByBytes;

impl Weighter<EventKey, Frame> for ByBytes {
    fn weight(&self, _: &EventKey, frame: &Frame) -> u64 {
        weight(&frame.bytes)
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
    /// The event of which a part was sent.
    sending: Option<Event>,
    _permit: OwnedSemaphorePermit,
}

/// A data event, with the control event that follows it, of which some parts are still to be sent.
struct Event {
    head: Arc<StreamHead>,
    key: EventKey,
    progress: Progress,
    /// The first piece of its range, until it is sent.
    first: Option<Piece>,
    encoder: Option<DataEncoder>,
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
        let span = Span { from: position, target };
        let (_, source) = self.range(&stream, head, span, NoRoom::Refuse).await?;
        let context = self.context(head);
        let lifetime_ms = self.event_stream_lifetime_ms(self.clock.wall_ms());
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
            sending: None,
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
            if let Some(event) = self.sending.take() {
                return self.send(event).await.ok();
            }
            let head = self.follower.head().await.ok();
            let now_ms = self.reads.clock.now_ms();
            match (self.session.poll(head.as_deref(), now_ms, self.reads.is_draining()), head) {
                (EventStep::Data { from, target, last }, Some(head)) => {
                    self.sending = self.event(head, Span { from, target }, last, now_ms).await.ok()?;
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

    /// Returns a data event and the control event that follows it; `None` if nothing of the range can be sent yet.
    async fn event(
        &mut self,
        head: Arc<StreamHead>,
        span: Span,
        last: bool,
        now_ms: u64,
    ) -> Result<Option<Event>, Refusal> {
        let stream = self.follower.stream();
        let (range, _) = self.reads.range(stream, &head, span, NoRoom::Wait).await?;
        let held_back = if range.is_whole() {
            held_back(self.encoding, &range.first.bytes, last)
        } else {
            let end = Span { from: range.from, target: range.end };
            held_back(self.encoding, &pieces::last_bytes(&*self.reads.store, &head, end).await?, last)
        };
        let sent = range.end - held_back as u64;
        let Some(progress) = self.session.on_data(&head, sent, range.end, now_ms) else { return Ok(None) };
        let key = EventKey {
            incarnation: head.incarnation,
            from: range.from,
            end: range.end,
            next: sent,
            up_to_date: progress.up_to_date,
            closed: progress.closed,
            cursor: self.cursor(&head, progress),
            at: range.from,
        };
        Ok(Some(Event { head, key, progress, first: Some(range.first), encoder: None }))
    }

    /// Returns the next part of an event, and keeps the rest.
    async fn send(&mut self, event: Event) -> Result<Bytes, Refusal> {
        let Event { head, key, progress, first, encoder } = event;
        let EventKey { next, end, at, .. } = key;
        // A range of events with offsets is one piece, however large: it is sent in parts all the same.
        let rest = first.as_ref().filter(|piece| piece.bytes.len() > PART_BYTES_MAX);
        let rest = rest.map(|piece| piece.after(PART_BYTES_MAX));
        let is_cut = rest.is_some();
        let encoded = async {
            let piece = match first {
                Some(piece) => piece,
                None => self.reads.pieces.later(&*self.reads.store, &head, at, end).await?,
            };
            // The stored bytes of a text are those of its body, and of nothing else is anything held back.
            let held_back = usize::try_from(piece.next.saturating_sub(next)).unwrap_or(usize::MAX);
            let body = piece.bytes.split_at(piece.bytes.len().saturating_sub(held_back)).0;
            let body_bytes = next.saturating_sub(key.from).max(piece.bytes.len() as u64);
            let body = if is_cut { body.split_at(PART_BYTES_MAX).0 } else { body };
            // Before the text is there: as many readers as there are may be about to make one.
            let bytes_max = DataEncoder::bytes_max(self.encoding, body);
            let share = self.reads.event_bytes.take(bytes_max as u64).await;
            let mut text = String::with_capacity(bytes_max);
            let mut encoder = match encoder {
                Some(encoder) => encoder,
                None => DataEncoder::begin(&mut text, self.encoding, progress.next, body_bytes),
            };
            encoder.write(&mut text, body);
            let is_last = !is_cut && piece.next >= next;
            if is_last {
                encoder.end(&mut text);
                sse::write_control(&mut text, progress, key.cursor);
            }
            let bytes = share.hold(Bytes::from(text.into_boxed_str().into_boxed_bytes()));
            Ok::<_, Refusal>(Frame { bytes, encoder: (!is_last).then_some(encoder), next: piece.next })
        };
        let frame = self.reads.events.get_or_insert_async(&key, encoded).await?;
        if frame.encoder.is_some() {
            let at = if is_cut { at + PART_BYTES_MAX as u64 } else { frame.next };
            let key = EventKey { at, ..key };
            self.sending = Some(Event { head, key, progress, first: rest, encoder: frame.encoder });
        }
        Ok(frame.bytes)
    }

    fn cursor(&self, head: &StreamHead, progress: Progress) -> Cursor {
        self.read.next_cursor(&self.reads.context(head), progress.next.position)
    }
}

/// Returns how many bytes at the end of a body have to wait for those that complete them.
fn held_back(encoding: SseEncoding, body: &[u8], last: bool) -> usize {
    body.len() - sse::complete_bytes(encoding, body, last)
}
