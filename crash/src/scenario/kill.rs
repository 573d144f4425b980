//! Kills the server again and again, on one folder, while it is written and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Stage;
use crate::dice::Dice;
use crate::oracle;
use crate::payload::{Form, Key};
use crate::readers::{self, Mode};
use crate::registry::Registry;
use crate::report::{Tally, broken, spread, table};
use crate::requests::{Manner, Scene, append, create, delete};
use crate::server::Server;
use crate::stream::{Life, Tracked};
use crate::writers::{self, Writer};

/// Streams that nobody writes after the beginning: a restart must not take longer because of them.
const QUIET: usize = 1_000;
/// How many of them are checked each time.
const QUIET_CHECKED: usize = 20;
/// Streams that are kept and checked; older ones are deleted.
const KEPT: usize = 80;
/// Deleted ones that are kept to see that they stay so.
const GONE_KEPT: usize = 30;
/// A start takes no longer.
const START_MAX: Duration = Duration::from_secs(1);

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
    registry: Registry,
    tally: Tally,
    quiet: Vec<Arc<Tracked>>,
    writers: Vec<Box<dyn Writer>>,
    starts: Vec<Duration>,
    kills: usize,
    terminations: usize,
}

/// Runs so many rounds; says what came of it.
pub(crate) fn run(stage: &Stage<'_>, rounds: u64) -> Result<String> {
    let begun = Instant::now();
    let mut run = Run {
        stage,
        registry: Registry::default(),
        tally: Tally::default(),
        quiet: (0..QUIET).map(|at| Tracked::new(format!("quiet/{at}"), Form::Bytes, stage.seed)).collect(),
        writers: writers::all(stage.seed),
        starts: Vec::new(),
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
    let Run { tally, starts, kills, terminations, .. } = &run;
    Ok(table(&[
        ("kills (kill -9)", kills.to_string()),
        ("ends by SIGTERM", terminations.to_string()),
        ("appends acknowledged", tally.acknowledged.to_string()),
        ("bytes acknowledged", tally.bytes.to_string()),
        ("lost answers, sent again and resolved", tally.resolved.to_string()),
        ("lost answers, found after the crash", tally.lost_found.to_string()),
        ("lost answers, not done", tally.lost_absent.to_string()),
        ("observations by readers", tally.observations.to_string()),
        ("bytes read and compared", tally.checked_bytes.to_string()),
        ("validators that answered 304", tally.not_modified.to_string()),
        ("process start to first answer", spread(starts)),
        ("seconds", format!("{:.1}", begun.elapsed().as_secs_f64())),
    ]))
}

impl Run<'_> {
    fn start(&mut self) -> Result<Server> {
        let server = self.stage.program.start(&self.stage.data)?;
        self.starts.push(server.answering_after);
        if server.answering_after > START_MAX {
            let what = format!(
                "it listened after {:?} and answered after {:?}",
                server.listening_after, server.answering_after
            );
            return Err(broken("a start takes no longer than a second", "", what).into());
        }
        Ok(server)
    }

    fn scene<'s>(&'s self, server: &'s Server, is_ending: &'s AtomicBool) -> Scene<'s> {
        Scene {
            client: &server.client,
            registry: &self.registry,
            tally: &self.tally,
            is_ending,
            is_full: false,
        }
    }

    fn populate(&self, server: &Server) -> Result<()> {
        let never = AtomicBool::new(false);
        let scene = self.scene(server, &never);
        for (at, stream) in self.quiet.iter().enumerate() {
            create(&scene, stream, &[])?;
            let key = Key { writer: u16::MAX - 1, number: u32::try_from(at)? };
            append(&scene, stream, key, &Manner::default())?;
        }
        Ok(())
    }

    fn round(&mut self, server: Server, round: u64) -> Result<Server> {
        let mut dice = Dice::new(self.stage.seed, &[0x726f_756e, round]);
        let end = match dice.below(20) {
            0..3 => End::Terminate,
            3..7 => End::KillTwice,
            _ => End::Kill,
        };
        let after = Duration::from_millis(dice.between(20, 400));
        self.load(server, end, after, &mut dice)?;
        match end {
            End::Terminate => self.terminations += 1,
            End::Kill | End::KillTwice => self.kills += 1,
        }
        if end == End::KillTwice {
            self.kills += 1;
            if dice.chance(1, 2) {
                let after = Duration::from_millis(dice.below(60));
                self.stage.program.start_and_kill(&self.stage.data, after)?;
            } else {
                let server = self.start()?;
                let after = Duration::from_millis(dice.below(60));
                self.load(server, End::Kill, after, &mut dice)?;
            }
        }
        let server = self.start()?;
        // Now and then the next round begins at once, with everything that is not known.
        if !dice.chance(1, 5) {
            self.look(&server, &mut dice)?;
        }
        Ok(server)
    }

    /// Writes and reads until the server is made to end.
    fn load(&mut self, server: Server, end: End, after: Duration, dice: &mut Dice) -> Result<()> {
        let mut writers = std::mem::take(&mut self.writers);
        let is_ending = AtomicBool::new(false);
        let client = server.client.clone();
        let scene = Scene {
            client: &client,
            registry: &self.registry,
            tally: &self.tally,
            is_ending: &is_ending,
            is_full: false,
        };
        let modes = [Mode::Events, Mode::Events, Mode::Events, Mode::LongPoll, Mode::LongPoll, Mode::CatchUp];
        let outcome = thread::scope(|scope| {
            let mut threads = Vec::new();
            for writer in &mut writers {
                threads.push(scope.spawn(move || writers::run(&scene, writer.as_mut())));
            }
            for mode in modes {
                let mut dice = Dice::new(dice.next(), &[]);
                threads.push(scope.spawn(move || readers::run(&scene, mode, &mut dice)));
            }
            thread::sleep(after);
            is_ending.store(true, Ordering::SeqCst);
            let ended = if end == End::Terminate { server.terminate() } else { server.kill() };
            let panicked = |_| Err(anyhow!("a thread of this program panicked"));
            let outcomes: Vec<Result<()>> =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect();
            // What was observed says more than how the server ended.
            outcomes.into_iter().collect::<Result<()>>().and(ended)
        });
        self.writers = writers;
        outcome
    }

    /// Checks what may have changed and some of what may not, and deletes what is too much.
    fn look(&self, server: &Server, dice: &mut Dice) -> Result<()> {
        let never = AtomicBool::new(false);
        let scene = self.scene(server, &never);
        let mut streams = self.registry.all();
        for _ in 0..QUIET_CHECKED {
            streams.extend(dice.pick(&self.quiet).cloned());
        }
        oracle::check(&scene, &streams, dice)?;
        drop(streams);
        self.delete_old(&scene)
    }

    fn last_look(&mut self, server: Server) -> Result<()> {
        let dice = Dice::new(self.stage.seed, &[0x6c61_7374]);
        let mut server = server;
        for is_first in [true, false] {
            let never = AtomicBool::new(false);
            let mut streams = self.registry.all();
            streams.extend(self.quiet.iter().cloned());
            oracle::check(&self.scene(&server, &never), &streams, &dice)?;
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
        let mut surplus =
            streams.iter().filter(|stream| stream.life() != Life::Gone).count().saturating_sub(KEPT);
        for stream in &streams {
            // One more for the list here.
            if surplus == 0 || stream.life() != Life::Alive || Arc::strong_count(stream) > 2 {
                continue;
            }
            delete(scene, stream)?;
            surplus -= 1;
        }
        drop(streams);
        let mut gone = self.registry.all().iter().filter(|stream| stream.life() == Life::Gone).count();
        self.registry.retain(|stream| {
            let goes = gone > GONE_KEPT && stream.life() == Life::Gone && Arc::strong_count(stream) == 1;
            gone -= usize::from(goes);
            !goes
        });
        Ok(())
    }
}
