//! Control requests (sections 6.2 to 7.3): creating, reading, linking and deleting subscriptions, and what workers
//! report. Whatever changes something runs to its end even if the client goes away: what is committed must become
//! visible.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use headwater_protocol::{
    Refusal, Unavailable,
    op::subscription::{Action, Control, Report, WorkerReport, read_streams, read_worker},
    path::StreamName,
    precondition::Precondition,
    response::Response,
    stream::StreamHead,
    subscription::{
        Config, Delivery, Link, Serial, Subscription, SubscriptionId, SubscriptionRefusal, Wakes,
        keys::{KeyRing, Secret},
        token,
        view::{self, StreamView, respond_done},
        wake::{DeliveryKind, Phase},
    },
};
use headwater_store::Edit;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Subscriptions,
    registry::{self, Entry, document, progress_views},
    stored::{self, Common},
    transition::Transition,
};
use crate::refusal::refuse;

/// The number of control requests at a time, if their bodies are small.
pub(super) const PERMITS: usize = 1_024;
/// The number of bytes of a body that take one permit more.
const PERMIT_BYTES: usize = 16 << 10;
/// The number of streams that a response about a subscription lists at most.
const PAGE: usize = 1_000;

/// Returns whether the body of a request has a meaning.
pub(crate) const fn has_body(control: &Control) -> bool {
    use Action::{Delete, Read, Unlink};
    !matches!(control, Control::Keys | Control::Subscription(_, Read { .. } | Delete | Unlink(_), _))
}

impl Subscriptions {
    /// Executes a control request whose body was received.
    pub(crate) async fn execute(
        self: &Arc<Self>,
        control: Control,
        body: Bytes,
    ) -> Result<Response, Refusal> {
        match control {
            Control::Keys => {
                let keys = self.registry().keys.clone();
                Ok(keys.respond())
            }
            Control::Subscription(id, Action::Read { after }, _) => self.describe(&id, false, after.as_ref()),
            Control::Subscription(id, action, precondition) => {
                let permit = self.request_permit(&body)?;
                let subscriptions = self.clone();
                let executed = tokio::spawn(async move {
                    let _permit = permit;
                    subscriptions.execute_action(&id, action, &precondition, &body).await
                });
                // An error means that it has panicked, or that the runtime ends.
                executed.await.unwrap_or(Err(Unavailable::StorageFailed.into()))
            }
        }
    }

    fn request_permit(&self, body: &[u8]) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = u32::try_from(1 + body.len() / PERMIT_BYTES).unwrap_or(u32::MAX);
        let permit = self.request_permits.clone().try_acquire_many_owned(permits);
        permit.map_err(|_| Unavailable::Overloaded { what: "control requests" }.into())
    }

    async fn execute_action(
        self: &Arc<Self>,
        id: &SubscriptionId,
        action: Action,
        precondition: &Precondition,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        // A creation looks itself, while no other one can come between. Where there is none, the others come to nothing anyway.
        if !matches!(action, Action::Create { .. }) && self.registry().find(id).is_some() {
            precondition.check_untagged(true)?;
        }
        match action {
            Action::Create { root } => self.create(id, root, precondition, body).await,
            Action::Read { after } => self.describe(id, false, after.as_ref()),
            Action::Delete => self.delete(id).await.map(|()| respond_done()),
            Action::Link => self.add_streams(id, read_streams(body)?).await.map(|()| respond_done()),
            Action::Unlink(name) => self.remove_stream(id, &name).await.map(|()| respond_done()),
            Action::Claim => self.claim(id, &read_worker(body)?).await,
            Action::Report(kind, bearer) => self.report(id, kind, &bearer, body).await,
        }
    }

    /// Responds with a subscription's configuration, state and a page of its links.
    fn describe(
        &self,
        id: &SubscriptionId,
        is_new: bool,
        after: Option<&StreamName>,
    ) -> Result<Response, Refusal> {
        let (now_ms, wall_ms) = (self.core.clock.now_ms(), self.core.clock.wall_ms());
        let (subscription, links, key) = {
            let registry = self.updated_registry();
            let (_, entry) = registry.find(id).ok_or(SubscriptionRefusal::NotFound)?;
            // A lease may have ended since it was written.
            let subscription = Subscription { wakes: entry.wakes(now_ms), ..entry.subscription.clone() };
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let page = entry.links.range::<StreamName, _>((begin, Bound::Unbounded)).take(PAGE + 1);
            let links: Vec<_> = page.map(|(name, known)| (name.clone(), known.link)).collect();
            (subscription, links, registry.keys.active(wall_ms).cloned())
        };
        let (page, rest) = links.split_at(links.len().min(PAGE));
        let next = page.last().filter(|_| !rest.is_empty()).map(|(name, _)| name);
        let streams: Vec<_> = page.iter().map(|(name, link)| StreamView::cursor(name, link)).collect();
        Ok(subscription.respond(is_new, &streams, next, key.as_ref()))
    }

    /// Creates a subscription with links to all streams that are there (section 6.2).
    ///
    /// Appends see the subscription before its streams are listed, so that no stream is missed in between. The links are
    /// written before the subscription is: a crash in between leaves documents that the next start removes.
    async fn create(
        self: &Arc<Self>,
        id: &SubscriptionId,
        root: Box<str>,
        precondition: &Precondition,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let limits = &self.core.limits;
        let (config, streams) = Config::parse(body, limits.local_targets)?;
        let _creating = self.creating.lock().await;
        {
            let registry = self.registry();
            let found = registry.find(id);
            precondition.check_untagged(found.is_some())?;
            if let Some((_, entry)) = found {
                let is_same = entry.subscription.config.hash == config.hash;
                drop(registry);
                return if is_same {
                    self.describe(id, false, None)
                } else {
                    Err(SubscriptionRefusal::Exists.into())
                };
            }
            if registry.entries.len() >= limits.subscriptions_max {
                return Err(SubscriptionRefusal::LimitReached("subscriptions").into());
            }
        }
        let is_webhook = matches!(config.delivery, Delivery::Webhook(_));
        if is_webhook && self.core.webhooks.is_none() {
            return Err(SubscriptionRefusal::Invalid("this server sends no webhooks".into()).into());
        }
        let (common, keys) = self.secrets(is_webhook)?;
        let serial = Serial::new(common.serial_last);
        let root = match &limits.public_url {
            Some(origin) => format!("{origin}{}", self.core.base_path.as_str()).into(),
            None => root,
        };
        let created_ms = self.core.clock.wall_ms();
        let subscription =
            Subscription { serial, id: id.clone(), config, created_ms, root, wakes: Wakes::default() };
        self.registry().insert(Entry::creating(subscription.clone()));
        self.rematch();
        if let Err(refusal) = self.write_new(&subscription, &streams, &common, keys.as_ref()).await {
            self.registry().remove(serial);
            tokio::spawn(self.clone().remove_links(serial));
            return Err(refusal);
        }
        {
            let mut registry = self.registry();
            registry.common = Some(common);
            if let Some(keys) = keys {
                registry.keys = keys;
            }
            if let Some(entry) = registry.entries.get_mut(&serial) {
                entry.is_creating = false;
                entry.has_tails = true;
            }
            registry.by_id.insert(id.clone(), serial);
        }
        self.poll(serial);
        self.describe(id, true, None)
    }

    /// Returns the common secret with a new serial, and the signing keys if there has to be another one.
    fn secrets(&self, is_webhook: bool) -> Result<(Common, Option<KeyRing>), Refusal> {
        let registry = self.registry();
        let common = match &registry.common {
            Some(common) => common.clone(),
            None => Common { secret: new_secret()?, serial_last: 0 },
        };
        let serial_last = Serial::next(common.serial_last, self.core.clock.wall_us()).get();
        let needs_key = is_webhook && registry.keys.keys().is_empty();
        let keys = match needs_key {
            true => Some(registry.keys.with_key(new_secret()?, self.core.clock.wall_ms())),
            false => None,
        };
        Ok((Common { serial_last, ..common }, keys))
    }

    /// Makes a new subscription durable: its links, then the subscription itself.
    async fn write_new(
        &self,
        subscription: &Subscription,
        streams: &BTreeSet<StreamName>,
        common: &Common,
        keys: Option<&KeyRing>,
    ) -> Result<(), Refusal> {
        self.link_all(subscription, streams).await?;
        let common = document(stored::COMMON_KEY.into(), Some(common.encode()));
        let keys = keys.map(write_keys);
        self.write([registry::write(subscription), common].into_iter().chain(keys).collect()).await
    }

    /// Deletes a subscription (section 6.3), first itself and then its links.
    async fn delete(self: &Arc<Self>, id: &SubscriptionId) -> Result<(), Refusal> {
        let _creating = self.creating.lock().await;
        let found = self.registry().find(id).map(|(serial, _)| serial);
        let Some(serial) = found else { return Ok(()) };
        let _lock = self.lock(serial).await?;
        self.write(vec![document(stored::subscription_key(serial), None)]).await?;
        self.registry().remove(serial);
        tokio::spawn(self.clone().remove_links(serial));
        Ok(())
    }

    /// Gives a worker the lease, if work is pending (section 7.2).
    async fn claim(self: &Arc<Self>, id: &SubscriptionId, worker: &str) -> Result<Response, Refusal> {
        let (serial, secret) = self.find(id, DeliveryKind::PullWake)?;
        self.load_tails(serial).await?;
        let claimed = self.transition(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            match wakes.on_claim(worker, !entry.pending.is_empty(), lease_ttl_ms, now_ms) {
                Ok(wakes) => {
                    let subscription = Subscription { wakes: wakes.clone(), ..entry.subscription.clone() };
                    (Some(Transition::to(wakes)), Ok((subscription, entry.wake_streams())))
                }
                Err(refusal) => {
                    // A wake with nothing left to do is over: the next append has to make another one.
                    let is_void =
                        refusal == SubscriptionRefusal::NothingPending && wakes.phase != Phase::Idle;
                    (is_void.then(|| Transition::to(wakes.on_done())), Err(refusal))
                }
            }
        });
        let (subscription, streams) = claimed.await??;
        Ok(subscription.respond_to_claim(&secret, &progress_views(&streams)))
    }

    /// Takes a worker's callback, ack or release (sections 7.1 to 7.3). All of it counts or nothing does.
    async fn report(
        self: &Arc<Self>,
        id: &SubscriptionId,
        report_kind: WorkerReport,
        bearer: &str,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let kind = if report_kind == WorkerReport::Callback {
            DeliveryKind::Webhook
        } else {
            DeliveryKind::PullWake
        };
        let (serial, secret) = self.find(id, kind)?;
        let token_generation = token::verify(&secret, serial, bearer)?;
        let report = Report::read(body)?;
        self.load_tails(serial).await?;
        let mut heads = BTreeMap::new();
        if report_kind != WorkerReport::Release {
            for (name, _) in &report.acks {
                if !heads.contains_key(name) {
                    heads.insert(name.clone(), self.core.store.load(name).await.map_err(refuse)?);
                }
            }
        }
        let reported = self.transition(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let wake_id = token::wake_id(&secret, serial, wakes.generation);
            if let Err(refusal) = wakes.check(&report.fence(token_generation), &wake_id) {
                return (None, Err(refusal));
            }
            if report_kind == WorkerReport::Release {
                return (Some(Transition::to(wakes.on_release())), Ok(false));
            }
            let acks = match acknowledged(entry, &report, &heads) {
                Ok(acks) => acks,
                Err(refusal) => return (None, Err(refusal)),
            };
            let wakes_again = report.done && is_pending_after(entry, &acks);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            let wakes = if report.done { wakes.on_done() } else { wakes.on_heartbeat(lease_ttl_ms, now_ms) };
            (Some(Transition { wakes, acks: acks.into_iter().collect() }), Ok(wakes_again))
        });
        let wakes_again = reported.await??;
        Ok(match report_kind {
            WorkerReport::Release => respond_done(),
            WorkerReport::Callback | WorkerReport::Ack => view::respond_to_ack(wakes_again),
        })
    }

    /// Finds a subscription of a type, and the secret that its tokens are made with.
    fn find(&self, id: &SubscriptionId, kind: DeliveryKind) -> Result<(Serial, Secret), Refusal> {
        let registry = self.registry();
        let (serial, entry) = registry.find(id).ok_or(SubscriptionRefusal::NotFound)?;
        if entry.kind() != kind {
            return Err(SubscriptionRefusal::Invalid("the subscription is of the other type".into()).into());
        }
        let secret = registry.common.as_ref().map(|common| common.secret.clone());
        Ok((serial, secret.ok_or(Unavailable::StorageFailed)?))
    }
}

/// Returns the links whose cursors a report moves.
fn acknowledged(
    entry: &Entry,
    report: &Report,
    heads: &BTreeMap<StreamName, Option<StreamHead>>,
) -> Result<BTreeMap<StreamName, Link>, SubscriptionRefusal> {
    let mut moved: BTreeMap<StreamName, Link> = BTreeMap::new();
    for (name, offset) in &report.acks {
        let invalid = |rule| SubscriptionRefusal::OffsetInvalid { stream: name.as_str().into(), rule };
        let known = entry.links.get(name).filter(|known| known.is_durable()).map(|known| known.link);
        let link =
            moved.get(name).copied().or(known).ok_or(invalid("it is no stream of this subscription"))?;
        let head = heads.get(name).and_then(Option::as_ref).filter(|head| !head.soft_deleted);
        moved.insert(name.clone(), link.acknowledged(offset, head).map_err(invalid)?);
    }
    Ok(moved)
}

fn is_pending_after(entry: &Entry, moved: &BTreeMap<StreamName, Link>) -> bool {
    moved.values().any(Link::is_pending) || entry.pending.iter().any(|name| !moved.contains_key(name))
}

/// Returns the edit that writes the signing keys.
pub(super) fn write_keys(keys: &KeyRing) -> Edit {
    document(stored::KEYS_KEY.into(), Some(stored::encode_keys(keys)))
}

/// Makes a new secret. This is the only place of the service that uses randomness.
pub(super) fn new_secret() -> Result<Secret, Refusal> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system has no random bytes");
        Refusal::from(Unavailable::StorageFailed)
    })?;
    Ok(Secret::new(bytes))
}
