//! Entity tags of reads (section 10.1) and `If-None-Match` (RFC 9110, 13.1.2).
//!
//! `"<incarnation>:<start>:<end>"`, with `:tail` at the tail of an open stream and `:closed` at that of a closed one,
//! with or without data; before those `:offsets` if events have [offsets](crate::state_event). Start and end are positions, never what the client typed, so that every spelling of one read
//! has one tag. The bytes up to an end are the same before and after more is appended, but the responses aren't: one says
//! that the reader is up to date. A 304 can't take that back from a cache, which keeps the headers that the 304 lacks.

use crate::{decimal, offset::Incarnation, progress::Progress};

/// The strong validator of the bytes between two positions of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag {
    /// The stream whose bytes they are.
    pub(crate) incarnation: Incarnation,
    /// The first position.
    pub(crate) start: u64,
    /// The position after the last byte.
    pub(crate) end: u64,
    /// Whether events of the State Protocol have offsets there, which makes other bytes of them.
    pub(crate) has_offsets: bool,
    /// How far the response goes.
    pub(crate) reach: Reach,
}

/// How far a response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The response ends before the tail.
    Inside,
    /// The response ends at the tail of an open stream.
    Tail,
    /// The response ends at the tail of a closed stream.
    Closed,
}

impl From<Progress> for Reach {
    /// Returns the reach of a response with this progress.
    fn from(progress: Progress) -> Self {
        match progress {
            Progress { closed: true, .. } => Self::Closed,
            Progress { up_to_date: true, .. } => Self::Tail,
            Progress { .. } => Self::Inside,
        }
    }
}

/// What the tag of a read has whose events have offsets.
const OFFSETS: &str = ":offsets";

impl EntityTag {
    /// Returns the text of the tag, with its quotes.
    pub(crate) fn encode(&self) -> String {
        const ZEROES: &str = "0000000000000000";
        let [mut incarnation, mut start, mut end] = [itoa::Buffer::new(); 3];
        let incarnation = incarnation.format(self.incarnation.get());
        let padding = ZEROES.get(incarnation.len()..).unwrap_or_default();
        let reach = match self.reach {
            Reach::Inside => "\"",
            Reach::Tail => ":tail\"",
            Reach::Closed => ":closed\"",
        };
        let offsets = if self.has_offsets { OFFSETS } else { "" };
        ["\"", padding, incarnation, ":", start.format(self.start), ":", end.format(self.end), offsets, reach]
            .concat()
    }

    /// Returns the tag that [encodes](Self::encode) to this text, if there is one.
    pub(crate) fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.strip_prefix('"')?.strip_suffix('"')?.split(':');
        let incarnation = parts.next()?.trim_start_matches('0').parse().ok().and_then(Incarnation::new)?;
        let (start, end) = (decimal::parse(parts.next()?)?, decimal::parse(parts.next()?)?);
        let (has_offsets, reach) = match parts.next() {
            Some("offsets") => (true, parts.next()),
            reach => (false, reach),
        };
        let reach = match reach {
            None => Reach::Inside,
            Some("tail") => Reach::Tail,
            Some(_) => Reach::Closed,
        };
        Some(Self { incarnation, start, end, has_offsets, reach }).filter(|tag| tag.encode() == text)
    }
}

/// Returns whether one of the `If-None-Match` field lines names an encoded tag, by weak comparison.
///
/// A line that isn't a list of entity tags matches nothing after the point where it stops being one.
pub(crate) fn none_match_names<'a>(lines: impl IntoIterator<Item = &'a [u8]>, tag: &str) -> bool {
    lines
        .into_iter()
        .any(|line| line.trim_ascii() == b"*" || list(line).any(|listed| listed.quoted == tag.as_bytes()))
}

/// Returns the tags of a list (RFC 9110, 8.8.3), up to the point where it stops being one.
pub(crate) const fn list(line: &[u8]) -> List<'_> {
    List { rest: line, is_separated: true }
}

/// The tags of a list.
pub(crate) struct List<'a> {
    rest: &'a [u8],
    /// Whether there is a comma before the rest.
    is_separated: bool,
}

/// A tag of a list.
pub(crate) struct Listed<'a> {
    /// Its quoted part.
    pub(crate) quoted: &'a [u8],
    /// Whether there is a `W/` before it.
    pub(crate) weak: bool,
}

impl List<'_> {
    /// Returns whether nothing is left that isn't a tag.
    pub(crate) const fn is_complete(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Listed<'a>;

    fn next(&mut self) -> Option<Listed<'a>> {
        while let [mark @ (b' ' | b'\t' | b','), tail @ ..] = self.rest {
            self.is_separated |= *mark == b',';
            self.rest = tail;
        }
        let unmarked = self.rest.strip_prefix(b"W/");
        let quoted = unmarked.unwrap_or(self.rest);
        let inner = quoted.strip_prefix(b"\"").filter(|_| self.is_separated)?;
        let length = inner.iter().position(|&byte| byte == b'"')?;
        let (tag, tail) = quoted.split_at_checked(length + 2)?;
        (self.rest, self.is_separated) = (tail, false);
        Some(Listed { quoted: tag, weak: unmarked.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REACHES: [Reach; 3] = [Reach::Inside, Reach::Tail, Reach::Closed];

    fn tag(start: u64, end: u64, reach: Reach) -> EntityTag {
        EntityTag { incarnation: Incarnation::new(12).unwrap(), start, end, has_offsets: false, reach }
    }

    #[test]
    fn the_tag_names_identity_start_end_and_reach() {
        let tags = REACHES.map(|reach| tag(3, 9, reach).encode());
        let expected =
            ["\"0000000000000012:3:9\"", "\"0000000000000012:3:9:tail\"", "\"0000000000000012:3:9:closed\""];
        assert_eq!(tags, expected);
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
            (&["\"0000000000000012:3:9:closed\"", "\"0000000000000012:3:9:tail\""], false),
            (&["0000000000000012:3:9"], false),
            (&["\"0000000000000012:3:9"], false),
            (&["w/\"0000000000000012:3:9\""], false),
            (&[",,,"], false),
        ];
        for (lines, expected) in cases {
            let named = none_match_names(
                lines.iter().map(|line| line.as_bytes()),
                &tag(3, 9, Reach::Inside).encode(),
            );
            assert_eq!(named, expected, "{lines:?}");
        }
    }

    #[test]
    fn only_what_is_issued_is_decoded() {
        for text in [
            "\"12:3:9\"",
            "\"0000000000000012:03:9\"",
            "\"0000000000000012:3:9:gone\"",
            "\"0000000000000012:3\"",
            "\"0000000000000012:3:9:tail:tail\"",
            "\"0000000000000000:3:9\"",
            "\"\"",
            "\"",
            "",
            "0000000000000012:3:9",
        ] {
            assert_eq!(EntityTag::decode(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_issued_is_decoded(start in 0..1u64 << 53, end in 0..1u64 << 53, reach in 0..3usize, has_offsets: bool) {
            let tag = EntityTag { has_offsets, ..tag(start, end, REACHES[reach]) };
            prop_assert_eq!(EntityTag::decode(tag.encode().as_bytes()), Some(tag));
        }

        #[test]
        fn different_reads_have_different_tags(a in 0..50u64, b in 0..50u64, c in 0..3usize, x in 0..50u64, y in 0..50u64, z in 0..3usize) {
            let (left, right) = (tag(a, b, REACHES[c]), tag(x, y, REACHES[z]));
            prop_assert_eq!(left == right, left.encode() == right.encode());
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands_in_a_list(before in prop::collection::vec("(W/)?\"[!#-~, ]{0,9}\"", 0..4), start: u64, end: u64, weak: bool) {
            let tag = tag(start, end, Reach::Inside).encode();
            let mark = if weak { "W/" } else { "" };
            let line = [before, vec![format!("{mark}{tag}"), "\"after\"".to_owned()]].concat().join(", ");
            prop_assert!(none_match_names([line.as_bytes()], &tag), "{}", line);
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = EntityTag::decode(&line);
            let _ = none_match_names([line.as_slice()], &tag(0, 1, Reach::Inside).encode());
        }
    }
}
