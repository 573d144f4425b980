//! The start: subscriptions are read from the store before the first request, the tails of their streams after it.
//!
//! Reading takes as long as there are subscriptions and links, which are bounded, whatever number of streams there are.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use headwater_protocol::{
    Refusal,
    subscription::{Delivery, Link, Serial},
};
use headwater_store::{Commit, Edit, Store, StoreError};

use super::{
    Core, Subscriptions,
    driver::PAUSE_MS,
    registry::{Entry, LinkEntry, Registry, document},
    stored::{self, Common, Malformed},
};
use crate::refusal::refuse;

/// The number of documents that are read at a time.
const PAGE: usize = 10_000;
/// The number of documents that are removed at a time.
const REMOVED: usize = 1_000;

impl Subscriptions {
    /// Reads all subscriptions of a store.
    ///
    /// # Errors
    /// The store can't be read, or what all subscriptions share is malformed.
    pub(crate) async fn start(core: Core) -> Result<Arc<Self>, StoreError> {
        let (registry, orphans) = read_registry(&*core.store, core.clock.now_ms()).await?;
        let subscriptions = Arc::new(Self::new(core, registry));
        for serial in orphans {
            tokio::spawn(subscriptions.clone().remove_links(serial));
        }
        Ok(subscriptions)
    }

    /// Removes the links of a deleted subscription from the store.
    pub(super) async fn remove_links(self: Arc<Self>, serial: Serial) {
        let prefix = stored::links_prefix(serial);
        loop {
            let removed = match self.core.store.documents(&prefix, None, REMOVED).await {
                Ok(page) if page.is_empty() => return,
                Ok(page) => {
                    let edits: Vec<Edit> = page.into_iter().map(|(key, _)| document(key, None)).collect();
                    self.core.store.commit(Commit::new(edits)).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                // The next start finds them again.
                return tracing::warn!(%error, "links of a deleted subscription stay for now");
            }
        }
    }

    /// Loads the tails of all subscriptions' streams, so that what was appended before a crash is pending.
    pub(super) async fn load_all_tails(self: Arc<Self>) {
        let mut serials: Vec<Serial> = self.registry().entries.keys().copied().collect();
        loop {
            let mut left = Vec::new();
            for serial in serials {
                if let Err(refusal) = self.load_tails(serial).await {
                    tracing::warn!(%refusal, "a subscription's streams could not be loaded; it is tried again");
                    left.push(serial);
                }
                self.poll(serial);
            }
            if left.is_empty() {
                return;
            }
            serials = left;
            self.core.clock.sleep_until(self.core.clock.now_ms().saturating_add(PAUSE_MS)).await;
        }
    }

    /// Returns how a subscription's workers are woken, with the tails of its streams loaded; `None`: it is gone.
    pub(super) async fn delivery(&self, serial: Serial) -> Result<Option<Delivery>, Refusal> {
        self.load_tails(serial).await?;
        let registry = self.registry();
        Ok(registry.entries.get(&serial).map(|entry| entry.subscription.config.delivery.clone()))
    }

    /// Loads the tails of a subscription's streams, unless that was done since the start.
    pub(super) async fn load_tails(&self, serial: Serial) -> Result<(), Refusal> {
        let names: Vec<_> = {
            let registry = self.registry();
            let Some(entry) = registry.entries.get(&serial).filter(|entry| !entry.has_tails) else {
                return Ok(());
            };
            let without_tail = entry.links.iter().filter(|(_, known)| known.link.tail.is_none());
            without_tail.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            let head = match self.core.store.load(&name).await {
                Ok(head) => head,
                // No worker could read it, and the other streams have workers.
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::error!(stream = %name, %error, "a damaged stream wakes nobody");
                    continue;
                }
                Err(error) => return Err(refuse(error)),
            };
            if let Some(head) = head {
                self.registry().observe(serial, &name, Some(&head));
            }
        }
        if let Some(entry) = self.registry().entries.get_mut(&serial) {
            entry.has_tails = true;
        }
        Ok(())
    }
}

/// Reads all subscriptions and links, and finds the serials of links whose subscription is gone.
async fn read_registry(store: &dyn Store, now_ms: u64) -> Result<(Registry, Vec<Serial>), StoreError> {
    let mut registry = Registry::default();
    if let Some(common) = store.document(stored::COMMON_KEY).await? {
        let common = Common::decode(&common).map_err(|error| damaged(stored::COMMON_KEY, error))?;
        registry.common = Some(common);
    }
    if let Some(keys) = store.document(stored::KEYS_KEY).await? {
        registry.keys = stored::decode_keys(&keys).map_err(|error| damaged(stored::KEYS_KEY, error))?;
    }
    // Malformed ones are left out; what belongs to them stays for a repair.
    let mut malformed = BTreeSet::new();
    for_each_document(store, stored::SUBSCRIPTION_PREFIX, |key, value| {
        match stored::decode_subscription(value) {
            Ok(mut subscription) => {
                subscription.wakes = subscription.wakes.on_load(now_ms, subscription.config.lease_ttl_ms);
                registry.insert(Entry::new(subscription));
            }
            Err(error) => {
                tracing::error!(error = %damaged(key, error), "a subscription wakes nobody");
                malformed.extend(stored::decode_subscription_key(key));
            }
        }
    })
    .await?;
    let mut orphans: Vec<Serial> = Vec::new();
    for_each_document(store, stored::LINK_PREFIX, |key, value| {
        let Ok((serial, name)) = stored::decode_link_key(key) else {
            tracing::error!(error = %damaged(key, Malformed), "a link is left out");
            return;
        };
        if let Some(entry) = registry.entries.get(&serial) {
            let link = stored::decode_link(value).unwrap_or_else(|error| {
                tracing::error!(error = %damaged(key, error), "a cursor is lost: its stream begins anew");
                let explicit = !entry.subscription.config.discovers(&name);
                Link { explicit, ..Link::default() }
            });
            registry.put_link(serial, &name, LinkEntry::durable(link));
        } else if orphans.last() != Some(&serial) && !malformed.contains(&serial) {
            orphans.push(serial);
        }
    })
    .await?;
    registry.version.store(u64::from(!registry.entries.is_empty()), Ordering::Release);
    Ok((registry, orphans))
}

/// Calls `each` with the key and the value of every document whose key begins with `prefix`.
async fn for_each_document(
    store: &dyn Store,
    prefix: &str,
    mut each: impl FnMut(&str, &[u8]),
) -> Result<(), StoreError> {
    let mut after: Option<Box<str>> = None;
    loop {
        let page = store.documents(prefix, after.as_deref(), PAGE).await?;
        page.iter().for_each(|(key, value)| each(key, value));
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

fn damaged(key: &str, Malformed: Malformed) -> StoreError {
    StoreError::damaged(format!("the document {key} is malformed"))
}
