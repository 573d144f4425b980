//! One scenario behind one cache: the origin, the cache, the writer, the audience, and what came of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_testkit::random::Rng;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::origin::{BASE_PATH, Counts, Origin};
use crate::progress::Progress;
use crate::proxy::{Caches, Kind, Proxy};
use crate::scenario::{Disturbance, Scenario};
use crate::tally::Tally;
use crate::viewer::Viewer;
use crate::writer::Writer;

/// Paths, and the size of a run.
pub(crate) struct Stage {
    pub(crate) binary: PathBuf,
    pub(crate) caches: Caches,
    pub(crate) folder: PathBuf,
    pub(crate) viewers: usize,
    pub(crate) duration: Duration,
}

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    pub(crate) viewers: usize,
    pub(crate) messages: usize,
    pub(crate) tally: Tally,
    pub(crate) origin: Counts,
    /// Broken expectations, in words.
    pub(crate) broken: Vec<String>,
}

impl Outcome {
    /// Viewer requests per origin request.
    pub(crate) fn collapse(&self) -> f64 {
        ratio(self.tally.requests, self.origin.requests)
    }

    /// The percentage of requests that the origin never saw.
    pub(crate) fn hit_percent(&self) -> f64 {
        100.0 * (1.0 - ratio(self.origin.requests, self.tally.requests))
    }

    /// Origin bytes per viewer byte.
    pub(crate) fn bytes_percent(&self) -> f64 {
        100.0 * ratio(self.origin.bytes, self.tally.bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of counts needs no more")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The longest time until viewers learn of the end: a little more than a long-poll.
const END_TIMEOUT: Duration = Duration::from_secs(40);

/// Runs a scenario.
pub(crate) async fn run(scenario: &Scenario, kind: Kind, stage: &Stage) -> Result<Outcome> {
    let mut origin = Origin::start(&stage.binary, &stage.folder, scenario.flags).await?;
    let proxy = Proxy::start(kind, &stage.caches, &stage.folder, origin.address).await?;
    let path = format!("{BASE_PATH}/{}", scenario.name);
    let mut writer = Writer::create(origin.address, &path, "first", &[]).await?;
    writer.fill(scenario.history_mib << 20).await?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let before = origin.counts().await?;
    let (storm, storms) = watch::channel(0);

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "part of an audience"
    )]
    let viewers = ((stage.viewers as f64 * scenario.audience) as usize).max(1);
    let join_over = stage.duration.mul_f64(scenario.joins);
    let audience: Vec<Viewer> = (0..viewers)
        .map(|number| Viewer {
            number,
            address: proxy.address,
            path: path.clone(),
            headers: Vec::new(),
            mode: scenario.mode,
            incarnations: writer.incarnations.clone(),
            tally: tally.clone(),
            storms: storms.clone(),
        })
        .collect();
    let play = async {
        let timeline = Timeline { scenario, duration: stage.duration };
        timeline.perform(&mut writer, &mut origin, &storm).await?;
        writer.close().await.context("closing the stream")
    };
    let label = format!("{} behind {}", scenario.name, kind.name());
    let failures = attend(label, audience, join_over, &tally, play).await?;
    let counts = origin.counts().await?.since(before);
    let messages = writer.ledger().borrow().messages();
    let tally = tally.take();
    let mut outcome = Outcome {
        scenario: scenario.name,
        what: scenario.what,
        kind,
        viewers,
        messages,
        tally,
        origin: counts,
        broken: failures,
    };
    outcome.broken.extend(judge(scenario, &outcome));
    Ok(outcome)
}

/// Lists broken expectations.
pub(crate) fn judge(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    let (wrong, told) = outcome.tally.wrongs();
    if wrong > 0 {
        broken.push(format!("{wrong} times a viewer was misled, such as: {}", told.join("; ")));
    }
    let stuck = outcome.viewers - outcome.tally.finished.min(outcome.viewers);
    if stuck > 0 {
        broken.push(format!("{stuck} viewers never learnt that the stream was closed"));
    }
    let least = (scenario.collapse_min)(outcome.kind);
    if outcome.collapse() < least {
        broken.push(format!(
            "only {:.1} viewer requests per origin request, at least {least} were expected",
            outcome.collapse()
        ));
    }
    if let Some(most) = scenario.history_reads_max {
        let reads = ratio(outcome.origin.bytes, scenario.history_mib << 20);
        if reads > most {
            broken
                .push(format!("the origin sent its history {reads:.2} times, at most {most} were expected"));
        }
    }
    broken
}

/// Lets viewers come one after the other while the play goes on, and waits until they have learnt of its end. Says
/// which of them failed.
pub(crate) async fn attend(
    label: String,
    audience: Vec<Viewer>,
    join_over: Duration,
    tally: &Rc<RefCell<Tally>>,
    play: impl Future<Output = Result<()>>,
) -> Result<Vec<String>> {
    let showing = spawn_local(Progress::new(label, tally.clone(), audience.len()).show());
    let mut waiting = JoinSet::new();
    let viewers = u32::try_from(audience.len()).unwrap_or(u32::MAX);
    for (number, viewer) in (0..viewers).zip(audience) {
        let delay = join_over / viewers * number;
        waiting.spawn_local(async move {
            sleep(delay).await;
            viewer.run().await
        });
    }
    play.await?;
    let mut failures = BTreeMap::<String, usize>::new();
    let all = async {
        while let Some(viewer) = waiting.join_next().await {
            let failure = match viewer {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("gave up: {error:#}"),
                Err(error) => format!("fell over: {error}"),
            };
            *failures.entry(failure).or_default() += 1;
        }
    };
    // Remaining viewers are counted as stuck.
    let _ = timeout(END_TIMEOUT, all).await;
    waiting.shutdown().await;
    showing.abort();
    let _ = showing.await;
    Ok(failures.into_iter().map(|(failure, viewers)| format!("{viewers} viewers {failure}")).collect())
}

/// The course of a run: messages and the disturbance.
pub(crate) struct Timeline<'a> {
    scenario: &'a Scenario,
    duration: Duration,
}

/// The part of the time after which the disturbance comes, or the silence.
const MIDDLE: f64 = 0.6;

impl Timeline<'_> {
    /// The number of messages in this time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of messages")]
    pub(crate) fn messages(scenario: &Scenario, duration: Duration) -> u32 {
        (scenario.messages_per_s * duration.as_secs_f64()) as u32
    }

    /// Waits about as long before each message, as a writer does who keeps no clock's time.
    pub(crate) async fn pause(scenario: &Scenario, message: u32) {
        let step = Duration::from_secs_f64(1.0 / scenario.messages_per_s);
        sleep(step.mul_f64(0.75 + 0.5 * Rng::with_seed(message.into()).f64())).await;
    }

    async fn perform(
        &self,
        writer: &mut Writer,
        origin: &mut Origin,
        storm: &watch::Sender<u32>,
    ) -> Result<()> {
        let messages = Self::messages(self.scenario, self.duration);
        if messages == 0 {
            sleep(self.duration).await;
        }
        let middle = Self::messages(self.scenario, self.duration.mul_f64(MIDDLE));
        for message in 0..messages {
            Self::pause(self.scenario, message).await;
            if message == middle {
                sleep(self.scenario.silence).await;
                match self.scenario.disturbance {
                    Some(Disturbance::Storm) => storm.send_modify(|number| *number += 1),
                    Some(Disturbance::Restart) => {
                        origin.restart().await?;
                        writer.reconnect(origin.address).await?;
                    }
                    Some(Disturbance::Recreate) => writer.recreate("second").await?,
                    None => {}
                }
            }
            writer.append().await?;
        }
        Ok(())
    }
}
