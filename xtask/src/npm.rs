//! Node packages, installed from their lock file once.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, setup};

/// A copy of the lock file as it was installed. Without it, or with another one, `npm ci` runs again.
const INSTALLED: &str = "node_modules/.installed-package-lock.json";

/// Runs `npm ci` in `dir`, unless what is installed there is what the lock file says.
pub(crate) fn install(dir: &Path) -> Result<()> {
    setup::node()?;
    let lock_path = dir.join("package-lock.json");
    let lock = fs::read(&lock_path).with_context(|| format!("cannot read {}", lock_path.display()))?;
    if fs::read(dir.join(INSTALLED)).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    println!(
        "Installing node packages in {} (npm ci)",
        dir.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(dir);
    process::run(&mut npm)
        .context("npm needs its registry once; check the network and the proxy settings")?;
    fs::write(dir.join(INSTALLED), lock).context("cannot note what was installed")
}
