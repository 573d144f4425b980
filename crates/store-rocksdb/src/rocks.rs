//! RocksDB: everything up to the last checkpoint.
//!
//! It is written by checkpoints only, one batch each and without its own log: the commit log is there until the batch
//! is flushed. How RocksDB is set up is in `tuning`.

use std::path::Path;

use headwater_protocol::producer::ProducerState;
use headwater_store::{
    StoreError,
    log::{Gather, Part},
};
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Direction, Error, ErrorKind, FlushOptions, IteratorMode,
    ReadOptions, ReadTier, WriteBatch,
};

use crate::{
    codec::Malformed,
    head::{self, HeadPrefix},
    keys::{control, expiry, format, log, names, producers},
    memtable::Memtable,
    tuning::{self, Tuning},
};

/// An entry of the column family `log` holds at most so many bytes: few enough to read one for a small range, many
/// enough that a chunk is a handful of them.
const ENTRY_BYTES: usize = 128 * 1024;

/// What a checkpoint takes besides its bytes: keys, indexes, a new manifest.
const SPARE_BYTES: u64 = 4 << 20;

/// RocksDB behind the commit log.
#[derive(Debug)]
pub(crate) struct Rocks(DB);

/// What the store wrote about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) salt: u64,
    pub(crate) checkpoint: u64,
    pub(crate) incarnation_last: u64,
}

/// A value that may have to be waited for.
pub(crate) enum Found<T> {
    /// It was in memory.
    Now(T),
    /// The disk has to be asked.
    OnDisk,
}

impl Rocks {
    /// Opens RocksDB in a folder, or makes one there. It takes what `memory_bytes` allows for blocks.
    pub(crate) fn open(folder: &Path, memory_bytes: usize, tuning: &Tuning) -> Result<Self, Error> {
        let cache = Cache::new_lru_cache(memory_bytes);
        let (family, log_family) = (|| tuning.family(&cache), || tuning.log_family(&cache));
        let families = [
            ColumnFamilyDescriptor::new(format::FAMILY, family()),
            ColumnFamilyDescriptor::new(names::FAMILY, family()),
            ColumnFamilyDescriptor::new(log::FAMILY, log_family()),
            ColumnFamilyDescriptor::new(producers::FAMILY, family()),
            ColumnFamilyDescriptor::new(expiry::FAMILY, family()),
            ColumnFamilyDescriptor::new(control::FAMILY, family()),
        ];
        DB::open_cf_descriptors(&tuning.database(), folder, families).map(Self)
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, StoreError> {
        self.0.cf_handle(name).ok_or_else(|| StoreError::damaged(format!("there is no column family {name}")))
    }

    fn get<T>(
        &self,
        family: &str,
        key: &[u8],
        tier: ReadTier,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Found<Option<T>>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        match self.0.get_pinned_cf_opt(self.family(family)?, key, &options) {
            Ok(None) => Ok(Found::Now(None)),
            Ok(Some(value)) => match decode(&value) {
                Ok(value) => Ok(Found::Now(Some(value))),
                Err(Malformed) => Err(damaged(family, key)),
            },
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Found::OnDisk),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// A stream's head.
    pub(crate) fn head<T>(
        &self,
        name: &str,
        tier: ReadTier,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Found<Option<T>>, StoreError> {
        self.get(names::FAMILY, names::encode_key(name), tier, decode)
    }

    /// A producer's state.
    pub(crate) fn producer(
        &self,
        incarnation: u64,
        id: &str,
        tier: ReadTier,
    ) -> Result<Found<Option<ProducerState>>, StoreError> {
        self.get(producers::FAMILY, &producers::encode_key(incarnation, id), tier, producers::decode_value)
    }

    /// A document.
    pub(crate) fn document(&self, key: &str, tier: ReadTier) -> Result<Found<Option<Vec<u8>>>, StoreError> {
        self.get(control::FAMILY, control::encode_key(key), tier, |value| Ok(value.to_vec()))
    }

    /// Adds to a range what is here of it. `false`: nothing of that log is here at the range's next position.
    pub(crate) fn gather(&self, incarnation: u64, gather: &mut Gather) -> Result<bool, StoreError> {
        let (first, after) = log::range(incarnation);
        let family = self.family(log::FAMILY)?;
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first);
        options.set_iterate_upper_bound(after);
        // Entries have a checksum of their own, several times as fast as that of blob files.
        options.set_verify_checksums(false);
        let mut entries = self.0.raw_iterator_cf_opt(family, options);
        entries.seek_for_prev(log::encode_key(incarnation, gather.next()));
        let mut ends = Vec::new();
        let mut any = false;
        while !gather.is_done()
            && let Some((key, value)) = entries.item()
        {
            let part =
                log::decode_value(key, value, &mut ends).map_err(|Malformed| damaged(log::FAMILY, key))?;
            let next = gather.next();
            if part.end() >= next {
                if !gather.add(part) {
                    let what =
                        format!("log {incarnation}: bytes are missing between {next} and {}", part.start);
                    return Err(StoreError::damaged(what));
                }
                any = true;
            }
            entries.next();
        }
        entries.status().map_err(|error| unreadable(&error))?;
        Ok(any)
    }

    /// Deadlines up to `until_ms` with the names they were written for, the earliest first, until `visit` has enough.
    pub(crate) fn deadlines(
        &self,
        until_ms: u64,
        mut visit: impl FnMut(u64, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(expiry::encode_key(until_ms.saturating_add(1), ""));
        for entry in self.0.iterator_cf_opt(self.family(expiry::FAMILY)?, options, IteratorMode::Start) {
            let (key, _) = entry.map_err(|error| unreadable(&error))?;
            let (deadline_ms, name) =
                expiry::decode_key(&key).ok_or_else(|| damaged(expiry::FAMILY, &key))?;
            if !visit(deadline_ms, name)? {
                break;
            }
        }
        Ok(())
    }

    /// Stream names in byte order from `first` on, until `visit` has enough.
    pub(crate) fn names(&self, first: &str, mut visit: impl FnMut(&str) -> bool) -> Result<(), StoreError> {
        let mode = IteratorMode::From(names::encode_key(first), Direction::Forward);
        for entry in self.0.iterator_cf(self.family(names::FAMILY)?, mode) {
            let (key, _) = entry.map_err(|error| unreadable(&error))?;
            let name = names::decode_key(&key).ok_or_else(|| damaged(names::FAMILY, &key))?;
            if !visit(name) {
                break;
            }
        }
        Ok(())
    }

    /// Documents in byte order of their keys from `first` on, until `visit` has enough.
    pub(crate) fn documents(
        &self,
        first: &str,
        mut visit: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(control::encode_key(first), Direction::Forward);
        for entry in self.0.iterator_cf(self.family(control::FAMILY)?, mode) {
            let (key, value) = entry.map_err(|error| unreadable(&error))?;
            let key = control::decode_key(&key).ok_or_else(|| damaged(control::FAMILY, &key))?;
            if !visit(key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the disk has room for a checkpoint of about so many bytes. RocksDB recovers from a full disk only when
    /// there is room for whole buffers again: it had better not meet one.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        // Where nobody can tell, RocksDB will find out.
        rustix::fs::statvfs(self.0.path()).map_or(true, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) >= bytes.saturating_add(SPARE_BYTES)
        })
    }

    /// What the store wrote about itself; `None` in a RocksDB that is new.
    pub(crate) fn marks(&self) -> Result<Option<Marks>, StoreError> {
        let get = |key| self.0.get(key).map_err(|error| unreadable(&error));
        match get(format::VERSION_KEY)? {
            None => return Ok(None),
            Some(version) if version == format::VERSION => {}
            Some(version) => {
                let (found, known) =
                    (String::from_utf8_lossy(&version), String::from_utf8_lossy(format::VERSION));
                return Err(StoreError::failed(format!(
                    "the data has format \"{found}\", this program \"{known}\""
                )));
            }
        }
        let number = |key: &'static [u8]| {
            let number = get(key)?.as_deref().and_then(format::decode_number);
            number.ok_or_else(|| damaged(format::FAMILY, key))
        };
        Ok(Some(Marks {
            salt: number(format::SALT_KEY)?,
            checkpoint: number(format::CHECKPOINT_KEY)?,
            incarnation_last: number(format::INCARNATION_KEY)?,
        }))
    }

    /// Makes a new RocksDB this store's.
    pub(crate) fn initialize(&self, marks: Marks) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put(format::VERSION_KEY, format::VERSION);
        batch.put(format::SALT_KEY, format::encode_number(marks.salt));
        put_progress(&mut batch, marks.checkpoint, marks.incarnation_last);
        self.0.write_without_wal(batch)?;
        self.flush()
    }

    /// Writes everything memtable, which ends with frame `through`, in one batch. It is durable after [`Rocks::flush`].
    pub(crate) fn write(
        &self,
        memtable: &Memtable,
        through: u64,
        incarnation_last: u64,
        stale_deadlines: &[(u64, Box<str>)],
    ) -> Result<(), StoreError> {
        let [names, log, producers, expiry, control] =
            [names::FAMILY, log::FAMILY, producers::FAMILY, expiry::FAMILY, control::FAMILY]
                .map(|family| self.family(family));
        let (names, log, producers, expiry, control) = (names?, log?, producers?, expiry?, control?);
        let mut batch = WriteBatch::default();
        let mut value = Vec::new();
        for &incarnation in &memtable.removed {
            let (first, after) = log::range(incarnation);
            batch.delete_range_cf(log, first, after);
            let (first, after) = producers::range(incarnation);
            batch.delete_range_cf(producers, first, after);
        }
        for (deadline_ms, name) in stale_deadlines {
            batch.delete_cf(expiry, expiry::encode_key(*deadline_ms, name));
        }
        for name in memtable.names.keys() {
            match memtable.head(name).flatten() {
                Some(head) => {
                    value.clear();
                    head::encode(head, &mut value);
                    batch.put_cf(names, names::encode_key(name), &value);
                }
                None => batch.delete_cf(names, names::encode_key(name)),
            }
        }
        for (deadline_ms, name) in &memtable.deadlines {
            batch.put_cf(expiry, expiry::encode_key(*deadline_ms, name), b"");
        }
        for (key, value) in &memtable.documents {
            match value {
                Some(value) => batch.put_cf(control, control::encode_key(key), value),
                None => batch.delete_cf(control, control::encode_key(key)),
            }
        }
        for (&incarnation, stream) in &memtable.streams {
            for (id, state) in &stream.producers {
                batch.put_cf(
                    producers,
                    producers::encode_key(incarnation, id),
                    producers::encode_value(*state),
                );
            }
            // An empty log has an entry too if it is new: it says that the log exists.
            let begin = stream.log.begin();
            for part in stream.log.parts(begin).filter(|part| stream.is_new || !part.bytes.is_empty()) {
                for entry in Split(Some(part)) {
                    let key = log::encode_key(incarnation, entry.start);
                    log::encode_value(&key, entry, &mut value);
                    batch.put_cf(log, key, &value);
                }
            }
        }
        put_progress(&mut batch, through, incarnation_last);
        self.0.write_without_wal(batch).map_err(|error| unwritable(&error))
    }

    /// Ends RocksDB's own work, so that a test can look at files that don't change.
    #[cfg(test)]
    pub(crate) fn halt(&self) {
        self.0.cancel_all_background_work(true);
    }

    /// Says that the data has another format.
    #[cfg(test)]
    pub(crate) fn write_version(&self, version: &[u8]) {
        let mut batch = WriteBatch::default();
        batch.put(format::VERSION_KEY, version);
        self.0.write_without_wal(batch).and_then(|()| self.flush()).unwrap();
    }

    /// Turns the cleaning of blob files on or off, if it is time to. Gives whether it is on.
    pub(crate) fn clean(&self, is_cleaning: bool) -> Result<bool, Error> {
        let Some(log) = self.0.cf_handle(log::FAMILY) else { return Ok(is_cleaning) };
        let property = |name| self.0.property_int_value_cf(log, name).map(Option::unwrap_or_default);
        let bytes = property("rocksdb.live-blob-file-size")?;
        let unused_bytes = property("rocksdb.live-blob-file-garbage-size")?;
        let wanted = tuning::wants_cleaning(bytes, unused_bytes, is_cleaning);
        if wanted != is_cleaning {
            let cutoff = if wanted { "1.0" } else { "0.0" };
            self.0.set_options_cf(log, &[(tuning::AGE_CUTOFF, cutoff)])?;
            tracing::info!(wanted, bytes, unused_bytes, "cleaning of blob files");
        }
        Ok(wanted)
    }

    /// Waits until everything written is durable.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let families: Vec<&ColumnFamily> =
            [format::FAMILY, names::FAMILY, log::FAMILY, producers::FAMILY, expiry::FAMILY, control::FAMILY]
                .iter()
                .filter_map(|family| self.0.cf_handle(family))
                .collect();
        self.0.flush_cfs_opt(&families, &FlushOptions::default())
    }
}

fn put_progress(batch: &mut WriteBatch, checkpoint: u64, incarnation_last: u64) {
    batch.put(format::CHECKPOINT_KEY, format::encode_number(checkpoint));
    batch.put(format::INCARNATION_KEY, format::encode_number(incarnation_last));
}

/// A part in pieces that fit in an entry, cut where appends end if they fit.
struct Split<'a>(Option<Part<'a>>);

impl<'a> Iterator for Split<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let part = self.0.take()?;
        if part.bytes.len() <= ENTRY_BYTES {
            return Some(part);
        }
        let limit = part.start + ENTRY_BYTES as u64;
        let whole = part.ends.partition_point(|&end| end <= limit);
        let (ends, rest_ends) = part.ends.split_at_checked(whole)?;
        let cut = ends.last().copied().unwrap_or(limit);
        let (bytes, rest) = part.bytes.split_at_checked(usize::try_from(cut - part.start).ok()?)?;
        self.0 = Some(Part { start: cut, starts_append: !ends.is_empty(), bytes: rest, ends: rest_ends })
            .filter(|part| !part.bytes.is_empty());
        Some(Part { bytes, ends, ..part })
    }
}

fn damaged(family: &str, key: &[u8]) -> StoreError {
    StoreError::damaged(format!("{family}: the entry {} makes no sense", key.escape_ascii()))
}

fn unreadable(error: &Error) -> StoreError {
    StoreError::damaged(error.clone())
}

/// RocksDB tells a full disk only in words.
pub(crate) fn unwritable(error: &Error) -> StoreError {
    let text = error.to_string();
    let full = ["No space left", "Disk quota exceeded", "File too large"];
    if full.iter().any(|words| text.contains(words)) { StoreError::Full } else { StoreError::failed(text) }
}

/// A head's summary, from the disk if need be.
pub(crate) fn head_prefix(rocks: &Rocks, name: &str) -> Result<Option<HeadPrefix>, StoreError> {
    match rocks.head(name, ReadTier::All, HeadPrefix::decode)? {
        Found::Now(summary) => Ok(summary),
        Found::OnDisk => Err(StoreError::damaged("RocksDB didn't ask its disk")),
    }
}
