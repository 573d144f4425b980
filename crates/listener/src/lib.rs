#![doc = include_str!("../README.md")]
//!
//! - [`bind`] opens the listening sockets of an address with the options that Headwater wants.
//! - [`Connections`] holds the limits that an adapter enforces on its connections.
//! - [`Activity`] is what one connection is doing, and tells when it takes too long; [`Monitored`] is its socket.
//!
//! Programs that mount `Streams` in a server of their own don't need this crate.

mod activity;
mod monitored;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

pub use activity::{Activity, InFlight, Overdue};
pub use monitored::Monitored;

/// After which silence, how often and how many times the kernel asks whether the peer is there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 4;

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
    /// How long a client may take to send a request head, from its first byte on, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a connection may be without a request, in milliseconds, on HTTP/1.1 and HTTP/2.
    ///
    /// It should be longer than the idle timeout of proxies in front of the server: otherwise a proxy may send a
    /// request on a connection that is just being closed.
    pub idle_timeout_ms: u64,
    /// How long a client may take no byte of a response, in milliseconds. It must be longer than the silence of event
    /// streams, whose heartbeats show that the client takes bytes.
    pub send_timeout_ms: u64,
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
            header_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            send_timeout_ms: 120_000,
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

    /// [`Connections::idle_timeout_ms`] as a [`Duration`].
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// [`Connections::send_timeout_ms`] as a [`Duration`].
    #[must_use]
    pub const fn send_timeout(&self) -> Duration {
        Duration::from_millis(self.send_timeout_ms)
    }

    /// [`Connections::drain_ms`] as a [`Duration`].
    #[must_use]
    pub const fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

/// Opens listening sockets at addresses: each a host and a port, such as `127.0.0.1:4437`, `localhost:4437` or `[::1]:4437`. A
/// name stands for all of its addresses, and `:4437` for all of this machine, as `[::]:4437` does unless `0.0.0.0:4437` is
/// among them too. What is named twice is opened once.
///
/// Accepted sockets inherit TCP keep-alive, so that connections to unreachable peers are closed: after a silence of a
/// minute the kernel asks four times, ten seconds apart.
///
/// # Errors
/// The error of the resolution, or of the system call that failed, most often because the address is in use; it names the
/// address. An address of a name that this machine doesn't have is left out, if another one is left.
pub fn bind<'a>(addresses: impl IntoIterator<Item = &'a str>) -> io::Result<Vec<TcpListener>> {
    let mut wanted: Vec<(&str, Vec<SocketAddr>)> = Vec::new();
    for text in addresses {
        let found = resolve(text).map_err(|error| naming(text, &error))?;
        wanted.push((text, found));
    }
    let all: Vec<SocketAddr> = wanted.iter().flat_map(|(_, found)| found).copied().collect();
    let mut bound = Vec::new();
    let mut listeners = Vec::new();
    for (text, found) in wanted {
        let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in found {
            let is_there = address.port() != 0 && bound.contains(&address);
            match if is_there { Ok(None) } else { bind_to(address, &all).map(Some) } {
                Ok(listener) => {
                    bound.push(address);
                    listeners.extend(listener);
                    result = Ok(());
                }
                Err(error) if is_of_another_machine(&error) => result = result.or(Err(error)),
                Err(error) => return Err(naming(text, &error)),
            }
        }
        result.map_err(|error| naming(text, &error))?;
    }
    Ok(listeners)
}

fn naming(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
}

fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    match text.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            // One socket for both versions of IP; a machine without IPv6 has the other one.
            let v6 = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok();
            let all = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
            Ok(vec![(all, port).into()])
        }
        None => Ok(text.to_socket_addrs()?.collect()),
    }
}

/// Returns whether a socket couldn't be bound because this machine doesn't have the address, or no addresses of its kind.
fn is_of_another_machine(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// Opens a non-blocking listening socket at one of these addresses.
fn bind_to(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        let has_v4 = all.contains(&(Ipv4Addr::UNSPECIFIED, address.port()).into()) && address.port() != 0;
        socket.set_only_v6(has_v4 || !address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        bind([text]).unwrap().iter().map(|listener| listener.local_addr().unwrap()).collect()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(addresses("127.0.0.1:0")[0].ip(), Ipv4Addr::LOCALHOST);
        assert!(addresses("localhost:0").iter().all(|address| address.ip().is_loopback()));
        let all = addresses(":0");
        assert!(all.len() == 1 && all[0].ip().is_unspecified());
        for text in
            ["", ":", "localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", ":http", "/run/x.sock"]
        {
            assert!(bind([text]).is_err(), "{text}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_by_both_versions_of_ip() {
        let listeners = bind([":0"]).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let port = addresses("127.0.0.1:0");
        let address = format!("127.0.0.1:{}", port[0].port());
        let first = bind([&*address, &*address]).unwrap();
        assert_eq!(first.len(), 1, "it is named twice");
        let error = bind([&*address]).unwrap_err();
        assert!(error.kind() == io::ErrorKind::AddrInUse && error.to_string().contains(&address), "{error}");
    }

    #[test]
    fn both_versions_of_ip_may_be_named() {
        let port = addresses("0.0.0.0:0")[0].port();
        let (v4, v6) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
        for both in [[&*v4, &*v6], [&*v6, &*v4]] {
            assert_eq!(bind(both).unwrap().len(), 2, "{both:?}");
        }
    }
}
