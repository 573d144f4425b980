//! `cargo xtask differential`: starts our servers on our stores, and the Node reference server, and has random scripts
//! played on all of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Parser};
use headwater_testkit::Server;

use crate::server::{self, SERVERS, STORES, Target};
use crate::{npm, process, workspace};

/// What the scripts reach easily: a chunk, the largest body, the end of a long-poll. That must be longer than a busy
/// disk takes for an append.
const FLAGS: [&str; 6] =
    ["--chunk-size", "1KiB", "--body-max", "4KiB", "--long-poll-timeout", LONG_POLL_TIMEOUT];
const LONG_POLL_TIMEOUT: &str = "500ms";
const NODE_LONG_POLL_TIMEOUT_MS: &str = "500";

/// The name that the differential test knows the reference server by.
const NODE: &str = "node";

/// The seed of the short form, so that CI plays what everybody played before.
const SHORT_SEED: u64 = 1;

/// The command line of `cargo xtask differential`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many scripts
    #[arg(long, default_value_t = 2_000)]
    scripts: u64,
    /// The number of the first script
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Repeats the scripts of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Which of our servers, the first of which is the measure of the others
    #[arg(long, value_delimiter = ',', default_values_t = ours().map(|target| target.name()))]
    targets: Vec<String>,
    /// Without the Node reference server
    #[arg(long)]
    no_node: bool,
    /// Compare `--server` with this older binary of it instead: only the wording of refusals may differ
    #[arg(long, value_name = "PATH", conflicts_with = "targets")]
    against: Option<PathBuf>,
    /// Which of our servers is compared with the older binary
    #[arg(long, default_value = SERVERS[0], value_parser = clap::builder::PossibleValuesParser::new(SERVERS))]
    server: String,
    /// How many scripts are played at a time
    #[arg(long, default_value_t = 12)]
    workers: usize,
    /// List the accepted differences, and start nothing
    #[arg(long)]
    rules: bool,
}

/// Our servers on our stores, by name.
fn ours() -> impl Iterator<Item = Target> {
    let target = |server: &str, store: &str| Target { server: server.to_owned(), store: store.to_owned() };
    // The store in memory is the plain reading of the contract, and so the measure.
    STORES.iter().rev().flat_map(move |store| SERVERS.iter().map(move |server| target(server, store)))
}

/// Starts what the options name, and plays.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = Command::new(workspace::build_binary("headwater-differential")?);
    if options.rules {
        return process::run(command.arg("--rules"));
    }
    let servers = match &options.against {
        Some(older) => {
            command.arg("--versions");
            versions(older, &options.server)?
        }
        None => servers(options)?,
    };
    for (name, server) in &servers {
        command.args(["--target", &format!("{name}={}", server.url())]);
    }
    let numbers =
        [("--scripts", options.scripts), ("--first", options.first), ("--workers", options.workers as u64)];
    for (flag, number) in numbers.into_iter().chain(options.seed.map(|seed| ("--seed", seed))) {
        command.args([flag, &number.to_string()]);
    }
    let outcome = process::run(&mut command);
    // The end of a server is part of the result, and must not hide an earlier failure.
    let ends: Vec<String> = (servers.into_iter())
        .filter_map(|(name, server)| server.stop().err().map(|error| format!("{name}: {error:#}")))
        .collect();
    outcome?;
    if ends.is_empty() { Ok(()) } else { bail!("{}", ends.join("\n")) }
}

/// Our servers by their names in the options, and Node.
fn servers(options: &Options) -> Result<Vec<(String, Server)>> {
    let mut servers = Vec::new();
    for name in &options.targets {
        let Some(target) = ours().find(|target| target.name() == *name) else {
            let names: Vec<String> = ours().map(|target| target.name()).collect();
            bail!("there is no `{name}`; choose among {}", names.join(", "));
        };
        servers.push((target.name(), server::start_with(&target, &FLAGS)?));
    }
    if !options.no_node {
        servers.push((NODE.to_owned(), start_node()?));
    }
    Ok(servers)
}

/// An older binary of a server and the one of this tree, on each store.
fn versions(older: &Path, server: &str) -> Result<Vec<(String, Server)>> {
    let mut servers = Vec::new();
    for target in ours().filter(|target| target.server == server) {
        let name = format!("older-{}", target.name());
        let started = server::start_binary(older, &name, &target.store, &FLAGS)?;
        servers.extend([(name, started), (target.name(), server::start_with(&target, &FLAGS)?)]);
    }
    Ok(servers)
}

/// Runs the short form for CI: our four servers, and always the same scripts.
pub(crate) fn run_short() -> Result<()> {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        options: Options,
    }
    let seed = SHORT_SEED.to_string();
    run(&Defaults::parse_from(["differential", "--no-node", "--scripts", "1500", "--seed", &seed]).options)
}

/// The reference server with its streams in memory, where the benchmark has it installed too.
fn start_node() -> Result<Server> {
    let dir =
        npm::install_copy(&workspace::root().join("bench/node"), &workspace::peers_dir()?.join("node"))?;
    let mut command = Command::new("node");
    command.arg(dir.join("serve.mjs")).args(["0", "", NODE_LONG_POLL_TIMEOUT_MS]);
    println!("Starting {}", process::shown(&command));
    Server::start(&mut command, &workspace::scratch_dir()?.join("node.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measure_is_hyper_in_memory() {
        let names: Vec<String> = ours().map(|target| target.name()).collect();
        assert_eq!(names, ["hyper-mem", "actix-mem", "hyper-rocksdb", "actix-rocksdb"]);
    }
}
