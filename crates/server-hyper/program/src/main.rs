//! `server-hyper`: the Headwater server on hyper.

use std::process::ExitCode;

fn main() -> ExitCode {
    headwater_server::run("server-hyper", "", headwater_hyper::serve)
}
