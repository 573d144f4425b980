//! Headwater's own conformance suite: what the published suite does not assert.
//!
//! It knows a server by its URL alone and runs against any of them:
//!
//! ```text
//! cargo run -p conformance -- --url http://127.0.0.1:4437/v1/stream --target hyper-mem caching
//! ```
//!
//! Every case is a function over a `client::Target` in one of the files of `cases/`, one file per
//! subject; its name is the sentence that it proves, and `<target>::<subject>::<sentence>` the name it runs
//! under. Whatever the command line holds besides `options::Options` goes to `libtest-mimic`, so
//! filters, `--list`, `--exact` and `--test-threads` work as everywhere.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a case fails by panicking, and the panic says what the server sent"
)]

mod case;
mod cases;
mod client;
mod differences;
mod instant;
mod offset;
mod options;
mod receiver;
mod sse;
mod subscription;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::client::Target;
use crate::differences::Differences;
use crate::options::Options;

/// The cases mostly wait for the server, so many more run at once than there are cores.
const TEST_THREADS: usize = 32;

/// The program: reads the command line, runs the cases that it asks for, and says how that went.
#[must_use]
pub fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.sources {
        for case in cases::all() {
            println!("{}::{}: {}", case.subject(), case.name, case.source);
        }
        return ExitCode::SUCCESS;
    }
    let target = match Target::new(&options) {
        Ok(target) => Arc::new(target),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    let differences = Differences::read();
    headwater_testkit::panics::silence();
    let trials = cases::all()
        .map(|case| case.into_trial(&options.target, &target, differences.reason(&options.target, &case)))
        .collect();
    options.harness.test_threads.get_or_insert(TEST_THREADS);
    libtest_mimic::run(&options.harness, trials).exit_code()
}
