//! Live reads as state machines that never wait: the next step of a long-poll or an event stream is a function of the
//! stream and the time.
//!
//! A driver polls for a step, performs it, reports the outcome (`on_*`) and polls again: when the stream has changed, or
//! at the time that `Wait` names.

use crate::{
    progress::{Progress, chunk_target},
    stream::StreamHead,
};

/// A long-poll that waits for bytes after `position` (section 5.7).
///
/// ```
/// use headwater_protocol::{
///     ContentType, Incarnation, StreamHead,
///     live::{LongPoll, PollStep},
/// };
///
/// let incarnation = Incarnation::new(1).ok_or("not zero")?;
/// let mut head = StreamHead::new(incarnation, ContentType::octet_stream());
/// let long_poll = LongPoll { position: 0, chunk_bytes: 1 << 20, deadline_ms: 20_000 };
/// assert_eq!(long_poll.poll(&head, 0, false), PollStep::Wait { until_ms: 20_000 });
/// head.tail = 5;
/// assert_eq!(long_poll.poll(&head, 10, false), PollStep::Data { target: 5 });
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LongPoll {
    /// The position that the reader has reached.
    pub position: u64,
    /// The distance between the ends of chunks, in bytes.
    pub chunk_bytes: u64,
    /// The time at which the long-poll ends without data, in milliseconds since 1970.
    pub deadline_ms: u64,
}

/// The next step of a long-poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStep {
    /// Respond with the bytes up to the first append boundary at or after `target`.
    Data {
        /// The target of the response, see [`chunk_target`].
        target: u64,
    },
    /// Respond that there is nothing new.
    Nothing,
    /// Poll again when the stream has changed, or at this time.
    Wait {
        /// The time, in milliseconds since 1970.
        until_ms: u64,
    },
}

impl LongPoll {
    /// Returns the next step. Data comes before the deadline, so that no response reports a tail whose bytes it doesn't
    /// deliver.
    #[must_use]
    pub fn poll(&self, head: &StreamHead, now_ms: u64, draining: bool) -> PollStep {
        if head.tail > self.position {
            PollStep::Data { target: chunk_target(self.position, head.tail, self.chunk_bytes) }
        } else if head.closed.is_some() || draining || now_ms >= self.deadline_ms {
            PollStep::Nothing
        } else {
            PollStep::Wait { until_ms: self.deadline_ms }
        }
    }
}

/// Returns when an event stream that caches share ends: at the next multiple of `lifetime_ms` on everybody's clock.
#[must_use]
pub const fn shared_end_ms(lifetime_ms: u64, now_ms: u64) -> u64 {
    let step_ms = if lifetime_ms == 0 { 1 } else { lifetime_ms };
    (now_ms / step_ms).saturating_add(1).saturating_mul(step_ms)
}

/// The times of an event stream.
#[derive(Clone, Copy, Debug)]
pub struct EventTimes {
    /// The time at which the response ends, in milliseconds since 1970.
    pub end_ms: u64,
    /// The longest silence, in milliseconds; at least 1.
    pub heartbeat_ms: u64,
}

impl EventTimes {
    /// Returns the time of the next heartbeat: later than now, so that a session becomes idle.
    const fn next_heartbeat_ms(self, now_ms: u64) -> u64 {
        let after_ms = if self.heartbeat_ms == 0 { 1 } else { self.heartbeat_ms };
        now_ms.saturating_add(after_ms)
    }
}

/// One event stream (section 5.8).
#[derive(Clone, Debug)]
pub struct EventSession {
    /// The position up to which everything was delivered.
    position: u64,
    /// The position up to which everything was read; the bytes between are held back until they are complete.
    scanned: u64,
    times: EventTimes,
    chunk_bytes: u64,
    heartbeat_at_ms: u64,
    /// Whether a control event that still holds was sent.
    control_sent: bool,
    ended: bool,
}

/// The next step of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStep {
    /// Send the bytes from `from` to the first append boundary at or after `target`, then call
    /// [`EventSession::on_data`].
    Data {
        /// The first position.
        from: u64,
        /// The target, see [`chunk_target`].
        target: u64,
        /// Whether nothing can complete an incomplete sequence any more.
        last: bool,
    },
    /// Send a control event.
    Control(Progress),
    /// Send a comment.
    Heartbeat,
    /// Poll again when the stream has changed, or at this time.
    Wait {
        /// The time, in milliseconds since 1970.
        until_ms: u64,
    },
    /// End the response.
    End,
}

impl EventSession {
    /// Returns a session that begins at `position`.
    #[must_use]
    pub const fn new(position: u64, chunk_bytes: u64, times: EventTimes, now_ms: u64) -> Self {
        let heartbeat_at_ms = times.next_heartbeat_ms(now_ms);
        let (scanned, control_sent, ended) = (position, false, false);
        Self { position, scanned, times, chunk_bytes, heartbeat_at_ms, control_sent, ended }
    }

    /// Returns the next step. `head` is `None` if the stream is gone.
    pub fn poll(&mut self, head: Option<&StreamHead>, now_ms: u64, draining: bool) -> EventStep {
        let Some(head) = head.filter(|_| !self.ended) else { return EventStep::End };
        let overdue = now_ms >= self.times.end_ms;
        if head.tail > self.scanned && !(overdue && self.control_sent) && !draining {
            let target = chunk_target(self.scanned, head.tail, self.chunk_bytes);
            return EventStep::Data { from: self.position, target, last: false };
        }
        let closed = head.closed.is_some() && head.tail == self.scanned;
        if closed && self.position < head.tail {
            return EventStep::Data { from: self.position, target: head.tail, last: true };
        }
        if closed || draining {
            self.ended = true;
            return EventStep::Control(Progress::at(head, self.position));
        }
        if !self.control_sent {
            self.reset_heartbeat(now_ms);
            return EventStep::Control(Progress::at(head, self.position));
        }
        if overdue {
            return EventStep::End;
        }
        if now_ms >= self.heartbeat_at_ms {
            self.reset_heartbeat(now_ms);
            return EventStep::Heartbeat;
        }
        EventStep::Wait { until_ms: self.heartbeat_at_ms.min(self.times.end_ms) }
    }

    /// Notes that everything before `delivered` was sent and everything before `scanned` was read. Returns the progress
    /// for the control event that must follow, or `None` if nothing was sent.
    pub fn on_data(
        &mut self,
        head: &StreamHead,
        delivered: u64,
        scanned: u64,
        now_ms: u64,
    ) -> Option<Progress> {
        let sent = delivered > self.position;
        self.position = delivered.max(self.position);
        self.scanned = scanned.max(self.scanned);
        sent.then(|| {
            self.reset_heartbeat(now_ms);
            let progress = Progress::at(head, self.position);
            self.ended = progress.closed;
            progress
        })
    }

    const fn reset_heartbeat(&mut self, now_ms: u64) {
        self.control_sent = true;
        self.heartbeat_at_ms = self.times.next_heartbeat_ms(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Closure, tests::head};

    const TIMES: EventTimes = EventTimes { end_ms: 60_000, heartbeat_ms: 15_000 };

    fn at_tail(tail: u64) -> StreamHead {
        StreamHead { tail, ..head(1) }
    }

    fn closed(head: StreamHead) -> StreamHead {
        StreamHead { closed: Some(Closure::default()), ..head }
    }

    fn control(step: EventStep) -> (u64, bool, bool) {
        let EventStep::Control(progress) = step else { panic!("{step:?}") };
        (progress.next.position, progress.up_to_date, progress.closed)
    }

    #[test]
    fn shared_event_streams_end_on_a_common_clock() {
        for (now_ms, end_ms) in [(0, 60_000), (59_999, 60_000), (60_000, 120_000), (u64::MAX, u64::MAX)] {
            assert_eq!(shared_end_ms(60_000, now_ms), end_ms);
        }
        assert_eq!(shared_end_ms(0, 7), 8);
    }

    #[test]
    fn a_long_poll_answers_waits_or_gives_up() {
        let long_poll = LongPoll { position: 5, chunk_bytes: 100, deadline_ms: 20_000 };
        let step = |head: &StreamHead, now_ms, draining| long_poll.poll(head, now_ms, draining);
        assert_eq!(step(&at_tail(5), 0, false), PollStep::Wait { until_ms: 20_000 });
        assert_eq!(step(&at_tail(9), 0, false), PollStep::Data { target: 9 });
        assert_eq!(step(&at_tail(900), 0, false), PollStep::Data { target: 100 });
        assert_eq!(step(&at_tail(5), 20_000, false), PollStep::Nothing);
        assert_eq!(step(&at_tail(9), 20_000, false), PollStep::Data { target: 9 }, "data comes first");
        assert_eq!(step(&at_tail(5), 0, true), PollStep::Nothing);
        assert_eq!(step(&closed(at_tail(5)), 0, false), PollStep::Nothing);
    }

    #[test]
    fn a_new_reader_at_the_tail_is_told_so_and_then_waits() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        let stream = at_tail(5);
        assert_eq!(control(session.poll(Some(&stream), 0, false)), (5, true, false));
        assert_eq!(session.poll(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
        assert_eq!(session.poll(Some(&stream), 15_000, false), EventStep::Heartbeat);
        assert_eq!(session.poll(Some(&stream), 15_000, false), EventStep::Wait { until_ms: 30_000 });
    }

    #[test]
    fn a_session_without_a_heartbeat_time_becomes_idle() {
        let mut session = EventSession::new(5, 100, EventTimes { heartbeat_ms: 0, ..TIMES }, 0);
        session.poll(Some(&at_tail(5)), 0, false);
        assert_eq!(session.poll(Some(&at_tail(5)), 0, false), EventStep::Wait { until_ms: 1 });
    }

    #[test]
    fn every_chunk_is_followed_by_where_the_reader_stands() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(250);
        for (from, target, end) in [(0, 100, 110), (110, 200, 200), (200, 250, 250)] {
            assert_eq!(session.poll(Some(&stream), 0, false), EventStep::Data { from, target, last: false });
            let progress = session.on_data(&stream, end, end, 0).unwrap();
            assert_eq!((progress.next.position, progress.up_to_date), (end, end == 250));
        }
        assert_eq!(session.poll(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
    }

    #[test]
    fn the_final_append_comes_before_the_closure() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        session.poll(Some(&at_tail(0)), 0, false);
        let stream = closed(at_tail(4));
        assert_eq!(
            session.poll(Some(&stream), 0, false),
            EventStep::Data { from: 0, target: 4, last: false }
        );
        assert!(session.on_data(&stream, 4, 4, 0).unwrap().closed);
        assert_eq!(session.poll(Some(&stream), 0, false), EventStep::End);
    }

    #[test]
    fn closure_without_data_is_told_once() {
        let mut session = EventSession::new(4, 100, TIMES, 0);
        let stream = closed(at_tail(4));
        assert_eq!(control(session.poll(Some(&stream), 0, false)), (4, true, true));
        assert_eq!(session.poll(Some(&stream), 0, false), EventStep::End);
    }

    #[test]
    fn an_incomplete_sequence_waits_for_its_rest_or_for_the_end() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(4);
        session.poll(Some(&stream), 0, false);
        let progress = session.on_data(&stream, 3, 4, 0).unwrap();
        assert_eq!((progress.next.position, progress.up_to_date), (3, false));
        assert_eq!(session.poll(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
        let longer = at_tail(6);
        assert_eq!(
            session.poll(Some(&longer), 0, false),
            EventStep::Data { from: 3, target: 6, last: false }
        );
        assert_eq!(session.on_data(&longer, 3, 6, 0), None);
        let ended = closed(longer);
        assert_eq!(session.poll(Some(&ended), 0, false), EventStep::Data { from: 3, target: 6, last: true });
        assert!(session.on_data(&ended, 6, 6, 0).unwrap().closed);
    }

    #[test]
    fn connections_end_in_time_even_when_the_stream_never_rests() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(1_000);
        session.poll(Some(&stream), 59_999, false);
        session.on_data(&stream, 100, 100, 59_999);
        assert_eq!(session.poll(Some(&stream), 60_000, false), EventStep::End);
    }

    #[test]
    fn a_late_first_look_still_delivers() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        assert!(matches!(session.poll(Some(&at_tail(5)), 70_000, false), EventStep::Data { .. }));
    }

    #[test]
    fn draining_tells_where_the_reader_stands_and_ends() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        let stream = at_tail(5);
        session.poll(Some(&stream), 0, false);
        assert_eq!(control(session.poll(Some(&stream), 0, true)), (5, true, false));
        assert_eq!(session.poll(Some(&stream), 0, true), EventStep::End);
    }

    #[test]
    fn a_stream_that_is_gone_ends_the_connection() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        assert_eq!(session.poll(None, 0, false), EventStep::End);
    }
}
