//! DELETE and expiry: a stream is removed, its source counts one fork less, and a source that nothing needs any more is
//! removed too, up the chain.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    op::delete::{self, Delete, Removal},
    path::StreamName,
    response::ResponseHead,
    stream::StreamHead,
};

use crate::{Inner, commit::Alteration, transact::Decision};

/// A removal that was done.
struct Removed {
    /// The source that nothing needs any more.
    orphan: Option<StreamName>,
}

impl Inner {
    pub(crate) async fn delete(self: &Arc<Self>, delete: &Delete) -> Result<ResponseHead, Refusal> {
        let removed = self.remove(&delete.name, |head, now_ms| delete.decide(head, now_ms).map(Some)).await?;
        if let Some(orphan) = removed.orphan {
            self.expire(&orphan).await?;
        }
        Ok(delete.respond())
    }

    /// Removes a stream if it is over, and the sources that nothing needs any more because of that.
    pub(crate) async fn expire(self: &Arc<Self>, name: &StreamName) -> Result<(), Refusal> {
        let mut next = Some(name.clone());
        while let Some(name) = next {
            let decide =
                |head: Option<&StreamHead>, now_ms| Ok(head.and_then(|head| delete::expire(head, now_ms)));
            next = self.remove(&name, decide).await?.orphan;
        }
        Ok(())
    }

    /// Removes a stream as `decide` says, and discounts it in its source.
    async fn remove(
        self: &Arc<Self>,
        name: &StreamName,
        decide: impl Fn(Option<&StreamHead>, u64) -> Result<Option<Removal>, Refusal>,
    ) -> Result<Removed, Refusal> {
        loop {
            let origin = self.open(name).await?.view().head.and_then(|head| head.fork.clone());
            let source = origin.as_ref().map(|origin| &origin.source);
            let removed = self.transact(name, source, async |locked| {
                let head = locked.stream.head();
                // It may have been recreated, or be about to. Then the streams to lock are others.
                if head.as_ref().and_then(|head| head.fork.as_ref()) != origin.as_ref() {
                    return Ok(Decision::Keep(None));
                }
                let kept = Some(Removed { orphan: None });
                Ok(match decide(head.as_deref(), self.clock.wall_ms())? {
                    None => Decision::Keep(kept),
                    Some(Removal::Keep(head)) => Decision::Commit(Alteration::state(head), None, kept),
                    Some(Removal::Remove) => {
                        let source =
                            locked.other.as_ref().zip(origin.as_ref()).and_then(|(source, origin)| {
                                let head = source.writer.head.as_ref()?;
                                (head.incarnation == origin.source_incarnation).then(|| head.without_fork())
                            });
                        let orphan =
                            origin.as_ref().filter(|_| source.as_ref().is_some_and(StreamHead::is_unneeded));
                        let removed = Removed { orphan: orphan.map(|origin| origin.source.clone()) };
                        Decision::Commit(Alteration::Remove, source, Some(removed))
                    }
                })
            });
            if let Some(removed) = removed.await? {
                return Ok(removed);
            }
        }
    }
}
