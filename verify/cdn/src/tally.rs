//! What viewers saw, added up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The number of failures that are quoted.
const TOLD_MAX: usize = 8;

/// The sum over all viewers of a run.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// By status.
    pub(crate) responses: BTreeMap<u16, u64>,
    /// Connections that broke and were opened again.
    pub(crate) broken: u64,
    /// Answers that made a viewer try again.
    pub(crate) unavailable: u64,
    /// From a message's sending until a waiting viewer had it, in microseconds.
    pub(crate) deliveries: Deliveries,
    /// From the closure until a viewer knew.
    pub(crate) closure_learnt: Vec<Duration>,
    /// The oldest "up to date" that wasn't.
    pub(crate) stale: Duration,
    pub(crate) finished: usize,
    wrong: u64,
    told: Vec<String>,
}

/// Times in microseconds, to three digits.
pub(crate) struct Deliveries(pub(crate) Histogram<u64>);

impl Default for Deliveries {
    #[expect(clippy::expect_used, reason = "three digits are among those that a histogram can have")]
    fn default() -> Self {
        Self(Histogram::new(3).expect("a resolution that is allowed"))
    }
}

impl Tally {
    pub(crate) fn response(&mut self, status: u16) {
        self.requests += 1;
        *self.responses.entry(status).or_default() += 1;
    }

    pub(crate) fn delivered(&mut self, after: Duration) {
        // The histogram grows by itself: nothing is too long for it.
        let _ = self.deliveries.0.record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn up_to_date(&mut self, stale: Duration) {
        self.stale = self.stale.max(stale);
    }

    /// Something that no reader may ever see.
    pub(crate) fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }

    /// The number of failures, and the first of them in words.
    pub(crate) fn wrongs(&self) -> (u64, &[String]) {
        (self.wrong, &self.told)
    }

    pub(crate) fn delivery_ms(&self, quantile: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a delivery takes no years")]
        (!self.deliveries.0.is_empty())
            .then(|| self.deliveries.0.value_at_quantile(quantile) as f64 / 1_000.0)
    }

    pub(crate) fn closure_learnt_max(&self) -> Option<Duration> {
        self.closure_learnt.iter().max().copied()
    }
}
