//! A change of a subscription: decided under its lock, committed, and visible when that is durable. If the commit fails
//! nothing has changed.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    path::StreamName,
    subscription::{Link, Serial, Subscription, SubscriptionRefusal, Wakes},
};
use headwater_store::{Commit, Edit};
use tokio::sync::OwnedMutexGuard;

use super::{
    Subscriptions,
    registry::{self, Entry, Registry},
};
use crate::refusal::refuse;

/// What changes.
pub(super) struct Transition {
    /// The state afterwards.
    pub(super) wakes: Wakes,
    /// The links whose cursors move.
    pub(super) acks: Vec<(StreamName, Link)>,
}

impl Transition {
    /// Returns a transition that moves no cursor.
    pub(super) const fn to(wakes: Wakes) -> Self {
        Self { wakes, acks: Vec::new() }
    }

    /// Returns the edits that make it durable.
    pub(super) fn edits(&self, subscription: &Subscription) -> Vec<Edit> {
        let after = Subscription { wakes: self.wakes.clone(), ..subscription.clone() };
        let acks = self.acks.iter().map(|(name, link)| registry::write_link(after.serial, name, link));
        std::iter::once(registry::write(&after)).chain(acks).collect()
    }

    /// Makes it visible.
    pub(super) fn publish(self, registry: &mut Registry, serial: Serial) {
        for (name, link) in &self.acks {
            registry.acknowledge(serial, name, link);
        }
        if let Some(entry) = registry.entries.get_mut(&serial) {
            entry.subscription.wakes = self.wakes;
            entry.changed.notify_waiters();
        }
    }
}

impl Subscriptions {
    /// Waits for the right to change a subscription.
    pub(super) async fn lock(&self, serial: Serial) -> Result<OwnedMutexGuard<()>, Refusal> {
        let gone = || Refusal::from(SubscriptionRefusal::NotFound);
        let lock = self.registry().entries.get(&serial).map(|entry| entry.change_lock.clone());
        let guard = lock.ok_or_else(gone)?.lock_owned().await;
        // It may have been deleted meanwhile.
        if self.registry().entries.contains_key(&serial) { Ok(guard) } else { Err(gone()) }
    }

    /// Commits edits of documents and waits until they are durable.
    pub(super) async fn write(&self, edits: Vec<Edit>) -> Result<(), Refusal> {
        self.core.store.commit(Commit::new(edits)).await.map_err(refuse)
    }

    /// Changes a subscription. `decide` gets the steady time and may find that nothing has to change.
    pub(super) async fn transition<T>(
        self: &Arc<Self>,
        serial: Serial,
        decide: impl FnOnce(&Entry, u64) -> (Option<Transition>, T),
    ) -> Result<T, Refusal> {
        let _lock = self.lock(serial).await?;
        self.transition_locked(serial, decide).await
    }

    /// Changes a subscription whose lock the caller holds, like [`Subscriptions::transition`].
    pub(super) async fn transition_locked<T>(
        self: &Arc<Self>,
        serial: Serial,
        decide: impl FnOnce(&Entry, u64) -> (Option<Transition>, T),
    ) -> Result<T, Refusal> {
        let (ticket, transition, outcome) = {
            let registry = self.registry_updated_for(serial);
            let entry = registry.entries.get(&serial).ok_or(SubscriptionRefusal::NotFound)?;
            let (transition, outcome) = decide(entry, self.core.clock.now_ms());
            let Some(transition) = transition else { return Ok(outcome) };
            let edits = transition.edits(&entry.subscription);
            (self.core.store.commit(Commit::new(edits)), transition, outcome)
        };
        ticket.await.map_err(refuse)?;
        transition.publish(&mut self.registry(), serial);
        // Something may be due now.
        self.poll(serial);
        Ok(outcome)
    }
}
