//! The free slots of the commit log, for which the writer waits, and what the checkpointer waits for.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use headwater_store::StoreError;

use crate::{commit_log::Slot, engine::lock};

/// The free slots, and the state of checkpoints.
#[derive(Debug)]
pub(crate) struct Slots {
    state: Mutex<State>,
    /// Notified of free slots, failures, sealed memtables and the end.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: Vec<Slot>,
    /// Why there won't be a free slot soon.
    failure: Option<StoreError>,
    ending: bool,
}

impl Slots {
    pub(crate) const fn new(free: Vec<Slot>) -> Self {
        let state = State { free, failure: None, ending: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn has_free(&self) -> bool {
        !lock(&self.state).free.is_empty()
    }

    /// Takes a free slot.
    pub(crate) fn take(&self) -> Option<Slot> {
        lock(&self.state).free.pop()
    }

    /// Waits for a free slot, as the leader.
    ///
    /// # Errors
    /// The failure that keeps slots from becoming free, or that the store is closed.
    pub(crate) fn wait_for_free(&self) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        while state.free.is_empty() {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.ending {
                return Err(StoreError::failed("the store is closed"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Adds slots whose frames RocksDB has.
    pub(crate) fn release(&self, slots: Vec<Slot>) {
        let mut state = lock(&self.state);
        state.free.extend(slots);
        state.failure = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Fails a leader that waits for a slot, until the next [`Slots::release`].
    pub(crate) fn fail(&self, error: StoreError) {
        lock(&self.state).failure = Some(error);
        self.changed.notify_all();
    }

    /// Returns why there won't be a free slot soon, if there won't.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        lock(&self.state).failure.clone()
    }

    /// Wakes the checkpointer: a memtable is sealed.
    pub(crate) fn wake_checkpointer(&self) {
        // With the lock: the checkpointer either waits already or will see it.
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Waits, as the checkpointer, until there is work, at most for `at_most`. Returns `false` when the store ends.
    pub(crate) fn wait_for_work(&self, at_most: Duration, has_work: impl Fn() -> bool) -> bool {
        let waited =
            self.changed.wait_timeout_while(lock(&self.state), at_most, |state| !state.ending && !has_work());
        !waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }

    /// Lets the checkpointer end.
    pub(crate) fn end(&self) {
        lock(&self.state).ending = true;
        self.changed.notify_all();
    }
}
