//! The streams in memory: for each the writer's state behind a lock, and what readers may see.
//!
//! A stream's working head advances when a commit is queued; readers see a head only when it is durable. After a
//! failed commit the stream is abandoned and loaded again, so there is nothing to roll back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
use headwater_store::{Store, StoreError};
use tokio::sync::{Mutex, MutexGuard, Notify, OnceCell, watch};

/// Producers that a stream keeps in memory; beyond that it forgets all and asks the store again.
const PRODUCERS_CACHED_MAX: usize = 1_024;
/// A sliding deadline is committed when it has moved by so much: at most one commit a second for reads.
const TOUCH_STEP_MS: u64 = 1_000;

/// All streams in memory.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    map: DashMap<StreamName, Arc<OpenStream>>,
}

/// A stream in memory.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) name: StreamName,
    loaded: OnceCell<Loaded>,
    /// The steady time when it was last looked for: unused ones leave memory.
    used_ms: AtomicU64,
    /// The wall time of the last use that prolongs a sliding stream; 0 if there was none. No deadline, so that a later life
    /// of the name gains nothing from it.
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

#[derive(Debug)]
struct Loaded {
    writer: Mutex<Writer>,
    view: watch::Sender<View>,
    /// Tells that commits became durable or failed, also those that readers needn't be woken for.
    settled: Notify,
}

/// What writers work on.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The head after all queued commits; `None`: no stream.
    pub(crate) head: Option<Arc<StreamHead>>,
    /// Counts the queued commits.
    pub(crate) queued: u64,
    producers: HashMap<ProducerId, ProducerState>,
}

/// What readers see: the durable state.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The head; `None`: no stream.
    pub(crate) head: Option<Arc<StreamHead>>,
    /// How many of the queued commits are durable.
    pub(crate) durable: u64,
    /// A commit failed: open the stream again.
    pub(crate) abandoned: bool,
}

impl Streams {
    /// The stream of that name, loaded; it may be one that doesn't exist.
    pub(crate) async fn open(
        &self,
        name: &StreamName,
        store: &dyn Store,
        now_ms: u64,
    ) -> Result<Arc<OpenStream>, StoreError> {
        let found = self.map.get(name).map(|stream| stream.clone());
        // Whoever holds the stream keeps it from being evicted, also while it is loaded.
        let stream = match found {
            Some(stream) => stream,
            None => match self.map.entry(name.clone()) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => {
                    entry.insert(Arc::new(OpenStream::fresh(name.clone(), now_ms, 0))).clone()
                }
            },
        };
        stream.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        stream.loaded.get_or_try_init(|| async { store.load(name).await.map(Loaded::new) }).await?;
        Ok(stream)
    }

    /// Takes a stream out of memory after a failed commit, for good: the next request loads it again. What stays is
    /// when it was used, which may be just what a full disk couldn't take.
    pub(crate) fn abandon(&self, stream: &Arc<OpenStream>) {
        let removed = self.map.remove_if(&stream.name, |_, known| Arc::ptr_eq(known, stream)).is_some();
        let touched_ms = stream.touched_ms.load(Ordering::Relaxed);
        if removed && touched_ms > 0 {
            let used_ms = stream.used_ms.load(Ordering::Relaxed);
            let fresh = Arc::new(OpenStream::fresh(stream.name.clone(), used_ms, touched_ms));
            self.map.entry(stream.name.clone()).or_insert(fresh);
        }
        if let Some(loaded) = stream.loaded.get() {
            loaded.view.send_modify(|view| view.abandoned = true);
            loaded.settled.notify_waiters();
        }
    }

    /// Takes a stream that doesn't exist out of memory, unless somebody else holds it.
    pub(crate) fn forget_absent(&self, stream: Arc<OpenStream>) {
        let name = stream.name.clone();
        drop(stream);
        self.map.remove_if(&name, |_, known| Arc::strong_count(known) == 1 && known.is_absent());
    }

    /// Takes streams out of memory that nobody has used since `before_ms`. Gives those that have to be touched first.
    pub(crate) fn evict(&self, before_ms: u64) -> Vec<StreamName> {
        let mut untouched = Vec::new();
        self.map.retain(|name, stream| {
            let idle = Arc::strong_count(stream) == 1 && stream.used_ms.load(Ordering::Relaxed) < before_ms;
            if idle && stream.unsaved_deadline_ms().is_some() {
                untouched.push(name.clone());
                return true;
            }
            !idle
        });
        untouched
    }

    /// Wakes all readers that wait.
    pub(crate) fn wake_readers(&self) {
        for stream in &self.map {
            if let Some(loaded) = stream.loaded.get() {
                loaded.view.send_modify(|_| {});
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
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

    /// The writer's state, for one at a time.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Writer> {
        self.loaded().writer.lock().await
    }

    /// The writer's state, if nobody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Writer>> {
        self.loaded().writer.try_lock().ok()
    }

    /// What readers see now.
    pub(crate) fn view(&self) -> View {
        self.loaded().view.borrow().clone()
    }

    /// What readers see from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.loaded().view.subscribe()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.loaded().view.borrow().abandoned
    }

    /// Makes a durable state visible. Commits become durable in order, but who waited for them may say so in any.
    pub(crate) fn publish(&self, queued: u64, head: Option<Arc<StreamHead>>) {
        self.loaded().view.send_if_modified(|view| {
            if queued <= view.durable {
                return false;
            }
            let noticed = match (&view.head, &head) {
                (Some(before), Some(after)) => {
                    (before.tail, &before.closed, before.incarnation, before.soft_deleted)
                        != (after.tail, &after.closed, after.incarnation, after.soft_deleted)
                }
                (None, None) => false,
                _ => true,
            };
            view.durable = queued;
            view.head = head;
            noticed
        });
        self.loaded().settled.notify_waiters();
    }

    /// Resolves when the first `queued` commits are durable. `false`: one of them failed, and the stream has to be
    /// opened again.
    pub(crate) async fn durable(&self, queued: u64) -> bool {
        let loaded = self.loaded();
        loop {
            // Before the look: what settles after it wakes this.
            let settled = loaded.settled.notified();
            {
                let view = loaded.view.borrow();
                if view.durable >= queued {
                    return true;
                }
                if view.abandoned {
                    return false;
                }
            }
            settled.await;
        }
    }

    /// A head with the deadline as use has moved it.
    pub(crate) fn current(&self, head: Arc<StreamHead>) -> Arc<StreamHead> {
        let touched_ms = self.touched_ms.load(Ordering::Relaxed);
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

    /// Counts a use; says whether it should be committed.
    pub(crate) fn touch(&self, head: &StreamHead, wall_ms: u64) -> bool {
        let Lifetime::Sliding { .. } = head.lifetime else { return false };
        let Some(deadline_ms) = head.lifetime.deadline_ms(wall_ms) else { return false };
        self.touched_ms.fetch_max(wall_ms, Ordering::Relaxed);
        head.deadline_ms.is_some_and(|stored_ms| deadline_ms >= stored_ms.saturating_add(TOUCH_STEP_MS))
    }

    /// The deadline that use has moved to and the store doesn't know.
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
        (self.version.load(Ordering::Acquire) == version).then(|| self.is_linked.load(Ordering::Acquire))
    }

    /// Remembers whether a link exists at a version.
    pub(crate) fn set(&self, version: u64, is_linked: bool) {
        self.is_linked.store(is_linked, Ordering::Release);
        self.version.store(version, Ordering::Release);
    }

    /// Makes the next commit ask.
    pub(crate) fn forget(&self) {
        self.version.store(0, Ordering::Release);
    }
}

impl Loaded {
    fn new(head: Option<StreamHead>) -> Self {
        let head = head.map(Arc::new);
        Self {
            writer: Mutex::new(Writer { head: head.clone(), queued: 0, producers: HashMap::new() }),
            view: watch::Sender::new(View { head, ..View::default() }),
            settled: Notify::new(),
        }
    }
}

impl Writer {
    /// What the stream remembers of the claim's producer, queued commits included.
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
        if !stream.durable(self.queued).await {
            return Err(Unavailable::StorageFailed.into());
        }
        let state = store.producer(head.incarnation, &claim.id).await.map_err(refuse)?;
        if let Some(state) = state {
            self.note_producer(claim.id.clone(), state);
        }
        Ok(state)
    }

    /// Notes a producer's state as of a queued commit.
    pub(crate) fn note_producer(&mut self, id: ProducerId, state: ProducerState) {
        if self.producers.len() >= PRODUCERS_CACHED_MAX {
            self.producers.clear();
        }
        self.producers.insert(id, state);
    }

    /// Forgets the producers of an earlier life.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}

/// What a client learns of a store's failure; the operator learns the rest from the log.
pub(crate) fn refuse(error: StoreError) -> Refusal {
    match error {
        StoreError::Full => Unavailable::StorageFull.into(),
        StoreError::Missing(_) => Missing::NotFound.into(),
        error => {
            tracing::error!(%error, "the store failed");
            Unavailable::StorageFailed.into()
        }
    }
}
