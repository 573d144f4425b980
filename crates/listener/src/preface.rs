//! Detection of the HTTP version from the first bytes of a connection.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time};

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, section 3.4). No HTTP/1.1 method begins with them.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// The pause before looking again when only some of the bytes have arrived.
const RETRY: Duration = Duration::from_millis(50);

/// Waits for the first bytes of a connection and returns whether they begin HTTP/2, without consuming them.
///
/// It waits as long as the peer does; callers bound it with [`Connections::header_timeout_ms`].
///
/// # Errors
/// When the connection fails.
///
/// [`Connections::header_timeout_ms`]: crate::Connections::header_timeout_ms
pub async fn begins_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let seen = socket.peek(&mut first).await?;
        let seen = first.get(..seen).unwrap_or_default();
        if seen.is_empty() || !HTTP2_PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if seen.len() == HTTP2_PREFACE.len() {
            return Ok(true);
        }
        time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn the_version_is_seen_and_no_byte_is_lost() {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = TcpListener::from_std(crate::bind(address).unwrap()).unwrap();
        for (pieces, expected) in [
            (&["PRI * HTTP/2.0\r\n"][..], true),
            (&["P", "RI", " * HTTP/2.0\r\n"], true),
            (&["GET / HTTP/1.1\r\n"], false),
            (&["P", "UT / HTTP/1.1\r\n"], false),
            (&[""], false),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let send = async {
                for piece in pieces {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    time::sleep(Duration::from_millis(10)).await;
                }
                drop(client);
            };
            let (is_http2, ()) = tokio::join!(begins_http2(&server), send);
            assert_eq!(is_http2.unwrap(), expected, "{pieces:?}");
            let mut received = String::new();
            server.read_to_string(&mut received).await.unwrap();
            assert_eq!(received, pieces.concat());
        }
    }
}
