//! What a machine needs beyond Rust and a C++ compiler, checked before anything slow starts.
//!
//! What is missing is installed if that needs no more rights; otherwise the error says how to install it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, tools};

/// The published suite and the examples run on this version or a later one.
const NODE_MAJOR_MIN: u32 = 20;

/// `headwater-protocol` must build for it, which proves that it does no input or output of its own.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Checks everything and adds what it can.
pub(crate) fn run() -> Result<()> {
    rustup_component("rustfmt", "cargo-fmt")?;
    rustup_component("clippy", "cargo-clippy")?;
    wasm_target()?;
    libclang()?;
    println!("{}", node()?);
    for tool in [tools::DENY, tools::HACK] {
        println!("{}", tools::install(&tool)?.file_name().unwrap_or_default().display());
    }
    Ok(())
}

/// RocksDB's bindings are made with libclang, when `headwater-store-rocksdb` is compiled for the first time. Where apt
/// works it is installed; anywhere else the error says what to install.
pub(crate) fn libclang() -> Result<()> {
    if let Some(library) = find_libclang() {
        println!("{library}");
        return Ok(());
    }
    println!("libclang is missing: installing it (RocksDB's build needs it)");
    apt_install(&["libclang-dev", "g++"]).with_context(|| {
        format!("libclang is not installed, which RocksDB's build needs. {INSTALL_LIBCLANG}")
    })
}

/// A program that a step needs: by which names it goes, which package of Debian and Ubuntu has it, and what it is for.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) names: &'static [&'static str],
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

/// Where the program is. Where apt works it is installed; anywhere else the error says what to install.
pub(crate) fn program(program: &Program) -> Result<PathBuf> {
    let Program { names, package, purpose } = program;
    if let Some(path) = find_program(names) {
        return Ok(path);
    }
    let name = names[0];
    println!("{name} is missing: installing it ({purpose})");
    let advice =
        || format!("{name} is not installed: {purpose}. On Debian and Ubuntu: apt-get install {package}");
    apt_install(&[package]).with_context(advice)?;
    find_program(names).with_context(advice)
}

/// Servers live in folders that the PATH of a user may not have.
fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from)).collect();
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// Installs packages as root, or with a sudo that asks nothing.
fn apt_install(packages: &[&str]) -> Result<()> {
    if process::output(Command::new("apt-get").arg("--version")).is_none() {
        bail!("there is no apt here to install it with");
    }
    let is_root = process::output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let apt = |args: &[&str]| {
        let mut command = Command::new(if is_root { "apt-get" } else { "sudo" });
        if !is_root {
            command.args(["-n", "apt-get"]);
        }
        process::run(command.args(args))
    };
    let install = || apt(&[&["install", "-y", "--no-install-recommends"], packages].concat());
    // The lists of packages may be missing or old; that is seen only by trying.
    install().or_else(|_| apt(&["update"]).and_then(|()| install()))
}

const INSTALL_LIBCLANG: &str = "On Debian and Ubuntu: apt-get install libclang-dev g++; on Fedora: dnf install \
     clang-devel gcc-c++; on macOS: xcode-select --install; or set LIBCLANG_PATH to the folder that has it";

/// Where the build will find the library: by the environment, by llvm-config or in the usual folders.
fn find_libclang() -> Option<String> {
    let said = std::env::var("LIBCLANG_PATH").ok();
    let llvm = process::output(Command::new("llvm-config").arg("--libdir"));
    let mut folders: Vec<String> = said.into_iter().chain(llvm).collect();
    folders
        .extend(["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu"].map(str::to_owned));
    folders.push("/usr/lib/aarch64-linux-gnu".to_owned());
    folders.push("/Library/Developer/CommandLineTools/usr/lib".to_owned());
    for version in (11..=25).rev() {
        folders.push(format!("/usr/lib/llvm-{version}/lib"));
    }
    folders.into_iter().find_map(|folder| {
        let entries = std::fs::read_dir(&folder).ok()?;
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.find(|name| is_libclang(name))?;
        Some(format!("{folder}/{name}"))
    })
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

/// `libclang.so`, `libclang-14.so.1`, `libclang.dylib`; not `libclang-cpp.so.14` nor `libclangAST.a`.
fn is_libclang(name: &str) -> bool {
    let shared = name.contains(".so") || name.ends_with(".dylib");
    let Some(rest) = name.strip_prefix("libclang").filter(|_| shared) else { return false };
    rest.starts_with('.')
        || rest.strip_prefix('-').is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// `headwater-protocol` is built for it.
pub(crate) fn wasm_target() -> Result<()> {
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

    #[test]
    fn a_program_is_found_by_any_of_its_names() {
        assert!(
            find_program(&["no-such-program-of-this-name", "sh"]).is_some_and(|path| path.ends_with("sh"))
        );
        assert_eq!(find_program(&["no-such-program-of-this-name"]), None);
    }

    #[test]
    fn only_libclang_itself_counts() {
        for name in
            ["libclang.so", "libclang.so.1", "libclang-14.so.1", "libclang-14.0.6.so", "libclang.dylib"]
        {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclangAST.a", "libclang.a", "libclang_rt.so"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
