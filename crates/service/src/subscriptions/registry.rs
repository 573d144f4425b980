//! All subscriptions in memory, with their links: what appends look at, and what transitions start from.
//!
//! What is here of a subscription changes only when it is durable, with one exception: a link that an append or a
//! request is about to commit is here before, so that no other commit makes it anew. It carries the numbers of the
//! commits that write it until one of them is durable, and is removed if all of them fail ([`LinkEntry`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use headwater_protocol::{
    path::StreamName,
    stream::StreamHead,
    subscription::{
        Delivery, LINKS_MAX, Link, Serial, Subscription, SubscriptionId, WAKE_STREAMS_MAX, Wakes,
        keys::KeyRing,
        view::StreamView,
        wake::{DeliveryKind, WakeStep},
    },
};
use headwater_store::Edit;
use tokio::sync::{Mutex, Notify};

use super::{
    patterns::PatternIndex,
    stored::{self, Common},
};

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) by_id: HashMap<SubscriptionId, Serial>,
    pub(super) entries: HashMap<Serial, Entry>,
    /// The secret and the last serial, once there was a subscription.
    pub(super) common: Option<Common>,
    pub(super) keys: KeyRing,
    /// The subscriptions with a link to a stream.
    pub(super) by_stream: HashMap<StreamName, Vec<Serial>>,
    pub(super) patterns: PatternIndex,
    /// The number of all links.
    links: usize,
    /// Whether a stream was left out because there was no room for its link.
    pub(super) is_full: bool,
    /// Grows when streams have to be matched anew; 0 before there was any subscription.
    pub(super) version: Arc<AtomicU64>,
    /// Subscriptions whose streams have changed since they were polled.
    pub(super) dirty: BTreeSet<Serial>,
    /// When subscriptions are polled again.
    timers: BTreeSet<(u64, Serial)>,
}

/// A subscription in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subscription: Subscription,
    pub(super) links: BTreeMap<StreamName, LinkEntry>,
    /// The links with pending work.
    pub(super) pending: BTreeSet<StreamName>,
    /// Held during a change, until it is durable.
    pub(super) change_lock: Arc<Mutex<()>>,
    /// Notifies of every change of the state, and of the subscription's end.
    pub(super) changed: Arc<Notify>,
    /// Whether its creation isn't durable yet: it has links, and neither an id nor wakes.
    pub(super) is_creating: bool,
    /// Whether all tails were loaded since the start.
    pub(super) has_tails: bool,
    /// Whether a task wakes its workers.
    is_driven: bool,
    /// When it is polled again.
    timer_ms: Option<u64>,
    /// Whether it was logged that it has no room for more links.
    pub(super) is_full: bool,
}

/// A link in memory.
#[derive(Clone, Debug)]
pub(super) struct LinkEntry {
    pub(super) link: Link,
    /// The numbers of the commits in flight that write it; none if it is durable. Appends that overlap each write it,
    /// because earlier ones may fail. Their outcomes may arrive in any order.
    pub(super) in_flight: Vec<u64>,
}

impl LinkEntry {
    /// Returns the entry of a link that is in the store.
    pub(super) const fn durable(link: Link) -> Self {
        Self { link, in_flight: Vec::new() }
    }

    pub(super) const fn is_durable(&self) -> bool {
        self.in_flight.is_empty()
    }
}

impl Entry {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            links: BTreeMap::new(),
            pending: BTreeSet::new(),
            change_lock: Arc::default(),
            changed: Arc::default(),
            is_creating: false,
            has_tails: false,
            is_driven: false,
            timer_ms: None,
            is_full: false,
        }
    }

    /// Returns the entry of a subscription that is being created.
    pub(super) fn creating(subscription: Subscription) -> Self {
        Self { is_creating: true, ..Self::new(subscription) }
    }

    pub(super) const fn kind(&self) -> DeliveryKind {
        match self.subscription.config.delivery {
            Delivery::Webhook(_) => DeliveryKind::Webhook,
            Delivery::PullWake(_) => DeliveryKind::PullWake,
        }
    }

    /// Returns the state, in which a lease that has ended is over.
    pub(super) fn wakes(&self, now_ms: u64) -> Wakes {
        self.subscription.wakes.on_time(now_ms, self.subscription.jitter_seed())
    }

    /// Returns what has to be done next.
    pub(super) fn next(&self, now_ms: u64) -> WakeStep {
        self.wakes(now_ms).poll(self.kind(), !self.pending.is_empty(), now_ms)
    }

    /// Returns the streams that a wake names, those with pending work first.
    pub(super) fn wake_streams(&self) -> Vec<(StreamName, Link)> {
        let pending = self.pending.iter().filter_map(|name| self.links.get_key_value(name));
        let others = self.links.iter().filter(|(_, entry)| !entry.link.is_pending());
        let streams = pending.chain(others).take(WAKE_STREAMS_MAX);
        streams.map(|(name, entry)| (name.clone(), entry.link)).collect()
    }
}

/// Returns the JSON forms of a wake's streams.
pub(super) fn progress_views(streams: &[(StreamName, Link)]) -> Vec<StreamView> {
    streams.iter().map(|(name, link)| StreamView::progress(name, link)).collect()
}

/// Returns the edit that writes a subscription.
pub(super) fn write(subscription: &Subscription) -> Edit {
    document(stored::subscription_key(subscription.serial), Some(stored::encode_subscription(subscription)))
}

/// Returns the edit that writes a link.
pub(super) fn write_link(serial: Serial, name: &StreamName, link: &Link) -> Edit {
    document(stored::link_key(serial, name), Some(stored::encode_link(link)))
}

/// Returns the edit that removes a link.
pub(super) fn remove_link(serial: Serial, name: &StreamName) -> Edit {
    document(stored::link_key(serial, name), None)
}

pub(super) const fn document(key: Box<str>, value: Option<Bytes>) -> Edit {
    Edit::Document { key, value }
}

impl Registry {
    /// Adds a subscription. From now on appends make the links of its pattern.
    pub(super) fn insert(&mut self, entry: Entry) {
        let serial = entry.subscription.serial;
        if let Some(pattern) = &entry.subscription.config.pattern {
            self.patterns.insert(pattern, serial);
        }
        if !entry.is_creating {
            self.by_id.insert(entry.subscription.id.clone(), serial);
        }
        self.entries.insert(serial, entry);
    }

    /// Removes a subscription with its links.
    pub(super) fn remove(&mut self, serial: Serial) {
        let Some(entry) = self.entries.remove(&serial) else { return };
        entry.changed.notify_waiters();
        self.by_id.retain(|_, known| *known != serial);
        if let Some(pattern) = &entry.subscription.config.pattern {
            self.patterns.remove(pattern, serial);
        }
        if let Some(timer_ms) = entry.timer_ms {
            self.timers.remove(&(timer_ms, serial));
        }
        for name in entry.links.keys() {
            self.unindex(serial, name);
        }
    }

    /// Finds the subscription of an id.
    pub(super) fn find(&self, id: &SubscriptionId) -> Option<(Serial, &Entry)> {
        let serial = *self.by_id.get(id)?;
        Some((serial, self.entries.get(&serial)?))
    }

    /// Returns the number of subscriptions, and the number of all their links.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_id.len(), self.links)
    }

    pub(super) fn link(&self, serial: Serial, name: &StreamName) -> Option<&LinkEntry> {
        self.entries.get(&serial)?.links.get(name)
    }

    /// Returns whether any subscription has a link to a stream.
    pub(super) fn is_linked(&self, name: &StreamName) -> bool {
        self.by_stream.contains_key(name)
    }

    /// Returns whether there is room for one more link.
    pub(super) fn has_room(&self, serial: Serial, links_max: usize) -> bool {
        self.links < links_max && self.entries.get(&serial).is_some_and(|entry| entry.links.len() < LINKS_MAX)
    }

    /// Adds a link or replaces it. The caller has checked that there is room.
    pub(super) fn put_link(&mut self, serial: Serial, name: &StreamName, link: LinkEntry) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if entry.links.insert(name.clone(), link).is_none() {
            self.links += 1;
            self.by_stream.entry(name.clone()).or_default().push(serial);
        }
        update_pending(entry, name);
    }

    /// Removes a link.
    pub(super) fn remove_link(&mut self, serial: Serial, name: &StreamName) -> Option<LinkEntry> {
        let entry = self.entries.get_mut(&serial)?;
        let link = entry.links.remove(name)?;
        entry.pending.remove(name);
        self.unindex(serial, name);
        Some(link)
    }

    fn unindex(&mut self, serial: Serial, name: &StreamName) {
        self.links -= 1;
        if std::mem::take(&mut self.is_full) {
            self.version.fetch_add(1, Ordering::Release);
        }
        if let Some(serials) = self.by_stream.get_mut(name) {
            serials.retain(|known| *known != serial);
            if serials.is_empty() {
                self.by_stream.remove(name);
            }
        }
    }

    /// Moves a cursor forward, if its link still exists.
    pub(super) fn acknowledge(&mut self, serial: Serial, name: &StreamName, link: &Link) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if let Some(known) = entry.links.get_mut(name) {
            known.link.acked = known.link.acked.max(link.acked);
            update_pending(entry, name);
        }
    }

    /// Updates the link of one subscription to a stream's head.
    pub(super) fn observe(&mut self, serial: Serial, name: &StreamName, head: Option<&StreamHead>) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if let Some(known) = entry.links.get_mut(name) {
            known.link = known.link.observed(head.filter(|head| !head.soft_deleted));
            update_pending(entry, name);
        }
    }

    /// Updates all links to a stream's head. Their subscriptions become dirty.
    pub(super) fn observe_all(&mut self, name: &StreamName, head: Option<&StreamHead>) {
        for serial in self.by_stream.get(name).cloned().unwrap_or_default() {
            self.observe(serial, name, head);
            self.dirty.insert(serial);
        }
    }

    /// Finds out what a subscription needs. `true`: something has to be done now, and the caller drives it until
    /// [`Registry::release`]. Otherwise a timer is set if something has to be done later.
    pub(super) fn poll(&mut self, serial: Serial, now_ms: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&serial) else { return false };
        if entry.is_driven || entry.is_creating {
            return false;
        }
        let next = entry.next(now_ms);
        let is_driven = matches!(next, WakeStep::Wake | WakeStep::Deliver);
        entry.is_driven = is_driven;
        self.set_timer(serial, if let WakeStep::WaitUntil(at_ms) = next { Some(at_ms) } else { None });
        is_driven
    }

    /// Ends the driving of a subscription that [`Registry::poll`] began.
    pub(super) fn release(&mut self, serial: Serial) {
        if let Some(entry) = self.entries.get_mut(&serial) {
            entry.is_driven = false;
        }
    }

    /// Sets when a subscription is polled again, instead of what was set before.
    pub(super) fn set_timer(&mut self, serial: Serial, at_ms: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if let Some(before_ms) = std::mem::replace(&mut entry.timer_ms, at_ms) {
            self.timers.remove(&(before_ms, serial));
        }
        if let Some(at_ms) = at_ms {
            self.timers.insert((at_ms, serial));
        }
    }

    /// Takes the subscriptions whose timers have expired.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Vec<Serial> {
        let later = self.timers.split_off(&(now_ms.saturating_add(1), Serial::new(0)));
        let due = std::mem::replace(&mut self.timers, later);
        for (_, serial) in &due {
            if let Some(entry) = self.entries.get_mut(serial) {
                entry.timer_ms = None;
            }
        }
        due.into_iter().map(|(_, serial)| serial).collect()
    }

    /// Returns when the earliest timer expires.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.timers.first().map(|&(at_ms, _)| at_ms)
    }
}

fn update_pending(entry: &mut Entry, name: &StreamName) {
    let is_pending = entry.links.get(name).is_some_and(|known| known.link.is_pending());
    if !is_pending {
        entry.pending.remove(name);
    } else if !entry.pending.contains(name) {
        entry.pending.insert(name.clone());
    }
}
