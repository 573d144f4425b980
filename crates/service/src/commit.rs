//! From a decision to durability: queue the commit, advance the writers' heads, and publish when it is durable,
//! whoever still waits for it.

use std::{mem, sync::Arc};

use headwater_protocol::{
    Refusal,
    stream::{Change, StreamHead},
};
use headwater_store::{Commit, Edit, StoreError, Ticket};

use crate::{
    refusal::refuse,
    streams::{OpenStream, Writer},
    subscriptions::{CommitWithLinks, InFlightLinks},
    writes::Writes,
};

/// A stream, its locked writer and what a commit does to it.
pub(crate) type Part<'a> = (&'a Arc<OpenStream>, &'a mut Writer, Alteration);

/// What a commit does to a stream.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are Put")]
pub(crate) enum Alteration {
    /// The stream changes, or begins.
    Put(Change),
    /// The stream goes.
    Remove,
}

impl Alteration {
    /// The stream's state changes, and nothing is appended.
    pub(crate) const fn state(head: StreamHead) -> Self {
        Self::Put(Change::of_head(head))
    }
}

/// A queued commit. If its future is dropped, because a client went away, the commit is published all the same.
#[must_use]
pub(crate) struct Pending {
    writes: Arc<Writes>,
    ticket: Option<Ticket>,
    publications: Vec<Publication>,
    bytes: u64,
    begun_us: u64,
    links: InFlightLinks,
}

struct Publication {
    stream: Arc<OpenStream>,
    queued: u64,
    head: Option<Arc<StreamHead>>,
}

impl Writes {
    /// Queues one commit that alters some streams, whose writers the caller has locked.
    pub(crate) fn commit<'a>(self: &Arc<Self>, parts: impl IntoIterator<Item = Part<'a>>) -> Pending {
        self.commit_with(parts, Vec::new())
    }

    /// Queues one commit that alters some streams, whose writers the caller has locked, and has more edits.
    pub(crate) fn commit_with<'a>(
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
            if let Some(subscriptions) = self.subscriptions.get() {
                let change = match &alteration {
                    Alteration::Put(change) => Some(change),
                    Alteration::Remove => None,
                };
                subscriptions.add_link_edits(stream, writer.head.as_deref(), change, &mut commit);
            }
            writer.head = match &alteration {
                Alteration::Put(change) => {
                    bytes += change.bytes.len() as u64;
                    if let Some((id, state)) = &change.producer {
                        writer.note_producer(id.clone(), *state);
                    }
                    Some(Arc::new(change.head.clone()))
                }
                Alteration::Remove => {
                    writer.forget_producers();
                    None
                }
            };
            writer.queued += 1;
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
        let begun_us = self.clock.now_us();
        let ticket = Some(self.store.commit(Commit::new(commit.edits)));
        let links = commit.links;
        Pending { writes: self.clone(), ticket, publications, links, bytes, begun_us }
    }
}

/// How a commit ended.
#[must_use]
pub(crate) enum Outcome {
    /// It is durable and visible.
    Durable,
    /// One that it was decided on has failed, so that nothing was done: open the streams again and decide anew.
    DecideAgain,
}

impl Pending {
    /// Resolves when the commit is durable and visible, or never will be.
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
                let took_us = self.writes.clock.now_us().saturating_sub(self.begun_us);
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
            // Without its ticket: a runtime that is about to end drops what it is given.
            let links = mem::take(&mut self.links);
            let mut pending = Self { writes, ticket: None, publications, links, ..*self };
            let runtime = self.writes.runtime.clone();
            runtime.spawn(async move { pending.finish(ticket.await).map(drop) });
        }
    }
}
