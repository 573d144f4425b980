//! The way of an append: whether anybody has to hear of it, at the cost of two loads when nobody does.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use headwater_protocol::stream::StreamHead;
use headwater_store::Edit;

use super::{Subscriptions, registry::Pledge};
use crate::{commit::Alteration, streams::OpenStream};

/// What a stream in memory knows of its subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The version that it was matched at, with durable links; 0: never.
    matched: AtomicU64,
    /// Whether anybody had a link to it then.
    is_watched: AtomicBool,
}

impl Subscriptions {
    /// What a part of a commit does to links: edits for the same commit, and what to undo if that fails.
    pub(crate) fn accompany(
        &self,
        stream: &OpenStream,
        before: Option<&StreamHead>,
        alteration: &Alteration,
        links_max: usize,
        (pledge, edits): (&mut Pledge, &mut Vec<Edit>),
    ) {
        let version = self.version.load(Ordering::Acquire);
        let after = match alteration {
            Alteration::Put(change) if change.head.soft_deleted => None,
            Alteration::Put(change) if change.bytes.is_empty() => return,
            Alteration::Put(change) => Some(&change.head),
            Alteration::Remove => None,
        };
        let is_known = stream.watch.matched.load(Ordering::Acquire) == version;
        if version == 0 || (is_known && after.is_some()) {
            return;
        }
        if pledge.by == 0 {
            pledge.by = self.next_commit();
        }
        let mut registry = self.registry();
        // With the lock: whoever changes it later raises the version after.
        let version = self.version.load(Ordering::Acquire);
        let Some(after) = after else { return registry.conceal(&stream.name, pledge, edits) };
        let all_durable = registry.reveal(&stream.name, (before, after), links_max, (pledge, edits));
        let is_watched = registry.is_watched(&stream.name);
        drop(registry);
        stream.watch.is_watched.store(is_watched, Ordering::Release);
        if all_durable {
            stream.watch.matched.store(version, Ordering::Release);
        }
    }

    /// The number of a commit that makes links.
    pub(super) fn next_commit(&self) -> u64 {
        self.commits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A commit is durable, or has failed.
    pub(crate) fn resolve(&self, pledge: &Pledge, is_durable: bool) {
        if pledge.by > 0 {
            self.registry().resolve(pledge, is_durable);
        }
    }

    /// Readers see a stream's new state: so do subscriptions, soon.
    pub(crate) fn published(&self, stream: &Arc<OpenStream>) {
        let version = self.version.load(Ordering::Acquire);
        let is_known = stream.watch.matched.load(Ordering::Acquire) == version;
        if version == 0 || (is_known && !stream.watch.is_watched.load(Ordering::Acquire)) {
            return;
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match notes.get_mut(&stream.name) {
            Some(noted) if noted.is_abandoned() => *noted = stream.clone(),
            Some(_) => {}
            None => _ = notes.insert(stream.name.clone(), stream.clone()),
        }
        drop(notes);
        self.news.notify_one();
    }
}
