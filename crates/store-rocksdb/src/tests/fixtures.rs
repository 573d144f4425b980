//! Folders of every format that there ever was, opened as they are.

use headwater_protocol::{producer::ProducerId, stream::Change};
use headwater_store::contract::{head, name};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1")
}

/// What the folder holds: two streams and a document in RocksDB, later appends in the commit log only.
fn fill(store: &RocksStore) {
    append(store, "a", 1, 10, b"0123456789").unwrap();
    append(store, "a", 2, 3_010, &b"abc".repeat(1_000)).unwrap();
    let mut expiring = head(8, 1, 1);
    expiring.deadline_ms = Some(4_000_000_000_000);
    let change = Change {
        head: expiring,
        bytes: Bytes::from_static(b"x"),
        producer: Some((ProducerId::parse("p").unwrap(), ProducerState { epoch: 1, seq_last: 2 })),
    };
    wait(store.commit(one(Edit::Put { name: name("b/c"), expected: 0, change }))).unwrap();
    wait(store.commit(one(Edit::Document { key: "k".into(), value: Some(Bytes::from_static(b"v")) })))
        .unwrap();
    checkpoint(store);
    append(store, "a", 3, 3_013, b"end").unwrap();
}

#[test]
fn format_1_is_read() {
    let left = tempfile::tempdir().unwrap();
    copy(&folder(), left.path());
    let store = open(left.path());
    assert_eq!(content(&store, "a"), [&b"0123456789"[..], &b"abc".repeat(1_000), b"end"].concat());
    assert_eq!(content(&store, "b/c"), b"x");
    let incarnation = Incarnation::new(8).unwrap();
    let state = wait(store.producer(incarnation, &ProducerId::parse("p").unwrap())).unwrap();
    assert_eq!(state, Some(ProducerState { epoch: 1, seq_last: 2 }));
    assert_eq!(wait(store.document("k")).unwrap(), Some(Bytes::from_static(b"v")));
    let expired = wait(store.expired(5_000_000_000_000, None, 9)).unwrap();
    assert_eq!(expired.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), [name("b/c")]);
    assert_eq!(store.incarnation_last(), 8);
    append(&store, "a", 4, 3_014, b"!").unwrap();
}

#[test]
fn another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let rocks = Rocks::open(&folder.path().join("rocksdb"), 1 << 20, &Tuning::default()).unwrap();
    rocks.write_version(b"headwater 2");
    drop(rocks);
    let refused = message(&RocksStore::open(folder.path(), 1 << 20).err().unwrap());
    assert!(refused.contains("headwater 2"), "{refused}");
}

/// Makes the folder anew; only for a new format, in a folder of its own.
#[test]
#[ignore = "it writes into the source tree"]
fn make_the_fixture() {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path());
    fill(&store);
    let left = crash(store, &made);
    fs::remove_dir_all(folder()).ok();
    // RocksDB's diary isn't data.
    fs::remove_file(left.path().join("rocksdb/LOG")).unwrap();
    copy(left.path(), &folder());
}
