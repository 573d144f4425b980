//! Entity tags of reads (section 10.1) and `If-None-Match` (RFC 9110, 13.1.2).
//!
//! `"<incarnation>:<start>:<end>"`, with `:closed` at the tail of a closed stream, with or without data. Start
//! and end are positions, never what the client typed, so that every spelling of one read has one tag.

use std::fmt;

use crate::offset::Incarnation;

/// The strong validator of the bytes between two positions of one life of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Whose bytes.
    pub incarnation: Incarnation,
    /// The first position.
    pub start: u64,
    /// The position after the last byte.
    pub end: u64,
    /// Whether the answer says that nothing will follow.
    pub closed: bool,
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = if self.closed { ":closed" } else { "" };
        write!(f, "\"{:016}:{}:{}{closed}\"", self.incarnation.get(), self.start, self.end)
    }
}

/// Whether one of the `If-None-Match` field lines names `tag`, by weak comparison.
///
/// A line that isn't a list of entity tags matches nothing after the point where it stops being one.
pub fn none_match_names<'a>(lines: impl IntoIterator<Item = &'a [u8]>, tag: &EntityTag) -> bool {
    let mut wanted = None;
    lines.into_iter().any(|line| {
        let wanted = wanted.get_or_insert_with(|| tag.to_string());
        if line.trim_ascii() == b"*" {
            return true;
        }
        list(line).any(|listed| listed == wanted.as_bytes())
    })
}

/// The quoted parts of a list of entity tags, without their `W/`.
fn list(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest);
        let inner = quoted.strip_prefix(b"\"")?;
        let length = inner.iter().position(|&byte| byte == b'"')?;
        let (tag, tail) = quoted.split_at_checked(length + 2)?;
        rest = tail;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(start: u64, end: u64, closed: bool) -> EntityTag {
        EntityTag { incarnation: Incarnation::new(12).unwrap(), start, end, closed }
    }

    #[test]
    fn the_tag_names_identity_start_end_and_closure() {
        assert_eq!(tag(3, 9, false).to_string(), "\"0000000000000012:3:9\"");
        assert_eq!(tag(9, 9, true).to_string(), "\"0000000000000012:9:9:closed\"");
    }

    #[test]
    fn lists_stars_and_weak_tags_match_as_rfc_9110_has_them() {
        let cases: [(&[&str], bool); 14] = [
            (&[], false),
            (&["\"0000000000000012:3:9\""], true),
            (&["W/\"0000000000000012:3:9\""], true),
            (&["*"], true),
            (&[" * "], true),
            (&["\"a\", \"0000000000000012:3:9\""], true),
            (&["\"a\",W/\"b\" ,\t\"0000000000000012:3:9\""], true),
            (&["\"a\"", "\"0000000000000012:3:9\""], true),
            (&["\"has, comma\", \"0000000000000012:3:9\""], true),
            (&["\"0000000000000012:3:9:closed\""], false),
            (&["0000000000000012:3:9"], false),
            (&["\"0000000000000012:3:9"], false),
            (&["w/\"0000000000000012:3:9\""], false),
            (&[",,,"], false),
        ];
        for (lines, expected) in cases {
            let named = none_match_names(lines.iter().map(|line| line.as_bytes()), &tag(3, 9, false));
            assert_eq!(named, expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn different_reads_have_different_tags(a in 0..50u64, b in 0..50u64, c: bool, x in 0..50u64, y in 0..50u64, z: bool) {
            let (left, right) = (tag(a, b, c), tag(x, y, z));
            prop_assert_eq!(left == right, left.to_string() == right.to_string());
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands_in_a_list(before in prop::collection::vec("(W/)?\"[!#-~, ]{0,9}\"", 0..4), start: u64, end: u64, weak: bool) {
            let tag = tag(start, end, false);
            let mark = if weak { "W/" } else { "" };
            let line = [before, vec![format!("{mark}{tag}"), "\"after\"".to_owned()]].concat().join(", ");
            prop_assert!(none_match_names([line.as_bytes()], &tag), "{}", line);
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = none_match_names([line.as_slice()], &tag(0, 1, false));
        }
    }
}
