//! POST, done: the body is received and split outside of the lock; under it the rules decide and the commit is queued.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Refusal,
    op::append::{Append, Appended, Payload},
    producer::ProducerState,
    response::ResponseHead,
    stream::Verdict,
};
use tokio::sync::MutexGuard;

use crate::{
    Inner,
    commit::{Alteration, Outcome, Pending},
    streams::{OpenStream, Writer},
};

/// What was decided, once the writer's lock is given back.
enum Decided {
    /// A commit is queued.
    Commit(Pending, Appended),
    /// It was done before, by one of the first so many commits.
    Repeat(Appended, u64),
    /// Refused, because of the first so many commits.
    Refuse(Refusal, u64),
}

impl Inner {
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
            let producer = match &append.claim {
                None => None,
                Some(claim) => {
                    let producer = writer.producer(&stream, claim, &*self.store).await;
                    if stream.is_abandoned() {
                        continue;
                    }
                    producer?
                }
            };
            match self.decide_append(append, producer, payload.clone(), &stream, writer) {
                Decided::Commit(pending, ack) => match pending.durable().await? {
                    Outcome::Durable => return Ok(append.respond(&ack)),
                    Outcome::DecideAgain => {}
                },
                Decided::Repeat(ack, queued) => {
                    // What is repeated may not be durable yet, and its answer must not be given before that.
                    if !stream.durable(queued).await {
                        continue;
                    }
                    if let Some(durable) = stream.view().head {
                        self.touch(&stream, &durable, self.clock.wall_ms());
                    }
                    return Ok(append.respond(&ack));
                }
                Decided::Refuse(refusal, queued) => {
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

    fn decide_append(
        self: &Arc<Self>,
        append: &Append,
        producer: Option<ProducerState>,
        payload: Payload,
        stream: &Arc<OpenStream>,
        mut writer: MutexGuard<'_, Writer>,
    ) -> Decided {
        let head = writer.head.clone().map(|head| stream.current(head));
        match append.decide(head.as_deref(), producer, payload, self.clock.wall_ms()) {
            Verdict::Commit(change, ack) => {
                let parts = vec![(stream, &mut *writer, Alteration::Put(change))];
                Decided::Commit(self.commit(parts), ack)
            }
            Verdict::Repeat(ack) => Decided::Repeat(ack, writer.queued),
            Verdict::Refuse(refusal) => Decided::Refuse(refusal, writer.queued),
        }
    }
}
