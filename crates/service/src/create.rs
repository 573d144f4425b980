//! PUT, done: both streams of a fork are locked in the order of their names, so that two forks can't wait for
//! each other.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Refusal,
    fork::ForkRequest,
    op::create::{Create, ForkPoint, Site},
    response::ResponseHead,
    stream::StreamHead,
};
use tokio::sync::MutexGuard;

use crate::{
    Inner, chunks,
    commit::{Alteration, Outcome},
    streams::{OpenStream, Writer},
};

impl Inner {
    pub(crate) async fn create<B>(self: &Arc<Self>, create: &Create, body: B) -> Result<ResponseHead, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let body = self.receive(body).await?;
        loop {
            let stream = self.open(&create.name).await?;
            let source = match create.fork.as_ref().filter(|fork| fork.source != create.name) {
                Some(fork) => Some(self.open(&fork.source).await?),
                None => None,
            };
            let (mut writer, mut source_writer) = lock_both(&stream, source.as_ref()).await;
            if stream.is_abandoned() || source.as_ref().is_some_and(|source| source.is_abandoned()) {
                continue;
            }
            let now_ms = self.clock.wall_ms();
            let head = writer.head.clone().map(|head| stream.current(head));
            match create.site(head.as_deref(), now_ms) {
                Ok(Site::Free) => {}
                Ok(Site::Expired) => {
                    drop((writer, source_writer));
                    self.expire(&create.name).await?;
                    continue;
                }
                Ok(Site::Same(ack)) => {
                    let queued = writer.queued;
                    drop((writer, source_writer));
                    if stream.durable(queued).await {
                        return Ok(create.respond(&ack));
                    }
                    continue;
                }
                Err(refusal) => {
                    let queued = writer.queued;
                    drop((writer, source_writer));
                    // What stands in the way may never become durable.
                    if stream.durable(queued).await {
                        return Err(refusal);
                    }
                    continue;
                }
            }
            let source_head = source
                .as_ref()
                .zip(source_writer.as_deref())
                .and_then(|(source, writer)| writer.head.clone().map(|head| source.current(head)));
            let fork = match &create.fork {
                Some(request) => {
                    let source_head = usable_source(source_head.as_deref(), now_ms)?;
                    let queued = source_writer.as_deref().map_or(0, |writer| writer.queued);
                    // The bytes that a sub-offset counts may still be on their way to the disk.
                    if let Some(source) = source.as_ref().filter(|_| request.sub_offset > 0)
                        && !source.durable(queued).await
                    {
                        continue;
                    }
                    let position = self.fork_position(request, source_head).await?;
                    Some(ForkPoint { source: source_head, position })
                }
                None => None,
            };
            let creation = create.decide(body.clone(), fork, self.next_incarnation(), now_ms)?;
            let mut parts = vec![(&stream, &mut *writer, Alteration::Put(creation.change))];
            if let (Some(source), Some(writer), Some(head)) = (&source, &mut source_writer, creation.source) {
                let change = headwater_protocol::stream::Change { head, bytes: Bytes::new(), producer: None };
                parts.push((source, &mut **writer, Alteration::Put(change)));
            }
            let pending = self.commit(parts);
            drop((writer, source_writer));
            match pending.durable().await? {
                Outcome::Durable => return Ok(create.respond(&creation.ack)),
                Outcome::DecideAgain => {}
            }
        }
    }

    async fn fork_position(&self, request: &ForkRequest, source_head: &StreamHead) -> Result<u64, Refusal> {
        let anchor = request.anchor(source_head)?;
        if request.sub_offset == 0 {
            return Ok(anchor);
        }
        let next_append = chunks::next_append(&*self.store, source_head, anchor).await?;
        Ok(anchor + request.sub_bytes(&source_head.content_type, &next_append)?)
    }
}

fn usable_source(source: Option<&StreamHead>, now_ms: u64) -> Result<&StreamHead, Refusal> {
    StreamHead::usable(source, now_ms).map_err(|refusal| match refusal {
        Refusal::Gone => Refusal::ForkSourceDeleted,
        _ => Refusal::ForkSourceMissing,
    })
}

/// Locks one or two streams, always in the order of their names.
pub(crate) async fn lock_both<'a>(
    stream: &'a OpenStream,
    other: Option<&'a Arc<OpenStream>>,
) -> (MutexGuard<'a, Writer>, Option<MutexGuard<'a, Writer>>) {
    match other {
        Some(other) if other.name < stream.name => {
            let second = other.lock().await;
            (stream.lock().await, Some(second))
        }
        Some(other) => {
            let first = stream.lock().await;
            (first, Some(other.lock().await))
        }
        None => (stream.lock().await, None),
    }
}
