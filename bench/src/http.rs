//! A client of HTTP/1.1 that costs little: it shares the cores with the server it measures.
//!
//! Requests are bytes made beforehand. One request at a time per connection; of a response only what is asked for
//! is looked at. Payload that is only counted never leaves the kernel.

mod body;
mod head;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use body::Body;
use head::{Framing, Head};

/// A request in bytes, with its body.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    // A GET without a body announces none.
    if method != "GET" {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A connection that is kept, and opened again when the server closed it after a response.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    /// Received bytes, from the beginning of the current response.
    buffer: Vec<u8>,
    /// The payload of the last response, if it came in chunks.
    payload: Vec<u8>,
    keep_alive: bool,
}

/// The room for the next read.
const READ_BYTES: usize = 8 << 10;
/// The most that one read drops. The memory behind it is never touched.
const DROP_BYTES: usize = 1 << 20;

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = connect(address).await?;
        Ok(Self { address, stream, buffer: Vec::new(), payload: Vec::new(), keep_alive: true })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.send(request).await?;
        self.response().await
    }

    /// Sends a request whose response may take its time.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        if !self.keep_alive {
            self.stream = connect(self.address).await?;
            self.keep_alive = true;
        }
        self.buffer.clear();
        self.stream.write_all(request).await.context("cannot send a request")
    }

    /// Reads the whole response to what was sent.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub async fn response(&mut self) -> Result<Response<'_>> {
        let head = self.read_head().await?;
        let end = match head.framing {
            Framing::Length(bytes) => {
                let end = head.bytes + usize::try_from(bytes)?;
                while self.buffer.len() < end {
                    self.receive().await?;
                }
                end
            }
            Framing::Chunked | Framing::UntilClose => self.read_payload(&head).await?,
        };
        if self.buffer.len() > end {
            bail!("the server sent more than the response: {}", quoted(&self.buffer));
        }
        let (head_bytes, rest) = self.buffer.split_at(head.bytes);
        let body = if matches!(head.framing, Framing::Length(_)) { rest } else { &self.payload };
        Ok(Response { status: head.status, head: head_bytes, body })
    }

    /// Sends a request and reads the head of the response. The body is read with [`Connection::read_some`] or
    /// [`Connection::drop_some`].
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub async fn begin(&mut self, request: &[u8]) -> Result<Begun> {
        self.send(request).await?;
        let head = self.read_head().await?;
        let bytes = self.buffer.drain(..head.bytes).collect();
        Ok(Begun { status: head.status, head: bytes, body: Body::new(head.framing) })
    }

    /// Gives the next payload to `sink`; false at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub async fn read_some(&mut self, begun: &mut Begun, sink: &mut impl FnMut(&[u8])) -> Result<bool> {
        if begun.body.is_done() {
            return Ok(false);
        }
        if self.buffer.is_empty() && !self.received().await? {
            if begun.body.may_end() {
                self.keep_alive = false;
                return Ok(false);
            }
            bail!("the server closed the connection in the middle of a body");
        }
        let taken = begun.body.decode(&self.buffer, sink)?;
        self.buffer.drain(..taken);
        Ok(true)
    }

    /// Drops the next payload and says how much it was; `None` at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub async fn drop_some(&mut self, begun: &mut Begun) -> Result<Option<u64>> {
        let ahead = begun.body.payload_ahead().min(DROP_BYTES as u64);
        if !self.buffer.is_empty() || ahead == 0 {
            let mut dropped = 0;
            let more = self.read_some(begun, &mut |payload| dropped += payload.len() as u64).await?;
            return Ok(more.then_some(dropped));
        }
        let length = usize::try_from(ahead)?;
        let dropped =
            self.stream.async_io(Interest::READABLE, || drop_received(&self.stream, length)).await?;
        if dropped == 0 {
            bail!("the server closed the connection in the middle of a body");
        }
        begun.body.skipped(dropped as u64);
        Ok(Some(dropped as u64))
    }

    async fn read_head(&mut self) -> Result<Head> {
        loop {
            if let Some(head) = head::parse(&self.buffer)? {
                self.keep_alive = head.keep_alive;
                return Ok(head);
            }
            self.receive().await?;
        }
    }

    /// Decodes a body that isn't just so many bytes; where it ends in the buffer.
    async fn read_payload(&mut self, head: &Head) -> Result<usize> {
        self.payload.clear();
        let mut body = Body::new(head.framing);
        let mut end = head.bytes;
        loop {
            let fresh = self.buffer.get(end..).unwrap_or_default();
            end += body.decode(fresh, &mut |bytes| self.payload.extend_from_slice(bytes))?;
            if body.is_done() || (!self.received().await? && body.may_end()) {
                return Ok(end);
            }
        }
    }

    async fn receive(&mut self) -> Result<()> {
        if !self.received().await? {
            bail!(
                "the server closed the connection before its response was complete: {}",
                quoted(&self.buffer)
            );
        }
        Ok(())
    }

    /// Waits for more; false if the server closed the connection.
    async fn received(&mut self) -> Result<bool> {
        self.buffer.reserve(READ_BYTES);
        let bytes = self.stream.read_buf(&mut self.buffer).await.context("cannot receive a response")?;
        Ok(bytes > 0)
    }
}

/// A whole response, in the buffer of its connection.
pub struct Response<'a> {
    /// Its status.
    pub status: u16,
    head: &'a [u8],
    /// All of its payload.
    pub body: &'a [u8],
}

impl Response<'_> {
    /// The value of a header that must be there.
    ///
    /// # Errors
    /// When it isn't.
    pub fn header(&self, name: &str) -> Result<&str> {
        head::value(self.head, name).with_context(|| format!("no {name} in {}", quoted(self.head)))
    }

    /// Fails with the response's own words unless its status is the expected one.
    ///
    /// # Errors
    /// Then.
    pub fn expect(&self, status: u16) -> Result<()> {
        if self.status != status {
            bail!("expected {status}, got {} {}; {}", self.status, quoted(self.body), quoted(self.head));
        }
        Ok(())
    }
}

/// A response whose body is still to come.
pub struct Begun {
    status: u16,
    head: Vec<u8>,
    body: Body,
}

impl Begun {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        head::value(&self.head, name)
    }

    /// Fails unless its status is the expected one.
    ///
    /// # Errors
    /// Then.
    pub fn expect(&self, status: u16) -> Result<()> {
        if self.status != status {
            bail!("expected {status}, got {}; {}", self.status, quoted(&self.head));
        }
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("cannot connect to the server")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes up to `length` bytes from the socket without copying them anywhere.
fn drop_received(stream: &TcpStream, length: usize) -> std::io::Result<usize> {
    thread_local! {
        static NOWHERE: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; DROP_BYTES]);
    }
    NOWHERE.with_borrow_mut(|nowhere| {
        let buffer = nowhere.get_mut(..length).unwrap_or_default();
        let (_, dropped) = rustix::net::recv(stream, buffer, RecvFlags::TRUNC)?;
        Ok(dropped)
    })
}

/// The beginning of a response, for an error.
fn quoted(response: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(response.get(..SHOWN).unwrap_or(response));
    format!("`{}`", text.trim_end().replace("\r\n", " | "))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// A server that responds to every connection with these pieces, a little apart, and closes it.
    async fn server(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let _ = stream.read(&mut [0; 1024]).await.unwrap();
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        });
        address
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[tokio::test]
    async fn an_answer_may_come_in_pieces() {
        let address =
            server(&["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 5\r\nETag: \"x\"\r\n\r\nhe", "llo"]).await;
        let mut connection = Connection::open(address).await.unwrap();
        let response = connection.exchange(GET).await.unwrap();
        assert_eq!((response.status, response.body), (200, b"hello".as_slice()));
        assert_eq!(response.header("etag").unwrap(), "\"x\"");
        assert!(response.header("link").is_err());
        let error = response.expect(204).unwrap_err().to_string();
        assert!(error.starts_with("expected 204, got 200 `hello`; `HTTP/1.1 200 OK | "), "{error}");
    }

    #[tokio::test]
    async fn a_chunked_answer_is_its_payload() {
        let address = server(&[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhe",
            "l\r\n2\r\nlo\r\n0\r\n\r\n",
        ])
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        assert_eq!(connection.exchange(GET).await.unwrap().body, b"hello");
    }

    #[tokio::test]
    async fn a_closed_connection_is_opened_again() {
        let address = server(&["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "bye"]).await;
        let mut connection = Connection::open(address).await.unwrap();
        for _ in 0..2 {
            assert_eq!(connection.exchange(GET).await.unwrap().body, b"bye");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_an_error() {
        let address = server(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"]).await;
        let mut connection = Connection::open(address).await.unwrap();
        let error = connection.exchange(GET).await.err().unwrap();
        assert!(error.to_string().contains("closed the connection"), "{error}");
        let mut connection = Connection::open(address).await.unwrap();
        let mut begun = connection.begin(GET).await.unwrap();
        while let Ok(more) = connection.drop_some(&mut begun).await {
            assert!(more.is_some(), "an end that was not announced");
        }
    }

    #[tokio::test]
    async fn dropped_payload_is_counted() {
        for pieces in [
            &["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12", "345", "678"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n1", "2345", "678\r\n0\r\n\r\n"],
        ] {
            let mut connection = Connection::open(server(pieces).await).await.unwrap();
            let mut begun = connection.begin(GET).await.unwrap();
            let mut bytes = 0;
            while let Some(dropped) = connection.drop_some(&mut begun).await.unwrap() {
                bytes += dropped;
            }
            assert_eq!(bytes, 8);
        }
    }
}
