//! The queue of commits, and which thread leads.
//!
//! This is leader/follower group commit, as in RocksDB and MySQL: the leader takes all queued commits, makes them durable
//! with one sync and resolves their tickets; meanwhile the next ones queue. The writer's thread leads unless nobody does
//! and a waiting request finds a fast disk and a small commit alone in the queue: then the request leads on its own
//! thread, which saves two changes of thread.

use std::{
    mem,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use headwater_store::{Commit, Edit, GroupCommit, StoreError, Ticket, TicketSender};

use super::sync::{Condvar, Mutex, lock};

/// The size up to which commits share a frame; a single larger one has a frame of its own.
const FRAME_BYTES: usize = 4 << 20;
/// The most commits that a request leads: a thread that waits for the disk serves nobody else.
const INLINE_COMMITS: usize = 1;
/// The most bytes that a request leads.
const INLINE_BYTES: usize = 64 << 10;

/// The commits that wait for the next frame.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Notified when the writer's thread becomes the leader, and at the end.
    handed_off: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    /// About how many bytes wait.
    bytes: usize,
    leader: Leader,
    /// Why no commit is taken any more. Nothing waits then.
    stopped: Option<StoreError>,
    ending: bool,
}

/// Commits that are made durable together, and the sender of each one's ticket.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) commits: Vec<Commit>,
    pub(crate) senders: Vec<TicketSender>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leader {
    #[default]
    Nobody,
    Request,
    Writer,
}

impl Queue {
    /// Queues a commit of a group.
    pub(crate) fn push(&self, commit: Commit, group: &Arc<impl GroupCommit + 'static>) -> Ticket {
        let mut state = lock(&self.state);
        if let Some(error) = &state.stopped {
            return Ticket::ready(Err(error.clone()));
        }
        let (sender, ticket) = match state.leader {
            Leader::Nobody => Ticket::pending_in(group.clone()),
            Leader::Request | Leader::Writer => Ticket::pending(),
        };
        state.bytes += commit_bytes(&commit);
        state.waiting.commits.push(commit);
        state.waiting.senders.push(sender);
        ticket
    }

    /// Makes the calling request the leader of all that waits, until [`Queue::end_inline`]. If somebody leads, if that is
    /// too much or `may_lead` denies it, it is handed off instead.
    pub(crate) fn begin_inline(&self, may_lead: impl FnOnce() -> bool) -> Option<Batch> {
        let mut state = lock(&self.state);
        let is_small = state.waiting.commits.len() <= INLINE_COMMITS && state.bytes <= INLINE_BYTES;
        if state.leader != Leader::Nobody || !is_small || !may_lead() {
            self.hand_off_in(&mut state);
            return None;
        }
        if state.waiting.commits.is_empty() {
            return None;
        }
        state.leader = Leader::Request;
        Some(state.take())
    }

    /// Ends the lead of a request. What has come meanwhile is handed off.
    pub(crate) fn end_inline(&self) {
        let mut state = lock(&self.state);
        state.leader = Leader::Nobody;
        self.hand_off_in(&mut state);
    }

    /// Makes the writer's thread the leader of all that waits, unless somebody leads.
    pub(crate) fn hand_off(&self) {
        self.hand_off_in(&mut lock(&self.state));
    }

    fn hand_off_in(&self, state: &mut State) {
        if state.leader == Leader::Nobody && !state.waiting.commits.is_empty() {
            state.leader = Leader::Writer;
            self.handed_off.notify_one();
        }
    }

    /// Waits, as the writer's thread, for commits to lead. `None` when the store ends and nothing waits.
    pub(crate) fn next_batch(&self) -> Option<Batch> {
        let mut state = lock(&self.state);
        if state.leader == Leader::Writer && state.waiting.commits.is_empty() {
            state.leader = Leader::Nobody;
        }
        while state.leader != Leader::Writer || state.waiting.commits.is_empty() {
            if state.ending && state.waiting.commits.is_empty() {
                return None;
            }
            state = self.handed_off.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.take())
    }

    /// Fails all that waits and refuses what comes. Returns the error of the first call.
    pub(crate) fn stop(&self, error: StoreError) -> StoreError {
        let mut state = lock(&self.state);
        let error = state.stopped.get_or_insert(error).clone();
        state.bytes = 0;
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        for sender in waiting.senders {
            sender.resolve(Err(error.clone()));
        }
        error
    }

    /// Returns whether [`Queue::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped.is_some()
    }

    /// Returns the error of the first call of [`Queue::stop`].
    pub(crate) fn stopped(&self) -> Option<StoreError> {
        lock(&self.state).stopped.clone()
    }

    /// Lets the writer's thread end after what waits.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ending = true;
        // Nobody may be polling the tickets of what waits.
        self.hand_off_in(&mut state);
        self.handed_off.notify_all();
    }
}

impl State {
    /// Takes the commits of the next frame.
    fn take(&mut self) -> Batch {
        if self.bytes <= FRAME_BYTES {
            self.bytes = 0;
            return mem::take(&mut self.waiting);
        }
        let mut bytes = 0;
        let sizes = self.waiting.commits.iter().map(commit_bytes);
        let fitting = sizes.take_while(|size| {
            let fits = bytes == 0 || bytes + size <= FRAME_BYTES;
            bytes += if fits { *size } else { 0 };
            fits
        });
        let taken = fitting.count();
        self.bytes -= bytes;
        let Batch { commits, senders } = &mut self.waiting;
        let rest = Batch { commits: commits.split_off(taken), senders: senders.split_off(taken) };
        mem::replace(&mut self.waiting, rest)
    }
}

/// Estimates how many bytes a commit takes in a frame.
fn commit_bytes(commit: &Commit) -> usize {
    const REST: usize = 128;
    let edit_bytes = |edit: &Edit| match edit {
        Edit::Put { change, .. } => REST + change.bytes.len(),
        Edit::Remove { .. } => REST,
        Edit::Document { value, .. } => REST + value.as_ref().map_or(0, Bytes::len),
    };
    commit.edits.iter().map(edit_bytes).sum()
}
