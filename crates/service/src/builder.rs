//! Starting a service: what it is made of, and the background work that belongs to it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use headwater_store::{Store, StoreError};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    bodies::Bodies,
    clock::{Calendar, Clock, SystemClock},
    config::Config,
    events,
    live_readers::LiveReaders,
    memory::Budget,
    metrics::Metrics,
    pieces::Pieces,
    read::Reads,
    service::{Inner, Service},
    streams::Streams,
    subscriptions::{Core, Subscriptions, WakeEvents},
    sweep::Sweeper,
    webhooks::Webhooks,
    writes::{Incarnations, Writes},
};

/// A service that has not started yet; [`Service::builder`] makes one.
pub struct Builder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: Config,
    webhooks: Option<Arc<dyn Webhooks>>,
    has_subscriptions: bool,
    lost_log_lines: Option<LostLines>,
}

/// Tells how many lines of the log were lost.
pub(crate) type LostLines = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The work that a service does without being asked. Nothing expires, no memory of unused streams is released and no
/// worker is woken unless [`Background::run`] runs beside the server.
#[must_use = "nothing expires and no worker is woken unless `run` is spawned"]
pub struct Background {
    pub(crate) sweeper: Sweeper,
    subscriptions: Option<Arc<Subscriptions>>,
}

impl Builder {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock::new()),
            config: Config::default(),
            webhooks: None,
            has_subscriptions: true,
            lost_log_lines: None,
        }
    }

    /// Sets the settings. The default is [`Config::default`].
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Sets the clock. The default is a [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets what sends webhooks. Without it only pull-wake subscriptions can be created.
    #[must_use]
    pub fn webhooks(self, webhooks: Arc<dyn Webhooks>) -> Self {
        Self { webhooks: Some(webhooks), ..self }
    }

    /// Sets what tells how many lines of the log were lost since the start, for the metrics. Without it they say none.
    #[must_use]
    pub fn lost_log_lines(self, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { lost_log_lines: Some(Arc::new(count)), ..self }
    }

    /// Leaves subscriptions out (sections 6 and 7): their paths are answered with 404.
    #[must_use]
    pub fn without_subscriptions(self) -> Self {
        Self { has_subscriptions: false, ..self }
    }

    /// Reads the subscriptions from the store and returns the service with its background work.
    ///
    /// A commit whose request is dropped early is published by a task on the current Tokio runtime, from whatever
    /// thread the request is dropped: that runtime has to keep running for as long as the service is used.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub async fn start(self) -> Result<(Service, Background), StoreError> {
        let Self { store, clock, config, webhooks, has_subscriptions, lost_log_lines } = self;
        let (config, metrics) = (Arc::new(config), Arc::new(Metrics::new(lost_log_lines)));
        let (draining, is_draining) = watch::channel(false);
        let streams = Arc::new(Streams::new(store.clone(), clock.clone(), config.open_streams_max));
        let calendar = Arc::new(Calendar::new(clock.clone()));
        let bodies = Arc::new(Bodies::new(&config, clock.clone()));
        // An event is encoded while its piece is held: were both of one budget, readers could have all of it for their
        // pieces, and wait for each other. What is cached counts too, for as long as it is.
        let for_events = config.responses_bytes_max / 4;
        let for_ranges = config.responses_bytes_max - for_events;
        let event_bytes = Budget::new("events", for_events.saturating_add(config.event_cache_bytes));
        let responses = Budget::new("response bodies", for_ranges.saturating_add(config.chunk_cache_bytes));
        let writes = Arc::new(Writes {
            store: store.clone(),
            clock: clock.clone(),
            calendar: calendar.clone(),
            streams: streams.clone(),
            metrics: metrics.clone(),
            bodies: bodies.clone(),
            responses: responses.clone(),
            incarnations: Incarnations::after(&*store),
            subscriptions: OnceLock::new(),
            runtime: Handle::current(),
        });
        if has_subscriptions {
            let wake_events: Arc<dyn WakeEvents> = writes.clone();
            let subscriptions = Subscriptions::start(Core {
                store: store.clone(),
                clock: clock.clone(),
                calendar: calendar.clone(),
                limits: config.subscriptions.clone(),
                base_path: config.base_path.clone(),
                metrics: metrics.clone(),
                draining: is_draining.clone(),
                webhooks,
                wake_events: Arc::downgrade(&wake_events),
            });
            // It is empty: nothing else sets it.
            let _ = writes.subscriptions.set(subscriptions.await?);
        }
        let subscriptions = writes.subscriptions.get().cloned();
        let reads = Arc::new(Reads {
            store: store.clone(),
            clock: clock.clone(),
            calendar,
            config: config.clone(),
            streams: streams.clone(),
            writes: writes.clone(),
            metrics: metrics.clone(),
            pieces: Pieces::new(
                config.chunk_cache_bytes,
                for_ranges,
                responses.clone(),
                config.policies,
                clock.clone(),
            ),
            event_bytes,
            events: events::cache(config.event_cache_bytes),
            live_readers: LiveReaders::new(config.live_readers_max),
            event_streams: AtomicU64::new(0),
            draining: is_draining.clone(),
        });
        let sweeper = Sweeper {
            writes: writes.clone(),
            idle_ms: config.idle_stream_ms,
            draining: is_draining,
            set_aside: HashMap::new(),
        };
        let background = Background { sweeper, subscriptions: subscriptions.clone() };
        let inner = Inner {
            config,
            clock,
            metrics,
            streams,
            bodies,
            responses,
            writes,
            reads,
            subscriptions,
            draining,
        };
        Ok((Service(Arc::new(inner)), background))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Background {
    /// Removes expired streams, releases the memory of unused ones and wakes the workers of subscriptions, until
    /// [`Service::drain`].
    pub async fn run(self) {
        let waking = async {
            if let Some(subscriptions) = self.subscriptions {
                subscriptions.run().await;
            }
        };
        tokio::join!(self.sweeper.run(), waking);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}
