//! The chores of this repository: one subcommand each, listed by `cargo xtask --help`.
//!
//! Every chore is a plain program that runs the same on a laptop and in CI; `cargo xtask test` is the whole of CI.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a chore that panics tells its developer why"
)]

mod bench;
mod browser;
mod cdn;
mod conformance;
mod crash;
mod differential;
mod edge;
mod examples;
mod npm;
mod process;
mod serve;
mod server;
mod setup;
mod table;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the Headwater repository.
///
/// Start with `cargo xtask serve` for a server to play with, and run `cargo xtask test` before you push.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the server and run it until Ctrl-C
    ///
    /// Flags after `--` go to the server: `cargo xtask serve -- --listen 127.0.0.1:8080 --help`.
    Serve(serve::Options),
    /// Everything CI runs, step by step, up to the first failure
    Test(test::Options),
    /// Our conformance suite and the published one, against our servers or any URL
    Conformance(conformance::Options),
    /// Our servers beside their peers under the same load: throughput, latency, CPU, memory, disk
    ///
    /// All flags go to the benchmark; `cargo xtask bench --help` lists them.
    Bench(bench::Options),
    /// A server behind real caches, with an audience in front: how many viewers share a request, is anybody misled
    ///
    /// All flags go to the program; `cargo xtask cdn --help` lists them.
    Cdn(cdn::Options),
    /// A server killed in a loop, its disk filled and damaged: nothing acknowledged may be lost
    Crash(crash::Options),
    /// The official client in a real browser, on another site, behind nginx with the configuration of edge/nginx
    Browser,
    /// Random scripts of requests on all our servers and the Node reference server, whose answers must be the same
    Differential(differential::Options),
    /// The rules of this repository that no compiler checks
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Serve(options) => serve::run(&options),
        // Its last line is a plain count, so it prints its own errors before that.
        Chore::Test(options) => return test::run(&options),
        Chore::Conformance(options) => conformance::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Cdn(options) => cdn::run(&options),
        Chore::Crash(options) => crash::run(&options),
        Chore::Browser => browser::run(),
        Chore::Differential(options) => differential::run(&options),
        Chore::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
