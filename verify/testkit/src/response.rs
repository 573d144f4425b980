//! A response, and assertions about it that show the whole exchange when they fail.

use std::fmt;

use serde_json::Value;

/// How much of a body a failure message shows.
const SHOWN_BYTES: usize = 600;

/// A response and the request that it belongs to.
#[derive(Clone, Debug)]
pub struct Response {
    /// The request as a person would write it down.
    pub request: String,
    /// The status code.
    pub status: u16,
    /// Header lines in the order in which they arrived.
    pub headers: Vec<(String, String)>,
    /// The body, without any transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header that may occur once at most.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers(name);
        if values.len() > 1 {
            self.fail(format_args!("{name} is there {} times", values.len()));
        }
        values.first().copied()
    }

    /// The values of all lines of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// The members of a header that is a comma-separated list, in lower case.
    pub fn list(&self, name: &str) -> Vec<String> {
        let members = self.headers(name).into_iter().flat_map(|value| value.split(','));
        members.map(|member| member.trim().to_ascii_lowercase()).filter(|member| !member.is_empty()).collect()
    }

    /// Checks the status.
    #[track_caller]
    pub fn status(&self, expected: u16) -> &Self {
        if self.status != expected {
            self.fail(format_args!("expected status {expected}, not {}", self.status));
        }
        self
    }

    /// Checks that the status is one of these.
    #[track_caller]
    pub fn status_in(&self, expected: &[u16]) -> &Self {
        if !expected.contains(&self.status) {
            self.fail(format_args!("expected one of the statuses {expected:?}, not {}", self.status));
        }
        self
    }

    /// Checks that a header occurs once, with this value.
    #[track_caller]
    pub fn has(&self, name: &str, expected: &str) -> &Self {
        match self.header(name) {
            Some(value) if value == expected => self,
            Some(value) => self.fail(format_args!("expected {name}: {expected}, not {value}")),
            None => self.fail(format_args!("expected {name}: {expected}, and there is none")),
        }
    }

    /// Checks that a header is absent.
    #[track_caller]
    pub fn lacks(&self, name: &str) -> &Self {
        match self.headers(name).first() {
            Some(value) => self.fail(format_args!("expected no {name}, and it is {value}")),
            None => self,
        }
    }

    /// The value of a header that must occur once.
    #[track_caller]
    pub fn expect_header(&self, name: &str) -> &str {
        match self.header(name) {
            Some(value) => value,
            None => self.fail(format_args!("expected a header {name}")),
        }
    }

    /// Checks the body.
    #[track_caller]
    pub fn body_is(&self, expected: impl AsRef<[u8]>) -> &Self {
        let expected = expected.as_ref();
        if self.body != expected {
            let first_difference = self.body.iter().zip(expected).take_while(|(a, b)| a == b).count();
            self.fail(format_args!(
                "expected the body ({} bytes) {}, not ({} bytes) {}; they differ from byte {first_difference}",
                expected.len(),
                shown(expected),
                self.body.len(),
                shown(&self.body),
            ));
        }
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => self.fail(format_args!("the body is not JSON: {error}")),
        }
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        match std::str::from_utf8(&self.body) {
            Ok(text) => text,
            Err(error) => self.fail(format_args!("the body is not UTF-8: {error}")),
        }
    }

    /// The value of `Stream-Next-Offset`.
    #[track_caller]
    pub fn next_offset(&self) -> String {
        self.expect_header("Stream-Next-Offset").to_owned()
    }

    /// Whether `Stream-Up-To-Date` is there and true.
    pub fn is_up_to_date(&self) -> bool {
        self.header("Stream-Up-To-Date") == Some("true")
    }

    /// Whether `Stream-Closed` is there and true.
    pub fn is_closed(&self) -> bool {
        self.header("Stream-Closed") == Some("true")
    }

    /// The value of `ETag`, with its quotes.
    #[track_caller]
    pub fn etag(&self) -> String {
        self.expect_header("ETag").to_owned()
    }

    /// The value of `Stream-Cursor`, which must be decimal.
    #[track_caller]
    pub fn cursor(&self) -> u64 {
        let value = self.expect_header("Stream-Cursor");
        match decimal(value) {
            Some(cursor) => cursor,
            None => self.fail(format_args!("the cursor {value:?} is not a decimal number")),
        }
    }

    /// The `max-age` of `Cache-Control`, in seconds.
    #[track_caller]
    pub fn max_age(&self) -> u64 {
        let value = self.expect_header("Cache-Control");
        let age = value.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="));
        match age.and_then(decimal) {
            Some(age) => age,
            None => self.fail(format_args!("{value:?} has no max-age")),
        }
    }

    /// Checks for a refusal with this status whose problem has the type `urn:headwater:problem:<code>`.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Self {
        let problem = self.problem(status);
        let expected = format!("urn:headwater:problem:{code}");
        if problem.as_ref().is_some_and(|problem| problem["type"] != expected.as_str()) {
            self.fail(format_args!("expected a problem of type {expected}"));
        }
        self
    }

    /// Checks for a refusal with status 400 and any type of problem.
    #[track_caller]
    pub fn malformed(&self) -> &Self {
        self.problem(400);
        self
    }

    /// Checks for a refusal with this status and returns its problem document; `None` in a response to HEAD.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Option<Value> {
        self.status(status).has("Cache-Control", "no-store");
        if self.request.starts_with("HEAD ") {
            self.body_is("");
            return None;
        }
        self.has("Content-Type", "application/problem+json");
        let problem = self.json();
        let kind = problem["type"].as_str().unwrap_or_default();
        let code = kind.strip_prefix("urn:headwater:problem:").unwrap_or_default();
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            self.fail(format_args!("the problem's type is {kind:?}"));
        }
        if problem["status"] != status {
            self.fail("the problem names another status than the status line");
        }
        for member in ["title", "detail"] {
            if problem[member].as_str().is_none_or(str::is_empty) {
                self.fail(format_args!("the problem has no {member}"));
            }
        }
        Some(problem)
    }

    /// Checks for a refusal of a control request: JSON with this code.
    #[track_caller]
    pub fn control_refused(&self, status: u16, code: &str) -> &Self {
        self.status(status).has("Content-Type", "application/json").has("Cache-Control", "no-store");
        if self.json()["error"]["code"] != code {
            self.fail(format_args!("expected the code {code}"));
        }
        self
    }

    /// Panics with the reason and the whole exchange.
    #[track_caller]
    pub fn fail(&self, reason: impl fmt::Display) -> ! {
        panic!("{reason}\n{self}")
    }
}

impl fmt::Display for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.request.lines() {
            writeln!(formatter, "> {line}")?;
        }
        writeln!(formatter, "< {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(formatter, "< {name}: {value}")?;
        }
        write!(formatter, "< ({} bytes) {}", self.body.len(), shown(&self.body))
    }
}

/// Reads decimal digits; `None` for a sign, a space, or a number of 2^64 or more.
pub fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The beginning of some bytes, quoted, for error messages.
pub fn shown(bytes: &[u8]) -> String {
    let end = bytes.len().min(SHOWN_BYTES);
    let rest = if end < bytes.len() { "..." } else { "" };
    format!("{:?}{rest}", String::from_utf8_lossy(&bytes[..end]))
}
