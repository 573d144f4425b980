//! The state of a stream: everything that a decision may look at, and everything that it may change.

use bytes::Bytes;

use crate::{
    cache::Visibility,
    content_type::ContentType,
    expiry::{self, Lifetime},
    offset::{Incarnation, Offset, ReadFrom},
    path::StreamName,
    producer::{Claim, ProducerId, ProducerState},
    refusal::{Conflict, Missing, Refusal},
};

/// The state of a stream besides its bytes and its producers.
///
/// Stores and embedders begin with [`StreamHead::new`] and set what differs:
///
/// ```
/// use headwater_protocol::{ContentType, Incarnation, StreamHead};
///
/// let incarnation = Incarnation::new(7).ok_or("not zero")?;
/// let mut head = StreamHead::new(incarnation, ContentType::parse("text/plain")?);
/// head.tail = 42;
/// assert_eq!(head.tail_offset().to_string(), "0000000000000007_0000000000000042");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamHead {
    /// The stream's identity among all that have had its name.
    pub incarnation: Incarnation,
    /// The number of the last commit, from 1; a commit that expects another one is refused.
    pub version: u64,
    /// The content type, fixed at creation.
    pub content_type: ContentType,
    /// The rule by which the stream ends, fixed at creation.
    pub lifetime: Lifetime,
    /// The time at which the stream ends if it isn't used, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Whether shared caches may keep responses, fixed at creation; `None` leaves it to the server's policy.
    pub visibility: Option<Visibility>,
    /// The position after the last byte.
    pub tail: u64,
    /// How the stream was closed; once set it stays.
    pub closed: Option<Closure>,
    /// The time of the last change of bytes or closure, in milliseconds since 1970; each change makes it larger.
    pub changed_ms: u64,
    /// The largest `Stream-Seq` so far.
    pub seq_last: Option<Box<[u8]>>,
    /// The origin of a fork.
    pub fork: Option<ForkOrigin>,
    /// The logs that hold the inherited bytes, in order; empty unless the stream is a fork.
    pub ancestors: Vec<Ancestor>,
    /// The number of existing streams that were forked from this one.
    pub forks: u32,
    /// Whether the stream was deleted and is kept for its forks.
    pub soft_deleted: bool,
}

/// A log that holds inherited bytes: from the previous ancestor's end (or 0) up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The stream whose log it is.
    pub incarnation: Incarnation,
    /// The position after the last byte that is inherited from it.
    pub until: u64,
}

/// The origin of a fork: what its creation asked for. It is compared when the creation is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkOrigin {
    /// The stream that is kept for the fork.
    pub source: StreamName,
    /// The incarnation of the source that the fork needs.
    pub source_incarnation: Incarnation,
    /// The offset, as `Stream-Fork-Offset` spelled it.
    pub offset: Option<ReadFrom>,
    /// The sub-offset, as `Stream-Fork-Sub-Offset` spelled it; 0 if it was absent.
    pub sub_offset: u64,
    /// The number of forks from here to a stream that isn't one.
    pub depth: u16,
}

/// How a stream was closed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Closure {
    /// The producer's request that closed it; a repetition of it succeeds (section 5.2.1).
    pub by: Option<Claim>,
}

/// The changes of one request to one stream, to be committed together: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state of the stream afterwards.
    pub head: StreamHead,
    /// The bytes between the old tail and the new one.
    pub bytes: Bytes,
    /// The producer's state afterwards.
    pub producer: Option<(ProducerId, ProducerState)>,
}

/// The decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once per request and taken apart at once")]
pub enum Verdict<Ack> {
    /// The change is to be committed, then the request is answered with the acknowledgement.
    Commit(Change, Ack),
    /// The request was done before: it is answered once that is durable.
    Repeat(Ack),
    /// The request is refused, and nothing changes.
    Refuse(Refusal),
}

impl Change {
    /// Returns a change of the state alone.
    #[must_use]
    pub const fn of_head(head: StreamHead) -> Self {
        Self { head, bytes: Bytes::new(), producer: None }
    }
}

impl StreamHead {
    /// Returns the state of an open, empty stream without an end, as of its first commit.
    #[must_use]
    pub const fn new(incarnation: Incarnation, content_type: ContentType) -> Self {
        Self {
            incarnation,
            version: 1,
            content_type,
            lifetime: Lifetime::Unlimited,
            deadline_ms: None,
            visibility: None,
            tail: 0,
            closed: None,
            changed_ms: 0,
            seq_last: None,
            fork: None,
            ancestors: Vec::new(),
            forks: 0,
            soft_deleted: false,
        }
    }

    /// Returns the stream itself if it may be used at `now_ms`: neither expired nor deleted.
    ///
    /// # Errors
    /// [`Missing::NotFound`], or [`Missing::Gone`] for a stream that is kept only for its forks.
    pub fn usable(&self, now_ms: u64) -> Result<&Self, Missing> {
        if self.soft_deleted {
            return Err(Missing::Gone);
        }
        if expiry::is_past(self.deadline_ms, now_ms) {
            // A source that expired is kept for its forks as a deleted one is.
            return Err(if self.forks > 0 { Missing::Gone } else { Missing::NotFound });
        }
        Ok(self)
    }

    /// Returns the position at which the stream's own bytes begin; those before are inherited.
    #[must_use]
    pub fn own_from(&self) -> u64 {
        self.ancestors.last().map_or(0, |ancestor| ancestor.until)
    }

    /// Returns the offset that clients see for a position. The position at a fork point keeps its source's offset.
    #[must_use]
    pub fn offset(&self, position: u64) -> Offset {
        let holder = self.ancestors.iter().find(|ancestor| position <= ancestor.until);
        Offset { incarnation: holder.map_or(self.incarnation, |ancestor| ancestor.incarnation), position }
    }

    /// Returns the offset after the last byte.
    #[must_use]
    pub fn tail_offset(&self) -> Offset {
        self.offset(self.tail)
    }

    /// Returns the position that a client names.
    ///
    /// # Errors
    /// [`Missing::OffsetGone`] for an offset of another incarnation, [`Conflict::OffsetUnknown`] for one that this stream
    /// never issued.
    pub fn position(&self, from: ReadFrom) -> Result<u64, Refusal> {
        let offset = match from {
            ReadFrom::Start => return Ok(0),
            ReadFrom::Now => return Ok(self.tail),
            ReadFrom::At(offset) => offset,
        };
        let known = offset.incarnation == self.incarnation
            || self.ancestors.iter().any(|ancestor| ancestor.incarnation == offset.incarnation);
        if !known {
            return Err(Missing::OffsetGone.into());
        }
        // Exactly one incarnation names each position, so any other spelling was never issued.
        if offset.position > self.tail || self.offset(offset.position) != offset {
            return Err(Conflict::OffsetUnknown.into());
        }
        Ok(offset.position)
    }

    /// Returns the position at which a read begins. One past the tail is the tail: some clients count on from the offsets
    /// that they were given.
    ///
    /// # Errors
    /// Those of [`StreamHead::position`].
    pub fn read_position(&self, from: ReadFrom) -> Result<u64, Refusal> {
        match from {
            ReadFrom::At(offset) if Some(offset.position) == self.tail.checked_add(1) => {
                self.position(ReadFrom::At(Offset { position: self.tail, ..offset }))
            }
            from => self.position(from),
        }
    }

    /// Returns whether `after` is this state after an append of `bytes` bytes that has changed nothing else.
    #[must_use]
    pub fn is_append(&self, after: &Self, bytes: usize) -> bool {
        // All fields by name: a new one can't be forgotten here.
        let Self {
            incarnation,
            version,
            content_type,
            lifetime,
            deadline_ms,
            visibility,
            tail,
            closed,
            changed_ms: _,
            seq_last,
            fork,
            ancestors,
            forks,
            soft_deleted,
        } = self;
        version.checked_add(1) == Some(after.version)
            && tail.checked_add(bytes as u64) == Some(after.tail)
            && *incarnation == after.incarnation
            && *deadline_ms == after.deadline_ms
            && *content_type == after.content_type
            && *lifetime == after.lifetime
            && *visibility == after.visibility
            && *closed == after.closed
            && *seq_last == after.seq_last
            && *fork == after.fork
            && *ancestors == after.ancestors
            && *forks == after.forks
            && *soft_deleted == after.soft_deleted
    }

    /// Returns the state one commit later, for a change that readers see.
    #[must_use]
    pub(crate) fn changed(&self, now_ms: u64) -> Self {
        let mut head = self.touched(now_ms);
        head.changed_ms = now_ms.max(self.changed_ms.saturating_add(1));
        head
    }

    /// Returns the state one commit later in which only the sliding deadline has moved. It never moves back.
    #[must_use]
    pub fn touched(&self, now_ms: u64) -> Self {
        let deadline_ms = self.lifetime.deadline_ms(now_ms).max(self.deadline_ms);
        Self { version: self.version + 1, deadline_ms, ..self.clone() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An open, empty text stream, created at 1,000 ms.
    pub(crate) fn head(incarnation: u64) -> StreamHead {
        let incarnation = Incarnation::new(incarnation).unwrap();
        let content_type = ContentType::parse("text/plain").unwrap();
        StreamHead { changed_ms: 1_000, ..StreamHead::new(incarnation, content_type) }
    }

    fn at(incarnation: u64, position: u64) -> ReadFrom {
        ReadFrom::At(Offset { incarnation: Incarnation::new(incarnation).unwrap(), position })
    }

    #[test]
    fn every_position_of_a_fork_has_one_offset() {
        let ancestor =
            |incarnation, until| Ancestor { incarnation: Incarnation::new(incarnation).unwrap(), until };
        let fork = StreamHead { tail: 30, ancestors: vec![ancestor(1, 10), ancestor(2, 20)], ..head(3) };
        let cases = [
            (at(1, 0), Ok(0)),
            (at(1, 10), Ok(10)),
            (at(2, 11), Ok(11)),
            (at(2, 20), Ok(20)),
            (at(3, 21), Ok(21)),
            (at(3, 30), Ok(30)),
            (ReadFrom::Start, Ok(0)),
            (ReadFrom::Now, Ok(30)),
            (at(3, 31), Err(Conflict::OffsetUnknown.into())),
            (at(1, 11), Err(Conflict::OffsetUnknown.into())),
            (at(2, 10), Err(Conflict::OffsetUnknown.into())),
            (at(3, 20), Err(Conflict::OffsetUnknown.into())),
            (at(4, 5), Err(Missing::OffsetGone.into())),
        ];
        for (from, expected) in cases {
            assert_eq!(fork.position(from), expected, "{from:?}");
        }
        for position in 0..=30 {
            assert_eq!(fork.position(ReadFrom::At(fork.offset(position))), Ok(position));
            assert!(position == 0 || fork.offset(position - 1) < fork.offset(position), "offsets sort");
        }
    }

    #[test]
    fn a_read_from_one_past_the_tail_begins_at_the_tail() {
        let ancestor = Ancestor { incarnation: Incarnation::new(1).unwrap(), until: 10 };
        let unchanged = StreamHead { tail: 10, ancestors: vec![ancestor], ..head(2) };
        let fork = StreamHead { tail: 30, ..unchanged.clone() };
        let unknown = || Err(Conflict::OffsetUnknown.into());
        for (stream, from, expected) in [
            (&head(1), at(1, 1), Ok(0)),
            (&head(1), at(1, 2), unknown()),
            (&head(1), at(2, 1), Err(Missing::OffsetGone.into())),
            (&unchanged, at(1, 11), Ok(10)),
            (&unchanged, at(2, 11), unknown()),
            (&fork, at(2, 30), Ok(30)),
            (&fork, at(2, 31), Ok(30)),
            (&fork, at(1, 31), unknown()),
            (&fork, at(2, 32), unknown()),
            (&fork, at(2, Offset::POSITION_MAX), unknown()),
        ] {
            assert_eq!(stream.read_position(from), expected, "{from:?}");
        }
    }

    #[test]
    fn expired_and_deleted_streams_are_not_usable() {
        let live = StreamHead { deadline_ms: Some(2_000), ..head(1) };
        assert!(live.usable(1_999).is_ok());
        assert_eq!(live.usable(2_000), Err(Missing::NotFound));
        let deleted = StreamHead { soft_deleted: true, forks: 1, ..head(1) };
        assert_eq!(deleted.usable(0), Err(Missing::Gone));
        let expired_source = StreamHead { forks: 1, ..live };
        assert_eq!(expired_source.usable(2_000), Err(Missing::Gone));
    }

    #[test]
    fn changes_are_strictly_later_even_when_the_clock_is_not() {
        let before = head(1);
        assert_eq!(before.changed(5_000).changed_ms, 5_000);
        assert_eq!(before.changed(10).changed_ms, 1_001);
        assert_eq!(before.changed(10).version, 2);
    }

    #[test]
    fn a_sliding_deadline_never_moves_back() {
        let sliding =
            StreamHead { lifetime: Lifetime::Sliding { ttl_s: 2 }, deadline_ms: Some(9_000), ..head(1) };
        assert_eq!(sliding.touched(8_000).deadline_ms, Some(10_000));
        assert_eq!(sliding.touched(1_000).deadline_ms, Some(9_000));
    }
}
