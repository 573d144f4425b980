//! What happens while it counts: operations, their latencies, payload, and how many there were in each second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::figures::{Figures, P50, P99, P999};

/// Shared by the tasks of one measurement. All run on one thread, so its lock is never waited for.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Record>>);

/// The recorded figures.
pub(crate) struct Record {
    /// Since when it counts; nothing does before and after.
    counting_since: Option<Instant>,
    /// Operations, those included that don't count.
    pub(crate) all_operations: u64,
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    latencies_ns: Histogram<u64>,
    per_second: Vec<u64>,
}

impl Recorder {
    pub(crate) fn new() -> Result<Self> {
        let latencies_ns = Histogram::new(3)?;
        let record = Record {
            counting_since: None,
            all_operations: 0,
            operations: 0,
            bytes: 0,
            latencies_ns,
            per_second: Vec::new(),
        };
        Ok(Self(Arc::new(Mutex::new(record))))
    }

    pub(crate) fn begin(&self) {
        self.lock().counting_since = Some(Instant::now());
    }

    pub(crate) fn end(&self) {
        self.lock().counting_since = None;
    }

    /// Counts an operation that began at `started` and ends now.
    pub(crate) fn finished(&self, started: Instant) {
        let now = Instant::now();
        let nanos = now.duration_since(started).as_nanos();
        self.lock().count(now, u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// Counts an operation that took this long and ends now.
    pub(crate) fn took(&self, nanos: u64) {
        self.lock().count(Instant::now(), nanos);
    }

    /// Counts payload that arrived.
    pub(crate) fn received(&self, bytes: u64) {
        let mut record = self.lock();
        if record.counting_since.is_some() {
            record.bytes += bytes;
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        // A panic elsewhere ends the measurement anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn count(&mut self, now: Instant, nanos: u64) {
        self.all_operations += 1;
        let Some(since) = self.counting_since else { return };
        self.operations += 1;
        // Fails only for latencies beyond the histogram's range, which is that of the type.
        let _ = self.latencies_ns.record(nanos);
        let second = usize::try_from(now.duration_since(since).as_secs()).unwrap_or(usize::MAX);
        if second >= self.per_second.len() {
            self.per_second.resize(second.saturating_add(1), 0);
        }
        if let Some(count) = self.per_second.get_mut(second) {
            *count += 1;
        }
    }

    /// The latencies below which these parts of the operations were.
    pub(crate) fn add_latencies(&self, figures: &mut Figures) {
        if self.operations > 0 {
            figures.add(P50, self.quantile_ms(0.5));
            figures.add(P99, self.quantile_ms(0.99));
            figures.add(P999, self.quantile_ms(0.999));
        }
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        millis(self.latencies_ns.value_at_quantile(quantile))
    }

    pub(crate) fn longest_ms(&self) -> f64 {
        millis(self.latencies_ns.max())
    }

    /// Operations in each whole second of what was counted.
    pub(crate) fn per_second(&self, elapsed: Duration) -> Vec<u64> {
        let seconds = usize::try_from(elapsed.as_secs()).unwrap_or(usize::MAX);
        let mut per_second = self.per_second.clone();
        per_second.resize(seconds, 0);
        per_second
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counts_before_and_after() {
        let recorder = Recorder::new().unwrap();
        recorder.took(1_000_000);
        recorder.begin();
        for _ in 0..99 {
            recorder.took(2_000_000);
        }
        recorder.took(50_000_000);
        recorder.received(5);
        recorder.end();
        recorder.took(900_000_000);
        recorder.received(5);
        let record = recorder.lock();
        assert_eq!((record.operations, record.all_operations, record.bytes), (100, 102, 5));
        assert!((record.quantile_ms(0.5) - 2.0).abs() < 0.01);
        assert!((record.longest_ms() - 50.0).abs() < 0.1);
        assert_eq!(record.per_second(Duration::from_millis(2500)), [100, 0]);
    }
}
