//! What the commit log makes of files that a power cut or a bad disk has left.

use super::*;
use crate::commit_log::SLOT_BYTES;

/// A store with some frames, killed: its folder, and the file with the frames.
fn killed(frames: u64) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for version in 1..=frames {
        append(&store, "a", version, version * 10, b"0123456789").unwrap();
    }
    let left = crash(store, &folder);
    let used = (0..commit_log::SLOTS).map(|index| left.path().join(format!("log/{index:02}.log")));
    let log =
        used.into_iter().find(|path| fs::read(path).unwrap()[0] != 0 || fs::read(path).unwrap()[1] != 0);
    (left, log.unwrap())
}

fn tail(folder: &Path) -> Result<u64, OpenError> {
    let store = RocksStore::open(folder, 8 << 20)?;
    let head = wait(store.load(&headwater_store::contract::name("a"))).unwrap();
    let tail = head.map_or(0, |head| head.tail);
    if tail > 0 {
        assert_eq!(content(&store, "a"), b"0123456789".repeat(usize::try_from(tail / 10).unwrap()));
    }
    Ok(tail)
}

/// Where frames end in a slot's bytes.
fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let salt = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let mut ends = vec![0];
    while let Some(at) = memchr::memmem::find(&bytes[ends.last().unwrap() + 1..], &salt.to_le_bytes()) {
        ends.push(ends.last().unwrap() + 1 + at);
    }
    let last = *ends.last().unwrap();
    let length = u32::from_le_bytes(bytes[last + 16..last + 20].try_into().unwrap());
    ends.push(last + 24 + length as usize);
    ends
}

#[test]
fn a_torn_last_frame_is_as_if_it_was_never_begun() {
    let (folder, log) = killed(5);
    let whole = fs::read(&log).unwrap();
    let ends = frame_ends(&whole);
    assert_eq!(ends.len(), 6);
    for cut in [ends[4] + 1, ends[4] + 20, ends[4] + 30, ends[5] - 1] {
        let torn = tempfile::tempdir().unwrap();
        copy(folder.path(), torn.path());
        let mut bytes = whole.clone();
        bytes[cut..ends[5]].fill(0);
        fs::write(torn.path().join("log").join(log.file_name().unwrap()), &bytes).unwrap();
        assert_eq!(tail(torn.path()).unwrap(), 40, "cut at {cut}");
        // And it stays so.
        assert_eq!(tail(torn.path()).unwrap(), 40);
    }
}

#[test]
fn damage_before_the_last_frame_is_never_passed_over() {
    let (folder, log) = killed(5);
    let whole = fs::read(&log).unwrap();
    let ends = frame_ends(&whole);
    for at in (0..ends[4]).step_by(7) {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(damaged.path().join("log").join(log.file_name().unwrap()), &bytes).unwrap();
        let refused = tail(damaged.path());
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "byte {at}: {refused:?}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let (folder, log) = killed(3);
    let without = |damage: &dyn Fn(&Path)| {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        damage(damaged.path());
        tail(damaged.path()).err().map(|error| message(&error)).unwrap_or_default()
    };
    let slot = Path::new("log").join(log.file_name().unwrap());
    assert!(without(&|path| fs::remove_file(path.join(&slot)).unwrap()).contains("No such file"));
    assert!(without(&|path| fs::write(path.join(&slot), b"").unwrap()).contains("0 bytes instead of"));
    assert!(without(&|path| fs::remove_file(path.join("rocksdb/CURRENT")).unwrap()).contains("CURRENT"));
    assert!(without(&|path| fs::remove_dir_all(path.join("rocksdb")).unwrap()).contains("CURRENT"));
    let misled = without(&|path| fs::write(path.join("rocksdb/CURRENT"), "MANIFEST-999999\n").unwrap());
    assert!(misled.contains("is damaged") && misled.contains("MANIFEST-999999"), "{misled}");
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(RocksStore::open(folder.path(), 1 << 20), Err(OpenError::InUse(_))));
    append(&store, "a", 1, 1, b"x").unwrap();
    assert_eq!(content(&store, "a"), b"x");
}

#[test]
fn frames_of_many_lives_follow_each_other() {
    let mut folder = tempfile::tempdir().unwrap();
    for stream in 0..6 {
        let store = open(folder.path());
        for version in stream * 40 + 1..=stream * 40 + 40 {
            append(&store, "a", version, version * 10, b"0123456789").unwrap();
        }
        folder = crash(store, &folder);
    }
    assert_eq!(tail(folder.path()).unwrap(), 2_400);
}

#[test]
fn a_commit_larger_than_a_slot_is_whole_and_its_space_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let big = b"0123456789".repeat(60_000);
    let store = open(folder.path());
    append(&store, "a", 1, 600_000, &big).unwrap();
    append(&store, "a", 2, 600_010, b"0123456789").unwrap();
    let folder = crash(store, &folder);
    assert_eq!(tail(folder.path()).unwrap(), 600_010);
    for entry in fs::read_dir(folder.path().join("log")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), SLOT_BYTES);
    }
}

#[test]
fn removed_bytes_leave_the_disk_and_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    append(&store, "a", 1, 10, b"0123456789").unwrap();
    store.engine.seal();
    let remove = Edit::Remove { name: headwater_store::contract::name("a"), expected: 1 };
    wait(store.commit(one(remove))).unwrap();
    drop(store);
    assert_eq!(tail(folder.path()).unwrap(), 0);
}
