//! Offsets on the events of the State Protocol: a JSON message whose `headers` have an `operation` or a `control` is an event, and
//! some of its readers want to point at it. A reader of a batch knows only where the batch ends.
//!
//! Nothing of it is stored. An event that has an `offset` of its own keeps it.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use crate::{json, offset::Offset};

/// Returns the array of the messages in a stored range, as [`json::wrap`] does, with the offsets of its events. `appends` are
/// the ends of the appends that it consists of, as positions in the range, with the offset after each: that of all events of
/// the append. The last one ends the range.
///
/// ```
/// use headwater_protocol::{Incarnation, Offset, state_event};
///
/// let stored = br#"{"headers":{"operation":"insert"},"key":"a"},{"key":"b"},"#;
/// let incarnation = Incarnation::new(7).ok_or("a number")?;
/// let end = Offset { incarnation, position: stored.len() as u64 };
/// let told = state_event::wrap(stored, &[(stored.len(), end)]);
/// let expected =
///     format!(r#"[{{"headers":{{"offset":"{end}","operation":"insert"}},"key":"a"}},{{"key":"b"}}]"#);
/// assert_eq!(told, expected.as_bytes());
/// # Ok::<_, &str>(())
/// ```
#[must_use]
pub fn wrap(stored: &[u8], appends: &[(usize, Offset)]) -> Vec<u8> {
    let places = places(stored);
    let mut told = Vec::with_capacity(stored.len() + 1 + places.len() * OFFSET_BYTES);
    told.push(b'[');
    let mut appends = appends.iter();
    let mut append = appends.next();
    let mut from = 0;
    for place in places {
        told.extend_from_slice(stored.get(from..place).unwrap_or_default());
        from = place;
        while append.is_some_and(|(end, _)| *end <= place) {
            append = appends.next();
        }
        let Some((_, offset)) = append else { break };
        // The headers of an event are never empty.
        for part in ["\"offset\":\"", &offset.to_string(), "\","] {
            told.extend_from_slice(part.as_bytes());
        }
    }
    let messages = stored.strip_suffix(&[json::SEPARATOR]).unwrap_or(stored);
    told.extend_from_slice(messages.get(from..).unwrap_or_default());
    told.push(b']');
    told
}

/// What [`wrap`] needs at most, as a multiple of the range: the range, the places of its events, and the array.
pub const ROOM: u64 = 4;

/// The length of what an event gets, in bytes, with a comma.
const OFFSET_BYTES: usize = r#""offset":"0000000000000000_0000000000000000","#.len();

/// Returns where the offsets of a range's events belong: after the brace that begins their headers.
fn places(stored: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(rest) = stored.get(at..).filter(|rest| !rest.is_empty()) {
        let mut messages = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        // Not as it was stored: whoever reads it will see.
        let Some(Ok(message)) = messages.next() else { break };
        let end = messages.byte_offset();
        let begin = end - message.get().len();
        places.extend(place_of_offset(message.get()).map(|place| at + begin + place));
        at += end + 1;
    }
    places
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
        let told = String::from_utf8(wrap(stored.as_bytes(), &[(stored.len(), offset(9))])).unwrap();
        format!("{},", &told[1..told.len() - 1])
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
        let told = String::from_utf8(wrap(stored.as_bytes(), &ends)).unwrap();
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
            let told = wrap(stored.as_bytes(), &[(stored.len(), offset(9))]);
            let places = places(stored.as_bytes()).len() * size_of::<usize>();
            prop_assert!(told.len() + places <= (ROOM as usize - 1) * stored.len() + 2);
            let mut read: Vec<Value> = serde_json::from_slice(&told).unwrap();
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
            let ends: Vec<_> = ends.into_iter().map(|end| (end, offset(1))).collect();
            let _ = wrap(&stored, &ends);
        }
    }
}
