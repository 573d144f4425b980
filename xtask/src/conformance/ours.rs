//! Our suite: the crate `conformance`, run as the program that it is.
//!
//! Its output is that of libtest: one line a test, then the messages of those that failed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Endpoint;
use super::report::{Note, Report};
use crate::server::{BODY_MAX, CHUNK_SIZE, HEADER_TIMEOUT, IDLE_TIMEOUT};
use crate::workspace;

const SUITE: &str = "ours";

/// A line of progress after this many tests.
const PROGRESS_EVERY: usize = 50;

pub(super) fn run(endpoint: &Endpoint, filter: Option<&str>) -> Result<Report> {
    let mut command = Command::new(workspace::build_binary("conformance")?);
    command
        .args(["--url", &endpoint.url, "--target", &endpoint.target])
        .args(["--long-poll-timeout", &format!("{}ms", endpoint.long_poll_timeout.as_millis())])
        .args(["--chunk-size", CHUNK_SIZE, "--body-max", BODY_MAX, "--header-timeout", HEADER_TIMEOUT])
        .args(["--idle-timeout", IDLE_TIMEOUT])
        .args(filter);
    println!("Running our suite against {}", endpoint.url);
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run our suite")?;
    let stdout = child.stdout.take().expect("stdout was piped on the line above");
    let mut reader = Reader::default();
    for line in BufReader::new(stdout).lines() {
        reader.line(&line.context("our suite printed something that is not text")?);
    }
    let status = child.wait()?;
    let mut report = reader.report(status.success(), &status.to_string(), filter.is_some());
    report.target.clone_from(&endpoint.target);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Counts the tests in the suite's output; the messages of those that failed are passed on.
#[derive(Default)]
struct Reader {
    report: Report,
    done: usize,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((test, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            println!("{line}");
            return;
        };
        match (test.trim(), outcome.trim()) {
            (_, "ok") => self.report.passed += 1,
            (test, "FAILED") => self.report.fail(test, "its message is above"),
            (test, ignored) => {
                let reason = ignored.strip_prefix("ignored").unwrap_or(ignored).trim();
                self.report.skips.push(Note { test: test.to_owned(), text: reason.to_owned() });
            }
        }
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_EVERY) {
            println!("  {} tests done, {} failed", self.done, self.report.failures.len());
        }
    }

    /// A suite that failed without naming a test has failed; and so has one that ran nothing, unless a filter may be
    /// the reason.
    fn report(mut self, success: bool, status: &str, filtered: bool) -> Report {
        SUITE.clone_into(&mut self.report.suite);
        if self.done == 0 && !filtered {
            self.report.fail("(the suite)", "it ran no test: see what it printed above");
        } else if !success && self.report.failures.is_empty() {
            self.report.fail("(the suite)", &format!("it ended ({status}) without saying which test failed"));
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str, success: bool, filtered: bool) -> Report {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader.report(success, "exit status: 101", filtered)
    }

    #[test]
    fn the_output_of_libtest_is_counted() {
        let output = "running 3 tests\ntest mem::append::closed_is_409   ... ok\n\
                      test mem::sse::utf8_is_not_torn   ... FAILED\n\
                      test mem::tls::alpn               ... ignored (needs --tls)\n\n---- mem::sse::utf8_is_not_torn ----\n";
        let report = read(output, false, false);
        assert_eq!((report.passed, report.failures.len()), (1, 1));
        assert_eq!(report.failures[0].test, "mem::sse::utf8_is_not_torn");
        assert_eq!(report.skips[0].text, "(needs --tls)");
    }

    #[test]
    fn a_suite_that_dies_or_has_no_tests_has_failed() {
        assert_eq!(read("test mem::append::closed_is_409 ... ok", false, false).failures.len(), 1);
        assert_eq!(read("test result: ok. 0 passed; 0 failed", true, false).failures.len(), 1);
        assert!(read("test result: ok. 0 passed; 0 failed", true, true).failures.is_empty(), "with a filter");
    }
}
