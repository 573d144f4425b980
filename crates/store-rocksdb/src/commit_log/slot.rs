//! A slot: a file that is written over and over, zero-filled before its first use.
//!
//! Writing over space that exists changes neither extents nor sizes, so that a sync costs one write of data and no
//! journal: half the latency of a growing or merely allocated file. Sectors go to the disk past the system's cache where
//! the file system allows that (`O_DIRECT`), which saves a tenth of a sync's processor time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::disk::Disk;
use crate::folder::FILE_MODE;

/// The length of a slot; only a single larger frame makes one longer, for as long as it holds it. Tests fill theirs fast.
pub(crate) const SLOT_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };
/// No disk has larger sectors. A slot is zero-filled page by page, since what is written in one piece Linux may keep in
/// one piece, and then a small write in it counts as one of the whole piece.
pub(super) const PAGE: usize = 4096;
/// No disk has smaller sectors. Most take these, also if theirs are larger inside.
pub(super) const SECTOR: usize = 512;

#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    file: File,
    /// Another handle of the file that bypasses the page cache, where that is possible.
    direct: Option<File>,
    sector_bytes: usize,
    disk: Disk,
}

impl Slot {
    /// Creates a slot of zeroes, whatever was there. Its folder has to be synced afterwards.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
        let zeroes = [0; PAGE];
        for at in (0..SLOT_BYTES).step_by(PAGE) {
            file.write_all_at(&zeroes, at)?;
        }
        file.sync_all()
    }

    pub(crate) fn open(path: PathBuf, disk: Disk) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let direct = open_direct(&path);
        let takes_small = direct.as_ref().is_none_or(reads_small_sectors);
        let sector_bytes = if takes_small { SECTOR } else { PAGE };
        Ok(Self { path, file, direct, sector_bytes, disk })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads from the beginning, at most `bytes_max` bytes, in place of what `bytes` holds.
    pub(crate) fn read(&self, bytes_max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let mut file = &self.file;
        file.rewind()?;
        file.take(bytes_max).read_to_end(bytes)?;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Returns the size of a sector, of which only whole ones are written.
    pub(super) const fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    /// Writes whole sectors.
    pub(super) fn write(&self, sectors: &[u8], at: u64) -> io::Result<()> {
        self.disk.write(self.direct.as_ref().unwrap_or(&self.file), sectors, at)
    }

    /// Waits until the disk has what [`Slot::write`] wrote. Past the system's cache isn't past the disk's.
    pub(super) fn sync_written(&self) -> io::Result<()> {
        self.disk.sync(self.direct.as_ref().unwrap_or(&self.file))
    }

    /// Writes what was read and waits until the disk has it.
    pub(super) fn make_durable(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        self.file.sync_all()
    }

    /// Releases the space of a larger frame beyond the usual length.
    pub(crate) fn shrink(&self) -> io::Result<()> {
        if self.bytes()? > SLOT_BYTES { self.file.set_len(SLOT_BYTES) } else { Ok(()) }
    }
}

/// Returns whether the second small sector can be read alone, past the system's cache. That is refused where sectors are
/// larger.
fn reads_small_sectors(direct: &File) -> bool {
    let mut buffer = [0; PAGE + SECTOR];
    let start = buffer.as_ptr().align_offset(PAGE).min(PAGE);
    let (sector, _) = buffer.split_at_mut(start).1.split_at_mut(SECTOR);
    direct.read_exact_at(sector, SECTOR as u64).is_ok()
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    // Some file systems in memory or in user space refuse; then writes go through the cache.
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
const fn open_direct(_: &Path) -> Option<File> {
    None
}
