//! Wake events: subscriptions append them to streams, each in one commit with the wake that it tells of.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use headwater_protocol::{
    Missing, Refusal, Unavailable, op::append::Append, path::StreamName, stream::Verdict,
};
use headwater_store::Edit;

use crate::{
    commit::Alteration,
    subscriptions::WakeEvents,
    transact::{Decision, Locked, Transaction},
    writes::Writes,
};

/// The append of a wake event, with edits of documents.
struct AppendingEvent {
    event: Bytes,
    edits: Vec<Edit>,
}

impl WakeEvents for Writes {
    fn append(
        self: Arc<Self>,
        stream: StreamName,
        event: Bytes,
        edits: Vec<Edit>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(async move { self.transact(&stream, None, AppendingEvent { event, edits }).await })
    }
}

impl Transaction for AppendingEvent {
    type Value = ();

    fn edits(&self) -> Vec<Edit> {
        self.edits.clone()
    }

    async fn decide(&self, writes: &Writes, locked: &mut Locked<'_>) -> Result<Decision<()>, Refusal> {
        let calendar_ms = writes.calendar.now_ms();
        let head = locked.stream.head().ok_or(Missing::NotFound)?;
        head.usable(calendar_ms)?;
        let append = Append::of_event(locked.stream.stream.name.clone(), head.content_type.clone());
        let payload = append.prepare(self.event.clone())?;
        match append.decide(Some(&head), None, payload, calendar_ms) {
            Verdict::Commit(change, _) => Ok(Decision::Commit(Alteration::Put(change), None, ())),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Repeat(_) => Err(Unavailable::StorageFailed.into()),
        }
    }
}
