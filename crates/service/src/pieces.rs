//! Ranges of streams in pieces, through a bounded cache: concurrent requests for a piece share one read, and the same
//! bytes.
//!
//! A range is read while the client takes it, so that a response takes the memory of a piece and not of a chunk with the
//! append at its end. Pieces end at fixed positions: readers that join anywhere share all but their first one.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use headwater_protocol::{
    Conflict, Offset, Refusal, Unavailable, json, offset::Incarnation, op::read::ReadPolicies,
    response::Source, sse, state_event, stream::StreamHead,
};
use headwater_store::{ReadRange, Store, StoreError};
use quick_cache::{Weighter, sync::Cache};

use crate::{
    body::{Body, BodyError, Streamed},
    clock::Clock,
    memory::{Budget, Share, UNIT_BYTES},
    read::Reads,
    refusal::refuse,
};

/// The distance between the ends of pieces, in bytes.
const PIECE_BYTES: u64 = 512 << 10;
/// The pause before a reader that needs more than two pieces looks for room again, in milliseconds, and how often it does.
const TRY_AGAIN_MS: u64 = 50;
const TRIES: u32 = 100;

/// A range from a position to the first append boundary at or after the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) target: u64,
}

/// A range whose end is known and whose first piece is here, as readers get it: the stored bytes, or an array of the
/// messages.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) from: u64,
    /// The position after the last byte.
    pub(crate) end: u64,
    pub(crate) first: Piece,
}

/// A part of a range, which never changes, so that it may be cached for as long as there is room.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// The position after it.
    pub(crate) next: u64,
    /// The position after the range, if it is a range's first piece and no [`Part::Opening`].
    end: u64,
}

/// Everything that the bytes of a piece depend on. The stream's own incarnation fixes its ancestors too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    incarnation: Incarnation,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// The first piece of a range that is longer and ends at the tail, wherever that is.
    Opening {
        from: u64,
    },
    First(Span),
    /// Its last piece ends an array.
    Later {
        from: u64,
        next: u64,
        is_last: bool,
    },
}

/// What to do if there is no room for the first piece of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Refuse,
    Wait,
}

/// The cache of pieces.
pub(crate) struct Pieces {
    cache: Cache<Key, Piece, ByBytes>,
    /// The memory of all pieces and events that are cached or on their way.
    budget: Budget,
    policies: ReadPolicies,
    /// The room that a range of them takes at most.
    whole_bytes_max: u64,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("budget", &self.budget).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Piece> for ByBytes {
    fn weight(&self, _: &Key, piece: &Piece) -> u64 {
        weight(&piece.bytes)
    }
}

/// Returns the memory of a cached entry, as the budget counts it.
pub(crate) fn weight(bytes: &Bytes) -> u64 {
    (bytes.len() as u64).max(1).next_multiple_of(UNIT_BYTES)
}

impl Range {
    /// Returns whether the first piece is the whole range.
    pub(crate) const fn is_whole(&self) -> bool {
        self.first.next == self.end
    }
}

impl Piece {
    /// Returns what is left of it after some bytes.
    pub(crate) fn after(&self, bytes: usize) -> Self {
        Self { bytes: self.bytes.slice(bytes..), ..self.clone() }
    }
}

impl Pieces {
    /// `budget` has `range_bytes` besides the room for what is cached.
    pub(crate) fn new(
        cache_bytes: u64,
        range_bytes: u64,
        budget: Budget,
        policies: ReadPolicies,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let items = usize::try_from(cache_bytes / 4_096).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        Self {
            cache: Cache::with_weighter(items, cache_bytes, ByBytes),
            budget,
            policies,
            whole_bytes_max: range_bytes / 2,
            clock,
        }
    }

    /// Finds the end of a range and reads its first piece, and tells where that came from. A range that would begin inside
    /// of an append begins with that append: some clients count on from the offsets that they were given.
    pub(crate) async fn open(
        &self,
        store: &dyn Store,
        head: &StreamHead,
        span: Span,
        no_room: NoRoom,
    ) -> Result<(Range, Source), Refusal> {
        match self.open_at(store, head, span, no_room).await {
            Err(Refusal::Conflict(Conflict::OffsetUnknown)) => {
                let from = append_start(store, head, span.from).await?;
                self.open_at(store, head, Span { from, ..span }, no_room).await
            }
            opened => opened,
        }
    }

    /// Opens a range. [`Conflict::OffsetUnknown`] if it would begin inside of an append, at an offset that was never issued.
    async fn open_at(
        &self,
        store: &dyn Store,
        head: &StreamHead,
        span: Span,
        no_room: NoRoom,
    ) -> Result<(Range, Source), Refusal> {
        let Span { from, target } = span;
        if from >= target {
            let empty = if head.content_type.is_json() { json::EMPTY_ARRAY } else { &[] };
            let first = Piece { bytes: Bytes::from_static(empty), next: from, end: from };
            return Ok((Range { from, end: from, first }, Source::Memory));
        }
        if self.policies.has_offsets(head) {
            return self.open_whole(store, head, span, no_room).await;
        }
        let until = cut(from);
        // A stream that grows would have its beginning cached again and again.
        let is_opening = target == head.tail && target > until;
        let part = if is_opening { Part::Opening { from } } else { Part::First(span) };
        let key = Key { incarnation: head.incarnation, part };
        let read = |share: Share| async move {
            let Gathered { stored, next, is_aligned } = gather(store, head, span, until).await?;
            if !is_aligned && !may_begin_at(store, head, from, &stored).await? {
                return Err(Conflict::OffsetUnknown.into());
            }
            let end = if next < until { next } else { end_of(store, head, target.max(until)).await? };
            Ok(Piece { bytes: share.hold(to_body(head, stored, true, next == end)), next, end })
        };
        let (first, source) = self.first(key, until.min(head.tail) - from, no_room, read).await?;
        let end = if is_opening { target } else { first.end };
        Ok((Range { from, end, first }, source))
    }

    /// Opens a range of events with offsets. It is one piece: what is added to an event depends on where its append ends.
    async fn open_whole(
        &self,
        store: &dyn Store,
        head: &StreamHead,
        span: Span,
        no_room: NoRoom,
    ) -> Result<(Range, Source), Refusal> {
        let key = Key { incarnation: head.incarnation, part: Part::First(span) };
        let end = end_of(store, head, span.target).await?;
        // Half is sure to be free at some time, and leaves others a half. A range that needs more, of appends that were
        // larger than any may be now, is read all the same.
        let bytes_max = (end - span.from).saturating_mul(state_event::ROOM).min(self.whole_bytes_max);
        let read = |share: Share| async move {
            let Gathered { stored, next, is_aligned } = gather(store, head, span, end).await?;
            if !is_aligned {
                return Err(Conflict::OffsetUnknown.into());
            }
            let appends = append_ends(store, head, span.from, next).await?;
            let told = wrap_events(stored, appends).await?;
            Ok(Piece { bytes: share.hold(told.into()), next, end: next })
        };
        let (first, source) = self.first(key, bytes_max, no_room, read).await?;
        Ok((Range { from: span.from, end: first.end, first }, source))
    }

    /// Returns the first piece of a range: from the cache, or as `read` makes it, which is given room for `bytes_max` bytes.
    async fn first<F>(
        &self,
        key: Key,
        bytes_max: u64,
        no_room: NoRoom,
        read: impl Fn(Share) -> F,
    ) -> Result<(Piece, Source), Refusal>
    where
        F: Future<Output = Result<Piece, Refusal>>,
    {
        if let Some(first) = self.cache.get(&key) {
            return Ok((first, Source::Memory));
        }
        let mut source = Source::Collapsed;
        let mut taken = None;
        let mut tries = 0;
        loop {
            let made = async {
                source = Source::Store;
                // Nobody waits for room here: others wait for this piece who had better be refused.
                let share = match taken.take() {
                    Some(share) => share,
                    None => self.budget.try_take(bytes_max)?,
                };
                read(share).await
            };
            match self.cache.get_or_insert_async(&key, made).await {
                // Whoever waits in line for much room keeps all others from what there is: it tries again instead, and gives
                // up in the end.
                Err(Refusal::Unavailable(Unavailable::Overloaded { .. }))
                    if no_room == NoRoom::Wait && tries < TRIES =>
                {
                    if bytes_max <= 2 * PIECE_BYTES {
                        taken = Some(self.budget.take(bytes_max).await);
                    } else {
                        tries += 1;
                        self.clock.sleep_until(self.clock.now_ms() + TRY_AGAIN_MS).await;
                    }
                }
                first => return Ok((first?, source)),
            }
        }
    }

    /// Reads the piece of a range that begins at a position after its first piece.
    pub(crate) async fn later(
        &self,
        store: &dyn Store,
        head: &StreamHead,
        from: u64,
        end: u64,
    ) -> Result<Piece, Refusal> {
        let next = cut(from).min(end);
        let is_last = next == end;
        let key = Key { incarnation: head.incarnation, part: Part::Later { from, next, is_last } };
        if let Some(piece) = self.cache.get(&key) {
            return Ok(piece);
        }
        let read = async {
            let share = self.budget.take(next - from).await;
            let Gathered { stored, .. } = gather(store, head, Span { from, target: next }, next).await?;
            let bytes = share.hold(to_body(head, stored, false, is_last));
            Ok::<_, Refusal>(Piece { bytes, next, end })
        };
        self.cache.get_or_insert_async(&key, read).await
    }
}

impl Reads {
    /// Returns the body of a response with a range.
    pub(crate) fn body(self: &Arc<Self>, head: &Arc<StreamHead>, range: Range) -> Body {
        if range.is_whole() {
            return Body::Full(range.first.bytes);
        }
        let Range { from, end, first } = range;
        let brackets = u64::from(head.content_type.is_json());
        let (reads, head) = (self.clone(), head.clone());
        let pieces = stream::try_unfold((from, Some(first)), move |(position, first)| {
            let (reads, head) = (reads.clone(), head.clone());
            async move {
                let piece = match first {
                    Some(first) => first,
                    None if position == end => return Ok(None),
                    None => {
                        let piece = reads.pieces.later(&*reads.store, &head, position, end).await;
                        piece.map_err(BodyError::new)?
                    }
                };
                Ok(Some((piece.bytes, (piece.next, None))))
            }
        });
        Body::Streamed(Streamed::new(pieces, end - from + brackets))
    }
}

/// Returns where a piece that begins at a position ends, unless its range ends before. A range of half a piece is never
/// cut.
const fn cut(from: u64) -> u64 {
    (from.saturating_add(PIECE_BYTES / 2) / PIECE_BYTES).saturating_add(1).saturating_mul(PIECE_BYTES)
}

/// The stored bytes of a range, or of a part of it.
struct Gathered {
    stored: Bytes,
    /// The position after them.
    next: u64,
    /// Whether an append begins with them.
    is_aligned: bool,
}

/// Reads the bytes of a range up to `until`, from the logs that hold its parts.
async fn gather(store: &dyn Store, head: &StreamHead, span: Span, until: u64) -> Result<Gathered, Refusal> {
    let mut parts: Vec<Bytes> = Vec::with_capacity(1);
    let (mut end, mut is_aligned) = (span.from, true);
    while end < span.target.min(until) {
        let piece = head.piece(end);
        let limit = piece.until.unwrap_or(head.tail).min(until);
        let range = ReadRange::new(end, span.target.min(limit)).up_to(limit);
        let part = store.read(piece.incarnation, range).await.map_err(refuse)?;
        if part.end <= end || part.bytes.len() as u64 != part.end - end {
            let what = format!("the log {} ends at {end} instead of {limit}", piece.incarnation.get());
            return Err(refuse(StoreError::damaged(what)));
        }
        is_aligned &= part.aligned || !parts.is_empty();
        end = part.end;
        parts.push(part.bytes);
    }
    Ok(Gathered { stored: join(parts), next: end, is_aligned })
}

/// Finds the first append boundary at or after a position that is no log's first one.
async fn end_of(store: &dyn Store, head: &StreamHead, position: u64) -> Result<u64, Refusal> {
    if position >= head.tail {
        return Ok(head.tail);
    }
    let piece = head.piece(position - 1);
    let limit = piece.until.unwrap_or(head.tail);
    store.end_of(piece.incarnation, position, limit).await.map_err(refuse)
}

/// Makes the array of a range of events, on a thread of its own if that takes long.
async fn wrap_events(stored: Bytes, appends: Vec<(usize, Offset)>) -> Result<Vec<u8>, Refusal> {
    if stored.len() as u64 <= PIECE_BYTES {
        return Ok(state_event::wrap(&stored, &appends));
    }
    let made = tokio::task::spawn_blocking(move || state_event::wrap(&stored, &appends)).await;
    // It fails if the runtime ends.
    made.map_err(|_| Unavailable::ShuttingDown.into())
}

/// Finds the ends of the appends between two boundaries, as positions after the first, with the offset after each.
async fn append_ends(
    store: &dyn Store,
    head: &StreamHead,
    from: u64,
    end: u64,
) -> Result<Vec<(usize, Offset)>, Refusal> {
    let mut ends = Vec::new();
    let mut at = from;
    while at < end {
        at = end_of(store, head, at + 1).await?;
        tokio::task::coop::consume_budget().await;
        ends.push((usize::try_from(at - from).unwrap_or(usize::MAX), head.offset(at)));
    }
    Ok(ends)
}

/// Returns whether a range may begin at a position inside of an append, from which on the stream has `stored`.
async fn may_begin_at(
    store: &dyn Store,
    head: &StreamHead,
    from: u64,
    stored: &[u8],
) -> Result<bool, Refusal> {
    let rest = end_of(store, head, from + 1).await? - from;
    let rest = usize::try_from(rest).ok().and_then(|rest| stored.get(..rest));
    Ok(rest.is_some_and(|rest| sse::is_held_back(head.content_type.sse_encoding(), rest)))
}

/// Finds the beginning of the append that a position is inside of.
async fn append_start(store: &dyn Store, head: &StreamHead, position: u64) -> Result<u64, Refusal> {
    let mut start = head.piece_start(position);
    // The first boundary at or after `above` is after the position; `start` is a boundary before it.
    let mut above = position;
    let mut step = 1_u64;
    while above > start + 1 {
        // By steps that grow at first: most appends are small.
        let middle = above.saturating_sub(step).max(start + (above - start) / 2);
        step = step.saturating_mul(2);
        let end = end_of(store, head, middle).await?;
        if end <= position {
            start = end;
        } else {
            above = middle;
        }
    }
    Ok(start)
}

fn to_body(head: &StreamHead, stored: Bytes, is_first: bool, is_last: bool) -> Bytes {
    if head.content_type.is_json() && (is_first || is_last) {
        Bytes::from(json::wrap_piece(&stored, is_first, is_last))
    } else {
        stored
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// Reads the last bytes before a position of a stream, at most three: those that may begin a character.
pub(crate) async fn last_bytes(store: &dyn Store, head: &StreamHead, span: Span) -> Result<Bytes, Refusal> {
    let from = span.target.saturating_sub(3).max(span.from);
    Ok(gather(store, head, Span { from, ..span }, span.target).await?.stored)
}

/// Reads the stored bytes of the append that begins at a position; none at the tail. The stream must not be deleted
/// meanwhile.
pub(crate) async fn next_append(
    store: &dyn Store,
    budget: &Budget,
    head: &StreamHead,
    position: u64,
) -> Result<Bytes, Refusal> {
    if position >= head.tail {
        return Ok(Bytes::new());
    }
    let piece = head.piece(position);
    let limit = piece.until.unwrap_or(head.tail);
    let lost = |error| match error {
        StoreError::Missing(_) => refuse(StoreError::damaged(error)),
        error => refuse(error),
    };
    let end = store.end_of(piece.incarnation, position + 1, limit).await.map_err(lost)?;
    let share = budget.try_take(end.saturating_sub(position))?;
    let range = ReadRange::new(position, position + 1).up_to(limit);
    let part = store.read(piece.incarnation, range).await.map_err(lost)?;
    Ok(share.hold(part.bytes))
}
