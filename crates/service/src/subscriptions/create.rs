//! Creating a subscription with links to all streams that are there (section 6.2), and deleting it (6.3).
//!
//! The links are written before the subscription is: a crash in between leaves documents that the next start removes.
//! Appends see the subscription from the first step on, so that no stream slips through between the list and the end.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use headwater_protocol::{
    Refusal,
    path::StreamName,
    response::ResponseHead,
    stream::StreamHead,
    subscription::{
        Config, Delivery, Link, Serial, Subscription, SubscriptionId, SubscriptionRefusal, Wakes,
        keys::KeyRing,
    },
};
use headwater_store::Edit;

use super::{
    registry::{self, Entry, document},
    stored::{self, Common},
};
use crate::{Inner, streams::refuse};

/// Names that are listed at a time.
const NAMES: usize = 10_000;
/// Links that are written at a time.
const LINKS: usize = 1_000;

impl Inner {
    pub(super) async fn create_subscription(
        self: &Arc<Self>,
        id: &SubscriptionId,
        root: Box<str>,
        body: &[u8],
    ) -> Result<(ResponseHead, Bytes), Refusal> {
        let limits = &self.config.subscriptions;
        let (config, streams) = Config::parse(body, limits.local_targets)?;
        let subscriptions = self.subscriptions()?;
        let _creating = subscriptions.creating.lock().await;
        {
            let registry = subscriptions.registry();
            if let Some((_, entry)) = registry.find(id) {
                let is_same = entry.subscription.config.hash == config.hash;
                drop(registry);
                return if is_same { self.tell(id, false) } else { Err(SubscriptionRefusal::Exists.into()) };
            }
            if registry.entries.len() >= limits.subscriptions_max {
                return Err(SubscriptionRefusal::LimitReached("subscriptions").into());
            }
        }
        let is_webhook = matches!(config.delivery, Delivery::Webhook(_));
        if is_webhook && subscriptions.webhooks.is_none() {
            return Err(SubscriptionRefusal::Invalid("this server sends no webhooks".into()).into());
        }
        let (common, keys) = self.secrets(is_webhook)?;
        let serial = Serial(common.serial_last);
        let root = match &limits.public_url {
            Some(origin) => format!("{origin}{}", self.config.base_path.as_str()).into(),
            None => root,
        };
        let created_ms = self.clock.wall_ms();
        let subscription =
            Subscription { serial, id: id.clone(), config, created_ms, root, wakes: Wakes::default() };
        subscriptions.registry().insert(Entry::forming(subscription.clone()));
        subscriptions.rematch();
        match self.form(&subscription, &streams, &common, keys.as_ref()).await {
            Ok(()) => {
                {
                    let mut registry = subscriptions.registry();
                    registry.common = Some(common);
                    if let Some(keys) = keys {
                        registry.keys = keys;
                    }
                    if let Some(entry) = registry.entries.get_mut(&serial) {
                        entry.is_forming = false;
                    }
                    registry.by_id.insert(id.clone(), serial);
                }
                self.attend(serial);
                self.tell(id, true)
            }
            Err(refusal) => {
                subscriptions.registry().remove(serial);
                tokio::spawn(self.clone().clean_up(serial));
                Err(refusal)
            }
        }
    }

    /// What is common to all with a new serial, and the keys if there have to be more.
    fn secrets(&self, is_webhook: bool) -> Result<(Common, Option<KeyRing>), Refusal> {
        let registry = self.subscriptions()?.registry();
        let common = match &registry.common {
            Some(common) => common.clone(),
            None => Common { secret: super::new_secret()?, serial_last: 0 },
        };
        let serial_last = Serial::next(common.serial_last, self.clock.wall_us()).0;
        let needs_key = is_webhook && registry.keys.keys().is_empty();
        let keys = match needs_key {
            true => Some(registry.keys.with_key(super::new_secret()?, self.clock.wall_ms())),
            false => None,
        };
        Ok((Common { serial_last, ..common }, keys))
    }

    /// Links all streams of a new subscription, then commits it.
    async fn form(
        &self,
        subscription: &Subscription,
        streams: &BTreeSet<StreamName>,
        common: &Common,
        keys: Option<&KeyRing>,
    ) -> Result<(), Refusal> {
        let serial = subscription.serial;
        let by = self.subscriptions()?.next_commit();
        let mut fresh = Vec::new();
        for name in streams {
            self.link_at_tail(serial, name, true, by, &mut fresh).await?;
        }
        if let Some(pattern) = &subscription.config.pattern {
            let prefix = pattern.literal_prefix();
            let mut after = None;
            loop {
                let page = self.store.list(&prefix, after.as_ref(), NAMES).await.map_err(refuse)?;
                for name in page.iter().filter(|name| subscription.config.discovers(name)) {
                    self.link_at_tail(serial, name, false, by, &mut fresh).await?;
                }
                match page.into_iter().next_back() {
                    Some(name) => after = Some(name),
                    None => break,
                }
            }
        }
        self.look_again_at(serial, streams).await?;
        self.write_links(serial, by, &mut fresh).await?;
        let common = document(stored::COMMON_KEY.into(), Some(common.encode()));
        let keys = keys.map(write_keys);
        self.write([registry::write(subscription), common].into_iter().chain(keys).collect()).await?;
        if let Some(entry) = self.subscriptions()?.registry().entries.get_mut(&serial) {
            entry.is_surveyed = true;
        }
        Ok(())
    }

    /// Links a stream as it is, unless an append was quicker; it isn't durable yet.
    async fn link_at_tail(
        &self,
        serial: Serial,
        name: &StreamName,
        explicit: bool,
        by: u64,
        fresh: &mut Vec<StreamName>,
    ) -> Result<(), Refusal> {
        let head = self.store.load(name).await.map_err(refuse)?;
        let head = StreamHead::usable(head.as_ref(), self.clock.wall_ms()).ok();
        if head.is_none() && !explicit {
            return Ok(());
        }
        let mut registry = self.subscriptions()?.registry();
        let known = registry.linked(serial, name).map(|linked| linked.link);
        let link = match known {
            Some(link) if link.explicit || !explicit => return Ok(()),
            Some(link) => Link { explicit, ..link },
            None if !registry.has_room(serial, self.config.subscriptions.links_max) => {
                return Err(SubscriptionRefusal::LimitReached("streams of subscriptions").into());
            }
            None => Link::at_tail(explicit, head),
        };
        registry.pledge(serial, name, link, by);
        fresh.push(name.clone());
        Ok(())
    }

    /// Looks at streams that were linked by name: what was appended while nobody watched them has no note.
    pub(super) async fn look_again_at(
        &self,
        serial: Serial,
        names: &BTreeSet<StreamName>,
    ) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        subscriptions.rematch();
        for name in names {
            if let Some(head) = self.store.load(name).await.map_err(refuse)? {
                subscriptions.registry().observe(serial, name, Some(&head));
            }
        }
        Ok(())
    }

    /// Makes links durable. If that fails, those that are not are left in `fresh`.
    async fn write_links(&self, serial: Serial, by: u64, fresh: &mut Vec<StreamName>) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        while !fresh.is_empty() {
            let count = fresh.len().min(LINKS);
            // The cursors as they are now, queued before anybody can move them.
            let ticket = {
                let registry = subscriptions.registry();
                let edits: Vec<Edit> = fresh
                    .iter()
                    .take(count)
                    .filter_map(|name| {
                        let linked = registry.linked(serial, name)?;
                        Some(registry::write_link(serial, name, &linked.link))
                    })
                    .collect();
                self.store.commit(headwater_store::Commit::new(edits))
            };
            ticket.await.map_err(refuse)?;
            let mut registry = subscriptions.registry();
            fresh.drain(..count).for_each(|name| registry.settle(serial, &name, by, true));
        }
        Ok(())
    }

    pub(super) async fn delete_subscription(self: &Arc<Self>, id: &SubscriptionId) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let _creating = subscriptions.creating.lock().await;
        let found = subscriptions.registry().find(id).map(|(serial, _)| serial);
        let Some(serial) = found else { return Ok(()) };
        let _gate = subscriptions.gate(serial).await?;
        self.write(vec![document(stored::subscription_key(serial), None)]).await?;
        subscriptions.registry().remove(serial);
        tokio::spawn(self.clone().clean_up(serial));
        Ok(())
    }

    /// Links streams by name (section 6.4).
    pub(super) async fn add_streams(
        self: &Arc<Self>,
        id: &SubscriptionId,
        names: BTreeSet<StreamName>,
    ) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let serial = subscriptions.registry().find(id).ok_or(SubscriptionRefusal::NotFound)?.0;
        let _gate = subscriptions.gate(serial).await?;
        let by = subscriptions.next_commit();
        let mut fresh = Vec::new();
        let added = self.add(serial, &names, by, &mut fresh).await;
        if added.is_err() {
            let mut registry = subscriptions.registry();
            for name in &fresh {
                super::membership::undo(&mut registry, serial, name, by);
            }
        }
        self.attend(serial);
        added
    }

    async fn add(
        &self,
        serial: Serial,
        names: &BTreeSet<StreamName>,
        by: u64,
        fresh: &mut Vec<StreamName>,
    ) -> Result<(), Refusal> {
        for name in names {
            super::membership::check(&self.subscriptions()?.registry(), serial, name)?;
            self.link_at_tail(serial, name, true, by, fresh).await?;
        }
        self.look_again_at(serial, names).await?;
        self.write_links(serial, by, fresh).await
    }
}

/// An edit that writes the signing keys.
pub(super) fn write_keys(keys: &KeyRing) -> Edit {
    document(stored::KEYS_KEY.into(), Some(stored::encode_keys(keys)))
}
