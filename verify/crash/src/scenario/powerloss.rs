//! Cuts the power of the disk again and again, from the first moment of a new folder on.

use std::time::Duration;

use anyhow::{Context, Result};
use headwater_testkit::random::{self, Rng};

use super::Stage;
use super::kill::{self, Hardship};
use crate::disk::OwnDisk;
use crate::oracle;
use crate::payload::{Form, Key};
use crate::registry::Registry;
use crate::report::Tally;
use crate::requests::{Manner, Phase, append, create};
use crate::stream::Tracked;

/// A folder is new for so long; then it is like any other one.
const NEW: Duration = Duration::from_millis(1_500);

/// Runs so many rounds, and half as many on new folders before; says what came of it.
pub(crate) fn run(stage: &Stage<'_>, rounds: u64) -> Result<String> {
    let (mut disk, stage) = match stage.on_own_disk() {
        Ok(there) => there,
        Err(skipped) => return Ok(skipped),
    };
    for round in 1..=rounds.div_ceil(2) {
        disk.replace()?;
        let mut rng = random::seeded(stage.seed, &[0x6e65_7721, round]);
        begin(&stage, &mut disk, &mut rng).with_context(|| format!("on new folder {round}"))?;
    }
    println!("  {} new folders", rounds.div_ceil(2));
    kill::run(&stage, Hardship::PowerCuts(disk), rounds)
}

/// The power is cut while a folder is made, and again just after the first append.
fn begin(stage: &Stage<'_>, disk: &mut OwnDisk, rng: &mut Rng) -> Result<()> {
    let after = NEW.mul_f64(rng.u64(..1_000) as f64 / 1_000.0);
    stage.program.start_and_kill(&stage.data, after)?;
    disk.cut(rng)?;
    let stream = Tracked::new("first", Form::Bytes, stage.seed);
    let (registry, tally, phase) = (Registry::default(), Tally::default(), Phase::default());
    let server = stage.program.start(&stage.data)?;
    let scene = kill::scene(&server.client, &registry, &tally, &phase);
    create(&scene, &stream, &[])?;
    append(&scene, &stream, Key { writer: 1, number: 1 }, &Manner::default())?;
    server.kill()?;
    disk.cut(rng)?;
    let server = stage.program.start(&stage.data)?;
    oracle::check_one(&kill::scene(&server.client, &registry, &tally, &phase), &stream, rng)?;
    server.kill()
}
