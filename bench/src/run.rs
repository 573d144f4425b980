//! The rounds: every contender under one workload, again and again, then the next workload.
//!
//! Machines drift; two servers are compared only by what they did one right after the other. So contenders take
//! turns within a round, and rounds begin with another one each.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::contender::Contender;
use crate::figures::{Figures, shown};
use crate::server::{Launch, Server};
use crate::trial::Trial;
use crate::workload::Workload;

/// The plan of a run.
pub(crate) struct Plan {
    pub(crate) contenders: Vec<Entrant>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: u32,
    /// The time to count, instead of each workload's own.
    pub(crate) duration: Option<Duration>,
    pub(crate) warm_up: Duration,
    pub(crate) streams: usize,
    /// The parent of the data directories.
    pub(crate) dir: PathBuf,
}

/// A contender whose program is there.
pub(crate) struct Entrant {
    pub(crate) contender: &'static Contender,
    pub(crate) program: Vec<OsString>,
}

/// A measurement, or why it failed.
pub(crate) struct Measurement {
    pub(crate) workload: String,
    pub(crate) contender: &'static Contender,
    /// From 1.
    pub(crate) round: u32,
    pub(crate) outcome: Result<Figures>,
}

/// Beyond its own time, what making streams may take a slow server.
const SETUP_MAX: Duration = Duration::from_secs(900);

impl Plan {
    /// Measures everything. A measurement that fails is not tried again in later rounds.
    pub(crate) fn run(&self) -> Result<Vec<Measurement>> {
        let _alone = self.lock()?;
        let mut measurements: Vec<Measurement> = Vec::new();
        let mut progress = Progress::new(self);
        for workload in &self.workloads {
            for round in 1..=self.rounds {
                for entrant in self.in_turn(round) {
                    let failed_before = measurements.iter().any(|measurement| {
                        measurement.workload == workload.name
                            && measurement.contender.name == entrant.contender.name
                            && measurement.outcome.is_err()
                    });
                    if failed_before {
                        progress.skip(workload);
                        continue;
                    }
                    progress.begin(workload, entrant, round);
                    let outcome = self.measure(entrant, workload);
                    progress.end(workload, &outcome);
                    measurements.push(Measurement {
                        workload: workload.name.clone(),
                        contender: entrant.contender,
                        round,
                        outcome,
                    });
                }
            }
        }
        Ok(measurements)
    }

    /// Makes the directory and keeps other benchmarks out of it, until what it returns is dropped.
    fn lock(&self) -> Result<File> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let path = self.dir.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!("another benchmark runs in {}; wait for it, neither would be right", self.dir.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
        }
    }

    /// Everybody, beginning with another one in each round.
    fn in_turn(&self, round: u32) -> impl Iterator<Item = &Entrant> {
        let first = round as usize % self.contenders.len().max(1);
        self.contenders.iter().cycle().skip(first).take(self.contenders.len())
    }

    fn duration(&self, workload: &Workload) -> Duration {
        self.duration.unwrap_or_else(|| workload.default_duration())
    }

    fn measure(&self, entrant: &Entrant, workload: &Workload) -> Result<Figures> {
        let name = entrant.contender.name;
        let server = Server::start(Launch {
            contender: entrant.contender,
            program: &entrant.program,
            data_dir: self.dir.join(name),
            log: self.dir.join(format!("{name}.log")),
        })?;
        let duration = self.duration(workload);
        let mut trial = Trial { server, warm_up: self.warm_up, duration, streams: self.streams };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let limit = self.warm_up + duration + SETUP_MAX;
        let outcome = runtime.block_on(async {
            tokio::time::timeout(limit, workload.run(&mut trial))
                .await
                .with_context(|| format!("not done after {} s", limit.as_secs()))?
        });
        outcome.map_err(|error| trial.server.with_log_end(&error))
    }
}

/// The progress line of each measurement: its name, its result, and the time left.
struct Progress<'a> {
    plan: &'a Plan,
    begun: Instant,
    done: usize,
    all: usize,
    /// The time that measurements count and warm up, of all that are still to come.
    planned: Duration,
    /// The overhead of the measurements so far.
    beyond: Duration,
    current: Instant,
}

/// The assumed overhead of a measurement before any was done.
const BEYOND_GUESS: Duration = Duration::from_secs(2);

impl<'a> Progress<'a> {
    fn new(plan: &'a Plan) -> Self {
        let turns = plan.rounds * u32::try_from(plan.contenders.len()).unwrap_or(u32::MAX);
        let planned =
            plan.workloads.iter().map(|workload| (plan.duration(workload) + plan.warm_up) * turns).sum();
        let now = Instant::now();
        Self {
            plan,
            begun: now,
            done: 0,
            all: plan.workloads.len() * turns as usize,
            planned,
            beyond: Duration::ZERO,
            current: now,
        }
    }

    fn begin(&mut self, workload: &Workload, entrant: &Entrant, round: u32) {
        self.current = Instant::now();
        eprint!(
            "[{:>3}/{}] {:<24}  {:<15}  round {round}/{}  {} of about {}  ",
            self.done + 1,
            self.all,
            workload.name,
            entrant.contender.name,
            self.plan.rounds,
            clock(self.begun.elapsed()),
            clock(self.estimate()),
        );
        let _ = std::io::stderr().flush();
    }

    fn end(&mut self, workload: &Workload, outcome: &Result<Figures>) {
        let planned = self.planned_for(workload);
        self.beyond += self.current.elapsed().saturating_sub(planned);
        self.skip(workload);
        match outcome {
            Ok(figures) => {
                let value = figures.value(workload.headline).map_or_else(|| "-".to_owned(), shown);
                eprintln!("{value} {}", workload.headline.title);
            }
            // The rest of it, with the server's log, is below the table.
            Err(error) => eprintln!("FAILED: {}", format!("{error:#}").lines().next().unwrap_or_default()),
        }
    }

    /// Counts a measurement as done.
    fn skip(&mut self, workload: &Workload) {
        self.done += 1;
        self.planned = self.planned.saturating_sub(self.planned_for(workload));
    }

    fn planned_for(&self, workload: &Workload) -> Duration {
        self.plan.duration(workload) + self.plan.warm_up
    }

    /// The expected total time.
    fn estimate(&self) -> Duration {
        let done = u32::try_from(self.done).unwrap_or(u32::MAX);
        let left = u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
        let beyond = self.beyond.checked_div(done).unwrap_or(BEYOND_GUESS);
        self.begun.elapsed() + self.planned + beyond * left
    }
}

/// Minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(5)), "0:05");
        assert_eq!(clock(Duration::from_secs(3605)), "60:05");
    }

    #[test]
    fn rounds_begin_with_another_contender_each() {
        let contenders = Contender::all()
            .take(3)
            .map(|contender| Entrant { contender, program: Vec::new() })
            .collect::<Vec<_>>();
        let plan = Plan {
            contenders,
            workloads: Vec::new(),
            rounds: 3,
            duration: None,
            warm_up: Duration::ZERO,
            streams: 1,
            dir: PathBuf::new(),
        };
        let order = |round| plan.in_turn(round).map(|entrant| entrant.contender.name).collect::<Vec<_>>();
        assert_eq!(order(3), ["headwater", "headwater-actix", "headwater-mem"]);
        assert_eq!(order(1), ["headwater-actix", "headwater-mem", "headwater"]);
        assert_eq!(order(2).len(), 3);
    }
}
