//! `cargo xtask test`: everything CI runs, step by step.
//!
//! All steps share the dev profile and the workspace's features, so that a dependency is compiled once.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use headwater_testkit::table;

use crate::setup::WASM_TARGET;
use crate::workspace::{cargo, cargo_without_rocksdb};
use crate::{
    browser, cdn, clients, conformance, crash, differential, edge, examples, fuzz, packages, process, setup,
    tidy,
};

/// The command line of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only this step
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(STEPS.map(|s| s.name)))]
    step: Option<String>,
}

/// A step: its name, its description, and what to do if it fails.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    what: &'static str,
    next: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: [Step; 19] = [
    Step {
        name: "setup",
        what: "what this machine needs: rustfmt, clippy, the wasm target, libclang, Node, cargo-deny, cargo-hack",
        next: "install what is named above",
        run: setup::run,
    },
    Step {
        name: "fmt",
        what: "cargo fmt --all --check",
        next: "run `cargo fmt --all`",
        run: || process::run(cargo_without_rocksdb().args(["fmt", "--all", "--check"])),
    },
    Step {
        name: "tidy",
        what: "cargo xtask tidy",
        next: "each line above says what to do; then run `cargo xtask tidy` again",
        run: tidy::run,
    },
    Step {
        name: "deny",
        what: "cargo deny check: licences, sources and versions of the dependencies, and advisories if they can be had",
        next: "replace the dependency, or allow it in deny.toml with the reason",
        run: packages::deny,
    },
    Step {
        name: "clippy",
        what: "cargo clippy --workspace --all-targets -- -D warnings",
        next: "fix the lints above; `cargo clippy --fix --allow-dirty` does the easy ones",
        run: || {
            process::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        },
    },
    Step {
        name: "unit",
        what: "cargo test --workspace",
        next: "run the one that failed with `cargo test -p CRATE NAME`",
        run: || process::run(cargo().args(["test", "--workspace"])),
    },
    Step {
        name: "doc",
        what: "cargo doc --workspace --no-deps, warnings denied",
        next: "fix the links and items named above",
        run: || {
            process::run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        },
    },
    Step {
        name: "wasm",
        what: "cargo build -p headwater-protocol --target wasm32-unknown-unknown",
        next: "headwater-protocol uses something that needs an operating system: remove it",
        run: || {
            setup::wasm_target()?;
            let mut build = cargo_without_rocksdb();
            process::run(build.args(["build", "-p", "headwater-protocol", "--target", WASM_TARGET]))
        },
    },
    Step {
        name: "features",
        what: "cargo hack check --feature-powerset for each library crate; outside of CI with the oldest Rust they promise",
        next: "the command that failed is above; a feature must not need another one that it doesn't name",
        run: packages::features,
    },
    Step {
        name: "package",
        what: "cargo package for each library crate",
        next: "complete the package's Cargo.toml as said above",
        run: packages::package,
    },
    Step {
        name: "conformance",
        what: "cargo xtask conformance, all servers and stores",
        next: "run one test alone: `cargo xtask conformance --only ours --filter NAME`",
        run: conformance::run_all,
    },
    Step {
        name: "crash",
        what: "cargo xtask crash, short: kills, power cuts, failing disks, damaged files",
        next: "the command that repeats it is above; verify/crash/README.md explains the output",
        run: crash::run_short,
    },
    Step {
        name: "differential",
        what: "cargo xtask differential, short: 1,500 scripts on our four servers",
        next: "the command that repeats it is above; verify/differential/README.md explains the output",
        run: differential::run_short,
    },
    Step {
        name: "fuzz",
        what: "cargo xtask fuzz, short: five seconds of each target",
        next: "the input that fails is named above; `cargo xtask fuzz --target NAME` runs the target alone",
        run: fuzz::run_short,
    },
    Step {
        name: "examples",
        what: "run.mjs of each example against a server",
        next: "see the README.md of the example for running its parts by hand",
        run: examples::run,
    },
    Step {
        name: "clients",
        what: "cargo xtask clients: the published clients on all servers and stores, over restarts",
        next: "run one alone: `cargo xtask clients --client NAME`; verify/clients/README.md explains the tests",
        run: clients::run_all,
    },
    Step {
        name: "edge",
        what: "each configuration in edge/, checked by the program that it is for",
        next: "the command that failed is above; each folder of edge/ has a README.md",
        run: edge::run,
    },
    Step {
        name: "cdn",
        what: "cargo xtask cdn, short: 200 viewers, every scenario behind nginx and Varnish",
        next: "the failures are below the table; run one alone: `cargo xtask cdn --scenario NAME`",
        run: cdn::run_short,
    },
    Step {
        name: "browser",
        what: "cargo xtask browser: examples/browser in Chromium, behind nginx",
        next: "see the README.md of the example for running its parts by hand",
        run: browser::run,
    },
];

/// Runs all steps, or the one asked for, up to the first failure. The last line is `N passed, N failed`.
pub(crate) fn run(options: &Options) -> ExitCode {
    let steps: Vec<Step> = STEPS
        .into_iter()
        .filter(|step| options.step.as_deref().is_none_or(|name| name == step.name))
        .collect();
    let mut rows = Vec::new();
    let mut failed = false;
    for (at, step) in steps.iter().enumerate() {
        if failed {
            rows.push(row(step, "not run", "-"));
            continue;
        }
        let announced = format!("[{}/{}] {}", at + 1, steps.len(), step.name);
        println!("\n{announced}: {}", step.what);
        let started = Instant::now();
        let outcome = (step.run)();
        let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => {
                println!("{announced}: passed in {seconds} s");
                rows.push(row(step, "passed", &seconds));
            }
            Err(error) => {
                eprintln!("\n{announced}: FAILED in {seconds} s: {error:#}\nNext: {}", step.next);
                eprintln!("This step alone: `cargo xtask test --step {}`", step.name);
                rows.push(row(step, "failed", &seconds));
                failed = true;
            }
        }
    }
    let count = |result: &str| rows.iter().filter(|row| row[1] == result).count();
    println!("\n{}", table::render(&["step", "result", "seconds"], &rows));
    println!("{} passed, {} failed", count("passed"), count("failed"));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn row(step: &Step, result: &str, seconds: &str) -> Vec<String> {
    [step.name, result, seconds].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_step_has_its_own_name_and_says_what_to_do_next() {
        let names: HashSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        assert!(STEPS.iter().all(|step| !step.next.is_empty()));
    }
}
