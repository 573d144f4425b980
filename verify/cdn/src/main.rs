//! `headwater-cdn`: a server behind real caches, an audience in front of them, and what each of them had to do.
//!
//! `cargo xtask cdn` builds the server and runs this. What a scenario does is in `scenario.rs`, what the figures mean in
//! the README.md beside this crate.

mod doctor;
mod ledger;
mod origin;
mod private;
mod progress;
mod proxy;
mod report;
mod run;
mod scenario;
mod tally;
mod viewer;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::task::LocalSet;

use proxy::{Caches, Kind};
use run::{Outcome, Stage};
use scenario::{Origins, Scenario};

/// Put a server behind real caches, and an audience in front of them
#[derive(Parser)]
#[command(name = "cargo xtask cdn", bin_name = "cargo xtask cdn")]
struct Options {
    /// Which cache: nginx, varnish or both
    #[arg(long, default_value = "both", value_parser = ["nginx", "varnish", "both"])]
    proxy: String,
    /// How many viewers
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    viewers: u32,
    /// For how long messages are written, in each scenario
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    secs: u64,
    /// Which scenarios, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    scenario: Vec<String>,
    /// Examine the edge at this URL instead, such as `https://cdn.example/v1/stream`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The URL of the origin behind it, if you can reach it: its metrics tell more
    #[arg(long, value_name = "URL", requires = "url")]
    origin: Option<String>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw them into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// List the scenarios, and run none
    #[arg(long)]
    list: bool,
    /// The server's program
    #[arg(long, hide = true)]
    binary: PathBuf,
    /// The folder of the caches' configurations
    #[arg(long, hide = true)]
    edge: PathBuf,
    /// The program of nginx
    #[arg(long, hide = true, default_value = "nginx")]
    nginx: PathBuf,
    /// The program of Varnish
    #[arg(long, hide = true, default_value = "varnishd")]
    varnishd: PathBuf,
    /// Where logs and data go
    #[arg(long, hide = true)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether nothing was broken.
fn work(options: &Options) -> Result<bool> {
    if options.list {
        print!("{}", report::list(&scenario::all()));
        return Ok(true);
    }
    if let Some(url) = &options.url {
        let findings = doctor::examine(url, options.origin.as_deref())?;
        print!("{}", doctor::text(&findings));
        return Ok(doctor::is_well(&findings));
    }
    // A viewer is a connection here, and two in a cache.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
    std::fs::create_dir_all(&options.folder)
        .with_context(|| format!("cannot create {}", options.folder.display()))?;
    let (scenarios, with_doctor) = select(&options.scenario)?;
    let stage = Stage {
        binary: options.binary.clone(),
        caches: Caches {
            nginx: options.nginx.clone(),
            varnishd: options.varnishd.clone(),
            edge: options.edge.clone(),
        },
        folder: options.folder.clone(),
        viewers: options.viewers as usize,
        duration: Duration::from_secs(options.secs),
    };
    let kinds = kinds(&options.proxy);
    let outcomes = perform(&scenarios, &kinds, &stage)?;
    if !outcomes.is_empty() {
        print!("\n{}", report::text(&outcomes));
    }
    let blind = if with_doctor { perform_doctor(&kinds, &stage)? } else { Vec::new() };
    for blind in &blind {
        println!("\n{blind}");
    }
    if let Some(file) = &options.json {
        let document = serde_json::to_string_pretty(&report::document(&outcomes, &stage))?;
        std::fs::write(file, document).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, report::picture(&outcomes, &stage))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(outcomes.iter().all(|outcome| outcome.broken.is_empty()) && blind.is_empty())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // The audience takes one core, the server and the cache have the others.
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn perform_doctor(kinds: &[Kind], stage: &Stage) -> Result<Vec<String>> {
    LocalSet::new().block_on(&runtime()?, doctor::examine_ours(kinds, stage))
}

fn perform(scenarios: &[Scenario], kinds: &[Kind], stage: &Stage) -> Result<Vec<Outcome>> {
    let runtime = runtime()?;
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        for &kind in kinds {
            let outcome = LocalSet::new().block_on(&runtime, async {
                match scenario.origins {
                    Origins::One => run::run(scenario, kind, stage).await,
                    Origins::OneForEachUser { visibility } => {
                        private::run(scenario, visibility, kind, stage).await
                    }
                }
            });
            let outcome = outcome.with_context(|| format!("{} behind {}", scenario.name, kind.name()))?;
            println!("{}", report::line(&outcome));
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// The scenarios of these names, and whether the doctor is one of them.
fn select(names: &[String]) -> Result<(Vec<Scenario>, bool)> {
    let all = scenario::all();
    if names.iter().any(|name| name == "all") {
        return Ok((all, true));
    }
    for name in names {
        if name != DOCTOR && all.iter().all(|scenario| scenario.name != name) {
            bail!("there is no scenario named {name}; --list lists them");
        }
    }
    let with_doctor = names.iter().any(|name| name == DOCTOR);
    let chosen = all.into_iter().filter(|scenario| names.iter().any(|name| name == scenario.name));
    Ok((chosen.collect(), with_doctor))
}

/// The name of the scenario in which the doctor examines caches that are known.
const DOCTOR: &str = "doctor";

fn kinds(proxy: &str) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| proxy == "both" || proxy == kind.name()).collect()
}
