//! A slot: a file that is written over and over, zero-filled before its first use.
//!
//! Writing over space that exists changes neither extents nor sizes, so that a sync costs one write of data and no
//! journal: half the latency of a growing or merely allocated file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::disk::Disk;

/// The length of a slot; only a single larger frame makes one longer, for as long as it holds it. Tests fill theirs fast.
pub(crate) const SLOT_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };
/// A zero-filled slot is written in pieces of this size.
const ZEROES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    file: File,
    disk: Disk,
}

impl Slot {
    /// Makes a slot of zeroes, whatever was there. Its folder has to be synced afterwards.
    pub(crate) fn create(path: PathBuf, disk: Disk) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let zeroes = vec![0; ZEROES];
        for at in (0..SLOT_BYTES).step_by(ZEROES) {
            file.write_all_at(&zeroes, at)?;
        }
        file.sync_all()?;
        Ok(Self { path, file, disk })
    }

    pub(crate) fn open(path: PathBuf, disk: Disk) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, file, disk })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes from the beginning, at most so many.
    pub(crate) fn read(&self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len().min(bytes_max);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.write(&self.file, bytes, at)
    }

    /// Waits until the disk has what was written.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    /// Gives back what a larger frame took beyond the usual length.
    pub(crate) fn shrink(&self) -> io::Result<()> {
        if self.bytes()? > SLOT_BYTES { self.file.set_len(SLOT_BYTES) } else { Ok(()) }
    }
}
