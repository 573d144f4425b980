//! The workloads: what is done to a server, and which figure of it to look at first.

mod append;
mod catch_up;
mod fan_out;
mod feed;
mod many_streams;
mod mixed;
mod not_modified;
mod small_reads;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::figures::{CREATES, Figures, MIB, Metric, OPERATIONS, P99};
use crate::trial::Trial;
use append::{Append, Flavour};
use catch_up::CatchUp;
use fan_out::FanOut;
use feed::Live;

/// Something to do to a server.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) what: String,
    /// The figure to look at first.
    pub(crate) headline: Metric,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Append(Append),
    CatchUp(CatchUp),
    SmallReads,
    NotModified,
    FanOut(FanOut),
    Mixed,
    ManyStreams,
}

/// The number of streams and connections of appends.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 64), (64, 64), (1000, 256)];
/// The number of live readers.
const READERS: [usize; 3] = [1, 100, 1000];

impl Workload {
    /// All there are, in the order in which they run.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (flavour, prefix, what) in [
            (Flavour::Plain, "", "256 bytes"),
            (Flavour::Json, "json-", "JSON values of 256 bytes"),
            (Flavour::Producer, "producer-", "256 bytes by idempotent producers"),
        ] {
            for (streams, connections) in SHAPES {
                all.push(Self::new(
                    format!("{prefix}append-{streams}x{connections}"),
                    format!(
                        "appends of {what} to {} over {}",
                        streams_of(streams),
                        connections_of(connections)
                    ),
                    OPERATIONS,
                    Kind::Append(Append { flavour, streams, connections, sustained: false }),
                ));
            }
        }
        for readers in [1, 8] {
            all.push(Self::new(
                format!("catch-up-{readers}"),
                format!("{} of a stream of 64 MiB, from beginning to tail and again", readers_of(readers)),
                MIB,
                Kind::CatchUp(CatchUp { readers }),
            ));
        }
        all.push(Self::new(
            "small-reads",
            "whole reads of 2,000 streams of 1 KiB over 64 connections",
            OPERATIONS,
            Kind::SmallReads,
        ));
        all.push(Self::new(
            "not-modified",
            "304s to If-None-Match for one stream over 64 connections",
            OPERATIONS,
            Kind::NotModified,
        ));
        for (live, prefix, what) in
            [(Live::Sse, "sse", "event streams"), (Live::LongPoll, "long-poll", "long-polls")]
        {
            for readers in READERS {
                all.push(Self::new(
                    format!("{prefix}-{readers}"),
                    format!("deliveries by {what} to {} of a stream with 20 messages/s", readers_of(readers)),
                    P99,
                    Kind::FanOut(FanOut { live, readers }),
                ));
            }
        }
        all.push(Self::new(
            "mixed",
            "deliveries of 400 messages/s in 8 streams to 200 event streams, beside 2 readers catching up",
            P99,
            Kind::Mixed,
        ));
        all.push(Self::new(
            "streams-100k",
            "100,000 streams (--streams) made over 64 connections, appended to once, and found after kill -9",
            CREATES,
            Kind::ManyStreams,
        ));
        all.push(Self::new(
            "sustained",
            "appends of 256 bytes to 1,000 streams over 256 connections for a minute (--secs)",
            OPERATIONS,
            Kind::Append(Append {
                flavour: Flavour::Plain,
                streams: 1000,
                connections: 256,
                sustained: true,
            }),
        ));
        all
    }

    /// The workloads with these names, or with a name that one of these begins: `sse` selects sse-1 and the others.
    pub(crate) fn select(names: &[String]) -> Result<Vec<Self>> {
        let matches = |name: &str, workload: &Self| {
            name == "all"
                || workload
                    .name
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        for name in names {
            if !Self::all().iter().any(|workload| matches(name, workload)) {
                bail!("there is no workload `{name}`; `--list` names all");
            }
        }
        let wanted = |workload: &Self| names.iter().any(|name| matches(name, workload));
        Ok(Self::all().into_iter().filter(wanted).collect())
    }

    fn new(name: impl Into<String>, what: impl Into<String>, headline: Metric, kind: Kind) -> Self {
        Self { name: name.into(), what: what.into(), headline, kind }
    }

    /// For how long to count, if nobody says so.
    pub(crate) fn default_duration(&self) -> Duration {
        match self.kind {
            Kind::Append(Append { sustained: true, .. }) => Duration::from_secs(60),
            _ => Duration::from_secs(5),
        }
    }

    /// Does it, once.
    pub(crate) async fn run(&self, trial: &mut Trial<'_>) -> Result<Figures> {
        match self.kind {
            Kind::Append(append) => append.run(trial).await,
            Kind::CatchUp(catch_up) => catch_up.run(trial).await,
            Kind::SmallReads => small_reads::run(trial).await,
            Kind::NotModified => not_modified::run(trial).await,
            Kind::FanOut(fan_out) => fan_out.run(trial).await,
            Kind::Mixed => mixed::run(trial).await,
            Kind::ManyStreams => many_streams::run(trial).await,
        }
    }
}

fn streams_of(count: usize) -> String {
    counted(count, "stream")
}

fn connections_of(count: usize) -> String {
    counted(count, "connection")
}

fn readers_of(count: usize) -> String {
    counted(count, "reader")
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        1000 => format!("1,000 {noun}s"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn selected(names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Workload::select(&names).unwrap().into_iter().map(|workload| workload.name).collect()
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<String> = Workload::all().into_iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), Workload::all().len());
    }

    #[test]
    fn a_name_selects_itself_or_those_it_begins() {
        assert_eq!(selected(&["append-1x64"]), ["append-1x64"]);
        assert_eq!(selected(&["sse", "mixed"]), ["sse-1", "sse-100", "sse-1000", "mixed"]);
        assert_eq!(selected(&["append"]).len(), SHAPES.len());
        assert_eq!(selected(&["all"]).len(), Workload::all().len());
        assert!(Workload::select(&["append-1".to_owned()]).is_err());
    }
}
