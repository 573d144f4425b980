//! Subscriptions, done: who is woken when a stream grows, and what of that survives (sections 6 and 7).
//!
//! A link is committed with the append that reveals its stream, so no crash comes between. That a wake is needed isn't
//! written anywhere: it follows from cursors and tails, which are compared again after a start (`survey`). Every change
//! of a subscription is decided, committed, and only then visible (`transition`); ADR 0010 has the reasons.

mod claim;
mod create;
mod delivery;
mod driver;
mod links;
mod membership;
mod patterns;
pub(crate) mod registry;
mod requests;
mod settle;
mod startup;
mod stored;
#[cfg(test)]
mod tests;
mod transition;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use headwater_protocol::{
    Refusal,
    path::StreamName,
    subscription::{Serial, keys::Secret},
};
use tokio::sync::{Notify, Semaphore};

use crate::{streams::OpenStream, webhooks::Webhooks};
use registry::Registry;

pub(crate) use links::Company;

/// Subscriptions of one service.
pub(crate) struct Subscriptions {
    registry: Mutex<Registry>,
    /// The registry's, to be read without its lock.
    version: Arc<AtomicU64>,
    /// Numbers commits that make links.
    commits: AtomicU64,
    /// Streams that changed and that subscriptions have to hear of.
    notes: Mutex<HashMap<StreamName, Arc<OpenStream>>>,
    /// Tells that there is a note, or that something changed.
    news: Notify,
    /// One creation or deletion at a time.
    creating: tokio::sync::Mutex<()>,
    /// Control requests that are being done.
    controls: Arc<Semaphore>,
    webhooks: Option<Arc<dyn Webhooks>>,
    /// Webhooks on their way.
    deliveries: Arc<Semaphore>,
    /// The same for each target that has any.
    targets: Mutex<HashMap<(String, u16), Arc<Semaphore>>>,
}

impl Subscriptions {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic is a bug in these files; what is in the store is whole whatever happens here.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<StreamName, Arc<OpenStream>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry, with all that is known of streams.
    fn registry_now(&self) -> MutexGuard<'_, Registry> {
        // The registry first: whoever finds no notes finds there what they said.
        let mut registry = self.registry();
        for (name, stream) in std::mem::take(&mut *self.notes()) {
            registry.observe_all(&name, stream.view().head.as_deref());
        }
        registry
    }

    /// How many subscriptions there are, and how many links they have together.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.registry().counts()
    }

    /// The registry, with all that is known of one subscription's streams. What others need of the notes stays.
    fn registry_for(&self, serial: Serial) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry();
        for (name, stream) in &*self.notes() {
            if registry.linked(serial, name).is_some() {
                registry.observe(serial, name, stream.view().head.as_deref());
            }
        }
        registry
    }

    /// Streams have to be matched anew.
    fn rematch(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// A new secret: the only place of the service where chance comes in.
fn new_secret() -> Result<Secret, Refusal> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Refusal::StorageFailed
    })?;
    Ok(Secret(bytes))
}
