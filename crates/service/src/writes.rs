//! The write path: everything that a change of a stream needs. Each verb has a file of its own.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use headwater_protocol::offset::Incarnation;
use headwater_store::Store;
use tokio::runtime::Handle;

use crate::{
    bodies::Bodies,
    clock::{Calendar, Clock},
    memory::Budget,
    metrics::Metrics,
    streams::Streams,
    subscriptions::Subscriptions,
};

/// Changes streams.
pub(crate) struct Writes {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bodies: Arc<Bodies>,
    /// The memory of responses, from which the source of a fork is read too.
    pub(crate) responses: Budget,
    pub(crate) incarnations: Incarnations,
    /// Set once at start, unless the service has no subscriptions. They append wake events, so that each needs the other.
    pub(crate) subscriptions: OnceLock<Arc<Subscriptions>>,
    /// Publishes the commits of requests that are dropped early.
    pub(crate) runtime: Handle,
}

/// The source of incarnations. Each is larger than all before it, whatever the wall clock does.
#[derive(Debug)]
pub(crate) struct Incarnations {
    last: AtomicU64,
}

impl Incarnations {
    /// Goes on after the last incarnation of a store.
    pub(crate) fn after(store: &dyn Store) -> Self {
        Self { last: AtomicU64::new(store.incarnation_last()) }
    }

    /// Returns a new incarnation; `None` if there are no more.
    pub(crate) fn next(&self, wall_us: u64) -> Option<Incarnation> {
        let advance = |last| Incarnation::next(last, wall_us).map(Incarnation::get);
        let last = self.last.fetch_update(Relaxed, Relaxed, advance).ok()?;
        Incarnation::next(last, wall_us)
    }
}
