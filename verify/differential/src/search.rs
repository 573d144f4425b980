//! Many scripts on a few workers, and the smallest script that shows what one of them found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::client::Target;
use crate::generate;
use crate::play::{Comparison, Finding, Stage};
use crate::script::Script;
use crate::tally::Tally;

/// The longest time to shrink a script that fails.
const SHRINKING: Duration = Duration::from_secs(20);

/// The scripts to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The first script's number: scripts are the same whatever stands before them.
    pub(crate) first: u64,
    pub(crate) scripts: u64,
    /// The number of scripts played at a time.
    pub(crate) workers: usize,
}

/// A script on which servers differ.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Its number.
    pub(crate) number: u64,
    /// The smallest that still shows the same.
    pub(crate) script: Script,
    pub(crate) finding: Finding,
    /// Whether the script fails each time.
    pub(crate) is_repeatable: bool,
}

/// The progress of the workers.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Plays what is planned, until it is done or so many scripts have failed.
pub(crate) fn search(
    plan: Plan,
    targets: &[Target],
    comparison: Comparison,
    failures_max: u64,
    progress: &Progress,
    tally: &Tally,
) -> Vec<Failure> {
    let next = AtomicU64::new(plan.first);
    let failures = Mutex::new(Vec::new());
    let names = Names::new(plan.seed);
    thread::scope(|scope| {
        for _ in 0..plan.workers {
            scope.spawn(|| {
                let mut stage = Stage::new(targets, comparison);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = progress.failed.load(Ordering::Relaxed) >= failures_max;
                    if number >= plan.first + plan.scripts || enough {
                        return;
                    }
                    if let Some(failure) = one(plan.seed, number, &mut stage, &names, tally) {
                        progress.failed.fetch_add(1, Ordering::Relaxed);
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                    }
                    progress.done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Plays the script of this number, and smaller ones if it fails.
fn one(seed: u64, number: u64, stage: &mut Stage<'_>, names: &Names, tally: &Tally) -> Option<Failure> {
    let mut tree = tree(seed, number);
    let script = tree.current();
    let finding = stage.play(&script, &names.fresh(), tally)?;
    let mut smallest = Failure { number, script, finding, is_repeatable: false };
    // What is played from here on is one script again and again; it would distort what is counted.
    let uncounted = Tally::default();
    let mut again = |script: &Script, like: &Finding| {
        let finding = stage.play(script, &names.fresh(), &uncounted)?;
        (finding.kind == like.kind && finding.target == like.target).then_some(finding)
    };
    if again(&smallest.script, &smallest.finding).is_none() {
        return Some(smallest);
    }
    smallest.is_repeatable = true;
    let deadline = Instant::now() + SHRINKING;
    let mut can_go_on = tree.simplify();
    while can_go_on && Instant::now() < deadline {
        let script = tree.current();
        can_go_on = match again(&script, &smallest.finding) {
            Some(finding) => {
                smallest = Failure { script, finding, ..smallest };
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    Some(smallest)
}

/// The script of this number, and how to make it smaller.
fn tree(seed: u64, number: u64) -> impl ValueTree<Value = Script> {
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().zip(seed.to_le_bytes().into_iter().chain(number.to_le_bytes())) {
        *place = byte;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    generate::script().new_tree(&mut runner).unwrap_or_else(|reason| panic!("no script: {reason}"))
}

/// The scripts of a plan, to be read.
pub(crate) fn printed(plan: Plan) -> String {
    let numbers = plan.first..plan.first + plan.scripts;
    numbers.map(|number| format!("script {number}\n{}\n", tree(plan.seed, number).current())).collect()
}

/// Names that no script had before, here or in an earlier run on the same servers.
struct Names {
    run: String,
    next: AtomicU64,
}

impl Names {
    fn new(seed: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { run: format!("{seed:x}-{:x}", now.as_millis()), next: AtomicU64::new(0) }
    }

    fn fresh(&self) -> String {
        format!("{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_a_function_of_seed_and_number() {
        let script = |seed, number| tree(seed, number).current().to_string();
        assert_eq!(script(1, 2), script(1, 2));
        assert_ne!(script(1, 2), script(1, 3));
        assert_ne!(script(1, 2), script(2, 2));
    }
}
