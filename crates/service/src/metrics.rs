//! What an operator watches: counters and gauges as OpenMetrics text, which Prometheus and its kin collect.
//!
//! The reads by class tell how much the caches in front take off the origin, without access to them.

use std::{fmt, hash::Hash, sync::OnceLock};

use headwater_protocol::{
    cache::Class,
    request::METHODS,
    response::{ResponseHead, Source},
    subscription::view::Received,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Upper bounds of the times of commits, in seconds.
const COMMIT_SECONDS: [f64; 12] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    class: &'static str,
    answer: &'static str,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    answer: &'static str,
}

/// Counters of one family, each at a place of its own: to look one up by its labels takes a lock that all threads share.
struct Counters<L> {
    family: Family<L, Counter>,
    places: Box<[OnceLock<Counter>]>,
}

impl<L: Clone + Eq + Hash> Counters<L> {
    fn new(places: usize) -> Self {
        Self { family: Family::default(), places: (0..places).map(|_| OnceLock::new()).collect() }
    }

    /// Adds to the counter at a place. All that count there have these labels.
    fn add(&self, place: usize, labels: &L, count: u64) {
        match self.places.get(place) {
            Some(counter) => counter.get_or_init(|| self.family.get_or_create(labels).clone()).inc_by(count),
            None => self.family.get_or_create(labels).inc_by(count),
        };
    }
}

/// Statuses have three digits.
const STATUSES: usize = 1_000;
/// More than there are.
const CLASSES: usize = 16;
const SOURCES: usize = 4;

/// All of them. What is counted in an answer's way costs some tens of nanoseconds.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters<RequestLabels>,
    reads: Counters<ReadLabels>,
    read_bytes: Counters<ClassLabels>,
    commits: Histogram,
    commits_failed: Counter,
    appended_bytes: Counter,
    webhooks: Family<WebhookLabels, Counter>,
    wake_events: Counter,
    live_readers: Gauge,
    open_streams: Gauge,
    request_body_bytes: Gauge,
    subscriptions: Gauge,
    subscription_links: Gauge,
}

/// What is so now, rather than counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) live_readers: usize,
    pub(crate) open_streams: usize,
    pub(crate) request_body_bytes: u64,
    pub(crate) subscriptions: usize,
    pub(crate) subscription_links: usize,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("headwater"),
            requests: Counters::new((METHODS.len() + 1) * STATUSES),
            reads: Counters::new(CLASSES * SOURCES * 2),
            read_bytes: Counters::new(CLASSES),
            commits: Histogram::new(COMMIT_SECONDS),
            commits_failed: Counter::default(),
            appended_bytes: Counter::default(),
            live_readers: Gauge::default(),
            open_streams: Gauge::default(),
            request_body_bytes: Gauge::default(),
            webhooks: Family::default(),
            wake_events: Counter::default(),
            subscriptions: Gauge::default(),
            subscription_links: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests answered, by method and status; not those for health and metrics",
            self.requests.family.clone(),
        );
        registry.register(
            "reads",
            "Reads answered: class is what caches may do (cacheable, tail, live, uncacheable); answer is full or \
             revalidated (304); source is where the bytes came from (memory, store, or collapsed: a read of the \
             store that another request had begun)",
            self.reads.family.clone(),
        );
        registry.register_with_unit(
            "read",
            "Bytes of bodies sent to readers",
            Unit::Bytes,
            self.read_bytes.family.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time from a decision until it is durable and visible",
            Unit::Seconds,
            self.commits.clone(),
        );
        registry.register("commits_failed", "Commits that the store refused", self.commits_failed.clone());
        registry.register_with_unit(
            "appended",
            "Bytes of streams that became durable",
            Unit::Bytes,
            self.appended_bytes.clone(),
        );
        registry.register("live_readers", "Long-polls and event streams now", self.live_readers.clone());
        registry.register("open_streams", "Streams whose heads are in memory now", self.open_streams.clone());
        registry.register_with_unit(
            "request_body",
            "Memory of request bodies being received now",
            Unit::Bytes,
            self.request_body_bytes.clone(),
        );
        registry.register(
            "webhooks",
            "Webhooks sent, by what came back: done, accepted (a callback is to follow), or failed",
            self.webhooks.clone(),
        );
        registry.register("wake_events", "Events written to wake streams", self.wake_events.clone());
        registry.register("subscriptions", "Subscriptions now", self.subscriptions.clone());
        registry.register(
            "subscription_links",
            "Streams of all subscriptions together now",
            self.subscription_links.clone(),
        );
        self
    }

    /// Counts an answer.
    pub(crate) fn request(&self, method: &'static str, status: u16) {
        let method_place = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
        let place = method_place * STATUSES + usize::from(status);
        self.requests.add(place, &RequestLabels { method, status }, 1);
    }

    /// Counts an answer to a read, and its bytes.
    pub(crate) fn read(&self, head: &ResponseHead, source: Source, bytes: u64) {
        let class = head.class.group();
        let revalidated = head.is_not_modified();
        let answer = if revalidated { "revalidated" } else { "full" };
        let place = (head.class as usize * SOURCES + source as usize) * 2 + usize::from(revalidated);
        let source = match source {
            Source::Memory => "memory",
            Source::Store => "store",
            Source::Collapsed => "collapsed",
        };
        self.reads.add(place, &ReadLabels { class, answer, source }, 1);
        self.read_bytes(head.class, bytes);
    }

    /// Counts bytes sent to a reader.
    pub(crate) fn read_bytes(&self, class: Class, bytes: u64) {
        if bytes > 0 {
            self.read_bytes.add(class as usize, &ClassLabels { class: class.group() }, bytes);
        }
    }

    /// Counts a commit that became durable after `took_us`.
    pub(crate) fn committed(&self, took_us: u64, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a commit fit")]
        self.commits.observe(took_us as f64 / 1e6);
        self.appended_bytes.inc_by(bytes);
    }

    /// Counts a commit that failed.
    pub(crate) fn commit_failed(&self) {
        self.commits_failed.inc();
    }

    /// Counts a webhook that was sent.
    pub(crate) fn webhook(&self, received: Received) {
        let answer = match received {
            Received::Done => "done",
            Received::Accepted => "accepted",
            Received::Refused => "failed",
        };
        self.webhooks.get_or_create(&WebhookLabels { answer }).inc();
    }

    /// Counts an event in a wake stream.
    pub(crate) fn wake_event(&self) {
        self.wake_events.inc();
    }

    /// Everything, as text.
    pub(crate) fn encode(&self, levels: Levels) -> String {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.live_readers, levels.live_readers as u64);
        set(&self.open_streams, levels.open_streams as u64);
        set(&self.request_body_bytes, levels.request_body_bytes);
        set(&self.subscriptions, levels.subscriptions as u64);
        set(&self.subscription_links, levels.subscription_links as u64);
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}
