//! One batch of commits on its way to the disk: checked, encoded as one frame, synced, applied to the memtable.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use headwater_protocol::path::StreamName;
use headwater_store::{Commit, Edit, GroupCommit, StoreError, StreamState};

use crate::{
    commit_log::{AppendError, CommitLog},
    engine::{Engine, lock},
    head::HeadPrefix,
    memtables::Sealed,
    queue::Batch,
    record::{self, Before},
};

/// The slowest sync that a request waits for on its thread.
const INLINE_SYNC: Duration = Duration::from_micros(500);

/// The reason why a batch made no frame.
struct NoSlot;

type Results = Vec<Result<(), StoreError>>;

/// The writer's thread: leads whenever commits are handed off to it, until the store ends and nothing waits any more.
pub(crate) fn run(engine: &Engine) {
    while let Some(batch) = engine.queue.next_batch() {
        engine.lead(batch);
    }
}

impl GroupCommit for Engine {
    fn commit_inline(&self) {
        let may_lead = || {
            let sync = Duration::from_nanos(self.sync_ns.load(Ordering::Relaxed));
            sync < INLINE_SYNC && self.slots.has_free()
        };
        if let Some(batch) = self.queue.begin_inline(may_lead) {
            // It doesn't panic: the lead always ends.
            self.lead(batch);
            self.queue.end_inline();
        }
    }

    fn hand_off(&self) {
        self.queue.hand_off();
    }
}

impl Engine {
    /// Makes a batch durable, as the leader, and resolves its tickets. A panic on the way stops the store.
    pub(crate) fn lead(&self, Batch { commits, senders }: Batch) {
        let led = self.run(|engine| {
            let results = engine.commit_batch(&commits);
            assert_eq!(results.len(), senders.len(), "each ticket has a result");
            results
        });
        // It may have panicked before the disk had the frame, or after that.
        let results = led.unwrap_or_else(|error| vec![Err(StoreError::in_doubt(error)); senders.len()]);
        for (sender, result) in senders.into_iter().zip(results) {
            sender.resolve(result);
        }
    }

    fn commit_batch(&self, commits: &[Commit]) -> Results {
        loop {
            // The log is free while this waits for a slot.
            let written = self.write_frame(commits, &mut lock(&self.log));
            match written {
                Ok(results) => return results,
                Err(NoSlot) => {
                    if let Err(error) = self.slots.wait_for_free() {
                        return vec![Err(error); commits.len()];
                    }
                }
            }
        }
    }

    /// Makes one frame of the commits that are right: checked, written, synced, applied. Returns a result for each
    /// commit.
    fn write_frame(&self, commits: &[Commit], log: &mut CommitLog) -> Result<Results, NoSlot> {
        let mut known = HashMap::with_capacity(commits.len());
        let mut before = Vec::with_capacity(commits.len());
        let mut results: Results =
            commits.iter().map(|commit| self.check(commit, &mut known, &mut before)).collect();
        if before.is_empty() {
            // No commit that is right has an edit.
            return Ok(results);
        }
        loop {
            self.encode(commits, &results, &before, log.begin());
            assert!(!log.payload().is_empty(), "an edit has a record of at least a byte");
            if log.fits(log.payload().len()) && !self.memtables().active.is_full() {
                break;
            }
            // Records rely on earlier ones in the same slot: in the next one they are others.
            self.rotate(log)?;
        }
        if let Err(error) = self.append(log) {
            let accepted = results.iter_mut().filter(|result| result.is_ok());
            accepted.for_each(|result| *result = Err(error.clone()));
        }
        Ok(results)
    }

    /// Checks one commit against the streams as they are after the ones before, and adds the state before each edit.
    fn check<'a>(
        &self,
        commit: &'a Commit,
        known: &mut HashMap<&'a StreamName, Before<'a>>,
        before: &mut Vec<Before<'a>>,
    ) -> Result<(), StoreError> {
        let mut after: Vec<(&StreamName, Before<'_>)> = Vec::with_capacity(commit.edits.len());
        let begin = before.len();
        for edit in &commit.edits {
            let Some(name) = edit.stream() else {
                before.push(Before::default());
                continue;
            };
            let here = after.iter().rev().find(|(other, _)| *other == name).map(|(_, found)| *found);
            let found = match here.or_else(|| known.get(name).copied()) {
                Some(found) => Ok(found),
                None => self.look_up(name),
            };
            let checked = found.and_then(|found| Ok((found, edit.check(found.state)?)));
            let (found, state) = match checked {
                Ok(checked) => checked,
                Err(error) => {
                    before.truncate(begin);
                    return Err(error);
                }
            };
            before.push(found);
            let head = match edit {
                Edit::Put { change, .. } => Some(&change.head),
                Edit::Remove { .. } | Edit::Document { .. } => None,
            };
            after.push((name, Before { state, head }));
        }
        known.extend(after);
        Ok(())
    }

    fn look_up(&self, name: &StreamName) -> Result<Before<'static>, StoreError> {
        let state = self.head_prefix(name.as_str())?.map_or(StreamState::default(), HeadPrefix::state);
        Ok(Before { state, head: None })
    }

    /// Encodes the edits of the commits that were found right, given the state before each.
    #[expect(clippy::expect_used, reason = "a wrong count of edits must not be acknowledged")]
    fn encode(
        &self,
        commits: &[Commit],
        results: &[Result<(), StoreError>],
        before: &[Before<'_>],
        out: &mut Vec<u8>,
    ) {
        assert_eq!(commits.len(), results.len(), "each commit has a result");
        let memtables = self.memtables();
        let mut scratch = Vec::new();
        let mut before = before.iter();
        let accepted = commits.iter().zip(results).filter(|(_, result)| result.is_ok());
        for edit in accepted.flat_map(|(commit, _)| &commit.edits) {
            let Before { state, head } = *before.next().expect("`check` added the state before each edit");
            let head = match edit {
                Edit::Put { name, .. } => head.or_else(|| memtables.active.head(name.as_str()).found()),
                Edit::Remove { .. } | Edit::Document { .. } => None,
            };
            record::encode(edit, Before { state, head }, out, &mut scratch);
        }
        assert!(before.next().is_none(), "`check` added states of accepted edits only");
    }

    /// Writes the frame that was begun, waits until the disk has it, and applies it to the memtable.
    #[expect(
        clippy::expect_used,
        reason = "the frame is durable: if it can't be applied nobody may write after it"
    )]
    fn append(&self, log: &mut CommitLog) -> Result<(), StoreError> {
        let started = Instant::now();
        let appended = log.append();
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let before = self.sync_ns.load(Ordering::Relaxed);
        self.sync_ns.store(before - before / 8 + took / 8, Ordering::Relaxed);
        match appended {
            Ok(()) => {}
            Err(AppendError::Full) => return Err(StoreError::Full),
            Err(AppendError::Unknown(error)) => return Err(StoreError::in_doubt(self.stop(Arc::new(error)))),
        }
        let mut memtables = self.memtables_mut();
        memtables.active.apply(log.payload()).expect("the frame was encoded by `encode`");
        self.incarnation_last.fetch_max(memtables.active.incarnation_last, Ordering::Relaxed);
        drop(memtables);
        self.committed_ms.store(self.elapsed_ms(), Ordering::Relaxed);
        Ok(())
    }

    /// Seals the active memtable, which the checkpointer then writes to RocksDB, and continues in a free slot.
    fn rotate(&self, log: &mut CommitLog) -> Result<(), NoSlot> {
        let slot = self.slots.take().ok_or(NoSlot)?;
        let through = log.through();
        let slots = vec![log.rotate(slot)];
        let mut memtables = self.memtables_mut();
        let memtable = Arc::new(mem::take(&mut memtables.active));
        memtables.sealed.push_back(Sealed { memtable, through, slots });
        drop(memtables);
        self.slots.wake_checkpointer();
        Ok(())
    }

    /// Seals the active memtable if there is a slot to continue in. Does nothing once the store has stopped: then the
    /// memtable may hold a part of a frame.
    pub(crate) fn seal(&self) {
        let mut log = lock(&self.log);
        if !log.is_empty() && !self.queue.is_stopped() {
            let _ = self.rotate(&mut log);
        }
    }
}
