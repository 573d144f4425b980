//! Rules for the words of Rust files: a doc comment stands alone, and code says things the way everybody does.

use super::Complaint;

/// How a doc comment may not begin: what follows would need another item, or a sentence before it.
const BEGINNINGS: [(&str, &str); 4] = [
    ("The same ", "Say what it is by itself."),
    ("Same as ", "Say what it is by itself."),
    ("Who ", "Name the noun: \"A waiting request …\"."),
    ("Whoever ", "Name the noun: \"A waiting request …\"."),
];

pub(super) fn check(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, doc) in docs(text) {
        if doc.split_whitespace().count() == 1 {
            let todo = "Write a noun phrase or a sentence that stands alone.";
            complaints.push(Complaint::new(
                path,
                line,
                format!("the doc comment is one word, \"{doc}\""),
                todo,
            ));
        }
        for (beginning, todo) in BEGINNINGS {
            if doc.starts_with(beginning) {
                let what = format!("the doc comment begins with \"{}\"", beginning.trim_end());
                complaints.push(Complaint::new(path, line, what, todo));
            }
        }
    }
    for (at, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if let Some((what, todo)) = costume(code) {
            complaints.push(Complaint::new(path, at + 1, what, todo));
        }
    }
    complaints
}

/// What a line of code has that no other code base writes, and what to write.
fn costume(code: &str) -> Option<(&'static str, &'static str)> {
    if code.contains("match () {") && !code.contains('"') {
        return Some(("a match on nothing", "Write if, else if, else."));
    }
    if code.starts_with("// ---") || code.starts_with("// ===") {
        return Some((
            "a comment that draws a line",
            "Move the section to a file of its own, or drop the line.",
        ));
    }
    let name = code.split_once("async fn ").map_or("", |(_, name)| name);
    if ["is_", "has_"].iter().any(|predicate| name.starts_with(predicate)) && !code.contains('"') {
        return Some(("an async function with the name of a predicate", "Name it by what it waits for."));
    }
    None
}

/// The doc comments, each as one text with the number of its first line.
fn docs(text: &str) -> Vec<(usize, String)> {
    let mut docs: Vec<(usize, String)> = Vec::new();
    let mut before = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(marker) = ["///", "//!"].into_iter().find(|&marker| line.starts_with(marker)) else {
            before = None;
            continue;
        };
        let words = line[marker.len()..].trim();
        match docs.last_mut() {
            Some((_, doc)) if before == Some(marker) => {
                doc.push('\n');
                doc.push_str(words);
            }
            _ => docs.push((at + 1, words.to_owned())),
        }
        before = Some(marker);
    }
    docs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check("crates/x/src/lib.rs", text).iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn a_doc_comment_has_more_than_one_word() {
        assert_eq!(lines("//! What it is.\n\n/// Which.\nstruct A;\n    /// Who.\n    a: u8,\n"), [3, 5]);
        assert_eq!(lines("/// Which\n/// of them.\nstruct A;\n// Why.\n"), [0; 0]);
    }

    #[test]
    fn a_doc_comment_needs_no_other() {
        assert_eq!(lines("/// The same for one target.\n/// Whoever asks.\n"), [1]);
        assert_eq!(lines("/// Returns\n/// The same value.\n\n/// Who waits.\nfn a() {}\n"), [4]);
        assert_eq!(lines("/// Whole numbers.\n"), [0; 0]);
    }

    #[test]
    fn code_wears_no_costume() {
        assert_eq!(
            lines("match () {\n// -------- reads\n    pub(crate) async fn is_over(&self) {\n"),
            [1, 2, 3]
        );
        assert_eq!(lines("match (a, b) {\n// - a list\nfn is_over(&self) {\nasync fn issue() {\n"), [0; 0]);
    }
}
