//! The way of every change: open one or two streams, lock their writers, decide, commit, and begin again if something
//! that the decision was based on has failed.

use std::sync::Arc;

use headwater_protocol::{Refusal, path::StreamName, stream::StreamHead};
use headwater_store::Edit;
use tokio::sync::MutexGuard;

use crate::{
    commit::{Alteration, Outcome, Part, Pending},
    open_stream::{OpenStream, Writer},
    writes::Writes,
};

/// A change that is decided while its streams are locked.
pub(crate) trait Transaction: Sync {
    /// The value that the change results in.
    type Value: Send;

    /// Returns edits of documents that are committed together with the change.
    fn edits(&self) -> Vec<Edit> {
        Vec::new()
    }

    /// Decides. It is called again, on the streams as they are then, if a commit that the decision was based on has
    /// failed.
    fn decide(
        &self,
        writes: &Writes,
        locked: &mut Locked<'_>,
    ) -> impl Future<Output = Result<Decision<Self::Value>, Refusal>> + Send;
}

/// The outcome of a decision.
#[expect(clippy::large_enum_variant, reason = "it is matched where it is made")]
pub(crate) enum Decision<T> {
    /// Commits an alteration of the stream, and a state of the other one if it changes too. The value is returned when
    /// that is durable.
    Commit(Alteration, Option<StreamHead>, T),
    /// Changes nothing. The value is returned when everything that the decision was based on is durable.
    Keep(T),
}

/// A stream whose writer is locked, and another one that is affected.
pub(crate) struct Locked<'a> {
    pub(crate) stream: LockedStream<'a>,
    pub(crate) other: Option<LockedStream<'a>>,
}

/// A stream whose writer is locked.
pub(crate) struct LockedStream<'a> {
    pub(crate) stream: &'a Arc<OpenStream>,
    pub(crate) writer: MutexGuard<'a, Writer>,
}

impl Writes {
    /// Changes a stream, and possibly another one with it. A refusal is final only when everything that it was based on
    /// is durable.
    pub(crate) async fn transact<T: Transaction>(
        self: &Arc<Self>,
        name: &StreamName,
        other: Option<&StreamName>,
        transaction: T,
    ) -> Result<T::Value, Refusal> {
        loop {
            let stream = self.streams.open(name).await?;
            let other = match other {
                Some(other) => Some(self.streams.open(other).await?),
                None => None,
            };
            let mut locked = Locked::lock(&stream, other.as_ref()).await;
            if locked.streams().any(|locked| locked.stream.is_abandoned()) {
                continue;
            }
            let kept = match transaction.decide(self, &mut locked).await {
                Ok(Decision::Commit(alteration, other, value)) => {
                    let pending = locked.commit(self, alteration, other, transaction.edits());
                    match pending.durable().await? {
                        Outcome::Durable => return Ok(value),
                        Outcome::DecideAgain => continue,
                    }
                }
                Ok(Decision::Keep(value)) => Ok(value),
                Err(refusal) => Err(refusal),
            };
            if locked.wait_durable().await {
                return kept.map_err(|refusal| self.streams.forget(stream, refusal));
            }
        }
    }
}

impl<'a> Locked<'a> {
    /// Locks the writers of one or two streams, always in the order of their names, so that transactions can't wait for
    /// each other.
    async fn lock(stream: &'a Arc<OpenStream>, other: Option<&'a Arc<OpenStream>>) -> Self {
        match other {
            Some(other) if other.name < stream.name => {
                let other = LockedStream::lock(other).await;
                Self { stream: LockedStream::lock(stream).await, other: Some(other) }
            }
            Some(other) => {
                let stream = LockedStream::lock(stream).await;
                Self { stream, other: Some(LockedStream::lock(other).await) }
            }
            None => Self { stream: LockedStream::lock(stream).await, other: None },
        }
    }

    fn streams(&self) -> impl Iterator<Item = &LockedStream<'a>> {
        std::iter::once(&self.stream).chain(&self.other)
    }

    /// Queues the commit, then unlocks.
    fn commit(
        mut self,
        writes: &Arc<Writes>,
        alteration: Alteration,
        other: Option<StreamHead>,
        edits: Vec<Edit>,
    ) -> Pending {
        let other = self.other.as_mut().zip(other).map(|(locked, head)| locked.part(Alteration::state(head)));
        writes.commit(std::iter::once(self.stream.part(alteration)).chain(other), edits)
    }

    /// Unlocks and waits until all queued commits are durable; `false` if one has failed.
    async fn wait_durable(self) -> bool {
        let Self { stream, other } = self;
        let (stream, other) = (stream.unlock(), other.map(LockedStream::unlock));
        for (stream, queued) in std::iter::once(stream).chain(other) {
            if !stream.wait_durable(queued).await {
                return false;
            }
        }
        true
    }
}

impl<'a> LockedStream<'a> {
    async fn lock(stream: &'a Arc<OpenStream>) -> Self {
        Self { stream, writer: stream.lock().await }
    }

    fn unlock(self) -> (&'a Arc<OpenStream>, u64) {
        (self.stream, self.writer.queued)
    }

    fn part(&mut self, alteration: Alteration) -> Part<'_> {
        (self.stream, &mut self.writer, alteration)
    }

    /// Returns the head after all queued commits, with the deadline as use has moved it; `None` if there is no stream.
    pub(crate) fn head(&self) -> Option<Arc<StreamHead>> {
        self.writer.head.clone().map(|head| self.stream.current(head))
    }

    /// Waits until all queued commits are durable; `false` if one has failed.
    pub(crate) async fn wait_durable(&self) -> bool {
        self.stream.wait_durable(self.writer.queued).await
    }
}
