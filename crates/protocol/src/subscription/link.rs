//! A subscription's cursor in one stream (sections 6.1 and 7): what is acknowledged, and whether there is more.

use crate::{
    offset::{Offset, ReadFrom},
    refusal::{Missing, Refusal},
    stream::StreamHead,
};

/// The link of a subscription to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether a request has named the stream, whatever the pattern matches.
    pub explicit: bool,
    /// The last offset that a worker has processed; `None` for a stream that didn't exist yet.
    pub acked: Option<Offset>,
    /// The last tail that was observed; `None` if there is no stream, or none was observed yet.
    pub tail: Option<Offset>,
}

impl Link {
    /// Returns a link to a stream as it is: everything in it counts as processed.
    #[must_use]
    pub fn at_tail(explicit: bool, head: Option<&StreamHead>) -> Self {
        let tail = head.map(StreamHead::tail_offset);
        Self { explicit, acked: tail, tail }
    }

    /// Returns a link to a stream that an append reveals: everything before the append counts as processed. The link to a
    /// stream that the same commit creates begins where its inherited bytes end.
    #[must_use]
    pub fn before_append(before: Option<&StreamHead>, after: &StreamHead) -> Self {
        let before = before.filter(|before| before.incarnation == after.incarnation);
        let position = before.map_or(after.own_from(), |before| before.tail);
        Self { explicit: false, acked: Some(after.offset(position)), tail: None }
    }

    /// Returns whether the stream has bytes that no worker has processed.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.tail > self.acked
    }

    /// Returns the link after an observation of the stream; `None` if there is none. In another incarnation of the stream
    /// the cursor begins anew.
    #[must_use]
    pub fn observed(self, head: Option<&StreamHead>) -> Self {
        let Some(head) = head else { return Self { tail: None, ..self } };
        let tail = head.tail_offset();
        // Observations can arrive out of order.
        if self.tail.is_some_and(|known| known > tail) {
            return self;
        }
        let gone = Err(Refusal::Missing(Missing::OffsetGone));
        let is_of_this_stream = |acked| head.position(ReadFrom::At(acked)) != gone || acked > tail;
        let acked = self.acked.filter(|&acked| is_of_this_stream(acked));
        Self { acked: acked.or(Some(head.offset(head.own_from()))), tail: Some(tail), ..self }
    }

    /// Returns the link with its cursor at an offset that a worker names.
    ///
    /// # Errors
    /// The rule that the offset breaks.
    pub fn acknowledged(self, offset: &str, head: Option<&StreamHead>) -> Result<Self, &'static str> {
        let Ok(ReadFrom::At(offset)) = ReadFrom::parse(offset) else {
            return Err("the offset must be one that the stream issued");
        };
        let link = self.observed(head);
        match link.acked {
            Some(acked) if offset < acked => return Err("the offset lies before the cursor"),
            Some(acked) if offset == acked => return Ok(link),
            _ => {}
        }
        let is_there = head.is_some_and(|head| head.position(ReadFrom::At(offset)).is_ok());
        if is_there { Ok(Self { acked: Some(offset), ..link }) } else { Err("the stream has no such offset") }
    }

    /// Returns the link after the end of a wake that named this tail. A cursor never goes back.
    #[must_use]
    pub fn done_up_to(self, tail: Offset) -> Self {
        Self { acked: self.acked.max(Some(tail)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        offset::Incarnation,
        stream::{Ancestor, tests::head},
    };

    fn stream(incarnation: u64, tail: u64) -> StreamHead {
        StreamHead { tail, ..head(incarnation) }
    }

    fn offset(incarnation: u64, position: u64) -> Offset {
        Offset { incarnation: Incarnation::new(incarnation).unwrap(), position }
    }

    #[test]
    fn what_was_there_before_is_not_pending_and_what_comes_is() {
        let link = Link::at_tail(true, Some(&stream(1, 5)));
        assert!(!link.is_pending());
        assert!(link.observed(Some(&stream(1, 6))).is_pending());
        let revealed = Link::before_append(Some(&stream(1, 5)), &stream(1, 9));
        assert_eq!(revealed.acked, Some(offset(1, 5)));
        assert!(revealed.observed(Some(&stream(1, 9))).is_pending());
        let created = Link::before_append(None, &stream(1, 9));
        assert_eq!(created.acked, Some(offset(1, 0)));
    }

    #[test]
    fn a_fork_begins_where_what_it_inherits_ends() {
        let ancestor = Ancestor { incarnation: Incarnation::new(1).unwrap(), until: 4 };
        let fork = StreamHead { ancestors: vec![ancestor], ..stream(2, 9) };
        assert_eq!(Link::before_append(None, &fork).acked, Some(offset(1, 4)));
        assert!(Link::before_append(None, &fork).observed(Some(&fork)).is_pending());
    }

    #[test]
    fn a_stream_that_was_not_there_begins_at_its_beginning() {
        let link = Link::at_tail(true, None);
        assert_eq!((link.acked, link.is_pending()), (None, false));
        assert!(!link.observed(Some(&stream(3, 0))).is_pending());
        assert!(link.observed(Some(&stream(3, 2))).is_pending());
    }

    #[test]
    fn a_later_stream_of_the_name_begins_anew() {
        let link = Link::at_tail(true, Some(&stream(1, 50))).observed(None);
        assert!(!link.is_pending());
        let empty = link.observed(Some(&stream(2, 0)));
        assert_eq!((empty.acked, empty.is_pending()), (Some(offset(2, 0)), false));
        assert!(link.observed(Some(&stream(2, 3))).is_pending());
    }

    #[test]
    fn an_old_look_changes_nothing() {
        let link = Link::at_tail(true, Some(&stream(1, 5))).observed(Some(&stream(1, 9)));
        assert_eq!(link.observed(Some(&stream(1, 7))), link);
    }

    #[test]
    fn acknowledgements_go_forward_up_to_the_tail() {
        let link = Link::at_tail(false, Some(&stream(1, 5)));
        let now = stream(1, 9);
        let ack = |position| link.acknowledged(&offset(1, position).to_string(), Some(&now));
        assert_eq!(ack(7).unwrap().acked, Some(offset(1, 7)));
        assert!(ack(7).unwrap().is_pending() && !ack(9).unwrap().is_pending());
        assert_eq!(ack(5).unwrap().acked, Some(offset(1, 5)));
        for text in [
            "-1",
            "now",
            "",
            "x",
            Offset::BEGINNING,
            &offset(1, 4).to_string(),
            &offset(1, 10).to_string(),
            &offset(2, 1).to_string(),
        ] {
            assert!(link.acknowledged(text, Some(&now)).is_err(), "{text}");
        }
        assert!(link.acknowledged(&offset(1, 9).to_string(), None).is_err());
        assert!(link.acknowledged(&offset(1, 5).to_string(), None).is_ok());
    }

    #[test]
    fn a_wake_that_is_done_moves_the_cursor_up_to_what_it_named() {
        let link = Link::at_tail(false, Some(&stream(1, 5))).observed(Some(&stream(1, 9)));
        assert!(link.done_up_to(offset(1, 7)).is_pending());
        assert_eq!(link.done_up_to(offset(1, 4)).acked, Some(offset(1, 5)));
    }
}
