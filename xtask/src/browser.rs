//! `cargo xtask browser`: the official client in a real browser, behind nginx with the configuration of `edge/nginx`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::edge::NGINX;
use crate::server::{self, SERVERS, STORES, Target};
use crate::setup::Program;
use crate::{npm, process, setup, workspace};

pub(crate) const CHROMIUM: Program = Program {
    names: &["google-chrome", "chromium", "chromium-browser"],
    package: "chromium",
    purpose: "examples/browser and verify/clients run the official client in it",
};

/// Starts the first server and runs `examples/browser` against it, which starts nginx and the browser.
pub(crate) fn run() -> Result<()> {
    setup::program(&NGINX)?;
    let chromium = setup::program(&CHROMIUM)?;
    let example = workspace::root().join("examples/browser");
    npm::install(&example)?;
    let target = Target { server: SERVERS[0].to_owned(), store: STORES[0].to_owned() };
    let server = server::start(&target)?;
    let mut node = Command::new("node");
    node.args(["run.mjs", server.url()]).current_dir(example).env("CHROMIUM", chromium);
    process::run(&mut node).context(
        "examples/browser does not check out; to see it alone: `cargo xtask serve`, \
         then `node examples/browser/run.mjs`",
    )?;
    server.stop()
}
