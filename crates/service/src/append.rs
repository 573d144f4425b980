//! POST, done: the body is received and split outside of the lock; under it the rules decide and the commit is queued.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{Refusal, op::append::Append, response::ResponseHead, stream::Verdict};
use headwater_store::Store;

use crate::{
    Inner,
    commit::{Alteration, Outcome},
};

impl<S: Store> Inner<S> {
    pub(crate) async fn append<B>(self: &Arc<Self>, append: &Append, body: B) -> Result<ResponseHead, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let payload = append.prepare(self.receive(body).await?)?;
        loop {
            let stream = self.open(&append.name).await?;
            let mut writer = stream.lock().await;
            if stream.is_abandoned() {
                continue;
            }
            let producer = writer.producer(&stream, append.claim.as_ref(), &self.store).await;
            if stream.is_abandoned() {
                continue;
            }
            let producer = producer?;
            let now_ms = self.clock.now_ms();
            let head = writer.head.as_ref().map(|head| stream.current(head));
            match append.decide(head.as_deref(), producer, payload.clone(), now_ms) {
                Verdict::Commit(change, ack) => {
                    let pending = self.commit(vec![(&stream, &mut *writer, Alteration::Put(change))]);
                    drop(writer);
                    match pending.durable().await? {
                        Outcome::Durable => return Ok(append.respond(&ack)),
                        Outcome::DecideAgain => {}
                    }
                }
                Verdict::Repeat(ack) => {
                    let queued = writer.queued;
                    drop(writer);
                    // What is repeated may not be durable yet, and its answer must not be given before that.
                    if !stream.durable(queued).await {
                        continue;
                    }
                    self.touch(&stream, now_ms);
                    return Ok(append.respond(&ack));
                }
                Verdict::Refuse(refusal) => {
                    let queued = writer.queued;
                    drop(writer);
                    // Nor may what it is refused for, and then it has to be decided again.
                    if !stream.durable(queued).await {
                        continue;
                    }
                    self.forget(stream, &refusal);
                    return Err(refusal);
                }
            }
        }
    }
}
