//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Kills a server in a loop and damages its disk.
#[derive(Debug, Parser)]
#[command(name = "headwater-crash", max_term_width = 110)]
pub(crate) struct Options {
    /// The server's binary
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: PathBuf,
    /// Where data and logs go; what was there of an earlier run is removed
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// What happens
    #[arg(long, default_value = "all")]
    pub(crate) scenario: Scenario,
    /// How often the server is killed
    #[arg(long, default_value_t = 30)]
    pub(crate) rounds: u64,
    /// Repeats the choices of an earlier run; what threads and disks do at the same time differs all the same
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Killed in a loop while it is written and read
    Kill,
    /// All of them, one after another
    All,
}
