//! What is wrong with a request by itself, whatever the server's state: what parsers return.

use http::{HeaderName, StatusCode};

/// The request is at fault: repeating it unchanged can't succeed.
///
/// The text is the problem's `detail`: what is wrong and, where that helps, what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// The offset isn't one that this server issues (section 8).
    #[error("offset must be -1, now, or a value from Stream-Next-Offset")]
    OffsetMalformed,
    /// A live read has no offset to begin at (sections 5.7 and 5.8).
    #[error("a live read needs an offset parameter")]
    OffsetMissing,
    /// The `live` parameter names no mode.
    #[error("live must be long-poll or sse")]
    LiveMalformed,
    /// A query parameter that may appear once appears several times.
    #[error("the {parameter} parameter must not be repeated")]
    ParameterRepeated {
        /// The parameter's name.
        parameter: &'static str,
    },
    /// A header that may appear once appears several times.
    #[error("the {header} header must not be repeated")]
    HeaderRepeated {
        /// The header's name.
        header: HeaderName,
    },
    /// A header's value isn't UTF-8.
    #[error("the {header} header is not valid UTF-8")]
    HeaderNotText {
        /// The header's name.
        header: HeaderName,
    },
    /// The request names no host, several, or a malformed one (RFC 9112, 3.2).
    #[error("exactly one valid Host is required")]
    HostInvalid,
    /// The path is not below the base path, or is reserved (section 6).
    #[error("there is no stream at this path")]
    PathUnknown,
    /// The path is below the base path, but spells no stream name (section 12.2).
    #[error("the path is not a valid stream name: {rule}")]
    NameMalformed {
        /// The rule that the name breaks.
        rule: &'static str,
    },
    /// The resource doesn't support the method.
    #[error("this resource supports {}", allowed.join(", "))]
    MethodNotAllowed {
        /// The supported methods, as `Allow` lists them.
        allowed: &'static [&'static str],
    },
    /// An append with a body has no Content-Type.
    #[error("a request with a body needs a Content-Type")]
    ContentTypeMissing,
    /// The Content-Type isn't `type/subtype` with optional parameters, or is too long.
    #[error("Content-Type must be type/subtype, at most 256 bytes")]
    ContentTypeMalformed,
    /// An append that doesn't close the stream has no body.
    #[error("an append needs a body, unless Stream-Closed: true closes the stream")]
    BodyEmpty,
    /// The body isn't JSON.
    #[error("the body is not valid JSON: {reason}")]
    JsonMalformed {
        /// The parser's message.
        reason: Box<str>,
    },
    /// The body nests deeper than [`DEPTH_MAX`](crate::json::DEPTH_MAX) levels.
    #[error("the body is nested more than 128 levels deep")]
    JsonTooDeep,
    /// An append's body is an empty array.
    #[error("an append needs at least one message; the array is empty")]
    JsonEmptyArray,
    /// `Stream-TTL` isn't a number of seconds (section 5.1).
    #[error("Stream-TTL must be a plain decimal number of seconds, at most 9007199254740991")]
    TtlMalformed,
    /// `Stream-Expires-At` isn't a time (section 5.1).
    #[error("Stream-Expires-At must be an RFC 3339 time after 1970")]
    ExpiresAtMalformed,
    /// `Stream-Expires-At` lies in the past.
    #[error("Stream-Expires-At is in the past")]
    ExpiresAtPast,
    /// The request has both `Stream-TTL` and `Stream-Expires-At`.
    #[error("Stream-TTL and Stream-Expires-At cannot be combined")]
    TtlAndExpiresAt,
    /// `Stream-Visibility` is neither `public` nor `private`.
    #[error("Stream-Visibility must be public or private")]
    VisibilityMalformed,
    /// `Stream-Seq` is empty or too long (section 5.2).
    #[error("Stream-Seq must have 1 to 256 bytes")]
    SeqMalformed,
    /// `Stream-Expected-Offset` isn't an offset that this server issues (section 5.2).
    #[error("Stream-Expected-Offset must be -1 or a value from Stream-Next-Offset")]
    ExpectedOffsetMalformed,
    /// Only one or two of the three producer headers are there (section 5.2.1).
    #[error("Producer-Id, Producer-Epoch and Producer-Seq must be sent together")]
    ProducerIncomplete,
    /// `Producer-Id` is empty or too long.
    #[error("Producer-Id must have 1 to 256 bytes")]
    ProducerIdMalformed,
    /// `Producer-Epoch` or `Producer-Seq` isn't a number (section 5.2.1).
    #[error("{header} must be a plain decimal number, at most 9007199254740991")]
    ProducerNumberMalformed {
        /// The header's name.
        header: HeaderName,
    },
    /// The request has fork headers without `Stream-Forked-From` (section 4.2).
    #[error("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From")]
    ForkIncomplete,
    /// `Stream-Forked-From` isn't a path below the base path.
    #[error("Stream-Forked-From must be the path of a stream on this server")]
    ForkSourceMalformed,
    /// `Stream-Fork-Offset` isn't an offset that this server issues.
    #[error("Stream-Fork-Offset must be -1 or a value from Stream-Next-Offset of the source")]
    ForkOffsetMalformed,
    /// `Stream-Fork-Sub-Offset` isn't a number, or comes without `Stream-Fork-Offset`.
    #[error("Stream-Fork-Sub-Offset must be a plain decimal number and needs Stream-Fork-Offset")]
    ForkSubOffsetMalformed,
    /// The request's head has more bytes or lines than the connection accepts.
    #[error("the request head is larger than {limit_bytes} bytes or {limit_lines} header lines")]
    HeadTooLarge {
        /// The largest head, in bytes.
        limit_bytes: usize,
        /// The most header lines.
        limit_lines: usize,
    },
    /// The body is larger than the server accepts.
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The largest body, in bytes.
        limit_bytes: u64,
    },
    /// The body has another transfer coding than `chunked`, or that one twice (RFC 9112, 6.1).
    #[error("the only transfer coding that is supported is chunked, once")]
    TransferCodingUnsupported,
    /// The body has a content coding (RFC 9110, 8.4): it would have to be decoded for every reader that lacks it.
    #[error("the body must not be encoded; send it without Content-Encoding")]
    ContentCodingUnsupported,
    /// The body is a part of something (RFC 9110, 14.5): streams are appended to, not patched.
    #[error("Content-Range is not supported: a body is always whole")]
    ContentRangeUnsupported,
    /// The request expects something that this server doesn't do (RFC 9110, 10.1.1).
    #[error("the only expectation that is supported is 100-continue")]
    ExpectationUnsupported,
    /// A condition isn't `*` or a list of entity tags (RFC 9110, 13.1).
    #[error("{header} must be * or a list of entity tags in quotes")]
    ConditionMalformed {
        /// The header's name.
        header: HeaderName,
    },
    /// The body ended before it was complete.
    #[error("the body ended before it was complete")]
    BodyBroken,
    /// The body paused for too long, or was too slow (see [`Pace`](crate::pace::Pace)).
    #[error("the body did not arrive in time")]
    BodyTimeout,
}

impl BadRequest {
    /// The status, and the type and title of the problem document.
    pub(crate) const fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::OffsetMalformed => (BAD, "offset-malformed", "Malformed offset"),
            Self::OffsetMissing => (BAD, "offset-missing", "Missing offset"),
            Self::LiveMalformed => (BAD, "live-malformed", "Unknown live mode"),
            Self::ParameterRepeated { .. } => (BAD, "parameter-repeated", "Repeated parameter"),
            Self::HeaderRepeated { .. } => (BAD, "header-repeated", "Repeated header"),
            Self::HeaderNotText { .. } => (BAD, "header-not-text", "Malformed header"),
            Self::HostInvalid => (BAD, "host-invalid", "Invalid host"),
            Self::PathUnknown => (StatusCode::NOT_FOUND, "path-unknown", "Unknown path"),
            Self::NameMalformed { .. } => (BAD, "name-malformed", "Malformed stream name"),
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::ContentTypeMissing => (BAD, "content-type-missing", "Missing content type"),
            Self::ContentTypeMalformed => (BAD, "content-type-malformed", "Malformed content type"),
            Self::BodyEmpty => (BAD, "body-empty", "Empty body"),
            Self::JsonMalformed { .. } => (BAD, "json-malformed", "Malformed JSON"),
            Self::JsonTooDeep => (BAD, "json-too-deep", "JSON nested too deep"),
            Self::JsonEmptyArray => (BAD, "json-empty-array", "Empty JSON array"),
            Self::TtlMalformed => (BAD, "ttl-malformed", "Malformed TTL"),
            Self::ExpiresAtMalformed => (BAD, "expires-at-malformed", "Malformed expiry time"),
            Self::ExpiresAtPast => (BAD, "expires-at-past", "Expiry time in the past"),
            Self::TtlAndExpiresAt => (BAD, "ttl-and-expires-at", "Conflicting lifetimes"),
            Self::VisibilityMalformed => (BAD, "visibility-malformed", "Malformed visibility"),
            Self::SeqMalformed => (BAD, "stream-seq-malformed", "Malformed Stream-Seq"),
            Self::ExpectedOffsetMalformed => (BAD, "expected-offset-malformed", "Malformed expected offset"),
            Self::ProducerIncomplete => (BAD, "producer-incomplete", "Incomplete producer headers"),
            Self::ProducerIdMalformed => (BAD, "producer-id-malformed", "Malformed producer id"),
            Self::ProducerNumberMalformed { .. } => {
                (BAD, "producer-number-malformed", "Malformed producer number")
            }
            Self::ForkIncomplete => (BAD, "fork-incomplete", "Incomplete fork headers"),
            Self::ForkSourceMalformed => (BAD, "fork-source-malformed", "Malformed fork source"),
            Self::ForkOffsetMalformed => (BAD, "fork-offset-malformed", "Malformed fork offset"),
            Self::ForkSubOffsetMalformed => (BAD, "fork-sub-offset-malformed", "Malformed fork sub-offset"),
            Self::HeadTooLarge { .. } => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "Request head too large")
            }
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::TransferCodingUnsupported => {
                (StatusCode::NOT_IMPLEMENTED, "transfer-coding-unsupported", "Unsupported transfer coding")
            }
            Self::ContentCodingUnsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-coding-unsupported",
                "Unsupported content coding",
            ),
            Self::ContentRangeUnsupported => (BAD, "content-range-unsupported", "Unsupported Content-Range"),
            Self::ExpectationUnsupported => {
                (StatusCode::EXPECTATION_FAILED, "expectation-unsupported", "Unsupported expectation")
            }
            Self::ConditionMalformed { .. } => (BAD, "condition-malformed", "Malformed condition"),
            Self::BodyBroken => (BAD, "body-broken", "Incomplete body"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body-timeout", "Body timeout"),
        }
    }
}
