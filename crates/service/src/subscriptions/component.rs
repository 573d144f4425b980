//! The component: what it needs of the service, and what it keeps.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use headwater_protocol::{
    Refusal,
    path::{BasePath, StreamName},
    subscription::Serial,
};
use headwater_store::{Edit, Store};
use tokio::sync::{Notify, Semaphore, watch};

use super::{registry::Registry, requests};
use crate::{
    clock::{Calendar, Clock},
    config::SubscriptionConfig,
    metrics::Metrics,
    open_stream::OpenStream,
    webhooks::Webhooks,
};

/// What subscriptions need of the service.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) limits: SubscriptionConfig,
    pub(crate) base_path: BasePath,
    pub(crate) metrics: Arc<Metrics>,
    /// Becomes true when the service drains.
    pub(crate) draining: watch::Receiver<bool>,
    /// Without it there are only pull-wake subscriptions.
    pub(crate) webhooks: Option<Arc<dyn Webhooks>>,
    /// The service itself, which owns the subscriptions.
    pub(crate) wake_events: Weak<dyn WakeEvents>,
}

/// Appends wake events to streams.
pub(crate) trait WakeEvents: Send + Sync {
    /// Appends an event to a stream, in one commit with edits of documents: when this resolves, all of it is durable or
    /// nothing is.
    fn append(
        self: Arc<Self>,
        stream: StreamName,
        event: Bytes,
        edits: Vec<Edit>,
    ) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// The subscriptions of one service.
pub(crate) struct Subscriptions {
    pub(super) core: Core,
    registry: Mutex<Registry>,
    /// The registry's version, to be read without its lock.
    version: Arc<AtomicU64>,
    /// The number of the last commit that makes links.
    commit_last: AtomicU64,
    /// Streams that have changed since their links were updated.
    dirty_streams: Mutex<HashMap<StreamName, Arc<OpenStream>>>,
    /// Wakes the driver: a stream is dirty, or a timer may be earlier than the one that it waits for.
    pub(super) driver: Notify,
    /// Held by the one creation or deletion that is under way.
    pub(super) creating: tokio::sync::Mutex<()>,
    /// Permits of control requests that change something.
    pub(super) request_permits: Arc<Semaphore>,
    /// Permits of webhooks.
    pub(super) delivery_permits: Arc<Semaphore>,
    /// Permits of webhooks to one target, for each target that has any.
    pub(super) target_permits: Mutex<HashMap<(String, u16), Arc<Semaphore>>>,
}

impl Subscriptions {
    pub(super) fn new(core: Core, registry: Registry) -> Self {
        let deliveries_max = core.limits.deliveries_max.min(Semaphore::MAX_PERMITS);
        Self {
            core,
            version: registry.version.clone(),
            registry: registry.into(),
            commit_last: AtomicU64::default(),
            dirty_streams: Mutex::default(),
            driver: Notify::new(),
            creating: tokio::sync::Mutex::default(),
            request_permits: Arc::new(Semaphore::new(requests::PERMITS)),
            delivery_permits: Arc::new(Semaphore::new(deliveries_max)),
            target_permits: Mutex::default(),
        }
    }

    /// Returns the number of subscriptions, and the number of all their links.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.registry().counts()
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic is a bug in these files; what is in the store is consistent whatever happens here.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dirty_streams(&self) -> MutexGuard<'_, HashMap<StreamName, Arc<OpenStream>>> {
        self.dirty_streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the registry, with all links up to date.
    pub(super) fn updated_registry(&self) -> MutexGuard<'_, Registry> {
        // Lock order: registry before dirty streams, so that a drained stream is always visible in the registry.
        let mut registry = self.registry();
        for (name, stream) in std::mem::take(&mut *self.dirty_streams()) {
            registry.observe_all(&name, stream.view().head.as_deref());
        }
        registry
    }

    /// Locks the registry, with the links of one subscription up to date. Streams stay dirty for the other ones.
    pub(super) fn registry_updated_for(&self, serial: Serial) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry();
        for (name, stream) in &*self.dirty_streams() {
            if registry.link(serial, name).is_some() {
                registry.observe(serial, name, stream.view().head.as_deref());
            }
        }
        registry
    }

    /// Returns the version that streams are matched at; 0 before there was any subscription.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes the next commit of every stream match it anew.
    pub(super) fn rematch(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of a new commit that makes links.
    pub(super) fn next_commit(&self) -> u64 {
        self.commit_last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.core.draining.borrow()
    }
}
