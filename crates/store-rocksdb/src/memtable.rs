//! A memtable: the effect of the frames in one slot of the commit log, until a checkpoint writes it to RocksDB.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

use headwater_protocol::{offset::Incarnation, producer::ProducerState, stream::StreamHead};
use headwater_store::log::Log;

use crate::{
    codec::Malformed,
    commit_log::SLOT_BYTES,
    head,
    record::{self, Producer, Record},
};

/// The memory from which on a memtable is sealed, however little of its slot is used: new streams and producers take more
/// here than in the log.
const MEMORY_BYTES: usize = SLOT_BYTES as usize;
/// The estimated memory of an entry besides its content: its place in a map, and what allocations add.
const ENTRY_BYTES: usize = 64;

/// The result of looking something up where it may be: in a memtable, or in all of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    /// It is here.
    Found(T),
    /// It was deleted here.
    Deleted,
    /// It is not here: older memtables and RocksDB may have it.
    Absent,
}

impl<T> Lookup<T> {
    pub(crate) fn found(self) -> Option<T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Deleted | Self::Absent => None,
        }
    }

    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(value) => Lookup::Found(map(value)),
            Self::Deleted => Lookup::Deleted,
            Self::Absent => Lookup::Absent,
        }
    }
}

/// The effect of a run of frames.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    /// The streams that were written or removed.
    pub(crate) names: HashMap<Box<str>, NameEntry>,
    /// The streams that were written, by incarnation. In boxes: there may be hundreds of thousands, and growing moves
    /// them all.
    pub(crate) streams: HashMap<u64, Box<StreamEntry>>,
    /// Incarnations that were removed and that RocksDB may have a part of.
    pub(crate) removed: HashSet<u64>,
    /// The deadlines of the streams in `names`.
    pub(crate) deadlines: BTreeSet<(u64, Box<str>)>,
    /// Documents that were written; `None`: removed.
    pub(crate) documents: HashMap<Box<str>, Option<Box<[u8]>>>,
    /// The largest incarnation that was written; 0 if none was.
    pub(crate) incarnation_last: u64,
    /// The estimated memory of all that. What is replaced or removed still counts, as it does in the slot.
    memory_bytes: usize,
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEntry {
    /// The stream's incarnation, which is in `streams`; `None`: it was removed.
    pub(crate) incarnation: Option<u64>,
    /// Whether there was no stream of this name before, so that RocksDB has no deadline of it.
    pub(crate) is_new: bool,
}

/// The writes to one incarnation of a stream.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    /// The head as of the last record.
    pub(crate) head: StreamHead,
    pub(crate) log: Log,
    pub(crate) producers: HashMap<Box<str>, ProducerState>,
    /// Whether the stream was created here, so that RocksDB has nothing of it.
    pub(crate) is_new: bool,
}

impl Memtable {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.removed.is_empty() && self.documents.is_empty()
    }

    /// Returns whether it takes as much memory as a memtable may.
    pub(crate) const fn is_full(&self) -> bool {
        self.memory_bytes >= MEMORY_BYTES
    }

    /// Applies a frame's payload.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        record::records(payload).try_for_each(|record| self.apply_record(record?))
    }

    /// Looks up a stream's head.
    pub(crate) fn head(&self, name: &str) -> Lookup<&StreamHead> {
        match self.names.get(name).map(|entry| entry.incarnation) {
            Some(Some(incarnation)) => Lookup::Found(&self.stream(incarnation).head),
            Some(None) => Lookup::Deleted,
            None => Lookup::Absent,
        }
    }

    /// Looks up a producer's state.
    pub(crate) fn producer(&self, incarnation: u64, id: &str) -> Lookup<ProducerState> {
        if self.removed.contains(&incarnation) {
            return Lookup::Deleted;
        }
        let stream = self.streams.get(&incarnation);
        stream
            .and_then(|stream| stream.producers.get(id))
            .map_or(Lookup::Absent, |state| Lookup::Found(*state))
    }

    /// Looks up a document.
    pub(crate) fn document(&self, key: &str) -> Lookup<&[u8]> {
        match self.documents.get(key) {
            Some(Some(value)) => Lookup::Found(value),
            Some(None) => Lookup::Deleted,
            None => Lookup::Absent,
        }
    }

    /// Returns the stream of an incarnation in `names`.
    #[expect(clippy::expect_used, reason = "without its entry a stream would be taken for a removed one")]
    pub(crate) fn stream(&self, incarnation: u64) -> &StreamEntry {
        self.streams
            .get(&incarnation)
            .expect("`apply_record` removes the entry of an incarnation with its name")
    }

    fn apply_record(&mut self, record: Record<'_>) -> Result<(), Malformed> {
        match record {
            Record::Put { name, head: encoded, bytes, producer } => {
                let head = head::decode(encoded)?;
                let incarnation = head.incarnation.get();
                // An incarnation is of one stream: another name for it would share its bytes.
                if self.streams.contains_key(&incarnation) && self.incarnation(name) != Some(incarnation) {
                    return Err(Malformed);
                }
                self.incarnation_last = self.incarnation_last.max(incarnation);
                self.set_name(name, Some(incarnation), head.version == 1, head.deadline_ms);
                let stream = match self.streams.entry(incarnation) {
                    Entry::Occupied(entry) => {
                        let stream = entry.into_mut();
                        stream.head = head;
                        stream
                    }
                    Entry::Vacant(entry) => {
                        self.memory_bytes += ENTRY_BYTES + size_of::<StreamEntry>() + encoded.len();
                        entry.insert(Box::new(StreamEntry {
                            log: Log::new(head.tail.checked_sub(bytes.len() as u64).ok_or(Malformed)?),
                            is_new: head.version == 1,
                            head,
                            producers: HashMap::new(),
                        }))
                    }
                };
                self.memory_bytes += stream.append(bytes, producer)?;
            }
            Record::Append { incarnation, changed_ms, bytes, producer } => {
                let stream = self.streams.get_mut(&incarnation).ok_or(Malformed)?;
                stream.head.version = stream.head.version.checked_add(1).ok_or(Malformed)?;
                stream.head.tail = stream.head.tail.checked_add(bytes.len() as u64).ok_or(Malformed)?;
                stream.head.changed_ms = changed_ms;
                self.memory_bytes += stream.append(bytes, producer)?;
            }
            Record::Remove { name, incarnation } => {
                if incarnation > Incarnation::MAX
                    || self.incarnation(name).is_some_and(|named| named != incarnation)
                {
                    return Err(Malformed);
                }
                self.set_name(name, None, false, None);
                if self.streams.remove(&incarnation).is_none_or(|stream| !stream.is_new) {
                    self.memory_bytes += ENTRY_BYTES;
                    self.removed.insert(incarnation);
                }
            }
            Record::Document { key, value } => {
                self.memory_bytes += ENTRY_BYTES + key.len() + value.map_or(0, <[u8]>::len);
                self.documents.insert(key.into(), value.map(Into::into));
            }
        }
        Ok(())
    }

    fn incarnation(&self, name: &str) -> Option<u64> {
        self.names.get(name)?.incarnation
    }

    /// Gives a name to an incarnation, or to none, with its new deadline. `is_new` tells whether the record creates the
    /// stream. It is called before the stream's entry changes, which has the old deadline.
    fn set_name(&mut self, name: &str, incarnation: Option<u64>, is_new: bool, after_ms: Option<u64>) {
        let before = match self.names.get_mut(name) {
            Some(known) => std::mem::replace(&mut known.incarnation, incarnation),
            None => {
                self.memory_bytes += ENTRY_BYTES + name.len();
                self.names.insert(name.into(), NameEntry { incarnation, is_new });
                None
            }
        };
        let before = before.and_then(|incarnation| self.streams.get(&incarnation));
        let before_ms = before.and_then(|stream| stream.head.deadline_ms);
        if before_ms == after_ms {
            return;
        }
        if let Some(before_ms) = before_ms {
            self.deadlines.remove(&(before_ms, name.into()));
        }
        if let Some(after_ms) = after_ms {
            self.memory_bytes += ENTRY_BYTES + name.len();
            self.deadlines.insert((after_ms, name.into()));
        }
    }
}

impl StreamEntry {
    /// Adds the bytes that made the head, and their producer's state. Returns the estimated memory of that.
    fn append(&mut self, bytes: &[u8], producer: Option<Producer<'_>>) -> Result<usize, Malformed> {
        self.log.append(bytes);
        if self.log.end() != self.head.tail {
            return Err(Malformed);
        }
        let mut memory_bytes = bytes.len() + size_of::<u64>();
        if let Some(Producer { id, epoch, seq_last }) = producer {
            let state = ProducerState { epoch, seq_last };
            match self.producers.get_mut(id) {
                Some(known) => *known = state,
                None => {
                    memory_bytes += ENTRY_BYTES + id.len();
                    self.producers.insert(id.into(), state);
                }
            }
        }
        Ok(memory_bytes)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_protocol::stream::Change;
    use headwater_store::{Edit, contract};

    use super::*;
    use crate::record::Before;

    /// Returns how many bytes of records of such edits fill a memtable.
    fn filled_by(edit: impl Fn(u64) -> Edit) -> u64 {
        let mut memtable = Memtable::default();
        let mut bytes = 0;
        for number in 1.. {
            let mut payload = Vec::new();
            record::encode(&edit(number), Before::default(), &mut payload, &mut Vec::new());
            memtable.apply(&payload).unwrap();
            bytes += payload.len() as u64;
            if memtable.is_full() {
                break;
            }
        }
        bytes
    }

    #[test]
    fn new_streams_fill_a_generation_before_its_slot_and_bytes_do_not() {
        let edit = |name: String, head: StreamHead, bytes: Bytes| {
            let name = contract::name(&name);
            Edit::Put { name, expected: head.version - 1, change: Change { head, bytes, producer: None } }
        };
        let creation = |number| edit(format!("stream-{number}"), contract::head(number, 1, 0), Bytes::new());
        let creations = filled_by(creation);
        assert!((SLOT_BYTES / 20..SLOT_BYTES / 5).contains(&creations), "{creations}");
        let bytes = Bytes::from(vec![b'x'; 256]);
        let append = |number| edit("a".into(), contract::head(7, number, number * 256), bytes.clone());
        let appends = filled_by(append);
        assert!(appends > SLOT_BYTES, "{appends}");
    }
}
