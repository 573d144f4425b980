//! Where things are: the root of the checkout, the scratch directory, cargo, and the binaries it builds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

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

/// The cargo that runs us, in the root of the checkout.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// Builds one binary of the workspace in the dev profile and says where it is.
pub(crate) fn build_binary(name: &str) -> Result<PathBuf> {
    println!("Building {name} (dev profile; the first time RocksDB is compiled too, which takes minutes)");
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
