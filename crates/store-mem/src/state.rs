//! The content of the store, and how a commit changes it: checked whole, then applied whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};
use headwater_store::{Commit, Edit, StoreError, StreamState, log::Log};

/// The charge for a stream, a producer or a document besides its bytes.
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
        self.bytes = self.check(&commit)?;
        for edit in commit.edits {
            match edit {
                Edit::Put { name, change, .. } => self.put(name, change),
                Edit::Remove { name, .. } => self.remove(&name),
                Edit::Document { key, value: Some(value) } => _ = self.documents.insert(key, value),
                Edit::Document { key, value: None } => _ = self.documents.remove(&key),
            }
        }
        Ok(())
    }

    /// Returns by how many bytes an edit makes the store grow; negative where it frees room.
    fn growth(&self, edit: &Edit) -> i64 {
        let (after, before) = match edit {
            Edit::Put { expected, change, .. } => {
                let is_known = |id| self.producers.get(&change.head.incarnation)?.get(id);
                let stream = u64::from(*expected == 0);
                let producer =
                    change.producer.as_ref().map_or(0, |(id, _)| u64::from(is_known(id).is_none()));
                (change.bytes.len() as u64 + ENTRY_BYTES * (stream + producer), 0)
            }
            Edit::Remove { name, .. } => (0, self.streams.get(name).map_or(0, |head| self.held(head))),
            Edit::Document { key, value } => {
                let charge = |value: &Bytes| value.len() as u64 + ENTRY_BYTES;
                (value.as_ref().map_or(0, charge), self.documents.get(key).map_or(0, charge))
            }
        };
        after.cast_signed() - before.cast_signed()
    }

    /// Returns the charge for a stream.
    fn held(&self, head: &StreamHead) -> u64 {
        let bytes = self.logs.get(&head.incarnation).map_or(0, |log| log.end() - log.begin());
        let producers = self.producers.get(&head.incarnation).map_or(0, HashMap::len) as u64;
        bytes + ENTRY_BYTES * (1 + producers)
    }

    /// Checks each edit against the state that the ones before leave, and that there is room; returns the bytes held
    /// afterwards. An edit that needs no room is never refused for it, so that a full store lets streams be closed and
    /// deleted.
    fn check(&self, commit: &Commit) -> Result<u64, StoreError> {
        let mut states: HashMap<&StreamName, StreamState> = HashMap::new();
        for edit in &commit.edits {
            let Some(name) = edit.stream() else { continue };
            let stored = || self.streams.get(name).map_or(StreamState::default(), StreamState::of);
            let before = states.get(name).copied().unwrap_or_else(stored);
            states.insert(name, edit.check(before)?);
        }
        let more: i64 = commit.edits.iter().map(|edit| self.growth(edit)).sum();
        let bytes = self.bytes.saturating_add_signed(more);
        if more > 0 && bytes > self.bytes_max { Err(StoreError::Full) } else { Ok(bytes) }
    }

    fn put(&mut self, name: StreamName, change: Change) {
        let Change { head, bytes, producer } = change;
        self.incarnation_last = self.incarnation_last.max(head.incarnation.get());
        if let Some(deadline_ms) = self.streams.get(&name).and_then(|head| head.deadline_ms) {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.insert((deadline_ms, name.clone()));
        }
        let log =
            self.logs.entry(head.incarnation).or_insert_with(|| Log::new(head.tail - bytes.len() as u64));
        log.append(&bytes);
        assert_eq!(log.end(), head.tail, "the edit was checked: its bytes begin at the end of their log");
        if let Some((id, state)) = producer {
            self.producers.entry(head.incarnation).or_default().insert(id, state);
        }
        self.streams.insert(name, head);
    }

    fn remove(&mut self, name: &StreamName) {
        let Some(head) = self.streams.remove(name) else { return };
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        self.logs.remove(&head.incarnation);
        self.producers.remove(&head.incarnation);
    }
}
