//! A disk that fails: what was acknowledged stays, what wasn't is there once at most, and nothing is written after a
//! write that nobody knows the end of.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::*;
use crate::memtable::NameEntry;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[test]
fn after_an_io_error_nothing_is_written_and_a_restart_finds_what_was_acknowledged() {
    for nth in 1..=20 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let store = RocksStore::open_on(folder.path(), 8 << 20, &Tuning::default(), &disk).unwrap();
        disk.faults.fail(nth, EIO);
        let results: Vec<_> =
            (1..=20).map(|version| append(&store, "a", version, version * 10, b"0123456789")).collect();
        let acknowledged = results.iter().take_while(|result| result.is_ok()).count();
        assert!(acknowledged < 20, "the fault struck");
        let [first, later @ ..] = &results[acknowledged..] else { panic!("the fault struck") };
        assert!(matches!(first, Err(StoreError::InDoubt(_))), "{first:?}");
        assert!(
            later.iter().all(|result| matches!(result, Err(StoreError::Failed(_)))),
            "nothing of them is there"
        );
        assert!(matches!(store.health(), Health::Stopped(_)));
        if acknowledged > 0 {
            assert_eq!(content(&store, "a").len(), acknowledged * 10, "reading goes on");
        }
        let folder = crash(store, &folder);
        let store = open(folder.path());
        let head = wait(store.load(&headwater_store::contract::name("a"))).unwrap();
        let kept = head.map_or(0, |head| head.version) as usize;
        assert!(kept == acknowledged || kept == acknowledged + 1, "{nth}: {kept} of {acknowledged}");
    }
}

#[test]
fn a_full_disk_refuses_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = RocksStore::open_on(folder.path(), 8 << 20, &Tuning::default(), &disk).unwrap();
    append(&store, "a", 1, 10, b"0123456789").unwrap();
    disk.faults.fail(1, ENOSPC);
    assert_eq!(append(&store, "a", 2, 20, b"abcdefghij"), Err(StoreError::Full));
    append(&store, "a", 2, 20, b"ABCDEFGHIJ").unwrap();
    let folder = crash(store, &folder);
    assert_eq!(content(&open(folder.path()), "a"), b"0123456789ABCDEFGHIJ");
}

/// Whatever a bug does to the leader, nobody waits for ever and nothing more is written.
#[test]
fn a_panic_of_the_leader_stops_the_store() {
    // Alone a commit is led by the request that waits for it, two at once by the writer's thread.
    for (nth, at_once) in [(1, 1), (2, 1), (5, 1), (6, 1), (1, 2), (4, 2), (1, 9), (2, 9)] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let store = RocksStore::open_on(folder.path(), 8 << 20, &Tuning::default(), &disk).unwrap();
        disk.faults.panic(nth);
        let mut acknowledged = 0;
        for first in (1..=18).step_by(at_once) {
            let versions = first..first + at_once as u64;
            let tickets: Vec<_> = versions.map(|version| commit(&store, version, b"0123456789")).collect();
            for (version, ticket) in (first..).zip(tickets) {
                match resolved(ticket) {
                    Ok(()) => acknowledged = version,
                    Err(error) => {
                        assert!(matches!(error, StoreError::InDoubt(_) | StoreError::Failed(_)), "{error}");
                        assert!(error.to_string().contains("a test's panic"), "{error}");
                    }
                }
            }
        }
        assert!(acknowledged < 18, "the panic struck");
        assert!(store.engine.queue.is_stopped());
        if acknowledged > 0 {
            assert_eq!(content(&store, "a").len() as u64, acknowledged * 10, "reading goes on");
        }
        let folder = crash(store, &folder);
        let store = open(folder.path());
        let head = wait(store.load(&headwater_store::contract::name("a"))).unwrap();
        let kept = head.map_or(0, |head| head.version);
        assert!(
            (acknowledged..=acknowledged + at_once as u64).contains(&kept),
            "{nth}: {kept} of {acknowledged}"
        );
    }
}

#[test]
fn what_waits_behind_a_leader_that_panics_fails_too() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = RocksStore::open_on(folder.path(), 8 << 20, &Tuning::default(), &disk).unwrap();
    disk.faults.panic(2);
    // Too large to share a frame: one is led, the others wait.
    let bytes = vec![b'x'; 3 << 20];
    let tickets: Vec<_> = (1..=4).map(|version| commit(&store, version, &bytes)).collect();
    let failed: Vec<_> = tickets.into_iter().map(resolved).collect();
    assert!(matches!(failed[0], Err(StoreError::InDoubt(_))), "{failed:?}");
    assert!(failed[1..].iter().all(|result| matches!(result, Err(StoreError::Failed(_)))), "{failed:?}");
    assert!(matches!(resolved(commit(&store, 1, b"x")), Err(StoreError::Failed(_))));
}

#[test]
fn commits_that_nobody_waits_for_are_durable_when_the_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ticket = commit(&store, 1, b"0123456789");
    drop(store);
    assert_eq!(resolved(ticket), Ok(()));
    assert_eq!(content(&open(folder.path()), "a"), b"0123456789");
}

/// A memtable that contradicts itself is our bug: it must not pass for a removal.
#[test]
fn a_panic_of_the_checkpointer_stops_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    append(&store, "a", 1, 10, b"0123456789").unwrap();
    store
        .engine
        .memtables_mut()
        .active
        .names
        .insert("b".into(), NameEntry { incarnation: Some(9), is_new: false });
    store.engine.seal();
    // Commits go on in the slots that are left at most.
    let bytes = vec![b'x'; 100_000];
    let mut version = 1;
    let error = loop {
        version += 1;
        match append(&store, "a", version, 10 + (version - 1) * 100_000, &bytes) {
            Ok(()) => assert!(version < 20, "commits go on without checkpoints"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert!(error.to_string().contains("removes the entry"), "{error}");
    assert!(store.engine.queue.is_stopped());
    assert!(store.engine.oldest_sealed().is_some(), "its slots are not free");
    let length = content(&store, "a").len() as u64;
    let folder = crash(store, &folder);
    let store = open(folder.path());
    assert_eq!(content(&store, "a").len() as u64, length);
    assert_eq!(wait(store.load(&headwater_store::contract::name("b"))), Ok(None));
}

/// What is away and comes back heals by itself: RocksDB keeps its error, so it is opened again.
#[test]
fn a_folder_that_was_away_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    append(&store, "a", 1, 10, b"0123456789").unwrap();
    checkpoint(&store);
    let (here, away) = (folder.path().join("rocksdb"), folder.path().join("away"));
    fs::rename(&here, &away).unwrap();
    append(&store, "a", 2, 20, b"abcdefghij").unwrap();
    store.engine.seal();
    while !matches!(store.health(), Health::Failing(_)) {
        thread::yield_now();
    }
    assert!(store.engine.oldest_sealed().is_some());
    append(&store, "a", 3, 30, b"ABCDEFGHIJ").unwrap();
    assert!(!here.exists(), "nothing is made anew where it was");
    fs::rename(&away, &here).unwrap();
    checkpoint(&store);
    assert!(matches!(store.health(), Health::Healthy));
    assert_eq!(content(&store, "a"), b"0123456789abcdefghijABCDEFGHIJ");
    let folder = crash(store, &folder);
    assert_eq!(content(&open(folder.path()), "a"), b"0123456789abcdefghijABCDEFGHIJ");
}

/// What comes back must have all that the commit log no longer has.
#[test]
fn an_older_state_of_the_folder_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    append(&store, "a", 1, 10, b"0123456789").unwrap();
    checkpoint(&store);
    let older = store.engine.checkpoint.load(Ordering::Relaxed);
    append(&store, "a", 2, 20, b"abcdefghij").unwrap();
    checkpoint(&store);
    let newer = store.engine.checkpoint.load(Ordering::Relaxed);
    assert!(newer > older);
    let refused = store.engine.rocks.reopen(store.engine.salt, newer + 1);
    assert!(matches!(&refused, Err(StoreError::Failed(error)) if error.to_string().contains("older")));
    store.engine.rocks.reopen(store.engine.salt, newer).unwrap();
    assert_eq!(content(&store, "a"), b"0123456789abcdefghij");
}

/// A sweep looks each stream up while RocksDB may be about to be opened again.
#[test]
fn sweeps_and_a_store_that_is_opened_again_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for number in 0..200_u64 {
        let mut head = headwater_store::contract::head(7 + number, 1, 0);
        head.deadline_ms = Some(1_000 + number);
        let change = headwater_protocol::stream::Change { head, bytes: Bytes::new(), producer: None };
        let name = headwater_store::contract::name(&format!("s{number}"));
        wait(store.commit(one(Edit::Put { name, expected: 0, change }))).unwrap();
    }
    checkpoint(&store);
    let engine = store.engine.clone();
    let (done, is_done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let sweeps = {
            let engine = engine.clone();
            thread::spawn(move || {
                let sweep = |_| crate::read::expired(&engine, 10_000, None, 1_000).map(|found| found.len());
                (0..200).map(sweep).collect::<Vec<_>>()
            })
        };
        while !sweeps.is_finished() {
            engine.rocks.reopen(engine.salt, 0).unwrap();
        }
        done.send(sweeps.join().unwrap()).unwrap();
    });
    let found = is_done.recv_timeout(Duration::from_secs(60)).expect("nothing hangs");
    assert!(found.iter().all(|found| *found == Ok(200)), "{found:?}");
}

/// After a failure what waits isn't written behind it.
#[test]
fn nothing_is_written_after_a_failed_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = RocksStore::open_on(folder.path(), 8 << 20, &Tuning::default(), &disk).unwrap();
    disk.faults.fail(2, EIO);
    let bytes = vec![b'x'; 3 << 20];
    let tickets: Vec<_> = (1..=4).map(|version| commit(&store, version, &bytes)).collect();
    let failed: Vec<_> = tickets.into_iter().map(resolved).collect();
    assert!(matches!(failed[0], Err(StoreError::InDoubt(_))), "{failed:?}");
    assert!(failed[1..].iter().all(|result| matches!(result, Err(StoreError::Failed(_)))), "{failed:?}");
    drop(store);
}

/// Queues an append to the stream "a" of appends of this size.
fn commit(store: &RocksStore, version: u64, bytes: &[u8]) -> Ticket {
    let head = headwater_store::contract::head(7, version, version * bytes.len() as u64);
    let change =
        headwater_protocol::stream::Change { head, bytes: Bytes::copy_from_slice(bytes), producer: None };
    let name = headwater_store::contract::name("a");
    store.commit(one(Edit::Put { name, expected: version - 1, change }))
}

/// Polls a ticket until it resolves, which must not take for ever.
fn resolved(mut ticket: Ticket) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => return result,
            Poll::Pending => assert!(begun.elapsed() < Duration::from_secs(60), "a ticket hangs"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}
