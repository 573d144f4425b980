//! Whether the room that deleted streams took comes back.

use std::time::{Duration, Instant};

use super::*;

const STREAMS: u64 = 64;
const STREAM_BYTES: usize = 64 << 10;

/// What the files of RocksDB take.
fn used_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder.join("rocksdb")).unwrap();
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

#[test]
fn room_comes_back_when_streams_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { ttl_s: 1, ..Tuning::default() };
    let store = RocksStore::open_tuned(folder.path(), 8 << 20, &tuning).unwrap();
    let name = |number| headwater_store::contract::name(&format!("stream-{number}"));
    let content = |number: u64| Bytes::from(number.to_le_bytes().repeat(STREAM_BYTES / 8));
    for number in 1..=STREAMS {
        let head = headwater_store::contract::head(number, 1, STREAM_BYTES as u64);
        let change = headwater_protocol::stream::Change { head, bytes: content(number), producer: None };
        wait(store.commit(one(Edit::Put { name: name(number), expected: 0, change }))).unwrap();
    }
    checkpoint(&store);
    let all_bytes = STREAMS * STREAM_BYTES as u64;
    let full_bytes = used_bytes(folder.path());
    assert!(full_bytes > all_bytes, "{full_bytes}");
    let is_deleted = |number: &u64| !number.is_multiple_of(4);
    for number in (1..=STREAMS).filter(is_deleted) {
        wait(store.commit(one(Edit::Remove { name: name(number), expected: 1 }))).unwrap();
    }
    checkpoint(&store);
    // RocksDB and the checkpointer look once a second, and compactions take their time.
    let begun = Instant::now();
    while used_bytes(folder.path()) > full_bytes / 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes are used", used_bytes(folder.path()));
        std::thread::sleep(Duration::from_millis(50));
    }
    for number in (1..=STREAMS).filter(|number| !is_deleted(number)) {
        let head = wait(store.load(&name(number))).unwrap().unwrap();
        let range = ReadRange::new(0, head.tail);
        assert_eq!(wait(store.read(head.incarnation, range)).unwrap().bytes, content(number), "{number}");
    }
}
