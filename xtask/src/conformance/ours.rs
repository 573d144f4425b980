//! Our suite: the crate `conformance`, run as the program that it is.
//!
//! Its report is the text that libtest prints, one line a test, then the messages of those that failed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Endpoint;
use super::report::{Note, Report};
use crate::server::{BODY_MAX, CHUNK_SIZE, HEADER_TIMEOUT};
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

/// Reads the suite's output, line by line.
#[derive(Default)]
struct Reader {
    report: Report,
    done: usize,
    /// Inside of the message of a failed test: its place in `report.failures`.
    message_of: Option<usize>,
    saw_result: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some((test, outcome)) = parse_test(line) {
            self.test(test, outcome);
        } else if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            self.message_of = self.report.failures.iter().position(|note| note.test == test);
        } else if line.starts_with("test result: ") {
            self.message_of = None;
            self.saw_result = true;
        } else if line == "failures:" {
            self.message_of = None;
        } else if let Some(at) = self.message_of {
            let text = &mut self.report.failures[at].text;
            text.push_str(line);
            text.push('\n');
        }
    }

    fn test(&mut self, test: &str, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Passed => self.report.passed += 1,
            Outcome::Skipped(reason) => {
                self.report.skips.push(Note { test: test.to_owned(), text: reason.to_owned() });
            }
            Outcome::Failed => {
                println!("  failed: {test}");
                self.report.fail(test, "");
            }
        }
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_EVERY) {
            println!("  {} tests done, {} failed", self.done, self.report.failures.len());
        }
    }

    /// A suite that died on the way, or failed without naming a test, has failed; and so has one that ran nothing,
    /// unless a filter may be the reason.
    fn report(mut self, success: bool, status: &str, filtered: bool) -> Report {
        SUITE.clone_into(&mut self.report.suite);
        if self.done == 0 && !filtered {
            self.report.fail("(the suite)", "it ran no test: see what it printed above");
        } else if !self.saw_result || (!success && self.report.failures.is_empty()) {
            self.report.fail("(the suite)", &format!("it ended ({status}) without saying which test failed"));
        }
        self.report
    }
}

#[derive(Clone, Copy)]
enum Outcome<'a> {
    Passed,
    Failed,
    Skipped(&'a str),
}

/// `test NAME ... ok`, `FAILED`, or `ignored (REASON)`.
fn parse_test(line: &str) -> Option<(&str, Outcome<'_>)> {
    let (test, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome.trim() {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        other => Outcome::Skipped(reason(other.strip_prefix("ignored")?)),
    };
    Some((test.trim(), outcome))
}

fn reason(text: &str) -> &str {
    let reason = text.trim_start_matches([',', ':']).trim();
    let reason = reason.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(reason);
    if reason.is_empty() { "no reason given" } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test hyper-mem::append::closed_is_409   ... ok
test hyper-mem::sse::utf8_is_not_torn   ... FAILED
test hyper-mem::tls::alpn               ... ignored (needs --tls)

failures:

---- hyper-mem::sse::utf8_is_not_torn ----
expected \u{20ac}
got \u{fffd}


failures:
    hyper-mem::sse::utf8_is_not_torn

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    fn read(output: &str, success: bool) -> Report {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader.report(success, "exit status: 101", false)
    }

    #[test]
    fn the_output_of_libtest_is_read() {
        let report = read(OUTPUT, false);
        assert_eq!(report.passed, 1);
        assert_eq!(report.failures.len(), 1);
        assert_eq!(report.failures[0].test, "hyper-mem::sse::utf8_is_not_torn");
        assert_eq!(report.failures[0].text.trim(), "expected \u{20ac}\ngot \u{fffd}");
        assert_eq!(report.skips[0].text, "needs --tls");
    }

    #[test]
    fn a_suite_that_dies_has_failed() {
        let cut = OUTPUT.split("test hyper-mem::sse").next().expect("there is a first part");
        assert_eq!(read(cut, false).failures.len(), 1);
        assert_eq!(read(cut, true).failures.len(), 1, "even if it exits with 0");
    }

    #[test]
    fn a_suite_without_tests_has_failed() {
        let output = "test result: ok. 0 passed; 0 failed";
        assert_eq!(read(output, true).failures.len(), 1);
        let mut reader = Reader::default();
        reader.line(output);
        assert!(reader.report(true, "", true).failures.is_empty(), "unless a filter is the reason");
    }
}
