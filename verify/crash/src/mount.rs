//! Small disks in memory, seen by this process and its children only, so that nothing is left mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The command that runs a program so that it may mount; the error says why there is none.
pub(crate) fn namespace() -> Result<&'static [&'static str], String> {
    const WAYS: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    let works = |way: &&&[&str]| {
        let [program, arguments @ ..] = **way else { return false };
        // A file system that holds nothing yet, over a folder that is on every machine.
        let script = "mount -t tmpfs -o size=1m none /mnt";
        let mut command = Command::new(program);
        command.args(arguments).args(["sh", "-c", script]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    WAYS.iter()
        .find(works)
        .copied()
        .ok_or_else(|| "this system lets nobody here mount a file system".to_owned())
}

/// A file system in memory, gone when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(crate) fn of_mebibytes(folder: &Path, size: u64) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        mount(&["-t", "tmpfs", "-o", &format!("size={size}m"), "none"], folder)?;
        Ok(Self { folder: folder.into() })
    }

    pub(crate) fn make_read_only(&self) -> Result<()> {
        mount(&["-o", "remount,ro"], &self.folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<()> {
    let status = Command::new("mount").args(arguments).arg(folder).status().context("cannot run mount")?;
    if !status.success() {
        bail!("cannot mount {}", folder.display());
    }
    Ok(())
}
