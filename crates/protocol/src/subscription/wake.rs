//! A subscription's state (section 7): idle, waking, leased. Each transition is a function of the state and the time.
//! Inputs are called `on_*`; [`Wakes::poll`] says what to do next.
//!
//! | state | what happens | afterwards |
//! |---|---|---|
//! | idle | something is pending, and no retry is due later | waking, next generation |
//! | idle | a worker claims pending work (pull-wake) | leased, next generation |
//! | waking | the webhook's response is 2xx | leased, without a holder |
//! | waking | the webhook's response is `done` | idle |
//! | waking | the webhook's response is anything else, or none comes | waking, a retry is scheduled, as late as `Retry-After` asks |
//! | waking | a callback | leased, or idle if it is done |
//! | waking | a worker claims (pull-wake) | leased |
//! | waking | a worker claims, and nothing is pending any more | idle |
//! | waking | the webhook's lease ends | idle, a retry is scheduled |
//! | leased | a callback or an ack | leased for longer, or idle if it is done |
//! | leased | a release | idle |
//! | leased | the lease ends | idle |
//!
//! A wake's identity is its generation: the token and the wake id are made from it.

use crate::subscription::SubscriptionRefusal;

/// The first pause before a delivery is tried again, in milliseconds.
const RETRY_FIRST_MS: u64 = 1_000;
/// The longest pause, in milliseconds.
const RETRY_LONGEST_MS: u64 = 60_000;

/// The longest pause that a receiver can ask for, in milliseconds.
pub(crate) const RETRY_ASKED_MAX_MS: u64 = 3_600_000;

/// The state of a subscription's wakes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Wakes {
    /// The number of the last wake; 0 before the first.
    pub generation: u64,
    /// The phase of that wake.
    pub phase: Phase,
    /// The deliveries that failed since the last one that succeeded.
    pub retry: Option<Retry>,
}

/// The phase of a wake.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// There is no wake.
    #[default]
    Idle,
    /// A worker is being woken.
    Waking {
        /// The end of a webhook's lease, in milliseconds of steady time; a pull-wake's begins only with the claim.
        until_ms: Option<u64>,
    },
    /// A worker is at work.
    Leased {
        /// The worker that has claimed the wake; `None` for a webhook.
        holder: Option<Box<str>>,
        /// The end of the lease, in milliseconds of steady time.
        until_ms: u64,
    },
}

/// Consecutive deliveries that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Their number.
    pub failures: u32,
    /// The time from which the next one may be tried, in milliseconds of steady time.
    pub next_attempt_ms: u64,
}

/// The kind of delivery, on which the beginning of the lease depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryKind {
    /// The lease begins with the wake.
    Webhook,
    /// The lease begins with a claim.
    PullWake,
}

/// The next step of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeStep {
    /// Wait for an input.
    Wait,
    /// Wait for an input, or poll again at this time, in milliseconds since 1970.
    WaitUntil(u64),
    /// Begin a new wake.
    Wake,
    /// Deliver the current wake.
    Deliver,
}

/// The wake that a request of a worker names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence<'a> {
    /// The generation of the token, which was found valid.
    pub token_generation: u64,
    /// The generation in the body.
    pub generation: u64,
    /// The wake id in the body.
    pub wake_id: &'a str,
}

impl Wakes {
    /// Returns the state at a time, without a lease that has ended. `jitter_seed` spreads the retry of a webhook.
    #[must_use]
    pub fn on_time(&self, now_ms: u64, jitter_seed: u32) -> Self {
        match self.phase {
            Phase::Waking { until_ms: Some(until_ms) } if now_ms >= until_ms => {
                // No response has come: that is a failure, unless it was one before and the next attempt is later.
                let waits = self.retry.is_some_and(|retry| retry.next_attempt_ms > until_ms);
                if waits { self.on_release() } else { self.on_failure(until_ms, jitter_seed, 0).on_release() }
            }
            Phase::Leased { until_ms, .. } if now_ms >= until_ms => self.on_release(),
            _ => self.clone(),
        }
    }

    /// Returns the next step. The state must be that of `now_ms` ([`Wakes::on_time`]).
    #[must_use]
    pub fn poll(&self, kind: DeliveryKind, is_pending: bool, now_ms: u64) -> WakeStep {
        let due_ms = self.retry.map_or(0, |retry| retry.next_attempt_ms);
        match (&self.phase, kind) {
            (Phase::Idle, _) if !is_pending => WakeStep::Wait,
            (Phase::Idle, _) if now_ms < due_ms => WakeStep::WaitUntil(due_ms),
            (Phase::Idle, _) => WakeStep::Wake,
            (Phase::Waking { until_ms: Some(until_ms) }, DeliveryKind::Webhook) if now_ms < due_ms => {
                WakeStep::WaitUntil(due_ms.min(*until_ms))
            }
            (Phase::Waking { .. }, DeliveryKind::Webhook) => WakeStep::Deliver,
            // The event is in the wake stream.
            (Phase::Waking { .. }, DeliveryKind::PullWake) => WakeStep::Wait,
            (Phase::Leased { until_ms, .. }, _) => WakeStep::WaitUntil(*until_ms),
        }
    }

    /// Returns the state after the beginning of a new wake.
    #[must_use]
    pub fn on_wake(&self, kind: DeliveryKind, lease_ttl_ms: u64, now_ms: u64) -> Self {
        let until_ms = (kind == DeliveryKind::Webhook).then(|| now_ms.saturating_add(lease_ttl_ms));
        // A pull-wake is delivered with its event, which is in the same commit.
        let retry = self.retry.filter(|_| kind == DeliveryKind::Webhook);
        Self { generation: self.generation + 1, phase: Phase::Waking { until_ms }, retry }
    }

    /// Returns the state after a webhook was received: its worker has the rest of the lease.
    #[must_use]
    pub fn on_delivered(&self) -> Self {
        let phase = match self.phase {
            Phase::Waking { until_ms: Some(until_ms) } => Phase::Leased { holder: None, until_ms },
            ref phase => phase.clone(),
        };
        Self { phase, retry: None, ..self.clone() }
    }

    /// Returns the state after a failed delivery: the pause before the next one doubles, up to a minute, and varies by a
    /// fifth with `jitter_seed`. It is not shorter than `asked_ms`, the pause that the receiver asks for.
    #[must_use]
    pub fn on_failure(&self, now_ms: u64, jitter_seed: u32, asked_ms: u64) -> Self {
        let failures = self.retry.map_or(0, |retry| retry.failures).saturating_add(1);
        let next_attempt_ms = now_ms.saturating_add(pause_ms(failures, jitter_seed).max(asked_ms));
        Self { retry: Some(Retry { failures, next_attempt_ms }), ..self.clone() }
    }

    /// Returns the state after a worker's claim.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::AlreadyClaimed`] while another worker holds the lease,
    /// [`SubscriptionRefusal::NothingPending`] if there is no work.
    pub fn on_claim(
        &self,
        worker: &str,
        is_pending: bool,
        lease_ttl_ms: u64,
        now_ms: u64,
    ) -> Result<Self, SubscriptionRefusal> {
        let generation = match &self.phase {
            Phase::Leased { holder, .. } => {
                let holder = holder.clone().unwrap_or_default();
                return Err(SubscriptionRefusal::AlreadyClaimed { holder, generation: self.generation });
            }
            _ if !is_pending => return Err(SubscriptionRefusal::NothingPending),
            Phase::Waking { .. } => self.generation,
            Phase::Idle => self.generation + 1,
        };
        let until_ms = now_ms.saturating_add(lease_ttl_ms);
        Ok(Self { generation, phase: Phase::Leased { holder: Some(worker.into()), until_ms }, retry: None })
    }

    /// Returns the state after a heartbeat of the worker: the lease begins again.
    #[must_use]
    pub fn on_heartbeat(&self, lease_ttl_ms: u64, now_ms: u64) -> Self {
        let holder = if let Phase::Leased { holder, .. } = &self.phase { holder.clone() } else { None };
        let until_ms = now_ms.saturating_add(lease_ttl_ms);
        Self { phase: Phase::Leased { holder, until_ms }, retry: None, ..self.clone() }
    }

    /// Returns the state after the end of a wake that no worker has finished.
    #[must_use]
    pub fn on_release(&self) -> Self {
        Self { phase: Phase::Idle, ..self.clone() }
    }

    /// Returns the state after the end of a wake that a worker has finished.
    #[must_use]
    pub fn on_done(&self) -> Self {
        Self { phase: Phase::Idle, retry: None, ..self.clone() }
    }

    /// Checks that a request of a worker names the current wake (section 7.3), whose id is `wake_id`.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::Fenced`] for any other wake.
    pub fn check(&self, fence: &Fence<'_>, wake_id: &str) -> Result<(), SubscriptionRefusal> {
        let is_current = self.phase != Phase::Idle
            && fence.token_generation == self.generation
            && fence.generation == self.generation
            && fence.wake_id == wake_id;
        if is_current { Ok(()) } else { Err(SubscriptionRefusal::Fenced) }
    }

    /// Returns the state as it is read from the store at `now_ms`. A time further ahead than any that could be set now was
    /// set by a clock that was wrong: it is brought as near as it can have been meant.
    #[must_use]
    pub fn on_load(mut self, now_ms: u64, lease_ttl_ms: u64) -> Self {
        let lease_end_ms = now_ms.saturating_add(lease_ttl_ms);
        match &mut self.phase {
            Phase::Waking { until_ms: Some(until_ms) } | Phase::Leased { until_ms, .. } => {
                *until_ms = (*until_ms).min(lease_end_ms);
            }
            Phase::Waking { until_ms: None } | Phase::Idle => {}
        }
        if let Some(retry) = &mut self.retry {
            let pause_end_ms = now_ms.saturating_add(RETRY_ASKED_MAX_MS);
            retry.next_attempt_ms = retry.next_attempt_ms.min(pause_end_ms);
        }
        self
    }

    /// Returns whether the last delivery has failed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.retry.is_some()
    }
}

fn pause_ms(failures: u32, jitter_seed: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let base_ms = (RETRY_FIRST_MS << doublings).min(RETRY_LONGEST_MS);
    // From four fifths to six fifths.
    let spread_ms = base_ms * 2 / 5;
    base_ms * 4 / 5 + ((spread_ms * u64::from(jitter_seed)) >> u32::BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: u64 = 30_000;

    fn wakes(generation: u64, phase: Phase, retry: Option<(u32, u64)>) -> Wakes {
        let retry = retry.map(|(failures, next_attempt_ms)| Retry { failures, next_attempt_ms });
        Wakes { generation, phase, retry }
    }

    fn waking(until_ms: Option<u64>) -> Phase {
        Phase::Waking { until_ms }
    }

    fn leased(holder: Option<&str>, until_ms: u64) -> Phase {
        Phase::Leased { holder: holder.map(Into::into), until_ms }
    }

    #[test]
    fn what_is_to_be_done_follows_from_state_and_time() {
        let webhook = DeliveryKind::Webhook;
        for (state, kind, is_pending, now_ms, expected) in [
            (wakes(0, Phase::Idle, None), webhook, false, 9, WakeStep::Wait),
            (wakes(0, Phase::Idle, None), webhook, true, 9, WakeStep::Wake),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, true, 49, WakeStep::WaitUntil(50)),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, true, 50, WakeStep::Wake),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, false, 50, WakeStep::Wait),
            (wakes(3, waking(Some(90)), None), webhook, true, 9, WakeStep::Deliver),
            (wakes(3, waking(Some(90)), Some((1, 50))), webhook, true, 9, WakeStep::WaitUntil(50)),
            (wakes(3, waking(Some(40)), Some((1, 50))), webhook, true, 9, WakeStep::WaitUntil(40)),
            (wakes(3, waking(Some(90)), Some((1, 50))), webhook, true, 50, WakeStep::Deliver),
            (wakes(3, leased(None, 90), None), webhook, true, 50, WakeStep::WaitUntil(90)),
            (wakes(3, waking(None), None), DeliveryKind::PullWake, true, 50, WakeStep::Wait),
            (
                wakes(3, leased(Some("w"), 90), None),
                DeliveryKind::PullWake,
                false,
                50,
                WakeStep::WaitUntil(90),
            ),
        ] {
            assert_eq!(state.poll(kind, is_pending, now_ms), expected, "{state:?} at {now_ms}");
        }
    }

    #[test]
    fn every_wake_has_a_generation_of_its_own() {
        let first = Wakes::default().on_wake(DeliveryKind::Webhook, TTL, 1_000);
        assert_eq!(first, wakes(1, waking(Some(31_000)), None));
        assert_eq!(first.on_done().on_wake(DeliveryKind::Webhook, TTL, 2_000).generation, 2);
        let pulled = Wakes::default().on_wake(DeliveryKind::PullWake, TTL, 1_000);
        assert_eq!(pulled, wakes(1, waking(None), None));
        assert_eq!(pulled.on_claim("w", true, TTL, 5_000), Ok(wakes(1, leased(Some("w"), 35_000), None)));
        assert_eq!(Wakes::default().on_claim("w", true, TTL, 5_000).unwrap().generation, 1);
    }

    #[test]
    fn one_worker_has_the_lease() {
        let held = wakes(7, leased(Some("w1"), 90), None);
        let refused = SubscriptionRefusal::AlreadyClaimed { holder: "w1".into(), generation: 7 };
        assert_eq!(held.on_claim("w2", true, TTL, 50), Err(refused));
        assert_eq!(held.on_time(90, 0).on_claim("w2", true, TTL, 90).unwrap().generation, 8);
        assert_eq!(
            wakes(7, waking(None), None).on_claim("w", false, TTL, 1),
            Err(SubscriptionRefusal::NothingPending)
        );
    }

    #[test]
    fn times_of_a_clock_that_was_ahead_are_brought_near_when_they_are_loaded() {
        let far = 9_000_000;
        for (stored, expected) in [
            (wakes(7, leased(Some("w"), far), None), wakes(7, leased(Some("w"), 100 + TTL), None)),
            (
                wakes(7, waking(Some(far)), Some((9, far))),
                wakes(7, waking(Some(100 + TTL)), Some((9, 3_600_100))),
            ),
            (wakes(7, leased(None, 90), Some((1, 95))), wakes(7, leased(None, 90), Some((1, 95)))),
            (wakes(7, waking(None), None), wakes(7, waking(None), None)),
        ] {
            assert_eq!(stored.on_load(100, TTL), expected);
        }
    }

    #[test]
    fn a_lease_ends_at_its_time() {
        let held = wakes(7, leased(Some("w1"), 90), None);
        assert_eq!(held.on_time(89, 0), held);
        assert_eq!(held.on_time(90, 0), wakes(7, Phase::Idle, None));
        assert_eq!(held.on_heartbeat(TTL, 50), wakes(7, leased(Some("w1"), 30_050), None));
    }

    #[test]
    fn a_webhook_that_nobody_answers_is_repeated_later_and_later() {
        let first = Wakes::default().on_wake(DeliveryKind::Webhook, TTL, 0);
        let half = 1 << 31;
        let once = first.on_failure(100, half, 0);
        assert_eq!(once, wakes(1, waking(Some(TTL)), Some((1, 1_100))));
        assert_eq!(
            once.on_failure(1_100, half, 900).retry,
            Some(Retry { failures: 2, next_attempt_ms: 3_100 })
        );
        assert_eq!(once.on_time(TTL, half), wakes(1, Phase::Idle, Some((2, 32_000))));
        assert_eq!(once.on_time(TTL + 500, half), once.on_time(TTL, half), "a later look sees the same");
        let late = wakes(1, waking(Some(TTL)), Some((3, 33_000)));
        assert_eq!(late.on_time(TTL, half), wakes(1, Phase::Idle, Some((3, 33_000))));
        let again = once.on_time(TTL, half).on_wake(DeliveryKind::Webhook, TTL, 32_000);
        assert_eq!(again, wakes(2, waking(Some(62_000)), Some((2, 32_000))));
        assert_eq!(again.on_delivered(), wakes(2, leased(None, 62_000), None));
        let asked = once.on_failure(1_100, half, 90_000);
        assert_eq!(asked.retry, Some(Retry { failures: 2, next_attempt_ms: 91_100 }));
        assert_eq!(
            asked.on_time(TTL, half),
            wakes(1, Phase::Idle, Some((2, 91_100))),
            "it outlasts the lease"
        );
        assert!(once.is_failing() && !again.on_delivered().is_failing());
    }

    #[test]
    fn only_the_wake_that_is_under_way_is_not_fenced() {
        let state = wakes(7, waking(Some(90)), None);
        let fence = |token_generation, generation, wake_id| Fence { token_generation, generation, wake_id };
        assert_eq!(state.check(&fence(7, 7, "w_7"), "w_7"), Ok(()));
        for (state, fence) in [
            (&state, fence(6, 7, "w_7")),
            (&state, fence(7, 6, "w_7")),
            (&state, fence(7, 8, "w_7")),
            (&state, fence(7, 7, "w_6")),
            (&state.on_done(), fence(7, 7, "w_7")),
            (&state.on_release(), fence(7, 7, "w_7")),
        ] {
            assert_eq!(state.check(&fence, "w_7"), Err(SubscriptionRefusal::Fenced), "{fence:?}");
        }
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_a_minute_and_differ_by_a_fifth(failures in 1..100u32, jitter_seed: u32) {
            let base_ms = 1_000u64.saturating_mul(1 << (failures - 1).min(30)).min(60_000);
            let pause_ms = pause_ms(failures, jitter_seed);
            prop_assert!(base_ms * 4 / 5 <= pause_ms && pause_ms <= base_ms * 6 / 5, "{} {}", base_ms, pause_ms);
        }
    }
}
