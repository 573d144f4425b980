//! What an event stream says, however it is cut into events.

use headwater_testkit::Response;
use headwater_testkit::sse::{self, Control};
use serde_json::Value;

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
    pub(crate) fn of(response: &Response, is_base64: bool, is_json: bool) -> Self {
        let mut events = Self::default();
        let (mut bytes, mut members) = (Vec::new(), Vec::new());
        for event in sse::events(&response.body).unwrap_or_default() {
            if event.kind == "data" {
                if is_base64 {
                    bytes.extend(event.decoded().unwrap_or_default());
                } else if is_json {
                    members.extend(values(event.data.as_bytes()).unwrap_or_default());
                } else {
                    bytes.extend_from_slice(event.data.as_bytes());
                }
            } else if let Some(control) = Control::parse(&event) {
                events.is_closed = control.closed;
                events.is_up_to_date = control.closed || control.up_to_date;
                events.has_cursor = control.cursor.is_some();
            }
        }
        events.data = if is_json { Data::Values(members) } else { Data::Bytes(bytes) };
        events
    }
}

/// The members of an array, as far as numbers of JavaScript tell them apart.
pub(crate) fn values(json: &[u8]) -> Option<Vec<Value>> {
    let mut values: Vec<Value> = serde_json::from_slice(json).ok()?;
    values.iter_mut().for_each(round);
    Some(values)
}

fn round(value: &mut Value) {
    match value {
        // Minus zero is zero.
        Value::Number(number) => {
            *value = number.as_f64().map_or(Value::Null, |number| Value::from(number + 0.0));
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(members) => members.values_mut().for_each(round),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &str, is_base64: bool, is_json: bool) -> Events {
        let response =
            Response { request: String::new(), status: 200, headers: Vec::new(), body: body.into() };
        Events::of(&response, is_base64, is_json)
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
