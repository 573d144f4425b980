//! The limits of [`Connections`] that actix lacks or that differ from its own.
//!
//! actix-http reads at most 96 header lines and 128 KiB of head, and lets an HTTP/2 client open any number of streams.

use std::sync::Arc;

use actix_http::RequestHead;
use headwater_listener::{Activity, Connections, InFlight};
use headwater_protocol::{BadRequest, Refusal, Unavailable};

/// A connection of [`serve`](crate::serve), which its requests see.
pub(crate) struct Connection {
    pub(crate) limits: Connections,
    pub(crate) activity: Arc<Activity>,
    pub(crate) is_from_trusted_proxy: bool,
}

impl Connection {
    /// Counts a request as in flight.
    ///
    /// # Errors
    /// [`BadRequest::HeadTooLarge`] or, if too many are in flight, [`Unavailable::Overloaded`].
    pub(crate) fn begin(&self, head: &RequestHead) -> Result<InFlight, Refusal> {
        let Connections { header_bytes_max, headers_max, http2_streams_max, .. } = self.limits;
        let in_flight = self.activity.begin();
        if head.headers.len() > headers_max || head_bytes(head) > header_bytes_max {
            let (limit_bytes, limit_lines) = (header_bytes_max, headers_max);
            return Err(BadRequest::HeadTooLarge { limit_bytes, limit_lines }.into());
        }
        if self.activity.requests() > http2_streams_max as usize {
            return Err(Unavailable::Overloaded { what: "requests on one connection" }.into());
        }
        Ok(in_flight)
    }
}

/// Returns the approximate size of a head in HTTP/1.1, in bytes.
fn head_bytes(head: &RequestHead) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.method.as_str().len() + target + lines.sum::<usize>()
}
