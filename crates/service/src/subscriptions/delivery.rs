//! The delivery of a wake: a webhook (section 7.1), or an event in the wake stream (7.2).
//!
//! A webhook's wake is made when there is a permit to send it, so that no lease runs while it queues. A wake event is
//! appended in one commit with its wake.

use std::{
    error::Error,
    fmt,
    sync::{Arc, PoisonError},
};

use headwater_protocol::{
    Refusal, Unavailable,
    path::StreamName,
    subscription::{
        Delivery, Link, Serial, Subscription,
        target::{LocalTargets, WebhookUrl},
        view::{Received, read_webhook_response, webhook_headers},
        wake::{DeliveryKind, Phase, WakeStep},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Subscriptions,
    registry::{Entry, progress_views},
    transition::Transition,
};
use crate::webhooks::{ErrorSource, WebhookRequest, WebhookResponse};

/// A wake that has to be sent as a webhook.
struct Wake {
    subscription: Subscription,
    streams: Vec<(StreamName, Link)>,
    until_ms: u64,
}

impl Subscriptions {
    /// Sends one webhook, if one is due, and does what its response says.
    pub(super) async fn deliver(self: &Arc<Self>, serial: Serial) -> Result<(), Refusal> {
        let Some(Delivery::Webhook(url)) = self.delivery(serial).await? else { return Ok(()) };
        let Some(permits) = self.delivery_permits(&url).await else { return Ok(()) };
        // The permits may have taken long.
        if self.is_draining() {
            return Ok(());
        }
        let Some(wake) = self.next_wake(serial).await? else { return Ok(()) };
        let wake = Arc::new(wake);
        let generation = wake.subscription.wakes.generation;
        let (sender, sent) = (self.clone(), wake.clone());
        let sending = tokio::spawn(async move {
            let received = sender.send(&url, &sent).await;
            drop(permits);
            received
        });
        // A worker may be done long before it responds. Then nothing waits for the response, and it isn't cut off.
        let received = tokio::select! {
            received = sending => received.unwrap_or_else(|error| Err(error.into())),
            () = self.wake_ended(serial, generation) => {
                self.core.metrics.webhook(Received::Accepted);
                return Ok(());
            }
        };
        let received = received.unwrap_or_else(|error| {
            let id = wake.subscription.id.as_str();
            tracing::warn!(id, generation, error = %Causes(&*error), "a webhook failed");
            Received::Refused { pause_ms: 0 }
        });
        self.core.metrics.webhook(received);
        let transition = self.transition(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let is_current = wakes.generation == generation && wakes.phase != Phase::Idle;
            let is_waking = matches!(wakes.phase, Phase::Waking { .. });
            let transition = match received {
                // If a callback has come before the response, then the response says nothing new.
                Received::Refused { pause_ms } if is_current && is_waking => {
                    let jitter_seed = entry.subscription.jitter_seed();
                    Some(Transition::to(wakes.on_failure(now_ms, jitter_seed, pause_ms)))
                }
                Received::Accepted if is_current && is_waking => Some(Transition::to(wakes.on_delivered())),
                Received::Done if is_current => {
                    Some(Transition { wakes: wakes.on_done(), acks: all_done(&wake.streams, entry) })
                }
                _ => None,
            };
            (transition, ())
        });
        transition.await
    }

    /// Appends a wake event, if a wake is due.
    pub(super) async fn write_wake_event(self: &Arc<Self>, serial: Serial) -> Result<(), Refusal> {
        let Some(Delivery::PullWake(wake_stream)) = self.delivery(serial).await? else { return Ok(()) };
        let _lock = self.lock(serial).await?;
        let (now_ms, wall_ms) = (self.core.clock.now_ms(), self.core.clock.wall_ms());
        let (transition, event, edits) = {
            let registry = self.registry_updated_for(serial);
            let Some(entry) = registry.entries.get(&serial) else { return Ok(()) };
            let Some((woken, first)) = due_wake(entry, now_ms) else { return Ok(()) };
            let event = woken.wake_event(&first, wall_ms);
            let transition = Transition::to(woken.wakes);
            let edits = transition.edits(&entry.subscription);
            (transition, event, edits)
        };
        let core = self.core.wake_events.upgrade().ok_or(Unavailable::ShuttingDown)?;
        match core.append(wake_stream.clone(), event, edits).await {
            Ok(()) => {
                self.core.metrics.wake_event();
                transition.publish(&mut self.registry(), serial);
                Ok(())
            }
            // That says nothing of the wake stream; the driver tries again in a moment.
            Err(refusal @ Refusal::Unavailable(_)) => Err(refusal),
            Err(refusal) => {
                tracing::warn!(stream = %wake_stream, %refusal, "a wake event could not be written; it is tried again");
                let failed = self.transition_locked(serial, |entry, now_ms| {
                    let failed = entry.wakes(now_ms).on_failure(now_ms, entry.subscription.jitter_seed(), 0);
                    (Some(Transition::to(failed)), ())
                });
                failed.await
            }
        }
    }

    /// Waits for the permits to send one more webhook to a target.
    async fn delivery_permits(&self, url: &WebhookUrl) -> Option<[OwnedSemaphorePermit; 2]> {
        let per_target = self.core.limits.deliveries_per_target_max;
        let target = {
            let mut targets = self.target_permits.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that are not in use are dropped, whenever there are twice as many.
            if targets.len() == targets.capacity() {
                targets.retain(|_, target| Arc::strong_count(target) > 1);
                let in_use = targets.len();
                targets.reserve(in_use);
            }
            targets.entry(url.target()).or_insert_with(|| Arc::new(Semaphore::new(per_target))).clone()
        };
        let of_target = target.acquire_owned().await.ok()?;
        Some([of_target, self.delivery_permits.clone().acquire_owned().await.ok()?])
    }

    /// Makes the wake that has to be sent now: a new one, or the one that wasn't received. It is durable.
    async fn next_wake(self: &Arc<Self>, serial: Serial) -> Result<Option<Wake>, Refusal> {
        self.transition(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            let wakes = match entry.next(now_ms) {
                WakeStep::Wake => wakes.on_wake(DeliveryKind::Webhook, lease_ttl_ms, now_ms),
                WakeStep::Deliver => wakes,
                WakeStep::Wait | WakeStep::WaitUntil(_) => return (None, None),
            };
            let Phase::Waking { until_ms: Some(until_ms) } = wakes.phase else { return (None, None) };
            let subscription = Subscription { wakes: wakes.clone(), ..entry.subscription.clone() };
            let transition = (wakes != entry.subscription.wakes).then(|| Transition::to(wakes));
            (transition, Some(Wake { subscription, streams: entry.wake_streams(), until_ms }))
        })
        .await
    }

    /// Resolves when a wake has ended, for whatever reason.
    async fn wake_ended(&self, serial: Serial, generation: u64) {
        let changed = self.registry().entries.get(&serial).map(|entry| entry.changed.clone());
        let Some(changed) = changed else { return };
        loop {
            let mut change = std::pin::pin!(changed.notified());
            // Enabled before the look, so that no later change is missed.
            change.as_mut().enable();
            let is_current = self.registry().entries.get(&serial).is_some_and(|entry| {
                let wakes = &entry.subscription.wakes;
                wakes.generation == generation && wakes.phase != Phase::Idle
            });
            if !is_current {
                return;
            }
            change.await;
        }
    }

    async fn send(&self, url: &WebhookUrl, wake: &Wake) -> Result<Received, ErrorSource> {
        if !url.is_tls() && self.core.limits.local_targets == LocalTargets::Refused {
            return Err("webhooks to this machine are not allowed any more".into());
        }
        let wall_ms = self.core.clock.wall_ms();
        let (secret, key) = {
            let registry = self.registry();
            let secret = registry.common.as_ref().map(|common| common.secret.clone());
            (secret, registry.keys.active(wall_ms).cloned())
        };
        let (Some(secret), Some(key), Some(webhooks)) = (secret, key, &self.core.webhooks) else {
            return Err("this server sends no webhooks".into());
        };
        let body = wake.subscription.webhook_body(&secret, &progress_views(&wake.streams));
        let headers = webhook_headers(key.sign(&body, wall_ms));
        let left_ms = wake.until_ms.saturating_sub(self.core.clock.now_ms());
        let timeout_ms = self.core.limits.webhook_timeout_ms.min(left_ms);
        let response = webhooks.post(WebhookRequest { url: url.clone(), headers, body, timeout_ms }).await?;
        let WebhookResponse { status, headers, body } = response;
        let received = read_webhook_response(status, &headers, &body, self.core.clock.wall_ms());
        if let Received::Refused { pause_ms } = received {
            let (id, generation) = (wake.subscription.id.as_str(), wake.subscription.wakes.generation);
            tracing::warn!(id, generation, status, pause_ms, "a webhook was refused");
        }
        Ok(received)
    }
}

/// Returns the subscription after the wake that is due, and the first stream with pending work.
fn due_wake(entry: &Entry, now_ms: u64) -> Option<(Subscription, StreamName)> {
    if entry.next(now_ms) != WakeStep::Wake {
        return None;
    }
    let first = entry.pending.first()?.clone();
    let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
    let wakes = entry.wakes(now_ms).on_wake(DeliveryKind::PullWake, lease_ttl_ms, now_ms);
    Some((Subscription { wakes, ..entry.subscription.clone() }, first))
}

/// Returns the links of a wake's streams with their cursors at the tails that the wake named, as far as they still exist.
fn all_done(streams: &[(StreamName, Link)], entry: &Entry) -> Vec<(StreamName, Link)> {
    let done = streams.iter().filter_map(|(name, sent)| {
        let link = entry.links.get(name)?.link;
        let done = link.done_up_to(sent.tail?);
        (done.acked != link.acked).then(|| (name.clone(), done))
    });
    done.collect()
}

/// An error with its causes, for the log.
struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error = self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
