//! A disk that misbehaves: a file system of this process that knows what was flushed, forgets the rest when its power is
//! cut, and fails when it is told to.

mod fault;
mod files;
mod mounted;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption};
use headwater_testkit::random::Rng;

pub(crate) use fault::{Deed, Fault, Place};
use files::Files;
pub(crate) use files::Loss;

/// The disk, mounted. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct OwnDisk {
    folder: PathBuf,
    files: Arc<Mutex<Files>>,
    session: Option<BackgroundSession>,
}

impl OwnDisk {
    /// An empty disk.
    pub(crate) fn mount(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut disk = Self { folder: folder.into(), files: Arc::default(), session: None };
        disk.attach()?;
        Ok(disk)
    }

    /// The power goes, and comes back. Who used the disk was killed before, so that nothing happens in between. Says what
    /// was forgotten.
    pub(crate) fn cut(&mut self, rng: &mut Rng) -> Result<Loss> {
        self.detach();
        let loss = lock(&self.files).lose(rng);
        self.attach()?;
        Ok(loss)
    }

    /// Lets something fail from now on, or nothing any more. Says how often what was to fail before has done so.
    pub(crate) fn set_fault(&mut self, fault: Option<Fault>) -> u64 {
        lock(&self.files).faults.set(fault)
    }

    /// The number of failures so far.
    pub(crate) fn struck(&self) -> u64 {
        lock(&self.files).faults.struck()
    }

    /// An empty disk instead.
    pub(crate) fn replace(&mut self) -> Result<()> {
        self.detach();
        *lock(&self.files) = Files::default();
        self.attach()
    }

    /// The system's cache must not remember what the disk forgets: each life of the disk is mounted anew.
    fn attach(&mut self) -> Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("headwater-crash".into())];
        let mounted = fuser::spawn_mount(mounted::Mounted(self.files.clone()), &self.folder, &config);
        self.session = Some(mounted.context("cannot mount a file system of our own (FUSE)")?);
        Ok(())
    }

    fn detach(&mut self) {
        if let Some(session) = self.session.take() {
            // What fails here fails again when it is mounted, and is told there.
            let _ = session.umount_and_join();
        }
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        self.detach();
    }
}

fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
