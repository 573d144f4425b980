//! Opening a folder as a store, or making a store in it.

use std::{
    error::Error,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use headwater_store::StoreError;
use rocksdb::ErrorKind;

use crate::{
    RocksStore, checkpointer,
    commit_log::{self, CommitLog, LogError, Replayed, disk::Disk},
    engine::Engine,
    folder,
    memtable::Memtable,
    memtables::{Memtables, Sealed},
    rocks::{Marks, Rocks},
    tuning::Tuning,
    writer,
};

/// The reason why a folder can't be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder or a file in it can't be used.
    #[error("the data folder {} can't be used", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process uses the folder.
    #[error("the data folder {} is in use by another process: stop that one, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// Something in the folder can't be trusted, or is missing. Nothing was changed.
    #[error(
        "the data folder {} is damaged. Nothing was changed; restore a backup, or keep a copy and ask for help",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The description of the damage.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A folder that is being opened: what its errors name.
#[derive(Clone, Copy)]
struct Folder<'a>(&'a Path);

impl RocksStore {
    /// Opens the store in a folder, or makes one there. `cache_bytes` is the memory for blocks of RocksDB; besides that the
    /// store keeps up to four slots of 16 MiB of the commit log in memory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        Self::open_on(folder, cache_bytes, &Tuning::default(), &Disk::default())
    }

    /// Opens a store with other options of RocksDB than the default, to measure their effect. The format stays the same.
    ///
    /// # Errors
    /// [`OpenError`].
    #[cfg(any(test, feature = "tuning"))]
    pub fn open_tuned(folder: &Path, cache_bytes: usize, tuning: &Tuning) -> Result<Self, OpenError> {
        Self::open_on(folder, cache_bytes, tuning, &Disk::default())
    }

    pub(crate) fn open_on(
        path: &Path,
        cache_bytes: usize,
        tuning: &Tuning,
        disk: &Disk,
    ) -> Result<Self, OpenError> {
        let folder = Folder(path);
        let log_folder = path.join("log");
        let was_used = commit_log::was_used(&log_folder);
        let rocks = folder.open_rocks(was_used, cache_bytes, tuning)?;
        let marks = match rocks.marks().map_err(|error| folder.damaged(error))? {
            Some(marks) => marks,
            None if was_used => return Err(folder.damaged("there is a commit log, but RocksDB is empty")),
            None => folder.initialize(&rocks, &log_folder)?,
        };
        let mut memtable = Memtable::default();
        let apply = |payload: &[u8]| memtable.apply(payload).is_ok();
        let replayed = commit_log::replay(&log_folder, marks.salt, marks.checkpoint, disk, apply);
        let Replayed { through, live, mut free } = replayed.map_err(|error| match error {
            LogError::Io { .. } => folder.unusable(error),
            LogError::Damaged { .. } => folder.damaged(error),
        })?;
        let incarnation_last = memtable.incarnation_last.max(marks.incarnation_last);
        let mut marks = Marks { incarnation_last, ..marks };
        let mut memtables = Memtables::default();
        if free.is_empty() {
            // Every slot is full: their frames have to be in RocksDB before anything can be written.
            let written = rocks.write(&memtable, through, incarnation_last).and_then(|()| rocks.flush());
            written.map_err(|error| folder.unusable(error))?;
            free = live;
            marks.checkpoint = through;
        } else if !live.is_empty() {
            let memtable = Arc::new(memtable);
            memtables.sealed.push_back(Sealed { memtable, through, slots: live });
        }
        let slot = free.pop().ok_or_else(|| folder.damaged("there are no slots"))?;
        let log = CommitLog::new(marks.salt, slot, through);
        let engine = Arc::new(Engine::new(rocks, log, free, memtables, marks));
        let start = |name: &str, run: fn(&Engine)| {
            let engine = engine.clone();
            // A panic stops the store.
            let thread = thread::Builder::new().name(name.into()).spawn(move || _ = engine.run(run));
            thread.map_err(|error| folder.unusable(error))
        };
        let writer = Some(start("store-writer", writer::run)?);
        let checkpointer = Some(start("checkpointer", checkpointer::run)?);
        Ok(Self { engine, writer, checkpointer })
    }
}

impl Folder<'_> {
    fn unusable(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> OpenError {
        OpenError::Unusable { folder: self.0.into(), source: source.into() }
    }

    fn damaged(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> OpenError {
        OpenError::Damaged { folder: self.0.into(), source: source.into() }
    }

    /// Opens RocksDB, or creates it if the commit log wasn't used either.
    fn open_rocks(self, was_used: bool, cache_bytes: usize, tuning: &Tuning) -> Result<Rocks, OpenError> {
        folder::create(self.0).map_err(|error| self.unusable(error))?;
        let rocks_folder = self.0.join("rocksdb");
        let exists = rocks_folder.join("CURRENT").exists();
        if was_used && !exists {
            return Err(self.damaged("there is a commit log, but RocksDB's file CURRENT is missing"));
        }
        Rocks::open(&rocks_folder, cache_bytes, tuning).map_err(|error| {
            let text = error.to_string();
            match error.kind() {
                ErrorKind::IOError if text.contains("lock") => OpenError::InUse(self.0.into()),
                // RocksDB relies on files that aren't there: one of its own is lost, or names another one now.
                ErrorKind::IOError if exists && text.contains("No such file") => self.damaged(error),
                ErrorKind::IOError => self.unusable(error),
                _ => self.damaged(error),
            }
        })
    }

    /// Makes a new store: the commit log, and last the marks, so that everything else exists if they do.
    fn initialize(self, rocks: &Rocks, log_folder: &Path) -> Result<Marks, OpenError> {
        let salt = getrandom::u64().map_err(|error| self.unusable(error))?;
        let marks = Marks { salt, checkpoint: 0, incarnation_last: 0 };
        commit_log::create(log_folder).map_err(|error| self.unusable(error))?;
        sync_names(self.0).map_err(|error| self.unusable(error))?;
        rocks.initialize(marks).map_err(|error: StoreError| self.unusable(error))?;
        Ok(marks)
    }
}

/// Waits until the disk has the names of a folder, of its content and of all folders around it: a power cut must not take
/// away what is synced. Any of them may be new, made by this process or by one that was killed.
fn sync_names(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    for folder in folder.ancestors() {
        // A process that may not read a folder has made nothing there.
        let Ok(opened) = File::open(folder) else { continue };
        match opened.sync_all() {
            // Some file systems have nothing to sync in a folder.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            synced => synced?,
        }
    }
    Ok(())
}
