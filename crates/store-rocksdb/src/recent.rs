//! What the commit log holds and RocksDB doesn't yet: the effect of the frames since the last checkpoint, in memory.

use std::collections::{BTreeSet, HashMap, HashSet};

use headwater_protocol::{producer::ProducerState, stream::StreamHead};
use headwater_store::log::Log;

use crate::{
    codec::Malformed,
    head::{self, Encoded, Summary},
    record::{self, Producer, Record},
};

/// The effect of a run of frames.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Heads that were written, by stream name; `None`: the stream was removed.
    pub(crate) heads: HashMap<Box<str>, Option<Head>>,
    /// What was written besides heads, by incarnation.
    pub(crate) lives: HashMap<u64, Life>,
    /// Incarnations that were removed and that RocksDB may know something of.
    pub(crate) removed: HashSet<u64>,
    /// The deadlines of `heads`.
    pub(crate) deadlines: BTreeSet<(u64, Box<str>)>,
    /// Documents that were written; `None`: removed.
    pub(crate) documents: HashMap<Box<str>, Option<Box<[u8]>>>,
    /// The largest incarnation that was written; 0 if none was.
    pub(crate) incarnation_last: u64,
}

/// A stream's head, as the last record with a whole one left it; its life tells how far it has come since.
#[derive(Debug)]
pub(crate) struct Head {
    incarnation: u64,
    deadline_ms: Option<u64>,
    encoded: Box<[u8]>,
}

/// What one life of a stream was given.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) log: Log,
    version: u64,
    changed_ms: u64,
    pub(crate) producers: HashMap<Box<str>, ProducerState>,
    /// It began here: RocksDB knows nothing of it.
    pub(crate) is_born: bool,
}

impl Recent {
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.removed.is_empty() && self.documents.is_empty()
    }

    /// Applies a frame's payload.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        record::records(payload).try_for_each(|record| self.apply_record(record?))
    }

    /// A head as it is now. An error would be a bug: what is here was checked.
    pub(crate) fn encoded<'a>(&self, head: &'a Head) -> Result<Encoded<'a>, Malformed> {
        let life = self.lives.get(&head.incarnation).ok_or(Malformed)?;
        let mut encoded = Encoded::parse(&head.encoded)?;
        encoded.summary = Summary { version: life.version, tail: life.log.end(), ..encoded.summary };
        encoded.changed_ms = life.changed_ms;
        Ok(encoded)
    }

    /// The same in the protocol's words.
    pub(crate) fn stream_head(&self, head: &Head) -> Result<StreamHead, Malformed> {
        let Encoded { summary, changed_ms, .. } = self.encoded(head)?;
        let decoded = head::decode(&head.encoded)?;
        Ok(StreamHead { version: summary.version, tail: summary.tail, changed_ms, ..decoded })
    }

    fn apply_record(&mut self, record: Record<'_>) -> Result<(), Malformed> {
        match record {
            Record::Put { name, head, bytes, producer } => {
                let Encoded { summary, changed_ms, .. } = Encoded::parse(head)?;
                self.incarnation_last = self.incarnation_last.max(summary.incarnation);
                let life = self.lives.entry(summary.incarnation).or_insert_with(|| Life {
                    log: Log::new(summary.tail.saturating_sub(bytes.len() as u64)),
                    version: summary.version,
                    changed_ms,
                    producers: HashMap::new(),
                    is_born: summary.version == 1,
                });
                life.append(summary.version, changed_ms, bytes, producer);
                if life.log.end() != summary.tail {
                    return Err(Malformed);
                }
                let Summary { incarnation, deadline_ms, .. } = summary;
                self.set_head(name, Some(Head { incarnation, deadline_ms, encoded: head.into() }));
            }
            Record::Append { incarnation, changed_ms, bytes, producer } => {
                let life = self.lives.get_mut(&incarnation).ok_or(Malformed)?;
                life.append(life.version.saturating_add(1), changed_ms, bytes, producer);
            }
            Record::Remove { name, incarnation } => {
                if self.lives.remove(&incarnation).is_none_or(|life| !life.is_born) {
                    self.removed.insert(incarnation);
                }
                self.set_head(name, None);
            }
            Record::Document { key, value } => {
                self.documents.insert(key.into(), value.map(Into::into));
            }
        }
        Ok(())
    }

    fn set_head(&mut self, name: &str, head: Option<Head>) {
        let deadline_ms = |head: &Option<Head>| head.as_ref().and_then(|head| head.deadline_ms);
        let after_ms = deadline_ms(&head);
        let before_ms = match self.heads.get_mut(name) {
            Some(known) => deadline_ms(&std::mem::replace(known, head)),
            None => {
                self.heads.insert(name.into(), head);
                None
            }
        };
        if before_ms == after_ms {
            return;
        }
        if let Some(before_ms) = before_ms {
            self.deadlines.remove(&(before_ms, name.into()));
        }
        if let Some(after_ms) = after_ms {
            self.deadlines.insert((after_ms, name.into()));
        }
    }
}

impl Life {
    fn append(&mut self, version: u64, changed_ms: u64, bytes: &[u8], producer: Option<Producer<'_>>) {
        self.version = version;
        self.changed_ms = changed_ms;
        self.log.append(bytes);
        let Some(Producer { id, epoch, seq_last }) = producer else { return };
        let state = ProducerState { epoch, seq_last };
        match self.producers.get_mut(id) {
            Some(known) => *known = state,
            None => {
                self.producers.insert(id.into(), state);
            }
        }
    }
}
