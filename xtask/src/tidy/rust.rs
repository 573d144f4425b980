//! Rules for Rust files: each says what it owns, names files that are there, stays readable in one sitting, and leaves
//! HTTP to `protocol`.

use super::{Complaint, protocol_map::quoted, text::resolve};

/// A source file of a crate is read from the top; past this it has a second topic.
const LINES_MAX: usize = 700;

/// Header names of the protocol and of its caching. Only `protocol` writes them.
const HEADERS: [&str; 35] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "age",
    "cache-control",
    "cache-status",
    "cross-origin-resource-policy",
    "etag",
    "forwarded",
    "if-match",
    "if-none-match",
    "last-event-id",
    "no-vary-search",
    "retry-after",
    "server-timing",
    "stream-closed",
    "stream-cursor",
    "stream-expected-offset",
    "stream-expires-at",
    "stream-fork-offset",
    "stream-fork-sub-offset",
    "stream-forked-from",
    "stream-next-offset",
    "stream-seq",
    "stream-sse-data-encoding",
    "stream-ttl",
    "stream-up-to-date",
    "stream-visibility",
    "timing-allow-origin",
    "webhook-signature",
    "x-accel-buffering",
    "x-cache",
    "x-cache-hits",
    "x-content-type-options",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Every header of producers begins so.
const PRODUCER_HEADERS: &str = "producer-";

/// The front page of a crate, which says what it is for.
const README: &str = "#![doc = include_str!(\"../README.md\")]";

/// What a doc comment names by a path and an ending among these is a file of the repository.
const FILES: [&str; 5] = [".md", ".rs", ".toml", ".json", ".mjs"];

/// `exists` says whether a path, from the root, is there.
pub(super) fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = dead_paths(path, text, exists);
    complaints.extend(missing_summary(path, text));
    if path.starts_with("crates/") && path.contains("/src/") {
        complaints.extend(too_long(path, text));
    }
    if answers_http_but_must_not(path) {
        complaints.extend(http_outside_protocol(path, text));
    }
    complaints
}

/// Files that doc comments name in backticks, seen from the root, from the crate or from the file, and that aren't there.
fn dead_paths(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let of_crate =
        ["/src/", "/tests/", "/examples/", "/benches/"].iter().find_map(|inside| path.split_once(inside));
    let from = ["", of_crate.map_or("", |(of_crate, _)| of_crate), directory];
    let mut complaints = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(comment) = ["//!", "///"].iter().find_map(|begin| line.trim_start().strip_prefix(begin))
        else {
            continue;
        };
        for file in quoted(comment).filter(|quoted| is_file(quoted)) {
            if !from.iter().filter_map(|from| resolve(from, file)).any(|target| exists(&target)) {
                let what = format!("the comment names {file}, which is not there");
                complaints.push(Complaint::new(path, at + 1, what, "Correct the path, or add the file."));
            }
        }
    }
    complaints
}

fn is_file(quoted: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    quoted.contains('/') && quoted.bytes().all(plain) && FILES.iter().any(|ending| quoted.ends_with(ending))
}

fn missing_summary(path: &str, text: &str) -> Option<Complaint> {
    let first =
        text.lines().find(|line| *line == README || !(line.trim().is_empty() || line.starts_with("#![")));
    if first.is_some_and(|line| line.starts_with("//!") || line == README) {
        return None;
    }
    let todo = "Begin it with a `//!` sentence on what it owns and what it leaves to others.";
    Some(Complaint::new(path, 1, "the file does not say what it is for", todo))
}

fn too_long(path: &str, text: &str) -> Option<Complaint> {
    let lines = text.lines().count();
    let todo = "Move one of its topics to a file of its own (tests may go to a `tests.rs` beside it).";
    (lines > LINES_MAX)
        .then(|| Complaint::new(path, LINES_MAX + 1, format!("{lines} lines, more than {LINES_MAX}"), todo))
}

/// Crates other than `protocol`, without their tests, examples and benches, which speak to a server as clients do.
fn answers_http_but_must_not(path: &str) -> bool {
    let directory = |name: &str| path.contains(&format!("/{name}/"));
    path.starts_with("crates/")
        && !path.starts_with("crates/protocol/")
        && !["tests", "examples", "benches"].iter().any(|name| directory(name))
        && !path.ends_with("/tests.rs")
}

fn http_outside_protocol(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, line) in server_code(text).iter().enumerate() {
        let scanned = scan(line);
        for literal in scanned.literals.iter().filter(|literal| is_header(literal)) {
            let what = format!("the header name \"{literal}\" outside of crates/protocol");
            complaints.push(Complaint::new(path, at + 1, what, "Use the constant of headwater-protocol."));
        }
        if scanned.code.contains("StatusCode::") {
            let todo = "Let headwater-protocol choose the status: a Refusal, or the operation's `respond`.";
            complaints.push(Complaint::new(path, at + 1, "a status code outside of crates/protocol", todo));
        }
    }
    complaints
}

/// The lines before the unit tests, which are the end of a file. `#[cfg(test)] mod tests;` near its beginning, or a
/// single function for tests, ends nothing.
fn server_code(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

fn is_header(literal: &str) -> bool {
    let literal = literal.to_ascii_lowercase();
    literal.starts_with(PRODUCER_HEADERS) || HEADERS.contains(&literal.as_str())
}

/// A line of Rust taken apart: its string literals, and the rest without comments.
#[derive(Debug, Default, PartialEq)]
struct Scanned {
    literals: Vec<String>,
    code: String,
}

/// Good enough for one line: knows escapes, character literals and `//`, and takes a literal over several lines
/// for code.
fn scan(line: &str) -> Scanned {
    let mut scanned = Scanned::default();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else if rest.starts_with("'\\\"'") {
            rest = &rest[4..];
        } else if next == '"' {
            let (literal, after) = literal(&rest[1..]);
            scanned.literals.push(literal.to_owned());
            rest = after;
        } else {
            scanned.code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    scanned
}

/// The literal that `rest` begins with, just after its opening quote, and what follows its closing one.
fn literal(rest: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (&rest[..at], &rest[at + 1..]),
            _ => {}
        }
    }
    (rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/service/src/read.rs";

    fn check(path: &str, text: &str) -> Vec<Complaint> {
        super::check(path, text, |target| ["docs/a.md", "crates/service/examples/b.rs"].contains(&target))
    }

    fn complaints(text: &str) -> usize {
        check(PATH, text).len()
    }

    #[test]
    fn files_that_comments_name_are_there() {
        assert_eq!(complaints("//! See `docs/a.md`, `examples/b.rs` and `../../../docs/a.md`.\n"), 0);
        assert_eq!(complaints("//! See `docs/c.md`.\n    /// And `cases/d.rs`.\n"), 2);
        assert_eq!(complaints("//! `a/b`, `<name>/c.rs`, docs/c.md\nlet path = \"`docs/c.md`\";\n"), 0);
    }

    #[test]
    fn a_file_begins_with_what_it_is_for() {
        assert_eq!(complaints("//! Reads.\n"), 0);
        assert_eq!(complaints("#![no_std]\n//! Reads.\n"), 0);
        assert_eq!(complaints(&format!("{README}\n\nmod read;\n")), 0);
        assert_eq!(complaints("use std::fmt;\n//! Reads.\n"), 1);
        assert_eq!(complaints(""), 1);
    }

    #[test]
    fn long_files_are_for_crates_to_avoid() {
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(complaints(&long), 1);
        assert!(check("xtask/src/main.rs", &long).is_empty());
    }

    #[test]
    fn headers_and_statuses_belong_to_protocol() {
        let text = "//! X.\nlet a = \"Stream-Next-Offset\";\nlet b = \"producer-id\";\nStatusCode::OK;\n";
        let found = check(PATH, text);
        assert_eq!(found.iter().map(|complaint| complaint.line).collect::<Vec<_>>(), [2, 3, 4]);
        for path in
            ["crates/protocol/src/names.rs", "crates/server-hyper/tests/http.rs", "conformance/src/main.rs"]
        {
            assert!(check(path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn every_name_that_protocol_writes_is_known() {
        let names = include_str!("../../../crates/protocol/src/names.rs");
        let written: Vec<String> = names.lines().flat_map(|line| scan(line).literals).collect();
        assert!(written.len() > 20, "{written:?}");
        for name in written {
            assert!(is_header(&name), "{name}");
        }
    }

    #[test]
    fn comments_prose_and_unit_tests_may_name_headers() {
        assert_eq!(complaints("//! X.\n// sends \"stream-closed\" with StatusCode::OK\n"), 0);
        assert_eq!(complaints("//! X.\nlet a = \"no stream-closed here\";\n"), 0);
        assert_eq!(
            complaints("//! X.\n#[cfg(test)]\nmod tests {\n  const A: &str = \"stream-closed\";\n}\n"),
            0
        );
        assert_eq!(complaints("//! X.\n#[cfg(test)]\nmod tests;\nconst A: &str = \"stream-closed\";\n"), 1);
    }

    #[test]
    fn a_line_is_taken_apart() {
        let scanned = scan(r#"a("x\"y", '"', "http://h") // "c""#);
        assert_eq!(scanned.literals, [r#"x\"y"#, "http://h"]);
        assert_eq!(scanned.code, "a(, , ) ");
    }
}
