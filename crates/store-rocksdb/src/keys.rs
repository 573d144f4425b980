//! The keys and values in RocksDB, one file per column family. `docs/storage-format.md` shows the bytes.

pub(crate) mod control;
pub(crate) mod expiry;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod producers;

/// Returns the number after an incarnation, which is small: that of an empty range would leave what is to be deleted.
#[expect(clippy::expect_used, reason = "an empty range must not pass for that of a log")]
const fn after(incarnation: u64) -> u64 {
    incarnation.checked_add(1).expect("incarnations are at most Incarnation::MAX")
}
