#![doc = include_str!("../README.md")]
//!
//! It is the obvious reading of the contract in `headwater-store`: one lock, plain maps, and commits that are checked
//! whole before anything is applied. A commit that doesn't fit in its memory is refused.

mod state;

use std::{
    future,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::StreamHead,
};
use headwater_store::{
    Chunk, Commit, Deadline, Document, Health, ReadRange, Store, StoreError, StoreFuture, Ticket,
};

use state::State;

/// A store in memory.
#[derive(Debug)]
pub struct MemStore(RwLock<State>);

impl MemStore {
    /// Makes a store that takes at most about `bytes_max` bytes of memory, with what it takes to find a stream, a producer, a
    /// document or the end of an append.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self(RwLock::new(State::new(bytes_max)))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // Commits are checked before they are applied, so that a panic can't leave half of one.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemStore {
    fn incarnation_last(&self) -> u64 {
        self.state().incarnation_last
    }

    fn health(&self) -> Health {
        Health::Healthy
    }

    fn load<'a>(&'a self, name: &'a StreamName) -> StoreFuture<'a, Option<StreamHead>> {
        ready(Ok(self.state().streams.get(name).cloned()))
    }

    fn producer<'a>(
        &'a self,
        incarnation: Incarnation,
        id: &'a ProducerId,
    ) -> StoreFuture<'a, Option<ProducerState>> {
        ready(Ok(self.state().producers.get(&incarnation).and_then(|producers| producers.get(id)).copied()))
    }

    fn commit(&self, commit: Commit) -> Ticket {
        Ticket::ready(self.0.write().unwrap_or_else(PoisonError::into_inner).commit(commit))
    }

    fn read(&self, incarnation: Incarnation, range: ReadRange) -> StoreFuture<'_, Chunk> {
        let state = self.state();
        let log = state.logs.get(&incarnation).ok_or(StoreError::Missing(incarnation));
        ready(log.and_then(|log| log.read(range)))
    }

    fn end_of(&self, incarnation: Incarnation, position: u64, limit: u64) -> StoreFuture<'_, u64> {
        let state = self.state();
        let log = state.logs.get(&incarnation).ok_or(StoreError::Missing(incarnation));
        ready(log.and_then(|log| log.end_of(position, limit)))
    }

    fn expired<'a>(
        &'a self,
        until_ms: u64,
        after: Option<&'a Deadline>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Deadline>> {
        let state = self.state();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let due = state.deadlines.range((begin, Bound::Unbounded));
        let due = due.take_while(|(deadline_ms, _)| *deadline_ms <= until_ms);
        ready(Ok(due.take(limit).cloned().collect()))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StreamName>> {
        let state = self.state();
        let names = state
            .streams
            .range::<str, _>(first_key(prefix, after.map(StreamName::as_str)))
            .map(|(name, _)| name);
        let page = names.take_while(|name| name.as_str().starts_with(prefix)).take(limit);
        ready(Ok(page.cloned().collect()))
    }

    fn document<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        ready(Ok(self.state().documents.get(key).cloned()))
    }

    fn documents<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Document>> {
        let state = self.state();
        let documents = state.documents.range::<str, _>(first_key(prefix, after));
        let page = documents.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        ready(Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}

/// Nothing here waits.
fn ready<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(future::ready(result))
}

/// Where a page begins: with what follows `after`, if that isn't before all keys of the page.
fn first_key<'a, K: Ord + ?Sized>(first: &'a K, after: Option<&'a K>) -> (Bound<&'a K>, Bound<&'a K>) {
    let begin = after.filter(|after| *after >= first).map_or(Bound::Included(first), Bound::Excluded);
    (begin, Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use headwater_protocol::stream::Closure;
    use headwater_store::{
        Edit,
        contract::{head, name, put, run},
    };

    use super::*;

    headwater_store::contract_tests!(|| MemStore::new(1 << 20));

    #[test]
    fn a_commit_that_does_not_fit_changes_nothing_and_room_comes_back() {
        run(async {
            let store = MemStore::new(3_000);
            let big: &'static str = Box::leak("x".repeat(1_400).into_boxed_str());
            let commit = |edit| Commit::new(vec![edit]);
            assert_eq!(store.commit(commit(put("a", head(1, 1, 1_400), big))).await, Ok(()));
            let full = store.commit(commit(put("a", head(1, 2, 2_800), big))).await;
            assert_eq!(full, Err(StoreError::Full));
            assert_eq!(store.load(&name("a")).await.unwrap().unwrap().version, 1);
            let remove = Edit::Remove { name: name("a"), expected: 1 };
            assert_eq!(store.commit(commit(remove)).await, Ok(()));
            assert_eq!(store.commit(commit(put("b", head(2, 1, 1_400), big))).await, Ok(()));
        });
    }

    #[test]
    fn a_full_store_takes_what_needs_no_room() {
        run(async {
            let both = vec![put("source", head(1, 1, 3), "abc"), put("fork", head(2, 1, 3), "")];
            let measured = MemStore::new(1 << 20);
            assert_eq!(measured.commit(Commit::new(both.clone())).await, Ok(()));
            let store = MemStore::new(measured.state().bytes());
            assert_eq!(store.commit(Commit::new(both)).await, Ok(()));
            let commit = |edits| store.commit(Commit::new(edits));
            assert_eq!(commit(vec![put("source", head(1, 2, 4), "d")]).await, Err(StoreError::Full));
            assert_eq!(commit(vec![put("more", head(3, 1, 0), "")]).await, Err(StoreError::Full));
            let mut closed = head(1, 2, 3);
            closed.closed = Some(Closure::default());
            assert_eq!(commit(vec![put("source", closed, "")]).await, Ok(()));
            let fork_goes =
                vec![Edit::Remove { name: name("fork"), expected: 1 }, put("source", head(1, 3, 3), "")];
            assert_eq!(commit(fork_goes).await, Ok(()));
            assert_eq!(commit(vec![put("source", head(1, 4, 4), "d")]).await, Ok(()));
        });
    }
}
