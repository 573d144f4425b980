//! What the service does for its subscriptions: it starts them, receives their requests, and appends their wake events.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use headwater_protocol::{
    Refusal,
    op::{append::Append, subscription::Control},
    path::StreamName,
    response::ResponseHead,
    stream::{Change, StreamHead, Verdict},
    subscription::CONTROL_BODY_BYTES_MAX,
};
use headwater_store::{Edit, StoreError};

use crate::{
    Body, Inner,
    commit::{Alteration, Outcome},
    subscriptions::{self, Core, Subscriptions, WakeEvents},
    webhooks::Webhooks,
};

impl Inner {
    /// Reads all subscriptions.
    pub(crate) async fn start_subscriptions(
        self: &Arc<Self>,
        webhooks: Option<Arc<dyn Webhooks>>,
    ) -> Result<(), StoreError> {
        let wake_events: Arc<dyn WakeEvents> = self.clone();
        let core = Core {
            store: self.store.clone(),
            clock: self.clock.clone(),
            limits: self.config.subscriptions.clone(),
            base_path: self.config.base_path.clone(),
            metrics: self.metrics.clone(),
            draining: self.draining.subscribe(),
            webhooks,
            wake_events: Arc::downgrade(&wake_events),
        };
        let started = Subscriptions::start(core).await?;
        // A second start keeps the first one's.
        let _ = self.subscriptions.set(started);
        Ok(())
    }

    /// Receives the body of a control request and has it executed.
    pub(crate) async fn control<B>(&self, control: Control, body: B) -> Result<(ResponseHead, Body), Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let subscriptions = self.subscriptions.get().ok_or(Refusal::NotFound)?;
        let body = if subscriptions::has_body(&control) {
            self.bodies.collect(body, &self.config, CONTROL_BODY_BYTES_MAX, &*self.clock).await?
        } else {
            Bytes::new()
        };
        let (head, body) = subscriptions.execute(control, body).await?;
        Ok((head, if body.is_empty() { Body::Empty } else { Body::Full(body) }))
    }

    async fn append_event(
        self: &Arc<Self>,
        name: &StreamName,
        event: Bytes,
        edits: Vec<Edit>,
    ) -> Result<(), Refusal> {
        loop {
            let stream = self.open(name).await?;
            let mut writer = stream.lock().await;
            if stream.is_abandoned() {
                continue;
            }
            let wall_ms = self.clock.wall_ms();
            let head = writer.head.clone().map(|head| stream.current(head));
            let pending = match decide_event(name, head.as_deref(), event.clone(), wall_ms) {
                Ok(change) => {
                    let parts = [(&stream, &mut *writer, Alteration::Put(change))];
                    self.commit_with(parts, edits.clone())
                }
                Err(refusal) => {
                    drop(writer);
                    self.forget(stream, &refusal);
                    return Err(refusal);
                }
            };
            drop(writer);
            match pending.durable().await? {
                Outcome::Durable => return Ok(()),
                Outcome::DecideAgain => {}
            }
        }
    }
}

impl WakeEvents for Inner {
    fn append(
        self: Arc<Self>,
        stream: StreamName,
        event: Bytes,
        edits: Vec<Edit>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(async move { self.append_event(&stream, event, edits).await })
    }
}

fn decide_event(
    name: &StreamName,
    head: Option<&StreamHead>,
    event: Bytes,
    wall_ms: u64,
) -> Result<Change, Refusal> {
    let head = StreamHead::usable(head, wall_ms)?;
    let append = Append::of_event(name.clone(), head.content_type.clone());
    let payload = append.prepare(event)?;
    match append.decide(Some(head), None, payload, wall_ms) {
        Verdict::Commit(change, _) => Ok(change),
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Repeat(_) => Err(Refusal::StorageFailed),
    }
}
