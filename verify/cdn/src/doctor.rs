//! Looks at a deployment that runs already: does its edge keep what it may, and nothing else? Says what to change.
//!
//! It makes streams of its own, named `doctor-…`, which end by themselves if it can't delete them.

mod checks;
mod patient;

use std::io::IsTerminal;

use anyhow::{Result, bail};
use headwater_testkit::table;
use tokio::task::spawn_blocking;

use crate::origin::{BASE_PATH, Origin};
use crate::proxy::{Caches, Kind, Proxy};
use crate::run::Stage;
use patient::Patient;

/// The result of a check.
pub(crate) enum Verdict {
    Fine(String),
    /// The finding, and what to change.
    Wrong(String, &'static str),
    /// Not visible from outside.
    Unknown(String),
}

/// A check and what it came to.
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
}

/// Examines an edge at the base URL of its streams. Where the origin's own URL is known, the origin's metrics tell how
/// often it was asked, and writes go there.
pub(crate) fn examine(edge: &str, origin: Option<&str>) -> Result<Vec<Finding>> {
    let patient = Patient::new(edge, origin);
    if let Err(error) = checks::reads(&patient) {
        bail!(
            "{edge} doesn't serve streams: {error:#}\nIt has to be the URL that stream names are added to, such as \
               https://cdn.example/v1/stream"
        );
    }
    let mut findings = Vec::new();
    for (check, run) in checks::ALL {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{check} ...");
        }
        let verdict = run(&patient).unwrap_or_else(|error| Verdict::Unknown(format!("{error:#}")));
        findings.push(Finding { check, verdict });
    }
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
    patient.clean_up();
    Ok(findings)
}

/// Examines the caches of `edge/`, which must be well, and a careless one, which must not: what is wrong with the
/// doctor, in words.
pub(crate) async fn examine_ours(kinds: &[Kind], stage: &Stage) -> Result<Vec<String>> {
    let origin =
        Origin::start(&stage.binary, &stage.folder, &["--store", "mem", "--long-poll-timeout", "3s"]).await?;
    let careless = Caches { edge: stage.caches.edge.join(CARELESS), ..stage.caches.clone() };
    let ours = kinds.iter().map(|kind| (*kind, &stage.caches, true));
    let mut broken = Vec::new();
    for (kind, caches, is_ours) in ours.chain([(Kind::Nginx, &careless, false)]) {
        let proxy = Proxy::start(kind, caches, &stage.folder, origin.address).await?;
        let urls = [proxy.address, origin.address].map(|address| format!("http://{address}{BASE_PATH}"));
        let findings = spawn_blocking(move || {
            let [edge, origin] = &urls;
            examine(edge, Some(origin))
        });
        let findings = findings.await??;
        let wrong: Vec<&str> = findings
            .iter()
            .filter(|finding| !matches!(finding.verdict, Verdict::Fine(_)))
            .map(|finding| finding.check)
            .collect();
        println!(
            "doctor at {}{}: {} of {} checks fine",
            if is_ours { "" } else { "a careless " },
            kind.name(),
            findings.len() - wrong.len(),
            findings.len()
        );
        if is_ours && !wrong.is_empty() {
            broken.push(format!("the doctor finds {} not well:\n{}", kind.name(), text(&findings)));
        }
        if !is_ours && wrong != FAULTS {
            broken
                .push(format!("of a careless cache the doctor should find {FAULTS:?}:\n{}", text(&findings)));
        }
    }
    Ok(broken)
}

/// The faults of the careless configuration.
const FAULTS: [&str; 8] = [
    "HEAD tells the tail of now",
    "the order of arguments doesn't matter",
    "identical long-polls are one request",
    "up to date is never old",
    "404 isn't kept",
    "a deleted stream is gone",
    "private responses aren't shared",
    "credentials are in the key",
];
/// Beside `edge/`.
const CARELESS: &str = "../verify/cdn/careless";

/// A table of all, and what to change.
pub(crate) fn text(findings: &[Finding]) -> String {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let (word, what) = match &finding.verdict {
                Verdict::Fine(what) => ("fine", what),
                Verdict::Wrong(what, _) => ("WRONG", what),
                Verdict::Unknown(what) => ("unknown", what),
            };
            vec![finding.check.to_owned(), word.to_owned(), what.clone()]
        })
        .collect();
    let mut text = table::render(&["check", "result", "what was seen"], &rows);
    for finding in findings {
        if let Verdict::Wrong(_, change) = finding.verdict {
            text.push_str(&format!("\n{}: {change}\n", finding.check));
        }
    }
    text
}

/// Whether no check found a fault.
pub(crate) fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| !matches!(finding.verdict, Verdict::Wrong(..)))
}
