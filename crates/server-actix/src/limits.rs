//! The limits of [`Connections`] that actix lacks or that differ from its own.
//!
//! actix-http reads at most 96 header lines and 128 KiB of head, has no timeout for heads after the first of a
//! connection, and lets an HTTP/2 client open any number of streams.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_http::RequestHead;
use headwater_listener::Connections;
use headwater_protocol::{BadRequest, Refusal, Unavailable};
use tokio::time;

/// The state of one connection, shared by its requests.
pub(crate) struct Connection {
    limits: Connections,
    /// The number of requests in flight.
    in_flight: Cell<u32>,
    /// When the last response was complete; before the first one, when the connection was accepted.
    idle_since: Cell<Instant>,
    has_had_a_request: Cell<bool>,
}

/// A request in flight; it ends when this is dropped.
pub(crate) struct InFlight(Rc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Connection {
    /// Returns the state of a connection that was just accepted.
    pub(crate) fn new(limits: Connections) -> Rc<Self> {
        let idle_since = Cell::new(Instant::now());
        Rc::new(Self { limits, in_flight: Cell::new(0), idle_since, has_had_a_request: Cell::new(false) })
    }

    /// Counts a request as in flight.
    ///
    /// # Errors
    /// [`BadRequest::HeadTooLarge`] or, if too many are in flight, [`Unavailable::Overloaded`].
    pub(crate) fn begin(self: &Rc<Self>, head: &RequestHead) -> Result<InFlight, Refusal> {
        let Connections { header_bytes_max, headers_max, http2_streams_max, .. } = self.limits;
        if head.headers.len() > headers_max || head_bytes(head) > header_bytes_max {
            let (limit_bytes, limit_lines) = (header_bytes_max, headers_max);
            return Err(BadRequest::HeadTooLarge { limit_bytes, limit_lines }.into());
        }
        if self.in_flight.get() >= http2_streams_max {
            return Err(Unavailable::Overloaded { what: "requests on one connection" }.into());
        }
        self.in_flight.set(self.in_flight.get() + 1);
        self.has_had_a_request.set(true);
        Ok(InFlight(self.clone()))
    }

    /// Resolves when the client has taken longer than the header timeout to send a head, idle time included.
    ///
    /// It never resolves once an HTTP/2 client has sent a request: from then on actix's pings detect lost peers.
    pub(crate) async fn idle_timeout(&self, is_http2: bool) {
        let timeout = self.limits.header_timeout();
        while !(is_http2 && self.has_had_a_request.get()) {
            let idle = self.idle_time();
            if idle >= timeout {
                return;
            }
            time::sleep(timeout - idle).await;
        }
        std::future::pending::<()>().await;
    }

    /// Resolves when no request has been in flight for `duration`.
    pub(crate) async fn idle_for(&self, duration: Duration) {
        while self.idle_time() < duration {
            time::sleep(duration / 8).await;
        }
    }

    fn idle_time(&self) -> Duration {
        if self.in_flight.get() > 0 { Duration::ZERO } else { self.idle_since.get().elapsed() }
    }
}

/// Returns the approximate size of a head in HTTP/1.1, in bytes.
fn head_bytes(head: &RequestHead) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.method.as_str().len() + target + lines.sum::<usize>()
}
