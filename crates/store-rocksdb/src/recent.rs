//! What the commit log holds and RocksDB doesn't yet: the effect of the frames since the last checkpoint, in memory.

use std::collections::{BTreeSet, HashMap, HashSet};

use headwater_protocol::producer::ProducerState;
use headwater_store::log::Log;

use crate::{
    codec::Malformed,
    head::Summary,
    record::{self, Record},
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

/// A stream's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) summary: Summary,
    pub(crate) encoded: Box<[u8]>,
}

/// What one life of a stream was given.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) log: Log,
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
        record::records(payload).try_for_each(|record| {
            self.apply_record(record?);
            Ok(())
        })
    }

    fn apply_record(&mut self, record: Record<'_>) {
        match record {
            Record::Put { name, summary, head, bytes, producer } => {
                self.incarnation_last = self.incarnation_last.max(summary.incarnation);
                let life = self.lives.entry(summary.incarnation).or_insert_with(|| Life {
                    log: Log::new(summary.tail.saturating_sub(bytes.len() as u64)),
                    producers: HashMap::new(),
                    is_born: summary.version == 1,
                });
                life.log.append(bytes);
                if let Some(producer) = producer {
                    let state = ProducerState { epoch: producer.epoch, seq_last: producer.seq_last };
                    match life.producers.get_mut(producer.id) {
                        Some(known) => *known = state,
                        None => {
                            life.producers.insert(producer.id.into(), state);
                        }
                    }
                }
                self.set_head(name, Some(Head { summary, encoded: head.into() }));
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
    }

    fn set_head(&mut self, name: &str, head: Option<Head>) {
        let deadline_ms = |head: &Option<Head>| head.as_ref().and_then(|head| head.summary.deadline_ms);
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
