//! The scenarios: what happens to the server and its disk.

use std::path::PathBuf;

use crate::disk::OwnDisk;
use crate::server::Program;

pub(crate) mod faults;
pub(crate) mod flip;
pub(crate) mod fsize;
pub(crate) mod full;
pub(crate) mod greedy;
pub(crate) mod kill;
pub(crate) mod powerloss;
pub(crate) mod readonly;
pub(crate) mod unattended;

/// The server and the folder of a scenario.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) program: &'a Program,
    /// The server's folder; nobody else's.
    pub(crate) data: PathBuf,
    pub(crate) seed: u64,
}

impl Stage<'_> {
    /// Moves the stage to a disk of our own; the error says why there is none.
    fn on_own_disk(&self) -> Result<(OwnDisk, Self), String> {
        let disk = OwnDisk::mount(&self.data);
        let disk =
            disk.map_err(|error| format!("  skipped, because this system has no FUSE for us: {error:#}\n"))?;
        // The server's folder is a new name on the disk, too.
        Ok((disk, Self { data: self.data.join("server"), ..*self }))
    }
}
