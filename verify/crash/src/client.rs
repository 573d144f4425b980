//! Requests to the server under test, and its answers taken apart.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{self, HeaderMap};

/// Longer than any answer may take, also while other programs keep the disk busy.
const PATIENCE: Duration = Duration::from_secs(90);
const BODY_BYTES_MAX: u64 = 256 << 20;

/// A place in a stream: `<incarnation>_<position>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) text: String,
    pub(crate) incarnation: u64,
    pub(crate) position: usize,
}

impl Offset {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (incarnation, position) = text.split_once('_')?;
        let well_formed = |half: &str| half.len() == 16 && half.bytes().all(|byte| byte.is_ascii_digit());
        if !well_formed(incarnation) || !well_formed(position) {
            return None;
        }
        Some(Self {
            incarnation: incarnation.parse().ok()?,
            position: position.parse().ok()?,
            text: text.into(),
        })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The server, at its address of this start.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

/// A request on its way together.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// Below the base path; with the query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether it is to change something.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        self.headers.iter().try_for_each(|(name, value)| write!(f, " [{name}: {value}]"))?;
        self.body.as_ref().map_or(Ok(()), |body| write!(f, " with {} bytes", body.len()))
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Stream-Next-Offset`.
    pub(crate) fn next(&self) -> Option<Offset> {
        Offset::parse(self.header("Stream-Next-Offset")?)
    }

    pub(crate) fn is_up_to_date(&self) -> bool {
        self.header("Stream-Up-To-Date") == Some("true")
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.header("Stream-Closed") == Some("true")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.status >= 400 {
            write!(f, " {}", crate::payload::shown(&self.body))?;
        }
        Ok(())
    }
}

impl Client {
    /// `url` is what the server printed.
    pub(crate) fn new(url: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(32)
            .max_idle_connections_per_host(32)
            .timeout_global(Some(PATIENCE))
            .user_agent("headwater-crash")
            .build()
            .new_agent();
        Self { agent, url: url.trim_end_matches('/').to_owned() }
    }

    /// The path of a stream as `Stream-Forked-From` names it.
    pub(crate) fn path_of(&self, name: &str) -> String {
        let authority_and_path = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let base =
            authority_and_path.find('/').and_then(|at| authority_and_path.get(at..)).unwrap_or_default();
        format!("{base}/{name}")
    }

    /// Sends it and waits for the whole answer.
    pub(crate) fn send(&self, request: &Request) -> Result<Answer, ureq::Error> {
        let (head, body) = self.run(request)?.into_parts();
        let body = body.into_with_config().limit(BODY_BYTES_MAX).read_to_vec()?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends it and gives the body as it comes; it is cut off after the time that any answer may take.
    pub(crate) fn open(&self, request: &Request) -> Result<(Answer, impl Read + use<>), ureq::Error> {
        let (head, body) = self.run(request)?.into_parts();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body: Vec::new() };
        Ok((answer, body.into_with_config().limit(BODY_BYTES_MAX).reader()))
    }

    fn run(&self, request: &Request) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut builder =
            http::Request::builder().method(request.method).uri(format!("{}/{}", self.url, request.target));
        for (name, value) in &request.headers {
            builder = builder.header(*name, value.as_bytes());
        }
        match &request.body {
            Some(body) => self.agent.run(builder.body(body)?),
            None => self.agent.run(builder.body(())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_two_halves() {
        let offset = Offset::parse("1763715600000000_0000000000005678").unwrap();
        assert_eq!((offset.incarnation, offset.position), (1_763_715_600_000_000, 5_678));
        assert_eq!(Offset::parse("1763715600000000_5678"), None);
        assert_eq!(Offset::parse("now"), None);
    }

    #[test]
    fn a_fork_names_its_source_by_path() {
        let client = Client::new("http://127.0.0.1:9/v1/stream");
        assert_eq!(client.path_of("a/b"), "/v1/stream/a/b");
    }
}
