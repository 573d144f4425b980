//! The contract between the rules and whatever keeps the bytes.
//!
//! A store decides nothing. It loads what was committed, commits what was decided, atomically and in order, and
//! says when that is durable. The rules that every store keeps:
//!
//! 1. **All or nothing.** After a crash at any moment either all edits of a [`Commit`] are there or none.
//! 2. **Versions.** A commit whose edits expect another version than the stored one is refused
//!    ([`StoreError::Stale`]) and changes nothing. Absent streams have version 0.
//! 3. **Order.** Commits take effect in the order of the calls; the tickets of one stream resolve in that order.
//! 4. **Durability.** A ticket resolves with success only when a crash can't take the commit back any more. After a
//!    failure nothing of the commit will ever appear.
//! 5. **Reads are exact.** What [`Store::read`] gives is what was appended, byte for byte; bytes that can't be
//!    trusted are an error ([`StoreError::Damaged`]), never different or fewer bytes. So is a range that begins outside
//!    of its log.
//! 6. **Logs have no gaps.** A commit whose bytes don't begin where their log ends is refused
//!    ([`StoreError::Misplaced`]) and changes nothing. A log begins where the first commit of its incarnation does.
//! 7. **Incarnations are for ever.** [`Store::incarnation_last`] never goes back, not after removals and, in a store
//!    that outlives its process, not after a restart. Each is given to one life of one stream.
//!
//! [`Edit::check`] is rules 2 and 6. `contract` has all as tests (feature `contract`); [`faulty`] breaks a store on purpose.

use std::future::Future;

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};

#[cfg(feature = "contract")]
pub mod contract;
pub mod faulty;
pub mod log;
mod ticket;

pub use ticket::{Ticket, TicketSender, Work};

/// Something that keeps streams.
pub trait Store: Send + Sync + 'static {
    /// The largest incarnation that was ever committed; 0 if none was.
    fn incarnation_last(&self) -> u64;

    /// The committed head of a stream.
    fn load(&self, name: &StreamName) -> impl Future<Output = Result<Option<StreamHead>, StoreError>> + Send;

    /// What a stream remembers of a producer.
    fn producer(
        &self,
        incarnation: Incarnation,
        id: &ProducerId,
    ) -> impl Future<Output = Result<Option<ProducerState>, StoreError>> + Send;

    /// Queues a commit and doesn't wait. The ticket resolves when it is durable or has failed.
    fn commit(&self, commit: Commit) -> Ticket;

    /// The bytes of one log in a range.
    fn read(
        &self,
        incarnation: Incarnation,
        range: ReadRange,
    ) -> impl Future<Output = Result<Chunk, StoreError>> + Send;

    /// Up to `limit` streams whose deadline is at or before `until_ms`, the earliest first.
    fn expired(
        &self,
        until_ms: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StreamName>, StoreError>> + Send;

    /// Up to `limit` stream names that begin with `prefix` and come after `after`, in byte order.
    fn list(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StreamName>, StoreError>> + Send;

    /// A small document of control state.
    fn document(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Up to `limit` documents whose keys begin with `prefix` and come after `after`, in byte order of the keys.
    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Document>, StoreError>> + Send;
}

/// A document with its key.
pub type Document = (Box<str>, Bytes);

impl<S: Store> Store for std::sync::Arc<S> {
    fn incarnation_last(&self) -> u64 {
        (**self).incarnation_last()
    }

    fn load(&self, name: &StreamName) -> impl Future<Output = Result<Option<StreamHead>, StoreError>> + Send {
        (**self).load(name)
    }

    fn producer(
        &self,
        incarnation: Incarnation,
        id: &ProducerId,
    ) -> impl Future<Output = Result<Option<ProducerState>, StoreError>> + Send {
        (**self).producer(incarnation, id)
    }

    fn commit(&self, commit: Commit) -> Ticket {
        (**self).commit(commit)
    }

    fn read(
        &self,
        incarnation: Incarnation,
        range: ReadRange,
    ) -> impl Future<Output = Result<Chunk, StoreError>> + Send {
        (**self).read(incarnation, range)
    }

    fn expired(
        &self,
        until_ms: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StreamName>, StoreError>> + Send {
        (**self).expired(until_ms, limit)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StreamName>, StoreError>> + Send {
        (**self).list(prefix, after, limit)
    }

    fn document(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send {
        (**self).document(key)
    }

    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Document>, StoreError>> + Send {
        (**self).documents(prefix, after, limit)
    }
}

/// What one request alters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// In order; all or nothing.
    pub edits: Vec<Edit>,
}

/// One thing that a commit alters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are Put")]
pub enum Edit {
    /// Writes a stream's head and appends the change's bytes, which end at the head's tail.
    Put {
        /// The stream.
        name: StreamName,
        /// The version before; 0 for a new stream.
        expected: u64,
        /// The state afterwards, the bytes and the producer.
        change: Change,
    },
    /// Removes a stream with its bytes and producers.
    Remove {
        /// The stream.
        name: StreamName,
        /// The version before.
        expected: u64,
    },
    /// Writes a document, or removes it.
    Document {
        /// Its key.
        key: Box<str>,
        /// Its content; `None` removes it.
        value: Option<Bytes>,
    },
}

/// What a store has to know of a stream to check an edit; the default: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// The version; 0 if there is no such stream.
    pub version: u64,
    /// Which log is its own.
    pub incarnation: Option<Incarnation>,
    /// Where that ends.
    pub tail: u64,
}

impl Standing {
    /// What a head says.
    #[must_use]
    pub const fn of(head: &StreamHead) -> Self {
        Self { version: head.version, incarnation: Some(head.incarnation), tail: head.tail }
    }
}

impl Edit {
    /// The stream that it changes, if it changes one.
    #[must_use]
    pub const fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Put { name, .. } | Self::Remove { name, .. } => Some(name),
            Self::Document { .. } => None,
        }
    }

    /// Checks an edit of a stream, and says how the stream stands afterwards.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it expects another version, [`StoreError::Misplaced`] if it would leave a gap.
    pub fn check(&self, before: Standing) -> Result<Standing, StoreError> {
        let (name, expected) = match self {
            Self::Put { name, expected, .. } | Self::Remove { name, expected } => (name, *expected),
            Self::Document { .. } => return Ok(before),
        };
        if before.version != expected {
            return Err(StoreError::Stale { name: name.clone(), expected, found: before.version });
        }
        let Self::Put { change, .. } = self else { return Ok(Standing::default()) };
        let after = Standing::of(&change.head);
        let begin = after.tail.checked_sub(change.bytes.len() as u64);
        let goes_on = before.incarnation == after.incarnation;
        if begin.is_some_and(|begin| !goes_on || begin == before.tail) {
            Ok(after)
        } else {
            Err(StoreError::Misplaced { name: name.clone(), tail: before.tail })
        }
    }
}

/// A range of one log: from `from` to the first append boundary at or after `target`, but not past `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The first position.
    pub from: u64,
    /// Where to look for the boundary; at or after `from`.
    pub target: u64,
    /// Where to end at the latest, boundary or not; at or after `target`.
    pub limit: u64,
}

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes between the range's `from` and `end`.
    pub bytes: Bytes,
    /// The position after the last byte.
    pub end: u64,
    /// Whether the range begins where an append began.
    pub aligned: bool,
}

/// Why a store can't do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A commit expected another version; nothing changed.
    #[error("the stream {name} has version {found}, not {expected}")]
    Stale {
        /// The stream.
        name: StreamName,
        /// What the commit expected.
        expected: u64,
        /// What is stored.
        found: u64,
    },
    /// A commit's bytes don't begin where the stream ends; nothing changed.
    #[error("bytes for the stream {name} don't begin at its end, {tail}")]
    Misplaced {
        /// The stream.
        name: StreamName,
        /// Where it ends.
        tail: u64,
    },
    /// No room; nothing changed.
    #[error("there is no room left")]
    Full,
    /// The log isn't there (any more).
    #[error("there is no log of incarnation {}", .0.get())]
    Missing(Incarnation),
    /// Bytes are there that can't be trusted.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The store refuses to write until somebody looked.
    #[error("failed: {0}")]
    Failed(String),
}
