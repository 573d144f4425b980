//! The header names of the protocol (section 13.2) and of the web around it.

use http::HeaderName;

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    /// Sliding time-to-live of a stream, in seconds (section 5.1).
    STREAM_TTL = "stream-ttl";
    /// Absolute expiry of a stream, RFC 3339 (section 5.1).
    STREAM_EXPIRES_AT = "stream-expires-at";
    /// A writer's own sequence, compared byte by byte (section 5.2).
    STREAM_SEQ = "stream-seq";
    /// The tail that an append expects (section 5.2, a draft).
    STREAM_EXPECTED_OFFSET = "stream-expected-offset";
    /// The cursor that a live reader echoes, so that caches can collapse requests (section 10.1).
    STREAM_CURSOR = "stream-cursor";
    /// The offset at which to continue (section 8).
    STREAM_NEXT_OFFSET = "stream-next-offset";
    /// Present if a response has reached the tail (section 5.6).
    STREAM_UP_TO_DATE = "stream-up-to-date";
    /// Present if the stream is closed and the response has reached its end (section 4.1).
    STREAM_CLOSED = "stream-closed";
    /// The source of a fork (section 4.2).
    STREAM_FORKED_FROM = "stream-forked-from";
    /// The divergence point of a fork (section 4.2).
    STREAM_FORK_OFFSET = "stream-fork-offset";
    /// Refines the divergence point (section 4.2).
    STREAM_FORK_SUB_OFFSET = "stream-fork-sub-offset";
    /// Present if the data of events is base64 (section 5.8).
    STREAM_SSE_DATA_ENCODING = "stream-sse-data-encoding";
    /// An extension of this server: whether shared caches may keep the stream (section 11).
    STREAM_VISIBILITY = "stream-visibility";
    /// The producer's name (section 5.2.1).
    PRODUCER_ID = "producer-id";
    /// The producer's session (section 5.2.1).
    PRODUCER_EPOCH = "producer-epoch";
    /// The producer's request counter (section 5.2.1).
    PRODUCER_SEQ = "producer-seq";
    /// On a gap: the number that would have been accepted (section 5.2.1).
    PRODUCER_EXPECTED_SEQ = "producer-expected-seq";
    /// On a gap: the number that was received (section 5.2.1).
    PRODUCER_RECEIVED_SEQ = "producer-received-seq";
    /// The signature of a webhook (section 7.1).
    WEBHOOK_SIGNATURE = "webhook-signature";
    /// The id of the last event, from which a browser's EventSource resumes (HTML Living Standard, 9.2).
    LAST_EVENT_ID = "last-event-id";
    /// The sites that may embed the response (Fetch Standard).
    CROSS_ORIGIN_RESOURCE_POLICY = "cross-origin-resource-policy";
    /// The sites whose pages may read timings (Resource Timing).
    TIMING_ALLOW_ORIGIN = "timing-allow-origin";
    /// The time that the server took (Server Timing).
    SERVER_TIMING = "server-timing";
    /// Tells caches that the order of query keys doesn't matter.
    NO_VARY_SEARCH = "no-vary-search";
    /// Tells nginx not to buffer the response.
    X_ACCEL_BUFFERING = "x-accel-buffering";
    /// Set by proxies: how the client sent the request (RFC 7239).
    FORWARDED = "forwarded";
    /// Set by proxies: the scheme that the client used.
    X_FORWARDED_PROTO = "x-forwarded-proto";
    /// Set by proxies: the host that the client named.
    X_FORWARDED_HOST = "x-forwarded-host";
    /// Set by caches: whether they had the response.
    X_CACHE = "x-cache";
    /// Set by caches: how often they served the response.
    X_CACHE_HITS = "x-cache-hits";
    /// Set by caches: how they handled the request (RFC 9211).
    CACHE_STATUS = "cache-status";
}
