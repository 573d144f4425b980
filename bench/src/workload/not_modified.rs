//! Revalidations of one small stream over 64 connections: 304s, what a cache in front asks for most.

use std::time::Instant;

use anyhow::Result;

use super::small_reads;
use crate::figures::{CPU_OPERATION, Figures, OPERATIONS, RSS, SWITCHES_OPERATION};
use crate::recorder::Recorder;
use crate::trial::{Load, Stop, Trial, create, float, path};
use headwater_bench::http::{self, Connection};

const STREAM: &str = "not-modified";
const CONNECTIONS: usize = 64;

pub(crate) async fn run(trial: &Trial<'_>) -> Result<Figures> {
    let mut connection = trial.connect().await?;
    create(&mut connection, STREAM, "application/octet-stream").await?;
    small_reads::append(&mut connection, STREAM).await?;
    let url = format!("{}?offset=-1", path(STREAM));
    let response = connection.exchange(&http::request("GET", &url, &[], b"")).await?;
    response.expect(200)?;
    let request = http::request("GET", &url, &[("If-None-Match", response.header("ETag")?)], b"");

    let recorder = Recorder::new()?;
    let mut load = Load::default();
    for _ in 0..CONNECTIONS {
        load.spawn(revalidate(trial.connect().await?, request.clone(), recorder.clone(), load.stop()));
    }
    let observed = trial.observe(load, &[&recorder]).await?;
    let record = recorder.lock();
    let responses = float(record.operations);
    let mut figures = Figures::default();
    figures.add(OPERATIONS, observed.rate(responses));
    record.add_latencies(&mut figures);
    observed.add_costs(&mut figures, responses, CPU_OPERATION, SWITCHES_OPERATION);
    figures.add(RSS, observed.rss_mib());
    Ok(figures)
}

async fn revalidate(
    mut connection: Connection,
    request: Vec<u8>,
    recorder: Recorder,
    stop: Stop,
) -> Result<()> {
    while !stop.is_set() {
        let started = Instant::now();
        connection.exchange(&request).await?.expect(304)?;
        recorder.finished(started);
    }
    Ok(())
}
