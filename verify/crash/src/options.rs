//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Kills a server in a loop, fills and damages its disk, and checks that nothing acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "headwater-crash", max_term_width = 110)]
pub(crate) struct Options {
    /// The server's binary
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: PathBuf,
    /// Where data and logs go; what is there of an earlier run is removed
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// What happens to the server
    #[arg(long, default_value = "all")]
    pub(crate) scenario: Choice,
    /// How often the server is killed, in `kill`, the power cut, in `powerloss`, or the disk fails, in `faults`
    #[arg(long, default_value_t = 30)]
    pub(crate) rounds: u64,
    /// How many bits of each file are flipped, one at a time, in `flip`
    #[arg(long, default_value_t = 3)]
    pub(crate) places: u64,
    /// Repeats the choices of an earlier run; what threads and disks do at the same time differs all the same
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// This process may mount; set by itself
    #[arg(long, hide = true)]
    pub(crate) may_mount: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Killed in a loop while it is written and read
    Kill,
    /// The power of its disk cut in a loop: what was not flushed is lost, torn, or there
    Powerloss,
    /// A disk that fails now and then while the server runs, ends or starts
    Faults,
    /// A full disk
    Full,
    /// A bit flipped in each file, each file emptied, each file removed
    Flip,
    /// Files that reach the process's limit
    Fsize,
    /// Folders that can't be written
    Readonly,
    /// Clients that ask for much and take nothing, and bodies that wait: the memory stays within its bounds
    Greedy,
    /// A log that nobody reads, and connections that say nothing when the server is to end
    Unattended,
    /// All of them, one after another
    All,
}
