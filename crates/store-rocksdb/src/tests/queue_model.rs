//! The queue of commits in every order that its threads can run in, as far as `loom` tries them: each commit is led once,
//! by one leader at a time, and nobody who waits for one waits for ever.

use std::sync::{Arc, Mutex as StdMutex, atomic::AtomicBool};

use headwater_store::GroupCommit;
use loom::{future::block_on, model::Builder, thread};

use super::*;

/// The locks that `loom` knows.
mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

#[path = "../queue.rs"]
#[expect(clippy::duplicate_mod, reason = "with other locks")]
mod queue;

/// What the commits of a request became.
type Results = Vec<Result<(), StoreError>>;
/// What a thread does.
type Run = fn(&Arc<Model>) -> Results;

/// A store that only counts.
#[derive(Default)]
struct Model {
    queue: queue::Queue,
    may_lead: bool,
    /// Whether somebody leads; there never are two.
    leads: AtomicBool,
    /// The keys of the commits that were led.
    led: StdMutex<Vec<String>>,
    /// The number of commits after which the disk fails.
    fails_after: Option<usize>,
}

impl Model {
    fn lead(&self, batch: queue::Batch) {
        assert!(!self.leads.swap(true, Ordering::SeqCst), "there is a leader already");
        // Others may run meanwhile, here and between the results.
        thread::yield_now();
        for (commit, sender) in batch.commits.iter().zip(batch.senders) {
            let [Edit::Document { key, .. }] = &commit.edits[..] else { panic!("{commit:?}") };
            let mut led = self.led.lock().unwrap();
            if self.fails_after.is_some_and(|count| led.len() >= count) {
                drop(led);
                sender.resolve(Err(self.queue.stop(StoreError::failed("EIO"))));
            } else {
                led.push(key.to_string());
                drop(led);
                sender.resolve(Ok(()));
            }
            thread::yield_now();
        }
        assert!(self.leads.swap(false, Ordering::SeqCst));
    }

    fn push(self: &Arc<Self>, key: &str) -> Ticket {
        self.queue.push(one(Edit::Document { key: key.into(), value: None }), self)
    }
}

impl GroupCommit for Model {
    fn commit_inline(&self) {
        if let Some(batch) = self.queue.begin_inline(|| self.may_lead) {
            self.lead(batch);
            self.queue.end_inline();
        }
    }

    fn hand_off(&self) {
        self.queue.hand_off();
    }
}

/// Runs the writer's thread beside two requests, which leave their results, and ends the store after them.
fn play(make: fn() -> Model, requests: [Run; 2], check: fn(&Model, &Results)) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let model = Arc::new(make());
        let start = |run: Run| {
            let model = model.clone();
            thread::spawn(move || run(&model))
        };
        let writer = start(|model| {
            while let Some(batch) = model.queue.next_batch() {
                model.lead(batch);
            }
            Vec::new()
        });
        let requests = requests.map(start);
        let results: Results = requests.into_iter().flat_map(|request| request.join().unwrap()).collect();
        model.queue.end();
        writer.join().unwrap();
        check(&model, &results);
    });
}

fn all_are_led(model: &Model, results: &Results) {
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut led = model.led.lock().unwrap().clone();
    let in_order = led.iter().position(|key| key == "a1") < led.iter().position(|key| key == "a2");
    assert!(in_order, "{led:?}");
    led.sort();
    assert_eq!(led, ["a1", "a2", "b"]);
}

fn waits_for_both(model: &Arc<Model>) -> Results {
    let first = model.push("a1");
    let second = model.push("a2");
    vec![block_on(second), block_on(first)]
}

#[test]
fn commits_that_are_waited_for_end() {
    let waits = |model: &Arc<Model>| vec![block_on(model.push("b"))];
    play(|| Model { may_lead: true, ..Model::default() }, [waits_for_both, waits], all_are_led);
}

#[test]
fn commits_that_follow_each_other_end() {
    let waits_for_each = |model: &Arc<Model>| vec![block_on(model.push("a1")), block_on(model.push("a2"))];
    let waits = |model: &Arc<Model>| vec![block_on(model.push("b"))];
    play(|| Model { may_lead: true, ..Model::default() }, [waits_for_each, waits], all_are_led);
    play(Model::default, [waits_for_each, waits], all_are_led);
}

#[test]
fn commits_that_nobody_waits_for_end_too() {
    let forgets = |model: &Arc<Model>| {
        drop(model.push("b"));
        Vec::new()
    };
    play(|| Model { may_lead: true, ..Model::default() }, [waits_for_both, forgets], all_are_led);
}

#[test]
fn a_failure_reaches_everybody() {
    let waits = |model: &Arc<Model>| vec![block_on(model.push("b"))];
    let make = || Model { may_lead: true, fails_after: Some(1), ..Model::default() };
    play(make, [waits_for_both, waits], |model, results| {
        assert_eq!(results.len(), 3);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(model.led.lock().unwrap().len(), 1);
        assert!(model.queue.is_stopped() && model.queue.stopped().is_some());
    });
}
