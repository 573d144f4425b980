//! A change of a subscription: decided under its gate, committed, and visible when that is durable. If the commit
//! fails nothing has changed.

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
use crate::{Inner, streams::refuse};

/// What changes.
pub(super) struct Step {
    /// Where the subscription stands afterwards.
    pub(super) wakes: Wakes,
    /// Links whose cursors move.
    pub(super) acks: Vec<(StreamName, Link)>,
}

impl Step {
    /// Only the state changes.
    pub(super) const fn to(wakes: Wakes) -> Self {
        Self { wakes, acks: Vec::new() }
    }

    /// The edits that make it durable.
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
    /// The right to change a subscription, for one at a time.
    pub(super) async fn gate(&self, serial: Serial) -> Result<OwnedMutexGuard<()>, Refusal> {
        let gone = || Refusal::from(SubscriptionRefusal::NotFound);
        let gate = self.registry().entries.get(&serial).map(|entry| entry.gate.clone()).ok_or_else(gone)?;
        let guard = gate.lock_owned().await;
        // It may have been deleted meanwhile.
        if self.registry().entries.contains_key(&serial) { Ok(guard) } else { Err(gone()) }
    }
}

impl Inner {
    /// The service's subscriptions, if it has any.
    pub(super) fn subscriptions(&self) -> Result<&Subscriptions, Refusal> {
        self.subscriptions.get().ok_or(Refusal::NotFound)
    }

    /// Queues edits of documents and waits until they are durable.
    pub(super) async fn write(&self, edits: Vec<Edit>) -> Result<(), Refusal> {
        self.store.commit(Commit::new(edits)).await.map_err(refuse)
    }

    /// Changes a subscription. `decide` may find that nothing is to be changed.
    pub(super) async fn transit<T>(
        self: &Arc<Self>,
        serial: Serial,
        decide: impl FnOnce(&Entry, u64) -> (Option<Step>, T),
    ) -> Result<T, Refusal> {
        let subscriptions = self.subscriptions()?;
        let _gate = subscriptions.gate(serial).await?;
        let (ticket, step, outcome) = {
            let registry = subscriptions.registry_for(serial);
            let entry = registry.entries.get(&serial).ok_or(SubscriptionRefusal::NotFound)?;
            let (step, outcome) = decide(entry, self.clock.now_ms());
            let Some(step) = step else { return Ok(outcome) };
            let edits = step.edits(&entry.subscription);
            (self.store.commit(Commit::new(edits)), step, outcome)
        };
        ticket.await.map_err(refuse)?;
        step.publish(&mut subscriptions.registry(), serial);
        // Something may be due now.
        self.attend(serial);
        Ok(outcome)
    }
}
