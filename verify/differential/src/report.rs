//! The output of a run: a progress line, each failure with the command that repeats it, and a table.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use headwater_testkit::table;

use crate::client::Target;
use crate::node_rules::NODE;
use crate::play::NODE as NODE_NAME;
use crate::rules::{OURS, Rule};
use crate::search::{Failure, Plan, Progress};
use crate::tally::{Counts, Tally};

/// The interval between updates of the line on a terminal.
const PAUSE: Duration = Duration::from_millis(200);

/// The number of progress lines where a line can't be updated.
const LINES: u64 = 10;

/// Runs `work` while a line shows its progress.
pub(crate) fn with_progress<T>(
    plan: Plan,
    progress: &Progress,
    tally: &Tally,
    work: impl FnOnce() -> T,
) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| show(plan, progress, tally, &is_done));
        let outcome = work();
        is_done.store(true, Ordering::Relaxed);
        outcome
    })
}

fn show(plan: Plan, progress: &Progress, tally: &Tally, is_done: &AtomicBool) {
    let started = Instant::now();
    let is_terminal = stderr().is_terminal();
    let mut lines = 0;
    while !is_done.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
        let done = progress.done.load(Ordering::Relaxed);
        let line = || {
            let requests: u64 = tally.counts().requests.values().sum();
            let failed = progress.failed.load(Ordering::Relaxed);
            let seconds = started.elapsed().as_secs();
            format!("{done} of {} scripts, {requests} responses, {failed} failed, {seconds} s", plan.scripts)
        };
        if is_terminal {
            // Nobody reads a line that can't be written.
            let _ = write!(stderr(), "\r\x1b[K  {}", line());
        } else if done * LINES / plan.scripts.max(1) > lines {
            lines = done * LINES / plan.scripts.max(1);
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
    let once = if *is_repeatable {
        ""
    } else {
        "\n  It happened once; the same script played again showed no difference."
    };
    format!(
        "FAILED: script {number} of seed {seed}: {} differs, {}\n{script}  {}{once}\n  again: cargo xtask differential --seed {seed} --first {number} --scripts 1\n",
        finding.target, finding.kind, finding.text
    )
}

/// Renders the counters.
pub(crate) fn table(targets: &[Target], scripts: u64, counts: &Counts, failures: &[Failure]) -> String {
    let row = |target: &Target| {
        let name = &target.name;
        let of_target = counts.accepted.iter().filter(|((target, _), _)| target == name);
        let responses = counts.requests.get(name).copied().unwrap_or_default();
        let accepted: u64 = of_target.map(|(_, count)| count).sum();
        let different = failures.iter().filter(|failure| failure.finding.target == *name).count();
        [
            name.clone(),
            scripts.to_string(),
            responses.to_string(),
            accepted.to_string(),
            different.to_string(),
        ]
        .to_vec()
    };
    let rows: Vec<_> = targets.iter().map(row).collect();
    let mut text = table::render(&["target", "scripts", "responses", "accepted", "different"], &rows);
    if !counts.accepted.is_empty() {
        let accepted = counts.accepted.iter();
        let rows = accepted
            .map(|((target, rule), count)| vec![target.clone(), count.to_string(), (*rule).to_owned()]);
        text.push('\n');
        text.push_str(&table::render(&["target", "times", "accepted difference"], &rows.collect::<Vec<_>>()));
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
