//! Patterns over stream names (section 6.2): `*` is one segment, `**` any number of segments, anything else itself.

use crate::{
    path::{self, NAME_BYTES_MAX, StreamName},
    subscription::SubscriptionRefusal,
};

/// The most segments of a pattern.
const SEGMENTS_MAX: usize = 64;
/// The most `**` of a pattern: a name may be anywhere behind each of them.
const ANY_MAX: usize = 4;

/// A pattern over stream names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Box<[Segment]>,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A segment with this text.
    Literal(Box<str>),
    /// Any one segment: `*`.
    One,
    /// Any number of segments, or none: `**`.
    Any,
}

impl Pattern {
    /// Reads a pattern; slashes at its ends don't count.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::Invalid`] for segments that no stream has, and for a `*` that is only a part of one.
    pub fn parse(text: &str) -> Result<Self, SubscriptionRefusal> {
        let text = text.trim_matches('/');
        let invalid = |rule: &str| SubscriptionRefusal::invalid(format!("pattern: {rule}"));
        if text.len() > NAME_BYTES_MAX {
            return Err(invalid("it is longer than 1,024 bytes"));
        }
        let mut segments: Vec<Segment> = Vec::new();
        for segment in text.split('/') {
            let segment = match segment {
                "*" => Segment::One,
                // Two in a row mean the same as one.
                "**" if segments.last() == Some(&Segment::Any) => continue,
                "**" => Segment::Any,
                _ if segment.contains('*') => {
                    return Err(invalid("a star stands for whole segments, so it can't be a part of one"));
                }
                _ => {
                    path::check(segment)
                        .map_err(|_| invalid("a segment of it can't be in a stream's name"))?;
                    Segment::Literal(segment.into())
                }
            };
            segments.push(segment);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(invalid("it has more than 64 segments"));
        }
        if segments.iter().filter(|segment| **segment == Segment::Any).count() > ANY_MAX {
            return Err(invalid("it has more than four `**`"));
        }
        Ok(Self { segments: segments.into() })
    }

    /// Returns the segments; there are no two `**` in a row.
    #[must_use]
    pub const fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the text with which every matching name begins.
    #[must_use]
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            let Segment::Literal(text) = segment else { break };
            prefix.push_str(text);
            prefix.push('/');
        }
        // A pattern without stars is a name; one that goes on with `**` matches the name before it too.
        let rest = self.segments.iter().find(|segment| !matches!(segment, Segment::Literal(_)));
        if !matches!(rest, Some(Segment::One)) {
            prefix.pop();
        }
        prefix
    }

    /// Returns whether a name matches. The work is bounded by the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &StreamName) -> bool {
        let names: Vec<&str> = name.as_str().split('/').collect();
        // Where to go on when what follows the last `**` didn't fit: one segment later.
        let mut retry: Option<(usize, usize)> = None;
        let (mut at, mut name_at) = (0, 0);
        loop {
            let fits = match (self.segments.get(at), names.get(name_at)) {
                (None, None) => return true,
                (Some(Segment::Any), _) => {
                    retry = Some((at + 1, name_at));
                    at += 1;
                    continue;
                }
                (Some(Segment::One), Some(_)) => true,
                (Some(Segment::Literal(text)), Some(name)) => **text == **name,
                _ => false,
            };
            if fits {
                (at, name_at) = (at + 1, name_at + 1);
                continue;
            }
            match retry {
                Some((after, from)) if from < names.len() => {
                    retry = Some((after, from + 1));
                    (at, name_at) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            let text = match segment {
                Segment::Literal(text) => text,
                Segment::One => "*",
                Segment::Any => "**",
            };
            write!(f, "{}{text}", if at == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&StreamName::new(name).unwrap())
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        for (pattern, name, expected) in [
            ("events/*", "events/a", true),
            ("events/*", "events", false),
            ("events/*", "events/a/b", false),
            ("events/*", "eventsa", false),
            ("*", "events", true),
            ("*", "events/a", false),
            ("**", "a/b/c", true),
            ("events/**", "events", true),
            ("events/**", "events/a/b", true),
            ("events/**", "event", false),
            ("**/done", "done", true),
            ("**/done", "a/b/done", true),
            ("**/done", "a/done/b", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/z/c/z", true),
            ("a/**/*/z", "a/z", false),
            ("a/**/*/z", "a/b/z", true),
            ("a/**/**/z", "a/z", true),
            ("**/a/**/b", "x/a/a/y/b", true),
            ("/events/*/", "events/a", true),
            ("events/a", "events/a", true),
            ("events/A", "events/a", false),
            ("caf\u{e9}/*", "caf\u{e9}/1", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_no_stream_has_is_refused() {
        for pattern in
            ["", "/", "a//b", "a/../b", "./a", "foo*", "a/*b*", "***", "a\\b", "a\0", &"a/".repeat(600)]
        {
            assert!(matches!(Pattern::parse(pattern), Err(SubscriptionRefusal::Invalid(_))), "{pattern:?}");
        }
        assert!(Pattern::parse(&["*"; 65].join("/")).is_err());
        assert!(Pattern::parse("**/a/**/**/b/**/c/**").is_ok());
        assert!(Pattern::parse("**/a/**/b/**/c/**/d/**").is_err());
    }

    #[test]
    fn the_prefix_is_what_all_matches_share() {
        for (pattern, prefix) in [
            ("events/*", "events/"),
            ("a/b/**", "a/b"),
            ("**/x", ""),
            ("*", ""),
            ("a/b", "a/b"),
            ("a/*/b", "a/"),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().literal_prefix(), prefix, "{pattern}");
        }
    }

    /// The definition, word by word.
    fn by_definition(pattern: &[Segment], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([Segment::Any, rest @ ..], _) => {
                (0..=name.len()).any(|skipped| by_definition(rest, name.get(skipped..).unwrap_or_default()))
            }
            ([Segment::One, rest @ ..], [_, names @ ..]) => by_definition(rest, names),
            ([Segment::Literal(text), rest @ ..], [first, names @ ..]) => {
                **text == **first && by_definition(rest, names)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..7),
            name in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..9),
        ) {
            let text = pattern.join("/");
            let pattern = Pattern::parse(&text).unwrap();
            let joined = StreamName::new(&name.join("/")).unwrap();
            let expected = by_definition(pattern.segments(), &name);
            prop_assert_eq!(pattern.matches(&joined), expected, "{} {}", text, joined);
            if expected {
                prop_assert!(joined.as_str().starts_with(&pattern.literal_prefix()));
            }
            prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
        }

        #[test]
        fn no_text_panics(text: String, name in "[a-z/]{1,20}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = StreamName::new(&name).map(|name| pattern.matches(&name));
            }
        }
    }
}
