//! Event streams, split into events as they arrive.

use std::io::{self, BufRead, BufReader, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::Offset;
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
    lines: BufReader<R>,
    form: Form,
}

impl<R: Read> Events<R> {
    pub(crate) fn new(body: R, form: Form) -> Self {
        Self { lines: BufReader::new(body), form }
    }

    /// The next event. `None`: the answer ended; an event that was begun is dropped, as browsers do.
    pub(crate) fn next(&mut self) -> Option<Result<Event, String>> {
        let mut kind = String::new();
        let mut id = None;
        let mut data: Option<String> = None;
        loop {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(error) => return Some(Err(error.to_string())),
            };
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "id" => id = Offset::parse(value),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => {}
            }
            if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some(
                    self.event(&kind, id, &data).ok_or_else(|| format!("a {kind} event holds {data:?}")),
                );
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line)?;
        // Half a line is none.
        let Some(line) = line.strip_suffix(b"\n") else { return Ok(None) };
        String::from_utf8(line.to_vec()).map(Some).map_err(io::Error::other)
    }

    fn event(&self, kind: &str, id: Option<Offset>, data: &str) -> Option<Event> {
        if kind == "data" {
            let body = match self.form {
                Form::Bytes => STANDARD.decode(data).ok()?,
                Form::Text | Form::Json => data.as_bytes().to_vec(),
            };
            return Some(Event::Data { stored: payload::stored_form(self.form, &body)?, next: id });
        }
        let fields: Value = serde_json::from_str(data).ok()?;
        let flag = |name| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        Some(Event::Control {
            next: Offset::parse(fields.get("streamNextOffset")?.as_str()?)?,
            up_to_date: flag("upToDate"),
            closed: flag("streamClosed"),
        })
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
