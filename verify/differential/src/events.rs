//! What an event stream says, however it is cut into events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conformance::answer::Answer;
use serde_json::Value;

use crate::reference::values;

/// The data of all events together, and the last control event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) data: Data,
    /// `streamClosed` implies it.
    pub(crate) is_up_to_date: bool,
    pub(crate) is_closed: bool,
    pub(crate) has_cursor: bool,
}

/// Data, by what the stream holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    /// The members of the arrays, one after another.
    Values(Vec<Value>),
}

impl Default for Data {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Events {
    /// Reads an event stream.
    pub(crate) fn of(answer: &Answer, is_base64: bool, is_json: bool) -> Self {
        let text = String::from_utf8_lossy(&answer.body);
        let mut events = Self::default();
        let (mut bytes, mut members) = (Vec::new(), Vec::new());
        for block in text.split("\n\n") {
            let data = data(block);
            match block.lines().find_map(|line| line.strip_prefix("event:")).map(str::trim) {
                Some("data") if is_base64 => {
                    bytes.extend(STANDARD.decode(data.replace('\n', "")).unwrap_or_default());
                }
                Some("data") if is_json => members.extend(values(data.as_bytes()).unwrap_or_default()),
                Some("data") => bytes.extend_from_slice(data.as_bytes()),
                Some("control") => events.control(&serde_json::from_str(&data).unwrap_or_default()),
                _ => {}
            }
        }
        events.data = if is_json { Data::Values(members) } else { Data::Bytes(bytes) };
        events
    }

    fn control(&mut self, fields: &Value) {
        let field = |name| fields.get(name);
        self.is_closed = field("streamClosed") == Some(&Value::Bool(true));
        self.is_up_to_date = self.is_closed || field("upToDate") == Some(&Value::Bool(true));
        self.has_cursor = field("streamCursor").is_some();
    }
}

/// The `data:` lines of an event, as a browser joins them.
fn data(block: &str) -> String {
    let lines = block.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &str, is_base64: bool, is_json: bool) -> Events {
        let answer = Answer { request: String::new(), status: 200, headers: Vec::new(), body: body.into() };
        Events::of(&answer, is_base64, is_json)
    }

    #[test]
    fn how_data_is_cut_does_not_count() {
        let control = "event: control\ndata: {\"streamNextOffset\":\"1_04\",\"upToDate\":true}\n\n";
        let one = events(&format!("event: data\ndata:ab\ndata:cd\n\n{control}"), false, false);
        let other = events(
            &format!("event: data\ndata: ab\n\nevent: data\ndata:\ndata:cd\n\n{control}"),
            false,
            false,
        );
        assert_eq!(one.data, other.data);
        assert_eq!((one.is_up_to_date, one.is_closed, one.has_cursor), (true, false, false));
        let one = events("event: data\ndata:[1,2]\n\n", false, true);
        let other = events("event: data\ndata:[1]\n\nevent: data\ndata:[2]\n\n", false, true);
        assert_eq!(one.data, other.data);
        let one = events("event: data\ndata:YWI=\n\nevent: data\ndata:Y2Q=\n\n", true, false);
        assert_eq!(one.data, Data::Bytes(b"abcd".to_vec()));
    }
}
