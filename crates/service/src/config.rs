//! The configuration of a service, with all of its bounds.
//!
//! ```
//! use headwater_service::config::Config;
//!
//! let mut config = Config::default();
//! config.body_bytes_max = 1 << 20;
//! config.subscriptions.links_max = 10_000;
//! ```

use headwater_protocol::{
    cross_origin::Origins, op::read::ReadPolicies, pace::Pace, path::BasePath, request::TrustedProxies,
    subscription::target::LocalTargets,
};

/// The configuration of a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The path under which all streams are.
    pub base_path: BasePath,
    /// The ages of cacheable responses, and cursors.
    pub policies: ReadPolicies,
    /// The origins whose pages may use the streams (CORS).
    pub origins: Origins,
    /// The proxies that may say how clients reach the server.
    pub trusted_proxies: TrustedProxies,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
    /// The memory for all request bodies, in bytes: while they are received, and until what they ask for is durable. A JSON
    /// body counts twice while it is split. It should be at least twice `body_bytes_max`.
    pub bodies_bytes_max: u64,
    /// How long a request body may pause and take.
    pub pace: Pace,
    /// The memory for ranges and events on their way to readers, in bytes, besides the caches; a quarter of it is for
    /// events as they are sent. Further reads are refused with 503; those that have begun wait. It should be at least
    /// 32 MiB.
    pub responses_bytes_max: u64,
    /// The distance between the ends of chunks, in bytes.
    pub chunk_bytes: u64,
    /// The memory for cached chunks, in bytes.
    pub chunk_cache_bytes: u64,
    /// The memory for cached events, in bytes.
    pub event_cache_bytes: u64,
    /// The time after which a long-poll ends without data, in milliseconds.
    pub long_poll_timeout_ms: u64,
    /// The longest lifetime of an event stream, in milliseconds. Each ends at a random-looking point in its last sixth.
    pub sse_lifetime_ms: u64,
    /// The longest silence of an event stream, in milliseconds.
    pub sse_heartbeat_ms: u64,
    /// The largest number of live readers (long-polls and event streams) at a time.
    pub live_readers_max: usize,
    /// The largest number of streams whose heads are in memory.
    pub open_streams_max: usize,
    /// The time for which the head of an unused stream stays in memory, in milliseconds.
    pub idle_stream_ms: u64,
    /// The configuration of subscriptions.
    pub subscriptions: SubscriptionConfig,
}

/// The bounds of subscriptions, and how their webhooks are sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionConfig {
    /// The largest number of subscriptions.
    pub subscriptions_max: usize,
    /// The largest number of links of all subscriptions together.
    pub links_max: usize,
    /// The largest number of webhooks in flight.
    pub deliveries_max: usize,
    /// The largest number of webhooks in flight to one target.
    pub deliveries_per_target_max: usize,
    /// The longest time that a webhook may take, in milliseconds; it never exceeds the lease.
    pub webhook_timeout_ms: u64,
    /// The time after which a signing key is replaced, in milliseconds; `None`: never.
    pub webhook_key_lifetime_ms: Option<u64>,
    /// Whether webhooks may go to this machine.
    pub local_targets: LocalTargets,
    /// The origin of callback URLs, such as `https://streams.example`; `None`: the one that the subscription was created
    /// with.
    pub public_url: Option<Box<str>>,
}

impl Default for SubscriptionConfig {
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
            trusted_proxies: TrustedProxies::default(),
            body_bytes_max: 16 << 20,
            bodies_bytes_max: 256 << 20,
            pace: Pace { pause_ms: 300_000, time_ms: 1_800_000, bytes_per_s: 16 << 10 },
            responses_bytes_max: 256 << 20,
            chunk_bytes: 1 << 20,
            chunk_cache_bytes: 128 << 20,
            event_cache_bytes: 16 << 20,
            long_poll_timeout_ms: 20_000,
            sse_lifetime_ms: 60_000,
            sse_heartbeat_ms: 15_000,
            live_readers_max: 100_000,
            open_streams_max: 1_000_000,
            idle_stream_ms: 60_000,
            subscriptions: SubscriptionConfig::default(),
        }
    }
}
