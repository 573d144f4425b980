//! Webhooks (section 7.1): a wake is issued when there is room to send it, so that no lease runs while it queues.

use std::{
    error::Error,
    fmt,
    sync::{Arc, PoisonError},
};

use headwater_protocol::{
    Refusal,
    path::StreamName,
    subscription::{
        Delivery, Link, Serial, Subscription,
        target::{LocalTargets, WebhookUrl},
        view::{Received, read_webhook_answer, webhook_headers},
        wake::{Kind, Next, Phase},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Subscriptions,
    registry::{Entry, progress_views},
    transition::Step,
};
use crate::{
    Inner,
    webhooks::{ErrorSource, WebhookRequest},
};

/// A wake that is to be sent.
struct Wake {
    subscription: Subscription,
    streams: Vec<(StreamName, Link)>,
    until_ms: u64,
}

impl Subscriptions {
    /// Waits for room to send one more webhook to a target.
    async fn permits(&self, url: &WebhookUrl, per_target: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        let target = {
            let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody sends to or waits for are forgotten, whenever there are twice as many.
            if targets.len() == targets.capacity() {
                targets.retain(|_, target| Arc::strong_count(target) > 1);
                let in_use = targets.len();
                targets.reserve(in_use);
            }
            targets.entry(url.target()).or_insert_with(|| Arc::new(Semaphore::new(per_target))).clone()
        };
        let of_target = target.acquire_owned().await.ok()?;
        Some([of_target, self.deliveries.clone().acquire_owned().await.ok()?])
    }
}

impl Inner {
    /// Sends one webhook, if one is due, and does what its answer says.
    pub(super) async fn deliver(self: &Arc<Self>, serial: Serial) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let Some(Delivery::Webhook(url)) = self.surveyed(serial).await? else { return Ok(()) };
        let limits = &self.config.subscriptions;
        let Some(permits) = subscriptions.permits(&url, limits.deliveries_per_target_max).await else {
            return Ok(());
        };
        // It may have taken long.
        if *self.draining.borrow() {
            return Ok(());
        }
        let Some(wake) = self.issue(serial).await? else { return Ok(()) };
        let (wake, service) = (Arc::new(wake), self.clone());
        let generation = wake.subscription.wakes.generation;
        let sent = wake.clone();
        let sending = tokio::spawn(async move {
            let answer = service.send(&url, &sent).await;
            drop(permits);
            answer
        });
        // A worker may be done long before it answers. Then nobody waits for the answer, and nobody cuts it off.
        let answer = tokio::select! {
            answer = sending => answer.unwrap_or_else(|error| Err(error.into())),
            () = self.is_over(serial, generation) => {
                self.metrics.webhook(Received::Accepted);
                return Ok(());
            }
        };
        let received = answer.unwrap_or_else(|error| {
            let id = wake.subscription.id.as_str();
            tracing::warn!(id, generation, error = %Causes(&*error), "a webhook failed");
            Received::Refused
        });
        self.metrics.webhook(received);
        let settled = self.transit(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let is_current = wakes.generation == generation && wakes.phase != Phase::Idle;
            let is_waking = matches!(wakes.phase, Phase::Waking { .. });
            let step = match received {
                // A callback may have come before the answer, and then the answer says nothing new.
                Received::Refused if is_current && is_waking => {
                    Some(Step::to(wakes.failed(now_ms, entry.subscription.roll())))
                }
                Received::Accepted if is_current && is_waking => Some(Step::to(wakes.delivered())),
                Received::Done if is_current => {
                    Some(Step { wakes: wakes.done(), acks: all_done(&wake.streams, entry) })
                }
                _ => None,
            };
            (step, ())
        });
        settled.await
    }

    /// Resolves when a wake has ended, whoever ended it.
    async fn is_over(&self, serial: Serial, generation: u64) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        let changed = subscriptions.registry().entries.get(&serial).map(|entry| entry.changed.clone());
        let Some(changed) = changed else { return };
        loop {
            let mut change = std::pin::pin!(changed.notified());
            // Before the look: what changes after it wakes this.
            change.as_mut().enable();
            let is_current = subscriptions.registry().entries.get(&serial).is_some_and(|entry| {
                let wakes = &entry.subscription.wakes;
                wakes.generation == generation && wakes.phase != Phase::Idle
            });
            if !is_current {
                return;
            }
            change.await;
        }
    }

    /// The wake that is to be sent now: a new one, or the one that wasn't received. It is durable.
    async fn issue(self: &Arc<Self>, serial: Serial) -> Result<Option<Wake>, Refusal> {
        self.transit(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            let wakes = match entry.next(now_ms) {
                Next::Wake => wakes.woken(Kind::Webhook, lease_ttl_ms, now_ms),
                Next::Deliver => wakes,
                Next::Nothing | Next::At(_) => return (None, None),
            };
            let Phase::Waking { until_ms: Some(until_ms) } = wakes.phase else { return (None, None) };
            let subscription = Subscription { wakes: wakes.clone(), ..entry.subscription.clone() };
            let step = (wakes != entry.subscription.wakes).then(|| Step::to(wakes));
            (step, Some(Wake { subscription, streams: entry.snapshot(), until_ms }))
        })
        .await
    }

    async fn send(&self, url: &WebhookUrl, wake: &Wake) -> Result<Received, ErrorSource> {
        let subscriptions = self.subscriptions()?;
        let limits = &self.config.subscriptions;
        if !url.is_tls() && limits.local_targets == LocalTargets::Refused {
            return Err("webhooks to this machine are not allowed any more".into());
        }
        let wall_ms = self.clock.wall_ms();
        let (secret, key) = {
            let registry = subscriptions.registry();
            let secret = registry.common.as_ref().map(|common| common.secret.clone());
            (secret, registry.keys.active(wall_ms).cloned())
        };
        let (Some(secret), Some(key), Some(webhooks)) = (secret, key, &subscriptions.webhooks) else {
            return Err("this server sends no webhooks".into());
        };
        let body = wake.subscription.webhook_body(&secret, &progress_views(&wake.streams));
        let headers = webhook_headers(key.sign(&body, wall_ms));
        let timeout_ms = limits.webhook_timeout_ms.min(wake.until_ms.saturating_sub(self.clock.now_ms()));
        let answer = webhooks.post(WebhookRequest { url: url.clone(), headers, body, timeout_ms }).await?;
        match read_webhook_answer(answer.status, &answer.body) {
            Received::Refused => Err(format!("it was answered with status {}", answer.status).into()),
            received => Ok(received),
        }
    }
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

/// The cursors of a wake's streams at the tails that it named, as far as they are still linked.
fn all_done(streams: &[(StreamName, Link)], entry: &Entry) -> Vec<(StreamName, Link)> {
    let done = streams.iter().filter_map(|(name, told)| {
        let link = entry.links.get(name)?.link;
        let done = link.done_up_to(told.tail?);
        (done.acked != link.acked).then(|| (name.clone(), done))
    });
    done.collect()
}
