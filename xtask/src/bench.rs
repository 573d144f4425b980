//! `cargo xtask bench`: builds the servers as they are released, and the benchmark, and runs it.

use anyhow::{Context, Result};
use clap::Args;

use crate::server::SERVERS;
use crate::{process, workspace};

/// The command line of `cargo xtask bench`: all of it is for the benchmark.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Builds what is to be measured, unless the flags only ask a question, and hands the flags on.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !only_asks(&options.flags) {
        println!("Building the servers (release profile)");
        let mut build = workspace::cargo();
        // Not quiet: RocksDB alone takes minutes, the first time.
        build.args(["build", "--release"]);
        for server in SERVERS {
            build.args(["--package", &format!("server-{server}")]);
        }
        process::run(&mut build).context("a server does not build; fix the errors above")?;
    }
    let mut bench = workspace::cargo();
    bench.args(["run", "--release", "--package", "headwater-bench", "--"]).args(&options.flags);
    process::run(&mut bench)
}

fn only_asks(flags: &[String]) -> bool {
    flags.iter().any(|flag| ["--help", "-h", "--list"].contains(&flag.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_without_building_servers() {
        assert!(only_asks(&["--list".to_owned()]));
        assert!(!only_asks(&["--rounds".to_owned(), "1".to_owned()]));
    }
}
