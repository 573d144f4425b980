//! `known_differences.toml`: which cases a server doesn't pass, and why nobody can help it.

use serde::Deserialize;

use crate::case::Case;

const FILE: &str = include_str!("../known_differences.toml");

/// All of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Differences {
    difference: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// The first part of the target's name: `actix` of `actix-mem`.
    server: String,
    /// The name of the case: `subject::name`.
    case: String,
    reason: String,
}

impl Differences {
    /// Reads the file that was there when this program was compiled.
    pub(crate) fn read() -> Self {
        toml::from_str(FILE).expect("a test reads the same text")
    }

    /// Why this case fails on this target; `None` if it must pass.
    pub(crate) fn reason(&self, target: &str, case: &Case) -> Option<String> {
        let server = target.split('-').next().unwrap_or(target);
        let is_it = |known: &&Difference| {
            known.server == server && known.case.split_once("::") == Some((case.subject(), case.name))
        };
        self.difference.iter().find(is_it).map(|known| known.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn each_difference_names_a_case_and_a_reason() {
        for known in Differences::read().difference {
            let is_it = |case: Case| format!("{}::{}", case.subject(), case.name) == known.case;
            assert!(cases::all().any(is_it), "there is no case {}", known.case);
            assert!(!known.reason.is_empty());
        }
    }

    #[test]
    fn a_difference_is_one_servers_on_any_store() {
        let differences = Differences::read();
        let case = cases::all().find(|case| case.name == "a_hundred_header_lines_are_taken").expect("a case");
        assert!(differences.reason("actix-mem", &case).is_some());
        assert!(differences.reason("actix-rocksdb", &case).is_some());
        assert!(differences.reason("hyper-mem", &case).is_none());
    }
}
