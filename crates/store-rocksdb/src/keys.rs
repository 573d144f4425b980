//! The keys and values in RocksDB, one file per column family whose keys aren't plain texts. `docs/storage-format.md` shows the bytes.

pub(crate) mod expiry;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod producers;

/// A stream's name -> its head.
pub(crate) const NAMES: &str = "names";
/// A document's key -> its content.
pub(crate) const CONTROL: &str = "control";

/// Returns the number after an incarnation, which is small: that of an empty range would leave what is to be deleted.
#[expect(clippy::expect_used, reason = "an empty range must not pass for that of a log")]
const fn after(incarnation: u64) -> u64 {
    incarnation.checked_add(1).expect("incarnations are at most Incarnation::MAX")
}
