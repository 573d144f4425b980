//! Getting the programs of the contenders: our own were built before us, peers are installed once and kept.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::contender::{Contender, Source};

/// The files that Node needs to run the reference server, pinned by the lock file.
const NODE_FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("../node/package.json")),
    ("package-lock.json", include_str!("../node/package-lock.json")),
    ("serve.mjs", include_str!("../node/serve.mjs")),
];

/// The program of a contender and its first arguments. Peers are installed below `peers` if they are not there yet.
pub(crate) fn program(contender: &Contender, peers: &Path, before: Option<&Path>) -> Result<Vec<OsString>> {
    match contender.source {
        Source::Workspace(binary) => Ok(vec![workspace_binary(binary)?.into()]),
        Source::Crate { package, version, binary } => {
            Ok(vec![crate_binary(peers, package, version, binary)?.into()])
        }
        Source::Node => Ok(vec!["node".into(), node_script(peers)?.into()]),
        // Servers run in folders of their own.
        Source::Given => Ok(vec![std::path::absolute(before.context("--before names no binary")?)?.into()]),
    }
}

/// Our servers are where this program is: built by the same cargo, in the same profile.
fn workspace_binary(binary: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find myself")?.with_file_name(binary);
    if !path.exists() {
        bail!(
            "{binary} is not built; `cargo xtask bench` builds what there is, `cargo build --release --bin {binary}` says what is wrong"
        );
    }
    Ok(path)
}

fn crate_binary(peers: &Path, package: &str, version: &str, binary: &str) -> Result<PathBuf> {
    let root = peers.join(format!("{package}-{version}"));
    let path = root.join("bin").join(binary);
    if !path.exists() {
        eprintln!("Installing {package} {version} from crates.io; this takes some minutes, once");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.args(["install", "--locked", &format!("{package}@{version}")]);
        cargo.arg("--root").arg(&root).arg("--target-dir").arg(peers.join("build"));
        run(&mut cargo)?;
    }
    Ok(path)
}

fn node_script(peers: &Path) -> Result<PathBuf> {
    let dir = peers.join("node");
    let installed = dir.join("installed-package-lock.json");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, text) in NODE_FILES {
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let lock = fs::read(dir.join("package-lock.json"))?;
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(dir.join("serve.mjs"));
    }
    eprintln!("Installing @durable-streams/server with npm, once");
    // Not `npm ci`: it insists on packages for other systems, which not every registry has.
    run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(&dir))?;
    fs::write(installed, lock)?;
    Ok(dir.join("serve.mjs"))
}

/// Runs a command whose progress is shown.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Standard output is for the tables.
    let status = command.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status}), see above");
    }
    Ok(())
}
