//! The recent state in generations: one that commits are added to, and older ones on their way to RocksDB.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use headwater_protocol::{producer::ProducerState, stream::StreamHead};
use headwater_store::log::Gather;

use crate::{commit_log::Slot, recent::Recent};

/// All that RocksDB doesn't hold yet.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    pub(crate) active: Recent,
    /// The oldest first.
    pub(crate) sealed: VecDeque<Sealed>,
}

/// A generation that doesn't change any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) recent: Arc<Recent>,
    /// Its last frame.
    pub(crate) through: u64,
    /// Where its frames are.
    pub(crate) slots: Vec<Slot>,
}

/// What a look at the generations says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recall<T> {
    /// There is such a thing.
    Known(T),
    /// It was removed.
    Removed,
    /// RocksDB has to be asked.
    Unknown,
}

impl<T> Recall<T> {
    fn of(found: Option<Option<T>>) -> Self {
        match found {
            Some(Some(value)) => Self::Known(value),
            Some(None) => Self::Removed,
            None => Self::Unknown,
        }
    }
}

impl Generations {
    /// The newest first.
    fn iter(&self) -> impl DoubleEndedIterator<Item = &Recent> {
        [&self.active].into_iter().chain(self.sealed.iter().rev().map(|sealed| &*sealed.recent))
    }

    /// A stream's head.
    pub(crate) fn head<T>(&self, name: &str, map: impl FnOnce(&StreamHead) -> T) -> Recall<T> {
        Recall::of(self.iter().find_map(|recent| recent.head(name)).map(|head| head.map(map)))
    }

    /// A producer's state.
    pub(crate) fn producer(&self, incarnation: u64, id: &str) -> Recall<ProducerState> {
        Recall::of(self.iter().find_map(|recent| {
            let state = recent.lives.get(&incarnation).and_then(|life| life.producers.get(id).copied());
            state.map(Some).or_else(|| recent.removed.contains(&incarnation).then_some(None))
        }))
    }

    /// A document.
    pub(crate) fn document(&self, key: &str) -> Recall<Bytes> {
        let found = self.iter().find_map(|recent| recent.documents.get(key));
        Recall::of(found.map(|value| value.as_deref().map(Bytes::copy_from_slice)))
    }

    /// Adds to a range what is here of it: `Known` if that was anything, `Unknown` if RocksDB has what comes next.
    pub(crate) fn gather(&self, incarnation: u64, gather: &mut Gather) -> Recall<()> {
        if self.iter().any(|recent| recent.removed.contains(&incarnation)) {
            return Recall::Removed;
        }
        let mut any = false;
        for life in self.iter().rev().filter_map(|recent| recent.lives.get(&incarnation)) {
            for part in life.log.parts(gather.next()) {
                if gather.is_done() || !gather.add(part) {
                    break;
                }
                any = true;
            }
        }
        if any { Recall::Known(()) } else { Recall::Unknown }
    }

    /// Where the oldest bytes of a log that are here begin.
    pub(crate) fn log_begin(&self, incarnation: u64) -> Option<u64> {
        self.iter().rev().find_map(|recent| recent.lives.get(&incarnation)).map(|life| life.log.begin())
    }

    /// Streams with a deadline up to `until_ms`; some may have got another one meanwhile.
    pub(crate) fn deadlines(&self, until_ms: u64) -> impl Iterator<Item = (u64, &str)> {
        self.iter().flat_map(move |recent| {
            let due = recent.deadlines.iter().take_while(move |(deadline_ms, _)| *deadline_ms <= until_ms);
            due.map(|(deadline_ms, name)| (*deadline_ms, &**name))
        })
    }

    /// The names of streams that were written, with whether they exist, the newest word first.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.iter().flat_map(|recent| recent.names.iter().map(|(name, life)| (&**name, life.is_some())))
    }
    /// The documents that were written, `None` for those that went, the newest word first.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.iter().flat_map(|recent| recent.documents.iter().map(|(key, value)| (&**key, value.as_deref())))
    }
}
