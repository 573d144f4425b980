//! Node packages, installed from their lock file once.

use std::fs;
use std::path::{Path, PathBuf};
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
    // npm makes no folder for a package that needs no other.
    fs::create_dir_all(dir.join("node_modules"))?;
    fs::write(dir.join(INSTALLED), lock).context("cannot note what was installed")
}

/// Copies a package to `to` and installs it there, unless what is there is what its lock file says.
///
/// The benchmark keeps its copy of the reference server in the same place.
pub(crate) fn install_copy(from: &Path, to: &Path) -> Result<PathBuf> {
    setup::node()?;
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for name in ["package.json", "package-lock.json", "serve.mjs"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let lock = fs::read(to.join("package-lock.json"))?;
    let installed = to.join("installed-package-lock.json");
    if !fs::read(&installed).is_ok_and(|installed| installed == lock) {
        println!("Installing the Node reference server with npm, once");
        // Not `npm ci`: it insists on packages for other systems, which not every registry has.
        process::run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(to))
            .context("npm needs its registry once; check the network and the proxy settings")?;
        fs::write(installed, lock).context("cannot note what was installed")?;
    }
    Ok(to.to_path_buf())
}
