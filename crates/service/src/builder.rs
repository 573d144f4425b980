//! Starting a service: what it is made of, and the background work that belongs to it.

use std::{fmt, sync::Arc};

use headwater_store::{Store, StoreError};
use tokio::runtime::Handle;

use crate::{
    Inner, Service,
    clock::{Clock, SystemClock},
    config::Config,
    webhooks::Webhooks,
};

/// A service that has not started yet; [`Service::builder`] makes one.
pub struct Builder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: Config,
    webhooks: Option<Arc<dyn Webhooks>>,
    has_subscriptions: bool,
}

/// The work that a service does without being asked. Nothing expires, no memory of unused streams is released and no
/// worker is woken unless [`Background::run`] runs beside the server.
#[must_use = "nothing expires and no worker is woken unless `run` is spawned"]
#[derive(Debug)]
pub struct Background(Arc<Inner>);

impl Builder {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock::new()),
            config: Config::default(),
            webhooks: None,
            has_subscriptions: true,
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

    /// Leaves subscriptions out (sections 6 and 7): their paths are answered with 404.
    #[must_use]
    pub fn without_subscriptions(self) -> Self {
        Self { has_subscriptions: false, ..self }
    }

    /// Reads the subscriptions from the store and returns the service with its background work.
    ///
    /// A commit whose request is dropped early is published by a task on the current Tokio runtime, from whatever
    /// thread the request is dropped: that runtime has to outlive the service.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub async fn start(self) -> Result<(Service, Background), StoreError> {
        let inner = Arc::new(Inner::new(self.store, self.clock, self.config, Handle::current()));
        if self.has_subscriptions {
            inner.start_subscriptions(self.webhooks).await?;
        }
        Ok((Service(inner.clone()), Background(inner)))
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
        let subscriptions = self.0.subscriptions.get().cloned();
        let waking = async {
            if let Some(subscriptions) = subscriptions {
                subscriptions.run().await;
            }
        };
        tokio::join!(self.0.sweep_forever(), waking);
    }
}
