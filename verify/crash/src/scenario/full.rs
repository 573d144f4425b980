//! Fills the disk: 507 and not a byte of what was acknowledged lost, reading goes on, and so does writing when there is
//! room again.
//!
//! What happens while the disk is full differs from pass to pass: it gets room, or the server is killed first, or it
//! is asked to end first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_testkit::random::{self, Rng};
use headwater_testkit::{Client, Request};

use super::Stage;

use crate::mount::Disk;
use crate::payload::{Form, Key};
use crate::registry::Registry;
use crate::report::{Tally, broken, spread, table};
use crate::requests::{Condition, Phase, Scene};
use crate::server::{Server, Start};
use crate::writers::{self, Writer};
use crate::{load, oracle, payload};

/// The commit log takes 64 MiB of it, as much again is on its way while the disk is full, and then it needs room.
const DISK_MEBIBYTES: u64 = 320;
/// Enough for a checkpoint, and less than RocksDB wants to have.
const ROOM_BYTES: u64 = 40 << 20;
/// Writers need so long to fill what the server has set aside.
const FILL_MAX: Duration = Duration::from_secs(180);
/// Writing goes on so soon after there is room.
const HEAL_MAX: Duration = Duration::from_secs(15);

/// The event while the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Room,
    Kill,
    Terminate,
}

struct Run<'a> {
    stage: &'a Stage<'a>,
    rng: Rng,
    registry: Registry,
    tally: Tally,
    writers: Vec<Box<dyn Writer>>,
    healed_after: Vec<Duration>,
    starts_on_full: Vec<String>,
}

/// Fills the disk once for each thing that can happen then.
pub(crate) fn run(stage: &Stage<'_>) -> Result<String> {
    let _disk = Disk::of_mebibytes(&stage.data, DISK_MEBIBYTES)?;
    let mut run = Run {
        stage,
        rng: random::seeded(stage.seed, &[0x6675_6c6c]),
        registry: Registry::default(),
        tally: Tally::default(),
        writers: writers::all(stage.seed),
        healed_after: Vec::new(),
        starts_on_full: Vec::new(),
    };
    for then in [Then::Room, Then::Kill, Then::Terminate] {
        println!("  full, then: {then:?}");
        run.pass(then).with_context(|| format!("full, then {then:?}"))?;
    }
    let Run { tally, healed_after, starts_on_full, .. } = &run;
    Ok(table(&[
        ("appends acknowledged", tally.acknowledged.to_string()),
        ("bytes acknowledged", tally.bytes.to_string()),
        ("responses with 507", tally.full.to_string()),
        ("room to first acknowledgement", spread(healed_after)),
        ("starts on a full disk", starts_on_full.join("; ")),
        ("lost responses, resent and resolved", tally.resolved.to_string()),
        ("observations by readers", tally.observations.to_string()),
        ("bytes read and compared", tally.checked_bytes.to_string()),
    ]))
}

impl Run<'_> {
    fn pass(&mut self, then: Then) -> Result<()> {
        let data = self.stage.data.join("data");
        let ballast = self.stage.data.join("ballast");
        let server = self.stage.program.start(&data)?;
        self.load(&server, |_| {
            thread::sleep(Duration::from_millis(500));
            Ok(())
        })?;
        let left = self.rng.u64(..8 << 20);
        fill(&ballast, left)?;
        let server = self.write_until_full(server)?;
        let server = match then {
            Then::Room => server,
            Then::Kill | Then::Terminate => {
                if then == Then::Kill {
                    server.kill()?;
                } else {
                    server.terminate()?;
                }
                let started = self.start_on_full(&data)?;
                match started {
                    Some(server) => server,
                    None => {
                        fs::remove_file(&ballast)?;
                        self.stage.program.start(&data)?
                    }
                }
            }
        };
        self.check(&server)?;
        // A little first, which is soon full again, then all of it.
        let server = self.make_room(server, &ballast, Some(ROOM_BYTES))?;
        self.check(&server)?;
        let server = self.make_room(server, &ballast, None)?;
        self.check(&server)?;
        server.kill()?;
        let server = self.stage.program.start(&data)?;
        self.check(&server)?;
        server.terminate()?;
        let server = self.stage.program.start(&data)?;
        self.check(&server)?;
        server.terminate()?;
        // The next pass needs the space.
        fs::remove_dir_all(&data)?;
        self.registry = Registry::default();
        self.writers = writers::all(self.rng.u64(..));
        Ok(())
    }

    fn load(&mut self, server: &Server, meanwhile: impl FnOnce(&Tally) -> Result<()>) -> Result<()> {
        let phase = Phase::default();
        let scene = scene(&server.client, &self.registry, &self.tally, &phase);
        load::run(&scene, &mut self.writers, &mut self.rng, || meanwhile(&self.tally))
    }

    fn check(&self, server: &Server) -> Result<()> {
        let phase = Phase::default();
        let scene = scene(&server.client, &self.registry, &self.tally, &phase);
        oracle::check(&scene, &self.registry.all(), &self.rng)
    }

    fn write_until_full(&mut self, mut server: Server) -> Result<Server> {
        self.load(&server, |tally| {
            let before = tally.full.get();
            wait(FILL_MAX, || tally.full.get() > before)
                .ok_or_else(|| broken("a full disk is answered with 507", "", "it was never answered so"))?;
            // Some more, while everything is full.
            thread::sleep(Duration::from_secs(2));
            Ok(())
        })?;
        server.still_runs()?;
        refusal_is_a_problem(&server.client)?;
        Ok(server)
    }

    fn make_room(&mut self, server: Server, ballast: &Path, bytes: Option<u64>) -> Result<Server> {
        let mut healed_after = Duration::ZERO;
        self.load(&server, |tally| {
            match bytes {
                Some(bytes) if ballast.exists() => shrink(ballast, bytes)?,
                _ => drop(fs::remove_file(ballast)),
            }
            let before = tally.acknowledged.get();
            let healed = wait(HEAL_MAX, || tally.acknowledged.get() > before);
            healed_after = healed.ok_or_else(|| {
                broken(
                    "writing goes on when there is room",
                    "",
                    format!("nothing was taken for {HEAL_MAX:?}"),
                )
            })?;
            // As much as the next checks need, and no more: there isn't that much room.
            let enough = tally.acknowledged.get() + 300;
            wait(HEAL_MAX, || tally.acknowledged.get() > enough);
            Ok(())
        })?;
        self.healed_after.push(healed_after);
        Ok(server)
    }

    /// A server may need some room to start; then it says so.
    fn start_on_full(&mut self, data: &Path) -> Result<Option<Server>> {
        match self.stage.program.try_start(data, &[])? {
            Start::Running(server) => {
                self.starts_on_full.push("up".to_owned());
                Ok(Some(server))
            }
            Start::Ended { status, said } => {
                // The system's words, or the store's own.
                let says_why = said.contains("No space left") || said.contains("no room left");
                if status.code() != Some(1) || !says_why {
                    bail!(broken("a server that can't start says why", "", format!("{status}: {said}")));
                }
                self.starts_on_full.push("refused for lack of space".to_owned());
                Ok(None)
            }
        }
    }
}

fn scene<'a>(client: &'a Client, registry: &'a Registry, tally: &'a Tally, phase: &'a Phase) -> Scene<'a> {
    Scene { client, registry, tally, phase, disk: Condition::Full }
}

/// Takes all space but so much.
fn fill(ballast: &Path, left: u64) -> Result<()> {
    let mut file = File::create(ballast)?;
    let zeroes = vec![0; 64 << 10];
    loop {
        match file.write_all(&zeroes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
    }
    shrink(ballast, left)
}

/// Gives so much of it back.
fn shrink(ballast: &Path, bytes: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(ballast)?;
    file.set_len(file.metadata()?.len().saturating_sub(bytes))?;
    Ok(())
}

/// The time until the condition held; `None` if it never did.
pub(super) fn wait(at_most: Duration, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > at_most {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Some(begun.elapsed())
}

/// A 507 says in words and in a form for programs what is wrong.
pub(super) fn refusal_is_a_problem(client: &Client) -> Result<()> {
    for number in 0..1_000 {
        let key = Key { writer: u16::MAX, number };
        let request = Request::new("PUT", format!("overflow/{number}"))
            .header("Content-Type", Form::Bytes.content_type())
            .body(payload::body(Form::Bytes, 1, key));
        let response = client.send(&request)?;
        if response.status == 507 {
            if response.header("Content-Type") != Some("application/problem+json") {
                bail!(broken("a refusal is a problem document", "", format!("{request}: {response}")));
            }
            return Ok(());
        }
    }
    bail!(broken("a full disk is answered with 507", "", "1,000 creations were taken"))
}
