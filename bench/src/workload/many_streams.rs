//! Very many streams: making them, what they cost in memory, used and idle, and coming back after a crash.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::figures::{
    APPENDS, CREATE_P99, CREATES, Figures, KIB_IDLE_STREAM, KIB_STREAM, RESTART, RSS, WRITTEN_STREAM,
};
use crate::recorder::Recorder;
use crate::trial::{Load, Trial, create, float, path};
use headwater_bench::http::{self, Connection};

const CONNECTIONS: usize = 64;
const CONTENT_TYPE: &str = "application/octet-stream";
const BODY_BYTES: usize = 256;
/// The pause before the memory of idle streams is measured.
const PAUSE: Duration = Duration::from_secs(12);
/// The number of streams read after the restart.
const SAMPLES: usize = 256;

pub(crate) async fn run(trial: &mut Trial<'_>) -> Result<Figures> {
    let streams = trial.streams.max(1);
    let latencies = Recorder::new()?;
    latencies.begin();
    trial.exercise().await?;
    let disk_before = trial.server.disk().written_bytes()?;
    let empty = trial.server.snapshot()?;
    visit(trial, 0..streams, &Visit::Create(latencies.clone())).await?;
    let created = trial.server.snapshot()?;
    visit(trial, 0..streams, &Visit::Append).await?;
    let full = trial.server.snapshot()?;
    let disk_after = trial.server.disk().written_bytes()?;

    let (whole, count) = (empty.until(&full), float(streams as u64));
    let mut figures = Figures::default();
    figures.add(CREATES, count / empty.until(&created).elapsed.as_secs_f64());
    figures.add(CREATE_P99, latencies.lock().quantile_ms(0.99));
    figures.add(APPENDS, count / created.until(&full).elapsed.as_secs_f64());
    figures.add(RSS, float(whole.rss_kib) / 1024.0);
    let kib_each = |rss_kib| (float(rss_kib) - float(empty.rss_kib())) / count;
    figures.add(KIB_STREAM, kib_each(whole.rss_kib));
    tokio::time::sleep(PAUSE).await;
    figures.add(KIB_IDLE_STREAM, kib_each(trial.server.snapshot()?.rss_kib()));
    if let Some((before, after)) = disk_before.zip(disk_after) {
        figures.add(WRITTEN_STREAM, float(after.saturating_sub(before)) / count);
    }
    if trial.server.contender().durable {
        let took = trial.server.kill_and_restart(&name(streams / 2))?;
        figures.add(RESTART, took.as_secs_f64());
        let step = streams.div_ceil(SAMPLES);
        visit(trial, (0..streams).step_by(step), &Visit::Check).await.context("after the restart")?;
    }
    Ok(figures)
}

/// An operation on each stream.
#[derive(Clone)]
enum Visit {
    Create(Recorder),
    Append,
    /// Is what was appended there?
    Check,
}

/// Visits streams over all connections at once, each over one of them.
async fn visit(trial: &Trial<'_>, streams: impl Iterator<Item = usize> + Clone, visit: &Visit) -> Result<()> {
    let mut load = Load::default();
    for client in 0..CONNECTIONS {
        let mine: Vec<usize> = streams.clone().skip(client).step_by(CONNECTIONS).collect();
        load.spawn(visit_each(trial.connect().await?, mine, visit.clone()));
    }
    load.finish().await
}

async fn visit_each(mut connection: Connection, streams: Vec<usize>, visit: Visit) -> Result<()> {
    for stream in streams {
        match &visit {
            Visit::Create(latencies) => {
                let started = Instant::now();
                create(&mut connection, &name(stream), CONTENT_TYPE).await?;
                latencies.finished(started);
            }
            Visit::Append => {
                let headers = [("Content-Type", CONTENT_TYPE)];
                let append = http::request("POST", &path(&name(stream)), &headers, &[b'x'; BODY_BYTES]);
                connection.exchange(&append).await?.expect(204)?;
            }
            Visit::Check => {
                let read = http::request("GET", &format!("{}?offset=-1", path(&name(stream))), &[], b"");
                let response = connection.exchange(&read).await?;
                response.expect(200)?;
                if response.body.len() != BODY_BYTES {
                    bail!("{} has {} bytes, not {BODY_BYTES}", name(stream), response.body.len());
                }
            }
        }
    }
    Ok(())
}

fn name(stream: usize) -> String {
    format!("many-{stream}")
}
