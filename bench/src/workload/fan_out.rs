//! Live readers of one stream that gets 20 messages a second.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::feed::{CONTENT_TYPE, Feed, Live};
use crate::figures::{CPU_DELIVERY, DELIVERIES, Figures, KIB_READER, RSS, SWITCHES_DELIVERY};
use crate::recorder::Recorder;
use crate::trial::{Load, Trial, create, float};

/// The number of readers, and how they read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanOut {
    pub(crate) live: Live,
    pub(crate) readers: usize,
}

const STREAM: &str = "fan-out";
/// 20 messages a second.
const INTERVAL: Duration = Duration::from_millis(50);
/// With fewer readers, what one costs is lost in what the server needs anyway.
const READERS_WEIGHED_MIN: usize = 100;

impl FanOut {
    pub(crate) async fn run(&self, trial: &Trial<'_>) -> Result<Figures> {
        let tail = create(&mut trial.connect().await?, STREAM, CONTENT_TYPE).await?;
        let feed = Feed::new(STREAM, tail);
        trial.exercise().await?;
        let alone = trial.server.snapshot()?.rss_kib();

        let deliveries = Recorder::new()?;
        let mut load = Load::default();
        for _ in 0..self.readers {
            let reader = feed.subscribe(trial.connect().await?, self.live).await?;
            load.spawn(feed.clone().read(reader, deliveries.clone()));
        }
        // Not the connection from before: servers close what has been idle for long.
        load.spawn(feed.write(trial.connect().await?, Instant::now(), INTERVAL, load.stop()));
        let observed = trial.observe(load, &[&deliveries]).await?;
        let record = deliveries.lock();
        let count = float(record.operations);
        let mut figures = Figures::default();
        figures.add(DELIVERIES, observed.rate(count));
        record.add_latencies(&mut figures);
        observed.add_costs(&mut figures, count, CPU_DELIVERY, SWITCHES_DELIVERY);
        figures.add(RSS, observed.rss_mib());
        if self.readers >= READERS_WEIGHED_MIN {
            let grown = float(observed.server.rss_kib) - float(alone);
            figures.add(KIB_READER, grown / self.readers as f64);
        }
        Ok(figures)
    }
}
