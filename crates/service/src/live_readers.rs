//! The bound of live readers: long-polls and event streams.

use std::sync::Arc;

use headwater_protocol::{Refusal, Unavailable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits of live readers.
#[derive(Debug)]
pub(crate) struct LiveReaders {
    permits: Arc<Semaphore>,
    max: usize,
}

impl LiveReaders {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(max)), max }
    }

    /// Returns a permit, which lasts as long as the reader.
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = self.permits.clone().try_acquire_owned();
        permit.map_err(|_| Unavailable::Overloaded { what: "live readers" }.into())
    }

    /// Returns the number of live readers.
    pub(crate) fn count(&self) -> usize {
        self.max - self.permits.available_permits()
    }
}
