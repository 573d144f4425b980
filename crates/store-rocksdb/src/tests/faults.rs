//! A disk that fails: what was acknowledged stays, what wasn't is there once at most, and nothing is written after a
//! write that nobody knows the end of.

use super::*;

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
        assert!(results[acknowledged..].iter().all(|result| matches!(result, Err(StoreError::Failed(_)))));
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
