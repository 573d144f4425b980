//! What an operator may choose, as the service needs it. Every bound of the service is here.

use headwater_protocol::{
    cross_origin::Origins, op::read::ReadPolicies, path::BasePath, subscription::target::LocalTargets,
};

/// The service's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where streams live.
    pub base_path: BasePath,
    /// Ages and cursors.
    pub policies: ReadPolicies,
    /// Which sites' pages may use the streams.
    pub origins: Origins,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
    /// All request bodies that are being received together, in bytes.
    pub bodies_bytes_max: u64,
    /// The longest pause in a request body.
    pub body_timeout_ms: u64,
    /// The distance of the places where answers end, in bytes.
    pub chunk_bytes: u64,
    /// Memory for chunks that were read, in bytes.
    pub chunk_cache_bytes: u64,
    /// Memory for events that were encoded, in bytes.
    pub event_cache_bytes: u64,
    /// How long a long-poll waits.
    pub long_poll_timeout_ms: u64,
    /// How long an event stream lasts at most; it lasts at least five sixths of that.
    pub sse_lifetime_ms: u64,
    /// How long an event stream may be silent.
    pub sse_heartbeat_ms: u64,
    /// Live readers (long-polls and event streams) at a time.
    pub live_readers_max: usize,
    /// Streams whose heads are in memory.
    pub open_streams_max: usize,
    /// How long an unused stream's head stays in memory.
    pub idle_stream_ms: u64,
    /// Of subscriptions.
    pub subscriptions: Subscriptions,
}

/// What bounds subscriptions, and how webhooks are sent.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    /// Subscriptions at a time.
    pub subscriptions_max: usize,
    /// Their links together.
    pub links_max: usize,
    /// Webhooks on their way at a time.
    pub deliveries_max: usize,
    /// The same for one target.
    pub deliveries_per_target_max: usize,
    /// How long a webhook may take; never longer than its lease.
    pub webhook_timeout_ms: u64,
    /// How long a signing key is used before the next one is made; `None`: for ever.
    pub webhook_key_lifetime_ms: Option<u64>,
    /// Whether webhooks may go to this machine.
    pub local_targets: LocalTargets,
    /// The server as the world reaches it, such as `https://streams.example`; `None`: as who creates a subscription
    /// does.
    pub public_url: Option<Box<str>>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            subscriptions_max: 10_000,
            links_max: 1_000_000,
            deliveries_max: 256,
            deliveries_per_target_max: 16,
            webhook_timeout_ms: 30_000,
            webhook_key_lifetime_ms: Some(90 * 86_400_000),
            local_targets: LocalTargets::Refused,
            public_url: None,
        }
    }
}

impl Default for Config {
    #[expect(clippy::expect_used, reason = "the path is a constant that a test parses")]
    fn default() -> Self {
        Self {
            base_path: BasePath::parse("/v1/stream").expect("a plain path"),
            policies: ReadPolicies::default(),
            origins: Origins::Any,
            body_bytes_max: 16 << 20,
            bodies_bytes_max: 256 << 20,
            body_timeout_ms: 30_000,
            chunk_bytes: 1 << 20,
            chunk_cache_bytes: 128 << 20,
            event_cache_bytes: 16 << 20,
            long_poll_timeout_ms: 20_000,
            sse_lifetime_ms: 60_000,
            sse_heartbeat_ms: 15_000,
            live_readers_max: 100_000,
            open_streams_max: 1_000_000,
            idle_stream_ms: 60_000,
            subscriptions: Subscriptions::default(),
        }
    }
}
