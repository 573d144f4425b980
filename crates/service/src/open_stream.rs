//! A stream in memory: the writer's state behind a lock, and the durable state that readers see.
//!
//! The writer's head advances when a commit is queued; readers see a head only when it is durable. After a failed commit
//! the stream is abandoned and loaded again, so there is nothing to roll back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use headwater_protocol::{
    Missing, Refusal, Unavailable,
    expiry::Lifetime,
    path::StreamName,
    producer::{Claim, ProducerId, ProducerState},
    stream::{Change, StreamHead},
};
use headwater_store::Store;
use tokio::sync::{Mutex, MutexGuard, Notify, OnceCell, watch};

use crate::refusal::refuse;

/// The producers that a stream keeps in memory. Beyond that it forgets all of them and asks the store again.
const PRODUCERS_CACHED_MAX: usize = 1_024;

/// A stream in memory.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) name: StreamName,
    loaded: OnceCell<Loaded>,
    /// The stream as it was when a commit failed, until this one is loaded.
    abandoned: StdMutex<Option<Arc<Self>>>,
    /// The steady time of the last request to it: unused streams leave memory.
    used_ms: AtomicU64,
    /// The calendar's time of the last use that prolongs a sliding stream; 0 if there was none. It isn't a deadline, so that a
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

impl OpenStream {
    /// Makes a stream that isn't loaded yet.
    pub(crate) fn new(name: StreamName, used_ms: u64, touched_ms: u64) -> Self {
        Self {
            name,
            loaded: OnceCell::new(),
            abandoned: StdMutex::default(),
            used_ms: AtomicU64::new(used_ms),
            touched_ms: AtomicU64::new(touched_ms),
            links: LinkCache::default(),
        }
    }

    /// Makes the successor of a stream that was abandoned. What stays is the time of its last use, which may be just what a
    /// full disk couldn't take.
    pub(crate) fn after(abandoned: Arc<Self>) -> Self {
        let (used_ms, touched_ms) = (abandoned.used_ms.load(Relaxed), abandoned.touched_ms.load(Relaxed));
        let fresh = Self::new(abandoned.name.clone(), used_ms, touched_ms);
        Self { abandoned: StdMutex::new(Some(abandoned)), ..fresh }
    }

    /// Loads the stream, unless it is loaded, and counts a request to it.
    pub(crate) async fn load(&self, store: &dyn Store, now_ms: u64) -> Result<(), Refusal> {
        self.used_ms.fetch_max(now_ms, Relaxed);
        let load = || async {
            // Whoever decided on a state that has failed queues the commit first, so that the store refuses it: after other
            // commits its version could be right again by chance.
            let abandoned = self.abandoned().clone();
            if let Some(abandoned) = abandoned {
                drop(abandoned.lock().await);
            }
            let loaded = store.load(&self.name).await.map(Loaded::new).map_err(refuse)?;
            *self.abandoned() = None;
            Ok(loaded)
        };
        self.loaded.get_or_try_init(load).await.map(drop)
    }

    /// Makes everything that waits for this stream open it again.
    pub(crate) fn abandon(&self) {
        if let Some(loaded) = self.loaded.get() {
            loaded.view.send_modify(|view| view.abandoned = true);
            loaded.resolved.notify_waiters();
        }
    }

    fn abandoned(&self) -> StdMutexGuard<'_, Option<Arc<Self>>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the abandoned stream that this one follows is still in use: another successor would not wait for it.
    pub(crate) fn is_needed(&self) -> bool {
        self.abandoned().as_ref().is_some_and(|abandoned| Arc::strong_count(abandoned) > 1)
    }

    /// Wakes all readers that wait.
    pub(crate) fn wake_readers(&self) {
        if let Some(loaded) = self.loaded.get() {
            loaded.view.send_modify(|_| {});
        }
    }

    /// Returns whether the last request was before a steady time.
    pub(crate) fn is_unused_since(&self, before_ms: u64) -> bool {
        self.used_ms.load(Relaxed) < before_ms
    }

    #[expect(
        clippy::expect_used,
        reason = "Streams::open gives only loaded streams out, and it never unloads one"
    )]
    fn loaded(&self) -> &Loaded {
        self.loaded.get().expect("loaded by Streams::open")
    }

    /// Returns whether the stream is known not to exist, or not loaded.
    pub(crate) fn is_absent(&self) -> bool {
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
        calendar_ms: u64,
    ) -> Result<Arc<StreamHead>, Missing> {
        let head = self.current(durable.ok_or(Missing::NotFound)?);
        head.usable(calendar_ms)?;
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

    /// Counts a use of the stream. Returns the deadline to be committed, if it has moved far enough.
    pub(crate) fn touch(&self, head: &StreamHead, calendar_ms: u64) -> Option<u64> {
        if matches!(head.lifetime, Lifetime::Sliding { .. }) {
            self.touched_ms.fetch_max(calendar_ms, Relaxed);
        }
        head.lifetime.deadline_to_commit_ms(calendar_ms, head.deadline_ms)
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

    /// Notes a commit that was queued: the change of the stream, or its removal.
    pub(crate) fn advance(&mut self, change: Option<&Change>) {
        match change {
            Some(Change { producer: Some((id, state)), .. }) => self.remember_producer(id.clone(), *state),
            Some(_) => {}
            // A later incarnation has none of them.
            None => self.producers.clear(),
        }
        self.head = change.map(|change| Arc::new(change.head.clone()));
        self.queued += 1;
    }

    fn remember_producer(&mut self, id: ProducerId, state: ProducerState) {
        if self.producers.len() >= PRODUCERS_CACHED_MAX {
            self.producers.clear();
        }
        self.producers.insert(id, state);
    }
}
