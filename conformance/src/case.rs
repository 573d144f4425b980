//! A case: a sentence, the place its rule comes from, and the function that proves it.

use std::sync::Arc;

use headwater_testkit::panics;
use libtest_mimic::{Completion, Failed, Trial};

use crate::client::Target;

/// One case of the suite. It passes if `run` returns and fails if it panics.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The module that registers the case; its last segment is the subject.
    pub(crate) module: &'static str,
    /// The sentence, which is the name of the function.
    pub(crate) name: &'static str,
    /// The place where the rule is written down.
    pub(crate) source: &'static str,
    /// The proof.
    pub(crate) run: fn(&Target),
}

impl Case {
    /// The subject: the file in `cases/` that holds the case.
    pub(crate) fn subject(&self) -> &'static str {
        self.module.rsplit("::").next().unwrap_or(self.module)
    }

    /// The case as the harness runs it. With a reason to differ it must fail, and is then reported with the reason.
    pub(crate) fn into_trial(
        self,
        target_name: &str,
        target: &Arc<Target>,
        reason_to_differ: Option<String>,
    ) -> Trial {
        let target = Arc::clone(target);
        Trial::ignorable_test(format!("{target_name}::{}::{}", self.subject(), self.name), move || {
            match (panics::catch(|| (self.run)(&target)), reason_to_differ) {
                (Ok(()), None) => Ok(Completion::Completed),
                (Err(failure), None) => Err(Failed::from(format!("{failure}\nrule: {}", self.source))),
                (Err(_), Some(reason)) => Ok(Completion::ignored_with(format!("differs: {reason}"))),
                (Ok(()), Some(_)) => Err(Failed::from(
                    "it no longer differs: take it out of conformance/known_differences.toml",
                )),
            }
        })
    }
}

/// Registers the functions of a file: `name: "source",` for each, in the order of the file.
macro_rules! cases {
    ($($name:ident: $source:literal,)*) => {
        pub(super) const CASES: &[$crate::case::Case] = &[$($crate::case::Case {
            module: module_path!(),
            name: stringify!($name),
            source: $source,
            run: $name,
        }),*];
    };
}
pub(crate) use cases;

/// Runs `work(0)` to `work(count - 1)` at once, one thread each, and returns what they returned, in order.
pub(crate) fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    let outcomes: Vec<Result<T, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..count).map(|index| scope.spawn(move || panics::catch(|| work(index)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("every panic is caught")).collect()
    });
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

/// Runs `first` in a thread of its own while `second` runs here, and returns what both returned.
pub(crate) fn meanwhile<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| panics::catch(first));
        let there = second();
        let here = thread.join().expect("every panic is caught");
        (here.unwrap_or_else(|failure| panic!("{failure}")), there)
    })
}
