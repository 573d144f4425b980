//! The memtable state in memtables: one that commits are added to, and older ones on their way to RocksDB.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use headwater_protocol::{producer::ProducerState, stream::StreamHead};
use headwater_store::log::Gather;

use crate::{commit_log::Slot, memtable::Memtable};

/// All that RocksDB doesn't hold yet.
#[derive(Debug, Default)]
pub(crate) struct Memtables {
    pub(crate) active: Memtable,
    /// The oldest first.
    pub(crate) sealed: VecDeque<Sealed>,
}

/// A memtable that doesn't change any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) memtable: Arc<Memtable>,
    /// Its last frame.
    pub(crate) through: u64,
    /// Where its frames are.
    pub(crate) slots: Vec<Slot>,
}

/// What a look at the memtables says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    /// There is such a thing.
    Found(T),
    /// It was removed.
    Deleted,
    /// RocksDB has to be asked.
    Absent,
}

impl<T> Lookup<T> {
    fn of(found: Option<Option<T>>) -> Self {
        match found {
            Some(Some(value)) => Self::Found(value),
            Some(None) => Self::Deleted,
            None => Self::Absent,
        }
    }
}

impl Memtables {
    /// The newest first.
    fn iter(&self) -> impl DoubleEndedIterator<Item = &Memtable> {
        [&self.active].into_iter().chain(self.sealed.iter().rev().map(|sealed| &*sealed.memtable))
    }

    /// A stream's head.
    pub(crate) fn head<T>(&self, name: &str, map: impl FnOnce(&StreamHead) -> T) -> Lookup<T> {
        Lookup::of(self.iter().find_map(|memtable| memtable.head(name)).map(|head| head.map(map)))
    }

    /// A producer's state.
    pub(crate) fn producer(&self, incarnation: u64, id: &str) -> Lookup<ProducerState> {
        Lookup::of(self.iter().find_map(|memtable| {
            let state =
                memtable.streams.get(&incarnation).and_then(|stream| stream.producers.get(id).copied());
            state.map(Some).or_else(|| memtable.removed.contains(&incarnation).then_some(None))
        }))
    }

    /// A document.
    pub(crate) fn document(&self, key: &str) -> Lookup<Bytes> {
        let found = self.iter().find_map(|memtable| memtable.documents.get(key));
        Lookup::of(found.map(|value| value.as_deref().map(Bytes::copy_from_slice)))
    }

    /// Adds to a range what is here of it: `Found` if that was anything, `Absent` if RocksDB has what comes next.
    pub(crate) fn gather(&self, incarnation: u64, gather: &mut Gather) -> Lookup<()> {
        if self.iter().any(|memtable| memtable.removed.contains(&incarnation)) {
            return Lookup::Deleted;
        }
        let mut any = false;
        for stream in self.iter().rev().filter_map(|memtable| memtable.streams.get(&incarnation)) {
            for part in stream.log.parts(gather.next()) {
                if gather.is_done() || !gather.add(part) {
                    break;
                }
                any = true;
            }
        }
        if any { Lookup::Found(()) } else { Lookup::Absent }
    }

    /// Where the oldest bytes of a log that are here begin.
    pub(crate) fn log_begin(&self, incarnation: u64) -> Option<u64> {
        self.iter()
            .rev()
            .find_map(|memtable| memtable.streams.get(&incarnation))
            .map(|stream| stream.log.begin())
    }

    /// Streams with a deadline up to `until_ms`; some may have got another one meanwhile.
    pub(crate) fn deadlines(&self, until_ms: u64) -> impl Iterator<Item = (u64, &str)> {
        self.iter().flat_map(move |memtable| {
            let due = memtable.deadlines.iter().take_while(move |(deadline_ms, _)| *deadline_ms <= until_ms);
            due.map(|(deadline_ms, name)| (*deadline_ms, &**name))
        })
    }

    /// The names of streams that were written, with whether they exist, the newest word first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.iter()
            .flat_map(|memtable| memtable.names.iter().map(|(name, stream)| (&**name, stream.is_some())))
    }
    /// The documents that were written, `None` for those that went, the newest word first.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.iter()
            .flat_map(|memtable| memtable.documents.iter().map(|(key, value)| (&**key, value.as_deref())))
    }
}
