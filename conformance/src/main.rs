//! The conformance suite as a program: `cargo xtask conformance` runs it, `lib.rs` tells how to do so by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::main()
}
