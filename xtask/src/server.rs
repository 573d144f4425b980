//! The servers under test: built, and started with the settings that a suite needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use headwater_testkit::Server;

use crate::{process, workspace};

/// The adapters; `hyper` is the binary `server-hyper`.
pub(crate) const SERVERS: [&str; 2] = ["hyper", "actix"];

/// The stores a server can be started with (`--store`).
pub(crate) const STORES: [&str; 2] = ["rocksdb", "mem"];

/// The settings of the suites: limits small enough to be reached in a test.
const SUITE_FLAGS: [&str; 11] = [
    "--chunk-size",
    CHUNK_SIZE,
    "--header-timeout",
    HEADER_TIMEOUT,
    "--idle-timeout",
    IDLE_TIMEOUT,
    "--long-poll-timeout",
    LONG_POLL_TIMEOUT,
    // The suites' own receivers listen on this machine.
    "--webhook-allow-localhost",
    // Where our suite's proxy connects from.
    "--trusted-proxies",
    "127.0.0.2",
];

/// Settings that our suite is told too.
pub(crate) const CHUNK_SIZE: &str = "64KiB";
pub(crate) const BODY_MAX: &str = "16MiB";
pub(crate) const HEADER_TIMEOUT: &str = "3s";
pub(crate) const IDLE_TIMEOUT: &str = "6s";
pub(crate) const LONG_POLL_TIMEOUT: &str = "600ms";

/// One adapter on one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: String,
    pub(crate) store: String,
}

impl Target {
    /// The name in tables and on our suite's command line: `hyper-mem`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.server, self.store)
    }

    fn binary(&self) -> String {
        format!("server-{}", self.server)
    }
}

/// Builds the target's server and starts it with the settings of the suites.
pub(crate) fn start(target: &Target) -> Result<Server> {
    start_with(target, &SUITE_FLAGS)
}

/// Builds the target's server and starts it with these settings.
pub(crate) fn start_with(target: &Target, flags: &[&str]) -> Result<Server> {
    start_binary(&workspace::build_binary(&target.binary())?, &target.name(), &target.store, flags)
}

/// Starts a server on an empty folder and a free port, with these settings; `name` names its log and folder.
pub(crate) fn start_binary(binary: &Path, name: &str, store: &str, flags: &[&str]) -> Result<Server> {
    let folder = workspace::scratch_dir()?;
    let data = folder.join(format!("{name}-data"));
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot empty {}", data.display()))?;
    }
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(data).args(["--listen", "127.0.0.1:0", "--store", store]).args(flags);
    println!("Starting {}", process::shown(&command));
    Server::start(&mut command, &folder.join(format!("{name}.log")))
}
