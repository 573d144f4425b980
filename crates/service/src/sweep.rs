//! Expiry: streams that are over are removed, and unused ones leave memory.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream};
use headwater_protocol::{Refusal, path::StreamName};
use tokio::sync::watch;

use crate::writes::Writes;

/// The time between two sweeps.
const SWEEP_MS: u64 = 1_000;
/// The number of expired streams that are looked up at a time.
const PAGE: usize = 1_000;
/// The number of streams that are removed at a time: their commits share syncs.
const AT_ONCE: usize = 64;
/// The shortest and the longest pause after a removal that failed.
const PAUSE_MS: (u64, u64) = (2_000, 600_000);
/// The most streams whose removal failed that are left alone for a while; others are tried again at each sweep.
const SET_ASIDE_MAX: usize = 10_000;

/// Removes what is over from the store, and what is unused from memory.
pub(crate) struct Sweeper {
    pub(crate) writes: Arc<Writes>,
    /// The time for which an unused stream stays in memory.
    pub(crate) idle_ms: u64,
    /// Becomes true when the service drains.
    pub(crate) draining: watch::Receiver<bool>,
    /// The streams whose removal failed.
    pub(crate) set_aside: HashMap<StreamName, SetAside>,
}

/// When a removal that failed is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetAside {
    /// The steady time.
    until_ms: u64,
    pause_ms: u64,
}

impl Sweeper {
    /// Sweeps until the service drains.
    pub(crate) async fn run(mut self) {
        let (clock, mut draining) = (self.writes.clock.clone(), self.draining.clone());
        loop {
            let next = clock.sleep_until(clock.now_ms().saturating_add(SWEEP_MS));
            tokio::select! {
                _ = draining.changed() => return,
                () = next => {}
            }
            tokio::select! {
                _ = draining.changed() => return,
                () = self.sweep() => {}
            }
        }
    }

    pub(crate) async fn sweep(&mut self) {
        self.remove_expired().await;
        let Writes { clock, streams, .. } = &*self.writes;
        for name in streams.evict(clock.now_ms().saturating_sub(self.idle_ms)) {
            if let Ok(stream) = streams.open(&name).await {
                self.writes.save_touch(&stream).await;
            }
        }
    }

    /// Removes all streams that are over.
    async fn remove_expired(&mut self) {
        let until_ms = self.writes.calendar.now_ms();
        let begun_ms = self.writes.clock.now_ms();
        let mut after = None;
        loop {
            let page = match self.writes.store.expired(until_ms, after.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(error) => return tracing::error!(%error, "expired streams could not be looked up"),
            };
            let (last, is_last) = (page.last().cloned(), page.len() < PAGE);
            let now_ms = self.writes.clock.now_ms();
            let is_due =
                |name: &StreamName| self.set_aside.get(name).is_none_or(|known| known.until_ms <= now_ms);
            let due: Vec<_> = page.into_iter().map(|(_, name)| name).filter(is_due).collect();
            let writes = &self.writes;
            let removals = stream::iter(due).map(|name| async { (remove(writes, &name).await, name) });
            let mut removals = std::pin::pin!(removals.buffer_unordered(AT_ONCE));
            while let Some((removed, name)) = removals.next().await {
                note(&mut self.set_aside, name, removed, now_ms);
            }
            if is_last {
                // What was due and not found isn't over any more.
                self.set_aside.retain(|_, known| known.until_ms > begun_ms);
                return;
            }
            after = last;
        }
    }
}

async fn remove(writes: &Arc<Writes>, name: &StreamName) -> Result<(), Refusal> {
    // A deadline that use has moved is committed; one that is really past ends the stream.
    let stream = writes.streams.open(name).await?;
    writes.save_touch(&stream).await;
    drop(stream);
    writes.expire(name).await
}

/// Sets a stream aside if its removal has failed. It is logged once.
fn note(
    set_aside: &mut HashMap<StreamName, SetAside>,
    name: StreamName,
    removed: Result<(), Refusal>,
    now_ms: u64,
) {
    let known = set_aside.remove(&name);
    let Err(refusal) = removed else { return };
    if known.is_none() {
        tracing::warn!(%name, %refusal, "an expired stream could not be removed; it is tried again");
    }
    let (shortest_ms, longest_ms) = PAUSE_MS;
    let pause_ms = known.map_or(shortest_ms, |known| (known.pause_ms * 2).min(longest_ms));
    if set_aside.len() < SET_ASIDE_MAX {
        set_aside.insert(name, SetAside { until_ms: now_ms.saturating_add(pause_ms), pause_ms });
    }
}
