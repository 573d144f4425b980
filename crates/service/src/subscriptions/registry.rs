//! All subscriptions in memory, with their links: what appends look at, and what transitions start from.
//!
//! What is here of a subscription changes only when the store has it durably, with one exception: a link that an append
//! or a request is about to commit is here before, so that nobody makes it twice. It carries the numbers of the commits
//! that have it until one of them is durable, and goes again if all of them fail ([`Linked`]).

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
        wake::{Kind, Next},
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
pub(crate) struct Registry {
    pub(crate) by_id: HashMap<SubscriptionId, Serial>,
    pub(crate) entries: HashMap<Serial, Entry>,
    pub(crate) common: Option<Common>,
    pub(crate) keys: KeyRing,
    /// Who has a link to a stream.
    linked: HashMap<StreamName, Vec<Serial>>,
    patterns: PatternIndex,
    /// All links together.
    links: usize,
    /// A stream was left out because there was no room for its link.
    is_full: bool,
    /// Grows when streams have to be matched anew; 0 before there is anything to match with.
    pub(crate) version: Arc<AtomicU64>,
    /// Whose streams have changed since somebody looked what they need.
    pub(crate) concerned: BTreeSet<Serial>,
    /// When to look at whom again.
    timers: BTreeSet<(u64, Serial)>,
}

/// A subscription in memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) subscription: Subscription,
    pub(crate) links: BTreeMap<StreamName, Linked>,
    /// Those of the links where something is pending.
    pub(crate) pending: BTreeSet<StreamName>,
    /// Held by whoever changes it, until the change is durable.
    pub(crate) gate: Arc<Mutex<()>>,
    /// Tells that its state has changed, or that it is gone.
    pub(crate) changed: Arc<Notify>,
    /// Its creation isn't durable yet: it has links and nothing else.
    pub(crate) is_forming: bool,
    /// All its streams were looked at since the server began.
    pub(crate) is_surveyed: bool,
    /// Somebody wakes its workers.
    pub(crate) is_driven: bool,
    /// When it is looked at again.
    timer_ms: Option<u64>,
    /// It was told that it has no room for more links.
    is_full: bool,
}

/// A link in memory.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) link: Link,
    /// The commits on their way that write it; empty: it is durable. Appends that overlap each write it, because those
    /// before may fail. Who waits for them may learn in any order how they ended.
    by: Vec<u64>,
}

/// What a commit of streams does to links besides: undone if it fails.
#[derive(Debug, Default)]
pub(crate) struct Pledge {
    /// The commit's number.
    pub(crate) by: u64,
    made: Vec<(Serial, StreamName)>,
    removed: Vec<(Serial, StreamName, Linked)>,
}

impl Linked {
    /// One that the store has.
    pub(crate) const fn durable(link: Link) -> Self {
        Self { link, by: Vec::new() }
    }

    pub(crate) const fn is_durable(&self) -> bool {
        self.by.is_empty()
    }
}

impl Entry {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            links: BTreeMap::new(),
            pending: BTreeSet::new(),
            gate: Arc::default(),
            changed: Arc::default(),
            is_forming: false,
            is_surveyed: false,
            is_driven: false,
            timer_ms: None,
            is_full: false,
        }
    }

    /// One that is being created.
    pub(crate) fn forming(subscription: Subscription) -> Self {
        Self { is_forming: true, ..Self::new(subscription) }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.subscription.config.delivery {
            Delivery::Webhook(_) => Kind::Webhook,
            Delivery::PullWake(_) => Kind::PullWake,
        }
    }

    /// Where it stands now.
    pub(crate) fn wakes(&self, now_ms: u64) -> Wakes {
        self.subscription.wakes.at(now_ms, self.subscription.roll())
    }

    /// What is to be done next.
    pub(crate) fn next(&self, now_ms: u64) -> Next {
        self.wakes(now_ms).next(self.kind(), !self.pending.is_empty(), now_ms)
    }

    /// The streams of a wake, those with work first.
    pub(crate) fn snapshot(&self) -> Vec<(StreamName, Link)> {
        let pending = self.pending.iter().filter_map(|name| self.links.get_key_value(name));
        let others = self.links.iter().filter(|(_, linked)| !linked.link.is_pending());
        let streams = pending.chain(others).take(WAKE_STREAMS_MAX);
        streams.map(|(name, linked)| (name.clone(), linked.link)).collect()
    }

    /// All links, to be told.
    pub(crate) fn all_links(&self) -> Vec<(StreamName, Link)> {
        self.links.iter().map(|(name, linked)| (name.clone(), linked.link)).collect()
    }
}

/// Streams with their progress.
pub(crate) fn progress_views(streams: &[(StreamName, Link)]) -> Vec<StreamView> {
    streams.iter().map(|(name, link)| StreamView::progress(name, link)).collect()
}

/// An edit that writes a subscription.
pub(crate) fn write(subscription: &Subscription) -> Edit {
    document(stored::subscription_key(subscription.serial), Some(stored::encode_subscription(subscription)))
}

/// An edit that writes a link.
pub(crate) fn write_link(serial: Serial, name: &StreamName, link: &Link) -> Edit {
    document(stored::link_key(serial, name), Some(stored::encode_link(link)))
}

/// An edit that removes a link.
pub(crate) fn remove_link(serial: Serial, name: &StreamName) -> Edit {
    document(stored::link_key(serial, name), None)
}

pub(crate) const fn document(key: Box<str>, value: Option<Bytes>) -> Edit {
    Edit::Document { key, value }
}

impl Registry {
    /// Adds a subscription; its pattern makes links from now on.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let serial = entry.subscription.serial;
        if let Some(pattern) = &entry.subscription.config.pattern {
            self.patterns.insert(pattern, serial);
        }
        if !entry.is_forming {
            self.by_id.insert(entry.subscription.id.clone(), serial);
        }
        self.entries.insert(serial, entry);
    }

    /// Takes a subscription with its links away.
    pub(crate) fn remove(&mut self, serial: Serial) {
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

    /// The subscription of an id.
    pub(crate) fn find(&self, id: &SubscriptionId) -> Option<(Serial, &Entry)> {
        let serial = *self.by_id.get(id)?;
        Some((serial, self.entries.get(&serial)?))
    }

    /// How many subscriptions there are, and how many links they have together.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.by_id.len(), self.links)
    }

    /// A link.
    pub(crate) fn linked(&self, serial: Serial, name: &StreamName) -> Option<&Linked> {
        self.entries.get(&serial)?.links.get(name)
    }

    /// Whether there is room for one more link.
    pub(crate) fn has_room(&self, serial: Serial, links_max: usize) -> bool {
        self.links < links_max && self.entries.get(&serial).is_some_and(|entry| entry.links.len() < LINKS_MAX)
    }

    /// Adds a link or replaces it. The caller has looked whether there is room.
    pub(crate) fn link(&mut self, serial: Serial, name: &StreamName, linked: Linked) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if entry.links.insert(name.clone(), linked).is_none() {
            self.links += 1;
            self.linked.entry(name.clone()).or_default().push(serial);
        }
        update_pending(entry, name);
    }

    /// Adds a link or replaces it, with a commit that writes it. One that is durable stays so: the store has it, as it
    /// was before.
    pub(crate) fn pledge(&mut self, serial: Serial, name: &StreamName, link: Link, by: u64) {
        let by = match self.linked(serial, name) {
            Some(known) if known.is_durable() => Vec::new(),
            Some(known) => known.by.iter().copied().chain([by]).collect(),
            None => vec![by],
        };
        self.link(serial, name, Linked { link, by });
    }

    /// Takes a link away.
    pub(crate) fn unlink(&mut self, serial: Serial, name: &StreamName) -> Option<Linked> {
        let entry = self.entries.get_mut(&serial)?;
        let linked = entry.links.remove(name)?;
        entry.pending.remove(name);
        self.unindex(serial, name);
        Some(linked)
    }

    fn unindex(&mut self, serial: Serial, name: &StreamName) {
        self.links -= 1;
        if std::mem::take(&mut self.is_full) {
            self.version.fetch_add(1, Ordering::Release);
        }
        if let Some(serials) = self.linked.get_mut(name) {
            serials.retain(|known| *known != serial);
            if serials.is_empty() {
                self.linked.remove(name);
            }
        }
    }

    /// A commit that wrote a link is durable, or has failed. A link that none of its commits made goes; one that was
    /// made anew meanwhile has nothing to do with it.
    pub(crate) fn settle(&mut self, serial: Serial, name: &StreamName, by: u64, is_durable: bool) {
        let linked = self.entries.get_mut(&serial).and_then(|entry| entry.links.get_mut(name));
        let Some(linked) = linked.filter(|linked| linked.by.contains(&by)) else { return };
        if is_durable {
            linked.by = Vec::new();
            return;
        }
        linked.by.retain(|known| *known != by);
        if linked.by.is_empty() {
            self.unlink(serial, name);
        }
    }

    /// Moves a cursor; a link that is gone meanwhile has none.
    pub(crate) fn acknowledge(&mut self, serial: Serial, name: &StreamName, link: &Link) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if let Some(linked) = entry.links.get_mut(name) {
            linked.link.acked = linked.link.acked.max(link.acked);
            update_pending(entry, name);
        }
    }

    /// Notes how a stream is for one subscription.
    pub(crate) fn observe(&mut self, serial: Serial, name: &StreamName, head: Option<&StreamHead>) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        if let Some(linked) = entry.links.get_mut(name) {
            linked.link = linked.link.observed(head.filter(|head| !head.soft_deleted));
            update_pending(entry, name);
        }
    }

    /// Notes how a stream is for all that have a link to it.
    pub(crate) fn observe_all(&mut self, name: &StreamName, head: Option<&StreamHead>) {
        for serial in self.linked.get(name).cloned().unwrap_or_default() {
            self.observe(serial, name, head);
            self.concerned.insert(serial);
        }
    }

    /// Whether anybody has a link to a stream.
    pub(crate) fn is_watched(&self, name: &StreamName) -> bool {
        self.linked.contains_key(name)
    }

    /// Links a stream to all whose patterns discover it, in the commit that appends to it. `true`: all of its links are
    /// durable already.
    pub(crate) fn reveal(
        &mut self,
        name: &StreamName,
        (before, after): (Option<&StreamHead>, &StreamHead),
        links_max: usize,
        (pledge, edits): (&mut Pledge, &mut Vec<Edit>),
    ) -> bool {
        let mut all_durable = true;
        for serial in self.patterns.matching(name) {
            let has_room = self.has_room(serial, links_max);
            let Some(entry) = self.entries.get_mut(&serial) else { continue };
            if !entry.subscription.config.discovers(name) {
                continue;
            }
            let link = match entry.links.get(name) {
                Some(linked) if linked.is_durable() => continue,
                // Its commit may fail and this one not.
                Some(linked) => linked.link,
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
            edits.push(write_link(serial, name, &link));
            pledge.made.push((serial, name.clone()));
            self.pledge(serial, name, link, pledge.by);
        }
        all_durable
    }

    /// Takes the links of a stream away that only patterns made, in the commit that removes it.
    pub(crate) fn conceal(&mut self, name: &StreamName, pledge: &mut Pledge, edits: &mut Vec<Edit>) {
        for serial in self.linked.get(name).cloned().unwrap_or_default() {
            if self.linked(serial, name).is_none_or(|linked| linked.link.explicit) {
                continue;
            }
            let Some(linked) = self.unlink(serial, name) else { continue };
            edits.push(remove_link(serial, name));
            pledge.removed.push((serial, name.clone(), linked));
        }
    }

    /// A commit of streams is durable, or has failed.
    pub(crate) fn resolve(&mut self, pledge: Pledge, is_durable: bool) {
        for (serial, name) in &pledge.made {
            self.settle(*serial, name, pledge.by, is_durable);
        }
        for (serial, name, linked) in pledge.removed.into_iter().filter(|_| !is_durable) {
            if self.linked(serial, &name).is_none_or(|known| !known.is_durable()) {
                self.link(serial, &name, linked);
            }
        }
    }

    /// Looks what a subscription needs: `true` if somebody has to begin to drive it; else a timer is set if need be.
    pub(crate) fn touch(&mut self, serial: Serial, now_ms: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&serial) else { return false };
        if entry.is_driven || entry.is_forming {
            return false;
        }
        let next = entry.next(now_ms);
        let timer_ms = if let Next::At(at_ms) = next { Some(at_ms) } else { None };
        let before_ms = std::mem::replace(&mut entry.timer_ms, timer_ms);
        entry.is_driven = matches!(next, Next::Wake | Next::Deliver);
        let is_driven = entry.is_driven;
        self.move_timer(serial, before_ms, timer_ms);
        is_driven
    }

    /// Looks at a subscription again at a time, whatever it needs.
    pub(crate) fn look_again(&mut self, serial: Serial, at_ms: u64) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        let before_ms = entry.timer_ms.replace(at_ms);
        self.move_timer(serial, before_ms, Some(at_ms));
    }

    fn move_timer(&mut self, serial: Serial, before_ms: Option<u64>, after_ms: Option<u64>) {
        if let Some(before_ms) = before_ms {
            self.timers.remove(&(before_ms, serial));
        }
        if let Some(after_ms) = after_ms {
            self.timers.insert((after_ms, serial));
        }
    }

    /// Whose time has come, and when the next one's does.
    pub(crate) fn due(&mut self, now_ms: u64) -> (Vec<Serial>, Option<u64>) {
        let mut due = Vec::new();
        while let Some(&(at_ms, serial)) = self.timers.first() {
            if at_ms > now_ms {
                return (due, Some(at_ms));
            }
            self.timers.pop_first();
            if let Some(entry) = self.entries.get_mut(&serial) {
                entry.timer_ms = None;
            }
            due.push(serial);
        }
        (due, None)
    }
}

fn update_pending(entry: &mut Entry, name: &StreamName) {
    let is_pending = entry.links.get(name).is_some_and(|linked| linked.link.is_pending());
    if !is_pending {
        entry.pending.remove(name);
    } else if !entry.pending.contains(name) {
        entry.pending.insert(name.clone());
    }
}
