//! The contract, and what only a store that outlives its process has to keep.

mod crashes;
mod faults;
mod fixtures;
mod model;
mod queue_model;
mod space;

use headwater_store::{Edit, StoreError};
use tempfile::TempDir;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use super::*;
use crate::{
    commit_log::{self, disk::Disk},
    rocks::Rocks,
    tuning::Tuning,
};

headwater_store::contract_tests!(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // The store outlives this function: its folder stays until the test's process is gone.
    std::mem::forget(folder);
    store
});

fn open(folder: &Path) -> RocksStore {
    RocksStore::open(folder, 8 << 20).unwrap()
}

/// Returns a copy of the folder as a kill at this moment would leave it.
fn crash(mut store: RocksStore, folder: &TempDir) -> TempDir {
    store.end();
    store.engine.rocks.halt();
    let left = tempfile::tempdir().unwrap();
    copy(folder.path(), left.path());
    left
}

/// Writes what was committed to RocksDB.
fn checkpoint(store: &RocksStore) {
    store.engine.seal();
    while store.engine.oldest_sealed().is_some() {
        thread::yield_now();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Runs a future to its end.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Formats an error with its sources.
fn message(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(|error| format!("{error}: ")).collect()
}

fn one(edit: Edit) -> Commit {
    Commit::new(vec![edit])
}

/// Appends `bytes` to a stream of one incarnation and returns the result.
fn append(store: &RocksStore, text: &str, version: u64, tail: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let head = headwater_store::contract::head(7, version, tail);
    let change =
        headwater_protocol::stream::Change { head, bytes: Bytes::copy_from_slice(bytes), producer: None };
    let name = headwater_store::contract::name(text);
    wait(store.commit(one(Edit::Put { name, expected: version - 1, change })))
}

/// Reads all bytes of that stream.
fn content(store: &RocksStore, text: &str) -> Vec<u8> {
    let head = wait(store.load(&headwater_store::contract::name(text))).unwrap().unwrap();
    let range = ReadRange::new(0, head.tail);
    wait(store.read(head.incarnation, range)).unwrap().bytes.to_vec()
}
