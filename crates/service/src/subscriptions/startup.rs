//! The beginning: subscriptions are read from the store before the first request, their streams looked at after.
//!
//! Reading takes as long as there are subscriptions and links, which are bounded, and not as there are streams.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use headwater_protocol::{
    Refusal,
    subscription::{Delivery, Link, Serial},
};
use headwater_store::{Commit, Edit, StoreError};
use tokio::sync::Semaphore;

use super::{
    Subscriptions,
    registry::{Entry, Linked, Registry, document},
    requests,
    stored::{self, Common, Malformed},
};
use crate::{Inner, streams::refuse, webhooks::Webhooks};

/// Documents that are read at a time.
const PAGE: usize = 10_000;
/// Documents that are removed at a time.
const REMOVED: usize = 1_000;
/// How long it waits before it looks again at streams that the store couldn't read.
const AGAIN_MS: u64 = 1_000;

impl Inner {
    /// Reads all subscriptions.
    pub(crate) async fn load_subscriptions(
        self: &Arc<Self>,
        webhooks: Option<Arc<dyn Webhooks>>,
    ) -> Result<(), StoreError> {
        let mut registry = Registry::default();
        let document = |key| self.store.document(key);
        if let Some(common) = document(stored::COMMON_KEY).await? {
            registry.common =
                Some(Common::decode(&common).map_err(|error| damaged(stored::COMMON_KEY, error))?);
        }
        if let Some(keys) = document(stored::KEYS_KEY).await? {
            registry.keys = stored::decode_keys(&keys).map_err(|error| damaged(stored::KEYS_KEY, error))?;
        }
        // Those that make no sense are left out; what belongs to them stays for who repairs them.
        let mut unread = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.store.documents(stored::SUBSCRIPTION_PREFIX, after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                match stored::decode_subscription(value) {
                    Ok(subscription) => registry.insert(Entry::new(subscription)),
                    Err(error) => {
                        tracing::error!(error = %damaged(key, error), "a subscription wakes nobody");
                        unread.extend(stored::decode_subscription_key(key));
                    }
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        let orphans = self.load_links(&mut registry, &unread).await?;
        let version = registry.version.clone();
        version.store(u64::from(!registry.entries.is_empty()), Ordering::Release);
        let limits = &self.config.subscriptions;
        let subscriptions = Subscriptions {
            registry: registry.into(),
            version,
            commits: AtomicU64::default(),
            notes: std::sync::Mutex::default(),
            news: tokio::sync::Notify::new(),
            creating: tokio::sync::Mutex::default(),
            controls: Arc::new(Semaphore::new(requests::UNITS)),
            webhooks,
            deliveries: Arc::new(Semaphore::new(limits.deliveries_max.min(Semaphore::MAX_PERMITS))),
            targets: std::sync::Mutex::default(),
        };
        // Whoever was first keeps what it has read.
        let _ = self.subscriptions.set(subscriptions);
        for serial in orphans {
            tokio::spawn(self.clone().clean_up(serial));
        }
        Ok(())
    }

    /// Reads all links; gives the serials of those whose subscription is gone.
    async fn load_links(
        &self,
        registry: &mut Registry,
        unread: &BTreeSet<Serial>,
    ) -> Result<Vec<Serial>, StoreError> {
        let mut orphans: Vec<Serial> = Vec::new();
        let mut after: Option<Box<str>> = None;
        loop {
            let page = self.store.documents(stored::LINK_PREFIX, after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                let Ok((serial, name)) = stored::decode_link_key(key) else {
                    tracing::error!(error = %damaged(key, Malformed), "a link is left out");
                    continue;
                };
                if let Some(entry) = registry.entries.get(&serial) {
                    let link = stored::decode_link(value).unwrap_or_else(|error| {
                        tracing::error!(error = %damaged(key, error), "a cursor is lost: its stream begins anew");
                        let explicit = !entry.subscription.config.discovers(&name);
                        Link { explicit, ..Link::default() }
                    });
                    registry.link(serial, &name, Linked::durable(link));
                } else if orphans.last() != Some(&serial) && !unread.contains(&serial) {
                    orphans.push(serial);
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(orphans),
            }
        }
    }

    /// Removes the links of a subscription that is gone.
    pub(super) async fn clean_up(self: Arc<Self>, serial: Serial) {
        let prefix = stored::links_prefix(serial);
        loop {
            let page = match self.store.documents(&prefix, None, REMOVED).await {
                Ok(page) if page.is_empty() => return,
                Ok(page) => page,
                // The next start finds them again.
                Err(error) => return tracing::warn!(%error, "links of a deleted subscription stay for now"),
            };
            let edits: Vec<Edit> = page.into_iter().map(|(key, _)| document(key, None)).collect();
            if let Err(error) = self.store.commit(Commit::new(edits)).await {
                return tracing::warn!(%error, "links of a deleted subscription stay for now");
            }
        }
    }

    /// Looks at the streams of all subscriptions: what was appended before a crash is pending, whoever knew of it.
    pub(super) async fn survey_all(self: Arc<Self>) {
        let Some(subscriptions) = self.subscriptions.get() else { return };
        let mut serials: Vec<Serial> = subscriptions.registry().entries.keys().copied().collect();
        loop {
            let mut left = Vec::new();
            for serial in serials {
                if let Err(refusal) = self.survey(serial).await {
                    tracing::warn!(%refusal, "a subscription's streams could not be looked at; it is tried again");
                    left.push(serial);
                }
                self.attend(serial);
            }
            if left.is_empty() {
                return;
            }
            serials = left;
            self.clock.sleep_until(self.clock.now_ms().saturating_add(AGAIN_MS)).await;
        }
    }

    /// How a subscription's workers are woken, once its streams were looked at; `None`: it is gone.
    pub(super) async fn surveyed(&self, serial: Serial) -> Result<Option<Delivery>, Refusal> {
        self.survey(serial).await?;
        let registry = self.subscriptions()?.registry();
        Ok(registry.entries.get(&serial).map(|entry| entry.subscription.config.delivery.clone()))
    }

    /// Looks at the streams of a subscription, unless that was done since the start.
    pub(super) async fn survey(&self, serial: Serial) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let unseen: Vec<_> = {
            let registry = subscriptions.registry();
            let Some(entry) = registry.entries.get(&serial).filter(|entry| !entry.is_surveyed) else {
                return Ok(());
            };
            let unseen = entry.links.iter().filter(|(_, linked)| linked.link.tail.is_none());
            unseen.map(|(name, _)| name.clone()).collect()
        };
        for name in unseen {
            let head = match self.store.load(&name).await {
                Ok(head) => head,
                // Nobody can read it, and the others have readers.
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::error!(stream = %name, %error, "a damaged stream wakes nobody");
                    continue;
                }
                Err(error) => return Err(refuse(error)),
            };
            if let Some(head) = head {
                subscriptions.registry().observe(serial, &name, Some(&head));
            }
        }
        if let Some(entry) = subscriptions.registry().entries.get_mut(&serial) {
            entry.is_surveyed = true;
        }
        Ok(())
    }
}

fn damaged(key: &str, Malformed: Malformed) -> StoreError {
    StoreError::damaged(format!("the document {key} makes no sense"))
}
