//! What happens in front of a cache: one table of scenarios, each a writer, an audience and a disturbance.

use std::time::Duration;

use crate::proxy::Kind;
use crate::viewer::Mode;

/// A disturbance in the course of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disturbance {
    /// All viewers lose their connections at once.
    Storm,
    /// The origin ends and starts again.
    Restart,
    /// The stream is deleted, and another one gets its name.
    Recreate,
}

/// The origin behind the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Origins {
    /// The server, with these flags.
    One,
    /// An application around the server's library, that gives each of two users a stream of their own.
    OneForEachUser { visibility: &'static str },
}

/// A scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) mode: Mode,
    /// The size of the stream before the first viewer, in MiB.
    pub(crate) history_mib: u64,
    pub(crate) messages_per_s: f64,
    /// The silence in the middle.
    pub(crate) silence: Duration,
    /// The size of the audience, as a part of the one asked for.
    pub(crate) audience: f64,
    /// Over which part of the time viewers join.
    pub(crate) joins: f64,
    pub(crate) disturbance: Option<Disturbance>,
    pub(crate) origins: Origins,
    /// Flags of the origin beside its defaults.
    pub(crate) flags: &'static [&'static str],
    /// Viewer requests per origin request below which something is broken: far below what is measured.
    pub(crate) collapse_min: fn(Kind) -> f64,
    /// The origin's bytes, in parts of the history, above which something is broken.
    pub(crate) history_reads_max: Option<f64>,
}

const BASE: Scenario = Scenario {
    name: "live",
    what: "viewers join over the first half; two messages a second; long-poll; then the stream is closed",
    mode: Mode::LongPoll,
    history_mib: 0,
    messages_per_s: 2.0,
    silence: Duration::ZERO,
    audience: 1.0,
    joins: 0.5,
    disturbance: None,
    origins: Origins::One,
    flags: &["--store", "mem"],
    collapse_min: |_| 20.0,
    history_reads_max: None,
};

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        BASE,
        Scenario {
            name: "silence",
            what: "the same with 12 s of silence, longer than the long-poll timeout of 5 s",
            silence: Duration::from_secs(12),
            flags: &["--store", "mem", "--long-poll-timeout", "5s"],
            ..BASE
        },
        Scenario {
            name: "late-joiners",
            what: "a fifth of the viewers read 64 MiB of history, then follow",
            history_mib: 64,
            audience: 0.2,
            collapse_min: |_| 10.0,
            history_reads_max: Some(1.1),
            ..BASE
        },
        Scenario {
            name: "closure",
            what: "everybody waits at the tail of a silent stream, which is closed",
            messages_per_s: 0.0,
            joins: 0.2,
            collapse_min: |_| 10.0,
            ..BASE
        },
        Scenario {
            name: "tail-polling",
            what: "viewers ask for the tail every half second instead of waiting",
            mode: Mode::Polling(Duration::from_millis(500)),
            ..BASE
        },
        Scenario {
            name: "sse",
            what: "event streams, shared by a cache that can (--cache-sse 10s)",
            mode: Mode::EventStream,
            flags: &["--store", "mem", "--cache-sse", "10s", "--sse-lifetime", "10s"],
            collapse_min: |kind| if kind == Kind::Varnish { 5.0 } else { 0.9 },
            ..BASE
        },
        Scenario {
            name: "reconnect-storm",
            what: "all viewers lose their connections at once, in the middle",
            disturbance: Some(Disturbance::Storm),
            ..BASE
        },
        Scenario {
            name: "revalidation",
            what: "chunks are fresh for a second only: 8 MiB of history are revalidated, not sent again",
            history_mib: 8,
            joins: 0.9,
            flags: &["--store", "mem", "--cache-chunk", "1s", "--cache-chunk-stale", "0s"],
            collapse_min: |_| 5.0,
            // Varnish and nginx keep what they revalidate.
            history_reads_max: Some(1.5),
            ..BASE
        },
        Scenario {
            name: "delete-recreate",
            what: "the stream is deleted in the middle and another one gets its name",
            disturbance: Some(Disturbance::Recreate),
            // That a stream is gone is kept by nobody: each viewer asks for itself.
            collapse_min: |_| 3.0,
            ..BASE
        },
        Scenario {
            name: "origin-restart",
            what: "the origin, on disk, ends in the middle and starts again",
            disturbance: Some(Disturbance::Restart),
            flags: &["--store", "rocksdb"],
            ..BASE
        },
        Scenario {
            name: "private",
            what: "two users with a credential each read streams of the same URL that are private",
            origins: Origins::OneForEachUser { visibility: "private" },
            collapse_min: |_| 0.0,
            ..BASE
        },
        Scenario {
            name: "by-credential",
            what: "the same with streams that say public, so that caches keep one response for each credential",
            origins: Origins::OneForEachUser { visibility: "public" },
            collapse_min: |_| 0.0,
            ..BASE
        },
    ]
}
