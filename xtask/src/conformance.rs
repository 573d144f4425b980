//! `cargo xtask conformance`: two suites against our servers on our stores, or against any URL.
//!
//! The suites take turns: the published one measures time (expiry, long-poll), so nothing else may run beside it.

mod ours;
mod published;
mod report;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, ValueEnum};

use crate::server::{self, LONG_POLL_TIMEOUT, SERVERS, STORES, Target};
use report::Report;

/// Stands for each of them in `--server` and `--store`.
const ALL: &str = "all";

/// The command line of `cargo xtask conformance`.
#[derive(Args)]
pub(crate) struct Options {
    /// Test what answers at this URL, such as http://127.0.0.1:4437/v1/stream, and start nothing
    #[arg(long, conflicts_with_all = ["server", "store"])]
    url: Option<String>,
    /// Which server to build and start
    #[arg(long, default_value = SERVERS[0], value_parser = one_or_all(&SERVERS))]
    server: String,
    /// Which store to start it with
    #[arg(long, default_value = STORES[0], value_parser = one_or_all(&STORES))]
    store: String,
    /// Only tests with this in their names
    #[arg(long)]
    filter: Option<String>,
    /// Only one of the two suites
    #[arg(long)]
    only: Option<Suite>,
    /// Run everything this many times, against the same server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// How long the server holds a long-poll open; only a server at `--url` may need another value
    #[arg(long, default_value = LONG_POLL_TIMEOUT, value_parser = humantime::parse_duration, requires = "url")]
    long_poll_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    Ours,
    Published,
}

/// The server that a suite is run against.
struct Endpoint {
    /// Its name in tables: `hyper-mem`, or `url`.
    target: String,
    /// The base URL, with `/v1/stream` and without a slash at the end.
    url: String,
    long_poll_timeout: Duration,
}

impl Endpoint {
    fn new(target: String, url: &str, long_poll_timeout: Duration) -> Self {
        let origin = origin(url);
        Self { target, url: format!("{origin}{BASE_PATH}"), long_poll_timeout }
    }

    /// The URL without the base path, which the published suite appends itself.
    fn origin(&self) -> &str {
        origin(&self.url)
    }
}

/// Both suites use it; the published one knows no other.
const BASE_PATH: &str = "/v1/stream";

fn origin(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix(BASE_PATH).unwrap_or(url)
}

/// Runs what the options ask for. Fails if any test failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let reports = match &options.url {
        Some(url) => run_suites(&Endpoint::new("url".to_owned(), url, options.long_poll_timeout), options)?,
        None => run_targets(options)?,
    };
    report::print(&reports);
    let failed: usize = reports.iter().map(|report| report.failures.len()).sum();
    if failed > 0 {
        bail!("conformance: {failed} failed; each is listed above the table");
    }
    if reports.iter().all(|report| report.passed == 0) {
        bail!("conformance: no test has the filter in its name");
    }
    Ok(())
}

/// Both suites on every server and store: what CI runs.
pub(crate) fn run_all() -> Result<()> {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        options: Options,
    }
    run(&Defaults::parse_from(["conformance", "--server", ALL, "--store", ALL]).options)
}

fn run_targets(options: &Options) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for target in targets(&options.server, &options.store) {
        let server = server::start(&target)?;
        let endpoint = Endpoint::new(target.name(), server.url(), options.long_poll_timeout);
        reports.extend(run_suites(&endpoint, options)?);
        // The end of the server is part of the result, and must not hide earlier failures.
        if let Err(error) = server.stop() {
            reports.push(Report::broken(&endpoint.target, "shutdown", &format!("{error:#}")));
        }
    }
    Ok(reports)
}

fn run_suites(endpoint: &Endpoint, options: &Options) -> Result<Vec<Report>> {
    let filter = options.filter.as_deref();
    let wanted = |suite| options.only.is_none_or(|only| only == suite);
    let mut reports = Vec::new();
    for _ in 0..options.repeat {
        if wanted(Suite::Ours) {
            reports.push(ours::run(endpoint, filter)?);
        }
        if wanted(Suite::Published) {
            reports.push(published::run(endpoint, filter)?);
        }
    }
    Ok(reports)
}

fn targets(server: &str, store: &str) -> Vec<Target> {
    let selected = |all: &[&str], one: &str| -> Vec<String> {
        all.iter().filter(|&&name| one == ALL || one == name).map(|&name| name.to_owned()).collect()
    };
    let stores = selected(&STORES, store);
    selected(&SERVERS, server)
        .into_iter()
        .flat_map(|server| {
            stores.iter().map(move |store| Target { server: server.clone(), store: store.clone() })
        })
        .collect()
}

fn one_or_all(names: &[&'static str]) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names.iter().copied().chain([ALL]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_have_the_base_path_or_not() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/v1/stream", "http://h:1/v1/stream/"] {
            let endpoint = Endpoint::new("url".to_owned(), url, Duration::ZERO);
            assert_eq!(endpoint.origin(), "http://h:1", "{url}");
            assert_eq!(endpoint.url, "http://h:1/v1/stream", "{url}");
        }
    }

    #[test]
    fn all_names_every_pair() {
        assert_eq!(targets(ALL, ALL).len(), SERVERS.len() * STORES.len());
        assert_eq!(targets("hyper", "mem").len(), 1);
    }
}
