//! Every reason to say no, and the one place that turns it into status, headers and `application/problem+json`
//! (RFC 9457).
//!
//! A refused request has changed nothing.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{names, offset::Offset, response::ResponseHead, subscription::SubscriptionRefusal};

/// Why a request is refused. The text is the problem's `detail`: what was wrong and, where it helps, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The offset isn't one that this server gives out.
    #[error("offset must be -1, now, or a value that Stream-Next-Offset gave")]
    OffsetMalformed,
    /// The offset was never reached in this stream.
    #[error("this stream has no such offset; it may lie beyond the tail or inside of a message")]
    OffsetBeyond,
    /// A live read without a place to begin at.
    #[error("live reads need an offset parameter")]
    OffsetMissing,
    /// The `live` parameter names no mode.
    #[error("live must be long-poll or sse")]
    LiveMalformed,
    /// A query parameter that counts is there twice.
    #[error("the {parameter} parameter is there more than once")]
    ParameterRepeated {
        /// Which.
        parameter: &'static str,
    },
    /// A header that counts is there twice.
    #[error("the {header} header is there more than once")]
    HeaderRepeated {
        /// Which.
        header: HeaderName,
    },
    /// A header's value isn't UTF-8 text.
    #[error("the {header} header is not text")]
    HeaderNotText {
        /// Which.
        header: HeaderName,
    },
    /// Not one host (RFC 9112, 3.2).
    #[error("a request names one host, once")]
    HostMissing,
    /// The path names no stream.
    #[error("the path names no stream: {rule}")]
    NameMalformed {
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// An append without Content-Type.
    #[error("a body needs a Content-Type")]
    ContentTypeMissing,
    /// Not `type/subtype`.
    #[error("Content-Type must be type/subtype, at most 256 bytes")]
    ContentTypeMalformed,
    /// An append without bytes.
    #[error("an append needs a body, unless Stream-Closed: true closes the stream")]
    BodyEmpty,
    /// Not JSON.
    #[error("the body is not JSON: {reason}")]
    JsonMalformed {
        /// What the parser said.
        reason: Box<str>,
    },
    /// Nested too deep.
    #[error("the body nests deeper than 128 levels")]
    JsonTooDeep,
    /// An append of an empty array.
    #[error("an empty array appends nothing")]
    JsonEmptyArray,
    /// Not a time-to-live.
    #[error("Stream-TTL must be whole seconds in plain decimal, at most 9007199254740991")]
    TtlMalformed,
    /// Not a time.
    #[error("Stream-Expires-At must be an RFC 3339 time after 1970")]
    ExpiresAtMalformed,
    /// Over before it began.
    #[error("Stream-Expires-At lies in the past")]
    ExpiresAtPast,
    /// Two lifetimes at once.
    #[error("Stream-TTL and Stream-Expires-At exclude each other")]
    TtlAndExpiresAt,
    /// Neither `public` nor `private`.
    #[error("Stream-Visibility must be public or private")]
    VisibilityMalformed,
    /// Empty or too long.
    #[error("Stream-Seq must have 1 to 256 bytes")]
    SeqMalformed,
    /// One or two of three.
    #[error("Producer-Id, Producer-Epoch and Producer-Seq come together or not at all")]
    ProducerIncomplete,
    /// Not what section 5.2.1 says.
    #[error(
        "{header} must be 1 to 256 bytes for the id, plain decimal up to 9007199254740991 for the numbers"
    )]
    ProducerMalformed {
        /// Which.
        header: HeaderName,
    },
    /// A new epoch that doesn't begin at 0.
    #[error("a new epoch begins at Producer-Seq 0")]
    ProducerEpochStart,
    /// A zombie.
    #[error("a later session of this producer has taken over")]
    ProducerStale {
        /// The session that may write.
        epoch: u64,
    },
    /// Something before it is missing.
    #[error("Producer-Seq {expected} is missing before {received}")]
    ProducerGap {
        /// The number that would have been accepted.
        expected: u64,
        /// The number that came.
        received: u64,
    },
    /// Fork headers without a source.
    #[error("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From")]
    ForkIncomplete,
    /// Not a path below the base path.
    #[error("Stream-Forked-From must be the path of a stream on this server")]
    ForkSourceMalformed,
    /// Not an offset of the source.
    #[error("Stream-Fork-Offset is not an offset of the source")]
    ForkOffset,
    /// Not within the next append of the source.
    #[error(
        "Stream-Fork-Sub-Offset must be plain decimal, with an offset, and within the append that follows it"
    )]
    ForkSubOffset,
    /// No such source.
    #[error("Stream-Forked-From names no stream")]
    ForkSourceMissing,
    /// Only kept for its forks.
    #[error("the source is deleted")]
    ForkSourceDeleted,
    /// A chain too long.
    #[error("forks of forks go at most 64 levels deep")]
    ForkTooDeep,
    /// A count too large.
    #[error("the source has too many forks")]
    ForkTooMany,
    /// Another type than the stream's.
    #[error("the stream has another content type")]
    ContentTypeMismatch,
    /// Exists otherwise.
    #[error("a stream with another configuration exists here")]
    ConfigMismatch,
    /// Not after the last one.
    #[error("Stream-Seq must be greater than the last one")]
    SeqRegression,
    /// Closed for good.
    #[error("the stream is closed")]
    StreamClosed {
        /// Where it ends.
        tail: Offset,
    },
    /// Nothing here.
    #[error("there is no stream here")]
    NotFound,
    /// Was here, and is kept for its forks only.
    #[error("the stream is deleted")]
    Gone,
    /// The offset belongs to an earlier life of this name.
    #[error("the offset belongs to an earlier stream of this name; begin again with offset=-1")]
    OffsetGone,
    /// Not a verb of this resource.
    #[error("this resource knows {allowed}")]
    MethodUnknown {
        /// Those that it has, as `Allow` lists them.
        allowed: &'static str,
    },
    /// A control request that can't be done (sections 6 and 7). It has a document of its own.
    #[error(transparent)]
    Subscription(SubscriptionRefusal),
    /// More lines or bytes than the connection takes.
    #[error("the request's head is larger than {limit_bytes} bytes or {limit_lines} lines")]
    HeadTooLarge {
        /// The limit of all of it.
        limit_bytes: usize,
        /// The limit of its header lines.
        limit_lines: usize,
    },
    /// More than the limit.
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The client stopped in the middle.
    #[error("the body ended before it was complete")]
    BodyBroken,
    /// The client was too slow.
    #[error("the body did not come in time")]
    BodyTimeout,
    /// A bound of this server is reached.
    #[error("the server is at its limit of {what}; try again")]
    Overloaded {
        /// Which bound.
        what: &'static str,
    },
    /// The server is being stopped.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// No room.
    #[error("there is no room left; nothing was written")]
    StorageFull,
    /// The store refused; an operator must look.
    #[error("the store cannot do this now; nothing is acknowledged")]
    StorageFailed,
}

impl From<SubscriptionRefusal> for Refusal {
    fn from(refusal: SubscriptionRefusal) -> Self {
        Self::Subscription(refusal)
    }
}

impl Refusal {
    /// Status, name and title.
    const fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const CONFLICT: StatusCode = StatusCode::CONFLICT;
        match self {
            Self::OffsetMalformed | Self::OffsetBeyond | Self::OffsetMissing => (BAD, "offset", "Bad offset"),
            Self::LiveMalformed | Self::ParameterRepeated { .. } => (BAD, "parameter", "Bad parameter"),
            Self::HeaderRepeated { .. } | Self::HeaderNotText { .. } | Self::HostMissing => {
                (BAD, "header", "Bad header")
            }
            Self::NameMalformed { .. } => (BAD, "name", "Bad stream name"),
            Self::ContentTypeMissing | Self::ContentTypeMalformed => {
                (BAD, "content-type", "Bad content type")
            }
            Self::BodyEmpty => (BAD, "body-empty", "Empty body"),
            Self::JsonMalformed { .. } | Self::JsonTooDeep | Self::JsonEmptyArray => {
                (BAD, "json", "Bad JSON")
            }
            Self::TtlMalformed | Self::ExpiresAtMalformed | Self::ExpiresAtPast | Self::TtlAndExpiresAt => {
                (BAD, "lifetime", "Bad lifetime")
            }
            Self::VisibilityMalformed => (BAD, "visibility", "Bad visibility"),
            Self::SeqMalformed => (BAD, "stream-seq", "Bad Stream-Seq"),
            Self::ProducerIncomplete | Self::ProducerMalformed { .. } | Self::ProducerEpochStart => {
                (BAD, "producer", "Bad producer headers")
            }
            Self::ProducerStale { .. } => (StatusCode::FORBIDDEN, "stale-epoch", "Stale producer epoch"),
            Self::ProducerGap { .. } => (CONFLICT, "producer-gap", "Producer sequence gap"),
            Self::ForkIncomplete | Self::ForkSourceMalformed | Self::ForkOffset | Self::ForkSubOffset => {
                (BAD, "fork", "Bad fork")
            }
            Self::ForkSourceMissing => (StatusCode::NOT_FOUND, "not-found", "Fork source not found"),
            Self::ForkSourceDeleted => (CONFLICT, "fork-source-deleted", "Fork source is deleted"),
            Self::ForkTooDeep => (CONFLICT, "fork-too-deep", "Fork chain too deep"),
            Self::ForkTooMany => (CONFLICT, "fork-too-many", "Too many forks"),
            Self::ContentTypeMismatch => (CONFLICT, "content-type-mismatch", "Content type mismatch"),
            Self::ConfigMismatch => (CONFLICT, "config-mismatch", "Stream exists with another configuration"),
            Self::SeqRegression => (CONFLICT, "stream-seq-regression", "Stream-Seq regression"),
            Self::StreamClosed { .. } => (CONFLICT, "stream-closed", "Stream is closed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Gone => (StatusCode::GONE, "gone", "Stream is deleted"),
            Self::OffsetGone => (StatusCode::GONE, "gone", "Offset is gone"),
            Self::MethodUnknown { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed"),
            Self::Subscription(refusal) => (refusal.status(), "subscription", "Subscription"),
            Self::HeadTooLarge { .. } => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "Request head too large")
            }
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::BodyBroken => (BAD, "body-broken", "Broken body"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body-timeout", "Body timeout"),
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down", "Shutting down"),
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage-full", "Storage full"),
            Self::StorageFailed => (StatusCode::INTERNAL_SERVER_ERROR, "storage-failed", "Storage failed"),
        }
    }

    /// The status alone: for logs and metrics.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The answer: head and problem document.
    #[must_use]
    pub fn respond(&self) -> (ResponseHead, String) {
        if let Self::Subscription(refusal) = self {
            return refusal.respond();
        }
        let (status, code, title) = self.kind();
        let mut head = ResponseHead::new(status);
        self.headers(&mut head.headers);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let problem = serde_json::json!({
            "type": format!("urn:headwater:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        (head, problem.to_string())
    }

    fn headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::StreamClosed { tail } => {
                headers.insert(names::STREAM_CLOSED, HeaderValue::from_static("true"));
                headers.insert(names::STREAM_NEXT_OFFSET, crate::response::offset_value(*tail));
            }
            Self::ProducerStale { epoch } => {
                headers.insert(names::PRODUCER_EPOCH, HeaderValue::from(*epoch));
            }
            Self::ProducerGap { expected, received } => {
                headers.insert(names::PRODUCER_EXPECTED_SEQ, HeaderValue::from(*expected));
                headers.insert(names::PRODUCER_RECEIVED_SEQ, HeaderValue::from(*received));
            }
            Self::MethodUnknown { allowed } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::ShuttingDown | Self::Overloaded { .. } => {
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

    #[test]
    fn a_refusal_is_a_problem_document_with_what_the_client_needs() {
        let tail = Offset { incarnation: Incarnation::new(7).unwrap(), position: 5 };
        let (head, body) = Refusal::StreamClosed { tail }.respond();
        assert_eq!(head.status, StatusCode::CONFLICT);
        assert_eq!(head.headers[names::STREAM_CLOSED], "true");
        assert_eq!(head.headers[names::STREAM_NEXT_OFFSET], "0000000000000007_0000000000000005");
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["type"], "urn:headwater:problem:stream-closed");
        assert_eq!(problem["status"], 409);
    }

    #[test]
    fn producers_learn_what_to_send() {
        let (head, _) = Refusal::ProducerGap { expected: 3, received: 9 }.respond();
        assert_eq!(
            (head.status, &head.headers[names::PRODUCER_EXPECTED_SEQ]),
            (StatusCode::CONFLICT, &3.into())
        );
        assert_eq!(head.headers[names::PRODUCER_RECEIVED_SEQ], "9");
        let (head, _) = Refusal::ProducerStale { epoch: 4 }.respond();
        assert_eq!((head.status, &head.headers[names::PRODUCER_EPOCH]), (StatusCode::FORBIDDEN, &4.into()));
    }

    #[test]
    fn what_a_parser_says_cannot_break_the_document() {
        let (_, body) = Refusal::JsonMalformed { reason: "\"\n\\".into() }.respond();
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
    }
}
