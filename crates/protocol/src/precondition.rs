//! Conditions on writes: `If-Match` and `If-None-Match` of PUT, POST and DELETE (RFC 9110, 13).
//!
//! A write has no response whose tag it could be compared with. It is compared with those of reads: every read that has
//! reached the tail as it is now names the stream's state, wherever it began. Conditions come after all other checks
//! (RFC 9110, 13.2.1).

use http::header;

use crate::{
    bad_request::BadRequest,
    etag::{EntityTag, Listed, list},
    progress::Progress,
    refusal::Conflict,
    request::head::RequestHead,
    stream::StreamHead,
};

/// The conditions of a write, all of which must hold. Dates aren't looked at: streams have no modification date
/// (RFC 9110, 13.1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// `*`: any state at all.
    Any,
    /// These tags. Those that this server never issues are left out: they match nothing.
    Tags(Vec<(EntityTag, bool)>),
}

impl Precondition {
    pub(crate) fn parse(head: &impl RequestHead) -> Result<Self, BadRequest> {
        Ok(Self {
            if_match: Condition::parse(head.header(&header::IF_MATCH))
                .map_err(|()| BadRequest::ConditionMalformed { header: header::IF_MATCH })?,
            if_none_match: Condition::parse(head.header(&header::IF_NONE_MATCH))
                .map_err(|()| BadRequest::ConditionMalformed { header: header::IF_NONE_MATCH })?,
        })
    }

    /// Checks the conditions against a stream; `None` if there is none.
    pub(crate) fn check(&self, stream: Option<&StreamHead>) -> Result<(), Conflict> {
        // If-Match compares strongly, so that a weak tag never matches; If-None-Match compares weakly (8.8.3.2).
        let matched = |condition: &Condition, strongly: bool| match (condition, stream) {
            (Condition::Any, stream) => stream.is_some(),
            (Condition::Tags(tags), Some(stream)) => {
                tags.iter().any(|(tag, weak)| !(strongly && *weak) && names_state(tag, stream))
            }
            (Condition::Tags(_), None) => false,
        };
        let holds = self.if_match.as_ref().is_none_or(|condition| matched(condition, true))
            && !self.if_none_match.as_ref().is_some_and(|condition| matched(condition, false));
        if holds { Ok(()) } else { Err(Conflict::Precondition { tail: stream.map(StreamHead::tail_offset) }) }
    }

    /// Checks the conditions against a resource that has no tags, such as a subscription: only `*` matches it.
    ///
    /// # Errors
    /// [`Conflict::Precondition`].
    #[cfg(feature = "subscriptions")]
    pub fn check_untagged(&self, exists: bool) -> Result<(), Conflict> {
        let matched = |condition: &Condition| exists && *condition == Condition::Any;
        let holds =
            self.if_match.as_ref().is_none_or(matched) && !self.if_none_match.as_ref().is_some_and(matched);
        if holds { Ok(()) } else { Err(Conflict::Precondition { tail: None }) }
    }
}

/// Returns whether a read of the stream as it is now could have this tag and reach the tail.
fn names_state(tag: &EntityTag, stream: &StreamHead) -> bool {
    let reach = Progress::at(stream, stream.tail).into();
    tag.incarnation == stream.incarnation
        && tag.start <= tag.end
        && tag.end == stream.tail
        && tag.reach == reach
}

impl Condition {
    /// Reads the lines of a condition; `None` if there are none.
    fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, ()> {
        let mut condition = None;
        for line in lines {
            let is_star = line.trim_ascii() == b"*";
            match &mut condition {
                None if is_star => condition = Some(Self::Any),
                None | Some(Self::Tags(_)) if !is_star => {
                    let mut tags = list(line);
                    let known = tags
                        .by_ref()
                        .filter_map(|Listed { quoted, weak }| Some((EntityTag::decode(quoted)?, weak)));
                    let Self::Tags(all) = condition.get_or_insert(Self::Tags(Vec::new())) else {
                        return Err(());
                    };
                    all.extend(known);
                    if !tags.is_complete() {
                        return Err(());
                    }
                }
                // `*` stands alone (13.1.1).
                _ => return Err(()),
            }
        }
        Ok(condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::tests::TestHead,
        stream::{Closure, tests::head},
    };

    fn parse(headers: &[(&'static str, &'static str)]) -> Result<Precondition, BadRequest> {
        Precondition::parse(&TestHead { headers: headers.to_vec(), ..TestHead::default() })
    }

    #[test]
    fn conditions_hold_as_rfc_9110_has_them() {
        let open = StreamHead { tail: 9, ..head(12) };
        let closed = StreamHead { closed: Some(Closure::default()), ..open.clone() };
        const TAIL: &str = "\"0000000000000012:3:9:tail\"";
        const CLOSED: &str = "\"0000000000000012:0:9:closed\"";
        // Whether the condition holds for no stream, for the open one, and for the closed one.
        let cases: [(&str, &str, [bool; 3]); 17] = [
            ("if-match", "*", [false, true, true]),
            ("if-match", " * ", [false, true, true]),
            ("if-match", TAIL, [false, true, false]),
            ("if-match", CLOSED, [false, false, true]),
            ("if-match", "\"0000000000000012:9:9:tail\"", [false, true, false]),
            ("if-match", "W/\"0000000000000012:3:9:tail\"", [false, false, false]),
            ("if-match", "\"0000000000000012:3:9\"", [false, false, false]),
            ("if-match", "\"0000000000000012:3:8:tail\"", [false, false, false]),
            ("if-match", "\"0000000000000012:10:9:tail\"", [false, false, false]),
            ("if-match", "\"0000000000000013:3:9:tail\"", [false, false, false]),
            ("if-match", "\"v1\", \"0000000000000012:3:9:tail\" ,", [false, true, false]),
            ("if-match", "\"12:3:9:tail\"", [false, false, false]),
            ("if-match", "", [false, false, false]),
            ("if-none-match", "*", [true, false, false]),
            ("if-none-match", TAIL, [true, false, true]),
            ("if-none-match", "W/\"0000000000000012:3:9:tail\"", [true, false, true]),
            ("if-none-match", "\"v1\"", [true, true, true]),
        ];
        for (name, value, expected) in cases {
            let condition = parse(&[(name, value)]).unwrap();
            let held = [None, Some(&open), Some(&closed)].map(|stream| condition.check(stream).is_ok());
            assert_eq!(held, expected, "{name}: {value}");
        }
        let both = parse(&[("if-match", TAIL), ("if-none-match", "*")]).unwrap();
        assert_eq!(both.check(Some(&open)), Err(Conflict::Precondition { tail: Some(open.tail_offset()) }));
        let lines = parse(&[("if-match", "\"a\""), ("if-match", TAIL)]).unwrap();
        assert_eq!(lines.check(Some(&open)), Ok(()));
        assert_eq!(parse(&[]).unwrap().check(None), Ok(()));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for value in ["v1", "\"a", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", "\"a\", *", "\"a b"] {
            for header in [header::IF_MATCH, header::IF_NONE_MATCH] {
                let name = if header == header::IF_MATCH { "if-match" } else { "if-none-match" };
                assert_eq!(
                    parse(&[(name, value)]),
                    Err(BadRequest::ConditionMalformed { header }),
                    "{name}: {value}"
                );
            }
        }
        for lines in [["*", "*"], ["*", "\"a\""], ["\"a\"", "*"]] {
            assert!(parse(&lines.map(|line| ("if-match", line))).is_err(), "{lines:?}");
        }
    }

    #[cfg(feature = "subscriptions")]
    #[test]
    fn what_has_no_tags_matches_only_a_star() {
        let cases: [(&str, &str, [bool; 2]); 4] = [
            ("if-match", "*", [false, true]),
            ("if-match", "\"0000000000000012:3:9:tail\"", [false, false]),
            ("if-none-match", "*", [true, false]),
            ("if-none-match", "\"0000000000000012:3:9:tail\"", [true, true]),
        ];
        for (name, value, expected) in cases {
            let condition = parse(&[(name, value)]).unwrap();
            let held = [false, true].map(|exists| condition.check_untagged(exists).is_ok());
            assert_eq!(held, expected, "{name}: {value}");
        }
    }
}
