//! What a run of a suite found, and how it is shown.

use headwater_testkit::table;

/// One run of one suite against one target.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) target: String,
    pub(super) suite: String,
    pub(super) passed: usize,
    pub(super) failures: Vec<Note>,
    pub(super) skips: Vec<Note>,
    pub(super) seconds: f64,
}

/// A test and what is to be said about it: why it failed, or why it was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) test: String,
    pub(super) text: String,
}

impl Report {
    /// A report of one failure that belongs to no test.
    pub(super) fn broken(target: &str, what: &str, text: &str) -> Self {
        let mut report = Self { target: target.to_owned(), suite: what.to_owned(), ..Self::default() };
        report.fail(what, text);
        report
    }

    pub(super) fn fail(&mut self, test: &str, text: &str) {
        self.failures.push(Note { test: test.to_owned(), text: text.to_owned() });
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.target.clone(),
            self.suite.clone(),
            self.passed.to_string(),
            self.failures.len().to_string(),
            self.skips.len().to_string(),
            format!("{:.1}", self.seconds),
        ]
    }
}

/// Failures and skips one by one, then everything in one table.
pub(super) fn print(reports: &[Report]) {
    for report in reports {
        for note in &report.skips {
            println!("skipped {} {}: {} {}", report.target, report.suite, note.test, note.text);
        }
    }
    for report in reports {
        for note in &report.failures {
            println!(
                "\nFAILED {} {}: {}\n{}",
                report.target,
                report.suite,
                note.test,
                first_lines(&note.text)
            );
        }
    }
    let header = ["target", "suite", "passed", "failed", "skipped", "seconds"];
    let rows: Vec<Vec<String>> = reports.iter().map(Report::row).collect();
    println!("\n{}", table::render(&header, &rows));
}

/// The beginning of a message, indented, with the first line of a stack: the place in the suite.
fn first_lines(text: &str) -> String {
    const SHOWN: usize = 12;
    let is_stack = |line: &&str| line.trim_start().starts_with("at ");
    let message: Vec<&str> = text.lines().take_while(|line| !is_stack(line)).collect();
    let mut shown: Vec<String> = message.iter().take(SHOWN).map(|line| format!("    {line}")).collect();
    if message.len() > SHOWN {
        shown.push(format!("    ({} more lines)", message.len() - SHOWN));
    }
    if let Some(place) = text.lines().find(is_stack) {
        shown.push(format!("    {}", place.trim_start()));
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_cut_to_its_first_line() {
        let message = "AssertionError: expected 404 to be 200\n    at file:///x.js:1:2\n    at async y";
        assert_eq!(
            first_lines(message),
            "    AssertionError: expected 404 to be 200\n    at file:///x.js:1:2"
        );
    }

    #[test]
    fn a_long_message_says_how_much_is_left() {
        let message = vec!["line"; 20].join("\n");
        assert!(first_lines(&message).ends_with("(8 more lines)"));
    }
}
