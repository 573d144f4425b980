//! Ordinary requests, sent by an ordinary client.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::http;
use ureq::{Agent, Body, Error};

use crate::response::{Response, shown};

/// More than any body that a test reads.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// What follows the client's base URL, with the query.
    pub target: String,
    /// Header lines, in order.
    pub headers: Vec<(String, String)>,
    /// The body; `None` if the head announces none.
    pub body: Option<Vec<u8>>,
}

impl Client {
    /// Returns a client whose URLs begin with `base`, which keeps up to `idle_connections` for further requests.
    pub fn new(base: impl Into<String>, timeout: Duration, idle_connections: usize) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_idle_connections(idle_connections)
            .max_idle_connections_per_host(idle_connections)
            .timeout_global(Some(timeout))
            .user_agent("headwater-testkit")
            .build()
            .new_agent();
        Self { agent, base: base.into() }
    }

    /// The path of a target, from the root of the server.
    pub fn path(&self, target: &str) -> String {
        let rest = self.base.split_once("://").map_or("", |(_, rest)| rest);
        format!("{}{target}", rest.find('/').map_or("", |at| &rest[at..]))
    }

    /// Sends a request and returns the whole response.
    ///
    /// # Errors
    /// There is no response, or no end of it in time.
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        let (mut response, body) = self.run(request)?;
        response.body = body.into_with_config().limit(BODY_BYTES_MAX).read_to_vec()?;
        Ok(response)
    }

    /// Sends a request and returns the head of the response, and the body as it comes until the client's timeout.
    ///
    /// # Errors
    /// There is no response.
    pub fn open(&self, request: &Request) -> Result<(Response, impl Read + use<>), Error> {
        let (response, body) = self.run(request)?;
        Ok((response, body.into_with_config().limit(BODY_BYTES_MAX).reader()))
    }

    fn run(&self, request: &Request) -> Result<(Response, Body), Error> {
        let uri = format!("{}{}", self.base, request.target);
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value.as_bytes());
        }
        let response = match &request.body {
            Some(body) => self.agent.run(builder.body(body)?)?,
            None => self.agent.run(builder.body(())?)?,
        };
        let (head, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let (request, status) = (request.to_string(), head.status.as_u16());
        Ok((Response { request, status, headers, body: Vec::new() }, body))
    }
}

impl Request {
    /// Returns a request without headers and body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(f, "\n{name}: {value}")?;
        }
        match &self.body {
            Some(body) if !body.is_empty() => write!(f, "\n({} bytes) {}", body.len(), shown(body)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_the_root() {
        let client = |base| Client::new(base, Duration::from_secs(1), 0);
        assert_eq!(client("http://127.0.0.1:9/v1/stream/").path("a/b"), "/v1/stream/a/b");
        assert_eq!(client("http://127.0.0.1:9").path("/a"), "/a");
    }
}
