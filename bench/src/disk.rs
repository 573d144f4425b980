//! What a disk has written so far.
//!
//! The kernel charges a process for whole folios of the page cache, up to 1 MiB for a write of some bytes, so
//! `write_bytes` in /proc is no measure. The device's own counter is, journal included; it counts everybody's writes,
//! so nothing else should use the disk.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The device that holds a directory.
pub(crate) struct Disk {
    directory: PathBuf,
    /// The device's counters, if it is a device: memory and overlays are not.
    stat: PathBuf,
}

/// The counters' unit, whatever the device's own sectors are.
const SECTOR_BYTES: u64 = 512;

impl Disk {
    pub(crate) fn of(directory: &Path) -> Result<Self> {
        let device =
            fs::metadata(directory).with_context(|| format!("cannot look at {}", directory.display()))?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Ok(Self { directory: directory.to_path_buf(), stat })
    }

    /// Has everything written that is waiting to be.
    pub(crate) fn sync(&self) -> Result<()> {
        let directory = File::open(&self.directory).context("the data directory is gone")?;
        rustix::fs::syncfs(directory).context("cannot sync the disk")
    }

    /// Syncs the disk and returns the bytes it has written; `None` if the system doesn't count them.
    pub(crate) fn written_bytes(&self) -> Result<Option<u64>> {
        self.sync()?;
        Ok(fs::read_to_string(&self.stat).ok().and_then(|stat| written_bytes(&stat)))
    }
}

/// The seventh field counts sectors written (the kernel's Documentation/block/stat.rst).
fn written_bytes(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_written_are_the_seventh_field() {
        let stat = "  1068  2  33  4  907  6  80  8  0  10  11  0 0 0 0 0 0\n";
        assert_eq!(written_bytes(stat), Some(40_960));
        assert_eq!(written_bytes(""), None);
    }

    #[test]
    fn any_directory_can_be_asked() {
        let disk = Disk::of(&std::env::temp_dir()).unwrap();
        assert!(disk.written_bytes().is_ok());
    }
}
