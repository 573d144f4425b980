//! The steps about the packages: what depends on what, with which features, and whether it could be published.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::cargo_without_rocksdb;
use crate::{process, rocksdb, tools, workspace};

/// Licences, sources and versions of the dependencies, by `deny.toml`; advisories if their list can be had.
pub(crate) fn deny() -> Result<()> {
    let deny = tools::install(&tools::DENY)?;
    let check = |what: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(["--all-features", "check"]).args(what).current_dir(workspace::root());
        command
    };
    process::run(&mut check(&["bans", "licenses", "sources"]))?;
    // An attempt of its own, so that a network that is not there and a dependency that is not safe are told apart.
    if process::output(Command::new(&deny).arg("fetch").arg("db").current_dir(workspace::root())).is_none() {
        println!("advisories: SKIPPED, their list can't be fetched here");
        return Ok(());
    }
    process::run(&mut check(&["advisories"]))
}

/// Each library crate with each combination of its features, compiled by the oldest Rust that they promise.
pub(crate) fn features() -> Result<()> {
    let metadata = workspace::metadata()?;
    let mut hack = Command::new(tools::install(&tools::HACK)?);
    rocksdb::link_with(&mut hack);
    // With another compiler everything is compiled a second time. CI leaves that to clippy's `incompatible_msrv`.
    let oldest = if std::env::var_os("CI").is_some() { None } else { oldest_rustc(&metadata)? };
    match oldest {
        Some(rustc) => {
            hack.env("RUSTC", rustc);
        }
        None => println!(
            "Checking with today's compiler. (clippy has checked that nothing of the standard library is newer than what \
             the libraries promise)"
        ),
    }
    hack.current_dir(workspace::root()).args(["hack", "check", "--feature-powerset"]);
    // Macros and build scripts are compiled anew by that compiler, and run for seconds.
    hack.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    process::run(hack.args(selected(&metadata)))
}

/// The compiler of the workspace's `rust-version`. Only the compiler, because the cargo of that version could not read
/// this checkout's config file.
fn oldest_rustc(metadata: &Value) -> Result<Option<String>> {
    let versions = libraries(metadata).filter_map(|package| package["rust_version"].as_str());
    let version = versions.max_by_key(|version| numbers(version)).context("no crate has a rust-version")?;
    println!("rust-version is {version}");
    let which = || process::output(Command::new("rustup").args(["which", "--toolchain", version, "rustc"]));
    if let Some(rustc) = which() {
        return Ok(Some(rustc));
    }
    println!("Rust {version} is missing: installing it");
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", version, "--profile", "minimal", "--no-self-update"]);
    Ok(process::run(&mut install).ok().and_then(|()| which()))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Makes the package of each library crate as `cargo publish` would, without compiling it again.
pub(crate) fn package() -> Result<()> {
    let mut command = cargo_without_rocksdb();
    // What the workspace depends on is here already.
    command.args(["package", "--no-verify", "--allow-dirty", "--offline"]);
    process::run(command.args(selected(&workspace::metadata()?)))
}

/// Selects the library crates on a command line of cargo.
fn selected(metadata: &Value) -> Vec<&str> {
    libraries(metadata)
        .flat_map(|package| ["--package", package["name"].as_str().unwrap_or_default()])
        .collect()
}

/// The packages of the workspace that may be published.
fn libraries(metadata: &Value) -> impl Iterator<Item = &Value> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    // `publish` is null where a manifest doesn't forbid it, `source` where a package isn't from a registry.
    packages.iter().filter(|package| package["publish"].is_null() && package["source"].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(["1.9", "1.10", "1.9.3"].into_iter().max_by_key(|version| numbers(version)), Some("1.10"));
    }

    #[test]
    fn libraries_are_what_may_be_published() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "publish": null, "source": null},
            {"name": "b", "publish": [], "source": null},
            {"name": "c", "publish": null, "source": "registry"},
        ]});
        assert_eq!(libraries(&metadata).map(|package| &package["name"]).collect::<Vec<_>>(), ["a"]);
    }
}
