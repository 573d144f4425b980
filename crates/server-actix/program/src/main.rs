//! `server-actix`: the Headwater server on actix-web.

use std::process::ExitCode;

/// actix logs an error for every malformed request and a line for every worker.
const LOG_FILTER: &str = "actix_http=off,actix_server=warn";

fn main() -> ExitCode {
    headwater_server::run("server-actix", LOG_FILTER, headwater_actix::serve)
}
