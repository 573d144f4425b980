//! `cargo xtask fuzz`: libFuzzer on the targets of `verify/fuzz`, with the pinned toolchain.
//!
//! The instrumentation is that of `cargo fuzz`, which needs a nightly toolchain only for sanitizers.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use headwater_testkit::table;

use crate::workspace::cargo;
use crate::{process, workspace};

/// The targets.
const TARGETS: [&str; 6] = ["request", "json", "sse", "pattern", "stored", "script"];

/// What libFuzzer needs of the compiler: edges and comparisons are counted.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The command line of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this target
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
}

/// Builds the targets and runs what the options ask for.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<&str> = match &options.target {
        Some(target) => vec![target],
        None => TARGETS.to_vec(),
    };
    run_targets(&chosen, options.seconds)
}

/// Runs each target for some seconds.
pub(crate) fn run_short() -> Result<()> {
    run_targets(&TARGETS, 5)
}

fn run_targets(targets: &[&str], seconds: u64) -> Result<()> {
    let host = workspace::host()?;
    println!("Building the targets with instrumentation");
    let folder = workspace::root().join("target").join("fuzz");
    let mut build = cargo();
    build.args(["build", "--package", "headwater-fuzz", "--features", "libfuzzer", "--bins"]);
    // With a target build scripts and macros are compiled without these flags.
    build.args(["--target", &host]).arg("--target-dir").arg(&folder).env("RUSTFLAGS", RUSTFLAGS);
    process::run(&mut build)?;
    let binaries = folder.join(&host).join("debug");
    let mut rows = Vec::new();
    let mut findings = Vec::new();
    for target in targets {
        println!("{target}: {seconds} s");
        let (runs, found) = run_target(&binaries, &folder, target, seconds)?;
        rows.push(vec![(*target).to_owned(), runs, if found { "FAILED" } else { "passed" }.to_owned()]);
        if found {
            findings.push(*target);
        }
    }
    println!("\n{}", table::render(&["target", "runs", "result"], &rows));
    if findings.is_empty() {
        return Ok(());
    }
    bail!("fuzz: findings in {}; the inputs are named above", findings.join(", "))
}

/// Runs one target. Returns the number of runs, and whether there is a finding.
fn run_target(binaries: &Path, folder: &Path, target: &str, seconds: u64) -> Result<(String, bool)> {
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("findings").join(target);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&found)?;
    let output = Command::new(binaries.join(format!("fuzz-{target}")))
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args([
            format!("-max_total_time={seconds}"),
            "-max_len=4096".to_owned(),
            "-print_final_stats=1".to_owned(),
        ])
        .arg("-timeout=10")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let runs = runs.map_or_else(|| "?".to_owned(), |runs| runs.trim().to_owned());
    if !output.status.success() {
        let end: Vec<&str> = said.lines().rev().take(40).collect();
        println!("{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok((runs, !output.status.success()))
}
