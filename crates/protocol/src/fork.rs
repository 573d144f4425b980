//! Forks (section 4.2): new streams that begin with the bytes of another one, without a copy of them.
//!
//! A fork remembers whose logs hold its inherited bytes (its ancestors) and counts on its source to keep them.

use crate::{
    content_type::ContentType,
    json,
    offset::{Incarnation, ReadFrom},
    path::StreamName,
    refusal::Conflict,
    stream::{Ancestor, ForkOrigin, StreamHead},
};

/// The longest chain of forks of forks.
pub const FORK_DEPTH_MAX: u16 = 64;

/// The fork that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// The stream to fork from: `Stream-Forked-From`.
    pub source: StreamName,
    /// The place to fork at: `Stream-Fork-Offset`.
    pub offset: Option<ReadFrom>,
    /// The bytes or messages after that place that the fork inherits, too: `Stream-Fork-Sub-Offset`; 0 if absent.
    pub sub_offset: u64,
}

/// A part of a stream's bytes that lies in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The stream whose log it is.
    pub incarnation: Incarnation,
    /// The position after its last byte that belongs to the stream; `None` for the stream's own log.
    pub until: Option<u64>,
}

impl StreamHead {
    /// Returns the log that holds the byte at a position.
    #[must_use]
    pub fn piece(&self, position: u64) -> Piece {
        match self.ancestors.iter().find(|ancestor| position < ancestor.until) {
            Some(ancestor) => Piece { incarnation: ancestor.incarnation, until: Some(ancestor.until) },
            None => Piece { incarnation: self.incarnation, until: None },
        }
    }

    /// Returns the position at which the log begins that holds the byte at a position.
    #[must_use]
    pub fn piece_start(&self, position: u64) -> u64 {
        let before = self.ancestors.iter().rev().find(|ancestor| ancestor.until <= position);
        before.map_or(0, |ancestor| ancestor.until)
    }

    /// Returns the logs that hold the bytes before `point`.
    #[must_use]
    pub fn ancestors_at(&self, point: u64) -> Vec<Ancestor> {
        let whole = self.ancestors.iter().take_while(|ancestor| ancestor.until < point);
        let last = Ancestor { incarnation: self.offset(point).incarnation, until: point };
        whole.copied().chain([last]).collect()
    }
}

impl ForkRequest {
    /// Returns the position in the source at which the fork begins, without the sub-offset.
    ///
    /// # Errors
    /// [`Conflict::ForkSourceDeleted`], [`Conflict::ForkTooDeep`], or [`Conflict::ForkOffset`] if the source has no such
    /// offset.
    pub fn anchor(&self, source: &StreamHead) -> Result<u64, Conflict> {
        if source.soft_deleted {
            return Err(Conflict::ForkSourceDeleted);
        }
        if source.fork.as_ref().is_some_and(|origin| origin.depth >= FORK_DEPTH_MAX) {
            return Err(Conflict::ForkTooDeep);
        }
        source.position(self.offset.unwrap_or(ReadFrom::Now)).map_err(|_| Conflict::ForkOffset)
    }

    /// Returns how many bytes after the anchor belong to the fork, given the bytes from the anchor to the next append
    /// boundary.
    ///
    /// # Errors
    /// [`Conflict::ForkSubOffset`] if the sub-offset exceeds those bytes.
    pub fn sub_bytes(&self, content_type: &ContentType, next_append: &[u8]) -> Result<u64, Conflict> {
        let bytes = if content_type.is_json() {
            json::prefix_bytes(next_append, self.sub_offset)
        } else {
            Some(self.sub_offset).filter(|&bytes| bytes <= next_append.len() as u64)
        };
        bytes.ok_or(Conflict::ForkSubOffset)
    }

    /// Returns what the fork stores about its origin.
    #[must_use]
    pub fn origin(&self, source: &StreamHead) -> ForkOrigin {
        ForkOrigin {
            source: self.source.clone(),
            source_incarnation: source.incarnation,
            offset: self.offset,
            sub_offset: self.sub_offset,
            depth: source.fork.as_ref().map_or(0, |origin| origin.depth).saturating_add(1),
        }
    }

    /// Returns whether an existing fork was created by an equal request.
    #[must_use]
    pub fn asked_for(&self, origin: &ForkOrigin) -> bool {
        self.source == origin.source && self.offset == origin.offset && self.sub_offset == origin.sub_offset
    }
}

impl StreamHead {
    /// Returns the source with one more fork.
    ///
    /// # Errors
    /// [`Conflict::ForkTooMany`] if the count can't grow.
    pub fn with_fork(&self, now_ms: u64) -> Result<Self, Conflict> {
        let forks = self.forks.checked_add(1).ok_or(Conflict::ForkTooMany)?;
        Ok(Self { forks, ..self.touched(now_ms) })
    }

    /// Returns the source with one fork less. A source that nothing needs any more gets a deadline in the past, so that it
    /// is found and removed even if the server stops before it has done so.
    #[must_use]
    pub fn without_fork(&self) -> Self {
        let mut head =
            Self { forks: self.forks.saturating_sub(1), version: self.version + 1, ..self.clone() };
        if head.is_unneeded() {
            head.deadline_ms = Some(0);
        }
        head
    }

    /// Returns whether the stream was deleted and no fork needs it.
    #[must_use]
    pub const fn is_unneeded(&self) -> bool {
        self.soft_deleted && self.forks == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{offset::Offset, stream::tests::head};

    fn request(offset: Option<ReadFrom>, sub_offset: u64) -> ForkRequest {
        ForkRequest { source: StreamName::new("source").unwrap(), offset, sub_offset }
    }

    fn fork_of(source: &StreamHead, incarnation: u64, point: u64, tail: u64) -> StreamHead {
        StreamHead {
            ancestors: source.ancestors_at(point),
            fork: Some(request(None, 0).origin(source)),
            tail,
            ..head(incarnation)
        }
    }

    #[test]
    fn a_fork_of_a_fork_reads_each_part_where_it_lies() {
        let first = StreamHead { tail: 10, ..head(1) };
        let second = fork_of(&first, 2, 6, 20);
        let third = fork_of(&second, 3, 15, 30);
        let lies_in = |position| third.piece(position).incarnation.get();
        assert_eq!([0, 5, 6, 14, 15, 29].map(lies_in), [1, 1, 2, 2, 3, 3]);
        assert_eq!(third.piece(0).until, Some(6));
        assert_eq!(third.piece(20).until, None);
    }

    #[test]
    fn forking_inside_the_inherited_part_skips_the_middle() {
        let first = StreamHead { tail: 10, ..head(1) };
        let second = fork_of(&first, 2, 6, 20);
        for point in [0, 3, 6] {
            let third = fork_of(&second, 3, point, 30);
            assert_eq!(
                third.ancestors,
                [Ancestor { incarnation: first.incarnation, until: point }],
                "{point}"
            );
        }
    }

    #[test]
    fn the_anchor_is_an_offset_of_the_source() {
        let source = StreamHead { tail: 10, ..head(1) };
        assert_eq!(request(None, 0).anchor(&source), Ok(10));
        assert_eq!(request(Some(ReadFrom::Start), 0).anchor(&source), Ok(0));
        let at = |incarnation, position| {
            Some(ReadFrom::At(Offset { incarnation: Incarnation::new(incarnation).unwrap(), position }))
        };
        assert_eq!(request(at(1, 4), 0).anchor(&source), Ok(4));
        assert_eq!(request(at(1, 11), 0).anchor(&source), Err(Conflict::ForkOffset));
        assert_eq!(request(at(9, 4), 0).anchor(&source), Err(Conflict::ForkOffset));
        let deleted = StreamHead { soft_deleted: true, ..source.clone() };
        assert_eq!(request(None, 0).anchor(&deleted), Err(Conflict::ForkSourceDeleted));
        let mut deep = fork_of(&source, 2, 0, 0);
        deep.fork.as_mut().unwrap().depth = FORK_DEPTH_MAX;
        assert_eq!(request(None, 0).anchor(&deep), Err(Conflict::ForkTooDeep));
    }

    #[test]
    fn sub_offsets_count_bytes_or_messages_of_the_next_append() {
        let text = ContentType::parse("text/plain").unwrap();
        let json = ContentType::parse("application/json").unwrap();
        assert_eq!(request(None, 3).sub_bytes(&text, b"hello"), Ok(3));
        assert_eq!(request(None, 5).sub_bytes(&text, b"hello"), Ok(5));
        assert_eq!(request(None, 6).sub_bytes(&text, b"hello"), Err(Conflict::ForkSubOffset));
        assert_eq!(request(None, 1).sub_bytes(&text, b""), Err(Conflict::ForkSubOffset));
        assert_eq!(request(None, 2).sub_bytes(&json, b"{},[1],7,"), Ok(7));
        assert_eq!(request(None, 4).sub_bytes(&json, b"{},[1],7,"), Err(Conflict::ForkSubOffset));
    }

    #[test]
    fn a_deleted_source_stays_until_its_last_fork_is_gone() {
        let source = head(1).with_fork(0).unwrap().with_fork(0).unwrap();
        let deleted = StreamHead { soft_deleted: true, ..source };
        let one_left = deleted.without_fork();
        assert_eq!((one_left.forks, one_left.is_unneeded(), one_left.deadline_ms), (1, false, None));
        let none_left = one_left.without_fork();
        assert_eq!((none_left.is_unneeded(), none_left.deadline_ms), (true, Some(0)));
        let alive = head(1).with_fork(0).unwrap().without_fork();
        assert_eq!((alive.forks, alive.soft_deleted, alive.deadline_ms), (0, false, None));
    }

    proptest! {
        #[test]
        fn ancestors_cover_every_inherited_byte_once(points in prop::collection::vec(0..40u64, 1..8)) {
            let mut stream = StreamHead { tail: 40, ..head(1) };
            for (index, point) in points.into_iter().enumerate() {
                stream = fork_of(&stream, index as u64 + 2, point, 40);
                let untils: Vec<u64> = stream.ancestors.iter().map(|ancestor| ancestor.until).collect();
                prop_assert!(untils.is_sorted_by(|a, b| a < b), "{:?}", untils);
                prop_assert_eq!(stream.own_from(), point);
                for position in 0..point {
                    prop_assert!(stream.piece(position).until.is_some_and(|until| until > position && until <= point));
                }
                prop_assert_eq!(stream.piece(point).until, None);
            }
        }
    }
}
