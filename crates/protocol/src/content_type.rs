//! Content types (section 9): kept as they were sent, compared by type and subtype, without regard to case.

use std::{fmt, sync::Arc};

use crate::bad_request::BadRequest;

/// The longest Content-Type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// The media type of a stream, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(Arc<str>);

/// The encoding of a stream's bytes in event streams (section 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SseEncoding {
    /// The bytes as they are, line by line: `text/*` in UTF-8, which ASCII is too.
    Text,
    /// An array: `application/json`.
    Json,
    /// Base64: everything else, text with another charset too, since an event stream is UTF-8.
    Base64,
}

impl ContentType {
    /// Reads a Content-Type as RFC 9110, 8.3.1 writes it.
    ///
    /// # Errors
    /// [`BadRequest::ContentTypeMalformed`] if it isn't `type/subtype` with optional parameters, or is too long.
    pub fn parse(text: &str) -> Result<Self, BadRequest> {
        let text = text.trim_ascii();
        let essence = essence(text);
        let slash = essence.bytes().position(|byte| byte == b'/').unwrap_or_default();
        let kind = essence.get(..slash).unwrap_or_default();
        let subtype = essence.get(slash + 1..).unwrap_or_default();
        let visible = text.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic());
        if text.len() <= CONTENT_TYPE_BYTES_MAX && visible && is_token(kind) && is_token(subtype) {
            Ok(Self(text.into()))
        } else {
            Err(BadRequest::ContentTypeMalformed)
        }
    }

    /// Returns the type of a stream whose creation names none: `application/octet-stream`.
    #[must_use]
    pub fn octet_stream() -> Self {
        Self("application/octet-stream".into())
    }

    /// Returns the text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether both name the same type; parameters don't count.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        essence(&self.0).eq_ignore_ascii_case(essence(&other.0))
    }

    /// Returns whether the stream keeps message boundaries (section 9.1).
    #[must_use]
    pub fn is_json(&self) -> bool {
        essence(&self.0).eq_ignore_ascii_case("application/json")
    }

    /// Returns the parameter `charset`, without quotes (RFC 9110, 8.3.2).
    fn charset(&self) -> Option<&str> {
        let mut parameters = self.0.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        let value = value.trim();
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    }

    /// Returns the encoding in event streams.
    #[must_use]
    pub fn sse_encoding(&self) -> SseEncoding {
        let is_text = self.0.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
        if self.is_json() {
            SseEncoding::Json
        } else if is_text && self.charset().is_none_or(is_utf_8) {
            SseEncoding::Text
        } else {
            SseEncoding::Base64
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_utf_8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}

fn essence(text: &str) -> &str {
    let end = text.bytes().position(|byte| byte == b';').unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_ascii_end()
}

/// Returns whether a text is a token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            let is_mark = matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
            is_mark || byte.is_ascii_alphanumeric()
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn type_and_subtype_decide_without_case_and_parameters() {
        let json = ContentType::parse("application/json").unwrap();
        for same in [
            "APPLICATION/JSON",
            "application/json; charset=utf-8",
            " application/json ;x=y",
            "application/json;",
        ] {
            let other = ContentType::parse(same).unwrap();
            assert!(json.matches(&other) && other.is_json(), "{same}");
        }
        for other in ["application/jsonl", "application/vnd.api+json", "text/json"] {
            assert!(!json.matches(&ContentType::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn what_is_not_type_slash_subtype_is_malformed() {
        let long = format!("text/{}", "x".repeat(252));
        for text in [
            "",
            "text",
            "/",
            "text/",
            "/plain",
            "te xt/plain",
            "text/pl ain",
            "text/plain/x",
            "text/plain;\u{e9}",
            &long,
        ] {
            assert_eq!(ContentType::parse(text), Err(BadRequest::ContentTypeMalformed), "{text:?}");
        }
    }

    #[test]
    fn event_streams_encode_by_type() {
        let cases = [
            ("text/plain", SseEncoding::Text),
            ("TEXT/html; charset=utf-8", SseEncoding::Text),
            ("application/json", SseEncoding::Json),
            ("application/octet-stream", SseEncoding::Base64),
            ("application/ndjson", SseEncoding::Base64),
            ("text/plain;charset=\"UTF-8\"", SseEncoding::Text),
            ("text/plain; x=y; Charset = utf8", SseEncoding::Text),
            ("text/plain; charset=us-ascii", SseEncoding::Text),
            ("text/plain; charset", SseEncoding::Text),
            ("text/plain; charset=iso-8859-1", SseEncoding::Base64),
            ("text/plain;charset=\"utf-16\"", SseEncoding::Base64),
            ("text/plain; charset=", SseEncoding::Base64),
            ("application/json; charset=iso-8859-1", SseEncoding::Json),
        ];
        for (text, encoding) in cases {
            assert_eq!(ContentType::parse(text).unwrap().sse_encoding(), encoding, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_parses_back_and_names_its_type(text in "[a-zA-Z!#$&+.^_-]{1,9}/[a-zA-Z!#$&+.^_-]{1,9}( ?;[ -~]{0,20})?") {
            let parsed = ContentType::parse(&text).unwrap();
            prop_assert_eq!(ContentType::parse(parsed.as_str()), Ok(parsed.clone()));
            prop_assert!(parsed.matches(&ContentType::parse(&text.to_ascii_uppercase()).unwrap()));
            prop_assert!(parsed.matches(&ContentType::parse(essence(&text)).unwrap()));
            prop_assert!(http::HeaderValue::from_str(parsed.as_str()).is_ok());
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(parsed) = ContentType::parse(&text) {
                let _ = parsed.sse_encoding();
            }
        }
    }
}
