//! A store that fails on demand, for tests of the layers above.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::StreamHead,
};

use crate::{
    Chunk, Commit, Deadline, Document, Health, ReadRange, Store, StoreError, StoreFuture, Ticket,
    TicketSender,
};

/// A wrapper of a store that fails, delays or loses commits on demand. Until then it behaves like that store.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    failing: VecDeque<StoreError>,
    failing_reads: VecDeque<StoreError>,
    holding: bool,
    holding_loads: bool,
    held: Vec<(Commit, TicketSender)>,
    health: Option<Health>,
}

impl<S: Store> Faulty<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Self { inner, orders: Mutex::default() }
    }

    /// Lets the next commit fail, after those that are to fail already.
    pub fn fail_next_commit(&self, error: StoreError) {
        self.orders().failing.push_back(error);
    }

    /// Lets the next read of bytes or heads fail, after those that are to fail already.
    pub fn fail_next_read(&self, error: StoreError) {
        self.orders().failing_reads.push_back(error);
    }

    /// Holds all following commits: they are queued and don't become durable.
    pub fn hold(&self) {
        self.orders().holding = true;
    }

    /// From now on heads are loaded but not returned, until [`Faulty::release_loads`].
    pub fn hold_loads(&self) {
        self.orders().holding_loads = true;
    }

    /// Heads that were held are returned, as they were when they were loaded.
    pub fn release_loads(&self) {
        self.orders().holding_loads = false;
    }

    /// From now on the store says this of its health.
    pub fn set_health(&self, health: Health) {
        self.orders().health = Some(health);
    }

    /// Returns the number of commits that are held.
    pub fn held(&self) -> usize {
        self.orders().held.len()
    }

    /// Commits everything that is held, and holds no further commits.
    pub async fn release(&self) {
        for (commit, sender) in self.take_held() {
            sender.resolve(self.inner.commit(commit).await);
        }
    }

    /// Fails the first held commit, and releases the others as [`Faulty::release`] does.
    pub async fn release_but_first(&self, error: StoreError) {
        let first = {
            let mut orders = self.orders();
            (!orders.held.is_empty()).then(|| orders.held.remove(0))
        };
        if let Some((_, sender)) = first {
            sender.resolve(Err(error));
        }
        self.release().await;
    }

    /// Loses everything that is held, as a power cut would, and holds no further commits.
    pub fn lose(&self) {
        for (_, sender) in self.take_held() {
            sender.resolve(Err(StoreError::in_doubt("lost")));
        }
    }

    fn take_held(&self) -> Vec<(Commit, TicketSender)> {
        let mut orders = self.orders();
        orders.holding = false;
        std::mem::take(&mut orders.held)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_read(&self) -> Result<(), StoreError> {
        self.orders().failing_reads.pop_front().map_or(Ok(()), Err)
    }
}

impl<S: Store> Store for Faulty<S> {
    fn incarnation_last(&self) -> u64 {
        self.inner.incarnation_last()
    }

    fn health(&self) -> Health {
        self.orders().health.clone().unwrap_or_else(|| self.inner.health())
    }

    fn load<'a>(&'a self, name: &'a StreamName) -> StoreFuture<'a, Option<StreamHead>> {
        Box::pin(async move {
            self.check_read()?;
            let head = self.inner.load(name).await;
            std::future::poll_fn(|context| {
                if !self.orders().holding_loads {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            head
        })
    }

    fn producer<'a>(
        &'a self,
        incarnation: Incarnation,
        id: &'a ProducerId,
    ) -> StoreFuture<'a, Option<ProducerState>> {
        self.inner.producer(incarnation, id)
    }

    fn commit(&self, commit: Commit) -> Ticket {
        let mut orders = self.orders();
        if let Some(error) = orders.failing.pop_front() {
            return Ticket::ready(Err(error));
        }
        if orders.holding {
            let (sender, ticket) = Ticket::pending();
            orders.held.push((commit, sender));
            return ticket;
        }
        drop(orders);
        self.inner.commit(commit)
    }

    fn read(&self, incarnation: Incarnation, range: ReadRange) -> StoreFuture<'_, Chunk> {
        Box::pin(async move {
            self.check_read()?;
            self.inner.read(incarnation, range).await
        })
    }

    fn end_of(&self, incarnation: Incarnation, position: u64, limit: u64) -> StoreFuture<'_, u64> {
        self.inner.end_of(incarnation, position, limit)
    }

    fn expired<'a>(
        &'a self,
        until_ms: u64,
        after: Option<&'a Deadline>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Deadline>> {
        self.inner.expired(until_ms, after, limit)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StreamName>> {
        self.inner.list(prefix, after, limit)
    }

    fn document<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.inner.document(key)
    }

    fn documents<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Document>> {
        self.inner.documents(prefix, after, limit)
    }
}
