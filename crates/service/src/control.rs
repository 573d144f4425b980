//! What the service does for its subscriptions: it starts them, receives their requests, and appends their wake events.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use headwater_protocol::{
    Missing, Refusal, Unavailable,
    op::{append::Append, subscription::Control},
    path::StreamName,
    response::Response,
    stream::Verdict,
    subscription::CONTROL_BODY_BYTES_MAX,
};
use headwater_store::{Edit, StoreError};

use crate::{
    Inner,
    commit::Alteration,
    subscriptions::{self, Core, Subscriptions, WakeEvents},
    transact::{Decision, Locked, Transaction},
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
    pub(crate) async fn control<B>(&self, control: Control, body: B) -> Result<Response, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let subscriptions = self.subscriptions.get().ok_or(Missing::NotFound)?;
        let body = if subscriptions::has_body(&control) {
            self.bodies.collect(body, &self.config, CONTROL_BODY_BYTES_MAX, &*self.clock).await?
        } else {
            Bytes::new()
        };
        subscriptions.execute(control, body).await
    }
}

impl WakeEvents for Inner {
    fn append(
        self: Arc<Self>,
        stream: StreamName,
        event: Bytes,
        edits: Vec<Edit>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(async move { self.transact(&stream, None, AppendingEvent { event, edits }).await })
    }
}

/// The append of a wake event, with the documents of the wake.
struct AppendingEvent {
    event: Bytes,
    edits: Vec<Edit>,
}

impl Transaction for AppendingEvent {
    type Value = ();

    fn edits(&self) -> Vec<Edit> {
        self.edits.clone()
    }

    async fn decide(&self, service: &Inner, locked: &mut Locked<'_>) -> Result<Decision<()>, Refusal> {
        let now_ms = service.clock.wall_ms();
        let (name, head) = (&locked.stream.stream.name, locked.stream.head());
        let head = head.as_deref().ok_or(Missing::NotFound)?.usable(now_ms)?;
        let append = Append::of_event(name.clone(), head.content_type.clone());
        let payload = append.prepare(self.event.clone())?;
        match append.decide(Some(head), None, payload, now_ms) {
            Verdict::Commit(change, _) => Ok(Decision::Commit(Alteration::Put(change), None, ())),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Repeat(_) => Err(Unavailable::StorageFailed.into()),
        }
    }
}
