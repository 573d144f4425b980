//! Ranges of streams as bodies, through a bounded cache: concurrent requests for a range share one read.

use bytes::{Bytes, BytesMut};
use headwater_protocol::{
    Conflict, Refusal, json, offset::Incarnation, response::Source, stream::StreamHead,
};
use headwater_store::{ReadRange, Store, StoreError};
use quick_cache::{Weighter, sync::Cache};

use crate::refusal::refuse;

/// The memory of an entry besides its bytes, about.
const ENTRY_BYTES: u64 = 128;

/// A range as readers get it. It never changes, so it may be cached for as long as there is room.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// The stored bytes, or the array of the messages.
    pub(crate) body: Bytes,
    /// The position after the last byte.
    pub(crate) end: u64,
}

/// A range from a position to the first append boundary at or after the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) target: u64,
}

/// The cache of chunks.
#[derive(Debug)]
pub(crate) struct Chunks(Cache<(Incarnation, Span), Chunk, ByBytes>);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<(Incarnation, Span), Chunk> for ByBytes {
    fn weight(&self, _: &(Incarnation, Span), chunk: &Chunk) -> u64 {
        chunk.body.len() as u64 + ENTRY_BYTES
    }
}

impl Chunks {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / 4_096).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        Self(Cache::with_weighter(items, bytes_max, ByBytes))
    }

    /// Returns a range of a stream, and where it came from. The stream's own incarnation in the key fixes its ancestors
    /// too.
    pub(crate) async fn read(
        &self,
        store: &dyn Store,
        head: &StreamHead,
        span: Span,
    ) -> Result<(Chunk, Source), Refusal> {
        if span.from >= span.target {
            let body = if head.content_type.is_json() {
                Bytes::from_static(json::EMPTY_ARRAY)
            } else {
                Bytes::new()
            };
            return Ok((Chunk { body, end: span.from }, Source::Memory));
        }
        let key = (head.incarnation, span);
        if let Some(chunk) = self.0.get(&key) {
            return Ok((chunk, Source::Memory));
        }
        let mut source = Source::Collapsed;
        let gathered = async {
            source = Source::Store;
            gather(store, head, span).await
        };
        let chunk = self.0.get_or_insert_async(&key, gathered).await?;
        Ok((chunk, source))
    }
}

/// Reads a range from the logs that hold its parts.
async fn gather(store: &dyn Store, head: &StreamHead, span: Span) -> Result<Chunk, Refusal> {
    let mut parts: Vec<Bytes> = Vec::with_capacity(1);
    let mut end = span.from;
    while end < span.target {
        let piece = head.piece(end);
        let limit = piece.until.unwrap_or(head.tail);
        let range = ReadRange::new(end, span.target.min(limit)).up_to(limit);
        let part = store.read(piece.incarnation, range).await.map_err(refuse)?;
        if part.end <= end || part.bytes.len() as u64 != part.end - end {
            let what = format!("the log {} ends at {end} instead of {limit}", piece.incarnation.get());
            return Err(refuse(StoreError::damaged(what)));
        }
        // A message is whole from one append boundary to the next; anything else would not be JSON.
        if parts.is_empty() && !part.aligned && head.content_type.is_json() {
            return Err(Conflict::OffsetUnknown.into());
        }
        end = part.end;
        parts.push(part.bytes);
    }
    let stored = join(parts);
    let body = if head.content_type.is_json() { Bytes::from(json::wrap(&stored)) } else { stored };
    Ok(Chunk { body, end })
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// Reads the stored bytes of the append that begins at a position; none at the tail. The stream must not be deleted
/// meanwhile.
pub(crate) async fn next_append(
    store: &dyn Store,
    head: &StreamHead,
    position: u64,
) -> Result<Bytes, Refusal> {
    if position >= head.tail {
        return Ok(Bytes::new());
    }
    let piece = head.piece(position);
    let limit = piece.until.unwrap_or(head.tail);
    let range = ReadRange::new(position, position + 1).up_to(limit);
    let part = store.read(piece.incarnation, range).await.map_err(|error| match error {
        StoreError::Missing(_) => refuse(StoreError::damaged(error)),
        error => refuse(error),
    })?;
    Ok(part.bytes)
}
