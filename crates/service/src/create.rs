//! PUT: a stream is created, or found to be there already. A fork counts in its source with the same commit.

use std::sync::Arc;

use bytes::Bytes;
use headwater_protocol::{
    Conflict, ContentType, Missing, Refusal, Unavailable,
    fork::ForkRequest,
    op::create::{self, Create, Created, Creation, ForkPoint, Payload, Site},
    response::Response,
    stream::StreamHead,
};

use crate::{
    commit::Alteration,
    open_stream::OpenStream,
    pieces,
    transact::{Decision, Locked, LockedStream, Transaction},
    writes::Writes,
};

/// A creation whose body is prepared.
struct Creating<'a> {
    create: &'a Create,
    payload: &'a Payload,
}

/// The outcome of a creation.
enum Step {
    /// The stream is new.
    Created(Created),
    /// It was there before.
    Same(Created, Arc<OpenStream>),
    /// A stream that is over has to be removed first.
    Expired,
    /// The body has to be prepared for this content type, which the fork's source has.
    Prepare(ContentType),
}

impl Writes {
    pub(crate) async fn create(self: &Arc<Self>, create: &Create, body: Bytes) -> Result<Response, Refusal> {
        let source = create.fork.as_ref().map(|fork| &fork.source).filter(|source| **source != create.name);
        let mut payload = self.prepare(create, body.clone(), None)?;
        loop {
            match self.transact(&create.name, source, Creating { create, payload: &payload }).await? {
                Step::Created(created) => return Ok(create.respond(&created)),
                Step::Same(created, stream) => {
                    // A repetition changes nothing, but it is a use of the stream.
                    if let Some(durable) = stream.view().head {
                        self.touch(&stream, &durable, self.calendar.now_ms());
                    }
                    return Ok(create.respond(&created));
                }
                Step::Expired => self.expire(&create.name).await?,
                Step::Prepare(content_type) => {
                    payload = self.prepare(create, body.clone(), Some(&content_type))?;
                }
            }
        }
    }

    /// Makes the stored form of a body. A copy of it counts as the body does.
    fn prepare(
        &self,
        create: &Create,
        body: Bytes,
        inherited: Option<&ContentType>,
    ) -> Result<Payload, Refusal> {
        if !create.splits_body(inherited) {
            return Ok(create.prepare(body, inherited));
        }
        let share = self.bodies.budget.try_take(body.len() as u64 + 1)?;
        Ok(create.prepare(body, inherited).map_stored(|stored| share.hold(stored)))
    }

    /// Finds where a fork begins. The source stays as it is meanwhile: it is locked.
    async fn fork_point<'a>(
        &self,
        request: &ForkRequest,
        source: Option<&LockedStream<'_>>,
        head: Option<&'a StreamHead>,
        now_ms: u64,
    ) -> Result<ForkPoint<'a>, Refusal> {
        let head = head.ok_or(Missing::ForkSource)?.usable(now_ms).map_err(|missing| match missing {
            Missing::Gone => Refusal::from(Conflict::ForkSourceDeleted),
            _ => Missing::ForkSource.into(),
        })?;
        let mut position = request.anchor(head)?;
        if let Some(source) = source.filter(|_| request.sub_offset > 0) {
            // The bytes that a sub-offset counts may still be on their way to the disk. If they don't arrive, this
            // refusal is not final.
            if !source.wait_durable().await {
                return Err(Unavailable::StorageFailed.into());
            }
            let next_append = pieces::next_append(&*self.store, &self.responses, head, position).await?;
            position += request.sub_bytes(&head.content_type, &next_append)?;
        }
        Ok(ForkPoint { source: head, position })
    }
}

impl Transaction for Creating<'_> {
    type Value = Step;

    async fn decide(&self, writes: &Writes, locked: &mut Locked<'_>) -> Result<Decision<Step>, Refusal> {
        let Self { create, payload } = *self;
        let now_ms = writes.calendar.now_ms();
        match create.site(locked.stream.head().as_deref(), now_ms)? {
            Site::Free => {}
            Site::Expired => return Ok(Decision::Keep(Step::Expired)),
            Site::Same(created) => {
                return Ok(Decision::Keep(Step::Same(created, locked.stream.stream.clone())));
            }
        }
        let source = locked.other.as_ref();
        let source_head = source.and_then(LockedStream::head);
        let fork = match &create.fork {
            Some(request) => Some(writes.fork_point(request, source, source_head.as_deref(), now_ms).await?),
            None => None,
        };
        let incarnation = writes.incarnations.next(writes.clock.wall_us()).ok_or(Unavailable::StorageFull)?;
        Ok(match create.decide(payload, fork, incarnation, now_ms)? {
            create::Decision::Create(Creation { change, source, ack }) => {
                Decision::Commit(Alteration::Put(change), source, Step::Created(ack))
            }
            create::Decision::Prepare(content_type) => Decision::Keep(Step::Prepare(content_type)),
        })
    }
}
