//! The step `edge`: what of `edge/` can be checked without traffic, by the program that reads it.
//!
//! What the configurations do to requests is checked by `cargo xtask cdn` and `cargo xtask browser`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::setup::Program;
use crate::{process, setup, workspace};

pub(crate) const NGINX: Program =
    Program { names: &["nginx"], package: "nginx-light", purpose: "edge/nginx is checked with it" };
pub(crate) const VARNISH: Program =
    Program { names: &["varnishd"], package: "varnish", purpose: "edge/varnish is checked with it" };
const HAPROXY: Program =
    Program { names: &["haproxy"], package: "haproxy", purpose: "edge/haproxy is checked with it" };
const CADDY: Program =
    Program { names: &["caddy"], package: "caddy", purpose: "edge/caddy is checked with it" };

/// The folders with code and tests beside it, for `node --test`.
const TESTED: [&str; 2] = ["cloudflare", "cloudfront"];
const JSON: [&str; 2] = ["cloudflare/cache-rules.json", "cloudfront/template.json"];

/// Checks every configuration that some program here can check. Fastly's language has no such program.
pub(crate) fn run() -> Result<()> {
    let edge = workspace::root().join("edge");
    nginx(&edge.join("nginx"))?;
    varnish(&edge.join("varnish"))?;
    let haproxy = setup::program(&HAPROXY)?;
    process::run(Command::new(haproxy).args(["-c", "-f", "haproxy.cfg"]).current_dir(edge.join("haproxy")))?;
    caddy(&edge.join("caddy"))?;
    for path in JSON {
        json(&edge.join(path))?;
        println!("edge/{path}: JSON");
    }
    setup::node()?;
    for folder in TESTED {
        process::run(Command::new("node").arg("--test").current_dir(edge.join(folder)))?;
    }
    Ok(())
}

/// `nginx -t` makes the folders of the cache, so it gets a copy.
fn nginx(folder: &Path) -> Result<()> {
    let copy = fresh_copy(folder, "nginx")?;
    let mut command = Command::new(setup::program(&NGINX)?);
    process::run(command.arg("-t").arg("-p").arg(&copy).args(["-c", "nginx.conf"]))
}

/// `varnishd -C` prints the program that it makes of the configuration, which nobody wants to read.
fn varnish(folder: &Path) -> Result<()> {
    let mut command = Command::new(setup::program(&VARNISH)?);
    command.arg("-C").arg("-n").arg(fresh_folder("varnish")?).arg("-f").arg(folder.join("headwater.vcl"));
    let shown = process::shown(&command);
    let output = command.stdout(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, last_part(&output.stderr));
    }
    println!("{shown}: compiled");
    Ok(())
}

/// `caddy validate` writes into the home folder unless it is told of another.
fn caddy(folder: &Path) -> Result<()> {
    let home = fresh_folder("caddy")?;
    let mut command = Command::new(setup::program(&CADDY)?);
    command.args(["validate", "--adapter", "caddyfile", "--config", "Caddyfile"]).current_dir(folder);
    process::run(command.env("XDG_CONFIG_HOME", &home).env("XDG_DATA_HOME", &home))
}

fn json(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str::<Value>(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(())
}

/// A folder of this name, empty, below the folder for what nobody commits.
fn fresh_folder(name: &str) -> Result<PathBuf> {
    let folder = workspace::scratch_dir()?.join("edge").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The files of a folder, without what is below it, in a fresh one.
fn fresh_copy(from: &Path, name: &str) -> Result<PathBuf> {
    let to = fresh_folder(name)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(to)
}

/// The end of what a program said, where a compiler puts the reason.
fn last_part(output: &[u8]) -> String {
    const LINES: usize = 20;
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_text_is_kept() {
        let text: Vec<String> = (0..100).map(|line| line.to_string()).collect();
        let part = last_part(text.join("\n").as_bytes());
        assert!(part.starts_with("80\n") && part.ends_with("\n99"));
        assert_eq!(last_part(b"one"), "one");
    }
}
