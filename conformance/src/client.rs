//! The server under test, its streams, and ordinary requests to them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use headwater_testkit::{Client, Connection, Response};

use crate::offset;
use crate::options::Options;

/// Longer than any response may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of the server under test that cases depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The duration of a long-poll.
    pub(crate) long_poll_timeout: Duration,
    /// The multiple of bytes at which catch-up responses end.
    pub(crate) chunk_size: usize,
    /// The largest request body.
    pub(crate) body_max: usize,
    /// The longest time for the head of a request.
    pub(crate) header_timeout: Duration,
    /// The longest time without a request.
    pub(crate) idle_timeout: Duration,
    /// An address of this machine that is trusted as a proxy.
    pub(crate) trusted_proxy: IpAddr,
}

/// The server under test.
pub(crate) struct Target {
    /// Its settings.
    pub(crate) facts: Facts,
    /// Host and port.
    pub(crate) authority: String,
    /// The path that all streams are under, without a slash at its end.
    pub(crate) base_path: String,
    client: Client,
    run: String,
    streams: AtomicU64,
}

impl Target {
    /// The server that the command line names.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let url = &options.url;
        let rest =
            url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        ensure!(!authority.is_empty(), "{url} names no host");
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        // A case that uses a connection twice has a raw one, so this client keeps none.
        let client = Client::new(format!("http://{authority}"), REQUEST_TIMEOUT, 0);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self {
            facts: Facts {
                long_poll_timeout: options.long_poll_timeout,
                chunk_size: options.chunk_size,
                body_max: options.body_max,
                header_timeout: options.header_timeout,
                idle_timeout: options.idle_timeout,
                trusted_proxy: options.trusted_proxy,
            },
            authority,
            base_path: path.trim_end_matches('/').to_owned(),
            client,
            run: format!("conformance-{:x}", started.as_micros()),
            streams: AtomicU64::new(0),
        })
    }

    /// A name that no other stream has.
    pub(crate) fn unused_name(&self) -> String {
        format!("{}-{}", self.run, self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// A stream that nobody created yet.
    pub(crate) fn missing(&self, content_type: &'static str) -> Stream<'_> {
        self.named(&self.unused_name(), content_type)
    }

    /// The stream of this name, as it is to stand in the URL.
    pub(crate) fn named(&self, name: &str, content_type: &'static str) -> Stream<'_> {
        Stream { target: self, path: format!("{}/{name}", self.base_path), content_type }
    }

    /// Anything on the server, by its whole path.
    pub(crate) fn at(&self, path: &str) -> Stream<'_> {
        Stream { target: self, path: path.to_owned(), content_type: "text/plain" }
    }

    /// A new stream with these headers on its creation, and these appends.
    #[track_caller]
    pub(crate) fn created(
        &self,
        content_type: &'static str,
        headers: &[(&str, &str)],
        appends: &[&str],
    ) -> Stream<'_> {
        let stream = self.missing(content_type);
        stream.put().headers(headers).send().status(201);
        for append in appends {
            stream.append(append);
        }
        stream
    }

    /// A new `text/plain` stream with these appends.
    #[track_caller]
    pub(crate) fn text(&self, appends: &[&str]) -> Stream<'_> {
        self.created("text/plain", &[], appends)
    }

    /// A new `application/json` stream with these appends.
    #[track_caller]
    pub(crate) fn json(&self, appends: &[&str]) -> Stream<'_> {
        self.created("application/json", &[], appends)
    }

    /// A new `application/octet-stream` stream, empty.
    #[track_caller]
    pub(crate) fn bytes(&self) -> Stream<'_> {
        self.created("application/octet-stream", &[], &[])
    }

    /// A raw connection to the server.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.authority)
    }

    /// Checks that the server still serves other clients.
    #[track_caller]
    pub(crate) fn assert_alive(&self) {
        self.at("/health").get("").status(200).body_is(r#"{"status":"ok"}"#);
    }
}

/// A URL on the server under test, mostly that of a stream.
#[derive(Clone)]
pub(crate) struct Stream<'t> {
    /// The server.
    pub(crate) target: &'t Target,
    /// The path of the URL, from the root of the server.
    pub(crate) path: String,
    /// The content type of creations and appends by default.
    pub(crate) content_type: &'static str,
}

impl<'t> Stream<'t> {
    /// A request without headers and body.
    pub(crate) fn request(&self, method: &str) -> Request<'t> {
        Request {
            client: &self.target.client,
            query: String::new(),
            content_type: None,
            inner: headwater_testkit::Request::new(method, &self.path),
        }
    }

    /// A creation with the stream's content type.
    pub(crate) fn put(&self) -> Request<'t> {
        self.request("PUT").content_type(self.content_type).body("")
    }

    /// An append of `body` with the stream's content type.
    pub(crate) fn post(&self, body: impl AsRef<[u8]>) -> Request<'t> {
        self.request("POST").content_type(self.content_type).body(body)
    }

    /// A close without a body and without a content type.
    pub(crate) fn post_close(&self) -> Request<'t> {
        self.request("POST").header("Stream-Closed", "true").body("")
    }

    /// Reads with this query.
    #[track_caller]
    pub(crate) fn get(&self, query: &str) -> Response {
        self.request("GET").query(query).send()
    }

    /// Reads with this query and these headers.
    #[track_caller]
    pub(crate) fn get_with(&self, query: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET").query(query).headers(headers).send()
    }

    /// Reads from this offset, whatever characters are in it.
    #[track_caller]
    pub(crate) fn read(&self, offset: &str) -> Response {
        self.get(&format!("offset={}", percent_encoded(offset)))
    }

    /// Waits at this offset.
    #[track_caller]
    pub(crate) fn poll(&self, offset: &str) -> Response {
        self.get(&format!("offset={offset}&live=long-poll"))
    }

    /// Waits at this offset with a cursor.
    #[track_caller]
    pub(crate) fn poll_with_cursor(&self, offset: &str, cursor: impl std::fmt::Display) -> Response {
        self.get(&format!("offset={offset}&live=long-poll&cursor={cursor}"))
    }

    /// Asks for the metadata.
    #[track_caller]
    pub(crate) fn head(&self) -> Response {
        self.request("HEAD").send()
    }

    /// Sends a DELETE.
    #[track_caller]
    pub(crate) fn delete(&self) -> Response {
        self.request("DELETE").send()
    }

    /// Appends `body`, which must succeed, and returns the new tail.
    #[track_caller]
    pub(crate) fn append(&self, body: impl AsRef<[u8]>) -> String {
        self.post(body).send().status(204).next_offset()
    }

    /// Closes the stream, which must succeed, and returns its tail.
    #[track_caller]
    pub(crate) fn close(&self) -> String {
        self.post_close().send().status(204).has("Stream-Closed", "true").next_offset()
    }

    /// The tail as HEAD tells it.
    #[track_caller]
    pub(crate) fn tail(&self) -> String {
        self.head().status(200).next_offset()
    }

    /// Reads the whole stream, chunk after chunk. Not for JSON streams, whose chunks are arrays.
    #[track_caller]
    pub(crate) fn contents(&self) -> Vec<u8> {
        let mut from = "-1".to_owned();
        let mut contents = Vec::new();
        loop {
            let response = self.read(&from);
            response.status(200);
            contents.extend_from_slice(&response.body);
            let next = response.next_offset();
            if response.is_up_to_date() {
                return contents;
            }
            if next == from {
                response.fail("neither the tail nor a step towards it");
            }
            from = next;
        }
    }

    /// Runs `refused` and fails if the stream is another one afterwards.
    #[track_caller]
    pub(crate) fn assert_unchanged_by<T>(&self, refused: impl FnOnce() -> T) -> T {
        let before = self.observed();
        let outcome = refused();
        let after = self.observed();
        assert_eq!(before, after, "{} changed", self.path);
        outcome
    }

    /// The state visible to readers: the metadata and the first chunk.
    #[track_caller]
    fn observed(&self) -> (Vec<Option<String>>, Vec<u8>) {
        let head = self.head();
        head.status(200);
        let names =
            ["Content-Type", "Stream-Next-Offset", "Stream-Closed", "Stream-TTL", "Stream-Expires-At"];
        let metadata = names.map(|name| head.header(name).map(str::to_owned)).to_vec();
        (metadata, self.read("-1").status(200).body.clone())
    }

    /// The offset `position` bytes after the beginning of this incarnation.
    #[track_caller]
    pub(crate) fn offset_at(&self, position: usize) -> String {
        offset::with_position(&self.tail(), position as u64)
    }

    /// The absolute URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.target.authority, self.path)
    }

    /// The head of a raw request to this URL, from its request line to the empty line.
    pub(crate) fn raw_head(&self, method: &str, query: &str, headers: &[(&str, &str)]) -> String {
        let question_mark = if query.is_empty() { "" } else { "?" };
        let mut head = format!("{method} {}{question_mark}{query} HTTP/1.1\r\n", self.path);
        let _infallible = write!(head, "Host: {}\r\n", self.target.authority);
        for (name, value) in headers {
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// A request that is being built.
#[derive(Clone)]
pub(crate) struct Request<'t> {
    client: &'t Client,
    query: String,
    content_type: Option<String>,
    inner: headwater_testkit::Request,
}

impl Request<'_> {
    /// Adds a header line.
    #[expect(clippy::needless_pass_by_value, reason = "mostly a literal, a number or a fresh String")]
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.inner.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds header lines.
    pub(crate) fn headers(self, headers: &[(&str, &str)]) -> Self {
        headers.iter().fold(self, |request, (name, value)| request.header(name, value))
    }

    /// Adds the three headers of an idempotent producer.
    pub(crate) fn producer(self, id: &str, epoch: impl ToString, seq: impl ToString) -> Self {
        self.header("Producer-Id", id).header("Producer-Epoch", epoch).header("Producer-Seq", seq)
    }

    /// Makes this request close the stream.
    pub(crate) fn closing(self) -> Self {
        self.header("Stream-Closed", "true")
    }

    /// Replaces the content type.
    pub(crate) fn content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    /// Removes the content type.
    pub(crate) fn without_content_type(mut self) -> Self {
        self.content_type = None;
        self
    }

    /// Replaces the query.
    pub(crate) fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Replaces the body.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.inner.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sends the request and returns the response.
    #[track_caller]
    pub(crate) fn send(self) -> Response {
        let mut request = self.inner;
        if !self.query.is_empty() {
            let _infallible = write!(request.target, "?{}", self.query);
        }
        if let Some(content_type) = self.content_type {
            request.headers.insert(0, ("Content-Type".to_owned(), content_type));
        }
        self.client.send(&request).unwrap_or_else(|error| panic!("no response: {error}\n{request}"))
    }
}

/// `text` with every byte escaped that is not one of RFC 3986's unreserved characters.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => {
                let _infallible = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
