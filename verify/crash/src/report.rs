//! What a run found: a broken rule, or figures.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rule that the server broke.
#[derive(Debug)]
pub(crate) struct Broken {
    rule: &'static str,
    stream: String,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken rule: {}", self.rule)?;
        if !self.stream.is_empty() {
            write!(f, "\n  stream: {}", self.stream)?;
        }
        write!(f, "\n  what happened: {}", self.what)
    }
}

impl std::error::Error for Broken {}

/// For `bail!`.
pub(crate) fn broken(rule: &'static str, stream: &str, what: impl Into<String>) -> Broken {
    Broken { rule, stream: stream.to_owned(), what: what.into() }
}

/// Counts of what happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: Count,
    pub(crate) bytes: Count,
    /// Appends whose answer was lost, and that were sent again and answered.
    pub(crate) resolved: Count,
    /// Appends whose answer was lost and that were found, or not.
    pub(crate) lost_found: Count,
    pub(crate) lost_absent: Count,
    pub(crate) observations: Count,
    pub(crate) checked_bytes: Count,
    pub(crate) not_modified: Count,
    /// Answers with 507.
    pub(crate) full: Count,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Rows of a name and a figure, aligned.
pub(crate) fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, figure)| format!("  {name:<width$}  {figure}\n")).collect()
}

/// The largest of some times and the one in the middle.
pub(crate) fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
    format!("{} ms at most, {} ms in the middle", ms(sorted.last()), ms(sorted.get(sorted.len() / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_each_other() {
        let rows = [("kills", "20".to_owned()), ("appends", "7".to_owned())];
        assert_eq!(table(&rows), "  kills    20\n  appends  7\n");
        assert_eq!(spread(&[5, 1, 9].map(Duration::from_millis)), "9 ms at most, 5 ms in the middle");
        assert_eq!(spread(&[]), "0 ms at most, 0 ms in the middle");
    }

    #[test]
    fn a_broken_rule_names_the_stream() {
        let broken = broken("closed stays closed", "a/1", "it is open");
        assert_eq!(
            broken.to_string(),
            "broken rule: closed stays closed\n  stream: a/1\n  what happened: it is open"
        );
    }
}
