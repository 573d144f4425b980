//! Pull-wake (section 7.2): the event that tells of a wake, in one commit with it, and the claim of a worker.

use std::sync::Arc;

use bytes::Bytes;
use headwater_protocol::{
    Refusal,
    op::append::Append,
    path::StreamName,
    response::ResponseHead,
    stream::{StreamHead, Verdict},
    subscription::{
        Delivery, Serial, Subscription, SubscriptionId, SubscriptionRefusal,
        wake::{Kind, Next, Phase},
    },
};

use super::{
    registry::{Entry, progress_views},
    transition::Step,
};
use crate::{
    Inner,
    commit::{Alteration, Outcome},
};

impl Inner {
    /// Writes a wake event, if a wake is due.
    pub(super) async fn announce(self: &Arc<Self>, serial: Serial) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let Some(Delivery::PullWake(wake_stream)) = self.surveyed(serial).await? else { return Ok(()) };
        let _gate = subscriptions.gate(serial).await?;
        loop {
            if *self.draining.borrow() {
                return Ok(());
            }
            let stream = self.open(&wake_stream).await?;
            let mut writer = stream.lock().await;
            if stream.is_abandoned() {
                continue;
            }
            let now_ms = self.clock.now_ms();
            let head = writer.head.clone().map(|head| stream.current(head));
            let (step, edits, verdict) = {
                let registry = subscriptions.registry_for(serial);
                let Some(entry) = registry.entries.get(&serial) else { return Ok(()) };
                let Some((woken, first)) = due_wake(entry, now_ms) else { return Ok(()) };
                let verdict = event(&wake_stream, head.as_deref(), &woken, &first, self.clock.wall_ms());
                let step = match &verdict {
                    Ok(_) => Step::to(woken.wakes),
                    Err(_) => Step::to(entry.wakes(now_ms).failed(now_ms, entry.subscription.roll())),
                };
                let edits = step.edits(&entry.subscription);
                (step, edits, verdict)
            };
            match verdict {
                Ok(change) => {
                    let parts = vec![(&stream, &mut *writer, Alteration::Put(change))];
                    let pending = self.commit_with(parts, edits);
                    drop(writer);
                    match pending.durable().await? {
                        Outcome::Durable => self.metrics.wake_event(),
                        Outcome::DecideAgain => continue,
                    }
                }
                Err(refusal) => {
                    drop(writer);
                    tracing::warn!(stream = %wake_stream, %refusal, "a wake event could not be written; it is tried again");
                    self.forget(stream, &refusal);
                    self.write(edits).await?;
                }
            }
            step.publish(&mut subscriptions.registry(), serial);
            return Ok(());
        }
    }

    /// A worker asks for the work.
    pub(super) async fn claim(
        self: &Arc<Self>,
        id: &SubscriptionId,
        worker: &str,
    ) -> Result<(ResponseHead, Bytes), Refusal> {
        let subscriptions = self.subscriptions()?;
        let (serial, secret) = self.find(id, Kind::PullWake)?;
        self.survey(serial).await?;
        let claimed = self.transit(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            match wakes.claimed(worker, !entry.pending.is_empty(), lease_ttl_ms, now_ms) {
                Ok(wakes) => {
                    let subscription = Subscription { wakes: wakes.clone(), ..entry.subscription.clone() };
                    (Some(Step::to(wakes)), Ok((subscription, entry.snapshot())))
                }
                Err(refusal) => {
                    // A wake that nobody needs any more is over: the next append has to make another one.
                    let is_void =
                        refusal == SubscriptionRefusal::NothingPending && wakes.phase != Phase::Idle;
                    (is_void.then(|| Step::to(wakes.done())), Err(refusal))
                }
            }
        });
        let (subscription, streams) = claimed.await??;
        subscriptions.news.notify_one();
        Ok(subscription.respond_to_claim(&secret, &progress_views(&streams)))
    }
}

/// The subscription after the wake that is due, and the first stream with work.
fn due_wake(entry: &Entry, now_ms: u64) -> Option<(Subscription, StreamName)> {
    if entry.next(now_ms) != Next::Wake {
        return None;
    }
    let first = entry.pending.first()?.clone();
    let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
    let wakes = entry.wakes(now_ms).woken(Kind::PullWake, lease_ttl_ms, now_ms);
    Some((Subscription { wakes, ..entry.subscription.clone() }, first))
}

/// The append of a wake event.
fn event(
    wake_stream: &StreamName,
    head: Option<&StreamHead>,
    woken: &Subscription,
    first: &StreamName,
    now_ms: u64,
) -> Result<headwater_protocol::stream::Change, Refusal> {
    let head = StreamHead::usable(head, now_ms)?;
    let append = Append::of_event(wake_stream.clone(), head.content_type.clone());
    let payload = append.prepare(woken.wake_event(first, now_ms))?;
    match append.decide(Some(head), None, payload, now_ms) {
        Verdict::Commit(change, _) => Ok(change),
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Repeat(_) => Err(Refusal::StorageFailed),
    }
}
