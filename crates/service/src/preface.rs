//! Which version of HTTP a connection speaks, seen before a byte of it is taken: one port serves both.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time};

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4); no method of HTTP/1.1 begins so.
const HTTP2_BEGINS: &[u8] = b"PRI ";
const RETRY: Duration = Duration::from_millis(50);

/// Waits for the first bytes and looks at them without taking them: whether they begin HTTP/2.
///
/// # Errors
/// When the connection breaks.
#[expect(clippy::disallowed_methods, reason = "it waits for a socket, which no pushed clock moves")]
pub async fn begins_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_BEGINS.len()];
    loop {
        let seen = socket.peek(&mut first).await?;
        let seen = first.get(..seen).unwrap_or_default();
        if seen.is_empty() || !HTTP2_BEGINS.starts_with(seen) {
            return Ok(false);
        }
        if seen.len() == HTTP2_BEGINS.len() {
            return Ok(true);
        }
        // Some of the four bytes are still on their way, which is rare.
        time::sleep(RETRY).await;
    }
}
