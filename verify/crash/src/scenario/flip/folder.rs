//! A copy of a folder that is made whole again after each damage, file by file: most of it hasn't changed.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;

use anyhow::{Context, Result};

/// A folder and its copy.
#[derive(Debug)]
pub(super) struct Folder {
    pristine: PathBuf,
    copy: PathBuf,
    /// The copy's files as they were copied: length and time of the last change.
    copied: Mutex<HashMap<PathBuf, (u64, SystemTime)>>,
}

impl Folder {
    pub(super) fn copy_of(pristine: &Path, copy: &Path) -> Result<Self> {
        if copy.exists() {
            fs::remove_dir_all(copy)?;
        }
        let folder =
            Self { pristine: pristine.into(), copy: copy.into(), copied: Mutex::new(HashMap::new()) };
        folder.restore()?;
        Ok(folder)
    }

    /// The files, by their paths in the folder, in order.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        files(&self.pristine)
    }

    /// Makes the copy what the folder is.
    pub(super) fn restore(&self) -> Result<()> {
        let wanted = self.files()?;
        for path in files(&self.copy)? {
            if !wanted.contains(&path) {
                fs::remove_file(self.copy.join(path))?;
            }
        }
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        for path in wanted {
            let target = self.copy.join(&path);
            let found = state(&target);
            if found.is_some() && found == copied.get(&path).copied() {
                continue;
            }
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(self.pristine.join(&path), &target)
                .with_context(|| format!("cannot copy {}", path.display()))?;
            if let Some(state) = state(&target) {
                copied.insert(path, state);
            }
        }
        Ok(())
    }

    /// The length of a file without the zeroes at its end.
    pub(super) fn used_bytes(&self, path: &Path) -> Result<u64> {
        let bytes = fs::read(self.pristine.join(path))?;
        Ok(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1))
    }
}

fn state(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                found.push(relative.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Flips one bit.
pub(super) fn flip(path: &Path, at: u64, bit: u8) -> Result<()> {
    let mut file: File = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    let flipped = byte.map(|byte| byte ^ (1 << bit));
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&flipped)?;
    Ok(())
}
