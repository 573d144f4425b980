//! The content of the store, and how a commit changes it: checked whole, then applied whole.
//!
//! The store counts the memory that it takes and not only what clients sent: a stream, a producer or a one-byte append
//! takes many times its bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Ancestor, Change, StreamHead},
};
use headwater_store::{Commit, Edit, StoreError, StreamState, log::Log};

/// What an entry of a map takes besides its key and value, as a factor in percent: the nodes of a tree are half to wholly
/// full, the table of a hash map is too.
const MAP_PERCENT: usize = 160;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) streams: BTreeMap<StreamName, StreamHead>,
    pub(crate) logs: HashMap<Incarnation, Log>,
    pub(crate) producers: HashMap<Incarnation, HashMap<ProducerId, ProducerState>>,
    pub(crate) deadlines: BTreeSet<(u64, StreamName)>,
    pub(crate) documents: BTreeMap<Box<str>, Bytes>,
    pub(crate) incarnation_last: u64,
    /// The memory of all that, about.
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

    /// Returns the memory that the store takes, about.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        self.check(&commit)?;
        for edit in commit.edits {
            match edit {
                Edit::Put { name, change, .. } => self.put(name, change),
                Edit::Remove { name, .. } => self.remove(&name),
                Edit::Document { key, value } => self.document(key, value),
            }
        }
        Ok(())
    }

    /// Returns by how many bytes an edit makes the store grow, at least; negative where it frees room.
    fn growth(&self, edit: &Edit) -> i64 {
        let (after, before) = match edit {
            Edit::Put { name, expected, change } => {
                let stream = if *expected == 0 { stream_bytes(name, &change.head) } else { 0 };
                let known = self.producers.get(&change.head.incarnation);
                let is_known = |id| known.is_some_and(|known| known.contains_key(id));
                let producer = change.producer.as_ref().filter(|(id, _)| !is_known(id));
                let log = Log::memory_of_append(change.bytes.len());
                (stream + producer.map_or(0, |(id, _)| producer_bytes(id)) + log, 0)
            }
            Edit::Remove { name, .. } => (0, self.streams.get(name).map_or(0, |head| self.held(name, head))),
            Edit::Document { key, value } => (
                value.as_ref().map_or(0, |value| document_bytes(key, value)),
                self.documents.get(key).map_or(0, |value| document_bytes(key, value)),
            ),
        };
        after.cast_signed() - before.cast_signed()
    }

    /// Returns the memory of a stream.
    fn held(&self, name: &StreamName, head: &StreamHead) -> u64 {
        let log = self.logs.get(&head.incarnation).map_or(0, Log::memory_bytes);
        let producers = self.producers.get(&head.incarnation);
        let producers = producers.map_or(0, |known| known.keys().map(producer_bytes).sum());
        stream_bytes(name, head) + log + producers
    }

    /// Checks each edit against the state that the ones before leave, and that there is room. An edit that needs no room is
    /// never refused for it, so that a full store lets streams be closed and deleted.
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut states: HashMap<&StreamName, StreamState> = HashMap::new();
        for edit in &commit.edits {
            let Some(name) = edit.stream() else { continue };
            let stored = || self.streams.get(name).map_or(StreamState::default(), StreamState::of);
            let before = states.get(name).copied().unwrap_or_else(stored);
            states.insert(name, edit.check(before)?);
        }
        let more: i64 = commit.edits.iter().map(|edit| self.growth(edit)).sum();
        let is_full = more > 0 && self.bytes.saturating_add_signed(more) > self.bytes_max;
        if is_full { Err(StoreError::Full) } else { Ok(()) }
    }

    fn put(&mut self, name: StreamName, change: Change) {
        let Change { head, bytes, producer } = change;
        self.incarnation_last = self.incarnation_last.max(head.incarnation.get());
        let before = self.streams.get(&name);
        let before_bytes = before.map_or(0, |before| stream_bytes(&name, before));
        let after_bytes = stream_bytes(&name, &head);
        if let Some(deadline_ms) = before.and_then(|head| head.deadline_ms) {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.insert((deadline_ms, name.clone()));
        }
        let log =
            self.logs.entry(head.incarnation).or_insert_with(|| Log::new(head.tail - bytes.len() as u64));
        let log_bytes = log.memory_bytes();
        log.append(&bytes);
        assert_eq!(log.end(), head.tail, "the edit was checked: its bytes begin at the end of their log");
        // Less, if it shrinks its last segment.
        self.bytes = self.bytes + log.memory_bytes() - log_bytes;
        if let Some((id, state)) = producer {
            let id_bytes = producer_bytes(&id);
            if self.producers.entry(head.incarnation).or_default().insert(id, state).is_none() {
                self.bytes += id_bytes;
            }
        }
        self.streams.insert(name, head);
        self.bytes = self.bytes + after_bytes - before_bytes;
    }

    fn remove(&mut self, name: &StreamName) {
        let Some(head) = self.streams.get(name) else { return };
        self.bytes -= self.held(name, head);
        let Some(head) = self.streams.remove(name) else { return };
        if let Some(deadline_ms) = head.deadline_ms {
            self.deadlines.remove(&(deadline_ms, name.clone()));
        }
        self.logs.remove(&head.incarnation);
        self.producers.remove(&head.incarnation);
    }

    fn document(&mut self, key: Box<str>, value: Option<Bytes>) {
        let after_bytes = value.as_ref().map_or(0, |value| document_bytes(&key, value));
        let before = self.documents.get(&key).map_or(0, |before| document_bytes(&key, before));
        match value {
            Some(value) => _ = self.documents.insert(key, value),
            None => _ = self.documents.remove(&key),
        }
        self.bytes = self.bytes + after_bytes - before;
    }
}

/// Returns the memory of a map's entry whose key and value have this size.
const fn entry_bytes(size: usize) -> u64 {
    (size * MAP_PERCENT / 100) as u64
}

/// Returns the memory of a stream without its bytes and producers: a head, a log, and an entry of the deadlines.
fn stream_bytes(name: &StreamName, head: &StreamHead) -> u64 {
    const HEAD: u64 = entry_bytes(size_of::<(StreamName, StreamHead)>());
    const LOG: u64 = entry_bytes(size_of::<(Incarnation, Log)>());
    const DEADLINE: u64 = entry_bytes(size_of::<(u64, StreamName)>());
    const SHARED: usize = 2 * size_of::<usize>();
    let closed = head.closed.as_ref().and_then(|closure| closure.by.as_ref());
    // Both are shared texts with two counts.
    let heap = SHARED * 2
        + name.as_str().len()
        + head.content_type.as_str().len()
        + head.seq_last.as_ref().map_or(0, |seq| seq.len())
        + closed.map_or(0, |claim| claim.id.as_str().len())
        + head.fork.as_ref().map_or(0, |fork| fork.source.as_str().len())
        + head.ancestors.len() * size_of::<Ancestor>();
    HEAD + LOG + if head.deadline_ms.is_some() { DEADLINE } else { 0 } + heap as u64
}

fn producer_bytes(id: &ProducerId) -> u64 {
    const ENTRY: u64 = entry_bytes(size_of::<(ProducerId, ProducerState)>());
    ENTRY + id.as_str().len() as u64
}

fn document_bytes(key: &str, value: &Bytes) -> u64 {
    const ENTRY: u64 = entry_bytes(size_of::<(Box<str>, Bytes)>());
    ENTRY + (key.len() + value.len()) as u64
}
