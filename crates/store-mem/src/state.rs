//! What the store holds, and how a commit changes it: checked whole, then applied whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};
use headwater_store::{Commit, Edit, StoreError, log::Log};

/// What a stream or a producer is charged besides its bytes.
const ENTRY_BYTES: u64 = 512;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) streams: BTreeMap<StreamName, StreamHead>,
    pub(crate) logs: HashMap<Incarnation, Log>,
    pub(crate) producers: HashMap<Incarnation, HashMap<ProducerId, ProducerState>>,
    pub(crate) deadlines: BTreeSet<(u64, StreamName)>,
    pub(crate) documents: BTreeMap<Box<str>, Bytes>,
    pub(crate) incarnation_last: u64,
    bytes: u64,
    bytes_max: u64,
}

impl State {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            streams: BTreeMap::new(),
            logs: HashMap::new(),
            producers: HashMap::new(),
            deadlines: BTreeSet::new(),
            documents: BTreeMap::new(),
            incarnation_last: 0,
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        self.check(&commit)?;
        for edit in commit.edits {
            match edit {
                Edit::Put { name, change, .. } => self.put(name, change),
                Edit::Remove { name, .. } => self.remove(&name),
                Edit::Document { key, value: Some(value) } => {
                    self.charge_document(&key, value.len());
                    self.documents.insert(key, value);
                }
                Edit::Document { key, value: None } => {
                    self.charge_document(&key, 0);
                    self.documents.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// Versions and room, as they will be when the edits before are applied.
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut versions: HashMap<&StreamName, u64> = HashMap::new();
        let mut more = 0u64;
        for edit in &commit.edits {
            let (name, expected, after) = match edit {
                Edit::Put { name, expected, change } => {
                    more += change.bytes.len() as u64 + 2 * ENTRY_BYTES;
                    (name, *expected, change.head.version)
                }
                Edit::Remove { name, expected } => (name, *expected, 0),
                Edit::Document { value, .. } => {
                    more += value.as_ref().map_or(0, |value| value.len() as u64 + ENTRY_BYTES);
                    continue;
                }
            };
            let stored = || self.streams.get(name).map_or(0, |head| head.version);
            let found = versions.get(name).copied().unwrap_or_else(stored);
            if found != expected {
                return Err(StoreError::Stale { name: name.clone(), expected, found });
            }
            versions.insert(name, after);
        }
        let only_removes = commit.edits.iter().all(|edit| matches!(edit, Edit::Remove { .. }));
        if !only_removes && self.bytes.saturating_add(more) > self.bytes_max {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    fn put(&mut self, name: StreamName, change: Change) {
        let Change { head, bytes, producer } = change;
        self.incarnation_last = self.incarnation_last.max(head.incarnation.get());
        let before = self.streams.get(&name).map(|head| head.deadline_ms);
        if before.is_none() {
            self.bytes += ENTRY_BYTES;
        }
        if let Some(Some(deadline_ms)) = before {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.insert((deadline_ms, name.clone()));
        }
        let begin = head.tail.saturating_sub(bytes.len() as u64);
        self.logs.entry(head.incarnation).or_insert_with(|| Log::new(begin)).append(&bytes);
        self.bytes += bytes.len() as u64;
        if let Some((id, state)) = producer {
            let known = self.producers.entry(head.incarnation).or_default().insert(id, state);
            self.bytes += if known.is_none() { ENTRY_BYTES } else { 0 };
        }
        self.streams.insert(name, head);
    }

    fn remove(&mut self, name: &StreamName) {
        let Some(head) = self.streams.remove(name) else { return };
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        let bytes = self.logs.remove(&head.incarnation).map_or(0, |log| log.end() - log.begin());
        let producers =
            self.producers.remove(&head.incarnation).map_or(0, |producers| producers.len() as u64);
        self.bytes = self.bytes.saturating_sub(bytes + ENTRY_BYTES * (1 + producers));
    }

    fn charge_document(&mut self, key: &str, bytes: usize) {
        let before = self.documents.get(key).map_or(0, |value| value.len() as u64 + ENTRY_BYTES);
        let after = if bytes == 0 { 0 } else { bytes as u64 + ENTRY_BYTES };
        self.bytes = (self.bytes + after).saturating_sub(before);
    }
}
