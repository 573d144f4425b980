//! Lets files reach the process's limit (`RLIMIT_FSIZE`): the signal must not end the server, which answers 507.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_testkit::random::{self, Rng};

use super::Stage;
use super::full::{refusal_is_a_problem, wait};
use crate::registry::Registry;
use crate::report::{Tally, broken, table};
use crate::requests::{Condition, Phase, Scene};
use crate::server::{Server, Start};
use crate::writers::{self, Writer};
use crate::{load, oracle};

/// Below the commit log's slots and what checkpoints write: above them nothing meets a limit.
const LIMITS_MEBIBYTES: [u64; 2] = [1, 4];
const FILL_MAX: Duration = Duration::from_secs(180);
const HEAL_MAX: Duration = Duration::from_secs(15);

struct Run<'a> {
    stage: &'a Stage<'a>,
    rng: Rng,
    registry: Registry,
    tally: Tally,
    writers: Vec<Box<dyn Writer>>,
}

pub(crate) fn run(stage: &Stage<'_>) -> Result<String> {
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok("  skipped: there is no prlimit here\n".to_owned());
    }
    let mut run = Run {
        stage,
        rng: random::seeded(stage.seed, &[0x6673_697a]),
        registry: Registry::default(),
        tally: Tally::default(),
        writers: writers::all(stage.seed),
    };
    run.fresh_folder()?;
    run.stage.program.start(&stage.data)?.terminate()?;
    let mut healed = Vec::new();
    for limit in LIMITS_MEBIBYTES {
        println!("  files of at most {limit} MiB");
        let after = run.pass(limit).with_context(|| format!("files of at most {limit} MiB"))?;
        healed.push(format!("{limit} MiB: {} ms", after.as_millis()));
    }
    Ok(table(&[
        ("appends acknowledged", run.tally.acknowledged.to_string()),
        ("responses with 507", run.tally.full.to_string()),
        ("higher limit to first acknowledgement", healed.join(", ")),
        ("bytes read and compared", run.tally.checked_bytes.to_string()),
    ]))
}

impl Run<'_> {
    /// A store that can't be made says why.
    fn fresh_folder(&self) -> Result<()> {
        let folder = self.stage.data.with_extension("fresh");
        match self.stage.program.try_start(&folder, &["prlimit", "--fsize=1048576"])? {
            Start::Ended { status, said } if status.code() == Some(1) && said.contains("File too large") => {
                Ok(())
            }
            start => bail!(broken("a server that can't start says why", "", format!("{start:?}"))),
        }
    }

    /// Says how long it took to go on with a higher limit.
    fn pass(&mut self, limit: u64) -> Result<Duration> {
        let fsize = format!("--fsize={}:unlimited", limit << 20);
        let mut server = match self.stage.program.try_start(&self.stage.data, &["prlimit", &fsize])? {
            Start::Running(server) => server,
            Start::Ended { status, said } => {
                bail!(broken("the server starts", "", format!("it ended with {status} and said:\n{said}")))
            }
        };
        self.load(&server, |tally| {
            let before = tally.full.get();
            wait(FILL_MAX, || tally.full.get() > before)
                .ok_or_else(|| broken("a full disk is answered with 507", "", "it was never answered so"))?;
            // As long as the server needs to find that it is idle, so that checkpoints meet the limit too.
            thread::sleep(Duration::from_secs(7));
            Ok(())
        })?;
        server.still_runs()?;
        if limit == 1 {
            refusal_is_a_problem(&server.client)?;
        }
        self.check(&server)?;
        let mut after = None;
        let pid = server.pid().to_string();
        self.load(&server, |tally| {
            let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status()?;
            if !raised.success() {
                bail!("cannot raise the limit again");
            }
            let before = tally.acknowledged.get();
            after = wait(HEAL_MAX, || tally.acknowledged.get() > before + 200);
            Ok(())
        })?;
        self.check(&server)?;
        server.kill()?;
        let server = self.stage.program.start(&self.stage.data)?;
        self.check(&server)?;
        server.terminate()?;
        let server = self.stage.program.start(&self.stage.data)?;
        self.check(&server)?;
        server.terminate()?;
        let late = || broken("with a higher limit it goes on by itself", "", format!("not in {HEAL_MAX:?}"));
        Ok(after.ok_or_else(late)?)
    }

    fn load(&mut self, server: &Server, meanwhile: impl FnOnce(&Tally) -> Result<()>) -> Result<()> {
        let phase = Phase::default();
        let (registry, tally) = (&self.registry, &self.tally);
        let scene = Scene { client: &server.client, registry, tally, phase: &phase, disk: Condition::Full };
        load::run(&scene, &mut self.writers, &mut self.rng, || meanwhile(tally))
    }

    fn check(&self, server: &Server) -> Result<()> {
        let phase = Phase::default();
        let (registry, tally) = (&self.registry, &self.tally);
        let scene = Scene { client: &server.client, registry, tally, phase: &phase, disk: Condition::Full };
        oracle::check(&scene, &self.registry.all(), &self.rng)
    }
}
