//! The conformance suite as a program: `cargo xtask conformance` runs it, `lib.rs` tells how to do so by hand.
//! Headwater's own conformance suite: what the published suite does not assert.
//!
//! It knows a server by its URL alone and runs against any of them:
//!
//! ```text
//! cargo run -p conformance -- --url http://127.0.0.1:4437/v1/stream --target hyper-mem caching
//! ```
//!
//! Every case is a function over a [`client::Target`] in one of the files of `cases/`, one file per
//! subject; its name is the sentence that it proves, and `<target>::<subject>::<sentence>` the name it runs
//! under. Whatever the command line holds besides [`options::Options`] goes to `libtest-mimic`, so
//! filters, `--list`, `--exact` and `--test-threads` work as everywhere.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a case fails by panicking, and the panic says what the server answered"
)]

mod answer;
mod case;
mod cases;
mod client;
mod differences;
mod instant;
mod offset;
mod options;
mod raw;
mod receiver;
mod sse;
mod subscription;

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::main()
}
