//! Who wakes workers: looks which subscriptions need something, by news and by time, and begins to drive those.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    subscription::{Serial, SubscriptionRefusal, wake::Kind},
};

use super::{create, registry};
use crate::Inner;

/// How often it looks though nothing is due: for signing keys.
const LOOK_MS: u64 = 60_000;
/// How long a subscription rests after the store has failed.
const REST_MS: u64 = 1_000;

impl Inner {
    /// Wakes workers until the service drains.
    pub(crate) async fn wake_forever(self: Arc<Self>) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        let mut draining = self.draining.subscribe();
        let surveying = tokio::spawn(self.clone().survey_all());
        // However often there is news: keys age on a busy server too.
        let mut rotate_at_ms = 0;
        loop {
            let now_ms = self.clock.now_ms();
            if now_ms >= rotate_at_ms {
                self.rotate_keys().await;
                rotate_at_ms = now_ms.saturating_add(LOOK_MS);
            }
            // Before the look: what comes after it wakes this.
            let news = subscriptions.news.notified();
            let next_ms = self.look().unwrap_or(u64::MAX).min(rotate_at_ms);
            tokio::select! {
                _ = draining.changed() => break,
                () = news => {}
                () = self.clock.sleep_until(next_ms) => {}
            }
        }
        surveying.abort();
    }

    /// Attends to all that there is news of or whose time has come; says when the next one's will.
    fn look(self: &Arc<Self>) -> Option<u64> {
        let subscriptions = self.subscriptions.get()?;
        let now_ms = self.clock.now_ms();
        let (concerned, (due, next_ms)) = {
            let mut registry = subscriptions.registry_now();
            (std::mem::take(&mut registry.concerned), registry.due(now_ms))
        };
        for serial in concerned.into_iter().chain(due) {
            self.attend(serial);
        }
        // What was attended to may have set an earlier one.
        let (due, later_ms) = subscriptions.registry().due(0);
        debug_assert!(due.is_empty(), "nothing is due at the beginning of time");
        later_ms.or(next_ms)
    }

    /// Looks what a subscription needs, and begins with it.
    pub(super) fn attend(self: &Arc<Self>, serial: Serial) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        if *self.draining.borrow() {
            return;
        }
        let is_driven = subscriptions.registry().touch(serial, self.clock.now_ms());
        if is_driven {
            tokio::spawn(self.clone().drive(serial));
        } else {
            // A timer may be earlier than the one that is waited for.
            subscriptions.news.notify_one();
        }
    }

    /// Does what a subscription needs, until it needs nothing.
    async fn drive(self: Arc<Self>, serial: Serial) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        let kind = subscriptions.registry().entries.get(&serial).map(registry::Entry::kind);
        let done = match kind {
            Some(Kind::Webhook) => self.deliver(serial).await,
            Some(Kind::PullWake) => self.announce(serial).await,
            None => return,
        };
        let mut registry = subscriptions.registry();
        if let Some(entry) = registry.entries.get_mut(&serial) {
            entry.is_driven = false;
        }
        match done {
            Ok(()) => {
                drop(registry);
                self.attend(serial);
            }
            // It was deleted meanwhile.
            Err(Refusal::Subscription(SubscriptionRefusal::NotFound)) => {}
            Err(refusal) => {
                tracing::warn!(%refusal, "a subscription's workers could not be woken; it is tried again");
                registry.look_again(serial, self.clock.now_ms().saturating_add(REST_MS));
                drop(registry);
                subscriptions.news.notify_one();
            }
        }
    }

    /// Makes a new signing key when it is time, and forgets old ones.
    async fn rotate_keys(&self) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        // Whoever creates may take long; the next look finds the keys as they are then.
        let Ok(_creating) = subscriptions.creating.try_lock() else { return };
        let now_ms = self.clock.wall_ms();
        let keys = subscriptions.registry().keys.clone();
        if keys.keys().is_empty() {
            return;
        }
        let lifetime_ms = self.config.subscriptions.webhook_key_lifetime_ms;
        let rotated = if keys.wants_key(lifetime_ms, now_ms) {
            let Ok(seed) = super::new_secret() else { return };
            keys.with_key(seed, now_ms)
        } else {
            keys.without_old(now_ms)
        };
        if rotated == keys {
            return;
        }
        match self.write(vec![create::write_keys(&rotated)]).await {
            Ok(()) => subscriptions.registry().keys = rotated,
            Err(refusal) => {
                tracing::warn!(%refusal, "the signing keys could not be rotated; it is tried again");
            }
        }
    }
}
