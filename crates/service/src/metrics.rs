//! Counters and gauges for operators, as OpenMetrics text.
//!
//! The reads by class tell how much the caches in front take off the origin, without access to them. All label sets are
//! registered at start, so that counting takes no lock.

use std::{fmt, hash::Hash};

use enum_map::{Enum, EnumArray, EnumMap};
use headwater_protocol::{
    cache::Class,
    request::METHODS,
    response::{ResponseHead, Source},
    subscription::view::Received,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};

use crate::builder::LostLines;

/// The upper bounds of the buckets of commit times, in seconds.
const COMMIT_SECONDS: [f64; 12] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
/// The statuses of responses.
const STATUSES: [u16; 17] =
    [200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 431, 500, 503, 507];

/// All counters and gauges of a service.
pub(crate) struct Metrics {
    registry: Registry,
    log_lines_lost: Counter,
    count_lost: Option<LostLines>,
    requests: Requests,
    reads: EnumMap<ReadLabels, Counter>,
    read_bytes: EnumMap<ClassLabels, Counter>,
    commits: Histogram,
    commits_failed: Counter,
    appended_bytes: Counter,
    webhooks: EnumMap<WebhookLabels, Counter>,
    wake_events: Counter,
    store_failing: Gauge,
    store_stopped: Gauge,
    live_readers: Gauge,
    open_streams: Gauge,
    request_body_bytes: Gauge,
    response_body_bytes: Gauge,
    subscriptions: Gauge,
    subscription_links: Gauge,
}

/// The values of the gauges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) store_failing: bool,
    pub(crate) store_stopped: bool,
    pub(crate) live_readers: usize,
    pub(crate) open_streams: usize,
    pub(crate) request_body_bytes: u64,
    pub(crate) response_body_bytes: u64,
    pub(crate) subscriptions: usize,
    pub(crate) subscription_links: usize,
}

/// Requests by method and status.
struct Requests {
    family: Family<RequestLabels, Counter>,
    /// A counter for each of [`STATUSES`].
    methods: Vec<(&'static str, [Counter; STATUSES.len()])>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelSet)]
struct ReadLabels {
    class: label::Class,
    answer: label::Answer,
    source: label::Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelSet)]
struct ClassLabels {
    class: label::Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelSet)]
struct WebhookLabels {
    answer: label::Webhook,
}

/// The values of labels.
mod label {
    #![expect(non_camel_case_types, reason = "a variant is written as it is named")]

    use enum_map::Enum;
    use prometheus_client::encoding::EncodeLabelValue;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelValue)]
    pub(super) enum Class {
        cacheable,
        tail,
        live,
        uncacheable,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelValue)]
    pub(super) enum Answer {
        full,
        revalidated,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelValue)]
    pub(super) enum Source {
        memory,
        store,
        collapsed,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EncodeLabelValue)]
    pub(super) enum Webhook {
        done,
        accepted,
        failed,
    }
}

impl Metrics {
    pub(crate) fn new(count_lost: Option<LostLines>) -> Self {
        let mut registry = Registry::with_prefix("headwater");
        let to = &mut registry;
        Self {
            requests: Requests::register(to),
            reads: counters(
                to,
                "reads",
                "Reads answered: class is what caches may do (cacheable, tail, live, uncacheable); answer is full or \
                 revalidated (304); source is where the bytes came from (memory, store, or collapsed: a read of the \
                 store that another request had begun)",
                None,
            ),
            read_bytes: counters(to, "read", "Bytes of bodies sent to readers", Some(Unit::Bytes)),
            commits: {
                let commits = Histogram::new(COMMIT_SECONDS);
                let help = "Time from a decision until it is durable and visible";
                to.register_with_unit("commit", help, Unit::Seconds, commits.clone());
                commits
            },
            commits_failed: register(to, "commits_failed", "Commits that the store refused", None),
            appended_bytes: register(
                to,
                "appended",
                "Bytes of streams that became durable",
                Some(Unit::Bytes),
            ),
            store_failing: register(
                to,
                "store_failing",
                "1 while the store can't do its work and goes on by itself later, otherwise 0",
                None,
            ),
            store_stopped: register(
                to,
                "store_stopped",
                "1 once the store takes no more writes until a restart, otherwise 0",
                None,
            ),
            live_readers: register(to, "live_readers", "Long-polls and event streams now", None),
            open_streams: register(to, "open_streams", "Streams whose heads are in memory now", None),
            request_body_bytes: register(
                to,
                "request_body",
                "Memory of request bodies now, until what they ask for is durable",
                Some(Unit::Bytes),
            ),
            response_body_bytes: register(
                to,
                "response_body",
                "Memory of ranges and events now, on their way to readers or cached for them",
                Some(Unit::Bytes),
            ),
            webhooks: counters(
                to,
                "webhooks",
                "Webhooks sent, by what came back: done, accepted (a callback is to follow), or failed",
                None,
            ),
            wake_events: register(to, "wake_events", "Events written to wake streams", None),
            subscriptions: register(to, "subscriptions", "Subscriptions now", None),
            subscription_links: register(
                to,
                "subscription_links",
                "Streams of all subscriptions together now",
                None,
            ),
            log_lines_lost: register(to, "log_lines_lost", "Lines of the log that nobody took in time", None),
            count_lost,
            registry,
        }
    }

    /// Counts a response.
    pub(crate) fn request(&self, method: &'static str, status: u16) {
        self.requests.count(method, status);
    }

    /// Counts a response to a read, and its bytes.
    pub(crate) fn read(&self, head: &ResponseHead, source: Source, bytes: u64) {
        let answer = if head.is_not_modified() { label::Answer::revalidated } else { label::Answer::full };
        let source = match source {
            Source::Memory => label::Source::memory,
            Source::Store => label::Source::store,
            Source::Collapsed => label::Source::collapsed,
        };
        self.reads[ReadLabels { class: head.class.into(), answer, source }].inc();
        self.read_bytes(head.class, bytes);
    }

    /// Counts bytes sent to a reader.
    pub(crate) fn read_bytes(&self, class: Class, bytes: u64) {
        self.read_bytes[ClassLabels { class: class.into() }].inc_by(bytes);
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
            Received::Done => label::Webhook::done,
            Received::Accepted => label::Webhook::accepted,
            Received::Refused { .. } => label::Webhook::failed,
        };
        self.webhooks[WebhookLabels { answer }].inc();
    }

    /// Counts an event in a wake stream.
    pub(crate) fn wake_event(&self) {
        self.wake_events.inc();
    }

    /// Sets the gauges and returns everything as text.
    pub(crate) fn encode(&self, levels: Levels) -> String {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.store_failing, levels.store_failing.into());
        set(&self.store_stopped, levels.store_stopped.into());
        set(&self.live_readers, levels.live_readers as u64);
        set(&self.open_streams, levels.open_streams as u64);
        set(&self.request_body_bytes, levels.request_body_bytes);
        set(&self.response_body_bytes, levels.response_body_bytes);
        set(&self.subscriptions, levels.subscriptions as u64);
        set(&self.subscription_links, levels.subscription_links as u64);
        let lost = self.count_lost.as_ref().map_or(0, |count_lost| count_lost());
        self.log_lines_lost.inc_by(lost.saturating_sub(self.log_lines_lost.get()));
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Requests {
    fn register(registry: &mut Registry) -> Self {
        let help = "Requests answered, by method and status; not those for health and metrics";
        let family: Family<RequestLabels, Counter> = register(registry, "requests", help, None);
        let methods = METHODS.into_iter().chain(["other"]).map(|method| {
            let counter = |status| family.get_or_create(&RequestLabels { method, status }).clone();
            (method, STATUSES.map(counter))
        });
        Self { methods: methods.collect(), family }
    }

    fn count(&self, method: &'static str, status: u16) {
        let known = self.methods.iter().find(|(known, _)| *known == method);
        let counter = known.and_then(|(_, counters)| counters.get(STATUSES.binary_search(&status).ok()?));
        match counter {
            Some(counter) => counter.inc(),
            None => self.family.get_or_create(&RequestLabels { method, status }).inc(),
        };
    }
}

fn register<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
) -> M {
    let metric = M::default();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

/// Registers a counter for each label set.
fn counters<L>(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>) -> EnumMap<L, Counter>
where
    L: EnumArray<Counter> + EncodeLabelSet + Copy + fmt::Debug + Eq + Hash + Send + Sync + 'static,
{
    let family: Family<L, Counter> = register(registry, name, help, unit);
    EnumMap::from_fn(|labels| family.get_or_create(&labels).clone())
}

impl From<Class> for label::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Chunk | Class::ChunkUnnamed | Class::ClosedTail => Self::cacheable,
            Class::OpenTail => Self::tail,
            Class::LongPollData | Class::LongPollTimeout | Class::LongPollClosed | Class::EventStream => {
                Self::live
            }
            Class::Never => Self::uncacheable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_label_set_is_there_from_the_start_and_any_status_is_counted() {
        let metrics = Metrics::new(Some(Arc::new(|| 7)));
        assert!(STATUSES.is_sorted());
        for status in [200, 599] {
            metrics.request("GET", status);
        }
        let levels = Levels {
            store_failing: false,
            store_stopped: true,
            live_readers: 1,
            open_streams: 2,
            request_body_bytes: 3,
            response_body_bytes: 6,
            subscriptions: 4,
            subscription_links: 5,
        };
        let text = metrics.encode(levels);
        for line in [
            "headwater_requests_total{method=\"GET\",status=\"200\"} 1",
            "headwater_requests_total{method=\"GET\",status=\"599\"} 1",
            "headwater_requests_total{method=\"other\",status=\"405\"} 0",
            "headwater_reads_total{class=\"tail\",answer=\"revalidated\",source=\"memory\"} 0",
            "headwater_read_bytes_total{class=\"live\"} 0",
            "headwater_webhooks_total{answer=\"accepted\"} 0",
            "headwater_commit_seconds_count 0",
            "headwater_log_lines_lost_total 7",
            "headwater_store_failing 0",
            "headwater_store_stopped 1",
            "headwater_request_body_bytes 3",
            "headwater_response_body_bytes 6",
            "headwater_subscription_links 5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in {text}");
        }
    }
}
