//! The counters of all workers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counters behind one lock: a request takes a thousand times longer than it is held.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

/// The counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Answers compared, by target.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Differences that a rule excuses, by target and rule.
    pub(crate) accepted: BTreeMap<(String, &'static str), u64>,
}

impl Tally {
    /// Counts a request to a target.
    pub(crate) fn request(&self, target: &str) {
        let mut counts = self.lock();
        match counts.requests.get_mut(target) {
            Some(count) => *count += 1,
            None => {
                counts.requests.insert(target.to_owned(), 1);
            }
        }
    }

    /// Counts a difference that a rule excuses.
    pub(crate) fn accepted(&self, target: &str, rule: &'static str) {
        *self.lock().accepted.entry((target.to_owned(), rule)).or_default() += 1;
    }

    /// Returns the counters.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters stay consistent when a holder of the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
