//! The published suite: npm `@durable-streams/server-conformance-tests`, run by vitest, read from its JSON report.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Endpoint;
use super::report::{Note, Report};
use crate::{npm, workspace};

const SUITE: &str = "published";

/// The number of tests in 0.3.6, including subscriptions. A suite that was silently shortened passes nothing.
const TESTS: usize = 338;

pub(super) fn run(endpoint: &Endpoint, filter: Option<&str>) -> Result<Report> {
    let dir = workspace::root().join("conformance/published");
    npm::install(&dir)?;
    let file = workspace::scratch_dir()?.join(format!("published-{}.json", endpoint.target));
    // A report of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&file);
    println!("Running the published suite against {}", endpoint.origin());
    let started = Instant::now();
    let status = vitest(&dir, endpoint, &file, filter).status().context("cannot run node")?;
    let seconds = started.elapsed().as_secs_f64();
    let mut report = match fs::read_to_string(&file) {
        Ok(text) => {
            parse(&serde_json::from_str(&text).context("vitest's report is not JSON")?, filter.is_some())
        }
        Err(_) => Report::broken("", SUITE, "vitest wrote no report: see what it printed above"),
    };
    if !status.success() && report.failures.is_empty() {
        report.fail("(the suite)", "vitest failed without naming a test: see what it printed above");
    }
    report.target.clone_from(&endpoint.target);
    report.seconds = seconds;
    Ok(report)
}

fn vitest(dir: &Path, endpoint: &Endpoint, file: &Path, filter: Option<&str>) -> Command {
    let mut node = Command::new("node");
    node.current_dir(dir)
        .args(["node_modules/vitest/vitest.mjs", "run"])
        .arg(format!("--outputFile.json={}", file.display()))
        .env("HEADWATER_URL", endpoint.origin())
        .env("HEADWATER_LONG_POLL_TIMEOUT_MS", endpoint.long_poll_timeout.as_millis().to_string());
    if let Some(filter) = filter {
        node.args(["-t", filter]);
    }
    node
}

/// Reads vitest's JSON report. With a filter, what was filtered out is neither listed nor missed.
fn parse(json: &Value, filtered: bool) -> Report {
    let mut report = Report { suite: SUITE.to_owned(), ..Report::default() };
    for file in array(&json["testResults"]) {
        // Set if the file itself failed, before there was any test.
        if let Some(message) = file["message"].as_str().filter(|message| !message.is_empty()) {
            report.fail("(the suite)", message);
        }
        for test in array(&file["assertionResults"]) {
            add(&mut report, test, filtered);
        }
    }
    let ran = report.passed + report.failures.len();
    if !filtered && ran != TESTS {
        let text = format!("it ran {ran} tests instead of {TESTS}: it was changed, or cut short");
        report.fail("(the suite)", &text);
    }
    report
}

fn add(report: &mut Report, test: &Value, filtered: bool) {
    let name = test["fullName"].as_str().unwrap_or("(without a name)");
    match test["status"].as_str() {
        Some("passed") => report.passed += 1,
        Some("failed") => {
            let messages = array(&test["failureMessages"]).iter().filter_map(Value::as_str);
            report.fail(name, &messages.collect::<Vec<_>>().join("\n"));
        }
        _ if filtered => {}
        _ => {
            report.skips.push(Note { test: name.to_owned(), text: "(the suite gives no reason)".to_owned() });
        }
    }
}

/// A JSON array, or nothing if it is something else.
fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn test(status: &str, group: &str) -> Value {
        json!({ "fullName": format!("{group} x"), "ancestorTitles": [group], "status": status,
                "failureMessages": if status == "failed" { vec!["Error: no"] } else { vec![] } })
    }

    fn results(tests: &[Value]) -> Value {
        json!({ "testResults": [{ "message": "", "assertionResults": tests }] })
    }

    #[test]
    fn a_whole_run_passes() {
        let mut tests = vec![test("passed", "Reads"); TESTS];
        tests.push(test("skipped", "Others"));
        let report = parse(&results(&tests), false);
        assert_eq!((report.passed, report.failures.len(), report.skips.len()), (TESTS, 0, 1));
    }

    #[test]
    fn failures_keep_their_messages_and_count_as_run() {
        let mut tests = vec![test("passed", "Reads"); TESTS - 1];
        tests.push(test("failed", "Reads"));
        let report = parse(&results(&tests), false);
        assert_eq!(report.failures, [Note { test: "Reads x".to_owned(), text: "Error: no".to_owned() }]);
    }

    #[test]
    fn a_shortened_suite_fails() {
        let mut tests = vec![test("passed", "Reads"); TESTS - 1];
        tests.push(test("skipped", "Reads"));
        assert_eq!(parse(&results(&tests), false).failures.len(), 1);
    }

    #[test]
    fn a_filtered_run_is_not_a_shortened_one() {
        let report = parse(&results(&[test("passed", "Reads"), test("skipped", "Reads")]), true);
        assert_eq!((report.passed, report.failures.len(), report.skips.len()), (1, 0, 0));
    }

    #[test]
    fn a_suite_that_does_not_load_says_why() {
        let json =
            json!({ "testResults": [{ "message": "HEADWATER_URL is not set", "assertionResults": [] }] });
        assert_eq!(parse(&json, false).failures[0].text, "HEADWATER_URL is not set");
    }
}
