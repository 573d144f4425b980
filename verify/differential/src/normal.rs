//! An answer without what may differ: tokens become what they mean, the clock becomes a word.
//!
//! An offset `<incarnation>_<position>` keeps its position, and its incarnation becomes the number of the life that
//! it is in the order of a script's answers. What isn't on this list must be the same, byte for byte.

use conformance::answer::Answer;

use crate::client::{Outcome, is_events};

/// Digits of an incarnation and of a position.
const DIGITS: usize = 16;

/// The incarnations that one server gave out in one script, in the order in which they were seen.
#[derive(Debug, Default)]
pub(crate) struct Lives(Vec<String>);

impl Lives {
    /// What came of a request, as text to compare.
    pub(crate) fn normal(&mut self, outcome: &Outcome) -> String {
        match outcome {
            Ok(answer) => self.answer(answer),
            // Where it listens is part of some errors.
            Err(error) => format!("no answer: {}\n", error.lines().next().unwrap_or_default()),
        }
    }

    fn answer(&mut self, answer: &Answer) -> String {
        let mut text = format!("{}\n", answer.status);
        let mut headers: Vec<(String, String)> = (answer.headers.iter())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .map(|(name, value)| {
                let normal = self.header(&name, &value);
                (name, normal)
            })
            .collect();
        headers.sort();
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        let body = if is_events(answer) { self.events(&answer.body) } else { answer.body.clone() };
        text.push_str(&format!("\n{}\n", body.escape_ascii()));
        text
    }

    fn header(&mut self, name: &str, value: &str) -> String {
        match name {
            "date" if is_date(value) => "<date>".to_owned(),
            // Another reader of the same range may have come first.
            "cache-status" if value.starts_with("headwater; ") => "<source>".to_owned(),
            "server-timing" if value.starts_with("origin;dur=") => "<time>".to_owned(),
            "stream-cursor" if is_number(value) => "<cursor>".to_owned(),
            "stream-next-offset" => self.offsets(value),
            "etag" => self.tag(value),
            "cache-control" => age_about(value),
            _ => value.to_owned(),
        }
    }

    /// `"<incarnation>:<start>:<end>"`.
    fn tag(&mut self, tag: &str) -> String {
        let parts = tag.strip_prefix('"').and_then(|rest| rest.split_once(':'));
        match parts {
            Some((incarnation, rest)) if is_digits(incarnation) => {
                format!("\"{}:{rest}", self.life(incarnation))
            }
            _ => tag.to_owned(),
        }
    }

    /// Offsets, and the cursors of control events.
    fn events(&mut self, body: &[u8]) -> Vec<u8> {
        const CURSOR: &str = "\"streamCursor\":\"";
        // Data that isn't UTF-8 is replaced by the server already.
        let text = self.offsets(&String::from_utf8_lossy(body));
        let mut parts = text.split(CURSOR);
        let mut normal = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let after = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
            normal.push_str(CURSOR);
            normal.push_str(if after.len() < part.len() { "<cursor>" } else { "" });
            normal.push_str(after);
        }
        normal.into_bytes()
    }

    /// All offsets in a text.
    fn offsets(&mut self, text: &str) -> String {
        let mut normal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('_') {
            let (before, after) = rest.split_at(at);
            let incarnation = before.len().checked_sub(DIGITS).and_then(|begin| before.get(begin..));
            match incarnation.filter(|digits| is_digits(digits)) {
                Some(incarnation) if after.get(1..=DIGITS).is_some_and(is_digits) => {
                    normal.push_str(before.strip_suffix(incarnation).unwrap_or(before));
                    normal.push_str(&self.life(incarnation));
                }
                _ => normal.push_str(before),
            }
            normal.push('_');
            rest = after.get(1..).unwrap_or_default();
        }
        normal + rest
    }

    fn life(&mut self, incarnation: &str) -> String {
        if incarnation.bytes().all(|digit| digit == b'0') {
            return "<any life>".to_owned();
        }
        let known = self.0.iter().position(|known| known == incarnation);
        let number = known.unwrap_or_else(|| {
            self.0.push(incarnation.to_owned());
            self.0.len() - 1
        });
        format!("<life {number}>")
    }
}

/// A stream that lives for 20 seconds may have lost a few when its answer says how long it may be kept.
fn age_about(cache_control: &str) -> String {
    const LIFETIME_S: u64 = 20;
    let directives = cache_control.split(", ").map(|directive| {
        let age = directive.strip_prefix("max-age=").and_then(|age| age.parse::<u64>().ok());
        match age {
            Some(age) if (LIFETIME_S - 10..=LIFETIME_S).contains(&age) => "max-age=<what is left>",
            _ => directive,
        }
    });
    directives.collect::<Vec<_>>().join(", ")
}

fn is_digits(text: &str) -> bool {
    text.len() == DIGITS && is_number(text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(text: &str) -> bool {
    text.len() == 29 && text.ends_with(" GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)], body: &str) -> Outcome {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Answer { request: String::new(), status: 200, headers, body: body.into() })
    }

    #[test]
    fn the_order_of_headers_and_the_case_of_their_names_do_not_count() {
        let one = answer(&[("ETag", "\"a\""), ("Vary", "x")], "body");
        let other = answer(&[("vary", "x"), ("etag", "\"a\"")], "body");
        assert_eq!(Lives::default().normal(&one), Lives::default().normal(&other));
        let third = answer(&[("vary", "x"), ("etag", "\"a\"")], "another body");
        assert_ne!(Lives::default().normal(&one), Lives::default().normal(&third));
    }

    #[test]
    fn an_offset_is_a_position_in_a_life() {
        let mut lives = Lives::default();
        let mut normal =
            |text: &str| lives.normal(&answer(&[("Stream-Next-Offset", text)], "")).replace('\n', " ");
        assert!(normal("1111111111111111_0000000000000005").contains("<life 0>_0000000000000005"));
        assert!(normal("2222222222222222_0000000000000005").contains("<life 1>_0000000000000005"));
        assert!(normal("1111111111111111_0000000000000006").contains("<life 0>_0000000000000006"));
        assert!(normal("0000000000000000_0000000000000000").contains("<any life>_0000000000000000"));
        assert!(normal("-1").contains(": -1"));
    }

    #[test]
    fn tags_and_events_name_lives_too() {
        let mut lives = Lives::default();
        assert_eq!(lives.tag("\"1111111111111111:0:5:closed\""), "\"<life 0>:0:5:closed\"");
        let events = "id: 1111111111111111_0000000000000005\n{\"streamCursor\":\"12\",\"a_b\":\"_\"}";
        let normal = lives.events(events.as_bytes());
        let expected = "id: <life 0>_0000000000000005\n{\"streamCursor\":\"<cursor>\",\"a_b\":\"_\"}";
        assert_eq!(String::from_utf8_lossy(&normal), expected);
    }

    #[test]
    fn what_the_clock_decides_is_a_word() {
        let one =
            answer(&[("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Cache-Control", "public, max-age=19")], "");
        let other =
            answer(&[("Date", "Sun, 06 Nov 1994 08:49:38 GMT"), ("Cache-Control", "public, max-age=20")], "");
        assert_eq!(Lives::default().normal(&one), Lives::default().normal(&other));
        let third = answer(&[("Date", "today"), ("Cache-Control", "public, max-age=20")], "");
        assert_ne!(Lives::default().normal(&one), Lives::default().normal(&third));
    }
}
