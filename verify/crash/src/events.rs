//! Event streams, whose events are read as they arrive.

use std::io::Read;

use headwater_testkit::sse::{self, Control, Parser};

use crate::offset::Offset;
use crate::payload::{self, Form};

/// One event.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// Bytes in stored form, and the offset after them.
    Data {
        stored: Vec<u8>,
        next: Option<Offset>,
    },
    Control {
        next: Offset,
        up_to_date: bool,
        closed: bool,
    },
}

/// Reads events until the connection ends.
pub(crate) struct Events<R> {
    body: R,
    parser: Parser,
    form: Form,
}

impl<R: Read> Events<R> {
    pub(crate) fn new(body: R, form: Form) -> Self {
        Self { body, parser: Parser::default(), form }
    }

    /// The next event; `None` at the end of the response, where an incomplete event is dropped, as browsers do.
    pub(crate) fn next(&mut self) -> Option<Result<Event, String>> {
        let mut piece = [0; 16 << 10];
        loop {
            match self.parser.next_event() {
                Ok(Some(event)) => {
                    let block = &event.block;
                    return Some(self.event(&event).ok_or_else(|| format!("a malformed event: {block:?}")));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error.to_string())),
            }
            match self.body.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.parser.push(piece.get(..count).unwrap_or_default()),
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }

    fn event(&self, event: &sse::Event) -> Option<Event> {
        if event.kind == "data" {
            let body = match self.form {
                Form::Bytes => event.decoded()?,
                Form::Text | Form::Json => event.data.clone().into_bytes(),
            };
            let next = event.id.as_deref().and_then(Offset::parse);
            return Some(Event::Data { stored: payload::stored_form(self.form, &body)?, next });
        }
        let Control { next_offset, up_to_date, closed, .. } = Control::parse(event)?;
        Some(Event::Control { next: Offset::parse(&next_offset)?, up_to_date, closed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(form: Form, text: &str) -> Vec<Event> {
        let mut events = Events::new(text.as_bytes(), form);
        std::iter::from_fn(|| events.next()).map(Result::unwrap).collect()
    }

    #[test]
    fn events_are_read_and_a_cut_one_is_dropped() {
        let text = ":\n\nevent: data\nid: 0000000000000001_0000000000000003\ndata:YWJj\n\nevent: control\n\
                    data:{\"streamNextOffset\":\"0000000000000001_0000000000000003\",\"upToDate\":true}\n\nevent: data\ndata:Y";
        let next = Offset::parse("0000000000000001_0000000000000003").unwrap();
        let expected = [
            Event::Data { stored: b"abc".to_vec(), next: Some(next.clone()) },
            Event::Control { next, up_to_date: true, closed: false },
        ];
        assert_eq!(events(Form::Bytes, text), expected);
    }

    #[test]
    fn text_has_its_lines_and_json_its_commas() {
        let text = "event: data\ndata:a\ndata:\n\n";
        assert_eq!(events(Form::Text, text), [Event::Data { stored: b"a\n".to_vec(), next: None }]);
        let json = "event: data\ndata:[1,2]\n\n";
        assert_eq!(events(Form::Json, json), [Event::Data { stored: b"1,2,".to_vec(), next: None }]);
    }
}
