//! From a decision to durability: a commit is queued, the writers' heads advance, and it is published when it is
//! durable, even if the request is gone by then.

use std::{mem, sync::Arc};

use headwater_protocol::{
    Refusal,
    stream::{Change, StreamHead},
};
use headwater_store::{Commit, Edit, StoreError, Ticket};

use crate::{
    open_stream::{OpenStream, Writer},
    refusal::refuse,
    subscriptions::{CommitWithLinks, InFlightLinks},
    writes::Writes,
};

/// A stream, its locked writer and what a commit does to it.
pub(crate) type Part<'a> = (&'a Arc<OpenStream>, &'a mut Writer, Alteration);

/// What a commit does to a stream.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are Put")]
pub(crate) enum Alteration {
    /// The stream is created or changed.
    Put(Change),
    /// The stream is removed.
    Remove,
}

impl Alteration {
    /// Changes the state of the stream, and appends nothing.
    pub(crate) const fn state(head: StreamHead) -> Self {
        Self::Put(Change::of_head(head))
    }
}

/// A queued commit. If its future is dropped because the client went away, a task publishes the commit.
#[must_use]
pub(crate) struct Pending {
    writes: Arc<Writes>,
    ticket: Option<Ticket>,
    publications: Vec<Publication>,
    bytes: u64,
    queued_us: u64,
    links: InFlightLinks,
}

struct Publication {
    stream: Arc<OpenStream>,
    queued: u64,
    head: Option<Arc<StreamHead>>,
}

impl Writes {
    /// Queues one commit that alters streams whose writers are locked, and has edits of documents in it.
    pub(crate) fn commit<'a>(
        self: &Arc<Self>,
        parts: impl IntoIterator<Item = Part<'a>>,
        edits: Vec<Edit>,
    ) -> Pending {
        let mut commit = CommitWithLinks::new(edits);
        let mut publications = Vec::with_capacity(1);
        let mut bytes = 0;
        for (stream, writer, alteration) in parts {
            let name = stream.name.clone();
            let expected = writer.head.as_ref().map_or(0, |head| head.version);
            let change = match &alteration {
                Alteration::Put(change) => Some(change),
                Alteration::Remove => None,
            };
            if let Some(subscriptions) = self.subscriptions.get() {
                subscriptions.add_link_edits(stream, writer.head.as_deref(), change, &mut commit);
            }
            bytes += change.map_or(0, |change| change.bytes.len() as u64);
            writer.advance(change);
            publications.push(Publication {
                stream: stream.clone(),
                queued: writer.queued,
                head: writer.head.clone(),
            });
            commit.edits.push(match alteration {
                Alteration::Put(change) => Edit::Put { name, expected, change },
                Alteration::Remove => Edit::Remove { name, expected },
            });
        }
        let queued_us = self.clock.now_us();
        let ticket = Some(self.store.commit(Commit::new(commit.edits)));
        let links = commit.links;
        Pending { writes: self.clone(), ticket, publications, links, bytes, queued_us }
    }
}

/// The result of a commit.
#[must_use]
pub(crate) enum Outcome {
    /// The commit is durable and visible.
    Durable,
    /// A commit that this one was based on has failed, so that nothing was done: the streams have to be opened again.
    DecideAgain,
}

impl Pending {
    /// Resolves when the commit is durable and visible, or has failed.
    pub(crate) async fn durable(mut self) -> Result<Outcome, Refusal> {
        let result = match &mut self.ticket {
            Some(ticket) => ticket.await,
            None => return Ok(Outcome::Durable),
        };
        self.ticket = None;
        self.finish(result)
    }

    fn finish(&mut self, result: Result<(), StoreError>) -> Result<Outcome, Refusal> {
        let subscriptions = self.writes.subscriptions.get();
        if let Some(subscriptions) = subscriptions {
            subscriptions.resolved(mem::take(&mut self.links), result.is_ok());
        }
        for Publication { stream, queued, head } in mem::take(&mut self.publications) {
            match &result {
                Ok(()) => {
                    stream.publish(queued, head);
                    if let Some(subscriptions) = subscriptions {
                        subscriptions.published(&stream);
                    }
                }
                Err(_) => self.writes.streams.abandon(&stream),
            }
        }
        match result {
            Ok(()) => {
                let took_us = self.writes.clock.now_us().saturating_sub(self.queued_us);
                self.writes.metrics.committed(took_us, self.bytes);
                Ok(Outcome::Durable)
            }
            Err(StoreError::Stale { .. }) => Ok(Outcome::DecideAgain),
            Err(error) => {
                self.writes.metrics.commit_failed();
                Err(refuse(error))
            }
        }
    }

    /// Lets the commit become durable and visible without waiting for it.
    pub(crate) fn detach(self) {
        drop(self);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let (writes, publications) = (self.writes.clone(), mem::take(&mut self.publications));
            // The task's copy has no ticket: a runtime that is shutting down drops the task, which must end here.
            let links = mem::take(&mut self.links);
            let mut pending = Self { writes, ticket: None, publications, links, ..*self };
            let runtime = self.writes.runtime.clone();
            runtime.spawn(async move { pending.finish(ticket.await).map(drop) });
        }
    }
}
