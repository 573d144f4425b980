//! Tickets: what a commit gives back at once, and what resolves when the commit is durable.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::StoreError;

/// A future that resolves when its commit is durable or has failed.
#[derive(Debug)]
pub struct Ticket {
    state: State,
    worker: Option<Worker>,
    has_yielded: bool,
}

#[derive(Debug)]
enum State {
    Ready(Result<(), StoreError>),
    Waiting(oneshot::Receiver<Result<(), StoreError>>),
}

/// A store that lets those who wait do its work: a commit that is waited for on the thread that makes it durable costs
/// no change of threads.
pub trait Work: Send + Sync {
    /// Somebody waits, and everything else that could run has run: work on what is queued now, if that is quick, or see
    /// to it that it is worked on.
    fn work(&self);
    /// Nobody will wait: see to it that what is queued is worked on.
    fn delegate(&self);
}

struct Worker(Arc<dyn Work>);

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

/// The other end of a ticket. Dropping it fails the ticket.
#[derive(Debug)]
pub struct TicketSender(oneshot::Sender<Result<(), StoreError>>);

impl Ticket {
    /// A ticket that is resolved already.
    #[must_use]
    pub const fn ready(result: Result<(), StoreError>) -> Self {
        Self { state: State::Ready(result), worker: None, has_yielded: false }
    }

    /// A ticket and the end that resolves it.
    #[must_use]
    pub fn pending() -> (TicketSender, Self) {
        Self::with_worker(None)
    }

    /// The same of a store that works when somebody begins to wait.
    #[must_use]
    pub fn worked_on(worker: Arc<dyn Work>) -> (TicketSender, Self) {
        Self::with_worker(Some(Worker(worker)))
    }

    fn with_worker(worker: Option<Worker>) -> (TicketSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (TicketSender(sender), Self { state: State::Waiting(receiver), worker, has_yielded: false })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(Worker(worker)) = self.worker.take() {
            worker.delegate();
        }
    }
}

impl TicketSender {
    /// Resolves the ticket. That nobody waits any more is no error: the commit stands all the same.
    pub fn resolve(self, result: Result<(), StoreError>) {
        let _ = self.0.send(result);
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.worker.is_some() && !self.has_yielded {
            // Whoever else is ready commits first: what is done for one is done for all.
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(Worker(worker)) = self.worker.take() {
            worker.work();
        }
        match &mut self.state {
            State::Ready(result) => Poll::Ready(result.clone()),
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|received| {
                received.unwrap_or_else(|_| {
                    Err(StoreError::Failed("the store stopped before it answered".into()))
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU64, Ordering},
        task::Waker,
    };

    use super::*;

    fn look(ticket: &mut Ticket) -> Poll<Result<(), StoreError>> {
        pin!(ticket).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_ticket_waits_for_its_sender_and_fails_without_it() {
        let (sender, mut ticket) = Ticket::pending();
        assert_eq!(look(&mut ticket), Poll::Pending);
        sender.resolve(Err(StoreError::Full));
        assert_eq!(look(&mut ticket), Poll::Ready(Err(StoreError::Full)));
        let (sender, mut ticket) = Ticket::pending();
        drop(sender);
        assert!(matches!(look(&mut ticket), Poll::Ready(Err(StoreError::Failed(_)))));
        assert_eq!(look(&mut Ticket::ready(Ok(()))), Poll::Ready(Ok(())));
    }

    #[derive(Default)]
    struct Counted {
        worked: AtomicU64,
        delegated: AtomicU64,
    }

    impl Work for Counted {
        fn work(&self) {
            self.worked.fetch_add(1, Ordering::Relaxed);
        }
        fn delegate(&self) {
            self.delegated.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_store_works_once_when_somebody_waits_or_when_nobody_will() {
        let store = Arc::new(Counted::default());
        let counts = || (store.worked.load(Ordering::Relaxed), store.delegated.load(Ordering::Relaxed));
        let (_sender, mut waited_for) = Ticket::worked_on(store.clone());
        let (_other_sender, forgotten) = Ticket::worked_on(store.clone());
        assert_eq!(look(&mut waited_for), Poll::Pending);
        assert_eq!(counts(), (0, 0), "others may go first");
        assert_eq!(look(&mut waited_for), Poll::Pending);
        assert_eq!(look(&mut waited_for), Poll::Pending);
        drop(waited_for);
        assert_eq!(counts(), (1, 0));
        drop(forgotten);
        assert_eq!(counts(), (1, 1));
    }
}
