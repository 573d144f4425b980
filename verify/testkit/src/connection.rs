//! A connection that sends any bytes and reads HTTP/1.1 responses, one after another.
//!
//! For what an ordinary client can't send (hostile requests, half requests, pipelines) and can't observe (when a
//! connection ends, events as they come).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::response::{Response, shown};

/// The longest wait for anything that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The delay that a busy server may add to a timeout.
pub const SLACK: Duration = Duration::from_secs(3);

/// A raw connection to the server under test.
pub struct Connection {
    socket: TcpStream,
    /// Bytes that arrived and belong to nothing yet.
    buffer: Vec<u8>,
    /// The bytes sent since the last response, for failure messages.
    sent: Vec<u8>,
}

/// The outcome of waiting for bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// At least one byte.
    Bytes,
    /// The peer ended the connection, in order or with a reset.
    Closed,
    /// The deadline has passed.
    Nothing,
}

impl Connection {
    /// Connects to `authority`, which is a host and a port.
    #[track_caller]
    pub fn open(authority: &str) -> Self {
        let socket = TcpStream::connect(authority)
            .unwrap_or_else(|error| panic!("cannot connect to {authority}: {error}"));
        Self::new(socket)
    }

    /// Connects to `authority` from another address of this machine.
    #[track_caller]
    pub fn open_from(address: IpAddr, authority: &str) -> Self {
        let connect = || {
            let peer = authority.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(address, 0).into())?;
            socket.connect(&peer.into())?;
            Ok::<_, std::io::Error>(TcpStream::from(socket))
        };
        Self::new(
            connect().unwrap_or_else(|error| panic!("cannot connect to {authority} from {address}: {error}")),
        )
    }

    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a connected socket takes options");
        socket.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        Self { socket, buffer: Vec::new(), sent: Vec::new() }
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        if let Err(error) = self.try_send(bytes) {
            panic!("the server did not take {}: {error}", shown(bytes));
        }
        self
    }

    /// Sends all of `bytes`, unless the peer no longer wants them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        self.sent.extend_from_slice(&bytes[..bytes.len().min(2048)]);
        self.socket.write_all(bytes)
    }

    /// Ends the sending direction.
    pub fn finish_sending(&mut self) -> &mut Self {
        // The peer may be gone already; then there is nobody to tell.
        let _gone = self.socket.shutdown(Shutdown::Write);
        self
    }

    /// The next response on this connection. There must be one.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let sent = String::from_utf8_lossy(&self.sent).into_owned();
        self.try_response().unwrap_or_else(|| panic!("no response to\n{sent}"))
    }

    /// The next response, or `None` if the peer ended the connection without one.
    #[track_caller]
    pub fn try_response(&mut self) -> Option<Response> {
        let mut response = self.try_head()?;
        let mut framing = Framing::of(&response);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match framing.piece(self, deadline) {
                Piece::Data(bytes) => response.body.extend_from_slice(&bytes),
                Piece::End => return Some(response),
                Piece::Cut => response.fail("the connection ended inside of this response"),
                Piece::Nothing => response.fail("the rest of this response does not come"),
            }
        }
    }

    /// The head of the next response; its body stays in the connection.
    #[track_caller]
    pub fn try_head(&mut self) -> Option<Response> {
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            let arrival = self.wait(deadline);
            let sent = String::from_utf8_lossy(&self.sent);
            match arrival {
                Arrival::Bytes => {}
                Arrival::Closed if self.buffer.is_empty() => return None,
                Arrival::Closed => panic!("half a response, {}, to\n{sent}", shown(&self.buffer)),
                Arrival::Nothing => panic!("neither a response nor the end of the connection after\n{sent}"),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let request = String::from_utf8_lossy(&std::mem::take(&mut self.sent)).into_owned();
        Some(parse_head(request, &head))
    }

    /// Waits until bytes arrive, the peer ends the connection, or `deadline`.
    pub fn wait(&mut self, deadline: Instant) -> Arrival {
        let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(remaining)).expect("the timeout is not zero");
        let mut piece = [0; 64 << 10];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Arrival::Closed,
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Arrival::Bytes;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Arrival::Nothing,
                    _ => return Arrival::Closed,
                },
            }
        }
    }

    /// Whether the peer ends the connection within `patience`; whatever it sends before is dropped.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match self.wait(deadline) {
                Arrival::Bytes => self.buffer.clear(),
                Arrival::Closed => return true,
                Arrival::Nothing => return false,
            }
        }
    }

    /// The number of bytes that arrived and belong to nothing yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Exactly `count` bytes, whatever they are.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.buffer.len() < count {
            let arrival = self.wait(deadline);
            assert_eq!(arrival, Arrival::Bytes, "expected {count} bytes after {}", shown(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes of it, without transfer coding.
    Data(Vec<u8>),
    /// The body is complete.
    End,
    /// The connection ended before the body did.
    Cut,
    /// The deadline has passed.
    Nothing,
}

/// The framing of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// After this many more bytes.
    Length(usize),
    /// After the chunk of size zero; the number is what is left of the current chunk.
    Chunked(usize),
    /// With the connection.
    UntilClose,
}

impl Framing {
    /// The framing of the body that follows this head.
    pub fn of(head: &Response) -> Self {
        let has_no_body = head.request.starts_with("HEAD ") || matches!(head.status, 100..=199 | 204 | 304);
        if has_no_body {
            return Self::Length(0);
        }
        if head.list("Transfer-Encoding").last().is_some_and(|coding| coding == "chunked") {
            return Self::Chunked(0);
        }
        match head.headers("Content-Length").first() {
            Some(length) => Self::Length(length.parse().unwrap_or_else(|_| head.fail("a strange length"))),
            None => Self::UntilClose,
        }
    }

    /// The next piece of the body.
    #[track_caller]
    pub fn piece(&mut self, connection: &mut Connection, deadline: Instant) -> Piece {
        loop {
            match self.decode(&mut connection.buffer) {
                Some(piece) => return piece,
                None => match connection.wait(deadline) {
                    Arrival::Bytes => {}
                    Arrival::Closed if *self == Self::UntilClose => return Piece::End,
                    Arrival::Closed => return Piece::Cut,
                    Arrival::Nothing => return Piece::Nothing,
                },
            }
        }
    }

    /// The piece at the front of `buffer`, if it is all there.
    #[track_caller]
    fn decode(&mut self, buffer: &mut Vec<u8>) -> Option<Piece> {
        match self {
            Self::Length(0) => Some(Piece::End),
            Self::UntilClose if buffer.is_empty() => None,
            Self::UntilClose => Some(Piece::Data(std::mem::take(buffer))),
            Self::Length(left) => {
                let count = buffer.len().min(*left);
                *left -= count;
                (count > 0).then(|| Piece::Data(buffer.drain(..count).collect()))
            }
            Self::Chunked(left) if *left > 2 => {
                // The chunk's last two bytes are the line end that follows its data.
                let count = buffer.len().min(*left - 2);
                *left -= count;
                (count > 0).then(|| Piece::Data(buffer.drain(..count).collect()))
            }
            Self::Chunked(left) if *left > 0 => {
                let line_end: Vec<u8> = (buffer.len() >= 2).then(|| buffer.drain(..2).collect())?;
                assert_eq!(line_end, b"\r\n", "a chunk does not end with its size");
                *left = 0;
                self.decode(buffer)
            }
            Self::Chunked(left) => {
                let line_end = find(buffer, b"\r\n")?;
                let line = String::from_utf8_lossy(&buffer[..line_end]).into_owned();
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                    .unwrap_or_else(|_| panic!("{line:?} is not the size of a chunk"));
                if size == 0 {
                    let end = find(&buffer[line_end..], b"\r\n\r\n")?;
                    buffer.drain(..line_end + end + 4);
                    *self = Self::Length(0);
                    return Some(Piece::End);
                }
                *left = size + 2;
                buffer.drain(..line_end + 2);
                self.decode(buffer)
            }
        }
    }
}

#[track_caller]
fn parse_head(request: String, head: &[u8]) -> Response {
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let status_line = lines.next().unwrap_or_default();
    let status = match status_line.split_once(' ') {
        Some(("HTTP/1.1" | "HTTP/1.0", rest)) => rest.get(..3).and_then(|status| status.parse().ok()),
        _ => None,
    };
    let status = status.unwrap_or_else(|| panic!("{status_line:?} is not a status line; after\n{request}"));
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is not a header line"));
        (name.to_owned(), value.trim().to_owned())
    });
    Response { request, status, headers: headers.collect(), body: Vec::new() }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
