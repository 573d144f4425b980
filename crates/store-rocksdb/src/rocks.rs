//! RocksDB: everything up to the last checkpoint.
//!
//! Only checkpoints write it, one batch each and without RocksDB's own log: the commit log has the frames until the batch is
//! flushed. RocksDB's options are in `tuning`.

use std::{
    borrow::Cow,
    fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use headwater_store::{
    StoreError,
    gather::{Gather, Part},
};
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, Direction, Error, ErrorKind,
    FlushOptions, IteratorMode, Options, ReadOptions, ReadTier, WriteBatch,
};

use crate::{
    codec::Malformed,
    engine::lock,
    head::{self, HeadPrefix},
    keys::{CONTROL, NAMES, expiry, format, log, producers},
    memtable::{Memtable, StreamEntry},
    tuning::{self, Tuning},
};

/// The size up to which bytes of a stream share an entry of the column family `log`: small enough to read one for a small
/// range, large enough that a chunk is a handful of them.
const ENTRY_BYTES: usize = 128 * 1024;

/// The space that a checkpoint takes besides its bytes: keys, indexes, a new manifest.
const SPARE_BYTES: u64 = 4 << 20;

/// The size of the file that tells whether a folder can be written.
const PROBE_BYTES: usize = 64 << 10;

/// RocksDB behind the commit log.
#[derive(Debug)]
pub(crate) struct Rocks {
    /// `None` after it was closed to be opened again, and that failed.
    db: RwLock<Option<DB>>,
    folder: PathBuf,
    memory_bytes: usize,
    tuning: Tuning,
    floor: Mutex<Floor>,
}

/// Where the index of deadlines begins. What has expired leaves tombstones there until a compaction, and a sweep
/// would walk over them every second.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    /// No entry is earlier.
    deadline_ms: u64,
    /// The number of batches that were written: what was seen before one says nothing of it.
    batches: u64,
}

/// RocksDB, while it is open. Who has it must not ask [`Rocks`] for it again: [`Rocks::reopen`] may wait between the two.
pub(crate) struct Open<'a>(RwLockReadGuard<'a, Option<DB>>);

impl Deref for Open<'_> {
    type Target = DB;

    #[expect(clippy::expect_used, reason = "`Rocks::db` checks it")]
    fn deref(&self) -> &DB {
        self.0.as_ref().expect("RocksDB is open")
    }
}

impl Open<'_> {
    /// Looks a key up, on the disk if need be.
    pub(crate) fn get<T>(&self, query: &Query<'_, T>) -> Result<Option<T>, StoreError> {
        query.read(self.get_pinned_cf(family(self, query.family)?, &query.key))
    }
}

/// What the store writes about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) salt: u64,
    pub(crate) checkpoint: u64,
    pub(crate) incarnation_last: u64,
}

/// One key of one family, and how to read its value.
pub(crate) struct Query<'k, T> {
    family: &'static str,
    key: Cow<'k, [u8]>,
    decode: fn(&[u8]) -> Result<T, Malformed>,
}

impl<'k, T> Query<'k, T> {
    pub(crate) fn new(
        family: &'static str,
        key: impl Into<Cow<'k, [u8]>>,
        decode: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Self {
        Self { family, key: key.into(), decode }
    }

    fn read(&self, value: Result<Option<DBPinnableSlice<'_>>, Error>) -> Result<Option<T>, StoreError> {
        let value = value.map_err(unreadable)?;
        let decoded = value.map(|value| (self.decode)(&value)).transpose();
        decoded.map_err(|Malformed| damaged(self.family, &self.key))
    }
}

impl Rocks {
    /// Opens RocksDB in a folder, or creates it there. Its blocks take at most `memory_bytes` bytes of memory.
    pub(crate) fn open(folder: &Path, memory_bytes: usize, tuning: &Tuning) -> Result<Self, Error> {
        let mut options = tuning.database();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        Ok(Self {
            db: RwLock::new(Some(open(&options, folder, memory_bytes, tuning)?)),
            folder: folder.into(),
            memory_bytes,
            tuning: tuning.clone(),
            floor: Mutex::default(),
        })
    }

    /// Closes RocksDB and opens it again. After a failed flush it writes nothing more until then, though the cause may be
    /// gone: it keeps the error. Everything that isn't flushed is lost, and has to be written again.
    ///
    /// # Errors
    /// Nothing can be written to its folder yet: then it stays as it is, and can be read. Or it can't be opened, or is not
    /// the store `salt` with all checkpoints up to `checkpoint`: then it stays closed until this succeeds.
    pub(crate) fn reopen(&self, salt: u64, checkpoint: u64) -> Result<(), StoreError> {
        self.probe().map_err(StoreError::failed)?;
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
        // Never made anew: what is missing has to come back.
        let opened = open(&self.tuning.database(), &self.folder, self.memory_bytes, &self.tuning);
        let opened = opened.map_err(unwritable)?;
        match marks(&opened)? {
            Some(marks) if marks.salt == salt && marks.checkpoint >= checkpoint => {
                *db = Some(opened);
                Ok(())
            }
            Some(marks) if marks.salt == salt => {
                Err(StoreError::failed("the folder has an older state of the store"))
            }
            _ => Err(StoreError::failed("the folder has another store's data")),
        }
    }

    /// Writes a file to the folder and removes it.
    fn probe(&self) -> io::Result<()> {
        let path = self.folder.join("probe");
        let written = fs::write(&path, [0; PROBE_BYTES]);
        fs::remove_file(&path)?;
        written
    }

    fn db(&self) -> Result<Open<'_>, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if db.is_some() { Ok(Open(db)) } else { Err(StoreError::failed("the data folder can't be used")) }
    }

    /// Looks a key up, on the disk if need be.
    pub(crate) fn get<T>(&self, query: &Query<'_, T>) -> Result<Option<T>, StoreError> {
        self.db()?.get(query)
    }

    /// Looks a key up in memory. Returns `None` if the disk would have to be read, otherwise what [`Rocks::get`] would.
    pub(crate) fn get_cached<T>(&self, query: &Query<'_, T>) -> Result<Option<Option<T>>, StoreError> {
        // It may be about to be opened again, which takes as long as the disk does.
        let Some(db) = self.db.try_read().ok().filter(|db| db.is_some()).map(Open) else { return Ok(None) };
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match db.get_pinned_cf_opt(family(&db, query.family)?, &query.key, &options) {
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            value => query.read(value).map(Some),
        }
    }

    /// Adds to a range the bytes of it that are here. Returns `false` if the log has nothing here at the range's next
    /// position.
    pub(crate) fn gather(&self, incarnation: u64, gather: &mut Gather) -> Result<bool, StoreError> {
        let (first, after) = log::range(incarnation);
        let db = self.db()?;
        let family = family(&db, log::FAMILY)?;
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first);
        options.set_iterate_upper_bound(after);
        // Entries have a checksum of their own, several times as fast as that of blob files.
        options.set_verify_checksums(false);
        let mut entries = db.raw_iterator_cf_opt(family, options);
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
                    let gap = format!("between {next} and {}", part.start);
                    return Err(StoreError::damaged(format!("log {incarnation}: bytes are missing {gap}")));
                }
                any = true;
            }
            entries.next();
        }
        entries.status().map_err(unreadable)?;
        Ok(any)
    }

    /// Visits the deadlines up to `until_ms` with their names, in order, from the one that follows `after` on, until
    /// `visit` returns `false`.
    pub(crate) fn deadlines(
        &self,
        until_ms: u64,
        after: Option<(u64, &str)>,
        mut visit: impl FnMut(&Open<'_>, u64, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let floor = *lock(&self.floor);
        let first_key = after.map(|(deadline_ms, name)| expiry::encode_key(deadline_ms, name));
        let begin = first_key.clone().unwrap_or_else(|| expiry::encode_key(floor.deadline_ms, ""));
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(expiry::encode_key(until_ms.saturating_add(1), ""));
        let mode = IteratorMode::From(&begin, Direction::Forward);
        let mut earliest = None;
        for entry in db.iterator_cf_opt(family(&db, expiry::FAMILY)?, options, mode) {
            let (key, _) = entry.map_err(unreadable)?;
            let (deadline_ms, name) =
                expiry::decode_key(&key).ok_or_else(|| damaged(expiry::FAMILY, &key))?;
            earliest.get_or_insert(deadline_ms);
            if first_key.as_deref() != Some(&*key) && !visit(&db, deadline_ms, name)? {
                break;
            }
        }
        let mut now = lock(&self.floor);
        if after.is_none() && now.batches == floor.batches {
            now.deadline_ms = earliest.unwrap_or_else(|| until_ms.saturating_add(1)).max(floor.deadline_ms);
        }
        Ok(())
    }

    /// Removes entries of the index of deadlines that no stream has: those that an earlier version left.
    pub(crate) fn remove_deadlines(&self, stale: &[(u64, Box<str>)]) -> Result<(), StoreError> {
        let db = self.db()?;
        let family = family(&db, expiry::FAMILY)?;
        let mut batch = WriteBatch::default();
        for (deadline_ms, name) in stale {
            batch.delete_cf(family, expiry::encode_key(*deadline_ms, name));
        }
        db.write_without_wal(batch).map_err(unwritable)
    }

    /// Visits the entries of a family whose keys are texts, from `first` on in byte order, until `visit` returns `false`.
    pub(crate) fn entries(
        &self,
        family: &str,
        first: &str,
        mut visit: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let mode = IteratorMode::From(first.as_bytes(), Direction::Forward);
        for entry in db.iterator_cf(self::family(&db, family)?, mode) {
            let (key, value) = entry.map_err(unreadable)?;
            let text = std::str::from_utf8(&key).map_err(|_| damaged(family, &key))?;
            if !visit(text, &value) {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the disk has room for a checkpoint of about `bytes` bytes. RocksDB recovers from a full disk only when
    /// there is room for whole buffers again: it had better not meet one.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        // Where the system can't tell, RocksDB will find out.
        rustix::fs::statvfs(&self.folder).map_or(true, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) >= bytes.saturating_add(SPARE_BYTES)
        })
    }

    /// Reads what the store wrote about itself; `None` in a RocksDB that is new.
    pub(crate) fn marks(&self) -> Result<Option<Marks>, StoreError> {
        marks(&*self.db()?)
    }

    /// Writes the marks of a new store, and waits until they are durable.
    pub(crate) fn initialize(&self, marks: Marks) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put(format::VERSION_KEY, format::VERSION);
        batch.put(format::SALT_KEY, format::encode_number(marks.salt));
        put_progress(&mut batch, marks.checkpoint, marks.incarnation_last);
        self.db()?.write_without_wal(batch).map_err(unwritable)?;
        self.flush()
    }

    /// Writes a memtable, whose last frame is `through`, in one batch. It is durable after [`Rocks::flush`].
    pub(crate) fn write(
        &self,
        memtable: &Memtable,
        through: u64,
        incarnation_last: u64,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let mut batch = WriteBatch::default();
        put_streams(&db, &mut batch, memtable)?;
        put_names(&db, &mut batch, memtable)?;
        let control = family(&db, CONTROL)?;
        for (key, value) in &memtable.documents {
            match value {
                Some(value) => batch.put_cf(control, key.as_bytes(), value),
                None => batch.delete_cf(control, key.as_bytes()),
            }
        }
        put_progress(&mut batch, through, incarnation_last);
        db.write_without_wal(batch).map_err(unwritable)?;
        let mut floor = lock(&self.floor);
        floor.batches += 1;
        if let Some((earliest_ms, _)) = memtable.deadlines.first() {
            floor.deadline_ms = floor.deadline_ms.min(*earliest_ms);
        }
        Ok(())
    }

    /// Ends RocksDB's background work, so that a test can look at files that don't change.
    #[cfg(test)]
    pub(crate) fn halt(&self) {
        self.db().unwrap().cancel_all_background_work(true);
    }

    /// Writes that the data has another format.
    #[cfg(test)]
    pub(crate) fn write_version(&self, version: &[u8]) {
        let mut batch = WriteBatch::default();
        batch.put(format::VERSION_KEY, version);
        self.db().unwrap().write_without_wal(batch).unwrap();
        self.flush().unwrap();
    }

    /// Turns the cleaning of blob files on or off, if it is time to. Returns whether it is on.
    pub(crate) fn clean(&self, is_cleaning: bool) -> Result<bool, StoreError> {
        let db = self.db()?;
        let log = family(&db, log::FAMILY)?;
        let property = |name| {
            let value = db.property_int_value_cf(log, name).map_err(unreadable)?;
            Ok::<_, StoreError>(value.unwrap_or_default())
        };
        let bytes = property("rocksdb.live-blob-file-size")?;
        let unused_bytes = property("rocksdb.live-blob-file-garbage-size")?;
        let wanted = tuning::wants_cleaning(bytes, unused_bytes, is_cleaning);
        if wanted != is_cleaning {
            let cutoff = if wanted { "1.0" } else { "0.0" };
            db.set_options_cf(log, &[(tuning::AGE_CUTOFF, cutoff)]).map_err(unwritable)?;
            tracing::info!(wanted, bytes, unused_bytes, "cleaning of blob files");
        }
        Ok(wanted)
    }

    /// Waits until everything written is durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let db = self.db()?;
        let [format, names, log, producers, expiry, control] =
            [format::FAMILY, NAMES, log::FAMILY, producers::FAMILY, expiry::FAMILY, CONTROL]
                .map(|name| family(&db, name));
        // All of them or an error: what isn't flushed must not free a slot.
        let families = [format?, names?, log?, producers?, expiry?, control?];
        db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(unwritable)
    }
}

fn open(options: &Options, folder: &Path, memory_bytes: usize, tuning: &Tuning) -> Result<DB, Error> {
    let cache = Cache::new_lru_cache(memory_bytes);
    let (family, log_family) = (|| tuning.family(&cache), || tuning.log_family(&cache));
    let families = [
        ColumnFamilyDescriptor::new(format::FAMILY, family()),
        ColumnFamilyDescriptor::new(NAMES, family()),
        ColumnFamilyDescriptor::new(log::FAMILY, log_family()),
        ColumnFamilyDescriptor::new(producers::FAMILY, family()),
        ColumnFamilyDescriptor::new(expiry::FAMILY, family()),
        ColumnFamilyDescriptor::new(CONTROL, family()),
    ];
    DB::open_cf_descriptors(options, folder, families)
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name).ok_or_else(|| StoreError::damaged(format!("there is no column family {name}")))
}

fn marks(db: &DB) -> Result<Option<Marks>, StoreError> {
    let get = |key| db.get(key).map_err(unreadable);
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

/// Adds the logs and producers of a memtable to a batch.
fn put_streams(db: &DB, batch: &mut WriteBatch, memtable: &Memtable) -> Result<(), StoreError> {
    let (log, producers) = (family(db, log::FAMILY)?, family(db, producers::FAMILY)?);
    for &incarnation in &memtable.removed {
        let (first, after) = log::range(incarnation);
        batch.delete_range_cf(log, first, after);
        let (first, after) = producers::range(incarnation);
        batch.delete_range_cf(producers, first, after);
    }
    for (&incarnation, stream) in &memtable.streams {
        for (id, state) in &stream.producers {
            let key = producers::encode_key(incarnation, id);
            batch.put_cf(producers, key, producers::encode_value(*state));
        }
        put_log(batch, log, incarnation, stream);
    }
    Ok(())
}

/// Adds the heads and deadlines of a memtable to a batch. Whoever replaces a deadline deletes the old one.
fn put_names(db: &DB, batch: &mut WriteBatch, memtable: &Memtable) -> Result<(), StoreError> {
    let (names, expiry) = (family(db, NAMES)?, family(db, expiry::FAMILY)?);
    let mut value = Vec::new();
    for (name, entry) in &memtable.names {
        if !entry.is_new {
            let query = Query::new(NAMES, name.as_bytes(), HeadPrefix::decode);
            let before = query.read(db.get_pinned_cf(names, name.as_bytes()))?;
            if let Some(deadline_ms) = before.and_then(|prefix| prefix.deadline_ms) {
                batch.delete_cf(expiry, expiry::encode_key(deadline_ms, name));
            }
        }
        match entry.incarnation {
            Some(incarnation) => {
                value.clear();
                head::encode(&memtable.stream(incarnation).head, &mut value);
                batch.put_cf(names, name.as_bytes(), &value);
            }
            None => batch.delete_cf(names, name.as_bytes()),
        }
    }
    for (deadline_ms, name) in &memtable.deadlines {
        batch.put_cf(expiry, expiry::encode_key(*deadline_ms, name), b"");
    }
    Ok(())
}

fn put_progress(batch: &mut WriteBatch, checkpoint: u64, incarnation_last: u64) {
    batch.put(format::CHECKPOINT_KEY, format::encode_number(checkpoint));
    batch.put(format::INCARNATION_KEY, format::encode_number(incarnation_last));
}

/// Adds the log of a stream to a batch.
fn put_log(batch: &mut WriteBatch, family: &ColumnFamily, incarnation: u64, stream: &StreamEntry) {
    let mut value = Vec::new();
    let mut next = stream.log.begin();
    // An empty log has an entry too if it is new, which says that the log exists.
    for part in stream.log.parts(next).filter(|part| stream.is_new || !part.bytes.is_empty()) {
        for entry in Entries(Some(part)) {
            assert_eq!(entry.start, next, "each entry begins where the one before ends");
            next = entry.end();
            let key = log::encode_key(incarnation, entry.start);
            log::encode_value(&key, entry, &mut value);
            batch.put_cf(family, key, &value);
        }
    }
    assert_eq!(next, stream.head.tail, "the entries are all bytes up to the tail");
}

/// The pieces of a part that fit in an entry, cut where appends end if they fit.
struct Entries<'a>(Option<Part<'a>>);

impl<'a> Iterator for Entries<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let part = self.0.take()?;
        if part.bytes.len() <= ENTRY_BYTES {
            return Some(part);
        }
        let limit = part.start + ENTRY_BYTES as u64;
        let whole = part.ends.partition_point(|&end| end <= limit);
        let (ends, rest_ends) = part.ends.split_at(whole);
        let cut = ends.last().copied().unwrap_or(limit);
        assert!(part.start < cut && cut <= limit, "ends are in the part, and no append is empty");
        let (bytes, rest) = part.bytes.split_at((cut - part.start) as usize);
        self.0 = Some(Part { start: cut, starts_append: !ends.is_empty(), bytes: rest, ends: rest_ends });
        Some(Part { bytes, ends, ..part })
    }
}

fn damaged(family: &str, key: &[u8]) -> StoreError {
    StoreError::damaged(format!("{family}: the entry {} is malformed", key.escape_ascii()))
}

fn unreadable(error: Error) -> StoreError {
    StoreError::damaged(error)
}

/// Maps an error of writing. RocksDB tells a full disk only by its message.
fn unwritable(error: Error) -> StoreError {
    let text = error.to_string();
    let full = ["No space left", "Disk quota exceeded", "File too large"];
    if full.iter().any(|words| text.contains(words)) { StoreError::Full } else { StoreError::failed(error) }
}

#[cfg(test)]
mod tests {
    use headwater_store::log::Log;

    use super::*;

    #[test]
    fn entries_cover_their_part_and_are_cut_where_appends_end() {
        let mut log = Log::new(7);
        [100_000, 20_000, 20_000, 300_000].iter().for_each(|size| log.append(&vec![1; *size]));
        let (mut next, mut ends) = (7, Vec::new());
        for entry in log.parts(7).flat_map(|part| Entries(Some(part))) {
            assert_eq!(entry.start, next);
            assert!(entry.bytes.len() <= ENTRY_BYTES);
            next = entry.end();
            ends.push((next, entry.starts_append));
        }
        assert_eq!(next, log.end());
        assert_eq!(ends.first(), Some(&(120_007, true)), "{ends:?}");
        assert_eq!(ends.get(1), Some(&(140_007, true)), "{ends:?}");
    }
}
