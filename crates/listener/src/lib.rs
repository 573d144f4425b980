#![doc = include_str!("../README.md")]
//!
//! - [`bind`] opens a listening socket with the options that Headwater wants.
//! - [`Connections`] holds the limits that an adapter enforces on its connections.
//! - [`begins_http2`] detects the HTTP version of a connection, so that one port serves both.
//!
//! Programs that mount `Streams` in a server of their own don't need this crate.

mod preface;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

pub use preface::begins_http2;

/// How long sent data may remain unacknowledged before the kernel closes the connection.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// The length of the queue of connections that the kernel has accepted and the server has not.
const BACKLOG: i32 = 4_096;

/// Limits that an adapter enforces on its connections.
///
/// ```
/// let mut connections = headwater_listener::Connections::default();
/// connections.connections_max = 1_000;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Connections {
    /// The most connections that are open at the same time. Further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a connection may take to send a request head, in milliseconds, including the time that it is idle.
    ///
    /// It should be longer than the idle timeout of proxies in front of the server: otherwise a proxy may send a
    /// request on a connection that is just being closed.
    pub header_timeout_ms: u64,
    /// The largest request head, in bytes.
    pub header_bytes_max: usize,
    /// The most header lines in a request.
    pub headers_max: usize,
    /// The most concurrent requests on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How long requests in progress may take to complete after a shutdown was requested, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            header_timeout_ms: 75_000,
            header_bytes_max: 32 << 10,
            headers_max: 100,
            http2_streams_max: 256,
            drain_ms: 10_000,
        }
    }
}

impl Connections {
    /// [`Connections::header_timeout_ms`] as a [`Duration`].
    #[must_use]
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// [`Connections::drain_ms`] as a [`Duration`].
    #[must_use]
    pub const fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

/// Opens a non-blocking listening socket.
///
/// Accepted sockets inherit TCP keep-alive and, on Linux, a `TCP_USER_TIMEOUT` of a minute, so that connections to
/// unreachable peers are closed.
///
/// # Errors
/// The error of the system call that failed, most often because the address is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_keepalive(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
