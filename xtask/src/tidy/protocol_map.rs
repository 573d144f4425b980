//! The rule of `docs/protocol-map.md`: what it names is there, functions in the files that it says, cases in theirs.

use std::collections::HashSet;

use super::Complaint;

pub(super) const PATH: &str = "docs/protocol-map.md";

/// Where the functions are whose files are named without a path from the root.
const FUNCTIONS: &str = "crates/protocol/src";
const CASES: &str = "conformance/src/cases";

/// Checks each row of the table. `read` gives the text of a file by its path from the root.
pub(super) fn check(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, _section, _rule, functions, cases, _] = cells[..] else { continue };
        let missing = missing_functions(functions, &read).into_iter().chain(missing_cases(cases, &read));
        complaints.extend(missing.map(|what| Complaint::new(PATH, at + 1, what, "Name what is there now.")));
    }
    complaints
}

/// Names stand before the file that holds them: `` `f`, `T::g` in `file.rs` ``.
fn missing_functions(cell: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut missing = Vec::new();
    let mut names = Vec::new();
    for quoted in quoted(cell) {
        if !quoted.ends_with(".rs") {
            names.push(quoted);
            continue;
        }
        let Some(file) = read(quoted).or_else(|| read(&format!("{FUNCTIONS}/{quoted}"))) else {
            missing.push(format!("there is no file {quoted}"));
            continue;
        };
        // `Type::function` is written `function` there, and `--a-flag` is `a_flag`.
        let written =
            |name: &str| name.rsplit("::").next().unwrap_or(name).trim_start_matches('-').replace('-', "_");
        let words: HashSet<&str> = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        let absent = names.drain(..).filter(|name| !words.contains(&*written(name)));
        missing.extend(absent.map(|name| format!("{name} is not in {quoted}")));
    }
    missing
}

fn missing_cases(cell: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let cases = quoted(cell).filter_map(|quoted| quoted.split_once("::"));
    let is_missing = |(subject, name): &(&str, &str)| {
        read(&format!("{CASES}/{subject}.rs")).is_none_or(|file| !file.contains(&format!("fn {name}(")))
    };
    cases.filter(is_missing).map(|(subject, name)| format!("there is no case {subject}::{name}")).collect()
}

/// What stands between backticks.
pub(super) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<String> {
        match path {
            "crates/protocol/src/op/read.rs" => Some("fn parse() {} fn respond() {}".to_owned()),
            "crates/server/src/settings.rs" => Some("sse_lifetime: Duration".to_owned()),
            "conformance/src/cases/offsets.rs" => Some("fn they_sort(t: &Target) {}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn what_a_row_names_is_looked_up() {
        let row =
            |functions: &str, cases: &str| format!("|---|---|---|---|\n| 8 | x | {functions} | {cases} |\n");
        let found = |functions, cases| check(&row(functions, cases), read).len();
        assert_eq!(found("`Read::parse`, `respond` in `op/read.rs`; not yet", "`offsets::they_sort`"), 0);
        assert_eq!(found("the default of `--sse-lifetime` in `crates/server/src/settings.rs`", ""), 0);
        assert_eq!(found("`Read::decide`, `parse` in `op/read.rs`", ""), 1);
        assert_eq!(found("`parse` in `op/write.rs`", ""), 1);
        assert_eq!(found("", "`offsets::they_dance`, `cursors::they_sort`"), 2);
        assert_eq!(check(&row("`respon` in `op/read.rs`", ""), read)[0].line, 2);
    }
}
