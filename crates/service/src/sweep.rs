//! Expiry: streams that are over are removed, and unused ones leave memory.

use std::sync::Arc;

use headwater_store::Store;
use tokio::sync::watch;

use crate::{clock::Clock, streams::Streams, writes::Writes};

/// The time between two sweeps.
const SWEEP_MS: u64 = 1_000;
/// The number of expired streams that one sweep removes at most.
const BATCH: usize = 1_000;

/// Removes what is over from the store, and what is unused from memory.
pub(crate) struct Sweeper {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) writes: Arc<Writes>,
    /// The time for which an unused stream stays in memory.
    pub(crate) idle_ms: u64,
    /// Becomes true when the service drains.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Sweeper {
    /// Sweeps until the service drains.
    pub(crate) async fn run(self) {
        let mut draining = self.draining.clone();
        loop {
            let next = self.clock.sleep_until(self.clock.now_ms().saturating_add(SWEEP_MS));
            tokio::select! {
                _ = draining.changed() => return,
                () = next => self.sweep().await,
            }
        }
    }

    pub(crate) async fn sweep(&self) {
        match self.store.expired(self.clock.wall_ms(), BATCH).await {
            Ok(names) => {
                for name in names {
                    // A deadline that use has moved is committed; one that is really past ends the stream.
                    if let Ok(stream) = self.streams.open(&name).await {
                        self.writes.save_touch(&stream).await;
                    }
                    if let Err(refusal) = self.writes.expire(&name).await {
                        tracing::warn!(%name, %refusal, "an expired stream could not be removed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "expired streams could not be looked up"),
        }
        for name in self.streams.evict(self.clock.now_ms().saturating_sub(self.idle_ms)) {
            if let Ok(stream) = self.streams.open(&name).await {
                self.writes.save_touch(&stream).await;
            }
        }
    }
}
