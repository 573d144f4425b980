//! `cargo xtask clients`: the published clients against our servers on our stores, over restarts.
//!
//! The tests are in verify/clients; this installs what they need and runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::browser::CHROMIUM;
use crate::server::{SERVERS, STORES, Target};
use crate::setup::Program;
use crate::{npm, process, setup, workspace};

const CLIENTS: &str = "verify/clients";

const PYTHON: Program =
    Program { names: &["python3"], package: "python3-venv", purpose: "the Python client runs in it" };
/// A module and no program, so that looking for it always installs the package.
const VENV: Program = Program {
    names: &["python3-venv"],
    package: "python3-venv",
    purpose: "the Python client is installed with it",
};

/// How many files of tests run at a time. They wait for most of their time, and each has a server of its own.
const CONCURRENCY: usize = 4;

/// The command line of `cargo xtask clients`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only this server; without it all take their turn
    #[arg(long, value_parser = PossibleValuesParser::new(SERVERS))]
    server: Option<String>,
    /// Only this store; without it all take their turn
    #[arg(long, value_parser = PossibleValuesParser::new(STORES))]
    store: Option<String>,
    /// Only the tests of this client, such as `yjs`: of the file of that name in verify/clients
    #[arg(long)]
    client: Option<String>,
}

/// What the tests are run with.
struct Programs {
    chromium: PathBuf,
    python: PathBuf,
}

/// Runs the tests on what the options ask for. Fails at the end if any test failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = workspace::root().join(CLIENTS);
    npm::install(&folder)?;
    let programs = Programs { chromium: setup::program(&CHROMIUM)?, python: python(&folder)? };
    let mut failures = Vec::new();
    for server in selected(&SERVERS, options.server.as_deref()) {
        let binary = workspace::build_binary(&format!("server-{server}"))?;
        for store in selected(&STORES, options.store.as_deref()) {
            let target = Target { server: server.to_owned(), store: store.to_owned() };
            println!("\nThe published clients on {}", target.name());
            if let Err(error) = run_on(&target, &binary, &folder, &programs, options.client.as_deref()) {
                eprintln!("{error:#}");
                failures.push(format!("cargo xtask clients --server {server} --store {store}"));
            }
        }
    }
    if !failures.is_empty() {
        bail!("the failures are above; to see them alone:\n  {}", failures.join("\n  "));
    }
    Ok(())
}

/// The tests of all clients on all servers and stores: what CI runs.
pub(crate) fn run_all() -> Result<()> {
    run(&Options::default())
}

fn run_on(
    target: &Target,
    binary: &Path,
    folder: &Path,
    programs: &Programs,
    client: Option<&str>,
) -> Result<()> {
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", &format!("--test-concurrency={CONCURRENCY}")]);
    node.args(client.map(|client| format!("{client}.test.mjs"))).current_dir(folder);
    node.env("HEADWATER_BINARY", binary).env("HEADWATER_STORE", &target.store);
    node.env("HEADWATER_DATA_DIR", workspace::scratch_dir()?.join(format!("clients-{}", target.name())));
    node.env("HEADWATER_PYTHON", &programs.python).env("CHROMIUM", &programs.chromium);
    process::run(&mut node)
}

fn selected<'a>(all: &'a [&'a str], one: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    all.iter().copied().filter(move |&name| one.is_none_or(|one| one == name))
}

/// A Python that has the client and nothing else, installed below `target` unless what is there is what the
/// requirements say.
fn python(folder: &Path) -> Result<PathBuf> {
    let requirements_path = folder.join("requirements.txt");
    let requirements = fs::read(&requirements_path)
        .with_context(|| format!("cannot read {}", requirements_path.display()))?;
    let environment = workspace::tools_dir()?.join("clients-python");
    let installed_path = environment.join("installed-requirements.txt");
    let python = environment.join("bin/python");
    let is_installed = fs::read(&installed_path).is_ok_and(|installed| installed == requirements);
    // The Python that it was made of may be gone.
    if is_installed && process::output(Command::new(&python).args(["-c", "import durable_streams"])).is_some()
    {
        return Ok(python);
    }
    println!("Installing the Python client (pip)");
    process::run(Command::new(python_with_venv()?).args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "-r"]).arg(requirements_path);
    process::run(&mut pip)
        .context("pip needs its registry once; check the network and the proxy settings")?;
    fs::write(installed_path, requirements).context("cannot note what was installed")?;
    Ok(python)
}

/// Debian has the module that makes environments in a package of its own.
fn python_with_venv() -> Result<PathBuf> {
    let python = setup::program(&PYTHON)?;
    if has_venv(&python) {
        return Ok(python);
    }
    let advice = setup::program(&VENV);
    // The package is for this one, whatever else comes first on the PATH.
    let of_the_system = PathBuf::from("/usr/bin/python3");
    if has_venv(&of_the_system) { Ok(of_the_system) } else { advice }
}

fn has_venv(python: &Path) -> bool {
    process::output(Command::new(python).args(["-c", "import ensurepip, venv"])).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_selected_is_everything() {
        assert_eq!(selected(&STORES, None).collect::<Vec<_>>(), STORES);
        assert_eq!(selected(&STORES, Some("mem")).collect::<Vec<_>>(), ["mem"]);
    }
}
