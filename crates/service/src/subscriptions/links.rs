//! The way of an append: whether anybody has to hear of it, at the cost of two loads when nobody does.

use std::sync::{Arc, MutexGuard, atomic::Ordering};

use headwater_protocol::stream::StreamHead;
use headwater_store::Edit;

use super::{
    Subscriptions,
    registry::{Pledge, Registry},
};
use crate::{commit::Alteration, streams::OpenStream};

/// A commit of streams and what it does to links besides.
pub(crate) struct Company<'a> {
    /// What is to be committed.
    pub(crate) edits: Vec<Edit>,
    /// What to undo if that fails.
    pub(crate) pledge: Pledge,
    /// Held from the first link on until the commit is queued: a link's documents are queued in the order in which they
    /// were decided.
    registry: Option<MutexGuard<'a, Registry>>,
}

impl Company<'_> {
    pub(crate) fn new(edits: Vec<Edit>) -> Self {
        Self { edits, pledge: Pledge::default(), registry: None }
    }
}

impl Subscriptions {
    /// Adds to a commit what a part of it does to links.
    pub(crate) fn accompany<'a>(
        &'a self,
        stream: &OpenStream,
        before: Option<&StreamHead>,
        alteration: &Alteration,
        links_max: usize,
        company: &mut Company<'a>,
    ) {
        let version = self.version.load(Ordering::Acquire);
        let after = match alteration {
            Alteration::Put(change) if change.head.soft_deleted => None,
            Alteration::Put(change) if change.bytes.is_empty() => return,
            Alteration::Put(change) => Some(&change.head),
            Alteration::Remove => None,
        };
        if version == 0 || (after.is_some() && stream.links.at(version).is_some()) {
            return;
        }
        let Company { edits, pledge, registry } = company;
        if pledge.by == 0 {
            pledge.by = self.next_commit();
        }
        let registry = registry.get_or_insert_with(|| self.registry());
        // With the lock: whoever changes it later raises the version after.
        let version = self.version.load(Ordering::Acquire);
        let Some(after) = after else {
            // A later life has to be discovered anew.
            stream.links.forget();
            return registry.conceal(&stream.name, pledge, edits);
        };
        let all_durable = registry.reveal(&stream.name, (before, after), links_max, (pledge, edits));
        if all_durable {
            stream.links.set(version, registry.is_watched(&stream.name));
        }
    }

    /// The number of a commit that makes links.
    pub(super) fn next_commit(&self) -> u64 {
        self.commits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A commit is durable, or has failed.
    pub(crate) fn resolve(&self, pledge: Pledge, is_durable: bool) {
        if pledge.by > 0 {
            self.registry().resolve(pledge, is_durable);
        }
    }

    /// Readers see a stream's new state: so do subscriptions, soon.
    pub(crate) fn published(&self, stream: &Arc<OpenStream>) {
        let version = self.version.load(Ordering::Acquire);
        if version == 0 || stream.links.at(version) == Some(false) {
            return;
        }
        let mut notes = self.notes();
        match notes.get_mut(&stream.name) {
            Some(noted) if noted.is_abandoned() => *noted = stream.clone(),
            Some(_) => {}
            None => _ = notes.insert(stream.name.clone(), stream.clone()),
        }
        drop(notes);
        self.news.notify_one();
    }
}
