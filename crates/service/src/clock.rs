//! The only place that knows what time it is; tests bring one that they push.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::sync::watch;

/// Resolves when its time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the time and waits for it.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970.
    fn now_us(&self) -> u64;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Resolves when the time has come.
    fn sleep_until(&self, at_ms: u64) -> Sleep;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_us(&self) -> u64 {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_1970.map_or(0, |since| {
            since.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(since.subsec_micros()))
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn sleep_until(&self, at_ms: u64) -> Sleep {
        Box::pin(tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(self.now_ms()))))
    }
}

/// A clock that stands still until it is pushed.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<u64>);

impl ManualClock {
    /// A clock that stands at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self(watch::Sender::new(now_ms * 1_000))
    }

    /// Pushes the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now_us| *now_us += u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> u64 {
        *self.0.borrow()
    }

    fn sleep_until(&self, at_ms: u64) -> Sleep {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            let _ = now.wait_for(|now_us| *now_us >= at_ms.saturating_mul(1_000)).await;
        })
    }
}

/// An alarm for who waits again and again, nearly always until later than before: it is set anew only when it would ring
/// too late, and may ring too early.
pub(crate) struct Alarm {
    clock: Arc<dyn Clock>,
    set: Option<(u64, Sleep)>,
}

impl Alarm {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, set: None }
    }

    /// Resolves at that time, or earlier.
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
}
