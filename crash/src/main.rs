//! Crash tests: a real server is killed, its disk filled and damaged, and nothing that it acknowledged may be lost.
//!
//! `README.md` tells how to run them, `oracle.rs` which rules are checked.

mod client;
mod dice;
mod events;
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

use std::fs;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;

use options::Options;
use scenario::{Stage, kill};
use server::Program;

fn main() -> ExitCode {
    let options = Options::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.as_secs() % 1_000_000);
    match run(&options, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}\n  data and logs: {}", options.folder.display());
            eprintln!("  again: --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, seed: u64) -> Result<()> {
    if options.folder.exists() {
        fs::remove_dir_all(&options.folder)
            .with_context(|| format!("cannot empty {}", options.folder.display()))?;
    }
    let program = Program::new(options.binary.clone(), &options.folder)?;
    println!("kill: {} rounds with seed {seed}", options.rounds);
    let stage = Stage { program: &program, data: options.folder.join("kill"), seed };
    println!("{}", kill::run(&stage, options.rounds)?);
    fs::remove_dir_all(&options.folder)?;
    Ok(())
}
