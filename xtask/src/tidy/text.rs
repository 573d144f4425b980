//! Rules for text of any kind: links that lead somewhere, and nothing that is true on one machine only.

use super::Complaint;

/// Directories of somebody's machine. Written in two parts, because this file is checked too.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "tmp/"),
    concat!("/", "home/"),
    concat!("/", "Users/"),
];

/// Files in which such a directory makes sense, each with the reason.
const MACHINE_PATHS_ALLOWED: [(&str, &str); 0] = [];

pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Complaint> {
    if MACHINE_PATHS_ALLOWED.iter().any(|(allowed, _reason)| *allowed == path) {
        return Vec::new();
    }
    let todo = "Make it relative to the repository, or take it from the environment or a flag.";
    let mut complaints = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for directory in MACHINE_PATHS.iter().filter(|directory| has_absolute(line, directory)) {
            let what = format!("a path of one machine ({directory})");
            complaints.push(Complaint::new(path, at + 1, what, todo));
        }
    }
    complaints
}

/// Whether `directory` begins a path here, rather than continuing a relative one or a URL.
fn has_absolute(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "._-/}*~".contains(c)))
    })
}

/// A lock file with registry addresses would tie every machine to one registry.
pub(super) fn registry_addresses(path: &str, text: &str) -> Vec<Complaint> {
    let todo = "Make it anew: npm install --package-lock-only --omit-lockfile-registry-resolved.";
    matching_lines(text, "\"resolved\"")
        .map(|line| Complaint::new(path, line, "a registry address in the lock file", todo))
        .collect()
}

/// `"^1.2.3"` means another version next month.
pub(super) fn exact_versions(path: &str, text: &str) -> Vec<Complaint> {
    let todo = "Write the exact version that is in the lock file.";
    ["\": \"^", "\": \"~"]
        .iter()
        .flat_map(|range| matching_lines(text, range))
        .map(|line| Complaint::new(path, line, "a version range", todo))
        .collect()
}

fn matching_lines<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.lines().enumerate().filter(move |(_, line)| line.contains(part)).map(|(at, _)| at + 1)
}

/// Relative links of a Markdown file to files that are not there. `exists` is asked with paths from the root.
pub(super) fn dead_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut complaints = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for link in links(line).filter(|link| is_relative(link)) {
            let file = link.split(['#', '?']).next().unwrap_or(link);
            if !resolve(directory, file).is_some_and(|target| exists(&target)) {
                let todo = "Correct the link, or add the file.";
                complaints.push(Complaint::new(
                    path,
                    at + 1,
                    format!("the link to {link} leads nowhere"),
                    todo,
                ));
            }
        }
    }
    complaints
}

/// The targets of `[text](target)` and of `[name]: target`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .and_then(|(_, rest)| rest.split_whitespace().next());
    inline.chain(reference)
}

fn is_relative(link: &str) -> bool {
    !(link.is_empty() || link.starts_with('#') || link.contains("://") || link.starts_with("mailto:"))
}

/// `file` as seen from `directory`, as a path from the root; `None` if it leaves the repository.
pub(super) fn resolve(directory: &str, file: &str) -> Option<String> {
    let joined = if file.starts_with('/') { file.to_owned() } else { format!("{directory}/{file}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        let home = MACHINE_PATHS[3];
        assert_eq!(machine_paths("a.rs", &format!("open(\"{home}me/x\")\n")).len(), 1);
        assert_eq!(machine_paths("a.rs", &format!("x\n  data: {home}me\n"))[0].line, 2);
        assert!(
            machine_paths("a.rs", &format!("crates{home}x https://example.org{home}x ${{ROOT}}{home}\n"))
                .is_empty()
        );
    }

    #[test]
    fn lock_files_hold_no_addresses_and_manifests_no_ranges() {
        assert_eq!(registry_addresses("l", "{\n  \"resolved\": \"https://x\"\n}").len(), 1);
        assert!(registry_addresses("l", "{\n  \"integrity\": \"sha512-x\"\n}").is_empty());
        assert_eq!(exact_versions("p", "{\n  \"vitest\": \"^4.1.0\"\n}").len(), 1);
        assert!(exact_versions("p", "{\n  \"vitest\": \"4.1.12\", \"node\": \">=20\"\n}").is_empty());
    }

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let exists = |path: &str| path == "docs/a.md" || path == "LICENSE";
        let found = |text: &str| dead_links("docs/b.md", text, exists).len();
        assert_eq!(found("see [a](a.md), [a](./a.md#part \"title\"), [licence](../LICENSE)"), 0);
        assert_eq!(found("[c](c.md) and [d](../docs/d.md)"), 2);
        assert_eq!(found("[root](../../elsewhere.md)"), 1);
        assert_eq!(found("[a]: a.md\n[c]: c.md"), 1);
        assert_eq!(found("[x](https://example.org) [y](#part) [z](mailto:a@example.org)"), 0);
        assert_eq!(found("```\n[c](c.md)\n```\n"), 0);
    }
}
