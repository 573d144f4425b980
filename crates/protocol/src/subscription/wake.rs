//! A subscription's state (section 7): idle, waking, leased. Each transition is a function of the state and the time.
//!
//! | state | what happens | afterwards |
//! |---|---|---|
//! | idle | something is pending, and no retry is due later | waking, next generation |
//! | idle | a worker claims pending work (pull-wake) | leased, next generation |
//! | waking | the webhook answers 2xx | leased, by nobody in particular |
//! | waking | the webhook answers `done` | idle |
//! | waking | the webhook answers anything else, or nothing | waking, a retry is scheduled |
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

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Wakes {
    /// Grows by one with every wake; 0 before the first.
    pub generation: u64,
    /// What is under way.
    pub phase: Phase,
    /// Since the last delivery that worked.
    pub retry: Option<Retry>,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Somebody is being woken.
    Waking {
        /// When a webhook's lease ends, in milliseconds since 1970; a pull-wake's begins only when it is claimed.
        until_ms: Option<u64>,
    },
    /// A worker is at work.
    Leased {
        /// Who claimed it; nobody in particular for a webhook.
        holder: Option<Box<str>>,
        /// When the lease ends, in milliseconds since 1970.
        until_ms: u64,
    },
}

/// Deliveries that failed, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many.
    pub failures: u32,
    /// When the next one may be tried, in milliseconds since 1970.
    pub next_attempt_ms: u64,
}

/// How workers are woken, as far as the state depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The lease begins with the wake.
    Webhook,
    /// The lease begins with a claim.
    PullWake,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something happens.
    Nothing,
    /// Look again at this time, in milliseconds since 1970.
    At(u64),
    /// A new wake.
    Wake,
    /// The wake that is under way has to be delivered.
    Deliver,
}

/// What a request of a worker says of the wake that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence<'a> {
    /// What the token, which was found valid, was made for.
    pub token_generation: u64,
    /// What the body says.
    pub generation: u64,
    /// What the body says.
    pub wake_id: &'a str,
}

impl Wakes {
    /// The state at a time: a lease that has ended is over. `roll` is a random number.
    #[must_use]
    pub fn at(&self, now_ms: u64, roll: u32) -> Self {
        match self.phase {
            Phase::Waking { until_ms: Some(until_ms) } if now_ms >= until_ms => {
                // Nobody has answered: that is a failure, unless it was one before and the next try is later.
                let waits = self.retry.is_some_and(|retry| retry.next_attempt_ms > until_ms);
                if waits { self.idle() } else { self.failed(until_ms, roll).idle() }
            }
            Phase::Leased { until_ms, .. } if now_ms >= until_ms => self.idle(),
            _ => self.clone(),
        }
    }

    /// What is to be done. Ended leases must be over ([`Wakes::at`]).
    #[must_use]
    pub fn next(&self, kind: Kind, is_pending: bool, now_ms: u64) -> Next {
        let due_ms = self.retry.map_or(0, |retry| retry.next_attempt_ms);
        match (&self.phase, kind) {
            (Phase::Idle, _) if !is_pending => Next::Nothing,
            (Phase::Idle, _) if now_ms < due_ms => Next::At(due_ms),
            (Phase::Idle, _) => Next::Wake,
            (Phase::Waking { until_ms: Some(until_ms) }, Kind::Webhook) if now_ms < due_ms => {
                Next::At(due_ms.min(*until_ms))
            }
            (Phase::Waking { .. }, Kind::Webhook) => Next::Deliver,
            // The event is in the wake stream.
            (Phase::Waking { .. }, Kind::PullWake) => Next::Nothing,
            (Phase::Leased { until_ms, .. }, _) => Next::At(*until_ms),
        }
    }

    /// A new wake.
    #[must_use]
    pub fn woken(&self, kind: Kind, lease_ttl_ms: u64, now_ms: u64) -> Self {
        let until_ms = (kind == Kind::Webhook).then(|| now_ms.saturating_add(lease_ttl_ms));
        // A pull-wake is delivered with its event, which is in the same commit.
        let retry = self.retry.filter(|_| kind == Kind::Webhook);
        Self { generation: self.generation + 1, phase: Phase::Waking { until_ms }, retry }
    }

    /// A webhook was received: its worker has the rest of the lease.
    #[must_use]
    pub fn delivered(&self) -> Self {
        let phase = match self.phase {
            Phase::Waking { until_ms: Some(until_ms) } => Phase::Leased { holder: None, until_ms },
            ref phase => phase.clone(),
        };
        Self { phase, retry: None, ..self.clone() }
    }

    /// A delivery has failed: the next one waits twice as long, up to a minute, a fifth more or less by chance.
    #[must_use]
    pub fn failed(&self, now_ms: u64, roll: u32) -> Self {
        let failures = self.retry.map_or(0, |retry| retry.failures).saturating_add(1);
        let next_attempt_ms = now_ms.saturating_add(pause_ms(failures, roll));
        Self { retry: Some(Retry { failures, next_attempt_ms }), ..self.clone() }
    }

    /// A worker asks for the work.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::AlreadyClaimed`] while somebody has it, [`SubscriptionRefusal::NothingPending`].
    pub fn claimed(
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

    /// The worker is at work and has said so.
    #[must_use]
    pub fn extended(&self, lease_ttl_ms: u64, now_ms: u64) -> Self {
        let holder = if let Phase::Leased { holder, .. } = &self.phase { holder.clone() } else { None };
        let until_ms = now_ms.saturating_add(lease_ttl_ms);
        Self { phase: Phase::Leased { holder, until_ms }, retry: None, ..self.clone() }
    }

    /// The wake is over; nobody has the lease.
    #[must_use]
    pub fn idle(&self) -> Self {
        Self { phase: Phase::Idle, ..self.clone() }
    }

    /// The wake is over because a worker has answered.
    #[must_use]
    pub fn done(&self) -> Self {
        Self { phase: Phase::Idle, retry: None, ..self.clone() }
    }

    /// Whether a request of a worker is one of the wake that is under way (section 7.3). `wake_id` is that wake's.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::Fenced`].
    pub fn check(&self, fence: &Fence<'_>, wake_id: &str) -> Result<(), SubscriptionRefusal> {
        let is_current = self.phase != Phase::Idle
            && fence.token_generation == self.generation
            && fence.generation == self.generation
            && fence.wake_id == wake_id;
        if is_current { Ok(()) } else { Err(SubscriptionRefusal::Fenced) }
    }

    /// Whether deliveries fail.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.retry.is_some()
    }
}

fn pause_ms(failures: u32, roll: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let base_ms = (RETRY_FIRST_MS << doublings).min(RETRY_LONGEST_MS);
    // From four fifths to six fifths.
    let spread_ms = base_ms * 2 / 5;
    base_ms * 4 / 5 + ((spread_ms * u64::from(roll)) >> u32::BITS)
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
        let webhook = Kind::Webhook;
        for (state, kind, is_pending, now_ms, expected) in [
            (wakes(0, Phase::Idle, None), webhook, false, 9, Next::Nothing),
            (wakes(0, Phase::Idle, None), webhook, true, 9, Next::Wake),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, true, 49, Next::At(50)),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, true, 50, Next::Wake),
            (wakes(3, Phase::Idle, Some((1, 50))), webhook, false, 50, Next::Nothing),
            (wakes(3, waking(Some(90)), None), webhook, true, 9, Next::Deliver),
            (wakes(3, waking(Some(90)), Some((1, 50))), webhook, true, 9, Next::At(50)),
            (wakes(3, waking(Some(40)), Some((1, 50))), webhook, true, 9, Next::At(40)),
            (wakes(3, waking(Some(90)), Some((1, 50))), webhook, true, 50, Next::Deliver),
            (wakes(3, leased(None, 90), None), webhook, true, 50, Next::At(90)),
            (wakes(3, waking(None), None), Kind::PullWake, true, 50, Next::Nothing),
            (wakes(3, leased(Some("w"), 90), None), Kind::PullWake, false, 50, Next::At(90)),
        ] {
            assert_eq!(state.next(kind, is_pending, now_ms), expected, "{state:?} at {now_ms}");
        }
    }

    #[test]
    fn every_wake_has_a_generation_of_its_own() {
        let first = Wakes::default().woken(Kind::Webhook, TTL, 1_000);
        assert_eq!(first, wakes(1, waking(Some(31_000)), None));
        assert_eq!(first.done().woken(Kind::Webhook, TTL, 2_000).generation, 2);
        let pulled = Wakes::default().woken(Kind::PullWake, TTL, 1_000);
        assert_eq!(pulled, wakes(1, waking(None), None));
        assert_eq!(pulled.claimed("w", true, TTL, 5_000), Ok(wakes(1, leased(Some("w"), 35_000), None)));
        assert_eq!(Wakes::default().claimed("w", true, TTL, 5_000).unwrap().generation, 1);
    }

    #[test]
    fn one_worker_has_the_lease() {
        let held = wakes(7, leased(Some("w1"), 90), None);
        let refused = SubscriptionRefusal::AlreadyClaimed { holder: "w1".into(), generation: 7 };
        assert_eq!(held.claimed("w2", true, TTL, 50), Err(refused));
        assert_eq!(held.at(90, 0).claimed("w2", true, TTL, 90).unwrap().generation, 8);
        assert_eq!(
            wakes(7, waking(None), None).claimed("w", false, TTL, 1),
            Err(SubscriptionRefusal::NothingPending)
        );
    }

    #[test]
    fn a_lease_ends_at_its_time() {
        let held = wakes(7, leased(Some("w1"), 90), None);
        assert_eq!(held.at(89, 0), held);
        assert_eq!(held.at(90, 0), wakes(7, Phase::Idle, None));
        assert_eq!(held.extended(TTL, 50), wakes(7, leased(Some("w1"), 30_050), None));
    }

    #[test]
    fn a_webhook_that_nobody_answers_is_repeated_later_and_later() {
        let first = Wakes::default().woken(Kind::Webhook, TTL, 0);
        let half = 1 << 31;
        let once = first.failed(100, half);
        assert_eq!(once, wakes(1, waking(Some(TTL)), Some((1, 1_100))));
        assert_eq!(once.failed(1_100, half).retry, Some(Retry { failures: 2, next_attempt_ms: 3_100 }));
        assert_eq!(once.at(TTL, half), wakes(1, Phase::Idle, Some((2, 32_000))));
        assert_eq!(once.at(TTL + 500, half), once.at(TTL, half), "whoever looks later sees the same");
        let late = wakes(1, waking(Some(TTL)), Some((3, 33_000)));
        assert_eq!(late.at(TTL, half), wakes(1, Phase::Idle, Some((3, 33_000))));
        let again = once.at(TTL, half).woken(Kind::Webhook, TTL, 32_000);
        assert_eq!(again, wakes(2, waking(Some(62_000)), Some((2, 32_000))));
        assert_eq!(again.delivered(), wakes(2, leased(None, 62_000), None));
        assert!(once.is_failing() && !again.delivered().is_failing());
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
            (&state.done(), fence(7, 7, "w_7")),
            (&state.idle(), fence(7, 7, "w_7")),
        ] {
            assert_eq!(state.check(&fence, "w_7"), Err(SubscriptionRefusal::Fenced), "{fence:?}");
        }
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_a_minute_and_differ_by_a_fifth(failures in 1..100u32, roll: u32) {
            let base_ms = 1_000u64.saturating_mul(1 << (failures - 1).min(30)).min(60_000);
            let pause_ms = pause_ms(failures, roll);
            prop_assert!(base_ms * 4 / 5 <= pause_ms && pause_ms <= base_ms * 6 / 5, "{} {}", base_ms, pause_ms);
        }
    }
}
