//! Rules for Cargo.toml files of the workspace.

use super::Complaint;

/// What would let the pure rules wait, do input or output, or depend on a framework. Prefixes of package names.
const NOT_IN_PROTOCOL: [&str; 11] =
    ["actix", "async-", "axum", "futures", "hyper", "mio", "rand", "rocksdb", "smol", "tokio", "tower"];

pub(super) fn check(path: &str, text: &str) -> Vec<Complaint> {
    let keys = keys(text);
    let mut complaints = Vec::new();
    // The root's manifest describes the workspace and is no crate.
    if keys.iter().any(|key| key.section == "package") {
        complaints.extend(missing(path, &keys));
    }
    if path == "crates/protocol/Cargo.toml" {
        complaints.extend(impure_dependencies(path, &keys));
    }
    complaints
}

fn missing(path: &str, keys: &[Key<'_>]) -> Vec<Complaint> {
    let has = |section: &str, name: &str| keys.iter().any(|key| key.section == section && key.name == name);
    let mut complaints = Vec::new();
    if !has("package", "description") {
        let todo = "Add `description = \"...\"`: one sentence on what the crate is for.";
        complaints.push(Complaint::new(path, 1, "the crate has no description", todo));
    }
    // A fuzz target declares a symbol, which `unsafe_code = "forbid"` refuses.
    let has_own_lints = path == "verify/fuzz/Cargo.toml";
    let is_workspaces =
        |key: &Key<'_>| key.section == "lints" && key.name == "workspace" && key.value == "true";
    if !has_own_lints && !keys.iter().any(is_workspaces) {
        let todo = "Add a section `[lints]` with `workspace = true`.";
        complaints.push(Complaint::new(path, 1, "the crate does not use the lints of the workspace", todo));
    }
    complaints
}

/// Dev-dependencies are free: tests may wait.
fn impure_dependencies(path: &str, keys: &[Key<'_>]) -> Vec<Complaint> {
    let todo = "Keep it in crates/service or a store; crates/protocol takes bytes and time as arguments.";
    keys.iter()
        .filter_map(|key| Some((key.line, key.dependency()?)))
        .filter(|(_, name)| NOT_IN_PROTOCOL.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(line, name)| Complaint::new(path, line, format!("crates/protocol depends on {name}"), todo))
        .collect()
}

/// One `name = value` of a manifest, and the section it is in.
struct Key<'a> {
    section: &'a str,
    name: &'a str,
    value: &'a str,
    line: usize,
}

impl<'a> Key<'a> {
    /// The package that this key, or the section it is in, makes the crate depend on.
    fn dependency(&self) -> Option<&'a str> {
        let tables = ["dependencies", "build-dependencies"];
        let (last, before) = match self.section.rsplit_once('.') {
            Some((before, last)) => (last, before),
            None => (self.section, ""),
        };
        if tables.contains(&last) {
            // `tokio.workspace = true` names the package before the dot.
            return self.name.split('.').next();
        }
        tables.contains(&before.rsplit('.').next().unwrap_or(before)).then_some(last)
    }
}

/// The keys of a manifest in order. Manifests here are plain: one key a line, sections in brackets.
fn keys(text: &str) -> Vec<Key<'_>> {
    let mut section = "";
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = title.trim_matches(['[', ']']);
        } else if let Some((name, value)) = line.split_once('=') {
            keys.push(Key {
                section,
                name: name.trim().trim_matches('"'),
                value: value.trim(),
                line: at + 1,
            });
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[package]\nname = \"x\"\ndescription = \"What it is.\"\n\n[lints]\nworkspace = true\n";

    #[test]
    fn a_crate_has_a_description_and_the_lints() {
        assert!(check("crates/x/Cargo.toml", GOOD).is_empty());
        assert_eq!(check("crates/x/Cargo.toml", "[package]\nname = \"x\"\n").len(), 2);
        assert!(check("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n").is_empty());
    }

    #[test]
    fn protocol_depends_on_nothing_that_waits() {
        let with = |lines: &str| format!("{GOOD}\n{lines}");
        let found = |lines: &str| check("crates/protocol/Cargo.toml", &with(lines)).len();
        assert_eq!(found("[dependencies]\nhttp = { workspace = true }\n"), 0);
        assert_eq!(found("[dependencies]\ntokio = { workspace = true }\n"), 1);
        assert_eq!(found("[dependencies]\ntokio.workspace = true\n"), 1);
        assert_eq!(found("[dependencies.futures-util]\nversion = \"0.3\"\n"), 1);
        assert_eq!(found("[target.'cfg(unix)'.dependencies]\nrand = \"0.9\"\n"), 1);
        assert_eq!(found("[dev-dependencies]\ntokio = { workspace = true }\n"), 0);
    }

    #[test]
    fn a_complaint_points_at_the_line() {
        let text = format!("{GOOD}\n[dependencies]\nhyper = \"1\"\n");
        assert_eq!(check("crates/protocol/Cargo.toml", &text)[0].line, 9);
    }
}
