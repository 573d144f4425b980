//! A response without what may differ: tokens become what they mean, times become placeholders.
//!
//! An offset `<incarnation>_<position>` keeps its position; its incarnation becomes a number, in the order in which
//! a script's responses named them. Everything else must be equal, byte for byte.

use headwater_testkit::Response;
use serde_json::Value;

use crate::client::{Outcome, is_events};

/// Whether the wording of refusals counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wording {
    #[default]
    Exact,
    /// `type`, `title` and `detail` of problem documents and the messages of errors may be others.
    Free,
}

/// Digits of an incarnation and of a position.
const DIGITS: usize = 16;

/// Normalizes the responses of one server to one script.
#[derive(Debug, Default)]
pub(crate) struct Normalizer {
    wording: Wording,
    /// The incarnations in the order in which responses named them.
    incarnations: Vec<String>,
}

impl Normalizer {
    pub(crate) const fn new(wording: Wording) -> Self {
        Self { wording, incarnations: Vec::new() }
    }

    /// The outcome of a request as text to compare.
    pub(crate) fn normal(&mut self, outcome: &Outcome) -> String {
        match outcome {
            Ok(response) => self.response(response),
            // Where it listens is part of some errors.
            Err(error) => format!("no response: {}\n", error.lines().next().unwrap_or_default()),
        }
    }

    fn response(&mut self, response: &Response) -> String {
        let document = self.without_wording(response);
        let mut text = format!("{}\n", response.status);
        let mut headers: Vec<(String, String)> = (response.headers.iter())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .map(|(name, value)| {
                let is_length_of_words = name == "content-length"
                    && (document.is_some() || (self.wording == Wording::Free && is_refused_head(response)));
                let normal =
                    if is_length_of_words { "<length>".to_owned() } else { self.header(&name, &value) };
                (name, normal)
            })
            .collect();
        headers.sort();
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        let body = match document {
            Some(document) => document.to_string().into_bytes(),
            None if is_events(response) => self.events(&response.body),
            None => response.body.clone(),
        };
        text.push_str(&format!("\n{}\n", body.escape_ascii()));
        text
    }

    /// The document of a refusal without its words, if they don't count.
    fn without_wording(&self, response: &Response) -> Option<Value> {
        if self.wording == Wording::Exact || response.status < 400 {
            return None;
        }
        let mut document: Value = serde_json::from_slice(&response.body).ok()?;
        match response.headers("Content-Type").first() {
            Some(&"application/problem+json") => {
                let members = document.as_object_mut()?;
                members.retain(|name, _| !["type", "title", "detail"].contains(&name.as_str()));
            }
            _ => drop(document.get_mut("error")?.as_object_mut()?.remove("message")?),
        }
        Some(document)
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

    /// Rewrites an entity tag, `"<incarnation>:<start>:<end>"`.
    fn tag(&mut self, tag: &str) -> String {
        let parts = tag.strip_prefix('"').and_then(|rest| rest.split_once(':'));
        match parts {
            Some((incarnation, rest)) if is_digits(incarnation) => {
                format!("\"{}:{rest}", self.number(incarnation))
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
                    normal.push_str(&self.number(incarnation));
                }
                _ => normal.push_str(before),
            }
            normal.push('_');
            rest = after.get(1..).unwrap_or_default();
        }
        normal + rest
    }

    fn number(&mut self, incarnation: &str) -> String {
        if incarnation.bytes().all(|digit| digit == b'0') {
            return "<any incarnation>".to_owned();
        }
        let known = self.incarnations.iter().position(|known| known == incarnation);
        let number = known.unwrap_or_else(|| {
            self.incarnations.push(incarnation.to_owned());
            self.incarnations.len() - 1
        });
        format!("<incarnation {number}>")
    }
}

/// Ages up to the lifetime of the scripts' short streams, 20 s, depend on when a response was made.
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

/// Whether the response has no document of which its Content-Length tells.
fn is_refused_head(response: &Response) -> bool {
    response.status >= 400 && response.request.starts_with("HEAD ")
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(text: &str) -> bool {
    text.len() == 29 && text.ends_with(" GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: &[(&str, &str)], body: &str) -> Outcome {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Response { request: String::new(), status: 200, headers, body: body.into() })
    }

    #[test]
    fn the_order_of_headers_and_the_case_of_their_names_do_not_count() {
        let one = response(&[("ETag", "\"a\""), ("Vary", "x")], "body");
        let other = response(&[("vary", "x"), ("etag", "\"a\"")], "body");
        assert_eq!(Normalizer::default().normal(&one), Normalizer::default().normal(&other));
        let third = response(&[("vary", "x"), ("etag", "\"a\"")], "another body");
        assert_ne!(Normalizer::default().normal(&one), Normalizer::default().normal(&third));
    }

    #[test]
    fn an_offset_is_a_position_in_an_incarnation() {
        let mut normalizer = Normalizer::default();
        let mut normal =
            |text: &str| normalizer.normal(&response(&[("Stream-Next-Offset", text)], "")).replace('\n', " ");
        assert!(normal("1111111111111111_0000000000000005").contains("<incarnation 0>_0000000000000005"));
        assert!(normal("2222222222222222_0000000000000005").contains("<incarnation 1>_0000000000000005"));
        assert!(normal("1111111111111111_0000000000000006").contains("<incarnation 0>_0000000000000006"));
        assert!(normal("0000000000000000_0000000000000000").contains("<any incarnation>_0000000000000000"));
        assert!(normal("-1").contains(": -1"));
    }

    #[test]
    fn tags_and_events_name_incarnations_too() {
        let mut normalizer = Normalizer::default();
        assert_eq!(normalizer.tag("\"1111111111111111:0:5:closed\""), "\"<incarnation 0>:0:5:closed\"");
        let events = "id: 1111111111111111_0000000000000005\n{\"streamCursor\":\"12\",\"a_b\":\"_\"}";
        let normal = normalizer.events(events.as_bytes());
        let expected = "id: <incarnation 0>_0000000000000005\n{\"streamCursor\":\"<cursor>\",\"a_b\":\"_\"}";
        assert_eq!(String::from_utf8_lossy(&normal), expected);
    }

    #[test]
    fn what_the_clock_decides_is_a_word() {
        let one = response(
            &[("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Cache-Control", "public, max-age=19")],
            "",
        );
        let other = response(
            &[("Date", "Sun, 06 Nov 1994 08:49:38 GMT"), ("Cache-Control", "public, max-age=20")],
            "",
        );
        assert_eq!(Normalizer::default().normal(&one), Normalizer::default().normal(&other));
        let third = response(&[("Date", "today"), ("Cache-Control", "public, max-age=20")], "");
        assert_ne!(Normalizer::default().normal(&one), Normalizer::default().normal(&third));
    }

    #[test]
    fn the_words_of_a_refusal_count_only_among_servers_of_one_version() {
        let refusal = |title: &str| {
            let body =
                format!("{{\"type\":\"urn:{title}\",\"title\":\"{title}\",\"status\":409,\"detail\":\"x\"}}");
            let length = body.len().to_string();
            let headers = [("Content-Type", "application/problem+json"), ("Content-Length", length.as_str())];
            response(&headers, &body).map(|response| Response { status: 409, ..response })
        };
        let same = |wording| {
            let normal = |title| Normalizer::new(wording).normal(&refusal(title));
            normal("one") == normal("another")
        };
        assert!(same(Wording::Free) && !same(Wording::Exact));
    }
}
