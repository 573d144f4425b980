//! POST: the body is received and split outside of the lock; under it the rules decide and the commit is queued.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Refusal,
    op::append::{Append, Appended, Payload},
    response::Response,
    stream::Verdict,
};

use crate::{
    Inner,
    commit::Alteration,
    streams::OpenStream,
    transact::{Decision, Locked, Transaction},
};

/// An append whose body is here. Its value has the stream if the append is a repetition.
struct Appending<'a> {
    append: &'a Append,
    payload: Payload,
}

impl Inner {
    pub(crate) async fn append<B>(self: &Arc<Self>, append: &Append, body: B) -> Result<Response, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let payload = append.prepare(self.receive(body).await?)?;
        let (ack, repeated) = self.transact(&append.name, None, Appending { append, payload }).await?;
        // A repetition changes nothing, but it is a use of the stream.
        if let Some(stream) = repeated
            && let Some(durable) = stream.view().head
        {
            self.touch(&stream, &durable, self.clock.wall_ms());
        }
        Ok(append.respond(&ack))
    }
}

impl Transaction for Appending<'_> {
    type Value = (Appended, Option<Arc<OpenStream>>);

    async fn decide(
        &self,
        service: &Inner,
        locked: &mut Locked<'_>,
    ) -> Result<Decision<Self::Value>, Refusal> {
        let stream = &mut locked.stream;
        let producer = match &self.append.claim {
            Some(claim) => stream.writer.producer(stream.stream, claim, &*service.store).await?,
            None => None,
        };
        let now_ms = service.clock.wall_ms();
        match self.append.decide(stream.head().as_deref(), producer, self.payload.clone(), now_ms) {
            Verdict::Commit(change, ack) => Ok(Decision::Commit(Alteration::Put(change), None, (ack, None))),
            Verdict::Repeat(ack) => Ok(Decision::Keep((ack, Some(stream.stream.clone())))),
            Verdict::Refuse(refusal) => Err(refusal),
        }
    }
}
