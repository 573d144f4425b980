//! The streams in memory: for each the writer's state behind a lock, and the durable state that readers see.
//!
//! A stream's working head advances when a commit is queued; readers see a head only when it is durable. After a
//! failed commit the stream is abandoned and loaded again, so there is nothing to roll back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use dashmap::{DashMap, mapref::entry::Entry};
use headwater_protocol::{
    Missing, Refusal, Unavailable,
    expiry::Lifetime,
    path::StreamName,
    producer::{Claim, ProducerId, ProducerState},
    stream::StreamHead,
};
use headwater_store::Store;
use tokio::sync::{Mutex, MutexGuard, Notify, OnceCell, watch};

use crate::{clock::Clock, refusal::refuse};

/// The producers that a stream keeps in memory. Beyond that it forgets all of them and asks the store again.
const PRODUCERS_CACHED_MAX: usize = 1_024;
/// A sliding deadline is committed when it has moved this far: reads cause at most one commit a second.
const TOUCH_STEP_MS: u64 = 1_000;

/// All streams in memory, of which there are at most `max`.
pub(crate) struct Streams {
    map: DashMap<StreamName, Arc<OpenStream>>,
    /// The size of the map, whose own count takes all its locks.
    count: AtomicUsize,
    max: usize,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// A stream in memory.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) name: StreamName,
    loaded: OnceCell<Loaded>,
    /// The steady time of the last request to it: unused streams leave memory.
    used_ms: AtomicU64,
    /// The wall time of the last use that prolongs a sliding stream; 0 if there was none. It isn't a deadline, so that a
    /// later incarnation gains nothing from it.
    touched_ms: AtomicU64,
    /// Whether subscriptions have links to it.
    pub(crate) links: LinkCache,
}

/// Remembers whether any subscription has a link to a stream, so that most commits needn't ask.
#[derive(Debug, Default)]
pub(crate) struct LinkCache {
    /// The version of all subscriptions that the stream was matched against, with durable links; 0: unknown.
    version: AtomicU64,
    /// Whether there was a link.
    is_linked: AtomicBool,
}

/// The state of a stream that was loaded.
#[derive(Debug)]
struct Loaded {
    writer: Mutex<Writer>,
    view: watch::Sender<View>,
    /// Notified when commits become durable or fail, also those that readers needn't be woken for.
    resolved: Notify,
}

/// The state that writers change.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The head after all queued commits; `None` if there is no stream.
    pub(crate) head: Option<Arc<StreamHead>>,
    /// The number of commits that were queued.
    pub(crate) queued: u64,
    producers: HashMap<ProducerId, ProducerState>,
}

/// The durable state, which readers see.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The head; `None` if there is no stream.
    pub(crate) head: Option<Arc<StreamHead>>,
    /// The number of queued commits that are durable.
    pub(crate) durable: u64,
    /// Whether a commit has failed, so that the stream has to be opened again.
    pub(crate) abandoned: bool,
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
        let stream = found.unwrap_or_else(|| self.insert(OpenStream::fresh(name.clone(), now_ms, 0)));
        stream.used_ms.fetch_max(now_ms, Relaxed);
        let load = || async { self.store.load(name).await.map(Loaded::new).map_err(refuse) };
        stream.loaded.get_or_try_init(load).await?;
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

    /// Removes a stream from memory after a failed commit, for good: the next request loads it again. What stays is the
    /// time of its last use, which may be just what a full disk couldn't take.
    pub(crate) fn abandon(&self, stream: &Arc<OpenStream>) {
        let removed = self.remove_if(&stream.name, |known| Arc::ptr_eq(known, stream));
        let touched_ms = stream.touched_ms.load(Relaxed);
        if removed && touched_ms > 0 {
            let used_ms = stream.used_ms.load(Relaxed);
            self.insert(OpenStream::fresh(stream.name.clone(), used_ms, touched_ms));
        }
        if let Some(loaded) = stream.loaded.get() {
            loaded.view.send_modify(|view| view.abandoned = true);
            loaded.resolved.notify_waiters();
        }
    }

    /// Returns the refusal of a request to a stream. A stream that doesn't exist leaves memory, unless it is held
    /// elsewhere.
    pub(crate) fn forget(&self, stream: Arc<OpenStream>, refusal: impl Into<Refusal>) -> Refusal {
        let refusal = refusal.into();
        if matches!(refusal, Refusal::Missing(Missing::NotFound)) {
            let name = stream.name.clone();
            drop(stream);
            self.remove_if(&name, |known| Arc::strong_count(known) == 1 && known.is_absent());
        }
        refusal
    }

    /// Removes streams from memory that are not in use and were last used before the steady time `before_ms`. Returns
    /// those whose deadline has to be committed first.
    pub(crate) fn evict(&self, before_ms: u64) -> Vec<StreamName> {
        let mut unsaved = Vec::new();
        self.map.retain(|name, stream| {
            let idle = Arc::strong_count(stream) == 1 && stream.used_ms.load(Relaxed) < before_ms;
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
        for stream in &self.map {
            if let Some(loaded) = stream.loaded.get() {
                loaded.view.send_modify(|_| {});
            }
        }
    }

    /// Returns the number of streams in memory.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }
}

impl OpenStream {
    /// One that isn't loaded yet.
    fn fresh(name: StreamName, used_ms: u64, touched_ms: u64) -> Self {
        let (used_ms, touched_ms) = (AtomicU64::new(used_ms), AtomicU64::new(touched_ms));
        Self { name, loaded: OnceCell::new(), used_ms, touched_ms, links: LinkCache::default() }
    }

    #[expect(
        clippy::expect_used,
        reason = "Streams::open gives only loaded streams out, and it never unloads one"
    )]
    fn loaded(&self) -> &Loaded {
        self.loaded.get().expect("loaded by Streams::open")
    }

    fn is_absent(&self) -> bool {
        self.loaded.get().is_none_or(|loaded| loaded.view.borrow().head.is_none())
    }

    /// Locks the writer's state.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Writer> {
        self.loaded().writer.lock().await
    }

    /// Locks the writer's state, unless it is locked.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Writer>> {
        self.loaded().writer.try_lock().ok()
    }

    /// Returns what readers see now.
    pub(crate) fn view(&self) -> View {
        self.loaded().view.borrow().clone()
    }

    /// Returns what readers see from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.loaded().view.subscribe()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.loaded().view.borrow().abandoned
    }

    /// Makes a durable state visible. Commits become durable in order, but may be published in any.
    pub(crate) fn publish(&self, queued: u64, head: Option<Arc<StreamHead>>) {
        self.loaded().view.send_if_modified(|view| {
            if queued <= view.durable {
                return false;
            }
            let is_visible = match (&view.head, &head) {
                (Some(before), Some(after)) => {
                    (before.tail, &before.closed, before.incarnation, before.soft_deleted)
                        != (after.tail, &after.closed, after.incarnation, after.soft_deleted)
                }
                (None, None) => false,
                _ => true,
            };
            view.durable = queued;
            view.head = head;
            is_visible
        });
        self.loaded().resolved.notify_waiters();
    }

    /// Waits until the first `queued` commits are durable; `false` if one has failed, so that the stream has to be opened
    /// again.
    pub(crate) async fn wait_durable(&self, queued: u64) -> bool {
        let loaded = self.loaded();
        loop {
            // Before the check, so that a commit that resolves after it wakes this.
            let resolved = loaded.resolved.notified();
            {
                let view = loaded.view.borrow();
                if view.durable >= queued {
                    return true;
                }
                if view.abandoned {
                    return false;
                }
            }
            resolved.await;
        }
    }

    /// Returns a durable state, with the deadline as use has moved it, if the stream is usable.
    ///
    /// # Errors
    /// Fails if it doesn't exist, is kept for its forks only, or is over.
    pub(crate) fn usable(
        &self,
        durable: Option<Arc<StreamHead>>,
        wall_ms: u64,
    ) -> Result<Arc<StreamHead>, Missing> {
        let head = self.current(durable.ok_or(Missing::NotFound)?);
        head.usable(wall_ms)?;
        Ok(head)
    }

    /// Returns a head with the deadline as use has moved it.
    pub(crate) fn current(&self, head: Arc<StreamHead>) -> Arc<StreamHead> {
        let touched_ms = self.touched_ms.load(Relaxed);
        let moved_ms = head.lifetime.deadline_ms(touched_ms);
        match head.lifetime {
            Lifetime::Sliding { .. } if moved_ms > head.deadline_ms && !head.soft_deleted => {
                let mut head = (*head).clone();
                head.deadline_ms = moved_ms;
                Arc::new(head)
            }
            _ => head,
        }
    }

    /// Counts a use of the stream. Returns whether the deadline has moved far enough to be committed.
    pub(crate) fn touch(&self, head: &StreamHead, wall_ms: u64) -> bool {
        let Lifetime::Sliding { .. } = head.lifetime else { return false };
        let Some(deadline_ms) = head.lifetime.deadline_ms(wall_ms) else { return false };
        self.touched_ms.fetch_max(wall_ms, Relaxed);
        head.deadline_ms.is_some_and(|stored_ms| deadline_ms >= stored_ms.saturating_add(TOUCH_STEP_MS))
    }

    /// Returns the deadline that use has moved to, unless it is committed.
    pub(crate) fn unsaved_deadline_ms(&self) -> Option<u64> {
        let loaded = self.loaded.get()?;
        let view = loaded.view.borrow();
        let head = view.head.as_ref()?;
        let moved = self.current(head.clone()).deadline_ms;
        moved.filter(|_| moved != head.deadline_ms)
    }
}

impl LinkCache {
    /// Returns whether a link exists, if that is known for this version of all subscriptions.
    pub(crate) fn at(&self, version: u64) -> Option<bool> {
        (self.version.load(Acquire) == version).then(|| self.is_linked.load(Acquire))
    }

    /// Remembers whether a link exists at a version.
    pub(crate) fn set(&self, version: u64, is_linked: bool) {
        self.is_linked.store(is_linked, Release);
        self.version.store(version, Release);
    }

    /// Makes the next commit ask.
    pub(crate) fn forget(&self) {
        self.version.store(0, Release);
    }
}

impl Loaded {
    fn new(head: Option<StreamHead>) -> Self {
        let head = head.map(Arc::new);
        Self {
            writer: Mutex::new(Writer { head: head.clone(), queued: 0, producers: HashMap::new() }),
            view: watch::Sender::new(View { head, ..View::default() }),
            resolved: Notify::new(),
        }
    }
}

impl Writer {
    /// Returns the state of a claim's producer after all queued commits.
    pub(crate) async fn producer(
        &mut self,
        stream: &OpenStream,
        claim: &Claim,
        store: &dyn Store,
    ) -> Result<Option<ProducerState>, Refusal> {
        let Some(head) = &self.head else { return Ok(None) };
        if let Some(state) = self.producers.get(&claim.id) {
            return Ok(Some(*state));
        }
        // The store knows durable state only, so a queued commit of this producer must be durable first.
        if !stream.wait_durable(self.queued).await {
            return Err(Unavailable::StorageFailed.into());
        }
        let state = store.producer(head.incarnation, &claim.id).await.map_err(refuse)?;
        if let Some(state) = state {
            self.remember_producer(claim.id.clone(), state);
        }
        Ok(state)
    }

    /// Remembers a producer's state.
    pub(crate) fn remember_producer(&mut self, id: ProducerId, state: ProducerState) {
        if self.producers.len() >= PRODUCERS_CACHED_MAX {
            self.producers.clear();
        }
        self.producers.insert(id, state);
    }

    /// Forgets the producers of an earlier incarnation.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}
