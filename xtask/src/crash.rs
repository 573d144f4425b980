//! `cargo xtask crash`: builds a server and the crash tests, which kill it and damage its disk.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::server::SERVERS;
use crate::{process, workspace};

/// The command line of `cargo xtask crash`.
#[derive(Args)]
pub(crate) struct Options {
    /// Which server to build and kill
    #[arg(long, default_value = SERVERS[0], value_parser = clap::builder::PossibleValuesParser::new(SERVERS))]
    server: String,
    /// What happens to it: kill, powerloss, faults, flip, full, fsize, readonly, greedy, unattended, or all of them
    #[arg(long, default_value = "all")]
    scenario: String,
    /// How often it is killed, its power cut, or its disk fails
    #[arg(long, default_value_t = 30)]
    rounds: u64,
    /// How many bits of each file are flipped, one at a time
    #[arg(long, default_value_t = 3)]
    places: u64,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds both and runs what the options ask for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut flags = vec!["--scenario".to_owned(), options.scenario.clone()];
    flags.extend(["--rounds".to_owned(), options.rounds.to_string()]);
    flags.extend(["--places".to_owned(), options.places.to_string()]);
    flags.extend(options.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
    run_on(&options.server, &flags)
}

/// Runs the short form for CI: some kills, power cuts and failing disks, each file damaged once in each way, and on every
/// adapter what clients and logs can do.
pub(crate) fn run_short() -> Result<()> {
    for flags in [
        ["--scenario", "kill", "--rounds", "20"],
        ["--scenario", "powerloss", "--rounds", "20"],
        ["--scenario", "faults", "--rounds", "20"],
        ["--scenario", "flip", "--places", "1"],
    ] {
        run_on(SERVERS[0], &flags.map(str::to_owned))?;
    }
    for server in SERVERS {
        for scenario in ["greedy", "unattended"] {
            run_on(server, &["--scenario", scenario].map(str::to_owned))?;
        }
    }
    Ok(())
}

fn run_on(server: &str, flags: &[String]) -> Result<()> {
    let binary = workspace::build_binary(&format!("server-{server}"))?;
    let mut command = Command::new(workspace::build_binary("headwater-crash")?);
    command.arg("--binary").arg(binary).arg("--folder").arg(workspace::scratch_dir()?.join("crash"));
    process::run(command.args(flags))
}
