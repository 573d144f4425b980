//! Tickets: a commit returns one at once, and it resolves when the commit is durable.

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
    group: Option<Group>,
    has_yielded: bool,
}

#[derive(Debug)]
enum State {
    Ready(Result<(), StoreError>),
    Waiting(oneshot::Receiver<Result<(), StoreError>>),
}

/// A store with leader/follower group commit, as RocksDB and MySQL have it: one thread, the leader, makes all queued
/// commits durable at once. A waiting request may become the leader, which saves two changes of thread.
pub trait GroupCommit: Send + Sync {
    /// Makes the queued commits durable on this thread if that is quick, or hands them off. A waiting ticket calls it
    /// after everything else that was ready has run.
    fn commit_inline(&self);
    /// Hands the queued commits off to another thread. A ticket that is dropped before it has waited calls it.
    fn hand_off(&self);
}

struct Group(Arc<dyn GroupCommit>);

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group")
    }
}

/// The end of a ticket that resolves it. Dropping it fails the ticket.
#[derive(Debug)]
pub struct TicketSender(oneshot::Sender<Result<(), StoreError>>);

impl Ticket {
    /// Makes a ticket that is resolved already.
    #[must_use]
    pub const fn ready(result: Result<(), StoreError>) -> Self {
        Self { state: State::Ready(result), group: None, has_yielded: false }
    }

    /// Makes a ticket and the end that resolves it.
    #[must_use]
    pub fn pending() -> (TicketSender, Self) {
        Self::with_group(None)
    }

    /// Makes a ticket whose waiting task may become the leader of a group commit, and the end that resolves it.
    #[must_use]
    pub fn pending_in(group: Arc<dyn GroupCommit>) -> (TicketSender, Self) {
        Self::with_group(Some(Group(group)))
    }

    fn with_group(group: Option<Group>) -> (TicketSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (TicketSender(sender), Self { state: State::Waiting(receiver), group, has_yielded: false })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(Group(group)) = self.group.take() {
            group.hand_off();
        }
    }
}

impl TicketSender {
    /// Resolves the ticket. Nothing happens if it was dropped: the commit stands all the same.
    pub fn resolve(self, result: Result<(), StoreError>) {
        let _ = self.0.send(result);
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.group.is_some() && !self.has_yielded {
            // Others that are ready can join the batch.
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(Group(group)) = self.group.take() {
            group.commit_inline();
        }
        match &mut self.state {
            State::Ready(result) => Poll::Ready(result.clone()),
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|received| {
                let lost = || StoreError::in_doubt("the store stopped before the commit ended");
                received.unwrap_or_else(|_| Err(lost()))
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

    fn poll(ticket: &mut Ticket) -> Poll<Result<(), StoreError>> {
        pin!(ticket).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_ticket_waits_for_its_sender_and_fails_without_it() {
        let (sender, mut ticket) = Ticket::pending();
        assert_eq!(poll(&mut ticket), Poll::Pending);
        sender.resolve(Err(StoreError::Full));
        assert_eq!(poll(&mut ticket), Poll::Ready(Err(StoreError::Full)));
        let (sender, mut ticket) = Ticket::pending();
        drop(sender);
        assert!(matches!(poll(&mut ticket), Poll::Ready(Err(StoreError::InDoubt(_)))));
        assert_eq!(poll(&mut Ticket::ready(Ok(()))), Poll::Ready(Ok(())));
    }

    #[derive(Default)]
    struct Counted {
        inline: AtomicU64,
        handed_off: AtomicU64,
    }

    impl GroupCommit for Counted {
        fn commit_inline(&self) {
            self.inline.fetch_add(1, Ordering::Relaxed);
        }
        fn hand_off(&self) {
            self.handed_off.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn commits_are_led_once_by_a_waiting_task_or_handed_off() {
        let store = Arc::new(Counted::default());
        let counts = || (store.inline.load(Ordering::Relaxed), store.handed_off.load(Ordering::Relaxed));
        let (_sender, mut waited_for) = Ticket::pending_in(store.clone());
        let (_other_sender, forgotten) = Ticket::pending_in(store.clone());
        assert_eq!(poll(&mut waited_for), Poll::Pending);
        assert_eq!(counts(), (0, 0), "others may go first");
        assert_eq!(poll(&mut waited_for), Poll::Pending);
        assert_eq!(poll(&mut waited_for), Poll::Pending);
        drop(waited_for);
        assert_eq!(counts(), (1, 0));
        drop(forgotten);
        assert_eq!(counts(), (1, 1));
    }
}
