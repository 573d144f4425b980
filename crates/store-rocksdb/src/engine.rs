//! The state that the store's threads share, and how the store stops.

use std::{
    error::Error,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use headwater_store::{Health, StoreError};

use crate::{
    commit_log::{CommitLog, SLOT_BYTES, Slot},
    head::HeadPrefix,
    keys::NAMES,
    memtable::{Lookup, Memtable},
    memtables::Memtables,
    queue::Queue,
    rocks::{Marks, Query, Rocks},
    slots::Slots,
};

/// The state that the store's threads share. Locks are taken in this order: log, queue, slots, memtables.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) log: Mutex<CommitLog>,
    pub(crate) queue: Queue,
    pub(crate) slots: Slots,
    memtables: RwLock<Memtables>,
    pub(crate) rocks: Rocks,
    pub(crate) incarnation_last: AtomicU64,
    /// The moving average of how long a sync takes, in nanoseconds.
    pub(crate) sync_ns: AtomicU64,
    pub(crate) started: Instant,
    /// When the last commit became durable, in milliseconds since `started`.
    pub(crate) committed_ms: AtomicU64,
    /// The number that identifies the store's data.
    pub(crate) salt: u64,
    /// The last frame that RocksDB has; earlier ones may be gone from the commit log.
    pub(crate) checkpoint: AtomicU64,
}

/// The reason why a store is read-only until it is opened again.
#[derive(Debug, thiserror::Error)]
#[error("nothing is written any more: {0}")]
struct Stopped(#[source] Arc<dyn Error + Send + Sync>);

/// Locks a mutex, poisoned or not: a panic of one of the store's threads stops the store (see [`Engine::run`]), which is
/// then only read.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn new(
        rocks: Rocks,
        log: CommitLog,
        free: Vec<Slot>,
        memtables: Memtables,
        marks: Marks,
    ) -> Self {
        Self {
            log: Mutex::new(log),
            queue: Queue::default(),
            slots: Slots::new(free),
            memtables: RwLock::new(memtables),
            rocks,
            incarnation_last: AtomicU64::new(marks.incarnation_last),
            sync_ns: AtomicU64::new(0),
            started: Instant::now(),
            committed_ms: AtomicU64::new(0),
            salt: marks.salt,
            checkpoint: AtomicU64::new(marks.checkpoint),
        }
    }

    pub(crate) fn memtables(&self) -> RwLockReadGuard<'_, Memtables> {
        self.memtables.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memtables_mut(&self) -> RwLockWriteGuard<'_, Memtables> {
        self.memtables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up the part of a stream's head that the store itself needs.
    pub(crate) fn head_prefix(&self, name: &str) -> Result<Option<HeadPrefix>, StoreError> {
        let found = self.memtables().head(name, HeadPrefix::of);
        match found {
            Lookup::Found(prefix) => Ok(Some(prefix)),
            Lookup::Deleted => Ok(None),
            Lookup::Absent => self.rocks.get(&Query::new(NAMES, name.as_bytes(), HeadPrefix::decode)),
        }
    }

    /// Returns the oldest memtable that isn't in RocksDB, its last frame, and about how many bytes it takes.
    pub(crate) fn oldest_sealed(&self) -> Option<(Arc<Memtable>, u64, u64)> {
        self.memtables().sealed.front().map(|sealed| {
            let bytes = sealed.slots.iter().map(|slot| slot.bytes().unwrap_or(SLOT_BYTES)).sum();
            (sealed.memtable.clone(), sealed.through, bytes)
        })
    }

    /// Drops the oldest sealed memtable, which RocksDB has, and frees its slots.
    #[expect(
        clippy::expect_used,
        reason = "only the checkpointer removes sealed memtables, and it has just written one"
    )]
    pub(crate) fn release_oldest(&self, through: u64) {
        let oldest = self.memtables_mut().sealed.pop_front();
        let sealed = oldest.expect("the memtable that was checkpointed is still there");
        assert_eq!(
            sealed.through, through,
            "the slots that become free are those of the frames that RocksDB has"
        );
        self.checkpoint.store(through, Ordering::Relaxed);
        for slot in &sealed.slots {
            if let Err(error) = slot.shrink() {
                tracing::warn!(%error, slot = %slot.path().display(), "a slot stays longer than it need be");
            }
        }
        self.slots.release(sealed.slots);
    }

    /// Runs a part of the store's own work. A panic in it is a bug that may have left anything half done: it stops the
    /// store.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&Self) -> T) -> Result<T, StoreError> {
        panic::catch_unwind(AssertUnwindSafe(|| work(self))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            let cause: Box<dyn Error + Send + Sync> = format!("a bug in the store: {text}").into();
            self.stop(cause.into())
        })
    }

    /// Stops the store: what waits fails and what comes is refused, with the error that is returned. Neither the commit
    /// log nor RocksDB is written any more, since what they hold is known again only after a restart. The caller holds
    /// none of the locks after `log`.
    pub(crate) fn stop(&self, cause: Arc<dyn Error + Send + Sync>) -> StoreError {
        tracing::error!(%cause, "nothing is written any more, restart to recover");
        let error = self.queue.stop(StoreError::failed(Stopped(cause)));
        self.slots.fail(error.clone());
        error
    }

    /// Returns whether the store can do its work.
    pub(crate) fn health(&self) -> Health {
        let stopped = self.queue.stopped();
        let failure = stopped.is_none().then(|| self.slots.failure()).flatten();
        let cause = |error: StoreError| Arc::new(error);
        match (stopped, failure) {
            (Some(error), _) => Health::Stopped(cause(error)),
            (None, Some(error)) => Health::Failing(cause(error)),
            (None, None) => Health::Healthy,
        }
    }

    /// Returns how long ago the last commit became durable.
    pub(crate) fn idle_ms(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.committed_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
