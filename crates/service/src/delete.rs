//! DELETE and expiry, done: a stream goes, its source counts one fork less, and a source that nothing needs any
//! more goes too, up the chain.

use std::sync::Arc;

use bytes::Bytes;
use headwater_protocol::{
    Refusal,
    op::delete::{self, Delete, Removal},
    path::StreamName,
    response::ResponseHead,
    stream::{Change, StreamHead},
};

use crate::{
    Inner,
    commit::{Alteration, Outcome},
    create::lock_both,
};

impl Inner {
    pub(crate) async fn delete(self: &Arc<Self>, delete: &Delete) -> Result<ResponseHead, Refusal> {
        let orphan = self.remove(&delete.name, |head, now_ms| delete.decide(head, now_ms).map(Some)).await?;
        if let Some(orphan) = orphan {
            self.expire(&orphan).await?;
        }
        Ok(delete.respond())
    }

    /// Removes a stream if it is over, and whatever nothing needs any more because of that.
    pub(crate) async fn expire(self: &Arc<Self>, name: &StreamName) -> Result<(), Refusal> {
        let mut next = Some(name.clone());
        while let Some(name) = next {
            let decide =
                |head: Option<&StreamHead>, now_ms| Ok(head.and_then(|head| delete::expire(head, now_ms)));
            next = self.remove(&name, decide).await?;
        }
        Ok(())
    }

    /// Does what `decide` says. Gives the name of a source that nothing needs any more.
    async fn remove(
        self: &Arc<Self>,
        name: &StreamName,
        decide: impl Fn(Option<&StreamHead>, u64) -> Result<Option<Removal>, Refusal>,
    ) -> Result<Option<StreamName>, Refusal> {
        loop {
            let stream = self.open(name).await?;
            let origin = {
                let writer = stream.lock().await;
                writer.head.as_ref().and_then(|head| head.fork.clone())
            };
            let source = match &origin {
                Some(origin) => Some(self.open(&origin.source).await?),
                None => None,
            };
            let (mut writer, mut source_writer) = lock_both(&stream, source.as_ref()).await;
            let same_origin = writer.head.as_ref().and_then(|head| head.fork.as_ref()) == origin.as_ref();
            let abandoned =
                stream.is_abandoned() || source.as_ref().is_some_and(|source| source.is_abandoned());
            if abandoned || !same_origin {
                continue;
            }
            let now_ms = self.clock.wall_ms();
            let head = writer.head.clone().map(|head| stream.current(head));
            let removal = match decide(head.as_deref(), now_ms) {
                Ok(Some(removal)) => removal,
                Ok(None) => return Ok(None),
                Err(refusal) => {
                    let queued = writer.queued;
                    drop((writer, source_writer));
                    // What it is refused for may never become durable.
                    if !stream.durable(queued).await {
                        continue;
                    }
                    self.forget(stream, &refusal);
                    return Err(refusal);
                }
            };
            let mut orphan = None;
            let mut parts = match removal {
                Removal::Keep(head) => vec![(&stream, &mut *writer, Alteration::Put(state_only(head)))],
                Removal::Remove => vec![(&stream, &mut *writer, Alteration::Remove)],
            };
            let goes = parts.iter().any(|(_, _, part)| matches!(part, Alteration::Remove));
            if let (true, Some(origin), Some(source), Some(source_writer)) =
                (goes, &origin, &source, &mut source_writer)
            {
                let counted =
                    source_writer.head.as_ref().filter(|head| head.incarnation == origin.source_incarnation);
                if let Some(after) = counted.map(|head| head.without_fork()) {
                    orphan = after.is_unneeded().then(|| origin.source.clone());
                    parts.push((source, &mut **source_writer, Alteration::Put(state_only(after))));
                }
            }
            let pending = self.commit(parts);
            drop((writer, source_writer));
            match pending.durable().await? {
                Outcome::Durable => return Ok(orphan),
                Outcome::DecideAgain => {}
            }
        }
    }
}

fn state_only(head: StreamHead) -> Change {
    Change { head, bytes: Bytes::new(), producer: None }
}
