//! PUT: a stream is created, or found to be there already. A fork counts in its source with the same commit.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Refusal,
    fork::ForkRequest,
    op::create::{Create, Created, ForkPoint, Site},
    response::ResponseHead,
    stream::StreamHead,
};

use crate::{
    Inner, chunks,
    commit::Alteration,
    transact::{Decision, Locked, LockedStream, Transaction},
};

/// A creation whose body is here. Its value is `None` if a stream that is over has to be removed first.
struct Creating<'a> {
    create: &'a Create,
    body: &'a Bytes,
}

impl Inner {
    pub(crate) async fn create<B>(self: &Arc<Self>, create: &Create, body: B) -> Result<ResponseHead, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let body = self.receive(body).await?;
        let source = create.fork.as_ref().map(|fork| &fork.source).filter(|source| **source != create.name);
        loop {
            match self.transact(&create.name, source, Creating { create, body: &body }).await? {
                Some(created) => return Ok(create.respond(&created)),
                None => self.expire(&create.name).await?,
            }
        }
    }

    /// Finds where a fork begins. The source stays as it is meanwhile: it is locked.
    async fn fork_point<'a>(
        &self,
        request: &ForkRequest,
        source: Option<&LockedStream<'_>>,
        head: Option<&'a StreamHead>,
        now_ms: u64,
    ) -> Result<ForkPoint<'a>, Refusal> {
        let head = StreamHead::usable(head, now_ms).map_err(|refusal| match refusal {
            Refusal::Gone => Refusal::ForkSourceDeleted,
            _ => Refusal::ForkSourceMissing,
        })?;
        let mut position = request.anchor(head)?;
        if let Some(source) = source.filter(|_| request.sub_offset > 0) {
            // The bytes that a sub-offset counts may still be on their way to the disk. If they don't arrive, this
            // refusal is not final.
            if !source.is_durable().await {
                return Err(Refusal::StorageFailed);
            }
            let next_append = chunks::next_append(&*self.store, head, position).await?;
            position += request.sub_bytes(&head.content_type, &next_append)?;
        }
        Ok(ForkPoint { source: head, position })
    }
}

impl Transaction for Creating<'_> {
    type Value = Option<Created>;

    async fn decide(
        &self,
        service: &Inner,
        locked: &mut Locked<'_>,
    ) -> Result<Decision<Self::Value>, Refusal> {
        let Self { create, body } = *self;
        let now_ms = service.clock.wall_ms();
        match create.site(locked.stream.head().as_deref(), now_ms)? {
            Site::Free => {}
            Site::Expired => return Ok(Decision::Keep(None)),
            Site::Same(created) => return Ok(Decision::Keep(Some(created))),
        }
        let source = locked.other.as_ref();
        let source_head = source.and_then(LockedStream::head);
        let fork = match &create.fork {
            Some(request) => Some(service.fork_point(request, source, source_head.as_deref(), now_ms).await?),
            None => None,
        };
        let creation = create.decide(body.clone(), fork, service.next_incarnation(), now_ms)?;
        Ok(Decision::Commit(Alteration::Put(creation.change), creation.source, Some(creation.ack)))
    }
}
