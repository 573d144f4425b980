//! What a machine needs beyond Rust and a C compiler, checked before anything slow starts.
//!
//! What can be added without asking for rights (a rustup target or component) is added; the rest is said exactly.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// The published suite and the examples run on this version or a later one.
const NODE_MAJOR_MIN: u32 = 20;

/// `headwater-protocol` must build for it, which proves that it does no input or output of its own.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Checks everything and adds what it can.
pub(crate) fn run() -> Result<()> {
    rustup_component("rustfmt", "cargo-fmt")?;
    rustup_component("clippy", "cargo-clippy")?;
    wasm_target()?;
    println!("{}", node()?);
    Ok(())
}

/// Node and npm are there and recent enough: says which versions.
pub(crate) fn node() -> Result<String> {
    let Some(node) = process::output(Command::new("node").arg("--version")) else {
        bail!("node is not installed. {INSTALL_NODE}");
    };
    match major(&node) {
        Some(major) if major >= NODE_MAJOR_MIN => {}
        _ => bail!("node is {node}, which is older than {NODE_MAJOR_MIN}. {INSTALL_NODE}"),
    }
    let Some(npm) = process::output(Command::new("npm").arg("--version")) else {
        bail!(
            "node is there but npm is not. It comes with Node from nodejs.org; on Debian: apt-get install npm"
        );
    };
    Ok(format!("node {node}, npm {npm}"))
}

const INSTALL_NODE: &str = "Install Node 20 or later with npm: from https://nodejs.org, or `nvm install 20`, \
     or your system's package manager if it has that version";

fn wasm_target() -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]);
    if process::output(&mut rustc).is_some_and(|libdir| Path::new(&libdir).exists()) {
        println!("rust target {WASM_TARGET}");
        return Ok(());
    }
    println!("rust target {WASM_TARGET} is missing: adding it");
    rustup(&["target", "add", WASM_TARGET])
}

fn rustup_component(component: &str, program: &str) -> Result<()> {
    if let Some(version) = process::output(Command::new(program).arg("--version")) {
        println!("{version}");
        return Ok(());
    }
    println!("{component} is missing: adding it");
    rustup(&["component", "add", component])
}

fn rustup(args: &[&str]) -> Result<()> {
    let typed = args.join(" ");
    if process::output(Command::new("rustup").arg("--version")).is_none() {
        bail!("rustup is not installed. Install Rust from https://rustup.rs, or do by hand: rustup {typed}");
    }
    process::run(Command::new("rustup").args(args))
}

/// `20` of `v20.11.1`.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_with_or_without_the_v() {
        assert_eq!(major("v20.11.1"), Some(20));
        assert_eq!(major("22.0.0"), Some(22));
        assert_eq!(major("unknown"), None);
    }
}
