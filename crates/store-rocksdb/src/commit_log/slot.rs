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
/// A slot is zero-filled page by page: what is written in one piece, Linux may keep in one piece, and then a small write
/// in it counts as one of the whole piece.
const PAGE: usize = 4096;

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
        let zeroes = [0; PAGE];
        for at in (0..SLOT_BYTES).step_by(PAGE) {
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

    /// Writes `bytes` with zeroes up to the end of the page: whole pages needn't be read before they are written.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>, at: u64) -> io::Result<()> {
        let length = bytes.len();
        let end = at + length as u64;
        let padded = end.next_multiple_of(PAGE as u64).min(SLOT_BYTES.max(end)) - at;
        bytes.resize(usize::try_from(padded).unwrap_or(length), 0);
        let written = self.disk.write(&self.file, bytes, at);
        bytes.truncate(length);
        written
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
