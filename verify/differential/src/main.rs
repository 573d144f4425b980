//! Random scripts of requests, sent to several servers at once, whose responses must agree.
//!
//! `README.md` tells how to run it. A run is: [`generate`] makes a script, [`play`] sends it to all servers and
//! compares the responses ([`normal`], [`reference`](mod@reference)), [`search`] does so many times over and makes a script that
//! fails as small as it can be.

mod client;
mod events;
mod generate;
mod node_rules;
mod normal;
mod notes;
mod places;
mod play;
mod reference;
mod report;
mod rules;
mod script;
mod search;
mod tally;
mod wire;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use client::Target;
use play::Comparison;
use search::{Plan, Progress};
use tally::Tally;

/// Sends random scripts of requests to several servers and compares their responses
#[derive(Debug, Parser)]
struct Options {
    /// A server, as NAME=URL; the first is the measure of all others, and one named `node` is held to what the
    /// protocol fixes only
    #[arg(long = "target", value_name = "NAME=URL", value_parser = Target::parse)]
    targets: Vec<Target>,
    /// The targets are versions of one server: only the wording of refusals may differ
    #[arg(long)]
    versions: bool,
    /// How many scripts
    #[arg(long, default_value_t = 1_000)]
    scripts: u64,
    /// The number of the first script
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Repeats the scripts of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// How many scripts are played at a time
    #[arg(long, default_value_t = 12)]
    workers: usize,
    /// Stop after so many scripts have failed
    #[arg(long, default_value_t = 3)]
    failures_max: u64,
    /// List the accepted differences, and send nothing
    #[arg(long)]
    rules: bool,
    /// Print the scripts, and send nothing
    #[arg(long)]
    print: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.as_secs() % 1_000_000);
    let Options { ref targets, scripts, first, workers, failures_max, .. } = options;
    let plan = Plan { seed, first, scripts, workers };
    if options.rules {
        print!("{}", report::rules());
        return ExitCode::SUCCESS;
    }
    if options.print {
        print!("{}", search::printed(plan));
        return ExitCode::SUCCESS;
    }
    if targets.len() < 2 {
        eprintln!("error: there is nothing to compare; name two servers with --target NAME=URL");
        return ExitCode::from(2);
    }
    headwater_testkit::panics::silence();
    let comparison = if options.versions { Comparison::Versions } else { Comparison::Servers };
    println!("Playing {scripts} scripts of seed {seed} on {} servers", targets.len());
    let (progress, tally) = (Progress::default(), Tally::default());
    let failures = report::with_progress(plan, &progress, &tally, || {
        search::search(plan, targets, comparison, failures_max, &progress, &tally)
    });
    for failure in &failures {
        println!("\n{}", report::failure(failure, seed));
    }
    let played = progress.done.into_inner();
    println!("\n{}", report::table(targets, played, &tally.counts(), &failures));
    println!("{played} scripts, {} failed, seed {seed}", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
