//! The examples' run: each example under `examples/` that checks itself, against a server of ours.

use std::process::Command;

use anyhow::{Context, Result};

use crate::server::{self, SERVERS, STORES, Target};
use crate::{npm, process, workspace};

/// The examples with a `run.mjs`, which takes the base URL and exits non-zero if anything is different.
const EXAMPLES: [&str; 2] = ["typescript", "workers"];

/// Runs every example once, on the first server and store.
pub(crate) fn run() -> Result<()> {
    let target = Target { server: SERVERS[0].to_owned(), store: STORES[0].to_owned() };
    for example in EXAMPLES {
        npm::install(&workspace::root().join("examples").join(example))?;
    }
    let server = server::start(&target)?;
    for example in EXAMPLES {
        run_one(example, server.url())?;
    }
    server.stop()
}

fn run_one(example: &str, url: &str) -> Result<()> {
    println!("Running examples/{example}");
    let mut node = Command::new("node");
    node.args(["run.mjs", url]).current_dir(workspace::root().join("examples").join(example));
    process::run(&mut node).with_context(|| {
        format!(
            "examples/{example} does not check out; to see it alone: `cargo xtask serve`, \
             then `node examples/{example}/run.mjs`"
        )
    })
}
