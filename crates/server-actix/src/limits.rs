//! The service's bounds on connections, where actix has none of its own, or others.
//!
//! actix-http reads at most 96 header lines and 128 KiB of head, gives no time to heads after the first of a
//! connection, and lets an HTTP/2 client open any number of streams.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_http::RequestHead;
use headwater_protocol::Refusal;
use headwater_service::config::Connections;
use tokio::time;

/// A connection of ours, as its requests see it.
pub(crate) struct Connection {
    bounds: Connections,
    /// Requests that are being answered.
    turns: Cell<u32>,
    /// When the last answer was complete; when the connection began, before there is one.
    idle_since: Cell<Instant>,
    has_begun: Cell<bool>,
}

/// A request that is being answered. Dropped when it is.
pub(crate) struct Turn(Rc<Connection>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.turns.set(self.0.turns.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Connection {
    pub(crate) fn new(bounds: Connections) -> Rc<Self> {
        let idle_since = Cell::new(Instant::now());
        Rc::new(Self { bounds, turns: Cell::new(0), idle_since, has_begun: Cell::new(false) })
    }

    /// Begins to answer a request, unless it is beyond a bound.
    pub(crate) fn begin(self: &Rc<Self>, head: &RequestHead) -> Result<Turn, Refusal> {
        let Connections { header_bytes_max, headers_max, http2_streams_max, .. } = self.bounds;
        if head.headers.len() > headers_max || head_bytes(head) > header_bytes_max {
            return Err(Refusal::HeadTooLarge { limit_bytes: header_bytes_max, limit_lines: headers_max });
        }
        if self.turns.get() >= http2_streams_max {
            return Err(Refusal::Overloaded { what: "requests on one connection" });
        }
        self.turns.set(self.turns.get() + 1);
        self.has_begun.set(true);
        Ok(Turn(self.clone()))
    }

    /// Resolves when the client has taken too long to send a head, idle time included. Once an HTTP/2 client has sent
    /// one, actix's pings tell whether it is still there.
    pub(crate) async fn is_silent(&self, is_http2: bool) {
        let silence = Duration::from_millis(self.bounds.header_timeout_ms);
        while !(is_http2 && self.has_begun.get()) {
            let idle = self.idle();
            if idle >= silence {
                return;
            }
            // Whoever is busy now is not silent before that.
            time::sleep(silence - idle).await;
        }
        std::future::pending::<()>().await;
    }

    /// Resolves when nothing has been answered for a while.
    pub(crate) async fn is_idle(&self, a_while: Duration) {
        while self.idle() < a_while {
            time::sleep(a_while / 8).await;
        }
    }

    fn idle(&self) -> Duration {
        if self.turns.get() > 0 { Duration::ZERO } else { self.idle_since.get().elapsed() }
    }
}

/// The size of a head as HTTP/1.1 sends it, about.
fn head_bytes(head: &RequestHead) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.method.as_str().len() + target + lines.sum::<usize>()
}
