//! What is done without being asked: expired streams go, and the heads of unused ones leave memory.

use std::sync::Arc;

use crate::Inner;

const SWEEP_MS: u64 = 1_000;
/// How many expired streams one sweep removes before it looks at other things.
const BATCH: usize = 1_000;

impl Inner {
    /// Sweeps until the service drains.
    pub(crate) async fn sweep_forever(self: Arc<Self>) {
        let mut draining = self.draining.subscribe();
        loop {
            let next_ms = self.clock.now_ms().saturating_add(SWEEP_MS);
            tokio::select! {
                _ = draining.changed() => return,
                () = self.clock.sleep_until(next_ms) => self.sweep().await,
            }
        }
    }

    pub(crate) async fn sweep(self: &Arc<Self>) {
        match self.store.expired(self.clock.wall_ms(), BATCH).await {
            Ok(names) => {
                for name in names {
                    // A deadline that use has moved is committed; one that is really past ends the stream.
                    if let Ok(stream) = self.open(&name).await {
                        self.save_touch(&stream).await;
                    }
                    if let Err(refusal) = self.expire(&name).await {
                        tracing::warn!(%name, %refusal, "an expired stream could not be removed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "expired streams could not be looked up"),
        }
        for name in self.streams.evict(self.clock.now_ms().saturating_sub(self.config.idle_stream_ms)) {
            if let Ok(stream) = self.open(&name).await {
                self.save_touch(&stream).await;
            }
        }
    }
}
