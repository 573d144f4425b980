//! A request as bytes for one server.

use crate::notes::{Known, Notes, path};
use crate::script::{Form, Spelling, Step, Text};

/// The chunks that a chunked body comes in, in bytes.
const CHUNK_BYTES: usize = 7;

/// The request, or `None` if it asks for something that this server never said.
pub(crate) fn encode(step: &Step, notes: &Notes, first: &Notes, prefix: &str) -> Option<Vec<u8>> {
    let value = |text: &Text| match notes.value(text, first, prefix) {
        Known::Bytes(bytes) => Some(bytes),
        Known::Missing => None,
    };
    let mut wire = format!("{} {}", step.method, target(step, prefix)).into_bytes();
    for (at, (name, text)) in step.query.iter().enumerate() {
        wire.push(if at == 0 { b'?' } else { b'&' });
        wire.extend_from_slice(name.as_bytes());
        wire.push(b'=');
        wire.extend(value(text)?);
    }
    let Form { hosts, is_http_1_0, is_chunked, shouts } = step.form;
    wire.extend_from_slice(if is_http_1_0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    for host in hosts {
        line(&mut wire, "Host", host.as_bytes(), shouts);
    }
    for (name, text) in &step.headers {
        line(&mut wire, name, &value(text)?, shouts);
    }
    match &step.body {
        None => wire.extend_from_slice(b"\r\n"),
        // HTTP/1.0 knows no chunks.
        Some(body) if is_chunked && !is_http_1_0 => {
            line(&mut wire, "Transfer-Encoding", b"chunked", shouts);
            wire.extend_from_slice(b"\r\n");
            for chunk in body.chunks(CHUNK_BYTES) {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
        }
        Some(body) => {
            line(&mut wire, "Content-Length", body.len().to_string().as_bytes(), shouts);
            wire.extend_from_slice(b"\r\n");
            wire.extend_from_slice(body);
        }
    }
    Some(wire)
}

fn target(step: &Step, prefix: &str) -> String {
    let plain = path(prefix, step.slot);
    match step.spelling {
        Spelling::Plain => plain,
        // The slot's letter, which stands last.
        Spelling::Escaped => match plain.char_indices().next_back() {
            Some((at, last)) => format!("{}%{:02x}", plain.get(..at).unwrap_or_default(), u32::from(last)),
            None => plain,
        },
        Spelling::Absolute(origin) => format!("{origin}{plain}"),
        Spelling::Suffixed(suffix) => format!("{plain}{suffix}"),
        Spelling::Whole(whole) => whole.to_owned(),
    }
}

fn line(wire: &mut Vec<u8>, name: &str, value: &[u8], shouts: bool) {
    let name = if shouts { name.to_ascii_uppercase() } else { name.to_owned() };
    wire.extend_from_slice(name.as_bytes());
    wire.extend_from_slice(b": ");
    wire.extend_from_slice(value);
    wire.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Slot;

    fn encoded(step: &Step) -> String {
        let notes = Notes::default();
        String::from_utf8(encode(step, &notes, &notes, "r1").unwrap_or_default()).unwrap_or_default()
    }

    #[test]
    fn a_request_is_written_as_it_is_meant() {
        let step = Step {
            query: vec![("offset", Text::is("-1")), ("live", Text::is("sse"))],
            headers: vec![("Accept", Text::is("*/*"))],
            ..Step::new("GET", Slot(2))
        };
        let expected =
            "GET /v1/stream/r1-c?offset=-1&live=sse HTTP/1.1\r\nHost: streams.example\r\nAccept: */*\r\n\r\n";
        assert_eq!(encoded(&step), expected);
    }

    #[test]
    fn a_body_comes_with_a_length_or_in_chunks() {
        let step = Step { body: Some(b"eightbyt".to_vec()), ..Step::new("POST", Slot(0)) };
        assert!(encoded(&step).ends_with("Content-Length: 8\r\n\r\neightbyt"));
        let step = Step { form: Form { is_chunked: true, ..Form::USUAL }, ..step };
        assert!(
            encoded(&step).ends_with("Transfer-Encoding: chunked\r\n\r\n7\r\neightby\r\n1\r\nt\r\n0\r\n\r\n")
        );
    }

    #[test]
    fn an_escaped_name_is_the_same_stream() {
        let step = Step { spelling: Spelling::Escaped, ..Step::new("HEAD", Slot(0)) };
        assert!(encoded(&step).starts_with("HEAD /v1/stream/r1-%61 HTTP/1.1\r\n"));
    }
}
