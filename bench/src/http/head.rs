//! The head of a response: its status, how its body is framed, and the few headers anybody asks for.

use anyhow::{Context, Result, bail};

/// The framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the chunk of no bytes.
    Chunked,
    /// When the server closes the connection.
    UntilClose,
}

/// The part of a head that a reader of the body needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the connection can be used for another request.
    pub(crate) keep_alive: bool,
    /// The length of the head, including the empty line.
    pub(crate) bytes: usize,
}

const HEADERS_MAX: usize = 64;

/// Reads the head at the beginning of `input`; `None` if it is not all there yet.
pub(crate) fn parse(input: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = response.parse(input).context("the response is no HTTP")? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head { status, framing: Framing::UntilClose, keep_alive: true, bytes };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            head.framing = Framing::Length(length(header.value)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                bail!("cannot read transfer-encoding: {}", String::from_utf8_lossy(header.value));
            }
            head.framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !header.value.eq_ignore_ascii_case(b"close");
        }
    }
    // These never have a body, whatever their headers say (RFC 9112, 6.3).
    if status == 204 || status == 304 {
        head.framing = Framing::Length(0);
    }
    if head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    Ok(Some(head))
}

/// The value of a header in the bytes of a head.
pub(crate) fn value<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn length(value: &[u8]) -> Result<u64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("cannot read content-length: {}", String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nstream-next-offset: 7_9\r\n\r\n";

    #[test]
    fn a_head_is_complete_with_its_empty_line_and_not_before() {
        for end in 0..HEAD.len() {
            assert_eq!(parse(&HEAD[..end]).unwrap(), None, "{end}");
        }
        let head = parse(HEAD).unwrap().unwrap();
        assert_eq!((head.status, head.framing, head.keep_alive), (200, Framing::Length(12), true));
        assert_eq!(head.bytes, HEAD.len());
    }

    #[test]
    fn the_framing_is_what_the_headers_say() {
        let framing = |text: &str| parse(text.as_bytes()).unwrap().unwrap().framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Framing::Chunked);
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClose);
        assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n"), Framing::Length(0));
        assert_eq!(framing("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"), Framing::Length(0));
    }

    #[test]
    fn a_closing_server_is_noticed() {
        let head = parse(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap().unwrap();
        assert!(!head.keep_alive);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
    }

    #[test]
    fn headers_are_found_in_any_case() {
        assert_eq!(value(HEAD, "Stream-Next-Offset"), Some("7_9"));
        assert_eq!(value(HEAD, "content-length"), Some("12"));
        assert_eq!(value(HEAD, "etag"), None);
    }
}
