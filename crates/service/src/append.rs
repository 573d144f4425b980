//! POST: the body is received and split outside of the lock; under it the rules decide and the commit is queued.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{Refusal, op::append::Append, response::ResponseHead, stream::Verdict};

use crate::{Inner, commit::Alteration, transact::Decision};

impl Inner {
    pub(crate) async fn append<B>(self: &Arc<Self>, append: &Append, body: B) -> Result<ResponseHead, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let payload = append.prepare(self.receive(body).await?)?;
        let appended = self.transact(&append.name, None, async |locked| {
            let producer = match &append.claim {
                Some(claim) => locked.stream.producer(claim, &*self.store).await?,
                None => None,
            };
            let head = locked.stream.head();
            match append.decide(head.as_deref(), producer, payload.clone(), self.clock.wall_ms()) {
                Verdict::Commit(change, ack) => {
                    Ok(Decision::Commit(Alteration::Put(change), None, (ack, None)))
                }
                Verdict::Repeat(ack) => Ok(Decision::Keep((ack, Some(locked.stream.stream.clone())))),
                Verdict::Refuse(refusal) => Err(refusal),
            }
        });
        let (ack, repeated) = appended.await?;
        // A repetition changes nothing, but it is a use of the stream.
        if let Some(stream) = repeated
            && let Some(durable) = stream.view().head
        {
            self.touch(&stream, &durable, self.clock.wall_ms());
        }
        Ok(append.respond(&ack))
    }
}
