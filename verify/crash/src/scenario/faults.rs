//! A disk that fails now and then: the Nth write, flush or change of a name is an I/O error, once or from then on.

use anyhow::Result;

use super::Stage;
use super::kill::{self, Hardship};

/// Runs so many rounds; says what came of it.
pub(crate) fn run(stage: &Stage<'_>, rounds: u64) -> Result<String> {
    match stage.on_own_disk() {
        Ok((disk, stage)) => kill::run(&stage, Hardship::Faults(disk), rounds),
        Err(skipped) => Ok(skipped),
    }
}
