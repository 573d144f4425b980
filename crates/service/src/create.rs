//! PUT: a stream is created, or found to be there already. A fork counts in its source with the same commit.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Conflict, Missing, Refusal, Unavailable,
    content_type::ContentType,
    fork::ForkRequest,
    op::create::{self, Create, Created, ForkPoint, Payload, Site},
    response::Response,
    stream::StreamHead,
};

use crate::{
    Inner, chunks,
    commit::Alteration,
    transact::{Decision, Locked, LockedStream, Transaction},
};

/// A creation whose body is here.
struct Creating<'a> {
    create: &'a Create,
    payload: &'a Payload,
}

/// The outcome of one attempt to create a stream.
enum Attempt {
    /// The stream is created, or was there already.
    Done(Created),
    /// A stream that is over has to be removed first.
    Expired,
    /// The payload has to be prepared for this content type first, which a fork inherits.
    Prepare(ContentType),
}

impl Inner {
    pub(crate) async fn create<B>(self: &Arc<Self>, create: &Create, body: B) -> Result<Response, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let body = self.receive(body).await?;
        let mut payload = create.prepare(body.clone(), None);
        let source = create.fork.as_ref().map(|fork| &fork.source).filter(|source| **source != create.name);
        loop {
            match self.transact(&create.name, source, Creating { create, payload: &payload }).await? {
                Attempt::Done(created) => return Ok(create.respond(&created)),
                Attempt::Expired => self.expire(&create.name).await?,
                Attempt::Prepare(inherited) => payload = create.prepare(body.clone(), Some(&inherited)),
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
        let head = head.ok_or(Missing::ForkSource)?;
        head.usable(now_ms).map_err(|missing| match missing {
            Missing::Gone => Refusal::from(Conflict::ForkSourceDeleted),
            _ => Missing::ForkSource.into(),
        })?;
        let mut position = request.anchor(head)?;
        if let Some(source) = source.filter(|_| request.sub_offset > 0) {
            // The bytes that a sub-offset counts may still be on their way to the disk. If they don't arrive, this
            // refusal is not final.
            if !source.is_durable().await {
                return Err(Unavailable::StorageFailed.into());
            }
            let next_append = chunks::next_append(&*self.store, head, position).await?;
            position += request.sub_bytes(&head.content_type, &next_append)?;
        }
        Ok(ForkPoint { source: head, position })
    }
}

impl Transaction for Creating<'_> {
    type Value = Attempt;

    async fn decide(
        &self,
        service: &Inner,
        locked: &mut Locked<'_>,
    ) -> Result<Decision<Self::Value>, Refusal> {
        let Self { create, payload } = *self;
        let now_ms = service.clock.wall_ms();
        match create.site(locked.stream.head().as_deref(), now_ms)? {
            Site::Free => {}
            Site::Expired => return Ok(Decision::Keep(Attempt::Expired)),
            Site::Same(created) => return Ok(Decision::Keep(Attempt::Done(created))),
        }
        let source = locked.other.as_ref();
        let source_head = source.and_then(LockedStream::head);
        let fork = match &create.fork {
            Some(request) => Some(service.fork_point(request, source, source_head.as_deref(), now_ms).await?),
            None => None,
        };
        Ok(match create.decide(payload, fork, service.next_incarnation(), now_ms)? {
            create::Decision::Create(creation) => {
                let done = Attempt::Done(creation.ack);
                Decision::Commit(Alteration::Put(creation.change), creation.source, done)
            }
            create::Decision::Prepare(content_type) => Decision::Keep(Attempt::Prepare(content_type)),
        })
    }
}
