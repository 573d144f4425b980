//! Reads a live answer event by event, over a raw connection and never longer than a deadline.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::answer::{Answer, parse_decimal, shown};
use crate::client::Stream;
use crate::raw::{Connection, Framing, PATIENCE, Piece};

/// A live answer.
pub(crate) struct Events {
    /// The head of the answer.
    pub(crate) head: Answer,
    connection: Connection,
    framing: Framing,
    /// Everything of the body so far.
    pub(crate) received: Vec<u8>,
    /// How much of `received` has been split into lines.
    lines_end: usize,
    /// The lines of the event that is not complete yet, and where its block begins.
    lines: Vec<String>,
    block_begin: usize,
    complete: VecDeque<Event>,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    /// The value of `event:`.
    pub(crate) kind: String,
    /// The value of `id:`, if there is one.
    pub(crate) id: Option<String>,
    /// The values of `data:`, joined by line feeds, as a browser does it.
    pub(crate) data: String,
    /// The bytes of the block, up to and with the empty line.
    pub(crate) block: String,
}

/// A control event, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Control {
    /// `streamNextOffset`.
    pub(crate) next_offset: String,
    /// `streamCursor`.
    pub(crate) cursor: Option<u64>,
    /// `upToDate` is there and true.
    pub(crate) up_to_date: bool,
    /// `streamClosed` is there and true.
    pub(crate) closed: bool,
    /// The bytes of the block, up to and with the empty line.
    pub(crate) block: String,
}

impl Events {
    /// Opens a live read of `stream` at `offset`, which must succeed.
    #[track_caller]
    pub(crate) fn open(stream: &Stream<'_>, offset: &str) -> Self {
        Self::open_with(stream, &format!("offset={offset}&live=sse"), &[])
    }

    /// Opens a live read with this query and these headers, which must succeed.
    #[track_caller]
    pub(crate) fn open_with(stream: &Stream<'_>, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = stream.target.connect();
        connection.send(stream.raw_head("GET", query, headers));
        let head = connection.try_head().unwrap_or_else(|| panic!("no answer to {}?{query}", stream.path));
        head.status(200).has("Content-Type", "text/event-stream");
        let framing = Framing::of(&head);
        Self {
            head,
            connection,
            framing,
            received: Vec::new(),
            lines_end: 0,
            lines: Vec::new(),
            block_begin: 0,
            complete: VecDeque::new(),
        }
    }

    /// The next event. There must be one.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        match self.next_event(PATIENCE) {
            Next::Event(event) => event,
            Next::End => self.fail("the answer ended where another event should be"),
            Next::Nothing => self.fail("no further event comes"),
        }
    }

    /// The next event, which must be data.
    #[track_caller]
    pub(crate) fn data(&mut self) -> Event {
        let event = self.event();
        if event.kind != "data" {
            self.fail(format!("expected a data event, not {:?}", event.block));
        }
        event
    }

    /// The next event, which must be a control event.
    #[track_caller]
    pub(crate) fn control(&mut self) -> Control {
        let event = self.event();
        match Control::parse(&event) {
            Some(control) => control,
            None => self.fail(format!("expected a control event, not {:?}", event.block)),
        }
    }

    /// Every pair of events until a control event says that the reader is up to date.
    #[track_caller]
    pub(crate) fn until_up_to_date(&mut self) -> (Vec<Event>, Control) {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            if let Some(control) = Control::parse(&event) {
                if control.up_to_date || control.closed {
                    return (events, control);
                }
            } else {
                events.push(event);
            }
        }
    }

    /// The data of every event until a control event says that the stream is closed.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> String {
        let mut collected = String::new();
        loop {
            let event = self.event();
            match Control::parse(&event) {
                Some(control) if control.closed => return collected,
                Some(_) => {}
                None => collected.push_str(&event.data),
            }
        }
    }

    /// The data of every event until `enough` is satisfied with what it has.
    #[track_caller]
    pub(crate) fn collect(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut collected = String::new();
        while !enough(&collected) {
            let event = self.event();
            if event.kind == "data" {
                collected.push_str(&event.data);
            }
        }
        collected
    }

    /// The answer ends here, as its framing says, without another event.
    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        match self.next_event(PATIENCE) {
            Next::End => {}
            Next::Event(event) => self.fail(format!("expected the end, not {:?}", event.block)),
            Next::Nothing => self.fail("the answer does not end"),
        }
    }

    /// No event comes for a while.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self, while_: Duration) {
        match self.next_event(while_) {
            Next::Nothing => {}
            Next::Event(event) => self.fail(format!("expected silence, not {:?}", event.block)),
            Next::End => self.fail("the answer ended"),
        }
    }

    #[track_caller]
    fn next_event(&mut self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.complete.pop_front() {
                return Next::Event(event);
            }
            match self.framing.piece(&mut self.connection, deadline) {
                Piece::Data(bytes) => {
                    self.received.extend_from_slice(&bytes);
                    self.split();
                }
                Piece::End if self.block_begin < self.received.len() => self.fail("ended inside of an event"),
                Piece::End => return Next::End,
                Piece::Cut => self.fail("the connection was cut inside of the answer"),
                Piece::Nothing => return Next::Nothing,
            }
        }
    }

    /// Splits what arrived into lines, and the lines into events. A line ends with CR, LF or CRLF.
    #[track_caller]
    fn split(&mut self) {
        while let Some(length) =
            self.received[self.lines_end..].iter().position(|byte| matches!(byte, b'\r' | b'\n'))
        {
            let end = self.lines_end + length;
            let is_crlf = self.received[end..].starts_with(b"\r\n");
            let line = match std::str::from_utf8(&self.received[self.lines_end..end]) {
                Ok(line) => line.to_owned(),
                Err(_) => self.fail("a line is not UTF-8"),
            };
            self.lines_end = end + if is_crlf { 2 } else { 1 };
            if !line.is_empty() {
                self.lines.push(line);
                continue;
            }
            let block =
                String::from_utf8_lossy(&self.received[self.block_begin..self.lines_end]).into_owned();
            self.block_begin = self.lines_end;
            let lines = std::mem::take(&mut self.lines);
            if lines.iter().any(|line| !line.starts_with(':')) {
                self.complete.push_back(Event::parse(&lines, block));
            }
        }
    }

    #[track_caller]
    fn fail(&self, reason: impl std::fmt::Display) -> ! {
        self.head.fail(format_args!("{reason}; the events so far: {}", shown(&self.received)))
    }
}

enum Next {
    Event(Event),
    End,
    Nothing,
}

impl Event {
    fn parse(lines: &[String], block: String) -> Self {
        let mut event = Self { kind: "message".to_owned(), id: None, data: String::new(), block };
        let mut data_lines = Vec::new();
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
        event
    }

    /// How many `data:` lines the block has.
    pub(crate) fn data_lines(&self) -> usize {
        self.block.split(['\r', '\n']).filter(|line| line.starts_with("data")).count()
    }

    /// The data of a binary stream.
    #[track_caller]
    pub(crate) fn decoded(&self) -> Vec<u8> {
        let text: String = self.data.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
        STANDARD.decode(&text).unwrap_or_else(|error| panic!("{text:?} is not base64: {error}"))
    }

    /// The data of a JSON stream.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("{:?} does not hold JSON: {error}", self.block))
    }
}

impl Control {
    /// `None` if it is another kind of event or not what a control event must be.
    pub(crate) fn parse(event: &Event) -> Option<Self> {
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
            Value::String(text) => Some(parse_decimal(text)?),
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
