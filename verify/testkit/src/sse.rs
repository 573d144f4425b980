//! Event streams (HTML Living Standard, 9.2), and the control events of the protocol (section 5.8).

use std::str::Utf8Error;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2;
use serde_json::Value;

use crate::response::decimal;

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The value of `event:`; `message` without one.
    pub kind: String,
    /// The value of `id:`.
    pub id: Option<String>,
    /// The values of `data:`, joined by line feeds.
    pub data: String,
    /// The bytes of the event, including the empty line that ends it.
    pub block: String,
}

/// A control event, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Control {
    /// The value of `streamNextOffset`.
    pub next_offset: String,
    /// The value of `streamCursor`, if there is one.
    pub cursor: Option<u64>,
    /// Whether `upToDate` is true.
    pub up_to_date: bool,
    /// Whether `streamClosed` is true.
    pub closed: bool,
    /// The bytes of the event.
    pub block: String,
}

/// Splits an event stream into events, wherever its bytes were cut.
#[derive(Debug, Default)]
pub struct Parser {
    /// The block that is not complete, and what follows it.
    buffer: Vec<u8>,
    /// Where the first line begins that is not complete.
    line_begin: usize,
    /// Whether the last line ended with CR: a line feed after it ends no second one.
    after_cr: bool,
}

impl Parser {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether bytes of an incomplete event are left.
    pub fn is_inside_event(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Removes the next complete event. Comments are skipped.
    ///
    /// # Errors
    /// The event is not UTF-8.
    pub fn next_event(&mut self) -> Result<Option<Event>, Utf8Error> {
        loop {
            if self.after_cr && self.buffer.get(self.line_begin) == Some(&b'\n') {
                self.after_cr = false;
                self.line_begin += 1;
            }
            let Some(length) = memchr2(b'\r', b'\n', &self.buffer[self.line_begin..]) else {
                return Ok(None);
            };
            let end = self.line_begin + length;
            self.after_cr = self.buffer[end] == b'\r';
            self.line_begin = end + 1;
            if self.buffer[end..].starts_with(b"\r\n") {
                self.after_cr = false;
                self.line_begin += 1;
            }
            if length > 0 {
                continue;
            }
            let block: Vec<u8> = self.buffer.drain(..self.line_begin).collect();
            self.line_begin = 0;
            if let Some(event) = Event::parse(str::from_utf8(&block)?) {
                return Ok(Some(event));
            }
        }
    }
}

/// Returns the complete events of a body.
///
/// # Errors
/// An event is not UTF-8.
pub fn events(body: &[u8]) -> Result<Vec<Event>, Utf8Error> {
    let mut parser = Parser::default();
    parser.push(body);
    let mut events = Vec::new();
    while let Some(event) = parser.next_event()? {
        events.push(event);
    }
    Ok(events)
}

impl Event {
    /// Parses a block; `None` if it has nothing but comments.
    fn parse(block: &str) -> Option<Self> {
        let mut event =
            Self { kind: "message".to_owned(), id: None, data: String::new(), block: block.to_owned() };
        let mut data_lines = Vec::new();
        let is_field = |line: &&str| !line.is_empty() && !line.starts_with(':');
        let mut lines = block.split(['\r', '\n']).filter(is_field).peekable();
        lines.peek()?;
        for line in lines {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "id" => event.id = Some(value.to_owned()),
                "data" => data_lines.push(value),
                _ => {}
            }
        }
        event.data = data_lines.join("\n");
        Some(event)
    }

    /// The number of `data:` lines.
    pub fn data_lines(&self) -> usize {
        self.block.split(['\r', '\n']).filter(|line| line.starts_with("data")).count()
    }

    /// The data of a JSON stream.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("{:?} does not hold JSON: {error}", self.block))
    }

    /// The data of a binary stream; `None` if it is not base64.
    pub fn decoded(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.data.replace(['\r', '\n'], "")).ok()
    }
}

impl Control {
    /// Reads a control event; `None` if the event is another one or malformed.
    pub fn parse(event: &Event) -> Option<Self> {
        if event.kind != "control" {
            return None;
        }
        let fields: Value = serde_json::from_str(&event.data).ok()?;
        let flag = |name: &str| match &fields[name] {
            Value::Null => Some(false),
            Value::Bool(true) => Some(true),
            _ => None,
        };
        let cursor = match &fields["streamCursor"] {
            Value::Null => None,
            Value::String(text) => Some(decimal(text)?),
            _ => return None,
        };
        Some(Self {
            next_offset: fields["streamNextOffset"].as_str()?.to_owned(),
            cursor,
            up_to_date: flag("upToDate")?,
            closed: flag("streamClosed")?,
            block: event.block.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": hi\n\nevent: data\nid: 7_4\ndata:one\ndata:\n\nevent: control\n\
                        data:{\"streamNextOffset\":\"7_4\",\"streamCursor\":\"12\",\"upToDate\":true}\n\nevent: data\ndata:Y";

    fn check(parser: &mut Parser, events: &[Event]) {
        let [data, control] = events else { panic!("{events:?}") };
        assert_eq!((&*data.kind, data.id.as_deref(), &*data.data), ("data", Some("7_4"), "one\n"));
        let control = Control::parse(control).expect("a control event");
        assert_eq!((&*control.next_offset, control.cursor), ("7_4", Some(12)));
        assert!(control.up_to_date && !control.closed);
        assert!(parser.is_inside_event());
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut_and_whatever_ends_their_lines() {
        for line_end in ["\n", "\r", "\r\n"] {
            let (mut parser, mut events) = (Parser::default(), Vec::new());
            for byte in TEXT.replace('\n', line_end).as_bytes() {
                parser.push(&[*byte]);
                events.extend(parser.next_event().expect("it is UTF-8"));
            }
            check(&mut parser, &events);
            if line_end == "\n" {
                assert_eq!(events[0].block, "event: data\nid: 7_4\ndata:one\ndata:\n\n");
            }
        }
    }

    #[test]
    fn binary_data_is_base64_over_several_lines() {
        let events =
            events(b"event: data\ndata:YW\ndata:Jj\n\nevent: data\ndata:*\n\n").expect("it is UTF-8");
        assert_eq!(events[0].decoded().as_deref(), Some(&b"abc"[..]));
        assert_eq!(events[1].decoded(), None);
    }
}
