//! Development tasks, one subcommand each; `cargo xtask --help` lists them.
//!
//! A task runs the same on a laptop and in CI, and `cargo xtask test` is the whole of CI.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a developer reads the panic")]

mod bench;
mod browser;
mod cdn;
mod clients;
mod conformance;
mod crash;
mod differential;
mod edge;
mod examples;
mod fuzz;
mod npm;
mod packages;
mod process;
mod rocksdb;
mod serve;
mod server;
mod setup;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of the Headwater repository.
///
/// `cargo xtask serve` starts a server to try out. Run `cargo xtask test` before you push.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the server and run it until Ctrl-C
    ///
    /// Flags after `--` go to the server: `cargo xtask serve -- --listen 127.0.0.1:8080`.
    Serve(serve::Options),
    /// Run everything that CI runs, up to the first failure
    Test(test::Options),
    /// Run our conformance suite and the published one, against our servers or any URL
    Conformance(conformance::Options),
    /// Measure our servers and other servers under the same load: throughput, latency, CPU, memory, disk
    ///
    /// All flags go to the benchmark; `cargo xtask bench --help` lists them.
    Bench(bench::Options),
    /// Put a server behind real caches, with many readers: how many share a request, and is any response wrong
    ///
    /// All flags go to the program; `cargo xtask cdn --help` lists them.
    Cdn(cdn::Options),
    /// Run the published clients against our servers, over restarts: Node, Python, a browser, Yjs, AI SDKs
    Clients(clients::Options),
    /// Kill a server in a loop, cut its power, fill and damage its disk: nothing acknowledged may be lost
    Crash(crash::Options),
    /// Run the fuzz targets under libFuzzer: request heads, bodies, what the disk holds, scripts of requests
    Fuzz(fuzz::Options),
    /// Run the official client in a real browser, cross-origin, behind nginx as configured in edge/nginx
    Browser,
    /// Send random requests to all our servers and the Node reference server, and compare the responses
    Differential(differential::Options),
    /// Check the rules of this repository that no compiler checks
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Serve(options) => serve::run(&options),
        // Prints its own errors, because its last line is a count.
        Task::Test(options) => return test::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Cdn(options) => cdn::run(&options),
        Task::Clients(options) => clients::run(&options),
        Task::Crash(options) => crash::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Browser => browser::run(),
        Task::Differential(options) => differential::run(&options),
        Task::Tidy => tidy::run(),
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
