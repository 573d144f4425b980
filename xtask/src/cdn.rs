//! `cargo xtask cdn`: builds a server and puts it behind real caches, with an audience in front of them.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::edge::{NGINX, VARNISH};
use crate::server::SERVERS;
use crate::{process, setup, workspace};

/// The command line of `cargo xtask cdn`: all of it is for the program of that name.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Builds what is needed and hands the flags on.
pub(crate) fn run(options: &Options) -> Result<()> {
    run_with(&options.flags)
}

/// Runs the short form for CI: every scenario behind both caches, for a short time.
pub(crate) fn run_short() -> Result<()> {
    run_with(&["--viewers", "200", "--secs", "5"].map(str::to_owned))
}

fn run_with(flags: &[String]) -> Result<()> {
    let mut command = Command::new(workspace::build_binary("headwater-cdn")?);
    command
        .arg("--binary")
        .arg(workspace::build_binary(&format!("server-{}", SERVERS[0]))?)
        .arg("--nginx")
        .arg(setup::program(&NGINX)?)
        .arg("--varnishd")
        .arg(setup::program(&VARNISH)?)
        .arg("--edge")
        .arg(workspace::root().join("edge"))
        .arg("--folder")
        .arg(workspace::scratch_dir()?.join("cdn"));
    process::run(command.args(flags))
}
