//! Control requests, done. Each runs to its end once its body is here, whether or not the client still waits: what is
//! committed must become visible.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    Refusal,
    op::subscription::{Action, Control, read_streams, read_worker},
    response::ResponseHead,
    subscription::{
        CONTROL_BODY_BYTES_MAX, Serial, Subscription, SubscriptionId, SubscriptionRefusal,
        keys::Secret,
        view::{StreamView, respond_done},
        wake::Kind,
    },
};
use tokio::sync::OwnedSemaphorePermit;

use super::Subscriptions;
use crate::{Body, Inner};

/// The most control requests that are done at a time, if their bodies are small.
pub(super) const UNITS: usize = 1_024;
/// How much of a body counts as one request more, in bytes.
const UNIT_BYTES: usize = 16 << 10;

impl Subscriptions {
    /// Room for one more request to run to its end.
    fn room(&self, body: &[u8]) -> Result<OwnedSemaphorePermit, Refusal> {
        let units = u32::try_from(1 + body.len() / UNIT_BYTES).unwrap_or(u32::MAX);
        let room = self.controls.clone().try_acquire_many_owned(units);
        room.map_err(|_| Refusal::Overloaded { what: "control requests" })
    }
}

impl Inner {
    pub(crate) async fn control<B>(
        self: &Arc<Self>,
        control: Control,
        body: B,
    ) -> Result<(ResponseHead, Body), Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let subscriptions = self.subscriptions()?;
        let (id, action) = match control {
            Control::Keys => {
                let (head, body) = subscriptions.registry().keys.respond();
                return Ok((head, Body::Full(body)));
            }
            Control::Subscription(id, action) => (id, action),
        };
        let body = match action {
            Action::Read | Action::Delete | Action::Unlink(_) => Bytes::new(),
            _ => self.bodies.collect(body, &self.config, CONTROL_BODY_BYTES_MAX, &*self.clock).await?,
        };
        let (head, body) = if matches!(action, Action::Read) {
            // It changes nothing and waits for nothing.
            self.act(&id, action, &body).await?
        } else {
            let room = subscriptions.room(&body)?;
            let service = self.clone();
            let done = tokio::spawn(async move {
                let _room = room;
                service.act(&id, action, &body).await
            });
            // It can only have panicked, or the program ends.
            done.await.unwrap_or(Err(Refusal::StorageFailed))?
        };
        Ok((head, if body.is_empty() { Body::Empty } else { Body::Full(body) }))
    }

    async fn act(
        self: &Arc<Self>,
        id: &SubscriptionId,
        action: Action,
        body: &[u8],
    ) -> Result<(ResponseHead, Bytes), Refusal> {
        match action {
            Action::Create { root } => self.create_subscription(id, root, body).await,
            Action::Read => self.tell(id, false),
            Action::Delete => self.delete_subscription(id).await.map(|()| respond_done()),
            Action::Link => self.add_streams(id, read_streams(body)?).await.map(|()| respond_done()),
            Action::Unlink(name) => self.remove_stream(id, &name).await.map(|()| respond_done()),
            Action::Claim => self.claim(id, &read_worker(body)?).await,
            Action::Settle(settlement, bearer) => self.settle(id, settlement, &bearer, body).await,
        }
    }

    /// What a subscription is.
    pub(super) fn tell(&self, id: &SubscriptionId, is_new: bool) -> Result<(ResponseHead, Bytes), Refusal> {
        let now_ms = self.clock.now_ms();
        let (subscription, links, key) = {
            let registry = self.subscriptions()?.registry_now();
            let (_, entry) = registry.find(id).ok_or(SubscriptionRefusal::NotFound)?;
            // A lease may have ended since it was written.
            let subscription = Subscription { wakes: entry.wakes(now_ms), ..entry.subscription.clone() };
            (subscription, entry.all_links(), registry.keys.active(self.clock.wall_ms()).cloned())
        };
        let streams: Vec<_> = links.iter().map(|(name, link)| StreamView::cursor(name, link)).collect();
        Ok(subscription.respond(is_new, &streams, key.as_ref()))
    }

    /// The subscription of an id, if it is of that kind, and what its tokens are made with.
    pub(super) fn find(&self, id: &SubscriptionId, kind: Kind) -> Result<(Serial, Secret), Refusal> {
        let registry = self.subscriptions()?.registry();
        let (serial, entry) = registry.find(id).ok_or(SubscriptionRefusal::NotFound)?;
        if entry.kind() != kind {
            return Err(SubscriptionRefusal::Invalid("the subscription is of the other type".into()).into());
        }
        let secret = registry.common.as_ref().map(|common| common.secret.clone());
        Ok((serial, secret.ok_or(Refusal::StorageFailed)?))
    }
}
