//! Offsets on the events of the State Protocol: a JSON message whose `headers` have an `operation` or a `control` is an event, and
//! some of its readers want to point at it. A reader of a batch knows only where the batch ends.
//!
//! Nothing of it is stored. An event that has an `offset` of its own keeps it.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use crate::{json, offset::Offset};

/// Returns a stored range with the offsets of its events. `appends` are the ends of the appends that it consists of, as
/// positions in the range, with the offset after each: that of all events of the append.
///
/// ```
/// use headwater_protocol::{Incarnation, Offset, state_event};
///
/// let stored = br#"{"headers":{"operation":"insert"},"key":"a"},{"key":"b"},"#;
/// let incarnation = Incarnation::new(7).ok_or("a number")?;
/// let end = Offset { incarnation, position: stored.len() as u64 };
/// let told = state_event::with_offsets(stored, [(stored.len(), end)]);
/// let expected =
///     format!(r#"{{"headers":{{"offset":"{end}","operation":"insert"}},"key":"a"}},{{"key":"b"}},"#);
/// assert_eq!(told, expected.as_bytes());
/// # Ok::<_, &str>(())
/// ```
#[must_use]
pub fn with_offsets(stored: &[u8], appends: impl IntoIterator<Item = (usize, Offset)>) -> Vec<u8> {
    let mut told = Vec::with_capacity(stored.len() + stored.len() / 4);
    let mut from = 0;
    for (end, offset) in appends {
        let append = stored.get(from..end).unwrap_or_default();
        let begin = told.len();
        let read = json::for_each_message(&json::wrap(append), |message| {
            add_offset(message, offset, &mut told);
            told.push(json::SEPARATOR);
        });
        if read.is_err() {
            // Not as it was stored: whoever reads it will see.
            told.truncate(begin);
            told.extend_from_slice(append);
        }
        from = end;
    }
    told
}

/// The largest factor by which [`with_offsets`] makes a range larger.
pub const GROWTH_MAX: u64 = 3;

fn add_offset(message: &str, offset: Offset, told: &mut Vec<u8>) {
    let Some(at) = place_of_offset(message) else { return told.extend_from_slice(message.as_bytes()) };
    let (before, after) = message.split_at(at);
    let separator = if after.trim_start().starts_with('}') { "" } else { "," };
    for part in [before, "\"offset\":\"", &offset.to_string(), "\"", separator, after] {
        told.extend_from_slice(part.as_bytes());
    }
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Returns where an event's offset belongs: after the brace that begins its headers.
fn place_of_offset(message: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        headers: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Headers {
        #[serde(default)]
        operation: Value,
        #[serde(default)]
        control: Value,
        #[serde(default, rename = "offset", deserialize_with = "is_there")]
        has_offset: bool,
    }
    // Most messages of most streams are none, and have no such word.
    if !message.starts_with('{') || !message.contains("\"headers\"") {
        return None;
    }
    let Event { headers } = serde_json::from_str(message).ok()?;
    let Headers { operation, control, has_offset } = serde_json::from_str(headers.get()).ok()?;
    // An array would be read as the values of the fields.
    if has_offset || !headers.get().starts_with('{') || !(operation.is_string() || control.is_string()) {
        return None;
    }
    let at = headers.get().as_ptr().addr().checked_sub(message.as_ptr().addr())? + 1;
    message.is_char_boundary(at).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offset::Incarnation;

    fn offset(position: u64) -> Offset {
        Offset { incarnation: Incarnation::new(7).unwrap(), position }
    }

    fn told(message: &str) -> String {
        let stored = format!("{message},");
        String::from_utf8(with_offsets(stored.as_bytes(), [(stored.len(), offset(9))])).unwrap()
    }

    const OFFSET: &str = r#""offset":"0000000000000007_0000000000000009""#;

    #[test]
    fn events_get_an_offset() {
        for (message, expected) in [
            (r#"{"headers":{"operation":"insert"}}"#, r#"{"headers":{OFFSET,"operation":"insert"}},"#),
            (r#"{"headers":{"control":"reset"},"x":1}"#, r#"{"headers":{OFFSET,"control":"reset"},"x":1},"#),
            (
                r#"{ "key" : "h", "headers" : { "operation" : "delete" } }"#,
                r#"{ "key" : "h", "headers" : {OFFSET, "operation" : "delete" } },"#,
            ),
            (
                r#"{"value":{"headers":{"operation":"x"}},"headers":{"operation":"x"}}"#,
                r#"{"value":{"headers":{"operation":"x"}},"headers":{OFFSET,"operation":"x"}},"#,
            ),
            (
                "{\"a\":\"\u{e9}\u{1f600}\",\"headers\":{\"operation\":\"\u{e9}\"}}",
                "{\"a\":\"\u{e9}\u{1f600}\",\"headers\":{OFFSET,\"operation\":\"\u{e9}\"}},",
            ),
        ] {
            assert_eq!(told(message), expected.replace("OFFSET", OFFSET), "{message}");
        }
    }

    #[test]
    fn everything_else_is_as_it_was_sent() {
        for message in [
            r#"{"headers":{}}"#,
            r#"{"headers":{"operation":1}}"#,
            r#"{"headers":{"operation":null,"control":{}}}"#,
            r#"{"headers":{"operation":"x","offset":"mine"}}"#,
            r#"{"headers":{"operation":"x","offset":null}}"#,
            r#"{"headers":["operation"]}"#,
            r#"{"headers":"operation"}"#,
            r#"{"headers":{"operation":"x"},"headers":{"operation":"y"}}"#,
            r#"{"value":{"headers":{"operation":"x"}}}"#,
            r#"[{"headers":{"operation":"x"}}]"#,
            r#""{\"headers\":{\"operation\":\"x\"}}""#,
            "7",
            "null",
            "{}",
        ] {
            assert_eq!(told(message), format!("{message},"));
        }
    }

    #[test]
    fn every_event_of_an_append_has_the_offset_after_the_append() {
        let event = r#"{"headers":{"operation":"x"}},"#;
        let stored = [event, event, event].concat();
        let ends = [(2 * event.len(), offset(5)), (3 * event.len(), offset(9))];
        let told = String::from_utf8(with_offsets(stored.as_bytes(), ends)).unwrap();
        let offsets: Vec<_> =
            told.match_indices("_00000000").map(|(at, _)| &told[at + 16..at + 17]).collect();
        assert_eq!(offsets, ["5", "5", "9"]);
    }

    proptest! {
        #[test]
        fn events_only_gain_an_offset(
            messages in prop::collection::vec(
                ("[ -~]{0,5}", "operation|control|offset|x", "\"[a-z]{0,4}\"|[0-9]|null"),
                0..5,
            ),
        ) {
            let messages: Vec<String> = messages
                .into_iter()
                .map(|(text, name, value)| format!("{{\"text\":{},\"headers\":{{\"{name}\":{value}}}}}", Value::from(text)))
                .collect();
            let stored: String = messages.iter().map(|message| format!("{message},")).collect();
            let told = with_offsets(stored.as_bytes(), [(stored.len(), offset(9))]);
            prop_assert!(told.len() as u64 <= GROWTH_MAX * stored.len() as u64);
            let mut read: Vec<Value> = serde_json::from_slice(&json::wrap(&told)).unwrap();
            for message in &mut read {
                if message["headers"]["offset"] == offset(9).to_string() {
                    message["headers"].as_object_mut().unwrap().remove("offset");
                }
            }
            let sent: Vec<Value> = messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect();
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn no_bytes_panic(stored: Vec<u8>, ends in prop::collection::vec(0..40usize, 0..4)) {
            let _ = with_offsets(&stored, ends.into_iter().map(|end| (end, offset(1))));
        }
    }
}
