//! The memtables: the active one, to which commits are added, and sealed ones on their way to RocksDB.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use headwater_protocol::{producer::ProducerState, stream::StreamHead};
use headwater_store::gather::Gather;

use crate::{
    commit_log::Slot,
    memtable::{Lookup, Memtable},
};

/// Everything that RocksDB doesn't hold yet.
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
    /// The number of its last frame.
    pub(crate) through: u64,
    /// The slots with its frames.
    pub(crate) slots: Vec<Slot>,
}

impl Memtables {
    /// Iterates over the memtables, the newest first.
    fn iter(&self) -> impl DoubleEndedIterator<Item = &Memtable> {
        [&self.active].into_iter().chain(self.sealed.iter().rev().map(|sealed| &*sealed.memtable))
    }

    /// Looks something up in the newest memtable that has it.
    fn newest<'a, T>(&'a self, look_up: impl Fn(&'a Memtable) -> Lookup<T>) -> Lookup<T> {
        let known = self.iter().map(look_up).find(|found| !matches!(found, Lookup::Absent));
        known.unwrap_or(Lookup::Absent)
    }

    /// Looks up a stream's head.
    pub(crate) fn head<T>(&self, name: &str, map: impl FnOnce(&StreamHead) -> T) -> Lookup<T> {
        self.newest(|memtable| memtable.head(name)).map(map)
    }

    /// Looks up a producer's state.
    pub(crate) fn producer(&self, incarnation: u64, id: &str) -> Lookup<ProducerState> {
        self.newest(|memtable| memtable.producer(incarnation, id))
    }

    /// Looks up a document.
    pub(crate) fn document(&self, key: &str) -> Lookup<Bytes> {
        self.newest(|memtable| memtable.document(key)).map(Bytes::copy_from_slice)
    }

    /// Adds to a range the bytes of it that are here: `Found` if there were any, `Absent` if RocksDB has what comes next.
    pub(crate) fn gather(&self, incarnation: u64, gather: &mut Gather) -> Lookup<()> {
        if self.iter().any(|memtable| memtable.removed.contains(&incarnation)) {
            return Lookup::Deleted;
        }
        let mut found = Lookup::Absent;
        for stream in self.iter().rev().filter_map(|memtable| memtable.streams.get(&incarnation)) {
            for part in stream.log.parts(gather.next()) {
                if gather.is_done() || !gather.add(part) {
                    break;
                }
                found = Lookup::Found(());
            }
        }
        found
    }

    /// Returns the position of the oldest bytes of a log that are here.
    pub(crate) fn log_begin(&self, incarnation: u64) -> Option<u64> {
        let mut streams = self.iter().rev().filter_map(|memtable| memtable.streams.get(&incarnation));
        streams.next().map(|stream| stream.log.begin())
    }

    /// Returns streams with a deadline up to `until_ms`: of each memtable at most the first `limit` that follow `after`.
    pub(crate) fn deadlines(
        &self,
        until_ms: u64,
        after: Option<(u64, &str)>,
        limit: usize,
    ) -> BTreeSet<(u64, Box<str>)> {
        let begin =
            after.map_or(Bound::Unbounded, |(deadline_ms, name)| Bound::Excluded((deadline_ms, name.into())));
        let newest_first: Vec<&Memtable> = self.iter().collect();
        let mut found = BTreeSet::new();
        for (age, memtable) in newest_first.iter().enumerate() {
            let (newer, _) = newest_first.split_at(age);
            // A newer one knows better.
            let is_current = |name: &str| !newer.iter().any(|memtable| memtable.names.contains_key(name));
            let due = memtable.deadlines.range((begin.clone(), Bound::Unbounded));
            let due = due.take_while(|(deadline_ms, _)| *deadline_ms <= until_ms);
            found.extend(due.filter(|(_, name)| is_current(name)).take(limit).cloned());
        }
        found
    }

    /// Iterates over the names of streams that were written, newest first, with whether they exist.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.iter().flat_map(|memtable| {
            memtable.names.iter().map(|(name, entry)| (&**name, entry.incarnation.is_some()))
        })
    }

    /// Iterates over the documents that were written, newest first; `None` for deleted ones.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.iter()
            .flat_map(|memtable| memtable.documents.iter().map(|(key, value)| (&**key, value.as_deref())))
    }
}
