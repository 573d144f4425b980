//! The state of a stream: all that a decision may look at, and all that it may alter.

use bytes::Bytes;

use crate::{
    Refusal,
    cache::Visibility,
    content_type::ContentType,
    expiry::{self, Lifetime},
    fork::{Ancestor, ForkOrigin},
    offset::{Incarnation, Offset, ReadFrom},
    producer::{Claim, ProducerId, ProducerState},
};

/// What a server knows of a stream besides its bytes and its producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Which life of the name this is.
    pub incarnation: Incarnation,
    /// Grows by one with every commit; a commit that expects another one is refused.
    pub version: u64,
    /// Fixed at creation.
    pub content_type: ContentType,
    /// Fixed at creation.
    pub lifetime: Lifetime,
    /// When the stream ends if nobody uses it, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Fixed at creation; `None`: as the server's policy says.
    pub visibility: Option<Visibility>,
    /// The position after the last byte.
    pub tail: u64,
    /// Once set it stays.
    pub closed: Option<Closure>,
    /// When bytes or closure last changed, in milliseconds since 1970; strictly growing with each such change.
    pub changed_ms: u64,
    /// The largest `Stream-Seq` so far.
    pub seq_last: Option<Box<[u8]>>,
    /// What the creation of a fork asked for.
    pub fork: Option<ForkOrigin>,
    /// Whose logs hold the inherited bytes, from the beginning on; empty unless it is a fork.
    pub ancestors: Vec<Ancestor>,
    /// How many streams were forked from this one and still exist.
    pub forks: u32,
    /// Deleted, but kept for its forks.
    pub soft_deleted: bool,
}

/// How a stream was closed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Closure {
    /// The producer request that did it, whose repetition succeeds (section 5.2.1).
    pub by: Option<Claim>,
}

/// What one request alters, to be committed as one: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state afterwards.
    pub head: StreamHead,
    /// The bytes between the old tail and the new one.
    pub bytes: Bytes,
    /// A producer's state afterwards.
    pub producer: Option<(ProducerId, ProducerState)>,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once per request and taken apart at once")]
pub enum Verdict<Ack> {
    /// Commit the change, then answer.
    Commit(Change, Ack),
    /// It was done before: answer once that is durable.
    Repeat(Ack),
    /// No, and nothing changes.
    Refuse(Refusal),
}

impl StreamHead {
    /// The stream as somebody may use it at `now_ms`: not expired, not deleted.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] or, for what is kept for forks only, [`Refusal::Gone`].
    pub fn usable(head: Option<&Self>, now_ms: u64) -> Result<&Self, Refusal> {
        match head {
            Some(head) if head.soft_deleted => Err(Refusal::Gone),
            // A source that expired is kept for its forks as a deleted one is.
            Some(head) if expiry::is_past(head.deadline_ms, now_ms) => {
                Err(if head.forks > 0 { Refusal::Gone } else { Refusal::NotFound })
            }
            Some(head) => Ok(head),
            None => Err(Refusal::NotFound),
        }
    }

    /// Where the stream's own bytes begin; those before are inherited.
    #[must_use]
    pub fn own_from(&self) -> u64 {
        self.ancestors.last().map_or(0, |ancestor| ancestor.until)
    }

    /// The offset that clients see for a position. The position just at a fork point keeps its source's offset.
    #[must_use]
    pub fn offset(&self, position: u64) -> Offset {
        let holder = self.ancestors.iter().find(|ancestor| position <= ancestor.until);
        Offset { incarnation: holder.map_or(self.incarnation, |ancestor| ancestor.incarnation), position }
    }

    /// The offset after the last byte.
    #[must_use]
    pub fn tail_offset(&self) -> Offset {
        self.offset(self.tail)
    }

    /// The position that a client means.
    ///
    /// # Errors
    /// [`Refusal::OffsetGone`] for an offset of another life of this name, [`Refusal::OffsetBeyond`] for one
    /// that this stream never had.
    pub fn position(&self, from: ReadFrom) -> Result<u64, Refusal> {
        let offset = match from {
            ReadFrom::Start => return Ok(0),
            ReadFrom::Now => return Ok(self.tail),
            ReadFrom::At(offset) => offset,
        };
        let known = offset.incarnation == self.incarnation
            || self.ancestors.iter().any(|ancestor| ancestor.incarnation == offset.incarnation);
        match () {
            () if !known => Err(Refusal::OffsetGone),
            // Exactly one incarnation names each position, so any other spelling was never given out.
            () if offset.position > self.tail || self.offset(offset.position) != offset => {
                Err(Refusal::OffsetBeyond)
            }
            () => Ok(offset.position),
        }
    }

    /// The state one commit later, for a change that readers see.
    #[must_use]
    pub(crate) fn changed(&self, now_ms: u64) -> Self {
        let mut head = self.touched(now_ms);
        head.changed_ms = now_ms.max(self.changed_ms.saturating_add(1));
        head
    }

    /// The state one commit later in which only the sliding deadline has moved. It never moves back.
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
        StreamHead {
            incarnation: Incarnation::new(incarnation).unwrap(),
            version: 1,
            content_type: ContentType::parse("text/plain").unwrap(),
            lifetime: Lifetime::Unlimited,
            deadline_ms: None,
            visibility: None,
            tail: 0,
            closed: None,
            changed_ms: 1_000,
            seq_last: None,
            fork: None,
            ancestors: Vec::new(),
            forks: 0,
            soft_deleted: false,
        }
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
            (at(3, 31), Err(Refusal::OffsetBeyond)),
            (at(1, 11), Err(Refusal::OffsetBeyond)),
            (at(2, 10), Err(Refusal::OffsetBeyond)),
            (at(3, 20), Err(Refusal::OffsetBeyond)),
            (at(4, 5), Err(Refusal::OffsetGone)),
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
    fn expired_and_deleted_streams_are_not_usable() {
        let live = StreamHead { deadline_ms: Some(2_000), ..head(1) };
        assert!(StreamHead::usable(Some(&live), 1_999).is_ok());
        assert_eq!(StreamHead::usable(Some(&live), 2_000), Err(Refusal::NotFound));
        assert_eq!(StreamHead::usable(None, 0), Err(Refusal::NotFound));
        let deleted = StreamHead { soft_deleted: true, forks: 1, ..head(1) };
        assert_eq!(StreamHead::usable(Some(&deleted), 0), Err(Refusal::Gone));
        let expired_source = StreamHead { forks: 1, ..live };
        assert_eq!(StreamHead::usable(Some(&expired_source), 2_000), Err(Refusal::Gone));
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
