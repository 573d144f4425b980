//! DELETE and expiry: a stream is removed, its source counts one fork less, and a source that nothing needs any more is
//! removed too, up the chain.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    op::delete::{self, Delete, Removal},
    path::StreamName,
    response::Response,
    stream::{ForkOrigin, StreamHead},
};

use crate::{
    commit::Alteration,
    transact::{Decision, Locked, Transaction},
    writes::Writes,
};

/// A removal of a stream that was a fork of `origin` when it was looked at. Its value is `None` if it isn't any more.
struct Removing<'a> {
    reason: Reason<'a>,
    origin: Option<&'a ForkOrigin>,
}

#[derive(Clone, Copy)]
enum Reason<'a> {
    Request(&'a Delete),
    Expiry,
}

/// A removal that was done, or wasn't necessary.
struct Removed {
    /// The source that nothing needs any more.
    orphan: Option<StreamName>,
}

impl Writes {
    pub(crate) async fn delete(self: &Arc<Self>, delete: &Delete) -> Result<Response, Refusal> {
        let removed = self.remove(&delete.name, Reason::Request(delete)).await?;
        if let Some(orphan) = removed.orphan {
            self.expire(&orphan).await?;
        }
        Ok(delete.respond())
    }

    /// Removes a stream if it is over, and the sources that nothing needs any more because of that.
    pub(crate) async fn expire(self: &Arc<Self>, name: &StreamName) -> Result<(), Refusal> {
        let mut next = Some(name.clone());
        while let Some(name) = next {
            next = self.remove(&name, Reason::Expiry).await?.orphan;
        }
        Ok(())
    }

    async fn remove(self: &Arc<Self>, name: &StreamName, reason: Reason<'_>) -> Result<Removed, Refusal> {
        loop {
            let origin = self.streams.open(name).await?.view().head.and_then(|head| head.fork.clone());
            let source = origin.as_ref().map(|origin| &origin.source);
            let removing = Removing { reason, origin: origin.as_ref() };
            if let Some(removed) = self.transact(name, source, removing).await? {
                return Ok(removed);
            }
        }
    }
}

impl Transaction for Removing<'_> {
    type Value = Option<Removed>;

    async fn decide(
        &self,
        writes: &Writes,
        locked: &mut Locked<'_>,
    ) -> Result<Decision<Self::Value>, Refusal> {
        let head = locked.stream.head();
        // It may have been created again meanwhile, and then the streams to lock are others.
        if head.as_ref().and_then(|head| head.fork.as_ref()) != self.origin {
            return Ok(Decision::Keep(None));
        }
        let kept = Some(Removed { orphan: None });
        Ok(match self.reason.decide(head.as_deref(), writes.calendar.now_ms())? {
            None => Decision::Keep(kept),
            Some(Removal::Keep(head)) => Decision::Commit(Alteration::state(head), None, kept),
            Some(Removal::Remove) => {
                let source = self.source_without(locked);
                let orphan = self.origin.filter(|_| source.as_ref().is_some_and(StreamHead::is_unneeded));
                let removed = Removed { orphan: orphan.map(|origin| origin.source.clone()) };
                Decision::Commit(Alteration::Remove, source, Some(removed))
            }
        })
    }
}

impl Removing<'_> {
    /// Returns the source's head without this fork, unless the source has been created again since.
    fn source_without(&self, locked: &Locked<'_>) -> Option<StreamHead> {
        let head = locked.other.as_ref()?.writer.head.as_ref()?;
        (head.incarnation == self.origin?.source_incarnation).then(|| head.without_fork())
    }
}

impl Reason<'_> {
    fn decide(self, head: Option<&StreamHead>, now_ms: u64) -> Result<Option<Removal>, Refusal> {
        match self {
            Self::Request(delete) => Ok(Some(delete.decide(head, now_ms)?)),
            Self::Expiry => Ok(head.and_then(|head| delete::expire(head, now_ms))),
        }
    }
}
