//! What RocksDB's keys and values are, one file per column family. `docs/storage-format.md` shows the bytes.

pub(crate) mod control;
pub(crate) mod expiry;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod producers;
