//! Values from the responses of one server, which later requests may use.

use headwater_testkit::Response;
use headwater_testkit::sse::{self, Control};

use crate::script::{Seen, Slot, Text};

/// Moves no request further than any stream is long.
const POSITION_DIGITS: usize = 16;

/// The values of one response.
#[derive(Clone, Debug, Default)]
struct Note {
    slot: usize,
    offset: Option<String>,
    tag: Option<String>,
    cursor: Option<String>,
}

/// The values of one server's responses, one note for each step.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

/// A value on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The bytes to send.
    Bytes(Vec<u8>),
    /// This server's response lacked a value that the first server's had.
    Missing,
}

impl Notes {
    /// Notes the response to a step about a slot.
    pub(crate) fn push(&mut self, slot: Slot, response: Option<&Response>) {
        let mut note = Note { slot: slot.index(), ..Note::default() };
        if let Some(response) = response {
            let header = |name| response.headers(name).first().map(|&value| value.to_owned());
            note.offset = next_offset(response);
            note.tag = header("ETag");
            let in_event = || last_control(response)?.cursor.map(|cursor| cursor.to_string());
            note.cursor = header("Stream-Cursor").or_else(in_event);
        }
        self.0.push(note);
    }

    /// The value, where `first` are the notes of the first server: they say which response is meant.
    pub(crate) fn value(&self, text: &Text, first: &Self, prefix: &str) -> Known {
        let seen = match text.seen.map(|seen| self.find(seen, first, prefix)) {
            None => String::new(),
            Some(Some(found)) => found,
            Some(None) => return Known::Missing,
        };
        let mut bytes = text.before.clone();
        bytes.extend_from_slice(seen.as_bytes());
        bytes.extend_from_slice(text.after.as_bytes());
        Known::Bytes(bytes)
    }

    fn find(&self, seen: Seen, first: &Self, prefix: &str) -> Option<String> {
        match seen {
            Seen::Path(slot) => Some(path(prefix, slot)),
            Seen::Offset { slot, back, by } => {
                let found = self.nth_back(first, slot, back, |note| note.offset.as_ref(), "-1")?;
                Some(moved(found, by))
            }
            Seen::Tag { slot, back } => {
                self.nth_back(first, slot, back, |note| note.tag.as_ref(), "\"none\"")
            }
            Seen::Cursor { slot, back } => self.nth_back(first, slot, back, |note| note.cursor.as_ref(), "1"),
        }
    }

    /// The value in the response that is `back` before the last of the first server's responses with such a value.
    fn nth_back(
        &self,
        first: &Self,
        slot: Slot,
        back: u8,
        part: fn(&Note) -> Option<&String>,
        otherwise: &str,
    ) -> Option<String> {
        let said: Vec<usize> = (first.0.iter().enumerate())
            .filter(|(_, note)| note.slot == slot.index() && part(note).is_some())
            .map(|(at, _)| at)
            .collect();
        if said.is_empty() {
            return Some(otherwise.to_owned());
        }
        let at = said.iter().rev().nth(usize::from(back) % said.len())?;
        self.0.get(*at).and_then(part).cloned()
    }
}

/// The next offset of a response, from its head or its last control event.
pub(crate) fn next_offset(response: &Response) -> Option<String> {
    let in_head = response.headers("Stream-Next-Offset").first().map(|&value| value.to_owned());
    in_head.or_else(|| last_control(response).map(|control| control.next_offset))
}

/// The path of a slot's stream.
pub(crate) fn path(prefix: &str, slot: Slot) -> String {
    format!("/v1/stream/{prefix}-{slot}")
}

/// The last control event of an event stream.
fn last_control(response: &Response) -> Option<Control> {
    sse::events(&response.body).ok()?.iter().rev().find_map(Control::parse)
}

/// An offset whose position is another one; anything else stays as it is.
fn moved(offset: String, by: i8) -> String {
    let Some((begin, position)) = offset.split_once('_') else { return offset };
    match position.parse::<u64>() {
        Ok(position) if by != 0 => {
            format!("{begin}_{:0POSITION_DIGITS$}", position.saturating_add_signed(by.into()))
        }
        _ => offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(offset: &str) -> Response {
        let headers = vec![("stream-next-offset".to_owned(), offset.to_owned())];
        Response { request: String::new(), status: 200, headers, body: Vec::new() }
    }

    #[test]
    fn each_server_is_asked_for_what_it_said_itself() {
        let slot = Slot(0);
        let (mut first, mut second) = (Notes::default(), Notes::default());
        for (one, other) in [("1_1", "2_1"), ("1_5", "2_5")] {
            first.push(slot, Some(&response(one)));
            second.push(slot, Some(&response(other)));
        }
        let text = |back, by| Text::seen(Seen::Offset { slot, back, by });
        let value = |text| second.value(&text, &first, "x");
        assert_eq!(value(text(0, 0)), Known::Bytes(b"2_5".to_vec()));
        assert_eq!(value(text(1, 0)), Known::Bytes(b"2_1".to_vec()));
        assert_eq!(value(text(2, 0)), Known::Bytes(b"2_5".to_vec()), "round and round");
        assert_eq!(value(text(0, 1)), Known::Bytes(b"2_0000000000000006".to_vec()));
    }

    #[test]
    fn what_nobody_said_has_a_value_and_what_only_the_first_said_has_none() {
        let slot = Slot(0);
        let (mut first, mut second) = (Notes::default(), Notes::default());
        let text = Text::seen(Seen::Offset { slot, back: 0, by: 0 });
        assert_eq!(second.value(&text, &first, "x"), Known::Bytes(b"-1".to_vec()));
        first.push(slot, Some(&response("1_1")));
        second.push(slot, None);
        assert_eq!(second.value(&text, &first, "x"), Known::Missing);
    }

    #[test]
    fn the_last_control_event_of_an_event_stream_counts() {
        let body = "event: control\ndata: {\"streamNextOffset\":\"1_2\"}\n\nevent: control\ndata: {\"streamNextOffset\":\"1_3\",\"upToDate\":true}\n\n";
        let response = Response { body: body.into(), headers: Vec::new(), ..response("") };
        assert_eq!(next_offset(&response), Some("1_3".to_owned()));
    }
}
