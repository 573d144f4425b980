//! Every request that is answered with an error, grouped by what is at fault, and the one place that turns it into a
//! status, headers and `application/problem+json` (RFC 9457).
//!
//! Each variant has a problem type of its own, `urn:headwater:problem:…`. A refused request has changed nothing, with one
//! exception: after [`Unavailable::StorageInDoubt`] the outcome is unknown.

use http::{HeaderMap, HeaderValue, StatusCode, header};

#[cfg(feature = "subscriptions")]
use crate::subscription::SubscriptionRefusal;
use crate::{
    bad_request::BadRequest,
    names,
    offset::Offset,
    response::{Response, ResponseHead, offset_value, text_value},
};

/// The reason for which a request is answered with an error.
///
/// Parsers return the group [`BadRequest`]; every group converts into a `Refusal` with `?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is wrong by itself.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// A stream or an offset isn't there, or is there no longer.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The request doesn't fit the stream as it is now.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The server can't do it, now or at all; the request may be good.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A control request is refused (sections 6 and 7). It has the protocol's own document instead of a problem.
    #[cfg(feature = "subscriptions")]
    #[error(transparent)]
    Subscription(#[from] SubscriptionRefusal),
}

/// A stream or an offset that a request names isn't there, or is there no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// There is no stream of this name.
    #[error("there is no stream here")]
    NotFound,
    /// The stream was deleted and is kept only for its forks (section 5.4).
    #[error("the stream was deleted")]
    Gone,
    /// The offset belongs to another incarnation of the stream.
    #[error("the offset belongs to an earlier stream of this name; start again with offset=-1")]
    OffsetGone,
    /// There is no stream to fork from (section 4.2).
    #[error("Stream-Forked-From names a stream that does not exist")]
    ForkSource,
}

/// A request doesn't fit the stream as it is now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The stream never issued the offset: it lies beyond the tail, or in a fork names another incarnation than its position.
    #[error("this stream has no such offset; it lies beyond the tail, or belongs to another stream")]
    OffsetUnknown,
    /// A producer begins a new epoch with another number than 0 (section 5.2.1).
    #[error("a new producer epoch must start with Producer-Seq 0")]
    ProducerEpochStart,
    /// A later session of the producer has taken over (section 5.2.1).
    #[error("a later session of this producer has taken over")]
    ProducerStale {
        /// The epoch of the session that may write.
        epoch: u64,
    },
    /// An earlier request of the producer is missing (section 5.2.1).
    #[error("expected Producer-Seq {expected}, received {received}")]
    ProducerGap {
        /// The number that would have been accepted.
        expected: u64,
        /// The number that was received.
        received: u64,
    },
    /// The source of the fork has no such offset (section 4.2).
    #[error("the source has no such offset as Stream-Fork-Offset")]
    ForkOffset,
    /// The sub-offset is larger than the append that follows the fork's offset.
    #[error("Stream-Fork-Sub-Offset must lie within the append that follows Stream-Fork-Offset")]
    ForkSubOffset,
    /// The source was deleted and is kept only for its forks.
    #[error("the source of the fork was deleted")]
    ForkSourceDeleted,
    /// The source is itself a fork, at the greatest depth that is allowed.
    #[error("forks can be nested at most 64 levels deep")]
    ForkTooDeep,
    /// The source has as many forks as can be counted.
    #[error("the source has too many forks")]
    ForkTooMany,
    /// The Content-Type isn't the stream's (section 12.4).
    #[error("the stream has a different content type")]
    ContentTypeMismatch,
    /// A stream with another configuration exists under this name (section 5.1).
    #[error("a stream with a different configuration exists here")]
    ConfigMismatch,
    /// `Stream-Seq` isn't greater than the last one (section 5.2).
    #[error("Stream-Seq must be greater than the last one")]
    SeqRegression {
        /// The offset at which the stream ends.
        tail: Offset,
    },
    /// The tail isn't the `Stream-Expected-Offset` (section 5.2): another append came first.
    #[error("the stream does not end at Stream-Expected-Offset; another append came first")]
    ExpectedOffset {
        /// The offset at which the stream ends.
        tail: Offset,
    },
    /// `If-Match` or `If-None-Match` doesn't hold (RFC 9110, 13).
    #[error("the stream is not in the state that If-Match or If-None-Match asks for")]
    Precondition {
        /// The offset at which the stream ends; `None` if there is no stream.
        tail: Option<Offset>,
    },
    /// The stream is closed (section 4.1).
    #[error("the stream is closed")]
    StreamClosed {
        /// The offset at which the stream ends.
        tail: Offset,
    },
}

/// The server can't do what was asked, although the request may be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// A bound of the server is reached.
    #[error("the server has reached its limit of {what}; try again later")]
    Overloaded {
        /// The bound, as a plural noun.
        what: &'static str,
    },
    /// The server is about to stop.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// The store, or the stream, has no room left.
    #[error("there is no space left; nothing was written")]
    StorageFull,
    /// The store has failed, and the request has changed nothing; the operator's log says why.
    #[error("the store failed; nothing was written")]
    StorageFailed,
    /// The store has failed while it wrote: what the request changed may be there after a restart, or not. A producer
    /// that repeats the request learns which.
    #[error("the store failed while writing; the request may or may not have taken effect")]
    StorageInDoubt,
}

impl Missing {
    const fn problem(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Gone => (StatusCode::GONE, "gone", "Stream was deleted"),
            Self::OffsetGone => (StatusCode::GONE, "offset-gone", "Offset is gone"),
            Self::ForkSource => (StatusCode::NOT_FOUND, "fork-source-not-found", "Fork source not found"),
        }
    }
}

impl Conflict {
    const fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const CONFLICT: StatusCode = StatusCode::CONFLICT;
        match self {
            Self::OffsetUnknown => (BAD, "offset-unknown", "Unknown offset"),
            Self::ProducerEpochStart => (BAD, "producer-epoch-start", "Bad start of a producer epoch"),
            Self::ProducerStale { .. } => (StatusCode::FORBIDDEN, "stale-epoch", "Stale producer epoch"),
            Self::ProducerGap { .. } => (CONFLICT, "producer-gap", "Producer sequence gap"),
            Self::ForkOffset => (BAD, "fork-offset-unknown", "Unknown fork offset"),
            Self::ForkSubOffset => (BAD, "fork-sub-offset-unknown", "Fork sub-offset out of range"),
            Self::ForkSourceDeleted => (CONFLICT, "fork-source-deleted", "Fork source was deleted"),
            Self::ForkTooDeep => (CONFLICT, "fork-too-deep", "Fork chain too deep"),
            Self::ForkTooMany => (CONFLICT, "fork-too-many", "Too many forks"),
            Self::ContentTypeMismatch => (CONFLICT, "content-type-mismatch", "Content type mismatch"),
            Self::ConfigMismatch => {
                (CONFLICT, "config-mismatch", "Stream exists with a different configuration")
            }
            // Clients tell these two from other conflicts by the words.
            Self::SeqRegression { .. } => (CONFLICT, "stream-seq-regression", "Sequence conflict"),
            Self::ExpectedOffset { .. } => (CONFLICT, "expected-offset", "Expected offset conflict"),
            Self::Precondition { .. } => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed")
            }
            Self::StreamClosed { .. } => (CONFLICT, "stream-closed", "Stream is closed"),
        }
    }
}

impl Unavailable {
    const fn problem(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down", "Shutting down"),
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage-full", "Storage full"),
            Self::StorageFailed => (StatusCode::INTERNAL_SERVER_ERROR, "storage-failed", "Storage failed"),
            Self::StorageInDoubt => {
                (StatusCode::INTERNAL_SERVER_ERROR, "storage-in-doubt", "Outcome unknown")
            }
        }
    }
}

impl Refusal {
    /// The response: status, headers and document.
    #[must_use]
    pub fn respond(&self) -> Response {
        let (status, code, title) = match self {
            Self::Request(refusal) => refusal.problem(),
            Self::Missing(refusal) => refusal.problem(),
            Self::Conflict(refusal) => refusal.problem(),
            Self::Unavailable(refusal) => refusal.problem(),
            #[cfg(feature = "subscriptions")]
            Self::Subscription(refusal) => return refusal.respond(),
        };
        let mut head = ResponseHead::new(status);
        self.headers(&mut head.headers);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let problem = serde_json::json!({
            "type": format!("urn:headwater:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        Response { head, body: problem.to_string().into() }
    }

    /// Adds what a client needs to correct or repeat the request.
    fn headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Conflict(Conflict::StreamClosed { tail }) => {
                headers.insert(names::STREAM_CLOSED, HeaderValue::from_static("true"));
                headers.insert(names::STREAM_NEXT_OFFSET, offset_value(*tail));
            }
            Self::Conflict(
                Conflict::SeqRegression { tail }
                | Conflict::ExpectedOffset { tail }
                | Conflict::Precondition { tail: Some(tail) },
            ) => {
                headers.insert(names::STREAM_NEXT_OFFSET, offset_value(*tail));
            }
            Self::Conflict(Conflict::ProducerStale { epoch }) => {
                headers.insert(names::PRODUCER_EPOCH, HeaderValue::from(*epoch));
            }
            Self::Conflict(Conflict::ProducerGap { expected, received }) => {
                headers.insert(names::PRODUCER_EXPECTED_SEQ, HeaderValue::from(*expected));
                headers.insert(names::PRODUCER_RECEIVED_SEQ, HeaderValue::from(*received));
            }
            Self::Request(BadRequest::MethodNotAllowed { allowed }) => {
                headers.insert(header::ALLOW, text_value(&allowed.join(", ")));
            }
            // Tells the client what it may send instead (RFC 9110, 15.5.16).
            Self::Request(BadRequest::ContentCodingUnsupported) => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Self::Unavailable(Unavailable::ShuttingDown | Unavailable::Overloaded { .. }) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Incarnation;

    fn body(refusal: impl Into<Refusal>) -> serde_json::Value {
        serde_json::from_slice(&refusal.into().respond().body).unwrap()
    }

    fn head(refusal: Conflict) -> ResponseHead {
        Refusal::from(refusal).respond().head
    }

    #[test]
    fn a_refusal_is_a_problem_document_with_what_the_client_needs() {
        let tail = Offset { incarnation: Incarnation::new(7).unwrap(), position: 5 };
        let refusal = Conflict::StreamClosed { tail };
        let head = head(refusal.clone());
        assert_eq!(head.status, StatusCode::CONFLICT);
        assert_eq!(head.headers[names::STREAM_CLOSED], "true");
        assert_eq!(head.headers[names::STREAM_NEXT_OFFSET], "0000000000000007_0000000000000005");
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        let problem = body(refusal);
        assert_eq!(problem["type"], "urn:headwater:problem:stream-closed");
        assert_eq!(problem["status"], 409);
    }

    #[test]
    fn producers_learn_what_to_send() {
        let gap = head(Conflict::ProducerGap { expected: 3, received: 9 });
        assert_eq!(
            (gap.status, &gap.headers[names::PRODUCER_EXPECTED_SEQ]),
            (StatusCode::CONFLICT, &3.into())
        );
        assert_eq!(gap.headers[names::PRODUCER_RECEIVED_SEQ], "9");
        let stale = head(Conflict::ProducerStale { epoch: 4 });
        assert_eq!((stale.status, &stale.headers[names::PRODUCER_EPOCH]), (StatusCode::FORBIDDEN, &4.into()));
    }

    #[test]
    fn what_a_parser_says_cannot_break_the_document() {
        assert!(body(BadRequest::JsonMalformed { reason: "\"\n\\".into() }).is_object());
    }
}
