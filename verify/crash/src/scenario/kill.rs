//! Kills the server again and again, on one folder, while it is written and read; on a disk of our own whose power is cut
//! at the same moment, or which fails before.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_testkit::Client;
use headwater_testkit::random::{self, Chance, Rng};

use super::Stage;

use crate::disk::{Deed, Fault, Loss, OwnDisk, Place};
use crate::load;
use crate::oracle;
use crate::payload::{Form, Key};
use crate::registry::Registry;
use crate::report::{Tally, broken, spread, table};
use crate::requests::{Condition, Manner, Phase, Scene, append, create, delete};
use crate::server::{Server, Start};
use crate::stream::{Existence, Tracked};
use crate::writers::{self, Writer};

/// Streams that nobody writes after the beginning: a restart must not take longer because of them.
const QUIET: usize = 1_000;
/// The number of them checked in each round.
const QUIET_CHECKED: usize = 20;
/// The number of them read while the disk fails.
const QUIET_READ: usize = 5;
/// Streams that are kept and checked; older ones are deleted.
const KEPT: usize = 80;
/// Deleted ones that are kept to see that they stay so.
const GONE_KEPT: usize = 30;
/// A start takes no longer, unless the disk does for the same time what is none of the server's doing.
const START_MAX: Duration = Duration::from_secs(1);
/// A disk that takes longer for a small sync is busy with something else.
const SYNC_MAX: Duration = Duration::from_millis(250);

/// The hardship besides the kills.
#[derive(Debug)]
pub(crate) enum Hardship {
    None,
    /// The power of the disk is cut each time.
    PowerCuts(OwnDisk),
    /// The disk fails while the server runs, ends or starts, and its power is cut now and then.
    Faults(OwnDisk),
}

/// The number of disk failures, by the state of the server at that time.
#[derive(Debug, Default)]
struct Struck {
    running: usize,
    ending: usize,
    starting: usize,
    /// Starts that the server gave up, and said why.
    refused: usize,
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    /// Another kill before anything was looked at; the server may not even be up by then.
    KillTwice,
    Terminate,
}

struct Run<'a> {
    stage: &'a Stage<'a>,
    hardship: Hardship,
    loss: Loss,
    struck: Struck,
    registry: Registry,
    tally: Tally,
    quiet: Vec<Arc<Tracked>>,
    writers: Vec<Box<dyn Writer>>,
    starts: Vec<Duration>,
    /// Starts that don't count because the disk was busy.
    stalls: usize,
    kills: usize,
    terminations: usize,
}

/// Runs so many rounds; says what came of it.
pub(crate) fn run(stage: &Stage<'_>, hardship: Hardship, rounds: u64) -> Result<String> {
    let begun = Instant::now();
    let mut run = Run {
        stage,
        hardship,
        loss: Loss::default(),
        struck: Struck::default(),
        registry: Registry::default(),
        tally: Tally::default(),
        quiet: (0..QUIET).map(|at| Tracked::new(format!("quiet/{at}"), Form::Bytes, stage.seed)).collect(),
        writers: writers::all(stage.seed),
        starts: Vec::new(),
        stalls: 0,
        kills: 0,
        terminations: 0,
    };
    let mut server = run.start()?;
    run.populate(&server)?;
    for round in 1..=rounds {
        server = run.round(server, round).with_context(|| format!("in round {round} of {rounds}"))?;
        if round.is_multiple_of(10) {
            println!("  {round} rounds, {} appends acknowledged", run.tally.acknowledged);
        }
    }
    run.last_look(server).context("after the last round")?;
    let Run { tally, starts, stalls, kills, terminations, loss, struck, .. } = &run;
    let mut rows = Vec::new();
    if let Hardship::Faults(_) = run.hardship {
        rows.extend([
            ("disks that failed while the server ran", struck.running.to_string()),
            ("while it ended", struck.ending.to_string()),
            ("while it started", struck.starting.to_string()),
            ("of these starts given up", struck.refused.to_string()),
        ]);
    }
    if !matches!(run.hardship, Hardship::None) {
        rows.extend([
            ("writes and renames at risk in power cuts", loss.at_risk.to_string()),
            ("of them lost", loss.lost.to_string()),
            ("and torn", loss.torn.to_string()),
        ]);
    }
    rows.extend([
        ("kills (kill -9)", kills.to_string()),
        ("ends by SIGTERM", terminations.to_string()),
        ("appends acknowledged", tally.acknowledged.to_string()),
        ("bytes acknowledged", tally.bytes.to_string()),
        ("lost responses, resent and resolved", tally.resolved.to_string()),
        ("lost responses, found after the crash", tally.lost_found.to_string()),
        ("lost responses, not done", tally.lost_absent.to_string()),
        ("observations by readers", tally.observations.to_string()),
        ("bytes read and compared", tally.checked_bytes.to_string()),
        ("validators that answered 304", tally.not_modified.to_string()),
        ("process start to first response", spread(starts)),
        ("starts on a busy disk, not counted", stalls.to_string()),
        ("seconds", format!("{:.1}", begun.elapsed().as_secs_f64())),
    ]);
    Ok(table(&rows))
}

impl Run<'_> {
    fn start(&mut self) -> Result<Server> {
        let server = self.stage.program.start(&self.stage.data)?;
        if server.answering_after > SYNC_MAX && server.disk_took > SYNC_MAX {
            self.stalls += 1;
            return Ok(server);
        }
        self.starts.push(server.answering_after);
        // A disk of our own is a slow one.
        if server.answering_after > START_MAX && matches!(self.hardship, Hardship::None) {
            let what = format!(
                "it listened after {:?} and answered after {:?}",
                server.listening_after, server.answering_after
            );
            return Err(broken("a start takes no longer than a second", "", what).into());
        }
        Ok(server)
    }

    fn populate(&self, server: &Server) -> Result<()> {
        let phase = Phase::default();
        let scene = scene(&server.client, &self.registry, &self.tally, &phase);
        for (at, stream) in self.quiet.iter().enumerate() {
            create(&scene, stream, &[])?;
            let key = Key { writer: u16::MAX - 1, number: u32::try_from(at)? };
            append(&scene, stream, key, &Manner::default())?;
        }
        Ok(())
    }

    fn round(&mut self, server: Server, round: u64) -> Result<Server> {
        let mut rng = random::seeded(self.stage.seed, &[0x726f_756e, round]);
        let end = match rng.u64(..20) {
            0..3 => End::Terminate,
            3..7 => End::KillTwice,
            _ => End::Kill,
        };
        let after = Duration::from_millis(rng.u64(20..400));
        self.load(server, end, after, &mut rng)?;
        match end {
            End::Terminate => self.terminations += 1,
            End::Kill | End::KillTwice => self.kills += 1,
        }
        if end == End::KillTwice {
            self.kills += 1;
            if rng.chance(1, 2) {
                let after = Duration::from_millis(rng.u64(..60));
                self.stage.program.start_and_kill(&self.stage.data, after)?;
                self.cut_power(&mut rng)?;
            } else {
                let server = self.start()?;
                let after = Duration::from_millis(rng.u64(..60));
                self.load(server, End::Kill, after, &mut rng)?;
            }
        }
        if rng.chance(1, 3) {
            self.start_on_failing(&mut rng)?;
        }
        let server = self.start()?;
        // Now and then the next round begins at once, with everything that is not known.
        if !rng.chance(1, 5) {
            self.look(&server, &mut rng)?;
        }
        Ok(server)
    }

    /// Writes and reads until the server is made to end.
    fn load(&mut self, server: Server, end: End, after: Duration, rng: &mut Rng) -> Result<()> {
        let client = server.client.clone();
        let phase = Phase::default();
        let disk = if self.arm(rng) { Condition::Failing } else { Condition::Good };
        let mut readers_rng = Rng::with_seed(rng.u64(..));
        let quiet: Vec<_> = (0..QUIET_READ).filter_map(|_| rng.choice(&self.quiet).cloned()).collect();
        let scene = Scene { disk, ..scene(&client, &self.registry, &self.tally, &phase) };
        let mut running = 0;
        load::run(&scene, &mut self.writers, &mut readers_rng, || {
            thread::sleep(after);
            if let Hardship::Faults(disk) = &self.hardship {
                // Whatever has failed, reading goes on.
                oracle::check(&scene, &quiet, rng)?;
                running = disk.struck();
            }
            phase.end_with_server();
            match end {
                End::Terminate if disk == Condition::Failing => server.terminate_stopped(),
                End::Terminate => server.terminate(),
                _ => server.kill(),
            }
        })?;
        let struck = self.disarm();
        self.struck.running += usize::from(running > 0);
        self.struck.ending += usize::from(struck > running);
        self.cut_power(rng)
    }

    /// From now on the disk fails, if that is what it does here.
    fn arm(&mut self, rng: &mut Rng) -> bool {
        let Hardship::Faults(disk) = &mut self.hardship else { return false };
        let place = if rng.chance(1, 2) { Place::CommitLog } else { Place::RocksDb };
        let deed = match (rng.u64(..5), place) {
            (0, Place::RocksDb) => Deed::Name,
            (0..3, _) => Deed::Flush,
            _ => Deed::Write,
        };
        // The commit log is written with every group of appends, RocksDB at the beginning and at the end.
        let nth = 1 + rng.u64(..if place == Place::CommitLog { 150 } else { 15 });
        disk.set_fault(Some(Fault { deed, place, nth, for_good: rng.chance(1, 2) }));
        true
    }

    /// The disk is a good one again. Says how often it has failed.
    fn disarm(&mut self) -> u64 {
        match &mut self.hardship {
            Hardship::Faults(disk) => disk.set_fault(None),
            Hardship::None | Hardship::PowerCuts(_) => 0,
        }
    }

    /// A start while the disk fails: it is given up with a reason, or there is a server, which is killed.
    fn start_on_failing(&mut self, rng: &mut Rng) -> Result<()> {
        if !self.arm(rng) {
            return Ok(());
        }
        let given_up = match self.stage.program.try_start(&self.stage.data, &[])? {
            Start::Running(server) => {
                server.kill()?;
                None
            }
            Start::Ended { status, said } => Some((status, said)),
        };
        let has_failed = self.disarm() > 0;
        if let Some((status, said)) = given_up {
            if !has_failed || status.code() != Some(1) || !said.contains("can't be used") {
                let what = format!("disk failed: {has_failed}; it ended with {status} and said:\n{said}");
                return Err(broken("a server that can't start says why", "", what).into());
            }
            self.struck.refused += 1;
        }
        self.struck.starting += usize::from(has_failed);
        self.cut_power(rng)
    }

    /// The server has ended, one way or the other: now the power does.
    fn cut_power(&mut self, rng: &mut Rng) -> Result<()> {
        match &mut self.hardship {
            Hardship::PowerCuts(disk) => self.loss += disk.cut(rng)?,
            Hardship::Faults(disk) if rng.chance(1, 2) => self.loss += disk.cut(rng)?,
            Hardship::None | Hardship::Faults(_) => {}
        }
        Ok(())
    }

    /// Checks what may have changed and some of what may not, and deletes what is too much.
    fn look(&mut self, server: &Server, rng: &mut Rng) -> Result<()> {
        let phase = Phase::default();
        let scene = scene(&server.client, &self.registry, &self.tally, &phase);
        let mut streams = self.registry.all();
        for _ in 0..QUIET_CHECKED {
            streams.extend(rng.choice(&self.quiet).cloned());
        }
        oracle::check(&scene, &streams, rng)?;
        drop(streams);
        self.writers.iter_mut().try_for_each(|writer| writer.look(&scene))?;
        self.delete_old(&scene)
    }

    fn last_look(&mut self, server: Server) -> Result<()> {
        let rng = random::seeded(self.stage.seed, &[0x6c61_7374]);
        let mut server = server;
        for is_first in [true, false] {
            let mut streams = self.registry.all();
            streams.extend(self.quiet.iter().cloned());
            let phase = Phase::default();
            let scene = scene(&server.client, &self.registry, &self.tally, &phase);
            oracle::check(&scene, &streams, &rng)?;
            self.writers.iter_mut().try_for_each(|writer| writer.look(&scene))?;
            server.still_runs()?;
            server.terminate()?;
            self.terminations += 1;
            if !is_first {
                return Ok(());
            }
            server = self.start()?;
        }
        Ok(())
    }

    /// Nobody but the registry holds what may go: no writer, and no fork.
    fn delete_old(&self, scene: &Scene<'_>) -> Result<()> {
        let streams = self.registry.all();
        let mut surplus = streams
            .iter()
            .filter(|stream| stream.existence() != Existence::Gone)
            .count()
            .saturating_sub(KEPT);
        for stream in &streams {
            // One more for the list here.
            if surplus == 0 || stream.existence() != Existence::There || Arc::strong_count(stream) > 2 {
                continue;
            }
            delete(scene, stream)?;
            surplus -= 1;
        }
        drop(streams);
        let mut gone =
            self.registry.all().iter().filter(|stream| stream.existence() == Existence::Gone).count();
        self.registry.retain(|stream| {
            let goes =
                gone > GONE_KEPT && stream.existence() == Existence::Gone && Arc::strong_count(stream) == 1;
            gone -= usize::from(goes);
            !goes
        });
        Ok(())
    }
}

pub(super) fn scene<'a>(
    client: &'a Client,
    registry: &'a Registry,
    tally: &'a Tally,
    phase: &'a Phase,
) -> Scene<'a> {
    Scene { client, registry, tally, phase, disk: Condition::Good }
}
