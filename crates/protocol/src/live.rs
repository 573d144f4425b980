//! Live reads without waiting: what a long-poll or an event stream does next, given the stream and the time.
//!
//! The driver (the service) asks for a step, does it, tells what came of it, and asks again: when the stream
//! changed, or when the time that `Wait` names has come.

use crate::{
    progress::{Progress, chunk_target},
    stream::StreamHead,
};

/// What a waiting long-poll does next (section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStep {
    /// Answer with the bytes up to the first append boundary at or after `target`.
    Data {
        /// See [`chunk_target`].
        target: u64,
    },
    /// Answer that there is nothing new.
    Nothing,
    /// Ask again when the stream changed, or at this time.
    Wait {
        /// Milliseconds since 1970.
        until_ms: u64,
    },
}

/// The next step of a long-poll at `position`. Whoever asks at the deadline has looked once more, so that no
/// answer reports a tail whose bytes it didn't deliver.
#[must_use]
pub fn poll_step(
    head: &StreamHead,
    position: u64,
    chunk_bytes: u64,
    deadline_ms: u64,
    now_ms: u64,
    draining: bool,
) -> PollStep {
    match () {
        () if head.tail > position => {
            PollStep::Data { target: chunk_target(position, head.tail, chunk_bytes) }
        }
        () if head.closed.is_some() || draining || now_ms >= deadline_ms => PollStep::Nothing,
        () => PollStep::Wait { until_ms: deadline_ms },
    }
}

/// When an event stream ends that caches share: at the next multiple of `lifetime_ms` on everybody's clock.
#[must_use]
pub const fn shared_end_ms(lifetime_ms: u64, now_ms: u64) -> u64 {
    let step_ms = if lifetime_ms == 0 { 1 } else { lifetime_ms };
    (now_ms / step_ms).saturating_add(1).saturating_mul(step_ms)
}

/// When an event stream speaks and ends.
#[derive(Clone, Copy, Debug)]
pub struct EventTimes {
    /// When the connection ends, in milliseconds since 1970.
    pub end_ms: u64,
    /// How long it may be silent; at least 1.
    pub heartbeat_ms: u64,
}

impl EventTimes {
    /// Later than now, so that a session comes to rest.
    const fn next_beat_ms(self, now_ms: u64) -> u64 {
        let after_ms = if self.heartbeat_ms == 0 { 1 } else { self.heartbeat_ms };
        now_ms.saturating_add(after_ms)
    }
}

/// One event stream (section 5.8).
#[derive(Clone, Debug)]
pub struct EventSession {
    /// All before this was delivered.
    position: u64,
    /// All before this was looked at: what lies between is held back until it is complete.
    looked: u64,
    times: EventTimes,
    chunk_bytes: u64,
    beat_ms: u64,
    /// Whether the reader had a control event that still holds.
    told: bool,
    ended: bool,
}

/// What an event stream does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStep {
    /// Emit the bytes from `from` to the first append boundary at or after `target`, then say `on_data`.
    Data {
        /// The first position.
        from: u64,
        /// See [`chunk_target`].
        target: u64,
        /// Nothing can complete what is incomplete.
        last: bool,
    },
    /// Emit a control event.
    Control(Progress),
    /// Emit a comment.
    Heartbeat,
    /// Ask again when the stream changed, or at this time.
    Wait {
        /// Milliseconds since 1970.
        until_ms: u64,
    },
    /// End the response.
    End,
}

impl EventSession {
    /// A session that begins at `position`.
    #[must_use]
    pub const fn new(position: u64, chunk_bytes: u64, times: EventTimes, now_ms: u64) -> Self {
        let beat_ms = times.next_beat_ms(now_ms);
        Self { position, looked: position, times, chunk_bytes, beat_ms, told: false, ended: false }
    }

    /// What to do now. `head` is `None` when the stream is gone.
    pub fn step(&mut self, head: Option<&StreamHead>, now_ms: u64, draining: bool) -> EventStep {
        let Some(head) = head.filter(|_| !self.ended) else { return EventStep::End };
        let overdue = now_ms >= self.times.end_ms;
        if head.tail > self.looked && !(overdue && self.told) && !draining {
            let target = chunk_target(self.looked, head.tail, self.chunk_bytes);
            return EventStep::Data { from: self.position, target, last: false };
        }
        let closed = head.closed.is_some() && head.tail == self.looked;
        if closed && self.position < head.tail {
            return EventStep::Data { from: self.position, target: head.tail, last: true };
        }
        if closed || draining {
            self.ended = true;
            return EventStep::Control(Progress::at(head, self.position));
        }
        if !self.told {
            self.spoke(now_ms);
            return EventStep::Control(Progress::at(head, self.position));
        }
        if overdue {
            return EventStep::End;
        }
        if now_ms >= self.beat_ms {
            self.spoke(now_ms);
            return EventStep::Heartbeat;
        }
        EventStep::Wait { until_ms: self.beat_ms.min(self.times.end_ms) }
    }

    /// Says that all before `delivered` was emitted and all before `looked` was read; gives the progress for the
    /// control event that follows, or `None` when there was nothing to emit.
    pub fn on_data(
        &mut self,
        head: &StreamHead,
        delivered: u64,
        looked: u64,
        now_ms: u64,
    ) -> Option<Progress> {
        let emitted = delivered > self.position;
        self.position = delivered.max(self.position);
        self.looked = looked.max(self.looked);
        emitted.then(|| {
            self.spoke(now_ms);
            let progress = Progress::at(head, self.position);
            self.ended = progress.closed;
            progress
        })
    }

    const fn spoke(&mut self, now_ms: u64) {
        self.told = true;
        self.beat_ms = self.times.next_beat_ms(now_ms);
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
        let step = |head: &StreamHead, now_ms, draining| poll_step(head, 5, 100, 20_000, now_ms, draining);
        assert_eq!(step(&at_tail(5), 0, false), PollStep::Wait { until_ms: 20_000 });
        assert_eq!(step(&at_tail(9), 0, false), PollStep::Data { target: 9 });
        assert_eq!(step(&at_tail(900), 0, false), PollStep::Data { target: 100 });
        assert_eq!(step(&at_tail(5), 20_000, false), PollStep::Nothing);
        assert_eq!(step(&at_tail(9), 20_000, false), PollStep::Data { target: 9 }, "looked once more");
        assert_eq!(step(&at_tail(5), 0, true), PollStep::Nothing);
        assert_eq!(step(&closed(at_tail(5)), 0, false), PollStep::Nothing);
    }

    #[test]
    fn a_new_reader_at_the_tail_is_told_so_and_then_waits() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        let stream = at_tail(5);
        assert_eq!(control(session.step(Some(&stream), 0, false)), (5, true, false));
        assert_eq!(session.step(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
        assert_eq!(session.step(Some(&stream), 15_000, false), EventStep::Heartbeat);
        assert_eq!(session.step(Some(&stream), 15_000, false), EventStep::Wait { until_ms: 30_000 });
    }

    #[test]
    fn a_session_without_a_heartbeat_time_comes_to_rest() {
        let mut session = EventSession::new(5, 100, EventTimes { heartbeat_ms: 0, ..TIMES }, 0);
        session.step(Some(&at_tail(5)), 0, false);
        assert_eq!(session.step(Some(&at_tail(5)), 0, false), EventStep::Wait { until_ms: 1 });
    }

    #[test]
    fn every_chunk_is_followed_by_where_the_reader_stands() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(250);
        for (from, target, end) in [(0, 100, 110), (110, 200, 200), (200, 250, 250)] {
            assert_eq!(session.step(Some(&stream), 0, false), EventStep::Data { from, target, last: false });
            let progress = session.on_data(&stream, end, end, 0).unwrap();
            assert_eq!((progress.next.position, progress.up_to_date), (end, end == 250));
        }
        assert_eq!(session.step(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
    }

    #[test]
    fn the_final_append_comes_before_the_closure() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        session.step(Some(&at_tail(0)), 0, false);
        let stream = closed(at_tail(4));
        assert_eq!(
            session.step(Some(&stream), 0, false),
            EventStep::Data { from: 0, target: 4, last: false }
        );
        assert!(session.on_data(&stream, 4, 4, 0).unwrap().closed);
        assert_eq!(session.step(Some(&stream), 0, false), EventStep::End);
    }

    #[test]
    fn closure_without_data_is_told_once() {
        let mut session = EventSession::new(4, 100, TIMES, 0);
        let stream = closed(at_tail(4));
        assert_eq!(control(session.step(Some(&stream), 0, false)), (4, true, true));
        assert_eq!(session.step(Some(&stream), 0, false), EventStep::End);
    }

    #[test]
    fn an_incomplete_sequence_waits_for_its_rest_or_for_the_end() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(4);
        session.step(Some(&stream), 0, false);
        let progress = session.on_data(&stream, 3, 4, 0).unwrap();
        assert_eq!((progress.next.position, progress.up_to_date), (3, false));
        assert_eq!(session.step(Some(&stream), 0, false), EventStep::Wait { until_ms: 15_000 });
        let longer = at_tail(6);
        assert_eq!(
            session.step(Some(&longer), 0, false),
            EventStep::Data { from: 3, target: 6, last: false }
        );
        assert_eq!(session.on_data(&longer, 3, 6, 0), None);
        let ended = closed(longer);
        assert_eq!(session.step(Some(&ended), 0, false), EventStep::Data { from: 3, target: 6, last: true });
        assert!(session.on_data(&ended, 6, 6, 0).unwrap().closed);
    }

    #[test]
    fn connections_end_in_time_even_when_the_stream_never_rests() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        let stream = at_tail(1_000);
        session.step(Some(&stream), 59_999, false);
        session.on_data(&stream, 100, 100, 59_999);
        assert_eq!(session.step(Some(&stream), 60_000, false), EventStep::End);
    }

    #[test]
    fn a_late_first_look_still_delivers() {
        let mut session = EventSession::new(0, 100, TIMES, 0);
        assert!(matches!(session.step(Some(&at_tail(5)), 70_000, false), EventStep::Data { .. }));
    }

    #[test]
    fn draining_tells_where_the_reader_stands_and_ends() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        let stream = at_tail(5);
        session.step(Some(&stream), 0, false);
        assert_eq!(control(session.step(Some(&stream), 0, true)), (5, true, false));
        assert_eq!(session.step(Some(&stream), 0, true), EventStep::End);
    }

    #[test]
    fn a_stream_that_is_gone_ends_the_connection() {
        let mut session = EventSession::new(5, 100, TIMES, 0);
        assert_eq!(session.step(None, 0, false), EventStep::End);
    }
}
