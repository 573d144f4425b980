//! Where things are: the root of the checkout, the scratch directory, cargo, and the binaries it builds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, rocksdb};

/// The root of the checkout that `cargo xtask` was called in.
///
/// Cargo sets the variable at run time; the compiled-in value is for a binary that is called by itself.
pub(crate) fn root() -> PathBuf {
    let manifest_dir =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    Path::new(&manifest_dir)
        .parent()
        .expect("the manifest of xtask is one level below the root")
        .to_path_buf()
}

/// A directory for logs and reports that nobody commits.
pub(crate) fn scratch_dir() -> Result<PathBuf> {
    below_target("xtask")
}

/// Where programs are installed that the tests use.
pub(crate) fn tools_dir() -> Result<PathBuf> {
    below_target("tools")
}

/// Where other people's servers are installed.
pub(crate) fn peers_dir() -> Result<PathBuf> {
    below_target("peers")
}

fn below_target(name: &str) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    // An absolute CARGO_TARGET_DIR replaces the root here, as it does for cargo.
    let dir = root().join(target).join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// The cargo that runs us, in the root of the checkout, ready to compile: with RocksDB compiled before.
pub(crate) fn cargo() -> Command {
    let mut command = cargo_without_rocksdb();
    rocksdb::link_with(&mut command);
    command
}

/// For what compiles nothing that needs RocksDB.
pub(crate) fn cargo_without_rocksdb() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// What `cargo metadata` says of the packages that are compiled on this machine.
pub(crate) fn metadata() -> Result<Value> {
    let mut command = cargo_without_rocksdb();
    command.args(["metadata", "--format-version", "1", "--filter-platform", &host()?]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed; fix the errors above");
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")
}

/// The target triple of this machine, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let version = process::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Builds one binary of the workspace in the dev profile and says where it is.
pub(crate) fn build_binary(name: &str) -> Result<PathBuf> {
    println!("Building {name} (dev profile)");
    // `--workspace` selects the same dependency features as `cargo test --workspace`, so that nothing is compiled
    // a second time for a different set of features.
    let output = cargo()
        .args(["build", "--workspace", "--bin", name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{name} does not build. Fix the errors above; `cargo build --bin {name}` shows them again");
    }
    executable(&String::from_utf8_lossy(&output.stdout), name).with_context(|| {
        format!("cargo built no executable named {name}; is there still a [[bin]] of that name?")
    })
}

/// The path of the binary `name` in cargo's JSON messages, one a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"clap"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"server-hyper"},"executable":"/t/debug/server-hyper"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "server-hyper"), Some(PathBuf::from("/t/debug/server-hyper")));
        assert_eq!(executable(messages, "clap"), None);
    }

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        assert!(root().join("Cargo.lock").exists());
    }
}
