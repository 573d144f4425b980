//! A deployment from outside: its edge, perhaps its origin, and streams to try them with.

use std::cell::RefCell;
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use headwater_testkit::{Client, Request, Response};

use crate::origin::Counts;

/// Longer than any long-poll.
const PATIENCE: Duration = Duration::from_secs(120);
const IDLE_CONNECTIONS: usize = 4;
/// Streams that can't be deleted end by themselves.
const TTL_S: &str = "600";

/// The deployment.
pub(crate) struct Patient {
    edge: Client,
    origin: Option<Client>,
    /// The root of the origin, where its metrics are.
    root: Option<Client>,
    /// Makes the names of this run its own.
    run: u128,
    streams: RefCell<Vec<String>>,
}

/// The first line of a header.
pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers(name).first().copied()
}

/// Whether a cache says that it stored this response; `None` if no header tells.
pub(crate) fn was_kept(response: &Response) -> Option<bool> {
    let says = |name, word| header(response, name).map(|value| value.to_ascii_lowercase().contains(word));
    let age = header(response, "age").and_then(|age| age.parse::<u64>().ok()).map(|age| age > 0);
    [says("x-cache", "hit"), says("cf-cache-status", "hit"), age].into_iter().flatten().reduce(|a, b| a || b)
}

/// A response with this status.
pub(crate) fn expect(response: Response, status: u16) -> Result<Response> {
    if response.status != status {
        bail!("status {} instead of {status}: {response}", response.status);
    }
    Ok(response)
}

/// The tail that a response names.
pub(crate) fn next_offset(response: &Response) -> Result<String> {
    Ok(header(response, "stream-next-offset").context("a response without Stream-Next-Offset")?.to_owned())
}

impl Patient {
    pub(crate) fn new(edge: &str, origin: Option<&str>) -> Self {
        let client =
            |base: &str| Client::new(format!("{}/", base.trim_end_matches('/')), PATIENCE, IDLE_CONNECTIONS);
        let root = |origin: &str| {
            let (scheme, rest) = origin.split_once("://")?;
            Some(client(&format!("{scheme}://{}", rest.split('/').next()?)))
        };
        Self {
            edge: client(edge),
            origin: origin.map(client),
            root: origin.and_then(root),
            run: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()),
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

    /// Creates a stream and returns its beginning.
    pub(crate) fn create(&self, name: &str, headers: &[(&str, &str)]) -> Result<String> {
        let request =
            Request::new("PUT", name).header("Content-Type", "text/plain").header("Stream-TTL", TTL_S);
        next_offset(&expect(self.write(&with(request, headers))?, 201)?)
    }

    /// Appends and returns the new tail.
    pub(crate) fn append(&self, name: &str, text: &str) -> Result<String> {
        let request = Request::new("POST", name).header("Content-Type", "text/plain").body(text);
        next_offset(&expect(self.write(&request)?, 204)?)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        expect(self.write(&Request::new("DELETE", name))?, 204).map(drop)
    }

    /// A GET through the edge.
    pub(crate) fn get(&self, name: &str, query: &str, headers: &[(&str, &str)]) -> Result<Response> {
        Ok(self.edge.send(&with(Request::new("GET", format!("{name}?{query}")), headers))?)
    }

    /// A GET through the edge, whose status must be 200.
    pub(crate) fn read(&self, name: &str, query: &str, headers: &[(&str, &str)]) -> Result<Response> {
        expect(self.get(name, query, headers)?, 200)
    }

    /// The client of the edge, for threads.
    pub(crate) fn edge(&self) -> &Client {
        &self.edge
    }

    /// A HEAD through the edge.
    pub(crate) fn head(&self, name: &str) -> Result<Response> {
        Ok(self.edge.send(&Request::new("HEAD", name))?)
    }

    /// An event stream through the edge.
    pub(crate) fn events(&self, name: &str, query: &str) -> Result<impl Read + use<>> {
        let (head, body) = self.edge.open(&Request::new("GET", format!("{name}?{query}")))?;
        expect(head, 200)?;
        Ok(body)
    }

    /// The number of reads that the origin has served; `None` if its metrics can't be read.
    pub(crate) fn asked(&self) -> Option<u64> {
        let response = self.root.as_ref()?.send(&Request::new("GET", "metrics")).ok()?;
        let text = String::from_utf8(expect(response, 200).ok()?.body).ok()?;
        Some(Counts::parse(&text).requests)
    }

    pub(crate) fn clean_up(&self) {
        for name in self.streams.take() {
            // Some are deleted already; the others end by themselves.
            let _ = self.delete(&name);
        }
    }

    fn write(&self, request: &Request) -> Result<Response> {
        Ok(self.origin.as_ref().unwrap_or(&self.edge).send(request)?)
    }
}

fn with(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}
