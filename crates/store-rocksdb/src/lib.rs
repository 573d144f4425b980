#![doc = include_str!("../README.md")]
//!
//! A commit is durable when its frame in the commit log is (`queue`, `writer`, `commit_log`). The effect of the log's frames
//! is in memtables until a checkpoint writes it to RocksDB (`checkpointer`, `rocks`); then that part of the log is written
//! again. Reads look in the memtables, then in RocksDB (`read`). Opening replays at most the few slots of the log: nothing
//! is done per stream (`open`). `docs/storage-format.md` documents every byte, ADR 0009 the reasons.
//!
//! # Features
//! - `tuning`: `RocksStore::open_tuned` opens a store with other options of RocksDB, for the crate's benchmark.
//! - `fuzzing`: the formats of the disk as a function of any bytes, for the repository's fuzz targets.

mod checkpointer;
mod codec;
mod commit_log;
mod engine;
mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod keys;
mod memtable;
mod memtables;
mod open;
mod queue;
mod read;
mod record;
mod rocks;
mod slots;
mod sync;
#[cfg(test)]
mod tests;
#[cfg_attr(
    not(any(test, feature = "tuning")),
    expect(unreachable_pub, reason = "it is public for the benchmark only")
)]
mod tuning;
mod writer;

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::StreamHead,
};
use headwater_store::{
    Chunk, Commit, Deadline, Document, Health, ReadRange, Store, StoreFuture, Ticket, gather::Gather,
};

use engine::Engine;
use keys::{CONTROL, NAMES, producers};
pub use open::OpenError;
use read::Page;
use rocks::Query;
#[cfg(feature = "tuning")]
pub use tuning::Tuning;

/// A store in a folder, which no other process can open meanwhile.
///
/// Dropping it writes what was committed to RocksDB. Without that, after a crash, opening the folder replays it.
#[derive(Debug)]
pub struct RocksStore {
    engine: Arc<Engine>,
    writer: Option<JoinHandle<()>>,
    checkpointer: Option<JoinHandle<()>>,
}

impl RocksStore {
    fn end(&mut self) {
        // A panic in one of the threads has stopped the store and was logged. The writer ends first: it may wait for a slot.
        self.engine.queue.end();
        let _ = self.writer.take().map(JoinHandle::join);
        self.engine.slots.end();
        let _ = self.checkpointer.take().map(JoinHandle::join);
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.end();
        // A panic has stopped the store and was logged.
        let _ = self.engine.run(checkpointer::finish);
    }
}

impl Store for RocksStore {
    fn incarnation_last(&self) -> u64 {
        self.engine.incarnation_last.load(Ordering::Relaxed)
    }

    fn health(&self) -> Health {
        self.engine.health()
    }

    fn load<'a>(&'a self, name: &'a StreamName) -> StoreFuture<'a, Option<StreamHead>> {
        Box::pin(async move {
            let found = self.engine.memtables().head(name.as_str(), StreamHead::clone);
            let query = || Query::new(NAMES, name.as_str().as_bytes().to_vec(), head::decode);
            self.look_up(found, query).await
        })
    }

    fn producer<'a>(
        &'a self,
        incarnation: Incarnation,
        id: &'a ProducerId,
    ) -> StoreFuture<'a, Option<ProducerState>> {
        Box::pin(async move {
            let (incarnation, id) = (incarnation.get(), id.as_str());
            let found = self.engine.memtables().producer(incarnation, id);
            let key = || producers::encode_key(incarnation, id);
            self.look_up(found, || Query::new(producers::FAMILY, key(), producers::decode_value)).await
        })
    }

    fn commit(&self, commit: Commit) -> Ticket {
        self.engine.queue.push(commit, &self.engine)
    }

    fn read(&self, incarnation: Incarnation, range: ReadRange) -> StoreFuture<'_, Chunk> {
        Box::pin(self.gather(incarnation, move || Gather::new(range)))
    }

    fn end_of(&self, incarnation: Incarnation, position: u64, limit: u64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let chunk = self.gather(incarnation, move || Gather::end_of(position, limit)).await?;
            Ok(chunk.end)
        })
    }

    fn expired<'a>(
        &'a self,
        until_ms: u64,
        after: Option<&'a Deadline>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Deadline>> {
        let after = after.cloned();
        Box::pin(self.on_disk(move |engine| {
            let after = after.as_ref().map(|(deadline_ms, name)| (*deadline_ms, name.as_str()));
            read::expired(engine, until_ms, after, limit)
        }))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StreamName>> {
        let page = Page { prefix: prefix.into(), after: after.map(|after| after.as_str().into()), limit };
        Box::pin(self.on_disk(move |engine| read::list(engine, &page)))
    }

    fn document<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let found = self.engine.memtables().document(key);
            let decode = |value: &[u8]| Ok(Bytes::copy_from_slice(value));
            self.look_up(found, || Query::new(CONTROL, key.as_bytes().to_vec(), decode)).await
        })
    }

    fn documents<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Document>> {
        let page = Page { prefix: prefix.into(), after: after.map(Into::into), limit };
        Box::pin(self.on_disk(move |engine| read::documents(engine, &page)))
    }
}
