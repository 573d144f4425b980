//! All streams of a run, so that readers find them and the oracle checks them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use headwater_testkit::random::Rng;

use crate::stream::{Existence, Tracked};

#[derive(Debug, Default)]
pub(crate) struct Registry {
    streams: Mutex<Vec<Arc<Tracked>>>,
    names: AtomicU32,
}

impl Registry {
    pub(crate) fn add(&self, stream: Arc<Tracked>) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Tracked>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps only those that `keep` wants.
    pub(crate) fn retain(&self, keep: impl FnMut(&Arc<Tracked>) -> bool) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).retain(keep);
    }

    /// Picks a stream that exists and that `wanted` accepts, young ones more often.
    pub(crate) fn pick(&self, rng: &mut Rng, wanted: impl Fn(&Tracked) -> bool) -> Option<Arc<Tracked>> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let young = rng.usize(1..40);
        let from = streams.len().saturating_sub(young);
        let alive: Vec<_> = streams
            .get(from..)?
            .iter()
            .filter(|stream| stream.existence() == Existence::There && wanted(stream))
            .collect();
        rng.choice(&alive).map(|stream| (*stream).clone())
    }

    /// A number that no other name has.
    pub(crate) fn number(&self) -> u32 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }
}
