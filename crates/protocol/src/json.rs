//! JSON mode (section 9.1): messages are kept as they were sent, byte for byte, each followed by one comma.
//!
//! So a batch is stored as `{"a":1},{"b":2},`, any range that begins and ends at messages is wrapped into an array by
//! two brackets and a dropped comma, and no number or escape goes through a conversion.

use std::fmt;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::bad_request::BadRequest;

/// The deepest nesting that is accepted, in levels.
pub const DEPTH_MAX: usize = 128;
/// The body of a read without messages.
pub const EMPTY_ARRAY: &[u8] = b"[]";
pub(crate) const SEPARATOR: u8 = b',';

/// Checks a body and returns its stored form: one level of array is split, any other value is one message. An empty
/// array has no bytes.
///
/// ```
/// use headwater_protocol::json;
///
/// let stored = json::split(br#"[{"a":1}, 2]"#)?;
/// assert_eq!(stored, br#"{"a":1},2,"#);
/// assert_eq!(json::wrap(&stored), br#"[{"a":1},2]"#);
/// # Ok::<_, headwater_protocol::BadRequest>(())
/// ```
///
/// # Errors
/// [`BadRequest::JsonMalformed`], [`BadRequest::JsonTooDeep`].
pub fn split(body: &[u8]) -> Result<Vec<u8>, BadRequest> {
    // The depth is checked first, by a scan without recursion: the parser's own limit doesn't hold for raw values. Few
    // texts have enough brackets for a scan, and counting them is quick.
    if openings(body) > DEPTH_MAX && depth(body) > DEPTH_MAX {
        return Err(BadRequest::JsonTooDeep);
    }
    let mut stored = Vec::with_capacity(body.len() + 1);
    let mut store = |message: &str| {
        stored.extend_from_slice(message.as_bytes());
        stored.push(SEPARATOR);
    };
    let read = if body.trim_ascii_start().first() == Some(&b'[') {
        for_each_message(body, store)
    } else {
        serde_json::from_slice(body).map(|message: &RawValue| store(message.get()))
    };
    match read {
        Ok(()) => Ok(stored),
        Err(error) => Err(BadRequest::JsonMalformed { reason: error.to_string().into() }),
    }
}

/// Returns the array of the messages in a stored range.
#[must_use]
pub fn wrap(stored: &[u8]) -> Vec<u8> {
    wrap_piece(stored, true, true)
}

/// Returns the bytes of an array that a piece of a stored range stands for. The first piece begins the array, and the
/// last one ends it; together they are what [`wrap`] returns for the whole range, one byte more than it has.
///
/// ```
/// use headwater_protocol::json;
///
/// let pieces = [json::wrap_piece(b"1,2", true, false), json::wrap_piece(b",3,", false, true)];
/// assert_eq!(pieces.concat(), json::wrap(b"1,2,3,"));
/// ```
#[must_use]
pub fn wrap_piece(stored: &[u8], is_first: bool, is_last: bool) -> Vec<u8> {
    let messages = if is_last {
        match stored.split_last() {
            Some((_separator, messages)) => messages,
            None if is_first => return EMPTY_ARRAY.to_vec(),
            None => stored,
        }
    } else {
        stored
    };
    let mut piece = Vec::with_capacity(stored.len() + 1);
    if is_first {
        piece.push(b'[');
    }
    piece.extend_from_slice(messages);
    if is_last {
        piece.push(b']');
    }
    piece
}

/// Returns the size of the first `count` messages of a stored batch, in bytes; `None` if it has fewer.
pub(crate) fn prefix_bytes(stored: &[u8], count: u64) -> Option<u64> {
    let (mut seen, mut bytes) = (0, 0);
    let read = for_each_message(&wrap(stored), |message| {
        if seen < count {
            seen += 1;
            bytes += message.len() as u64 + 1;
        }
    });
    (read.is_ok() && seen == count).then_some(bytes)
}

/// Reads an array message by message: a list of them would be many times as large as a body of small ones.
fn for_each_message(array: &[u8], on_message: impl FnMut(&str)) -> serde_json::Result<()> {
    struct Messages<F>(F);

    impl<'de, F: FnMut(&str)> Visitor<'de> for Messages<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut messages: A) -> Result<(), A::Error> {
            while let Some(message) = messages.next_element::<&RawValue>()? {
                (self.0)(message.get());
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(array);
    reader.deserialize_seq(Messages(on_message))?;
    reader.end()
}

/// Counts the opening brackets and braces, also in strings: no text is deeper.
fn openings(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count()
}

/// Returns how deep arrays and objects nest in a text; some number if it isn't JSON.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn stored(body: &str) -> String {
        String::from_utf8(split(body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn exactly_one_level_is_split() {
        let cases = [
            (r#"{"event":"created"}"#, r#"{"event":"created"},"#),
            (r#"[{"a":1}, {"b":2}]"#, r#"{"a":1},{"b":2},"#),
            ("[[1,2], [3,4]]", "[1,2],[3,4],"),
            ("[[[1,2,3]]]", "[[1,2,3]],"),
            ("[]", ""),
            (" [ ] ", ""),
            ("[[]]", "[],"),
            ("7", "7,"),
            (" \"x\"\n", "\"x\","),
            ("null", "null,"),
        ];
        for (body, expected) in cases {
            assert_eq!(stored(body), expected, "{body}");
        }
    }

    #[test]
    fn messages_are_kept_byte_for_byte() {
        for message in [
            "1.0",
            "1e400",
            "-0",
            "12345678901234567890123",
            r#""\u00e9\/\ud800""#,
            r#"{ "a" : 1,"a":2 }"#,
            "{\n\t\"a\":\r[ ]}",
        ] {
            assert_eq!(stored(message), format!("{message},"));
            assert_eq!(stored(&format!("[{message},{message}]")), format!("{message},{message},"));
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let bad: [&[u8]; 14] = [
            b"",
            b" ",
            b"{",
            b"[1,]",
            b"[1 2]",
            b"{} {}",
            b"nul",
            b"01",
            b"+1",
            b"'a'",
            b"\"a",
            b"\"\xff\"",
            b"\xef\xbb\xbf{}",
            b"[1]x",
        ];
        for body in bad {
            assert!(matches!(split(body), Err(BadRequest::JsonMalformed { .. })), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(split(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(split(nested(DEPTH_MAX + 1).as_bytes()), Err(BadRequest::JsonTooDeep));
        assert_eq!(split("[".repeat(10_000_000).as_bytes()), Err(BadRequest::JsonTooDeep));
        assert!(
            split(format!("\"{}\"", "[".repeat(1_000)).as_bytes()).is_ok(),
            "brackets in strings don't count"
        );
        assert!(split(br#"["\"[[[[\\", 1]"#).is_ok());
    }

    #[test]
    fn a_prefix_counts_messages() {
        let batch = split(br#"[{"a":1},[2,3],"x,y"]"#).unwrap();
        let expected = [Some(0), Some(8), Some(14), Some(20), None];
        for (count, expected) in expected.into_iter().enumerate() {
            assert_eq!(prefix_bytes(&batch, count as u64), expected, "{count}");
        }
        assert_eq!(prefix_bytes(b"", 0), Some(0));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_split_wraps_back(messages in prop::collection::vec(any_json(), 0..6)) {
            let stored = split(Value::from(messages.clone()).to_string().as_bytes()).unwrap();
            let wrapped: Value = serde_json::from_slice(&wrap(&stored)).unwrap();
            prop_assert_eq!(wrapped, Value::from(messages.clone()));
            prop_assert_eq!(prefix_bytes(&stored, messages.len() as u64), Some(stored.len() as u64));
        }

        #[test]
        fn ranges_join(left in prop::collection::vec(any_json(), 1..4), right in prop::collection::vec(any_json(), 1..4)) {
            let mut stored = split(Value::from(left.clone()).to_string().as_bytes()).unwrap();
            stored.extend(split(Value::from(right.clone()).to_string().as_bytes()).unwrap());
            let wrapped: Value = serde_json::from_slice(&wrap(&stored)).unwrap();
            prop_assert_eq!(wrapped, Value::from([left, right].concat()));
        }

        #[test]
        fn no_body_panics(body: Vec<u8>) {
            let _ = split(&body);
        }

        #[test]
        fn it_agrees_with_the_parser(body in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,24}") {
            let parses = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
            prop_assert_eq!(split(body.as_bytes()).is_ok(), parses);
        }
    }
}
