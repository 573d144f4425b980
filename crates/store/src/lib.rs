#![doc = include_str!("../README.md")]
//!
//! A store decides nothing. It loads what was committed, commits what was decided, atomically and in order, and
//! tells when that is durable. The rules that every store keeps:
//!
//! 1. **All or nothing.** After a crash at any moment either all edits of a [`Commit`] are there or none.
//! 2. **Versions.** A commit whose edits expect another version than the stored one is refused
//!    ([`StoreError::Stale`]) and changes nothing. Absent streams have version 0.
//! 3. **Order.** Commits take effect in the order of the calls; the tickets of one stream resolve in that order.
//! 4. **Durability.** A ticket resolves with success only when a crash can't take the commit back any more. After
//!    [`StoreError::InDoubt`] the outcome is unknown: the commit may be there after a restart. After any other error
//!    nothing of it will ever appear.
//! 5. **Reads are exact.** [`Store::read`] returns what was appended, byte for byte; bytes that can't be trusted are an
//!    error ([`StoreError::Damaged`]), never different or fewer bytes. So is a range that begins outside of its log.
//! 6. **Logs have no gaps.** A commit whose bytes don't begin where their log ends is refused
//!    ([`StoreError::Misplaced`]) and changes nothing. A log begins where the first commit of its incarnation does, and that
//!    is refused where there is a stream: it has to be removed first.
//! 7. **Incarnations are never used twice.** [`Store::incarnation_last`] never goes back, not after removals and, in a
//!    store that outlives its process, not after a restart. Each belongs to one stream, which gets another one when it is created again.
//!
//! [`Edit::check`] is rules 2 and 6. With the feature `test-util`, `contract` has all of them as tests and `faulty` wraps a
//! store so that it fails on demand.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use headwater_protocol::{
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};

#[cfg(feature = "test-util")]
pub mod contract;
#[cfg(feature = "test-util")]
pub mod faulty;
pub mod gather;
pub mod log;
mod ticket;

pub use ticket::{GroupCommit, Ticket, TicketSender};

/// The future that a method of [`Store`] returns, boxed so that a store can be used as `dyn Store`.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place that keeps streams and documents, by the seven rules at the top of this crate.
///
/// Everything but a store itself uses it as `Arc<dyn Store>`. Any method may be called at any time, from any thread.
/// Reads see every commit whose ticket has resolved with success, and may already see later ones.
///
/// # Errors
/// All methods that read return [`StoreError::Damaged`] for stored bytes that can't be trusted, and
/// [`StoreError::Failed`] if the store can't be asked; an absent thing is no error.
///
/// # Example
/// ```
/// use headwater_protocol::{path::StreamName, stream::StreamHead};
/// use headwater_store::{Commit, Edit, ReadRange, Store, StoreError};
///
/// /// Removes a stream and returns the bytes of its own log.
/// async fn take(store: &dyn Store, name: &StreamName) -> Result<Option<Vec<u8>>, StoreError> {
///     let Some(StreamHead { incarnation, version, tail, .. }) = store.load(name).await? else { return Ok(None) };
///     let chunk = store.read(incarnation, ReadRange::new(0, tail)).await?;
///     // Refused as stale if somebody wrote in between; durable when the ticket has resolved.
///     let removal = Edit::Remove { name: name.clone(), expected: version };
///     store.commit(Commit::new(vec![removal])).await?;
///     Ok(Some(chunk.bytes.to_vec()))
/// }
/// ```
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the largest incarnation that was ever committed; 0 if none was. It never waits.
    fn incarnation_last(&self) -> u64;

    /// Returns whether the store can do its work, for probes and metrics. It never waits.
    fn health(&self) -> Health;

    /// Loads the head of a stream; `None` if there is no such stream.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn load<'a>(&'a self, name: &'a StreamName) -> StoreFuture<'a, Option<StreamHead>>;

    /// Loads what an incarnation of a stream remembers of a producer; `None` if that is nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn producer<'a>(
        &'a self,
        incarnation: Incarnation,
        id: &'a ProducerId,
    ) -> StoreFuture<'a, Option<ProducerState>>;

    /// Queues a commit and returns at once. The ticket resolves when the commit is durable or has failed; the commit
    /// goes on if the ticket is dropped.
    ///
    /// All edits take effect together or none does, also across a crash, and after the commits of all earlier calls.
    ///
    /// # Errors
    /// The ticket's: after [`StoreError::InDoubt`] the outcome is unknown, after any other error nothing has changed.
    fn commit(&self, commit: Commit) -> Ticket;

    /// Reads a range of one log: all bytes up to the range's end, or an error. Commits that are made meanwhile add bytes
    /// after that end at most.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such log, [`StoreError::Damaged`] if the range begins outside of it or its
    /// bytes can't be trusted, or [`StoreError::Failed`].
    fn read(&self, incarnation: Incarnation, range: ReadRange) -> StoreFuture<'_, Chunk>;

    /// Finds the first append boundary of a log at or after `position`, but at most `limit`, without the bytes before it:
    /// where a range with that target ends.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    fn end_of(&self, incarnation: Incarnation, position: u64, limit: u64) -> StoreFuture<'_, u64>;

    /// Finds up to `limit` streams whose deadline is at or before `until_ms`, the earliest first and those with one
    /// deadline in the order of their names, from the one that follows `after` on. Pages that are looked up one after
    /// another are no snapshot.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn expired<'a>(
        &'a self,
        until_ms: u64,
        after: Option<&'a Deadline>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Deadline>>;

    /// Lists up to `limit` stream names that begin with `prefix` and come after `after`, in byte order. Pages that are
    /// listed one after another are no snapshot.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StreamName>>;

    /// Loads a document of control state, which only its key identifies; `None` if there is no such document.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn document<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;

    /// Lists up to `limit` documents whose keys begin with `prefix` and come after `after`, in byte order of the keys.
    /// Pages that are listed one after another are no snapshot.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Failed`].
    fn documents<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<Document>>;
}

/// A stream's deadline, in milliseconds since 1970, and its name.
pub type Deadline = (u64, StreamName);

/// Whether a store can do its work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Healthy,
    /// Something below it fails, for this cause: a full disk, a folder that is away. It goes on by itself once that is
    /// mended.
    Failing(Arc<dyn std::error::Error + Send + Sync>),
    /// It takes no commits any more, for this cause, until it is opened again.
    Stopped(Arc<dyn std::error::Error + Send + Sync>),
}

/// A document with its key.
pub type Document = (Box<str>, Bytes);

/// The edits of one request, made durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The edits in order: all of them or none.
    pub edits: Vec<Edit>,
}

impl Commit {
    /// Makes a commit of edits that take effect in this order.
    #[must_use]
    pub const fn new(edits: Vec<Edit>) -> Self {
        Self { edits }
    }
}

/// One change of a commit: of a stream or of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are Put")]
pub enum Edit {
    /// Writes a stream's head and appends the change's bytes, which end at the head's tail.
    Put {
        /// The stream.
        name: StreamName,
        /// The version before; 0 for a new stream.
        expected: u64,
        /// The head afterwards, the appended bytes and the producer's state.
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
        /// The document's key.
        key: Box<str>,
        /// The document's content; `None` removes it.
        value: Option<Bytes>,
    },
}

/// The part of a stream's head that [`Edit::check`] needs. The default is that of an absent stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StreamState {
    /// The version; 0 if there is no such stream.
    pub version: u64,
    /// The stream's incarnation, which names its own log.
    pub incarnation: Option<Incarnation>,
    /// The position after the last byte.
    pub tail: u64,
}

impl StreamState {
    /// Returns the state that a head describes.
    #[must_use]
    pub const fn of(head: &StreamHead) -> Self {
        Self { version: head.version, incarnation: Some(head.incarnation), tail: head.tail }
    }
}

impl Edit {
    /// Returns the stream that the edit changes, if it changes one.
    #[must_use]
    pub const fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Put { name, .. } | Self::Remove { name, .. } => Some(name),
            Self::Document { .. } => None,
        }
    }

    /// Checks an edit against the state of its stream, and returns the state afterwards.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it expects another version, [`StoreError::Misplaced`] if it would leave a gap, or go on with
    /// another incarnation than the stored one.
    pub fn check(&self, before: StreamState) -> Result<StreamState, StoreError> {
        let (name, expected) = match self {
            Self::Put { name, expected, .. } | Self::Remove { name, expected } => (name, *expected),
            Self::Document { .. } => return Ok(before),
        };
        if before.version != expected {
            return Err(StoreError::Stale { name: name.clone(), expected, found: before.version });
        }
        let Self::Put { change, .. } = self else { return Ok(StreamState::default()) };
        let after = StreamState::of(&change.head);
        let begin = after.tail.checked_sub(change.bytes.len() as u64);
        // A stream is replaced by removing it first: what goes on with another one's log is of a state that never was.
        let goes_on = before.incarnation == after.incarnation && begin == Some(before.tail);
        let is_new = before.version == 0 && begin.is_some();
        if goes_on || is_new {
            Ok(after)
        } else {
            Err(StoreError::Misplaced { name: name.clone(), tail: before.tail })
        }
    }
}

/// A range of one log: from `from` to the first append boundary at or after `target`, but not past `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRange {
    /// The first position.
    pub from: u64,
    /// The position from which on an append boundary ends the range; at or after `from`.
    pub target: u64,
    /// The position at which the range ends at the latest, boundary or not; at or after `target`.
    pub limit: u64,
}

impl ReadRange {
    /// Makes a range from a position to the first append boundary at or after another one.
    #[must_use]
    pub const fn new(from: u64, target: u64) -> Self {
        Self { from, target, limit: u64::MAX }
    }

    /// Ends the range at `limit` at the latest.
    #[must_use]
    pub const fn up_to(self, limit: u64) -> Self {
        Self { limit, ..self }
    }
}

/// The bytes of a [`ReadRange`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The bytes between the range's `from` and `end`.
    pub bytes: Bytes,
    /// The position after the last byte.
    pub end: u64,
    /// Whether the range begins at an append boundary.
    pub aligned: bool,
}

impl Chunk {
    /// Makes a chunk of bytes that end at a position.
    #[must_use]
    pub const fn new(bytes: Bytes, end: u64, aligned: bool) -> Self {
        Self { bytes, end, aligned }
    }
}

/// The reason why a store can't do what it was asked.
///
/// Two of them are equal if their messages are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// A commit expected another version; nothing changed.
    Stale {
        /// The stream.
        name: StreamName,
        /// The version that the commit expected.
        expected: u64,
        /// The stored version.
        found: u64,
    },
    /// A commit's bytes don't begin where the stream ends; nothing changed.
    Misplaced {
        /// The stream.
        name: StreamName,
        /// The position at which it ends.
        tail: u64,
    },
    /// There is no room; nothing changed.
    Full,
    /// There is no log of this incarnation, or not any more.
    Missing(Incarnation),
    /// Stored bytes can't be trusted, for this cause.
    Damaged(Arc<dyn std::error::Error + Send + Sync>),
    /// The store failed for this cause; nothing changed.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// The store failed for this cause while it made a commit durable. The outcome is unknown, and a store that can't know
    /// what is durable refuses all further commits.
    InDoubt(Arc<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Makes a [`StoreError::Damaged`] of a text or an error.
    pub fn damaged(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged(cause.into().into())
    }

    /// Makes a [`StoreError::Failed`] of a text or an error.
    pub fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(cause.into().into())
    }

    /// Makes a [`StoreError::InDoubt`] of a text or an error.
    pub fn in_doubt(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::InDoubt(cause.into().into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { name, expected, found } => {
                write!(f, "the stream {name} has version {found}, not {expected}")
            }
            Self::Misplaced { name, tail } => {
                write!(f, "bytes for the stream {name} don't begin at its end, {tail}")
            }
            Self::Full => f.write_str("there is no room left"),
            Self::Missing(incarnation) => write!(f, "there is no log of incarnation {}", incarnation.get()),
            Self::Damaged(cause) => write!(f, "damaged: {cause}"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::InDoubt(cause) => write!(f, "failed, outcome unknown: {cause}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The message has that of the cause already, as that of an `io::Error` does.
            Self::Damaged(cause) | Self::Failed(cause) | Self::InDoubt(cause) => cause.source(),
            Self::Stale { .. } | Self::Misplaced { .. } | Self::Full | Self::Missing(_) => None,
        }
    }
}

impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for StoreError {}
