//! What a connection is doing, and whether it has been doing it for too long.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time;

use crate::Connections;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, section 3.4). No HTTP/1.1 method begins with them.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// The activity of one connection: its requests, and when bytes went either way.
///
/// An adapter wraps the socket in a [`Monitored`](crate::Monitored), calls [`Activity::begin`] for each request and
/// drops the connection when [`Activity::overdue`] resolves.
#[derive(Debug)]
pub struct Activity {
    limits: Connections,
    state: Mutex<State>,
}

/// Why a connection is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The client has begun a request head and did not complete it within [`Connections::header_timeout_ms`].
    Head,
    /// There was no request for [`Connections::idle_timeout_ms`].
    Idle,
    /// The client took no byte of a response for [`Connections::send_timeout_ms`].
    Send,
}

#[derive(Debug)]
struct State {
    /// The requests in flight: until their response's body is sent or abandoned.
    requests: usize,
    /// The responses among them whose head is made.
    responses: usize,
    /// When the last response was complete; before the first one, when the connection was accepted.
    idle_since: Instant,
    /// When the first byte after the last request came.
    head_since: Option<Instant>,
    /// When the transport last took a part of a response, or the socket a byte of one.
    taken_at: Instant,
    /// Whether the socket takes no more bytes now.
    is_blocked: bool,
    /// Whether the client sends nothing more.
    is_half_closed: bool,
    version: Version,
}

/// What is known of the connection's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The first bytes, this many, are those of HTTP/2.
    Unknown(usize),
    Http1,
    Http2,
}

/// A request in flight; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    activity: Arc<Activity>,
    is_responding: bool,
}

impl Activity {
    /// Returns the activity of a connection that was just accepted.
    #[must_use]
    pub fn new(limits: Connections) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            requests: 0,
            responses: 0,
            idle_since: now,
            head_since: None,
            taken_at: now,
            is_blocked: false,
            is_half_closed: false,
            version: Version::Unknown(0),
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// Notes that a request's head is complete.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        let mut state = self.state();
        state.requests += 1;
        state.head_since = None;
        drop(state);
        InFlight { activity: self.clone(), is_responding: false }
    }

    /// Returns the number of requests in flight.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Notes bytes that came from the client.
    pub fn received(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        if let Version::Unknown(seen) = state.version {
            let expected = HTTP2_PREFACE.get(seen..).unwrap_or_default();
            let common = expected.iter().zip(bytes).take_while(|(expected, byte)| expected == byte).count();
            state.version = match common {
                _ if common == expected.len() => Version::Http2,
                _ if common == bytes.len() => Version::Unknown(seen + common),
                _ => Version::Http1,
            };
        }
        if state.requests == 0 && state.version != Version::Http2 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Notes that the client has closed its half: it sends nothing more, and is gone or waits for responses.
    pub fn half_closed(&self) {
        self.state().is_half_closed = true;
    }

    /// Returns whether the client has closed its half.
    #[must_use]
    pub fn is_half_closed(&self) -> bool {
        self.state().is_half_closed
    }

    /// Notes whether the socket took bytes.
    pub fn sent(&self, is_blocked: bool) {
        let mut state = self.state();
        // On HTTP/2 the socket also takes what isn't a response: answers to pings.
        if !is_blocked && (state.is_blocked || state.version != Version::Http2) {
            state.taken_at = Instant::now();
        }
        if is_blocked && !state.is_blocked {
            state.taken_at = Instant::now();
        }
        state.is_blocked = is_blocked;
    }

    /// Resolves when the connection should be closed, because the client takes too long.
    pub async fn overdue(&self) -> Overdue {
        loop {
            // What happens meanwhile moves the time, which is looked at again then.
            let deadline = self.state().deadline(&self.limits);
            match deadline {
                Some((at, overdue)) if at <= Instant::now() => return overdue,
                Some((at, _)) => time::sleep_until(at.into()).await,
                // Nothing is overdue earlier than that after it has changed.
                None => time::sleep(self.limits.header_timeout().min(self.limits.idle_timeout())).await,
            }
        }
    }

    /// Resolves when no request has been in flight for `duration`.
    pub async fn idle_for(&self, duration: Duration) {
        loop {
            let idle = {
                let state = self.state();
                if state.requests > 0 { Duration::ZERO } else { state.idle_since.elapsed() }
            };
            if idle >= duration {
                return;
            }
            time::sleep((duration - idle).max(Duration::from_millis(1))).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns when the connection is overdue if nothing happens until then.
    fn deadline(&self, limits: &Connections) -> Option<(Instant, Overdue)> {
        if self.is_blocked || self.responses > 0 {
            return Some((self.taken_at + limits.send_timeout(), Overdue::Send));
        }
        if self.requests > 0 {
            return None;
        }
        Some(match self.head_since {
            Some(since) => (since + limits.header_timeout(), Overdue::Head),
            None => (self.idle_since + limits.idle_timeout(), Overdue::Idle),
        })
    }
}

impl InFlight {
    /// Returns whether an event stream with nothing to send now should end: its client has closed its half, and nothing
    /// else tells one that is gone from one that listens.
    #[must_use]
    pub fn ends_events(&self) -> bool {
        self.activity.is_half_closed()
    }

    /// Notes that the response's head is made, or that the transport has asked for a part of its body: it took the one
    /// before.
    pub fn taken(&mut self) {
        let mut state = self.activity.state();
        state.responses += usize::from(!self.is_responding);
        state.taken_at = Instant::now();
        self.is_responding = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.requests -= 1;
        state.responses -= usize::from(self.is_responding);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Connections {
        Connections {
            header_timeout_ms: 1_000,
            idle_timeout_ms: 5_000,
            send_timeout_ms: 20_000,
            ..Connections::default()
        }
    }

    /// Returns after how many milliseconds a connection is overdue, and why.
    fn overdue(activity: &Activity) -> Option<(u128, Overdue)> {
        let state = activity.state();
        let (at, why) = state.deadline(&activity.limits)?;
        // The tests take no time that counts.
        Some((at.saturating_duration_since(Instant::now()).as_millis().next_multiple_of(1_000), why))
    }

    #[test]
    fn a_head_is_quick_and_silence_may_be_long() {
        let activity = Activity::new(limits());
        assert_eq!(overdue(&activity), Some((5_000, Overdue::Idle)));
        activity.received(b"GET");
        assert_eq!(overdue(&activity), Some((1_000, Overdue::Head)));
        let request = activity.begin();
        assert_eq!(overdue(&activity), None, "the server takes its time");
        activity.received(b"a body, or the next head");
        drop(request);
        assert_eq!(overdue(&activity), Some((5_000, Overdue::Idle)));
    }

    #[test]
    fn http2_is_seen_in_any_pieces_and_its_frames_begin_no_head() {
        for pieces in [&[&b"PRI * HTTP/2.0"[..]][..], &[b"P", b"R", b"I", b" * HTTP"]] {
            let activity = Activity::new(limits());
            for piece in pieces {
                activity.received(piece);
            }
            drop(activity.begin());
            activity.received(b"a ping");
            assert_eq!(overdue(&activity), Some((5_000, Overdue::Idle)), "{pieces:?}");
        }
        for pieces in [&[&b"PRX"[..]][..], &[b"P", b"UT"], &[b"PRI"]] {
            let activity = Activity::new(limits());
            for piece in pieces {
                activity.received(piece);
            }
            assert_eq!(overdue(&activity), Some((1_000, Overdue::Head)), "{pieces:?}");
        }
    }

    #[test]
    fn a_client_that_takes_no_byte_is_overdue() {
        let activity = Activity::new(limits());
        let mut request = activity.begin();
        request.taken();
        assert_eq!(overdue(&activity), Some((20_000, Overdue::Send)));
        drop(request);
        assert_eq!(overdue(&activity), Some((5_000, Overdue::Idle)));
        // What the transport has of a response may still wait for the socket.
        activity.sent(true);
        assert_eq!(overdue(&activity), Some((20_000, Overdue::Send)));
        activity.sent(false);
        assert_eq!(overdue(&activity), Some((5_000, Overdue::Idle)));
        assert_eq!(activity.requests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overdue_resolves() {
        let limits = Connections { idle_timeout_ms: 0, ..limits() };
        let activity = Activity::new(limits);
        assert_eq!(activity.overdue().await, Overdue::Idle);
        activity.idle_for(Duration::ZERO).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_ends_is_noticed_in_time() {
        // The state has the system's clock, which the test's doesn't move: nothing is overdue by that.
        let limits = Connections { header_timeout_ms: 0, idle_timeout_ms: 0, ..limits() };
        let activity = Activity::new(limits);
        let request = activity.begin();
        let ended = tokio::spawn({
            let activity = activity.clone();
            async move { activity.overdue().await }
        });
        tokio::task::yield_now().await;
        drop(request);
        assert_eq!(ended.await.unwrap(), Overdue::Idle);
    }
}
