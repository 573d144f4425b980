//! Reads: from the memtables, then from RocksDB.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_protocol::{offset::Incarnation, path::StreamName};
use headwater_store::{Chunk, Deadline, Document, StoreError, gather::Gather};

use crate::{
    RocksStore,
    engine::Engine,
    head::HeadPrefix,
    keys::{CONTROL, NAMES},
    memtable::Lookup,
    rocks::Query,
};

/// The most stale deadlines that are removed at once; more are found again later.
const STALE_MAX: usize = 10_000;

impl RocksStore {
    /// Completes a look at the memtables by one at RocksDB: at once if the value is in memory, otherwise on a thread that
    /// may wait for the disk.
    pub(crate) async fn look_up<T: 'static + Send>(
        &self,
        found: Lookup<T>,
        query: impl FnOnce() -> Query<'static, T>,
    ) -> Result<Option<T>, StoreError> {
        match found {
            Lookup::Found(value) => return Ok(Some(value)),
            Lookup::Deleted => return Ok(None),
            Lookup::Absent => {}
        }
        let query = query();
        match self.engine.rocks.get_cached(&query)? {
            Some(value) => Ok(value),
            None => self.on_disk(move |engine| engine.rocks.get(&query)).await,
        }
    }

    /// Runs a read on a thread that may wait for the disk.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = self.engine.clone();
        // It fails if the runtime is stopping, or if the read has panicked.
        tokio::task::spawn_blocking(move || read(&engine)).await.map_err(StoreError::failed)?
    }

    /// Gathers a range, at once if it is in memory, otherwise on a thread that may wait for the disk. `begin` makes the
    /// empty one.
    pub(crate) async fn gather(
        &self,
        incarnation: Incarnation,
        begin: impl Fn() -> Gather + Send + 'static,
    ) -> Result<Chunk, StoreError> {
        let number = incarnation.get();
        let mut gather = begin();
        let (from, target) = (gather.next(), gather.target());
        let log_begin = self.engine.memtables().log_begin(number);
        if log_begin.is_some_and(|log_begin| log_begin <= from) {
            let found = self.engine.memtables().gather(number, &mut gather);
            match found {
                Lookup::Found(()) if gather.is_done() || gather.next() >= target => {
                    return gather.finish();
                }
                Lookup::Deleted => return Err(StoreError::Missing(incarnation)),
                // A checkpoint took it away in between.
                Lookup::Found(()) | Lookup::Absent => {}
            }
        }
        self.on_disk(move |engine| gather_all(engine, incarnation, begin())).await
    }
}

/// Gathers a range from RocksDB and the memtables, whichever has the next byte.
fn gather_all(engine: &Engine, incarnation: Incarnation, mut gather: Gather) -> Result<Chunk, StoreError> {
    let number = incarnation.get();
    let missing = StoreError::Missing(incarnation);
    let target = gather.target();
    let mut any = false;
    loop {
        let found = engine.memtables().gather(number, &mut gather);
        if found == Lookup::Deleted {
            return Err(missing);
        }
        any |= found == Lookup::Found(());
        if gather.is_done() {
            return gather.finish();
        }
        let before = gather.next();
        any |= engine.rocks.gather(number, &mut gather)?;
        if gather.is_done() {
            return gather.finish();
        }
        if gather.next() == before {
            return match any {
                false => Err(missing),
                true if before >= target => gather.finish(),
                true => {
                    let what = format!("log {number}: the bytes from {before} on are missing");
                    Err(StoreError::damaged(what))
                }
            };
        }
    }
}

/// Entries of the memtables over those of RocksDB, in the order of their keys; `None` for absent ones.
struct Merge<K, V> {
    entries: BTreeMap<K, Option<V>>,
    limit: usize,
    /// How many of RocksDB's entries count.
    taken: usize,
}

impl<K: Ord, V> Merge<K, V> {
    /// Begins with the entries of the memtables, the newest first.
    fn over(newest_first: impl Iterator<Item = (K, Option<V>)>, limit: usize) -> Self {
        let mut entries = BTreeMap::new();
        for (key, value) in newest_first {
            entries.entry(key).or_insert(value);
        }
        Self { entries, limit, taken: 0 }
    }

    /// Adds RocksDB's next entry, unless a memtable has it. Returns `false` once later ones can't count.
    fn add(&mut self, key: K, value: Option<V>) -> bool {
        let counts = self.entries.entry(key).or_insert(value).is_some();
        self.taken += usize::from(counts);
        self.taken < self.limit
    }

    /// Returns the first entries that are there.
    fn finish(self) -> impl Iterator<Item = (K, V)> {
        self.entries.into_iter().filter_map(|(key, value)| Some((key, value?))).take(self.limit)
    }
}

/// A page of entries whose keys are texts.
pub(crate) struct Page {
    pub(crate) prefix: Box<str>,
    pub(crate) after: Option<Box<str>>,
    pub(crate) limit: usize,
}

impl Page {
    fn contains(&self, key: &str) -> bool {
        key.starts_with(&*self.prefix) && self.after.as_deref().is_none_or(|after| key > after)
    }

    /// Returns the key from which on RocksDB's entries are visited.
    fn first(&self) -> &str {
        self.after.as_deref().map_or(&*self.prefix, |after| after.max(&*self.prefix))
    }

    /// Merges an entry of RocksDB from [`Page::first`] on. Returns `false` after the last one that can be in the page.
    fn visit<V>(&self, merge: &mut Merge<Box<str>, V>, key: &str, value: V) -> bool {
        // Keys are sorted: those with the prefix stand together.
        key.starts_with(&*self.prefix) && (!self.contains(key) || merge.add(key.into(), Some(value)))
    }
}

/// Lists stream names.
pub(crate) fn list(engine: &Engine, page: &Page) -> Result<Vec<StreamName>, StoreError> {
    let mut merge = {
        let memtables = engine.memtables();
        let names = memtables.names().filter(|(name, _)| page.contains(name));
        Merge::over(names.map(|(name, exists)| (name.into(), exists.then_some(()))), page.limit)
    };
    engine.rocks.entries(NAMES, page.first(), |name, _| page.visit(&mut merge, name, ()))?;
    merge.finish().map(|(name, ())| stored_name(&name)).collect()
}

fn stored_name(name: &str) -> Result<StreamName, StoreError> {
    StreamName::new(name).map_err(StoreError::damaged)
}

/// Lists documents.
pub(crate) fn documents(engine: &Engine, page: &Page) -> Result<Vec<Document>, StoreError> {
    let mut merge = {
        let memtables = engine.memtables();
        let documents = memtables.documents().filter(|(key, _)| page.contains(key));
        let copied = documents.map(|(key, value)| (key.into(), value.map(Bytes::copy_from_slice)));
        Merge::over(copied, page.limit)
    };
    let visit = |key: &str, value: &[u8]| page.visit(&mut merge, key, Bytes::copy_from_slice(value));
    engine.rocks.entries(CONTROL, page.first(), visit)?;
    Ok(merge.finish().collect())
}

/// Finds streams whose deadline is at or before `until_ms`.
pub(crate) fn expired(
    engine: &Engine,
    until_ms: u64,
    after: Option<(u64, &str)>,
    limit: usize,
) -> Result<Vec<Deadline>, StoreError> {
    let mut found = engine.memtables().deadlines(until_ms, after, limit);
    let mut stale = Vec::new();
    let mut taken = 0;
    engine.rocks.deadlines(until_ms, after, |db, deadline_ms, name| {
        // A memtable knows better, and its deadlines are found already.
        if engine.memtables().head(name, |_| ()) == Lookup::Absent {
            let prefix = db.get(&Query::new(NAMES, name.as_bytes(), HeadPrefix::decode))?;
            if prefix.and_then(|prefix| prefix.deadline_ms) == Some(deadline_ms) {
                found.insert((deadline_ms, name.into()));
                taken += 1;
            } else if engine.memtables().head(name, |_| ()) == Lookup::Absent && stale.len() < STALE_MAX {
                stale.push((deadline_ms, name.into()));
            }
        }
        Ok(taken < limit)
    })?;
    if !stale.is_empty() {
        engine.rocks.remove_deadlines(&stale)?;
    }
    let page = found.into_iter().take(limit);
    page.map(|(deadline_ms, name)| Ok((deadline_ms, stored_name(&name)?))).collect()
}
