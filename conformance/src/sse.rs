//! Reads a live response event by event, over a raw connection and never longer than a deadline.

use std::time::{Duration, Instant};

use headwater_testkit::connection::{Framing, PATIENCE, Piece};
use headwater_testkit::response::shown;
use headwater_testkit::sse::{Control, Event, Parser};
use headwater_testkit::{Connection, Response};

use crate::client::Stream;

/// A live response.
pub(crate) struct Events {
    /// The head of the response.
    pub(crate) head: Response,
    connection: Connection,
    framing: Framing,
    parser: Parser,
    /// The whole body so far.
    pub(crate) received: Vec<u8>,
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
        let head = connection.try_head().unwrap_or_else(|| panic!("no response to {}?{query}", stream.path));
        head.status(200).has("Content-Type", "text/event-stream");
        let framing = Framing::of(&head);
        Self { head, connection, framing, parser: Parser::default(), received: Vec::new() }
    }

    /// The next event. There must be one.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        match self.next_event(PATIENCE) {
            Next::Event(event) => event,
            Next::End => self.fail("the response ended where another event should be"),
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

    /// The response ends here, as its framing says, without another event.
    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        match self.next_event(PATIENCE) {
            Next::End => {}
            Next::Event(event) => self.fail(format!("expected the end, not {:?}", event.block)),
            Next::Nothing => self.fail("the response does not end"),
        }
    }

    /// No event comes for a while.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self, while_: Duration) {
        match self.next_event(while_) {
            Next::Nothing => {}
            Next::Event(event) => self.fail(format!("expected silence, not {:?}", event.block)),
            Next::End => self.fail("the response ended"),
        }
    }

    #[track_caller]
    fn next_event(&mut self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        loop {
            match self.parser.next_event() {
                Ok(Some(event)) => return Next::Event(event),
                Ok(None) => {}
                Err(_) => self.fail("an event is not UTF-8"),
            }
            match self.framing.piece(&mut self.connection, deadline) {
                Piece::Data(bytes) => {
                    self.received.extend_from_slice(&bytes);
                    self.parser.push(&bytes);
                }
                Piece::End if self.parser.is_inside_event() => self.fail("ended inside of an event"),
                Piece::End => return Next::End,
                Piece::Cut => self.fail("the connection was cut inside of the response"),
                Piece::Nothing => return Next::Nothing,
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
