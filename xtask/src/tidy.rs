//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Each rule is a function from a path and a text to complaints, so that it is tested on a few lines. Every
//! complaint names the file and line, what is wrong, and what to do.

mod manifest;
mod protocol_map;
mod rust;
mod text;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Directories that hold nothing we wrote. In a worktree `.git` is a file.
const SKIPPED: [&str; 4] = ["target", "node_modules", ".git", "data"];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    path: String,
    line: usize,
    what: String,
    todo: &'static str,
}

impl Complaint {
    fn new(path: &str, line: usize, what: impl Into<String>, todo: &'static str) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), todo }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}. {}", self.path, self.line, self.what, self.todo)
    }
}

/// Checks the whole checkout.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut paths = Vec::new();
    walk(&root, &root, &mut paths)?;
    paths.sort();
    let mut complaints = Vec::new();
    for path in &paths {
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        // What is not text (an image, a recorded fixture) has no lines to complain about.
        if let Ok(text) = String::from_utf8(bytes) {
            complaints.extend(check(path, &text, |target| root.join(target).exists()));
        }
    }
    let map = fs::read_to_string(root.join(protocol_map::PATH)).context("there is no protocol map")?;
    complaints.extend(protocol_map::check(&map, |path| fs::read_to_string(root.join(path)).ok()));
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints, listed above; {} files checked", complaints.len(), paths.len());
    }
    println!("tidy: {} files checked, no complaints", paths.len());
    Ok(())
}

/// All rules that apply to a file of this name. `exists` says whether a path, from the root, is there.
fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = text::machine_paths(path, text);
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "Cargo.toml" => complaints.extend(manifest::check(path, text)),
        "package.json" => complaints.extend(text::exact_versions(path, text)),
        "package-lock.json" => complaints.extend(text::registry_addresses(path, text)),
        _ if name.ends_with(".rs") => {
            complaints.extend(rust::check(path, text, exists));
            complaints.extend(words::check(path, text));
        }
        _ if name.ends_with(".md") => complaints.extend(text::dead_links(path, text, exists)),
        _ => {}
    }
    complaints
}

/// Every file below `dir`, by its path from `root`, with forward slashes.
fn walk(root: &Path, dir: &Path, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &entry.path(), paths)?;
        } else if kind.is_file() && !name.ends_with(".log") {
            let path = entry.path();
            let below_root = path.strip_prefix(root).expect("the walk began at the root");
            paths.push(below_root.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_the_place_and_the_way_out() {
        let complaint = Complaint::new("a/b.rs", 7, "too long", "Split it.");
        assert_eq!(complaint.to_string(), "a/b.rs:7: too long. Split it.");
    }

    #[test]
    fn a_file_gets_the_rules_of_its_name() {
        let nothing = |_: &str| false;
        assert!(check("crates/x/src/lib.rs", "//! It is fine.\n", nothing).is_empty());
        assert_eq!(check("crates/x/src/lib.rs", "fn main() {}\n", nothing).len(), 1);
        assert_eq!(check("README.md", "[x](missing.md)\n", nothing).len(), 1);
        assert!(check("notes.txt", "[x](missing.md)\n", nothing).is_empty());
    }
}
