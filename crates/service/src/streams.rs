//! The streams in memory, which are bounded: opened on demand, evicted when unused, abandoned after a failed commit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use dashmap::{DashMap, mapref::entry::Entry};
use headwater_protocol::{Missing, Refusal, Unavailable, path::StreamName};
use headwater_store::Store;

use crate::{clock::Clock, open_stream::OpenStream};

/// All streams in memory, of which there are at most `max`.
pub(crate) struct Streams {
    map: DashMap<StreamName, Arc<OpenStream>>,
    /// The size of the map, whose own count takes all its locks.
    count: AtomicUsize,
    max: usize,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Streams {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, max: usize) -> Self {
        Self { map: DashMap::default(), count: AtomicUsize::new(0), max, store, clock }
    }

    /// Returns the stream of that name, loaded; it may be one that doesn't exist.
    pub(crate) async fn open(&self, name: &StreamName) -> Result<Arc<OpenStream>, Refusal> {
        if self.count() >= self.max {
            self.evict(u64::MAX);
            if self.count() >= self.max {
                return Err(Unavailable::Overloaded { what: "open streams" }.into());
            }
        }
        let now_ms = self.clock.now_ms();
        let found = self.map.get(name).map(|stream| stream.clone());
        // From here on the stream can't be evicted, also while it is loaded: it is held.
        let stream = found.unwrap_or_else(|| self.insert(OpenStream::new(name.clone(), now_ms, 0)));
        stream.load(&*self.store, now_ms).await?;
        Ok(stream)
    }

    /// Inserts a stream, unless there is one; returns the one that is there.
    fn insert(&self, fresh: OpenStream) -> Arc<OpenStream> {
        match self.map.entry(fresh.name.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                self.count.fetch_add(1, Relaxed);
                entry.insert(Arc::new(fresh)).clone()
            }
        }
    }

    fn remove_if(&self, name: &StreamName, condition: impl FnOnce(&Arc<OpenStream>) -> bool) -> bool {
        let removed = self.map.remove_if(name, |_, known| condition(known)).is_some();
        self.count.fetch_sub(usize::from(removed), Relaxed);
        removed
    }

    /// Gives a stream up after a failed commit: the next request loads it again.
    pub(crate) fn abandon(&self, stream: &Arc<OpenStream>) {
        // First, so that nobody who locks it after its successor is loaded takes its state for good.
        stream.abandon();
        if let Some(mut known) = self.map.get_mut(&stream.name)
            && Arc::ptr_eq(&known, stream)
        {
            *known = Arc::new(OpenStream::after(stream.clone()));
        }
    }

    /// Returns the refusal of a request to a stream. A stream that doesn't exist leaves memory, unless it is held
    /// elsewhere.
    pub(crate) fn forget(&self, stream: Arc<OpenStream>, refusal: impl Into<Refusal>) -> Refusal {
        let refusal = refusal.into();
        if matches!(refusal, Refusal::Missing(Missing::NotFound)) {
            let name = stream.name.clone();
            drop(stream);
            let is_unused = |known: &Arc<OpenStream>| Arc::strong_count(known) == 1 && !known.is_needed();
            self.remove_if(&name, |known| is_unused(known) && known.is_absent());
        }
        refusal
    }

    /// Removes streams from memory that are not in use and were last used before the steady time `before_ms`. Returns
    /// those whose deadline has to be committed first.
    pub(crate) fn evict(&self, before_ms: u64) -> Vec<StreamName> {
        let mut unsaved = Vec::new();
        self.map.retain(|name, stream| {
            let is_unused = Arc::strong_count(stream) == 1 && !stream.is_needed();
            let idle = is_unused && stream.is_unused_since(before_ms);
            if idle && stream.unsaved_deadline_ms().is_some() {
                unsaved.push(name.clone());
                return true;
            }
            self.count.fetch_sub(usize::from(idle), Relaxed);
            !idle
        });
        unsaved
    }

    /// Wakes all readers that wait.
    pub(crate) fn wake_readers(&self) {
        self.map.iter().for_each(|stream| stream.wake_readers());
    }

    /// Returns the number of streams in memory.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use headwater_store_mem::MemStore;

    use super::*;
    use crate::clock::ManualClock;

    /// A decision on a state that has failed is queued before anybody loads what there is.
    #[tokio::test]
    async fn an_abandoned_stream_is_loaded_again_when_nobody_writes_it_any_more() {
        let streams = Streams::new(Arc::new(MemStore::new(1 << 20)), Arc::new(ManualClock::new(0)), 10);
        let name = StreamName::new("a").unwrap();
        let old = streams.open(&name).await.unwrap();
        let writer = old.lock().await;
        streams.abandon(&old);
        assert!(old.is_abandoned());
        streams.evict(u64::MAX);
        drop(streams.forget(old.clone(), Missing::NotFound));
        assert_eq!(streams.count(), 1, "it is needed");
        let mut opening = Box::pin(streams.open(&name));
        assert!((&mut opening).now_or_never().is_none(), "it waits for the writer");
        drop(writer);
        let new = opening.now_or_never().unwrap().unwrap();
        assert!(!Arc::ptr_eq(&old, &new) && !new.is_abandoned() && !new.is_needed());
        // Abandoned twice, it has one successor.
        streams.abandon(&old);
        assert!(Arc::ptr_eq(&new, &streams.open(&name).await.unwrap()));
        // What nobody uses is evicted, loaded again or not.
        streams.abandon(&new);
        drop((old, new));
        streams.evict(u64::MAX);
        assert_eq!(streams.count(), 0);
    }
}
