//! Crash tests: a real server is killed, its disk filled and damaged, and nothing that it acknowledged may be lost.
//!
//! `README.md` tells how to run them, `oracle.rs` which rules are checked.

mod disk;
mod events;
mod load;
mod mount;
mod offset;
mod options;
mod oracle;
mod payload;
mod readers;
mod reads;
mod registry;
mod report;
mod requests;
mod scenario;
mod server;
mod stream;
mod witness;
mod writers;

use std::error::Error;
use std::fmt;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use options::{Choice, Options};
use scenario::kill::Hardship;
use scenario::{Stage, faults, flip, fsize, full, greedy, kill, powerloss, readonly, unattended};
use server::Program;

fn main() -> ExitCode {
    let options = Options::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.as_secs() % 1_000_000);
    let chosen = match options.scenario {
        Choice::All => {
            vec![
                Choice::Kill,
                Choice::Powerloss,
                Choice::Faults,
                Choice::Flip,
                Choice::Full,
                Choice::Fsize,
                Choice::Readonly,
                Choice::Greedy,
                Choice::Unattended,
            ]
        }
        one => vec![one],
    };
    for choice in chosen {
        if let Err(error) = run(&options, choice, seed) {
            if error.is::<AlreadyReported>() {
                return ExitCode::FAILURE;
            }
            eprintln!("\nFAILED: {error:#}\n  data and logs: {}", options.folder.display());
            let how_much = match choice {
                Choice::Kill | Choice::Powerloss | Choice::Faults => format!(" --rounds {}", options.rounds),
                Choice::Flip => format!(" --places {}", options.places),
                _ => String::new(),
            };
            eprintln!("  again: cargo xtask crash --scenario {}{how_much} --seed {seed}", name(choice));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn name(choice: Choice) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn run(options: &Options, choice: Choice, seed: u64) -> Result<()> {
    let needs_mount = matches!(choice, Choice::Powerloss | Choice::Faults | Choice::Full | Choice::Readonly);
    if needs_mount && !options.may_mount {
        return run_apart(options, choice, seed);
    }
    let name = name(choice);
    println!("{name}, with seed {seed}");
    if options.folder.exists() {
        fs::remove_dir_all(&options.folder)
            .with_context(|| format!("cannot empty {}", options.folder.display()))?;
    }
    let program = Program::new(options.binary.clone(), &options.folder)?;
    let stage = Stage { program: &program, data: options.folder.join(&name), seed };
    let figures = match choice {
        Choice::Kill | Choice::All => kill::run(&stage, Hardship::None, options.rounds)?,
        Choice::Powerloss => powerloss::run(&stage, options.rounds)?,
        Choice::Faults => faults::run(&stage, options.rounds)?,
        Choice::Full => full::run(&stage)?,
        Choice::Flip => flip::run(&stage, options.places)?,
        Choice::Fsize => fsize::run(&stage)?,
        Choice::Readonly => readonly::run(&stage)?,
        Choice::Greedy => greedy::run(&stage)?,
        Choice::Unattended => unattended::run(&stage)?,
    };
    println!("{figures}");
    fs::remove_dir_all(&options.folder)?;
    Ok(())
}

/// In a namespace of its own, where a file system can be mounted.
fn run_apart(options: &Options, choice: Choice, seed: u64) -> Result<()> {
    let namespace = match mount::namespace() {
        Ok(namespace) => namespace,
        Err(reason) => {
            println!("{}: skipped, because {reason}\n", name(choice));
            return Ok(());
        }
    };
    let [program, arguments @ ..] = namespace else { bail!("no program makes a namespace") };
    let mut command = Command::new(program);
    command.args(arguments).arg(std::env::current_exe()?);
    command.arg("--binary").arg(&options.binary).arg("--folder").arg(&options.folder);
    command.args(["--scenario", &name(choice), "--seed", &seed.to_string()]).arg("--may-mount");
    command.args(["--rounds", &options.rounds.to_string()]);
    if command.status()?.success() { Ok(()) } else { Err(AlreadyReported.into()) }
}

/// A failure that another process of this program has printed.
#[derive(Debug)]
struct AlreadyReported;

impl fmt::Display for AlreadyReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is printed above")
    }
}

impl Error for AlreadyReported {}
