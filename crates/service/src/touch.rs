//! Uses of streams with a sliding deadline: each prolongs the stream in memory, and now and then in the store.

use std::sync::Arc;

use headwater_protocol::stream::StreamHead;
use tokio::sync::MutexGuard;

use crate::{
    commit::Alteration,
    open_stream::{OpenStream, Writer},
    writes::Writes,
};

impl Writes {
    /// Counts a use of a stream whose head is durable. The new deadline is committed in the background once it has moved
    /// far enough.
    pub(crate) fn touch(self: &Arc<Self>, stream: &Arc<OpenStream>, durable: &StreamHead, calendar_ms: u64) {
        if let Some(deadline_ms) = stream.touch(durable, calendar_ms)
            && let Some(writer) = stream.try_lock()
        {
            self.commit_touch(stream, writer, deadline_ms);
        }
    }

    /// Commits the deadline that use has moved to, if it did.
    pub(crate) async fn save_touch(self: &Arc<Self>, stream: &Arc<OpenStream>) {
        let writer = stream.lock().await;
        self.commit_touch(stream, writer, 0);
    }

    /// Commits the deadline that use has moved to, or a later one, if it isn't committed.
    fn commit_touch(
        self: &Arc<Self>,
        stream: &Arc<OpenStream>,
        mut writer: MutexGuard<'_, Writer>,
        at_least_ms: u64,
    ) {
        let Some(head) = writer.head.clone().filter(|_| !stream.is_abandoned()) else { return };
        let current = stream.current(head.clone());
        if current.deadline_ms == head.deadline_ms {
            return;
        }
        let version = head.version + 1;
        let mut head = (*current).clone();
        head.deadline_ms = head.deadline_ms.map(|deadline_ms| deadline_ms.max(at_least_ms));
        head.version = version;
        self.commit([(stream, &mut *writer, Alteration::state(head))], Vec::new()).detach();
    }
}
