//! `headwater-bench`: our servers and their peers under the same load, one at a time.
//!
//! `cargo xtask bench` builds the servers and runs this. What a workload does and what its figures mean is in the
//! README.md beside this crate.

mod contender;
mod disk;
mod figures;
mod install;
mod json;
mod message;
mod picture;
mod process;
mod recorder;
mod report;
mod run;
mod server;
mod trial;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use headwater_testkit::table;

use contender::{Contender, EARLIER};
use run::{Entrant, Measurement, Plan};
use workload::Workload;

/// Measure Headwater's servers beside their peers
///
/// Every measurement starts one server alone on an empty directory, loads it over loopback, and reads from /proc what
/// it used. Contenders take turns within each round; the tables show medians over rounds.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Options {
    /// Which servers of this repository to measure
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "headwater")]
    ours: Vec<String>,
    /// Which peers to measure beside them, `all` or `none`
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "ds-wal")]
    against: Vec<String>,
    /// Measure an earlier build of server-hyper beside them, as the peer `earlier`
    #[arg(long, value_name = "BINARY")]
    before: Option<PathBuf>,
    /// Which workloads, by name or by what names begin with, such as `sse`
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    workload: Vec<String>,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For how long a measurement counts [default: 5, and 60 for `sustained`]
    #[arg(long, value_name = "S", value_parser = seconds)]
    secs: Option<Duration>,
    /// How long a server is loaded before it counts
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// How many streams `streams-100k` makes
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    streams: usize,
    /// Where data directories are made; a disk, unless you want to measure something else
    /// [default: target/bench-data]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where peers are installed [default: target/peers]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Write all raw figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the medians into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// List contenders and workloads, and measure nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.list {
        println!("{}", list());
        return Ok(());
    }
    let plan = plan(options)?;
    let measurements = plan.run()?;
    println!("{}", report::tables(&plan.workloads, &measurements));
    if let Some(path) = &options.json {
        let document = serde_json::to_string_pretty(&json::document(&plan, &measurements))?;
        write(path, &(document + "\n"))?;
    }
    if let Some(path) = &options.svg {
        write(path, &picture::draw(&plan.workloads, &measurements, plan.rounds))?;
    }
    let failed = |measurement: &&Measurement| measurement.contender.is_ours() && measurement.outcome.is_err();
    match measurements.iter().filter(failed).count() {
        0 => Ok(()),
        count => bail!("{count} measurements of our own servers failed; each is quoted above"),
    }
}

fn plan(options: &Options) -> Result<Plan> {
    // So that thousands of connections fit, ours and the server's, which inherits the limit.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let target = target_dir()?;
    let dir = absolute(options.dir.as_deref(), &target.join("bench-data"))?;
    let peers = absolute(options.peers.as_deref(), &target.join("peers"))?;
    let workloads = Workload::select(&options.workload)?;
    let before = options.before.as_deref();
    let mut contenders = Vec::new();
    for contender in Contender::select(&options.ours, true)? {
        let program = install::program(contender, &peers, before).with_context(|| contender.name)?;
        contenders.push(Entrant { contender, program });
    }
    let mut against = options.against.clone();
    against.extend(before.map(|_| EARLIER.to_owned()));
    for contender in Contender::select(&against, false)? {
        match install::program(contender, &peers, before) {
            Ok(program) => contenders.push(Entrant { contender, program }),
            Err(error) => eprintln!("Leaving out {}: {error:#}", contender.name),
        }
    }
    if contenders.is_empty() {
        bail!("nobody to measure");
    }
    Ok(Plan {
        contenders,
        workloads,
        rounds: options.rounds,
        duration: options.secs,
        warm_up: options.warm_up,
        streams: options.streams,
        dir,
    })
}

/// Cargo's target directory: this program is in `target/release` or `target/debug`.
fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find myself")?;
    Ok(program.ancestors().nth(2).context("this program is not in a target directory")?.to_path_buf())
}

/// The path asked for, or the default; servers run elsewhere and need it whole.
fn absolute(path: Option<&Path>, default: &Path) -> Result<PathBuf> {
    std::path::absolute(path.unwrap_or(default)).context("cannot tell where I am")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("Wrote {}", path.display());
    Ok(())
}

fn list() -> String {
    let contenders: Vec<Vec<String>> = Contender::all()
        .map(|contender| {
            let flag = if contender.is_ours() { "--ours" } else { "--against" };
            [contender.name, flag, contender.what].map(str::to_owned).to_vec()
        })
        .collect();
    let workloads: Vec<Vec<String>> =
        Workload::all().into_iter().map(|workload| vec![workload.name, workload.what]).collect();
    format!(
        "{}\n{}",
        table::render(&["contender", "chosen with", "what it is"], &contenders),
        table::render(&["workload", "what it does"], &workloads)
    )
}

/// Seconds, with a fraction or without.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds as 5 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_list_names_everything() {
        let list = list();
        assert!(Contender::all().all(|contender| list.contains(contender.name)));
        assert!(Workload::all().iter().all(|workload| list.contains(&workload.name)));
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err());
    }
}
