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
        CONTROL_BODY_BYTES_MAX, Serial, SubscriptionId, SubscriptionRefusal,
        keys::Secret,
        view::{StreamView, respond_done},
        wake::Kind,
    },
};
use headwater_store::Store;

use crate::{Body, Inner};

impl<S: Store> Inner<S> {
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
        let service = self.clone();
        let done = tokio::spawn(async move { service.act(&id, action, &body).await }).await;
        // It can only have panicked, or the program ends.
        let (head, body) = done.unwrap_or(Err(Refusal::StorageFailed))?;
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
            (entry.subscription.clone(), entry.all_links(), registry.keys.active(now_ms).cloned())
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
