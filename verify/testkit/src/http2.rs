//! HTTP/2 with prior knowledge, frame by frame: for what no client library sends.

use std::time::Instant;

use crate::connection::{Arrival, Connection, PATIENCE};

/// The type of a frame (RFC 9113, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A part of a body.
    Data = 0,
    /// The headers of a request or a response.
    Headers = 1,
    /// The end of a stream before its time.
    RstStream = 3,
    /// Settings, or their acknowledgement.
    Settings = 4,
    /// The end of a connection.
    Goaway = 7,
}

/// The flag of the last frame of a body, or of headers without one.
pub const END_STREAM: u8 = 0x01;
/// The flag of headers that are complete.
const END_HEADERS: u8 = 0x04;

/// The connection preface.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that speaks HTTP/2.
pub struct Http2(pub Connection);

/// A frame that was received.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The number of its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to; 0: the connection.
    pub stream: u32,
    /// Its content.
    pub payload: Vec<u8>,
}

impl Http2 {
    /// Begins a connection. `window` is what the client takes of each response before it says more; `None`: the default.
    pub fn open(authority: &str, window: Option<u32>) -> Self {
        let mut opened = Self(Connection::open(authority));
        opened.0.send(PREFACE);
        let settings = window.map_or_else(Vec::new, |window| [&[0, 4][..], &window.to_be_bytes()].concat());
        opened.frame(Kind::Settings, 0, 0, &settings);
        opened
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        let length = u32::try_from(payload.len()).expect("a test's frame is short").to_be_bytes();
        let head = [&length[1..], &[kind as u8, flags], &stream.to_be_bytes()].concat();
        // The server may have ended the connection.
        let _ended = self.0.try_send([&head, payload].concat());
        self
    }

    /// Sends the head of a request; `headers` may begin with a `:scheme` other than `http`. `flags` is [`END_STREAM`] if it has no body.
    pub fn request(
        &mut self,
        stream: u32,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        flags: u8,
    ) -> &mut Self {
        let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
        let mut block = Vec::new();
        let is_other = |(name, _): &&(&str, &str)| headers.iter().all(|(other, _)| other != name);
        for (name, value) in pseudo.iter().filter(is_other).chain(headers) {
            // A literal that is never indexed (RFC 7541, section 6.2.3).
            block.push(0x10);
            push_text(&mut block, name);
            push_text(&mut block, value);
        }
        self.frame(Kind::Headers, flags | END_HEADERS, stream, &block)
    }

    /// Returns the next frame; `None` if the connection has ended.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let head = self.take(9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        let payload = self.take(number(&head[..3]) as usize)?;
        Some(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]) & 0x7fff_ffff, payload })
    }

    /// Waits for a frame of a stream. `None` if the connection ends before.
    pub fn next_of(&mut self, kind: Kind, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next_frame()?;
            if frame.kind == kind as u8 && frame.stream == stream {
                return Some(frame);
            }
        }
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        while self.0.buffered() < count {
            match self.0.wait(deadline) {
                Arrival::Bytes => {}
                Arrival::Closed => return None,
                Arrival::Nothing => panic!("neither a frame nor the end of the connection"),
            }
        }
        Some(self.0.take(count))
    }
}

fn push_text(block: &mut Vec<u8>, text: &str) {
    block.push(
        u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a test's header is short"),
    );
    block.extend_from_slice(text.as_bytes());
}
