//! Folders that can't be written: a clear message at the start, and exit code 1.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::Stage;
use crate::mount::Disk;
use crate::report::{broken, table};
use crate::server::Start;

pub(crate) fn run(stage: &Stage<'_>) -> Result<String> {
    let mut rows = Vec::new();
    let file = stage.data.with_extension("file");
    fs::write(&file, "a file where a folder should be")?;
    rows.push(("a file", refusal(stage, &file, &["exists", "directory"])?));
    let disk = Disk::of_mebibytes(&stage.data, 120)?;
    let used = stage.data.join("used");
    stage.program.start(&used)?.terminate()?;
    disk.make_read_only()?;
    rows.push(("a folder with data, read-only", refusal(stage, &used, &["Read-only file system"])?));
    let fresh = stage.data.join("fresh");
    rows.push(("a folder that can't be made", refusal(stage, &fresh, &["Read-only file system"])?));
    Ok(table(&rows))
}

/// The last line that the server prints; the output must name the folder and one of these reasons.
fn refusal(stage: &Stage<'_>, folder: &Path, reasons: &[&str]) -> Result<String> {
    let start = stage.program.try_start(folder, &[])?;
    let Start::Ended { status, said } = &start else {
        bail!(broken("a server that can't start says why", "", "it has started on what it can't write"))
    };
    let says_where = said.contains(&folder.display().to_string());
    let says_why = reasons.iter().any(|reason| said.contains(reason));
    if status.code() != Some(1) || !says_where || !says_why {
        let what = format!("{status}, without the folder or one of {reasons:?}:\n{said}");
        bail!(broken("a server that can't start says why", "", what));
    }
    Ok(said.lines().last().unwrap_or_default().replace(&folder.display().to_string(), "FOLDER"))
}
