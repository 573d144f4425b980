//! The only place that reads the time. Two times, which tests can move apart:
//!
//! - **Wall time** (`wall_*`) is the date. An operator or NTP may step it in either direction. Incarnations are wall time,
//!   and what others check: timestamps of webhooks and the lifetimes of their keys. The deadlines of streams, the times of
//!   their last changes, cursors and the ages of responses are dates too, but of a calendar: wall time without its steps.
//! - **Steady time** (`now_*`) starts at the wall time and then only grows with elapsed time. Everything that waits
//!   uses it: long-polls, heartbeats, lifetimes of event streams, body time-outs, leases, retries, latencies. Leases
//!   and retries are stored too: steady time starts at the wall time, so they keep their meaning across a restart, and what
//!   a clock that was ahead has stored is capped when it is loaded.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// A future that resolves at a steady time.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of wall time and steady time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall time in microseconds since 1970.
    fn wall_us(&self) -> u64;

    /// Returns the wall time in milliseconds since 1970.
    fn wall_ms(&self) -> u64 {
        self.wall_us() / 1_000
    }

    /// Returns the steady time in microseconds. It never goes back.
    fn now_us(&self) -> u64;

    /// Returns the steady time in milliseconds. It never goes back.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Returns a future that resolves when the steady time reaches `at_ms`.
    fn sleep_until(&self, at_ms: u64) -> Sleep;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    start_us: u64,
}

impl SystemClock {
    /// Creates a clock whose steady time starts at the current wall time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now(), start_us: system_us() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_us(&self) -> u64 {
        system_us()
    }

    fn now_us(&self) -> u64 {
        self.start_us.saturating_add(whole_us(self.start.elapsed()))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn sleep_until(&self, at_ms: u64) -> Sleep {
        Box::pin(tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(self.now_ms()))))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_us)
}

fn whole_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time that streams live by: the wall time, without its steps. A clock that is set forward or back by more than a
/// second, for a moment or for good, ends no stream early and keeps none for long: this time then runs slower or faster,
/// until it has caught up.
pub(crate) struct Calendar {
    clock: Arc<dyn Clock>,
    state: Mutex<CalendarState>,
}

#[derive(Clone, Copy, Debug)]
struct CalendarState {
    /// How far the calendar is ahead of the steady time.
    offset_us: i64,
    /// The steady time of the last look.
    looked_us: u64,
}

/// The difference that is made up for at once.
const SMALL_STEP_US: i64 = 1_000_000;
/// The part of the elapsed time by which the calendar runs slower or faster at most.
const SLEW_DIVISOR: i64 = 16;

impl Calendar {
    /// Makes a calendar that starts at the wall time.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let looked_us = clock.now_us();
        let offset_us = difference_us(clock.wall_us(), looked_us);
        Self { clock, state: Mutex::new(CalendarState { offset_us, looked_us }) }
    }

    /// Returns the time in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let steady_us = self.clock.now_us();
        let ahead_us = difference_us(self.clock.wall_us(), steady_us).saturating_sub(state.offset_us);
        let slew_us = difference_us(steady_us, state.looked_us).max(0) / SLEW_DIVISOR;
        let is_small = ahead_us.abs() <= SMALL_STEP_US;
        let step_us = if is_small { ahead_us } else { ahead_us.clamp(-slew_us, slew_us) };
        // Time that is too short for a part of a large step adds up.
        if is_small || step_us != 0 {
            state.looked_us = steady_us;
        }
        state.offset_us = state.offset_us.saturating_add(step_us);
        steady_us.saturating_add_signed(state.offset_us) / 1_000
    }
}

fn difference_us(time_us: u64, other_us: u64) -> i64 {
    i64::try_from(i128::from(time_us) - i128::from(other_us)).unwrap_or(i64::MAX)
}

/// A clock for tests, which stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Times>);

#[derive(Clone, Copy, Debug)]
struct Times {
    wall_us: u64,
    steady_us: u64,
}

impl ManualClock {
    /// Creates a clock with both times at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self(watch::Sender::new(Times { wall_us: now_ms * 1_000, steady_us: now_ms * 1_000 }))
    }

    /// Lets time elapse: both times advance.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|times| {
            times.wall_us += whole_us(by);
            times.steady_us += whole_us(by);
        });
    }

    /// Sets the wall time, in milliseconds since 1970, as an operator or NTP does: no time elapses.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.0.send_modify(|times| times.wall_us = wall_ms * 1_000);
    }
}

impl Clock for ManualClock {
    fn wall_us(&self) -> u64 {
        self.0.borrow().wall_us
    }

    fn now_us(&self) -> u64 {
        self.0.borrow().steady_us
    }

    fn sleep_until(&self, at_ms: u64) -> Sleep {
        let mut times = self.0.subscribe();
        Box::pin(async move {
            let _ = times.wait_for(|times| times.steady_us >= at_ms.saturating_mul(1_000)).await;
        })
    }
}

/// A reusable timer for a loop that waits again and again, mostly until later than before. It is re-armed only if it
/// would fire too late, so it may fire too early.
pub(crate) struct Alarm {
    clock: Arc<dyn Clock>,
    set: Option<(u64, Sleep)>,
}

impl Alarm {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, set: None }
    }

    /// Resolves at the steady time `at_ms` or earlier.
    pub(crate) async fn ring(&mut self, at_ms: u64) {
        let in_time = self.set.take().filter(|(set_ms, _)| *set_ms <= at_ms);
        let (_, sleep) = self.set.insert(in_time.unwrap_or_else(|| (at_ms, self.clock.sleep_until(at_ms))));
        sleep.await;
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_alarm_is_kept_unless_it_would_ring_too_late() {
        let clock = Arc::new(ManualClock::new(0));
        let mut alarm = Alarm::new(clock.clone());
        let mut rings = |at_ms| alarm.ring(at_ms).now_or_never().is_some();
        assert!(!rings(100));
        clock.advance(Duration::from_millis(100));
        assert!(rings(300), "it was set to 100");
        assert!(!rings(300), "it is set anew");
        assert!(!rings(200), "that is earlier");
        clock.advance(Duration::from_millis(100));
        assert!(rings(300), "it was set to 200");
    }

    #[test]
    fn the_calendar_ignores_a_step_for_a_moment_and_catches_up_with_one_for_good() {
        const HOUR_MS: u64 = 3_600_000;
        for (step_ms, slowest_ms, fastest_ms) in
            [(2 * HOUR_MS, 60_000, 63_750), (0, 60_000, 60_000), (500, 60_000, 60_500)]
        {
            for forward in [true, false] {
                let clock = Arc::new(ManualClock::new(100 * HOUR_MS));
                let calendar = Calendar::new(clock.clone());
                for _ in 0..3_600 {
                    clock.advance(Duration::from_secs(1));
                    calendar.now_ms();
                }
                let start_ms = calendar.now_ms();
                let stepped_ms = if forward { start_ms + step_ms } else { start_ms - step_ms };
                clock.set_wall_ms(stepped_ms);
                if step_ms > 1_000 {
                    assert_eq!(calendar.now_ms(), start_ms, "nothing has elapsed");
                }
                for _ in 0..60 {
                    clock.advance(Duration::from_secs(1));
                    calendar.now_ms();
                }
                let elapsed_ms = calendar.now_ms() - start_ms;
                let (least_ms, most_ms) = if forward {
                    (slowest_ms, fastest_ms)
                } else {
                    (120_000 - fastest_ms, 120_000 - slowest_ms)
                };
                assert!((least_ms..=most_ms).contains(&elapsed_ms), "{step_ms} {forward} {elapsed_ms}");
                for _ in 0..33 * 60 {
                    clock.advance(Duration::from_secs(60));
                    calendar.now_ms();
                }
                assert_eq!(calendar.now_ms(), clock.wall_ms(), "it has caught up");
            }
        }
    }

    #[test]
    fn steady_time_starts_at_the_wall_time_and_ignores_its_steps() {
        let system = SystemClock::new();
        assert!(system.now_ms().abs_diff(system.wall_ms()) < 60_000);
        let manual = ManualClock::new(5_000);
        manual.set_wall_ms(1_000);
        assert_eq!((manual.wall_ms(), manual.now_ms()), (1_000, 5_000));
        manual.advance(Duration::from_secs(1));
        assert_eq!((manual.wall_ms(), manual.now_ms()), (2_000, 6_000));
    }
}
