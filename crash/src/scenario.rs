//! What can happen to a server and its disk.

use std::path::PathBuf;

use crate::server::Program;

pub(crate) mod flip;
pub(crate) mod fsize;
pub(crate) mod full;
pub(crate) mod kill;
pub(crate) mod powerloss;
pub(crate) mod readonly;

/// Where a scenario takes place.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) program: &'a Program,
    /// The server's folder; nobody else's.
    pub(crate) data: PathBuf,
    pub(crate) seed: u64,
}
