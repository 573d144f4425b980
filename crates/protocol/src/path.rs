//! Stream names, and how paths spell them (section 12.2).
//!
//! A name is the percent-decoded path below the base path, so that every spelling of a URL is one stream: clients that
//! build `runs/42` by escaping it whole, `runs%2F42`, mean the same stream. A name that could mean two things to two
//! servers on the way (`..`, `//`, a backslash) is refused, not repaired, however it is spelled.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::bad_request::BadRequest;

/// The longest name, in bytes after decoding.
pub const NAME_BYTES_MAX: usize = 1_024;
/// The first segment of paths that belong to control APIs (section 6).
pub const RESERVED_SEGMENT: &str = "__ds";

const TOO_LONG: BadRequest = BadRequest::NameMalformed { rule: "it is longer than 1,024 bytes" };

/// The name of a stream: one or more segments joined by `/`.
///
/// ```
/// use headwater_protocol::StreamName;
///
/// assert_eq!(StreamName::parse("caf%C3%A9/1")?.as_str(), "caf\u{e9}/1");
/// assert_eq!(StreamName::parse("runs%2F42")?.as_str(), "runs/42");
/// assert!(StreamName::parse("a/../b").is_err());
/// # Ok::<_, headwater_protocol::BadRequest>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Reads a name from a percent-encoded path below the base path.
    ///
    /// # Errors
    /// [`BadRequest::NameMalformed`] with the rule that was broken, [`BadRequest::PathUnknown`] for reserved names.
    pub fn parse(encoded: &str) -> Result<Self, BadRequest> {
        let name = percent_decode(encoded)?;
        check_name(&name)?;
        if is_reserved(&name) { Err(BadRequest::PathUnknown) } else { Ok(Self(name.into())) }
    }

    /// Reads a name that is not encoded, as stores and bodies have it.
    ///
    /// # Errors
    /// [`BadRequest::NameMalformed`] with the rule that was broken.
    pub fn new(name: &str) -> Result<Self, BadRequest> {
        check_name(name)?;
        if is_reserved(name) {
            return Err(BadRequest::NameMalformed { rule: "its first segment is reserved" });
        }
        Ok(Self(name.into()))
    }

    /// Returns the decoded name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path below which all streams are, such as `/v1/stream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath {
    path: Box<str>,
    refuses_escaped_slashes: bool,
}

impl BasePath {
    /// Reads a base path, which begins with a slash; one at the end doesn't count, and `/` alone is the root.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
        let whole =
            path.is_empty() || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        let path = || Self { path: path.into(), refuses_escaped_slashes: false };
        (text.starts_with('/') && plain && whole).then(path)
    }

    /// Makes `%2F` in a name be refused. Without this it is a slash: whoever judges requests before this server has to
    /// judge the decoded name then.
    #[must_use]
    pub const fn refusing_escaped_slashes(mut self, refuses: bool) -> Self {
        self.refuses_escaped_slashes = refuses;
        self
    }

    /// Returns the path, without a slash at its end.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns the name of the stream at a path.
    ///
    /// # Errors
    /// [`BadRequest::PathUnknown`] outside of the base path, and the errors of [`StreamName::parse`].
    pub fn stream(&self, path: &str) -> Result<StreamName, BadRequest> {
        let below = path.strip_prefix(&*self.path).and_then(|rest| rest.strip_prefix('/'));
        let name = below.ok_or(BadRequest::PathUnknown)?;
        if self.refuses_escaped_slashes && has_escaped_slash(name) {
            return Err(BadRequest::NameMalformed { rule: "it has an escaped slash" });
        }
        StreamName::parse(name)
    }
}

fn has_escaped_slash(path: &str) -> bool {
    path.as_bytes().windows(3).any(|escape| escape.eq_ignore_ascii_case(b"%2F"))
}

fn check_name(name: &str) -> Result<(), BadRequest> {
    if name.len() > NAME_BYTES_MAX { Err(TOO_LONG) } else { name.split('/').try_for_each(check) }
}

fn is_reserved(name: &str) -> bool {
    name.split('/').next() == Some(RESERVED_SEGMENT)
}

/// Decodes and checks one segment of a path.
pub(crate) fn decode(segment: &str) -> Result<String, BadRequest> {
    let text = percent_decode(segment)?;
    check(&text)?;
    Ok(text)
}

/// Decodes a part of a path. Unlike a browser it refuses a `%` without two hexadecimal digits.
pub(crate) fn percent_decode(segment: &str) -> Result<String, BadRequest> {
    let broken = |rule| Err(BadRequest::NameMalformed { rule });
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return broken("it has a % without two hexadecimal digits") };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            return broken("it has a % without two hexadecimal digits");
        };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| BadRequest::NameMalformed { rule: "it is not UTF-8" })
}

/// Refuses a decoded segment that could mean more than one thing.
pub(crate) fn check(segment: &str) -> Result<(), BadRequest> {
    let broken = |rule| Err(BadRequest::NameMalformed { rule });
    match segment {
        "" => broken("it has an empty segment"),
        "." | ".." => broken("it has a segment of dots"),
        _ if segment.contains(['/', '\\']) => broken("it has a backslash, or a slash within a segment"),
        _ if segment.chars().any(char::is_control) => broken("it has a control character"),
        _ => Ok(()),
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> BasePath {
        BasePath::parse("/v1/stream").unwrap()
    }

    #[test]
    fn every_spelling_of_a_name_is_one_stream() {
        for (path, name) in [
            ("/v1/stream/a", "a"),
            ("/v1/stream/a/b", "a/b"),
            ("/v1/stream/%61", "a"),
            ("/v1/stream/caf%C3%A9", "café"),
            ("/v1/stream/a%20b", "a b"),
            ("/v1/stream/x/__ds", "x/__ds"),
            ("/v1/stream/a%2Fb", "a/b"),
            ("/v1/stream/a%2fb/c%2Fd", "a/b/c/d"),
            ("/v1/stream/a%252Fb", "a%2Fb"),
            ("/v1/stream/...", "..."),
        ] {
            assert_eq!(base().stream(path).unwrap().as_str(), name, "{path}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for path in [
            "",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "%2e%2e/x",
            "a/%2E/b",
            "a%2F",
            "%2Fa",
            "a%2F%2Fb",
            "a%2F/b",
            "a/%2f",
            "a%2F..",
            "%2e%2e%2Fb",
            "a%2F.%2Fb",
            "a%5Cb",
            "a\\b",
            "a%00b",
            "a%0Ab",
            "a%7F",
            "%",
            "%4",
            "%zz",
            "%ff",
            "%C3",
        ] {
            let parsed = base().stream(&format!("/v1/stream/{path}"));
            assert!(matches!(parsed, Err(BadRequest::NameMalformed { .. })), "{path:?} {parsed:?}");
        }
        assert!(base().stream(&format!("/v1/stream/{}", "x".repeat(1_024))).is_ok());
        assert!(base().stream(&format!("/v1/stream/{}", "x".repeat(1_025))).is_err());
    }

    #[test]
    fn outside_and_reserved_are_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/stream",
            "/v1/streams/a",
            "/v2/stream/a",
            "/v1/stream/__ds",
            "/v1/stream/__ds/x",
            "/v1/stream/%5F_ds/x",
            "/v1/stream/__ds%2Fx",
            "/v1/stream/__ds%2fsubscriptions/a",
            "/v1%2Fstream/a",
        ] {
            assert_eq!(base().stream(path), Err(BadRequest::PathUnknown), "{path}");
        }
    }

    #[test]
    fn escaped_slashes_can_be_refused() {
        let base = base().refusing_escaped_slashes(true);
        for path in ["/v1/stream/a%2Fb", "/v1/stream/a/b%2f", "/v1/stream/__ds%2Fx"] {
            assert!(matches!(base.stream(path), Err(BadRequest::NameMalformed { .. })), "{path}");
        }
        for path in ["/v1/stream/a/b", "/v1/stream/a%252Fb", "/v1/stream/%2", "/v1/stream/a%2"] {
            assert_eq!(base.stream(path), self::base().stream(path), "{path}");
        }
    }

    #[test]
    fn a_base_path_is_plain() {
        assert_eq!(BasePath::parse("/v1/stream/").unwrap().as_str(), "/v1/stream");
        assert_eq!(BasePath::parse("/").unwrap().stream("/a").unwrap().as_str(), "a");
        for text in ["", "v1", "//", "/a//b", "/a b", "/a%20"] {
            assert_eq!(BasePath::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics_and_what_is_taken_is_clean(path in "[a-z%/.0-9A-F_\\\\]{0,30}") {
            if let Ok(name) = StreamName::parse(&path) {
                prop_assert!(name.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
                prop_assert!(!name.as_str().contains(['\\', '\0']));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = StreamName::parse(&text);
            if let Some(base) = BasePath::parse(&text) {
                prop_assert_eq!(base.stream(&format!("{}/a", base.as_str())), StreamName::new("a"));
            }
        }

        #[test]
        fn every_name_has_a_spelling(name in "[^/\\\\\\x00-\\x1f\\x7f-\\u{9f}]{1,20}") {
            prop_assume!(!matches!(name.as_str(), "." | ".." | "__ds"));
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(StreamName::parse(&encoded), StreamName::new(&name));
        }
    }
}
