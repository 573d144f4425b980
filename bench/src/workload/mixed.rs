//! Everything at once: 8 streams with 400 messages a second together, 200 event streams, 2 readers catching up.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use super::catch_up::{fill, pass};
use super::feed::{CONTENT_TYPE, Feed, Live};
use crate::figures::{CATCH_UP, CPU_DELIVERY, DELIVERIES, Figures, RSS, SWITCHES_DELIVERY};
use crate::message::MESSAGE_BYTES;
use crate::recorder::Recorder;
use crate::trial::{Load, Stop, Trial, create, float};
use headwater_bench::http::Connection;

const STREAMS: usize = 8;
/// 50 messages a second in each stream.
const INTERVAL: Duration = Duration::from_millis(20);
const EVENT_STREAMS: usize = 200;
const CATCHING_UP: usize = 2;
/// The size of a stream before the first message.
const HISTORY_BYTES: usize = 8 << 20;

pub(crate) async fn run(trial: &Trial<'_>) -> Result<Figures> {
    let mut connection = trial.connect().await?;
    let mut feeds = Vec::new();
    for stream in (0..STREAMS).map(name) {
        create(&mut connection, &stream, CONTENT_TYPE).await?;
        feeds.push(Feed::new(&stream, fill(&mut connection, &stream, CONTENT_TYPE, HISTORY_BYTES).await?));
    }

    let (deliveries, caught_up) = (Recorder::new()?, Recorder::new()?);
    let mut load = Load::default();
    for feed in feeds.iter().cycle().take(EVENT_STREAMS) {
        let reader = feed.subscribe(trial.connect().await?, Live::Sse).await?;
        load.spawn(feed.clone().read(reader, deliveries.clone()));
    }
    // Streams take turns within an interval, so that messages are evenly apart.
    let mut first = Instant::now();
    for feed in feeds {
        load.spawn(feed.write(trial.connect().await?, first, INTERVAL, load.stop()));
        first += INTERVAL / STREAMS as u32;
    }
    for reader in 0..CATCHING_UP {
        load.spawn(catch_up(reader, trial.connect().await?, caught_up.clone(), load.stop()));
    }
    let observed = trial.observe(load, &[&deliveries, &caught_up]).await?;

    let record = deliveries.lock();
    let count = float(record.operations);
    let mut figures = Figures::default();
    figures.add(DELIVERIES, observed.rate(count));
    record.add_latencies(&mut figures);
    figures.add(CATCH_UP, observed.rate(float(caught_up.lock().bytes) / float(1 << 20)));
    observed.add_costs(&mut figures, count, CPU_DELIVERY, SWITCHES_DELIVERY);
    figures.add(RSS, observed.rss_mib());
    Ok(figures)
}

/// Reads one stream after the other from its beginning.
async fn catch_up(reader: usize, mut connection: Connection, recorder: Recorder, stop: Stop) -> Result<()> {
    for stream in (reader..).map(|turn| turn % STREAMS) {
        if stop.is_set() {
            break;
        }
        let bytes = pass(&mut connection, &name(stream), &recorder).await?;
        let messages = bytes.checked_sub(HISTORY_BYTES as u64);
        if !messages.is_some_and(|bytes| bytes.is_multiple_of(MESSAGE_BYTES as u64)) {
            bail!("caught up after {bytes} bytes: not {HISTORY_BYTES} and whole messages of {MESSAGE_BYTES}");
        }
    }
    Ok(())
}

fn name(stream: usize) -> String {
    format!("mixed-{stream}")
}
