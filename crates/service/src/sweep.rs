//! Expiry: streams that are over are removed, and unused ones leave memory.

use std::sync::Arc;

use tokio::sync::watch;

use crate::writes::Writes;

/// The time between two sweeps.
const SWEEP_MS: u64 = 1_000;
/// The number of expired streams that one sweep removes at most.
const BATCH: usize = 1_000;

/// Removes what is over from the store, and what is unused from memory.
pub(crate) struct Sweeper {
    pub(crate) writes: Arc<Writes>,
    /// The time for which an unused stream stays in memory.
    pub(crate) idle_ms: u64,
    /// Becomes true when the service drains.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Sweeper {
    /// Sweeps until the service drains.
    pub(crate) async fn run(self) {
        let (clock, mut draining) = (&self.writes.clock, self.draining.clone());
        loop {
            let next = clock.sleep_until(clock.now_ms().saturating_add(SWEEP_MS));
            tokio::select! {
                _ = draining.changed() => return,
                () = next => self.sweep().await,
            }
        }
    }

    pub(crate) async fn sweep(&self) {
        let Writes { store, clock, streams, .. } = &*self.writes;
        match store.expired(clock.wall_ms(), BATCH).await {
            Ok(names) => {
                for name in names {
                    // A deadline that use has moved is committed; one that is really past ends the stream.
                    if let Ok(stream) = streams.open(&name).await {
                        self.writes.save_touch(&stream).await;
                    }
                    if let Err(refusal) = self.writes.expire(&name).await {
                        tracing::warn!(%name, %refusal, "an expired stream could not be removed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "expired streams could not be looked up"),
        }
        for name in streams.evict(clock.now_ms().saturating_sub(self.idle_ms)) {
            if let Ok(stream) = streams.open(&name).await {
                self.writes.save_touch(&stream).await;
            }
        }
    }
}
