//! Links: how they come with appends and by name, and how they go (sections 6.1 to 6.4).
//!
//! An append to a stream that no subscription matches costs two loads of atomics.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard},
};

use headwater_protocol::{
    Refusal,
    path::StreamName,
    stream::{Change, StreamHead},
    subscription::{Delivery, Link, Serial, Subscription, SubscriptionId, SubscriptionRefusal},
};
use headwater_store::{Commit, Edit};

use super::{
    Subscriptions,
    registry::{self, LinkEntry, Registry},
};
use crate::{open_stream::OpenStream, refusal::refuse};

/// The number of stream names that are listed at a time.
const NAMES: usize = 10_000;
/// The number of links that are written at a time.
const LINKS: usize = 1_000;

/// A commit of streams with what it does to links.
pub(crate) struct CommitWithLinks<'a> {
    /// The edits that are to be committed.
    pub(crate) edits: Vec<Edit>,
    /// What the commit does to links in memory.
    pub(crate) links: InFlightLinks,
    /// Held from the first link on until the commit is queued: a link's documents are queued in the order in which they
    /// were decided.
    registry: Option<MutexGuard<'a, Registry>>,
}

/// What a commit of streams has done to links in memory, to be confirmed when it is durable and undone if it fails.
#[derive(Debug, Default)]
pub(crate) struct InFlightLinks {
    /// The commit's number; 0: it has nothing to do with links.
    commit: u64,
    made: Vec<(Serial, StreamName)>,
    removed: Vec<(Serial, StreamName, LinkEntry)>,
}

impl CommitWithLinks<'_> {
    pub(crate) fn new(edits: Vec<Edit>) -> Self {
        Self { edits, links: InFlightLinks::default(), registry: None }
    }
}

impl Subscriptions {
    /// Adds to a commit what its change of one stream does to links. `change` is `None` if the stream is removed.
    pub(crate) fn add_link_edits<'a>(
        &'a self,
        stream: &OpenStream,
        before: Option<&StreamHead>,
        change: Option<&Change>,
        commit: &mut CommitWithLinks<'a>,
    ) {
        if change.is_some_and(|change| change.bytes.is_empty() && !change.head.soft_deleted) {
            return;
        }
        let after = change.map(|change| &change.head).filter(|head| !head.soft_deleted);
        let version = self.version();
        if version == 0 || (after.is_some() && stream.links.at(version).is_some()) {
            return;
        }
        let CommitWithLinks { edits, links, registry } = commit;
        if links.commit == 0 {
            links.commit = self.next_commit();
        }
        let registry = registry.get_or_insert_with(|| self.registry());
        // Loaded again under the lock: whatever changes the registry later raises the version after that.
        let version = self.version();
        let Some(after) = after else {
            // A later incarnation has to be discovered anew.
            stream.links.forget();
            return registry.unlink_by_pattern(&stream.name, links, edits);
        };
        let links_max = self.core.limits.links_max;
        if registry.link_by_pattern(&stream.name, (before, after), links_max, (links, edits)) {
            stream.links.set(version, registry.is_linked(&stream.name));
        }
    }

    /// Confirms what a commit has done to links when it is durable, and undoes it if it has failed.
    pub(crate) fn resolved(&self, links: InFlightLinks, is_durable: bool) {
        if links.commit > 0 {
            self.registry().resolve(links, is_durable);
        }
    }

    /// Marks a stream as dirty whose new state readers can see, if any subscription has a link to it.
    pub(crate) fn published(&self, stream: &Arc<OpenStream>) {
        let version = self.version();
        if version == 0 || stream.links.at(version) == Some(false) {
            return;
        }
        let mut dirty = self.dirty_streams();
        match dirty.get_mut(&stream.name) {
            Some(known) if known.is_abandoned() => *known = stream.clone(),
            Some(_) => {}
            None => _ = dirty.insert(stream.name.clone(), stream.clone()),
        }
        drop(dirty);
        self.driver.notify_one();
    }

    /// Links streams by name (section 6.4).
    pub(super) async fn add_streams(
        self: &Arc<Self>,
        id: &SubscriptionId,
        names: BTreeSet<StreamName>,
    ) -> Result<(), Refusal> {
        let serial = self.registry().find(id).ok_or(SubscriptionRefusal::NotFound)?.0;
        let _lock = self.lock(serial).await?;
        let commit = self.next_commit();
        let mut fresh = Vec::new();
        let added = self.add(serial, &names, commit, &mut fresh).await;
        if added.is_err() {
            let mut registry = self.registry();
            for name in &fresh {
                registry.resolve_link(serial, name, commit, false);
                // A link that is left was made by the pattern.
                registry.set_explicit(serial, name, false);
            }
        }
        self.poll(serial);
        added
    }

    async fn add(
        &self,
        serial: Serial,
        names: &BTreeSet<StreamName>,
        commit: u64,
        fresh: &mut Vec<StreamName>,
    ) -> Result<(), Refusal> {
        for name in names {
            self.registry().check_wake_stream(serial, name)?;
            self.link_at_tail(serial, name, true, commit, fresh).await?;
        }
        self.observe_fresh(serial, fresh).await?;
        self.write_links(serial, commit, fresh).await
    }

    /// Removes an explicit link; a stream that the pattern matches keeps one (section 6.4).
    pub(super) async fn remove_stream(&self, id: &SubscriptionId, name: &StreamName) -> Result<(), Refusal> {
        let serial = self.registry().find(id).ok_or(SubscriptionRefusal::NotFound)?.0;
        let _lock = self.lock(serial).await?;
        let stays = {
            let registry = self.registry();
            let Some(entry) = registry.entries.get(&serial) else { return Ok(()) };
            let link = entry.links.get(name).map(|known| known.link).filter(|link| link.explicit);
            let Some(link) = link else { return Ok(()) };
            entry.subscription.config.discovers(name).then_some(Link { explicit: false, ..link })
        };
        let edit = match &stays {
            Some(link) => registry::write_link(serial, name, link),
            None => registry::remove_link(serial, name),
        };
        self.write(vec![edit]).await?;
        let mut registry = self.registry();
        match stays {
            Some(_) => registry.set_explicit(serial, name, false),
            None => _ = registry.remove_link(serial, name),
        }
        Ok(())
    }

    /// Links a new subscription to all streams that it names and that its pattern matches.
    pub(super) async fn link_all(
        &self,
        subscription: &Subscription,
        streams: &BTreeSet<StreamName>,
    ) -> Result<(), Refusal> {
        let Subscription { serial, config, .. } = subscription;
        let commit = self.next_commit();
        let mut fresh = Vec::new();
        for name in streams {
            self.link_at_tail(*serial, name, true, commit, &mut fresh).await?;
        }
        if let Some(pattern) = &config.pattern {
            let prefix = pattern.literal_prefix();
            let mut after = None;
            loop {
                let page = self.core.store.list(&prefix, after.as_ref(), NAMES).await.map_err(refuse)?;
                for name in page.iter().filter(|name| config.discovers(name)) {
                    self.link_at_tail(*serial, name, false, commit, &mut fresh).await?;
                }
                match page.into_iter().next_back() {
                    Some(name) => after = Some(name),
                    None => break,
                }
            }
        }
        self.observe_fresh(*serial, &fresh).await?;
        self.write_links(*serial, commit, &mut fresh).await
    }

    /// Links a stream as it is, unless an append was quicker. The link is in flight and its name is added to `fresh`.
    async fn link_at_tail(
        &self,
        serial: Serial,
        name: &StreamName,
        explicit: bool,
        commit: u64,
        fresh: &mut Vec<StreamName>,
    ) -> Result<(), Refusal> {
        let head = self.core.store.load(name).await.map_err(refuse)?;
        let head = head.as_ref().and_then(|head| head.usable(self.core.calendar.now_ms()).ok());
        if head.is_none() && !explicit {
            return Ok(());
        }
        let mut registry = self.registry();
        let known = registry.link(serial, name).map(|known| known.link);
        let link = match known {
            Some(link) if link.explicit || !explicit => return Ok(()),
            Some(link) => Link { explicit, ..link },
            None if !registry.has_room(serial, self.core.limits.links_max) => {
                return Err(SubscriptionRefusal::LimitReached("streams of subscriptions").into());
            }
            None => Link::at_tail(explicit, head),
        };
        registry.in_flight_link(serial, name, link, commit);
        fresh.push(name.clone());
        Ok(())
    }

    /// Updates new links: an append that became visible after its stream's tail was loaded and before the link was in
    /// the registry has marked nothing as dirty.
    async fn observe_fresh(&self, serial: Serial, fresh: &[StreamName]) -> Result<(), Refusal> {
        self.rematch();
        for name in fresh {
            if let Some(head) = self.core.store.load(name).await.map_err(refuse)? {
                self.registry().observe(serial, name, Some(&head));
            }
        }
        Ok(())
    }

    /// Makes links durable. If that fails, those that are not durable are left in `fresh`.
    async fn write_links(
        &self,
        serial: Serial,
        commit: u64,
        fresh: &mut Vec<StreamName>,
    ) -> Result<(), Refusal> {
        while !fresh.is_empty() {
            let count = fresh.len().min(LINKS);
            // The cursors as they are now, queued before anything can move them.
            let ticket = {
                let registry = self.registry();
                let edit =
                    |name| Some(registry::write_link(serial, name, &registry.link(serial, name)?.link));
                let edits = fresh.iter().take(count).filter_map(edit).collect();
                self.core.store.commit(Commit::new(edits))
            };
            ticket.await.map_err(refuse)?;
            let mut registry = self.registry();
            fresh.drain(..count).for_each(|name| registry.resolve_link(serial, &name, commit, true));
        }
        Ok(())
    }
}

impl Registry {
    /// Adds a link or replaces it, with a commit that writes it. A durable one stays durable: the store has it, as it
    /// was before.
    fn in_flight_link(&mut self, serial: Serial, name: &StreamName, link: Link, commit: u64) {
        let in_flight = match self.link(serial, name) {
            Some(known) if known.is_durable() => Vec::new(),
            Some(known) => known.in_flight.iter().copied().chain([commit]).collect(),
            None => vec![commit],
        };
        self.put_link(serial, name, LinkEntry { link, in_flight });
    }

    /// Links a stream to all subscriptions whose patterns discover it, in the commit that appends to it. Returns whether
    /// all of its links are durable already.
    fn link_by_pattern(
        &mut self,
        name: &StreamName,
        (before, after): (Option<&StreamHead>, &StreamHead),
        links_max: usize,
        (links, edits): (&mut InFlightLinks, &mut Vec<Edit>),
    ) -> bool {
        let mut all_durable = true;
        for serial in self.patterns.matching(name) {
            let has_room = self.has_room(serial, links_max);
            let Some(entry) = self.entries.get_mut(&serial) else { continue };
            if !entry.subscription.config.discovers(name) {
                continue;
            }
            let link = match entry.links.get(name) {
                Some(known) if known.is_durable() => continue,
                // The commit that makes it may fail although this one doesn't.
                Some(known) => known.link,
                None if has_room => {
                    entry.is_full = false;
                    Link::before_append(before, after)
                }
                None => {
                    self.is_full = true;
                    if !std::mem::replace(&mut entry.is_full, true) {
                        let id = entry.subscription.id.as_str();
                        tracing::error!(
                            id,
                            "a subscription has no room for more streams: it misses new ones"
                        );
                    }
                    continue;
                }
            };
            all_durable = false;
            edits.push(registry::write_link(serial, name, &link));
            links.made.push((serial, name.clone()));
            self.in_flight_link(serial, name, link, links.commit);
        }
        all_durable
    }

    /// Removes the links of a stream that only patterns made, in the commit that removes it.
    fn unlink_by_pattern(&mut self, name: &StreamName, links: &mut InFlightLinks, edits: &mut Vec<Edit>) {
        for serial in self.by_stream.get(name).cloned().unwrap_or_default() {
            if self.link(serial, name).is_none_or(|known| known.link.explicit) {
                continue;
            }
            let Some(known) = self.remove_link(serial, name) else { continue };
            edits.push(registry::remove_link(serial, name));
            links.removed.push((serial, name.clone(), known));
        }
    }

    /// Confirms or undoes what a commit of streams has done.
    fn resolve(&mut self, links: InFlightLinks, is_durable: bool) {
        for (serial, name) in &links.made {
            self.resolve_link(*serial, name, links.commit, is_durable);
        }
        for (serial, name, known) in links.removed.into_iter().filter(|_| !is_durable) {
            if self.link(serial, &name).is_none_or(|known| !known.is_durable()) {
                self.put_link(serial, &name, known);
            }
        }
    }

    /// Confirms a link whose commit is durable, or removes it if that was the last commit in flight and has failed. A
    /// link that was made anew meanwhile has nothing to do with it.
    fn resolve_link(&mut self, serial: Serial, name: &StreamName, commit: u64, is_durable: bool) {
        let known = self.entries.get_mut(&serial).and_then(|entry| entry.links.get_mut(name));
        let Some(known) = known.filter(|known| known.in_flight.contains(&commit)) else { return };
        if is_durable {
            known.in_flight = Vec::new();
            return;
        }
        known.in_flight.retain(|other| *other != commit);
        if known.in_flight.is_empty() {
            self.remove_link(serial, name);
        }
    }

    fn set_explicit(&mut self, serial: Serial, name: &StreamName, explicit: bool) {
        let known = self.entries.get_mut(&serial).and_then(|entry| entry.links.get_mut(name));
        if let Some(known) = known {
            known.link.explicit = explicit;
        }
    }

    /// Refuses a link that would let a subscription be woken by its own wakes.
    fn check_wake_stream(&self, serial: Serial, name: &StreamName) -> Result<(), SubscriptionRefusal> {
        let delivery = self.entries.get(&serial).map(|entry| &entry.subscription.config.delivery);
        match delivery {
            Some(Delivery::PullWake(wake_stream)) if wake_stream == name => {
                Err(SubscriptionRefusal::Invalid("wake_stream would wake for its own wakes".into()))
            }
            _ => Ok(()),
        }
    }
}
