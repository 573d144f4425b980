//! What the store's threads share, and how commits become durable.
//!
//! Commits queue; whoever leads takes all that wait, checks their versions, writes them as one frame, syncs it, applies
//! it and resolves the tickets. Meanwhile the next ones queue: group commit without a timer. Who waits for a ticket while
//! nobody leads does it on its own thread, which saves two changes of thread, if the disk is quick and its commit is
//! small and alone; otherwise the writer's thread leads, so that requests are answered meanwhile.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use headwater_protocol::{path::StreamName, stream::StreamHead};
use headwater_store::{Commit, Edit, GroupCommit, StoreError, StreamState, Ticket, TicketSender};

use crate::{
    commit_log::{CommitLog, SLOT_BYTES, Slot},
    head::HeadPrefix,
    memtable::Memtable,
    memtables::{Lookup, Memtables, Sealed},
    record::{self, Before},
    rocks::{self, Rocks},
};

/// A frame takes commits up to this size together; a single larger one is a frame of its own.
const FRAME_BYTES: usize = 4 << 20;
/// Who waits leads itself only with so many commits: a thread that waits for the disk answers nobody else...
const LEAD_COMMITS: usize = 1;
/// ...and with so many bytes...
const LEAD_BYTES: usize = 64 << 10;
/// ...and on a disk that syncs so quickly: a slow one must not hold up a thread that has other things to do.
const LEAD_SYNC: Duration = Duration::from_micros(500);

/// What the store's threads share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) rocks: Rocks,
    queue: Mutex<Queue>,
    /// Tells the writer's thread that it leads.
    handed_over: Condvar,
    log: Mutex<CommitLog>,
    memtables: RwLock<Memtables>,
    slots: Mutex<Slots>,
    /// Tells that there are free slots, or something to checkpoint, or an end.
    slots_changed: Condvar,
    pub(crate) incarnation_last: AtomicU64,
    /// How long a sync takes, about, in nanoseconds.
    sync_ns: AtomicU64,
    begun: Instant,
    committed_ms: AtomicU64,
    /// Deadlines in RocksDB that no stream has any more.
    pub(crate) stale_deadlines: Mutex<Vec<(u64, Box<str>)>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Commit, TicketSender)>,
    /// About how many bytes wait.
    bytes: usize,
    leader: Leader,
    /// Why nothing is written any more.
    stopped: Option<StoreError>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leader {
    #[default]
    Nobody,
    Waiter,
    Writer,
}

impl Queue {
    /// The commits of the next frame.
    fn take(&mut self) -> Vec<(Commit, TicketSender)> {
        if self.bytes <= FRAME_BYTES {
            self.bytes = 0;
            return mem::take(&mut self.waiting);
        }
        let mut bytes = 0;
        let sizes = self.waiting.iter().map(|(commit, _)| commit.edits.iter().map(edit_bytes).sum::<usize>());
        let taken = sizes
            .take_while(|size| {
                let fits = bytes == 0 || bytes + size <= FRAME_BYTES;
                bytes += if fits { *size } else { 0 };
                fits
            })
            .count();
        self.bytes -= bytes;
        let rest = self.waiting.split_off(taken);
        mem::replace(&mut self.waiting, rest)
    }
}

/// The slots that aren't in use, and the state of checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) free: Vec<Slot>,
    /// Why the last checkpoint failed.
    pub(crate) failure: Option<StoreError>,
    pub(crate) ending: bool,
}

/// What the store knows of a stream while it makes a frame.
#[derive(Clone, Copy, Debug, Default)]
struct Known<'a> {
    state: StreamState,
    /// Its head, if an earlier commit of the same frame has it.
    head: Option<&'a StreamHead>,
}

/// Why a round made no frame.
struct NoSlot;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic is a bug in this file; what was being changed is checked again wherever that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn new(
        rocks: Rocks,
        log: CommitLog,
        free: Vec<Slot>,
        memtables: Memtables,
        incarnation_last: u64,
    ) -> Self {
        Self {
            rocks,
            queue: Mutex::default(),
            handed_over: Condvar::new(),
            log: Mutex::new(log),
            memtables: RwLock::new(memtables),
            slots: Mutex::new(Slots { free, ..Slots::default() }),
            slots_changed: Condvar::new(),
            incarnation_last: AtomicU64::new(incarnation_last),
            sync_ns: AtomicU64::new(0),
            begun: Instant::now(),
            committed_ms: AtomicU64::new(0),
            stale_deadlines: Mutex::default(),
        }
    }

    pub(crate) fn memtables(&self) -> RwLockReadGuard<'_, Memtables> {
        self.memtables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memtables_mut(&self) -> RwLockWriteGuard<'_, Memtables> {
        self.memtables.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }

    /// Queues a commit.
    pub(crate) fn commit(self: &Arc<Self>, commit: Commit) -> Ticket {
        let mut queue = lock(&self.queue);
        if let Some(error) = &queue.stopped {
            return Ticket::ready(Err(error.clone()));
        }
        let (sender, ticket) = match queue.leader {
            Leader::Nobody => Ticket::pending_in(self.clone()),
            Leader::Waiter | Leader::Writer => Ticket::pending(),
        };
        queue.bytes += commit.edits.iter().map(edit_bytes).sum::<usize>();
        queue.waiting.push((commit, sender));
        ticket
    }

    fn hand_over(&self, queue: &mut Queue) {
        if queue.leader == Leader::Nobody && !queue.waiting.is_empty() {
            queue.leader = Leader::Writer;
            self.handed_over.notify_one();
        }
    }

    fn lead_once(&self, batch: Vec<(Commit, TicketSender)>) {
        let (commits, senders): (Vec<Commit>, Vec<TicketSender>) = batch.into_iter().unzip();
        let results = loop {
            match self.round(&commits, &mut lock(&self.log)) {
                Ok(results) => break results,
                Err(NoSlot) => {
                    if let Err(error) = self.wait_for_slot() {
                        break vec![Err(error); commits.len()];
                    }
                }
            }
        };
        for (sender, result) in senders.into_iter().zip(results) {
            sender.resolve(result);
        }
    }

    /// The writer's thread: leads whenever it is told to, until [`Engine::end`] and nothing waits any more.
    pub(crate) fn write_forever(&self) {
        while let Some(batch) = self.next_batch() {
            self.lead_once(batch);
        }
    }

    fn next_batch(&self) -> Option<Vec<(Commit, TicketSender)>> {
        let mut queue = lock(&self.queue);
        if queue.leader == Leader::Writer && queue.waiting.is_empty() {
            queue.leader = Leader::Nobody;
        }
        while queue.leader != Leader::Writer || queue.waiting.is_empty() {
            if self.slots().ending && queue.waiting.is_empty() {
                return None;
            }
            queue = self.handed_over.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(queue.take())
    }

    /// One frame: checked, written, synced, applied. A result for each commit.
    fn round(&self, commits: &[Commit], log: &mut CommitLog) -> Result<Vec<Result<(), StoreError>>, NoSlot> {
        let mut known = HashMap::with_capacity(commits.len());
        let mut before = Vec::with_capacity(commits.len());
        let mut results: Vec<_> =
            commits.iter().map(|commit| self.check(commit, &mut known, &mut before)).collect();
        loop {
            self.encode(commits, &results, &before, log.begin());
            if log.payload().is_empty() {
                return Ok(results);
            }
            if log.fits(log.payload().len()) && !self.memtables().active.is_full() {
                break;
            }
            // Records count on earlier ones in the same slot: in the next one they are others.
            self.rotate(log)?;
        }
        let written = self.append(log);
        if let Err(error) = written {
            results
                .iter_mut()
                .filter(|result| result.is_ok())
                .for_each(|result| *result = Err(error.clone()));
        }
        Ok(results)
    }

    fn append(&self, log: &mut CommitLog) -> Result<(), StoreError> {
        let begun = Instant::now();
        let appended = log.append();
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let before = self.sync_ns.load(Ordering::Relaxed);
        self.sync_ns.store(before - before / 8 + took / 8, Ordering::Relaxed);
        match appended {
            Ok(()) => {
                let mut memtables = self.memtables_mut();
                if memtables.active.apply(log.payload()).is_err() {
                    // Unreachable: this is what was encoded just now.
                    return Err(self.stop("a frame that was just written makes no sense"));
                }
                self.incarnation_last.fetch_max(memtables.active.incarnation_last, Ordering::Relaxed);
                drop(memtables);
                let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.committed_ms.store(now_ms, Ordering::Relaxed);
                Ok(())
            }
            Err(StoreError::Failed(cause)) => Err(self.stop(&cause.to_string())),
            Err(error) => Err(error),
        }
    }

    /// From now on nothing is written: what the disk holds is known again only after a restart.
    fn stop(&self, what: &str) -> StoreError {
        tracing::error!(what, "the disk failed; nothing is written any more, restart to recover");
        let error = StoreError::failed(format!("nothing is written any more: {what}"));
        lock(&self.queue).stopped = Some(error.clone());
        error
    }

    /// Checks one commit against the streams as they will be after the ones before, and adds what its edits find.
    fn check<'a>(
        &self,
        commit: &'a Commit,
        known: &mut HashMap<&'a StreamName, Known<'a>>,
        before: &mut Vec<Known<'a>>,
    ) -> Result<(), StoreError> {
        let mut after: Vec<(&StreamName, Known<'_>)> = Vec::with_capacity(commit.edits.len());
        let begin = before.len();
        for edit in &commit.edits {
            let Some(name) = edit.stream() else {
                before.push(Known::default());
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
            after.push((name, Known { state, head }));
        }
        known.extend(after);
        Ok(())
    }

    fn look_up(&self, name: &StreamName) -> Result<Known<'static>, StoreError> {
        let state = self.head_prefix(name.as_str())?.map_or(StreamState::default(), HeadPrefix::state);
        Ok(Known { state, head: None })
    }

    /// What the store itself needs of a head.
    pub(crate) fn head_prefix(&self, name: &str) -> Result<Option<HeadPrefix>, StoreError> {
        let recalled = self.memtables().head(name, HeadPrefix::of);
        match recalled {
            Lookup::Found(summary) => Ok(Some(summary)),
            Lookup::Deleted => Ok(None),
            Lookup::Absent => rocks::head_prefix(&self.rocks, name),
        }
    }

    /// Encodes the commits that were found right, with what was known before each of their edits.
    fn encode(
        &self,
        commits: &[Commit],
        results: &[Result<(), StoreError>],
        before: &[Known<'_>],
        out: &mut Vec<u8>,
    ) {
        let memtables = self.memtables();
        let mut scratch = Vec::new();
        let right = commits.iter().zip(results).filter(|(_, result)| result.is_ok());
        for (edit, known) in right.flat_map(|(commit, _)| &commit.edits).zip(before) {
            let head = match edit {
                Edit::Put { name, .. } => {
                    known.head.or_else(|| memtables.active.head(name.as_str()).flatten())
                }
                Edit::Remove { .. } | Edit::Document { .. } => None,
            };
            record::encode(edit, Before { incarnation: known.state.incarnation, head }, out, &mut scratch);
        }
    }

    /// Goes on in a free slot; what was written so far is on its way to RocksDB.
    fn rotate(&self, log: &mut CommitLog) -> Result<(), NoSlot> {
        let slot = self.slots().free.pop().ok_or(NoSlot)?;
        let through = log.through();
        let slots = vec![log.rotate(slot)];
        let mut memtables = self.memtables_mut();
        let sealed = Arc::new(mem::take(&mut memtables.active));
        memtables.sealed.push_back(Sealed { memtable: sealed, through, slots });
        drop(memtables);
        // With the lock: the checkpointer either waits already or will see it.
        let _slots = self.slots();
        self.slots_changed.notify_all();
        Ok(())
    }

    /// Whether a frame that doesn't fit in its slot finds another one.
    fn has_slot(&self) -> bool {
        !self.slots().free.is_empty()
    }

    fn wait_for_slot(&self) -> Result<(), StoreError> {
        let mut slots = self.slots();
        while slots.free.is_empty() {
            if let Some(failure) = &slots.failure {
                return Err(failure.clone());
            }
            slots = self.slots_changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Seals what was committed if nothing more came for so long.
    pub(crate) fn seal_if_idle(&self, idle: Duration) {
        let committed = Duration::from_millis(self.committed_ms.load(Ordering::Relaxed));
        if self.begun.elapsed().saturating_sub(committed) < idle || self.memtables().active.is_empty() {
            return;
        }
        self.seal();
    }

    /// Seals what was committed, if there is a slot to go on in.
    pub(crate) fn seal(&self) {
        let mut log = lock(&self.log);
        if !log.is_empty() {
            let _ = self.rotate(&mut log);
        }
    }

    /// The oldest memtable that isn't in RocksDB, its last frame, and about how many bytes it takes.
    pub(crate) fn oldest_sealed(&self) -> Option<(Arc<Memtable>, u64, u64)> {
        self.memtables().sealed.front().map(|sealed| {
            let bytes = sealed.slots.iter().map(|slot| slot.bytes().unwrap_or(SLOT_BYTES)).sum();
            (sealed.memtable.clone(), sealed.through, bytes)
        })
    }

    /// RocksDB has the oldest memtable: its slots are free.
    pub(crate) fn release_oldest(&self) {
        let Some(sealed) = self.memtables_mut().sealed.pop_front() else { return };
        for slot in &sealed.slots {
            if let Err(error) = slot.shrink() {
                tracing::warn!(%error, slot = %slot.path().display(), "a slot stays longer than it need be");
            }
        }
        let mut slots = self.slots();
        slots.free.extend(sealed.slots);
        slots.failure = None;
        drop(slots);
        self.slots_changed.notify_all();
    }

    /// Tells whoever waits for a slot that there won't be one soon.
    pub(crate) fn checkpoint_failed(&self, error: StoreError) {
        self.slots().failure = Some(error);
        self.slots_changed.notify_all();
    }

    /// Waits for something to checkpoint, at most so long. `false`: the end.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let slots = self.slots();
        if slots.ending || !self.memtables().sealed.is_empty() {
            return !slots.ending;
        }
        self.wait_for_change(slots, at_most)
    }

    /// Waits for so long, or less if something changes. `false`: the end.
    pub(crate) fn pause(&self, at_most: Duration) -> bool {
        let slots = self.slots();
        !slots.ending && self.wait_for_change(slots, at_most)
    }

    fn wait_for_change(&self, slots: MutexGuard<'_, Slots>, at_most: Duration) -> bool {
        let waited = self.slots_changed.wait_timeout(slots, at_most);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }

    /// Lets both threads come to an end.
    pub(crate) fn end(&self) {
        self.slots().ending = true;
        self.slots_changed.notify_all();
        // With the queue's lock: the writer either waits already or will see it.
        let _queue = lock(&self.queue);
        self.handed_over.notify_all();
    }
}

impl GroupCommit for Engine {
    fn commit_inline(&self) {
        let mut queue = lock(&self.queue);
        let is_quick = u128::from(self.sync_ns.load(Ordering::Relaxed)) < LEAD_SYNC.as_nanos();
        let is_small = queue.waiting.len() <= LEAD_COMMITS && queue.bytes <= LEAD_BYTES;
        if queue.leader != Leader::Nobody || !is_quick || !is_small || !self.has_slot() {
            return self.hand_over(&mut queue);
        }
        if queue.waiting.is_empty() {
            return;
        }
        queue.leader = Leader::Waiter;
        let batch = queue.take();
        drop(queue);
        self.lead_once(batch);
        let mut queue = lock(&self.queue);
        queue.leader = Leader::Nobody;
        self.hand_over(&mut queue);
    }

    fn hand_off(&self) {
        self.hand_over(&mut lock(&self.queue));
    }
}

/// About how many bytes an edit takes.
fn edit_bytes(edit: &Edit) -> usize {
    const REST: usize = 128;
    REST + match edit {
        Edit::Put { change, .. } => change.bytes.len(),
        Edit::Remove { .. } => 0,
        Edit::Document { value, .. } => value.as_ref().map_or(0, bytes::Bytes::len),
    }
}
