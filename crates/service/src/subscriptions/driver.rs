//! The driver: polls subscriptions when their streams are dirty or their timers expire, and drives those that need it.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    subscription::{Serial, SubscriptionRefusal, wake::DeliveryKind},
};

use super::{
    Subscriptions,
    registry::Entry,
    requests::{new_secret, write_keys},
};

/// The time between two looks at the signing keys, in milliseconds.
const KEYS_INTERVAL_MS: u64 = 60_000;
/// The pause after a failure of the store, in milliseconds.
pub(super) const PAUSE_MS: u64 = 1_000;

/// The right to drive a subscription, given back however the driving ends: a panic delays its wakes and doesn't end
/// them.
pub(super) struct Driving {
    subscriptions: Arc<Subscriptions>,
    serial: Serial,
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.subscriptions.registry().release(self.serial);
        if std::thread::panicking() {
            self.subscriptions.poll_later(self.serial);
        }
    }
}

impl Subscriptions {
    /// Wakes workers until the service drains.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut draining = self.core.draining.clone();
        let loading = tokio::spawn(self.clone().load_all_tails());
        // Apart from the other timers: keys age on a busy server too.
        let mut keys_ms = 0;
        loop {
            let now_ms = self.core.clock.now_ms();
            if now_ms >= keys_ms {
                self.rotate_keys().await;
                keys_ms = now_ms.saturating_add(KEYS_INTERVAL_MS);
            }
            let next_ms = self.poll_all().unwrap_or(u64::MAX).min(keys_ms);
            tokio::select! {
                _ = draining.wait_for(|is| *is) => break,
                () = self.driver.notified() => {}
                () = self.core.clock.sleep_until(next_ms) => {}
            }
        }
        loading.abort();
    }

    /// Polls all subscriptions that are dirty or whose timers have expired. Returns when the next timer expires.
    fn poll_all(self: &Arc<Self>) -> Option<u64> {
        let (dirty, due) = {
            let mut registry = self.updated_registry();
            (std::mem::take(&mut registry.dirty), registry.take_due(self.core.clock.now_ms()))
        };
        for serial in dirty.into_iter().chain(due) {
            self.begin_driving(serial);
        }
        self.registry().next_due()
    }

    /// Finds out what a subscription needs, and begins to do it.
    pub(super) fn poll(self: &Arc<Self>, serial: Serial) {
        if !self.begin_driving(serial) {
            // A new timer may be earlier than the one that the driver waits for.
            self.driver.notify_one();
        }
    }

    /// Polls a subscription after a pause, whatever it needs.
    fn poll_later(&self, serial: Serial) {
        let at_ms = self.core.clock.now_ms().saturating_add(PAUSE_MS);
        self.registry().set_timer(serial, Some(at_ms));
        self.driver.notify_one();
    }

    fn begin_driving(self: &Arc<Self>, serial: Serial) -> bool {
        let driving = self.try_drive(serial);
        let begins = driving.is_some();
        if let Some(driving) = driving {
            tokio::spawn(drive(driving));
        }
        begins
    }

    /// Returns the right to drive a subscription, if it needs that and no other task does it.
    pub(super) fn try_drive(self: &Arc<Self>, serial: Serial) -> Option<Driving> {
        let is_due = !self.is_draining() && self.registry().poll(serial, self.core.clock.now_ms());
        is_due.then(|| Driving { subscriptions: self.clone(), serial })
    }

    /// Makes a new signing key when it is time, and forgets old ones.
    async fn rotate_keys(&self) {
        // A creation may take long, and may make a key; the next look sees it.
        let Ok(_creating) = self.creating.try_lock() else { return };
        let wall_ms = self.core.clock.wall_ms();
        let keys = self.registry().keys.clone();
        if keys.keys().is_empty() {
            return;
        }
        let rotated = if keys.wants_key(self.core.limits.webhook_key_lifetime_ms, wall_ms) {
            let Ok(seed) = new_secret() else { return };
            keys.with_key(seed, wall_ms)
        } else {
            keys.without_old(wall_ms)
        };
        if rotated == keys {
            return;
        }
        match self.write(vec![write_keys(&rotated)]).await {
            Ok(()) => self.registry().keys = rotated,
            Err(refusal) => {
                tracing::warn!(%refusal, "the signing keys could not be rotated; it is tried again");
            }
        }
    }
}

/// Does what a subscription needs now, then polls it again.
async fn drive(driving: Driving) {
    let Driving { subscriptions, serial } = &driving;
    let (subscriptions, serial) = (subscriptions.clone(), *serial);
    let kind = subscriptions.registry().entries.get(&serial).map(Entry::kind);
    let driven = match kind {
        Some(DeliveryKind::Webhook) => subscriptions.deliver(serial).await,
        Some(DeliveryKind::PullWake) => subscriptions.write_wake_event(serial).await,
        None => return,
    };
    drop(driving);
    match driven {
        Ok(()) => subscriptions.poll(serial),
        // It was deleted meanwhile.
        Err(Refusal::Subscription(SubscriptionRefusal::NotFound)) => {}
        Err(refusal) => {
            tracing::warn!(%refusal, "a subscription's workers could not be woken; it is tried again");
            subscriptions.poll_later(serial);
        }
    }
}
