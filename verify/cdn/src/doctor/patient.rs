//! A deployment from outside: its edge, perhaps its origin, and streams to try them with.

use std::cell::RefCell;
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request, Response};

/// Longer than any long-poll.
const PATIENCE: Duration = Duration::from_secs(120);
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Streams that can't be deleted end by themselves.
const TTL_S: &str = "600";

/// The deployment.
pub(crate) struct Patient {
    agent: Agent,
    edge: String,
    origin: Option<String>,
    /// Makes the names of this run its own.
    run: u128,
    streams: RefCell<Vec<String>>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a cache says that it had this answer; `None` if nobody says anything.
    pub(crate) fn was_kept(&self) -> Option<bool> {
        let says =
            |name: &str, word: &str| self.header(name).map(|value| value.to_ascii_lowercase().contains(word));
        let age = self.header("age").and_then(|age| age.parse::<u64>().ok()).map(|age| age > 0);
        [says("x-cache", "hit"), says("cf-cache-status", "hit"), age]
            .into_iter()
            .flatten()
            .reduce(|a, b| a || b)
    }

    pub(crate) fn next_offset(&self) -> Result<String> {
        Ok(self.header("stream-next-offset").context("an answer without Stream-Next-Offset")?.to_owned())
    }

    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!("answered {} instead of {status}: {}", self.status, self.body.trim_end());
        }
        Ok(self)
    }
}

impl Patient {
    pub(crate) fn new(edge: &str, origin: Option<&str>) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Self {
            agent: config.max_redirects(0).build().new_agent(),
            edge: edge.trim_end_matches('/').to_owned(),
            origin: origin.map(|origin| origin.trim_end_matches('/').to_owned()),
            run,
            streams: RefCell::default(),
        }
    }

    /// The name of a stream that isn't there yet.
    pub(crate) fn name(&self) -> String {
        let number = self.streams.borrow().len();
        let name = format!("doctor-{}-{number}", self.run);
        self.streams.borrow_mut().push(name.clone());
        name
    }

    /// Creates a stream and says where it begins.
    pub(crate) fn create(&self, name: &str, headers: &[(&str, &str)]) -> Result<String> {
        let headers = [&[("Content-Type", "text/plain"), ("Stream-TTL", TTL_S)], headers].concat();
        send(&self.agent, Method::PUT, self.writing(), name, &headers, "")?.expect(201)?.next_offset()
    }

    /// Appends and says where the stream ends now.
    pub(crate) fn append(&self, name: &str, text: &str) -> Result<String> {
        let headers = [("Content-Type", "text/plain")];
        send(&self.agent, Method::POST, self.writing(), name, &headers, text)?.expect(204)?.next_offset()
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        send(&self.agent, Method::DELETE, self.writing(), name, &[], "")?.expect(204).map(drop)
    }

    /// A GET through the edge.
    pub(crate) fn get(&self, name: &str, query: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        send(&self.agent, Method::GET, &self.edge, &format!("{name}?{query}"), headers, "")
    }

    /// Sends GETs through the edge from any thread.
    pub(crate) fn getter(&self) -> Getter {
        Getter { agent: self.agent.clone(), edge: self.edge.clone() }
    }

    /// A HEAD through the edge.
    pub(crate) fn head(&self, name: &str) -> Result<Answer> {
        send(&self.agent, Method::HEAD, &self.edge, name, &[], "")
    }

    /// An event stream through the edge.
    pub(crate) fn events(&self, name: &str, query: &str) -> Result<impl Read + use<>> {
        let response = request(&self.agent, Method::GET, &self.edge, &format!("{name}?{query}"), &[], "")?;
        if response.status() != 200 {
            bail!("answered {}", response.status());
        }
        Ok(response.into_body().into_reader())
    }

    /// How many reads the origin has answered; `None` if it can't be asked.
    pub(crate) fn asked(&self) -> Option<u64> {
        let origin = self.origin.as_ref()?;
        let (scheme, rest) = origin.split_once("://")?;
        let authority = rest.split('/').next()?;
        let answer =
            send(&self.agent, Method::GET, &format!("{scheme}://{authority}"), "metrics", &[], "").ok()?;
        let counts = crate::origin::Counts::parse(&answer.expect(200).ok()?.body);
        Some(counts.requests)
    }

    pub(crate) fn clean_up(&self) {
        for name in self.streams.take() {
            // Some are deleted already; the others end by themselves.
            let _ = self.delete(&name);
        }
    }

    fn writing(&self) -> &str {
        self.origin.as_ref().unwrap_or(&self.edge)
    }
}

/// What a crowd of threads asks with.
#[derive(Clone)]
pub(crate) struct Getter {
    agent: Agent,
    edge: String,
}

impl Getter {
    pub(crate) fn get(&self, name: &str, query: &str) -> Result<Answer> {
        send(&self.agent, Method::GET, &self.edge, &format!("{name}?{query}"), &[], "")
    }
}

fn send(
    agent: &Agent,
    method: Method,
    base: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let response = request(agent, method, base, target, headers, body)?;
    let (head, body) = response.into_parts();
    let body = body.into_with_config().limit(BODY_BYTES_MAX).read_to_vec()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

fn request(
    agent: &Agent,
    method: Method,
    base: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response<ureq::Body>> {
    let mut request = Request::builder().method(method).uri(format!("{base}/{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(if body.is_empty() {
        agent.run(request.body(())?)?
    } else {
        agent.run(request.body(body.to_owned())?)?
    })
}
