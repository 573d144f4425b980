//! The server under test, its streams, and ordinary requests to them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use ureq::Agent;
use ureq::http;

use crate::answer::{Answer, shown};
use crate::offset;
use crate::options::Options;
use crate::raw::Connection;

/// Longer than any answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Larger than any body that a case reads.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// What the suite was told about the server's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// How long a long-poll waits.
    pub(crate) long_poll_timeout: Duration,
    /// Where catch-up answers end.
    pub(crate) chunk_size: usize,
    /// The largest request body.
    pub(crate) body_max: usize,
    /// How long the head of a request may take.
    pub(crate) header_timeout: Duration,
}

/// The server under test.
pub(crate) struct Target {
    /// What the suite was told about its settings.
    pub(crate) facts: Facts,
    /// Host and port.
    pub(crate) authority: String,
    /// The path that all streams are under, without a slash at its end.
    pub(crate) base_path: String,
    agent: Agent,
    run: String,
    streams: AtomicU64,
}

impl Target {
    /// The server that the command line names.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let url: http::Uri = options.url.parse().with_context(|| format!("{} is not a URL", options.url))?;
        ensure!(url.scheme_str() == Some("http"), "{url} does not begin with http://");
        let authority = url.authority().with_context(|| format!("{url} names no host"))?;
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        // No pool: a case that means to use a connection twice says so and uses a raw one.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_idle_connections(0)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .user_agent("headwater-conformance")
            .build()
            .new_agent();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self {
            facts: Facts {
                long_poll_timeout: options.long_poll_timeout,
                chunk_size: options.chunk_size,
                body_max: options.body_max,
                header_timeout: options.header_timeout,
            },
            authority,
            base_path: url.path().trim_end_matches('/').to_owned(),
            agent,
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

    /// The server still answers everybody else.
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
    /// What creations and appends say unless they are told otherwise.
    pub(crate) content_type: &'static str,
}

impl<'t> Stream<'t> {
    /// A request without headers and body.
    pub(crate) fn request(&self, method: &str) -> Request<'t> {
        Request {
            target: self.target,
            method: method.to_owned(),
            path: self.path.clone(),
            query: String::new(),
            content_type: None,
            headers: Vec::new(),
            body: None,
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
    pub(crate) fn get(&self, query: &str) -> Answer {
        self.request("GET").query(query).send()
    }

    /// Reads with this query and these headers.
    #[track_caller]
    pub(crate) fn get_with(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET").query(query).headers(headers).send()
    }

    /// Reads from this offset, whatever characters are in it.
    #[track_caller]
    pub(crate) fn read(&self, offset: &str) -> Answer {
        self.get(&format!("offset={}", percent_encoded(offset)))
    }

    /// Waits at this offset.
    #[track_caller]
    pub(crate) fn poll(&self, offset: &str) -> Answer {
        self.get(&format!("offset={offset}&live=long-poll"))
    }

    /// Waits at this offset with a cursor.
    #[track_caller]
    pub(crate) fn poll_with_cursor(&self, offset: &str, cursor: impl std::fmt::Display) -> Answer {
        self.get(&format!("offset={offset}&live=long-poll&cursor={cursor}"))
    }

    /// Asks for the metadata.
    #[track_caller]
    pub(crate) fn head(&self) -> Answer {
        self.request("HEAD").send()
    }

    /// Deletes.
    #[track_caller]
    pub(crate) fn delete(&self) -> Answer {
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

    /// Everything in the stream, chunk after chunk. Not for JSON streams, whose chunks are arrays.
    #[track_caller]
    pub(crate) fn contents(&self) -> Vec<u8> {
        let mut from = "-1".to_owned();
        let mut contents = Vec::new();
        loop {
            let answer = self.read(&from);
            answer.status(200);
            contents.extend_from_slice(&answer.body);
            let next = answer.next_offset();
            if answer.header("Stream-Up-To-Date") == Some("true") {
                return contents;
            }
            if next == from {
                answer.fail("neither the tail nor a step towards it");
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

    /// What readers can know: the metadata and the first chunk.
    #[track_caller]
    fn observed(&self) -> (Vec<Option<String>>, Vec<u8>) {
        let head = self.head();
        head.status(200);
        let names =
            ["Content-Type", "Stream-Next-Offset", "Stream-Closed", "Stream-TTL", "Stream-Expires-At"];
        let metadata = names.map(|name| head.header(name).map(str::to_owned)).to_vec();
        (metadata, self.read("-1").status(200).body.clone())
    }

    /// Where an offset of this stream's incarnation is `position` bytes after its beginning.
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

/// One request, on its way together.
#[derive(Clone)]
pub(crate) struct Request<'t> {
    target: &'t Target,
    method: String,
    path: String,
    query: String,
    content_type: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request<'_> {
    /// Adds a header line.
    #[expect(clippy::needless_pass_by_value, reason = "mostly a literal, a number or a fresh String")]
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds header lines.
    pub(crate) fn headers(mut self, headers: &[(&str, &str)]) -> Self {
        self.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// The three headers of an idempotent producer.
    pub(crate) fn producer(self, id: &str, epoch: impl ToString, seq: impl ToString) -> Self {
        self.header("Producer-Id", id).header("Producer-Epoch", epoch).header("Producer-Seq", seq)
    }

    /// Closes the stream with this request.
    pub(crate) fn closing(self) -> Self {
        self.header("Stream-Closed", "true")
    }

    /// Replaces the content type.
    pub(crate) fn content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    /// Leaves the content type out.
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
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sends it and waits for the answer.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        let shown_request = self.to_string();
        match self.exchange() {
            Ok((status, headers, body)) => Answer { request: shown_request, status, headers, body },
            Err(error) => panic!("no answer: {error}\n{shown_request}"),
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of an answer, taken apart one line further up")]
    fn exchange(self) -> anyhow::Result<(u16, Vec<(String, String)>, Vec<u8>)> {
        let url = format!("http://{}{}", self.target.authority, self.path_and_query());
        let mut request = http::Request::builder().method(self.method.as_str()).uri(url);
        if let Some(content_type) = &self.content_type {
            request = request.header("Content-Type", content_type.as_bytes());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        let agent = &self.target.agent;
        let answer = match self.body {
            Some(body) => agent.run(request.body(body)?)?,
            None => agent.run(request.body(())?)?,
        };
        let (head, body) = answer.into_parts();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        let body = body.into_with_config().limit(BODY_BYTES_MAX).read_to_vec()?;
        Ok((head.status.as_u16(), headers, body))
    }

    fn path_and_query(&self) -> String {
        let question_mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}{question_mark}{}", self.path, self.query)
    }
}

impl std::fmt::Display for Request<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{} {}", self.method, self.path_and_query())?;
        if let Some(content_type) = &self.content_type {
            writeln!(formatter, "Content-Type: {content_type}")?;
        }
        for (name, value) in &self.headers {
            writeln!(formatter, "{name}: {value}")?;
        }
        match &self.body {
            Some(body) if !body.is_empty() => write!(formatter, "({} bytes) {}", body.len(), shown(body)),
            _ => Ok(()),
        }
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
