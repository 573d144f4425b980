//! Tickets: what a commit gives back at once, and what resolves when the commit is durable.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::StoreError;

/// A future that resolves when its commit is durable or has failed.
#[derive(Debug)]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Ready(Result<(), StoreError>),
    Waiting(oneshot::Receiver<Result<(), StoreError>>),
}

/// The other end of a ticket. Dropping it fails the ticket.
#[derive(Debug)]
pub struct TicketSender(oneshot::Sender<Result<(), StoreError>>);

impl Ticket {
    /// A ticket that is resolved already.
    #[must_use]
    pub const fn ready(result: Result<(), StoreError>) -> Self {
        Self(State::Ready(result))
    }

    /// A ticket and the end that resolves it.
    #[must_use]
    pub fn pending() -> (TicketSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (TicketSender(sender), Self(State::Waiting(receiver)))
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
        match &mut self.0 {
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
    use std::{pin::pin, task::Waker};

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
}
