//! One measurement: a server, how long to load it, and what it and we used meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::contender::BASE_PATH;
use crate::figures::{Figures, LOAD_CPU, Metric};
use crate::process::{Snapshot, Usage};
use crate::recorder::Recorder;
use crate::server::Server;
use headwater_bench::http::{self, Connection};

/// A workload's view of the measurement it is part of.
pub(crate) struct Trial<'a> {
    pub(crate) server: Server<'a>,
    /// The time of load before counting begins.
    pub(crate) warm_up: Duration,
    /// The time to count.
    pub(crate) duration: Duration,
    /// The number of streams that `streams-100k` creates.
    pub(crate) streams: usize,
}

/// The tasks that load a server until they are told to stop.
#[derive(Default)]
pub(crate) struct Load {
    tasks: JoinSet<Result<()>>,
    stop: Stop,
}

/// Tells tasks to stop after what they are doing.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

/// The resources used while counting.
pub(crate) struct Observed {
    pub(crate) server: Usage,
    pub(crate) ours: Usage,
    /// The bytes that the disk wrote for the whole load, including the warm-up.
    pub(crate) disk_bytes: Option<u64>,
}

/// The longest time for tasks to finish their last operation.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

impl Trial<'_> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address()).await
    }

    /// Loads the server, counts for as long as asked once it is warm, and waits until all tasks have come to an end.
    /// The first task that fails ends it.
    pub(crate) async fn observe(&self, mut load: Load, recorders: &[&Recorder]) -> Result<Observed> {
        let disk_before = self.server.disk().written_bytes()?;
        load.run_for(self.warm_up).await?;
        let before = self.snapshots()?;
        recorders.iter().for_each(|recorder| recorder.begin());
        load.run_for(self.duration).await?;
        recorders.iter().for_each(|recorder| recorder.end());
        let after = self.snapshots()?;
        load.stop.set();
        match tokio::time::timeout(DRAIN_TIMEOUT, load.finish()).await {
            Ok(outcome) => outcome?,
            Err(_) => bail!(
                "{} clients still wait for responses or messages {} s after the last request",
                load.tasks.len(),
                DRAIN_TIMEOUT.as_secs()
            ),
        }
        let [server, ours] = [(&before.0, &after.0), (&before.1, &after.1)].map(|(from, to)| from.until(to));
        let disk_after = self.server.disk().written_bytes()?;
        let disk_bytes = disk_before.zip(disk_after).map(|(before, after)| after.saturating_sub(before));
        Ok(Observed { server, ours, disk_bytes })
    }

    /// Has the server do some work before its memory is weighed: what a start leaves behind is given back only then.
    pub(crate) async fn exercise(&self) -> Result<()> {
        const STREAM: &str = "exercise";
        const CONNECTIONS: usize = 8;
        let content_type = "text/plain";
        create(&mut self.connect().await?, STREAM, content_type).await?;
        let request = http::request("POST", &path(STREAM), &[("Content-Type", content_type)], &[b'x'; 256]);
        let mut load = Load::default();
        for _ in 0..CONNECTIONS {
            let (mut connection, request, stop) = (self.connect().await?, request.clone(), load.stop());
            load.spawn(async move {
                while !stop.is_set() {
                    connection.exchange(&request).await?.expect(204)?;
                }
                Ok(())
            });
        }
        load.run_for(self.warm_up).await?;
        load.stop.set();
        load.finish().await
    }

    fn snapshots(&self) -> Result<(Snapshot, Snapshot)> {
        Ok((self.server.snapshot()?, Snapshot::take(std::process::id())?))
    }
}

impl Load {
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Lets the tasks run; an error if one fails.
    async fn run_for(&mut self, duration: Duration) -> Result<()> {
        match tokio::time::timeout(duration, self.finish()).await {
            Ok(Ok(())) => bail!("all clients ended before they were told to"),
            Ok(failure) => failure,
            Err(_) => Ok(()),
        }
    }

    /// Waits for all tasks, or the first failure.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Stop {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observed {
    /// Adds what each of `count` things cost the server, and us.
    pub(crate) fn add_costs(&self, figures: &mut Figures, count: f64, cpu: Metric, switches: Metric) {
        figures.add(cpu, self.server.cpu.as_secs_f64() * 1e6 / count);
        figures.add(switches, float(self.server.context_switches) / count);
        figures.add(LOAD_CPU, self.ours.cpu.as_secs_f64() * 1e6 / count);
    }

    pub(crate) fn rate(&self, count: f64) -> f64 {
        count / self.server.elapsed.as_secs_f64()
    }

    pub(crate) fn rss_mib(&self) -> f64 {
        float(self.server.rss_kib) / 1024.0
    }
}

/// The path of a stream.
pub(crate) fn path(stream: &str) -> String {
    format!("{BASE_PATH}/{stream}")
}

/// Creates a stream and says its tail.
pub(crate) async fn create(connection: &mut Connection, stream: &str, content_type: &str) -> Result<String> {
    let request = http::request("PUT", &path(stream), &[("Content-Type", content_type)], b"");
    let response = connection.exchange(&request).await?;
    response.expect(201)?;
    Ok(response.header("Stream-Next-Offset")?.to_owned())
}

/// Creates many streams over some connections at once.
pub(crate) async fn create_all(
    trial: &Trial<'_>,
    streams: Vec<String>,
    content_type: &'static str,
) -> Result<()> {
    const CONNECTIONS: usize = 16;
    let mut makers = Load::default();
    for maker in 0..CONNECTIONS {
        let mut connection = trial.connect().await?;
        let mine: Vec<String> = streams.iter().skip(maker).step_by(CONNECTIONS).cloned().collect();
        makers.spawn(async move {
            for stream in mine {
                create(&mut connection, &stream, content_type).await?;
            }
            Ok(())
        });
    }
    makers.finish().await
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "no count comes near 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
