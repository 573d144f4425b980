//! What a run prints: a line while it goes on, each failure with how to repeat it, and a table.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Target;
use crate::node_rules::NODE;
use crate::play::NODE as NODE_NAME;
use crate::rules::{OURS, Rule};
use crate::search::{Failure, Plan, Progress};
use crate::tally::{Counts, Tally};

/// How often the line is written anew on a terminal.
const PAUSE: Duration = Duration::from_millis(200);

/// How many lines there are where they can't be written anew.
const LINES: u64 = 10;

/// Tells how far the workers are until `is_done`.
pub(crate) fn tell(plan: Plan, progress: &Progress, tally: &Tally, is_done: &AtomicBool) {
    let started = Instant::now();
    let is_terminal = stderr().is_terminal();
    let mut told = 0;
    while !is_done.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
        let done = progress.done.load(Ordering::Relaxed);
        let line = || {
            let requests: u64 = tally.counts().requests.values().sum();
            let failed = progress.failed.load(Ordering::Relaxed);
            let seconds = started.elapsed().as_secs();
            format!("{done} of {} scripts, {requests} answers, {failed} failed, {seconds} s", plan.scripts)
        };
        if is_terminal {
            // Nobody reads a line that can't be written.
            let _ = write!(stderr(), "\r\x1b[K  {}", line());
        } else if done * LINES / plan.scripts.max(1) > told {
            told = done * LINES / plan.scripts.max(1);
            let _ = writeln!(stderr(), "  {}", line());
        }
    }
    if is_terminal {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

/// A failure, and the command that repeats it.
pub(crate) fn failure(failure: &Failure, seed: u64) -> String {
    let Failure { number, script, finding, is_repeatable } = failure;
    let once =
        if *is_repeatable { "" } else { "\n  It was so once; the same script played again showed nothing." };
    format!(
        "FAILED: script {number} of seed {seed}: {} differs, {}\n{script}  {}{once}\n  again: cargo xtask differential --seed {seed} --first {number} --scripts 1\n",
        finding.target, finding.kind, finding.text
    )
}

/// Everything that was counted.
pub(crate) fn table(targets: &[Target], scripts: u64, counts: &Counts, failures: &[Failure]) -> String {
    let mut text =
        format!("{:<16}{:>10}{:>12}{:>12}{:>12}\n", "target", "scripts", "answers", "accepted", "different");
    for Target { name, .. } in targets {
        let answers = counts.requests.get(name).copied().unwrap_or_default();
        let accepted: u64 =
            counts.accepted.iter().filter(|((target, _), _)| target == name).map(|(_, count)| count).sum();
        let different = failures.iter().filter(|failure| failure.finding.target == *name).count();
        let _infallible = writeln!(text, "{name:<16}{scripts:>10}{answers:>12}{accepted:>12}{different:>12}");
    }
    if !counts.accepted.is_empty() {
        text.push_str("\naccepted differences\n");
    }
    for ((target, rule), count) in &counts.accepted {
        let _infallible = writeln!(text, "{target:<16}{count:>10}  {rule}");
    }
    text
}

/// The list of what is accepted, as `--rules` prints it.
pub(crate) fn rules() -> String {
    let mut text = String::new();
    let lists = [("one of ours", OURS), (NODE_NAME, NODE)];
    for (who, rule) in lists.into_iter().flat_map(|(who, rules)| rules.iter().map(move |rule| (who, rule))) {
        let Rule { name, theirs, ours, because, goes_on, .. } = rule;
        let after = if *goes_on { "" } else { "\n  after: set aside for the rest of the script" };
        let _infallible =
            writeln!(text, "{who}: {name}\n  it: {theirs}\n  we: {ours}\n  because: {because}{after}\n");
    }
    text
}
