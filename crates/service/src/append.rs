//! POST: the body is checked and split outside of the lock; under it the rules decide and the commit is queued.

use std::sync::Arc;

use bytes::Bytes;
use headwater_protocol::{
    Refusal,
    op::append::{Append, Appended, Payload},
    response::Response,
    stream::Verdict,
};

use crate::{
    commit::Alteration,
    open_stream::OpenStream,
    transact::{Decision, Locked, Transaction},
    writes::Writes,
};

/// An append whose body is here. Its value has the stream if the append is a repetition.
struct Appending<'a> {
    append: &'a Append,
    payload: Payload,
}

impl Writes {
    pub(crate) async fn append(self: &Arc<Self>, append: &Append, body: Bytes) -> Result<Response, Refusal> {
        let payload = if append.splits_body() {
            let share = self.bodies.budget.try_take(body.len() as u64 + 1)?;
            append.prepare(body)?.map_stored(|stored| share.hold(stored))
        } else {
            append.prepare(body)?
        };
        let (ack, repeated) = self.transact(&append.name, None, Appending { append, payload }).await?;
        // A repetition changes nothing, but it is a use of the stream.
        if let Some(stream) = repeated
            && let Some(durable) = stream.view().head
        {
            self.touch(&stream, &durable, self.calendar.now_ms());
        }
        Ok(append.respond(&ack))
    }
}

impl Transaction for Appending<'_> {
    type Value = (Appended, Option<Arc<OpenStream>>);

    async fn decide(
        &self,
        writes: &Writes,
        locked: &mut Locked<'_>,
    ) -> Result<Decision<Self::Value>, Refusal> {
        let stream = &mut locked.stream;
        let producer = match &self.append.claim {
            Some(claim) => stream.writer.producer(stream.stream, claim, &*writes.store).await?,
            None => None,
        };
        let now_ms = writes.calendar.now_ms();
        match self.append.decide(stream.head().as_deref(), producer, self.payload.clone(), now_ms) {
            Verdict::Commit(change, ack) => Ok(Decision::Commit(Alteration::Put(change), None, (ack, None))),
            Verdict::Repeat(ack) => Ok(Decision::Keep((ack, Some(stream.stream.clone())))),
            Verdict::Refuse(refusal) => Err(refusal),
        }
    }
}
