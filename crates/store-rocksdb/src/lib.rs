//! The durable default store: a commit log that is synced once per group of commits, and RocksDB behind it.
//!
//! A commit is durable when its frame in the commit log is (`commit_log`). What the log holds is in memory too
//! (`memtable`) until a checkpoint brings it to RocksDB (`checkpointer`, `rocks`); then its part of the log is written
//! again. Reads ask memory, then RocksDB. Opening replays at most the few slots of the log: nothing is done per stream.
//! `docs/storage-format.md` has every byte, ADR 0009 the reasons.

mod checkpointer;
mod codec;
mod commit_log;
mod engine;
mod head;
mod keys;
mod memtable;
mod memtables;
mod record;
mod rocks;
#[cfg(test)]
mod tests;
pub mod tuning;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::StreamHead,
};
use headwater_store::{
    Chunk, Commit, Document, ReadRange, Store, StoreError, StoreFuture, Ticket, log::Gather,
};
use rocksdb::{ErrorKind, ReadTier};

use commit_log::{CommitLog, LogError, Replayed, disk::Disk};
use engine::Engine;
use memtable::Memtable;
use memtables::{Lookup, Memtables, Sealed};
use rocks::{Found, Marks, Rocks};
use tuning::Tuning;

/// Stale deadlines that are remembered until the next checkpoint removes them; more are found again later.
const STALE_DEADLINES_MAX: usize = 10_000;

/// A store in a folder.
#[derive(Debug)]
pub struct RocksStore {
    engine: Arc<Engine>,
    writer: Option<JoinHandle<()>>,
    checkpointer: Option<JoinHandle<()>>,
}

/// Why a folder can't be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it can't be used.
    #[error("the data folder {} can't be used: {why}", folder.display())]
    Unusable {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Another process has it.
    #[error("the data folder {} is in use by another process: stop that one, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// Something is there that can't be trusted, or something is missing.
    #[error(
        "the data folder {} is damaged: {what}. Nothing was changed; restore a backup, or keep a copy and ask for help",
        folder.display()
    )]
    Damaged {
        /// Which folder.
        folder: PathBuf,
        /// What isn't right.
        what: String,
    },
}

impl RocksStore {
    /// Opens the store in a folder, or makes one there. `cache_bytes` is the memory for blocks of RocksDB; besides
    /// that the store keeps up to four slots of 16 MiB of the commit log in memory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        Self::open_tuned(folder, cache_bytes, &Tuning::default())
    }

    /// The same with other numbers for RocksDB, to measure what they do. What one has written another one reads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_tuned(folder: &Path, cache_bytes: usize, tuning: &Tuning) -> Result<Self, OpenError> {
        Self::open_on(folder, cache_bytes, tuning, &Disk::default())
    }

    fn open_on(folder: &Path, cache_bytes: usize, tuning: &Tuning, disk: &Disk) -> Result<Self, OpenError> {
        let damaged = |what: String| OpenError::Damaged { folder: folder.into(), what };
        let unusable = |why: String| OpenError::Unusable { folder: folder.into(), why };
        let log_folder = folder.join("log");
        let was_used = commit_log::was_used(&log_folder);
        fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let base_folder = folder.join("rocksdb");
        let has_base = base_folder.join("CURRENT").exists();
        if was_used && !has_base {
            return Err(damaged("there is a commit log, but RocksDB's file CURRENT is missing".into()));
        }
        let rocks = Rocks::open(&base_folder, cache_bytes, tuning).map_err(|error| match error.kind() {
            ErrorKind::IOError if error.to_string().contains("lock") => OpenError::InUse(folder.into()),
            // RocksDB counts on files that aren't there: one of its own is lost, or names another one now.
            ErrorKind::IOError if has_base && error.to_string().contains("No such file") => {
                damaged(error.to_string())
            }
            ErrorKind::IOError => unusable(error.to_string()),
            _ => damaged(error.to_string()),
        })?;
        let marks = match rocks.marks().map_err(|error| damaged(error.to_string()))? {
            Some(marks) => marks,
            None if was_used => return Err(damaged("there is a commit log, but RocksDB is empty".into())),
            None => {
                let marks =
                    Marks { salt: RandomState::new().hash_one(0), checkpoint: 0, incarnation_last: 0 };
                commit_log::create(&log_folder).map_err(|error| unusable(error.to_string()))?;
                // The marks come last: who finds them finds everything else.
                sync_names(folder).map_err(|error| unusable(error.to_string()))?;
                rocks.initialize(marks).map_err(|error| unusable(error.to_string()))?;
                marks
            }
        };
        let mut memtable = Memtable::default();
        let apply = |payload: &[u8]| memtable.apply(payload).is_ok();
        let replayed = commit_log::replay(&log_folder, marks.salt, marks.checkpoint, disk, apply);
        let Replayed { through, live, mut free } = replayed.map_err(|error| match error {
            LogError::Io { .. } => unusable(error.to_string()),
            LogError::Damaged { .. } => damaged(error.to_string()),
        })?;
        let incarnation_last = memtable.incarnation_last.max(marks.incarnation_last);
        let mut memtables = Memtables::default();
        if !live.is_empty() {
            let sealed = Sealed { memtable: Arc::new(memtable), through, slots: live };
            memtables.sealed.push_back(sealed);
        }
        if free.is_empty() {
            // Every slot is full: they have to be brought over before anything can be written.
            let Some(Sealed { memtable, through, slots }) = memtables.sealed.pop_front() else {
                return Err(damaged("there are no slots".into()));
            };
            let written = rocks.write(&memtable, through, incarnation_last, &[]);
            written.map_err(|error| unusable(error.to_string()))?;
            rocks.flush().map_err(|error| unusable(error.to_string()))?;
            free = slots;
        }
        let Some(slot) = free.pop() else { return Err(damaged("there are no slots".into())) };
        let log = CommitLog::new(marks.salt, slot, through);
        let engine = Arc::new(Engine::new(rocks, log, free, memtables, incarnation_last));
        let start = |name: &str, run: fn(&Engine)| {
            let engine = engine.clone();
            let thread = thread::Builder::new().name(name.into()).spawn(move || run(&engine));
            thread.map_err(|error| unusable(error.to_string()))
        };
        let writer = Some(start("store-writer", Engine::write_forever)?);
        let checkpointer = Some(start("checkpointer", checkpointer::run)?);
        Ok(Self { engine, writer, checkpointer })
    }

    /// Asks RocksDB: at once if the answer is in memory, else on a thread that may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Rocks, ReadTier) -> Result<Found<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Found::Now(answer) = question(&self.engine.rocks, ReadTier::BlockCache)? {
            return Ok(answer);
        }
        self.on_disk(move |engine| match question(&engine.rocks, ReadTier::All)? {
            Found::Now(answer) => Ok(answer),
            Found::OnDisk => Err(StoreError::damaged("RocksDB didn't ask its disk")),
        })
        .await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = self.engine.clone();
        let done = tokio::task::spawn_blocking(move || work(&engine)).await;
        done.unwrap_or_else(|_| Err(StoreError::failed("the store is stopping")))
    }
}

impl RocksStore {
    fn end(&mut self) {
        self.engine.end();
        for thread in [self.writer.take(), self.checkpointer.take()].into_iter().flatten() {
            // It has panicked if it can't be joined, and said so.
            let _ = thread.join();
        }
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.end();
        checkpointer::finish(&self.engine);
    }
}

impl Store for RocksStore {
    fn incarnation_last(&self) -> u64 {
        self.engine.incarnation_last.load(Ordering::Relaxed)
    }

    fn load<'a>(&'a self, name: &'a StreamName) -> StoreFuture<'a, Option<StreamHead>> {
        Box::pin(async move {
            let recalled = self.engine.memtables().head(name.as_str(), StreamHead::clone);
            match recalled {
                Lookup::Found(head) => Ok(Some(head)),
                Lookup::Deleted => Ok(None),
                Lookup::Absent => {
                    let name = name.clone();
                    self.ask(move |rocks, tier| rocks.head(name.as_str(), tier, head::decode)).await
                }
            }
        })
    }

    fn producer<'a>(
        &'a self,
        incarnation: Incarnation,
        id: &'a ProducerId,
    ) -> StoreFuture<'a, Option<ProducerState>> {
        Box::pin(async move {
            let recalled = self.engine.memtables().producer(incarnation.get(), id.as_str());
            match recalled {
                Lookup::Found(state) => Ok(Some(state)),
                Lookup::Deleted => Ok(None),
                Lookup::Absent => {
                    let id = id.clone();
                    self.ask(move |rocks, tier| rocks.producer(incarnation.get(), id.as_str(), tier)).await
                }
            }
        })
    }

    fn commit(&self, commit: Commit) -> Ticket {
        self.engine.commit(commit)
    }

    fn read(&self, incarnation: Incarnation, range: ReadRange) -> StoreFuture<'_, Chunk> {
        Box::pin(async move {
            let number = incarnation.get();
            let begin = self.engine.memtables().log_begin(number);
            if begin.is_some_and(|begin| begin <= range.from) {
                let mut gather = Gather::new(range);
                match self.engine.memtables().gather(number, &mut gather) {
                    Lookup::Found(()) if gather.is_done() || gather.next() >= range.target => {
                        return gather.finish();
                    }
                    Lookup::Deleted => return Err(StoreError::Missing(incarnation)),
                    // A checkpoint took it away in between.
                    Lookup::Found(()) | Lookup::Absent => {}
                }
            }
            self.on_disk(move |engine| gather_all(engine, incarnation, range)).await
        })
    }

    fn expired(&self, until_ms: u64, limit: usize) -> StoreFuture<'_, Vec<StreamName>> {
        Box::pin(self.on_disk(move |engine| expired(engine, until_ms, limit)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StreamName>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        Box::pin(self.on_disk(move |engine| list(engine, &prefix, after.as_ref(), limit)))
    }

    fn document<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let recalled = self.engine.memtables().document(key);
            match recalled {
                Lookup::Found(value) => Ok(Some(value)),
                Lookup::Deleted => Ok(None),
                Lookup::Absent => {
                    let key = key.to_owned();
                    Ok(self.ask(move |rocks, tier| rocks.document(&key, tier)).await?.map(Bytes::from))
                }
            }
        })
    }

    fn documents<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Document>> {
        let (prefix, after) = (prefix.to_owned(), after.map(ToOwned::to_owned));
        Box::pin(self.on_disk(move |engine| documents(engine, &prefix, after.as_deref(), limit)))
    }
}

/// Waits until the disk has the names of a folder, of what is in it and of all that it is in: a power cut must not take
/// away what is synced. Any of them may be new, made by this process or by one that was killed.
fn sync_names(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    for folder in folder.ancestors() {
        // Who may not read a folder has not made anything there.
        let Ok(opened) = File::open(folder) else { continue };
        match opened.sync_all() {
            // Some file systems have nothing to sync in a folder.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// A range of a log from RocksDB and from memory, whichever has the next byte.
fn gather_all(engine: &Engine, incarnation: Incarnation, range: ReadRange) -> Result<Chunk, StoreError> {
    let number = incarnation.get();
    let missing = StoreError::Missing(incarnation);
    let begin = engine.memtables().log_begin(number);
    // What begins past zero begins there: a fork's own log.
    let from = range.from;
    let mut gather = Gather::new(range);
    let mut any = false;
    loop {
        let recalled = engine.memtables().gather(number, &mut gather);
        if recalled == Lookup::Deleted {
            return Err(missing);
        }
        any |= recalled == Lookup::Found(());
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
                true if before >= range.target => gather.finish(),
                true => {
                    let what =
                        format!("log {number}: the bytes from {before} on are missing ({from}, {begin:?})");
                    Err(StoreError::damaged(what))
                }
            };
        }
    }
}

fn expired(engine: &Engine, until_ms: u64, limit: usize) -> Result<Vec<StreamName>, StoreError> {
    let memtable: Vec<(u64, Box<str>)> = engine
        .memtables()
        .deadlines(until_ms)
        .map(|(deadline_ms, name)| (deadline_ms, name.into()))
        .collect();
    let mut found = BTreeMap::new();
    for (deadline_ms, name) in memtable {
        if checkpointer::current_deadline_ms(engine, &name)? == Some(deadline_ms) {
            found.insert((deadline_ms, name), ());
        }
    }
    let mut stale = Vec::new();
    let mut taken = 0;
    engine.rocks.deadlines(until_ms, |deadline_ms, name| {
        if checkpointer::current_deadline_ms(engine, name)? == Some(deadline_ms) {
            found.insert((deadline_ms, name.into()), ());
            taken += 1;
        } else if stale.len() < STALE_DEADLINES_MAX {
            stale.push((deadline_ms, name.into()));
        }
        Ok(taken < limit)
    })?;
    *engine.stale_deadlines.lock().unwrap_or_else(PoisonError::into_inner) = stale;
    Ok(found.into_keys().take(limit).map(|(_, name)| StreamName::from_stored(&name)).collect())
}

fn list(
    engine: &Engine,
    prefix: &str,
    after: Option<&StreamName>,
    limit: usize,
) -> Result<Vec<StreamName>, StoreError> {
    let wanted = |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after.as_str());
    let mut names: BTreeMap<Box<str>, bool> = BTreeMap::new();
    for (name, exists) in engine.memtables().names().filter(|(name, _)| wanted(name)) {
        names.entry(name.into()).or_insert(exists);
    }
    let first = after.map_or(prefix, |after| prefix.max(after.as_str()));
    let mut taken = 0;
    engine.rocks.names(first, |name| {
        if wanted(name) && *names.entry(name.into()).or_insert(true) {
            taken += 1;
        }
        // Names sort, so what has the prefix stands together.
        taken < limit && (name.starts_with(prefix) || name < prefix)
    })?;
    let existing = names.into_iter().filter(|(_, exists)| *exists);
    Ok(existing.take(limit).map(|(name, _)| StreamName::from_stored(&name)).collect())
}

fn documents(
    engine: &Engine,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let wanted = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
    let mut found: BTreeMap<Box<str>, Option<Bytes>> = BTreeMap::new();
    for (key, value) in engine.memtables().documents().filter(|(key, _)| wanted(key)) {
        found.entry(key.into()).or_insert_with(|| value.map(Bytes::copy_from_slice));
    }
    let first = after.map_or(prefix, |after| prefix.max(after));
    let mut taken = 0;
    engine.rocks.documents(first, |key, value| {
        if wanted(key)
            && found.entry(key.into()).or_insert_with(|| Some(Bytes::copy_from_slice(value))).is_some()
        {
            taken += 1;
        }
        // Keys sort, so what has the prefix stands together.
        taken < limit && (key.starts_with(prefix) || key < prefix)
    })?;
    let existing = found.into_iter().filter_map(|(key, value)| Some((key, value?)));
    Ok(existing.take(limit).collect())
}
