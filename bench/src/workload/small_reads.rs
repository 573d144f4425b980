//! Reads of small streams, whole: 1 KiB of each of 2,000 streams over 64 connections.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::figures::{CPU_OPERATION, Figures, OPERATIONS, RSS, SWITCHES_OPERATION};
use crate::recorder::Recorder;
use crate::trial::{Load, Stop, Trial, create_all, float, path};
use headwater_bench::http::{self, Connection};

const STREAMS: usize = 2000;
const STREAM_BYTES: usize = 1024;
const CONNECTIONS: usize = 64;
const CONTENT_TYPE: &str = "application/octet-stream";

pub(crate) async fn run(trial: &Trial<'_>) -> Result<Figures> {
    create_all(trial, (0..STREAMS).map(name).collect(), CONTENT_TYPE).await?;
    let mut writers = Load::default();
    for writer in 0..CONNECTIONS {
        writers.spawn(fill((writer..STREAMS).step_by(CONNECTIONS), trial.connect().await?));
    }
    writers.finish().await?;

    let recorder = Recorder::new()?;
    let mut load = Load::default();
    for client in 0..CONNECTIONS {
        load.spawn(read(client, trial.connect().await?, recorder.clone(), load.stop()));
    }
    let observed = trial.observe(load, &[&recorder]).await?;
    let record = recorder.lock();
    let reads = float(record.operations);
    let mut figures = Figures::default();
    figures.add(OPERATIONS, observed.rate(reads));
    record.add_latencies(&mut figures);
    observed.add_costs(&mut figures, reads, CPU_OPERATION, SWITCHES_OPERATION);
    figures.add(RSS, observed.rss_mib());
    Ok(figures)
}

async fn fill(streams: impl Iterator<Item = usize>, mut connection: Connection) -> Result<()> {
    for stream in streams {
        append(&mut connection, &name(stream)).await?;
    }
    Ok(())
}

/// Appends the content of a small stream.
pub(super) async fn append(connection: &mut Connection, stream: &str) -> Result<()> {
    let body = [b'x'; STREAM_BYTES];
    let request = http::request("POST", &path(stream), &[("Content-Type", CONTENT_TYPE)], &body);
    connection.exchange(&request).await?.expect(204)
}

/// Clients go through all streams in the same order, each from a place of its own.
async fn read(client: usize, mut connection: Connection, recorder: Recorder, stop: Stop) -> Result<()> {
    let streams = (0..STREAMS).map(|index| (client * STREAMS / CONNECTIONS + index * STRIDE) % STREAMS);
    let requests: Vec<Vec<u8>> = streams
        .map(|stream| http::request("GET", &format!("{}?offset=-1", path(&name(stream))), &[], b""))
        .collect();
    loop {
        for request in &requests {
            if stop.is_set() {
                return Ok(());
            }
            let started = Instant::now();
            let response = connection.exchange(request).await?;
            response.expect(200)?;
            if response.body.len() != STREAM_BYTES {
                bail!("read {} bytes of a stream of {STREAM_BYTES}", response.body.len());
            }
            recorder.finished(started);
        }
    }
}

/// Prime to [`STREAMS`], so that neighbours in the order are no neighbours on the disk.
const STRIDE: usize = 773;

fn name(stream: usize) -> String {
    format!("small-{stream}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_stride_reaches_every_stream() {
        let reached: HashSet<usize> = (0..STREAMS).map(|index| index * STRIDE % STREAMS).collect();
        assert_eq!(reached.len(), STREAMS);
    }
}
