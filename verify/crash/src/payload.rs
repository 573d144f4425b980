//! What writers write: every append says who wrote it and which one it is, and the rest of it follows from that and
//! the seed, so that a reader can tell whether it is whole.
//!
//! Streams are compared in their stored form, in which offsets count: the bytes as they are, and for JSON every message
//! with a comma behind it.

use std::fmt;

use headwater_testkit::random::{self, Rng};

/// The identity of an append: its writer and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) writer: u16,
    pub(crate) number: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "append {} of writer {}", self.number, self.writer)
    }
}

/// The content of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any bytes.
    Bytes,
    /// UTF-8, with line ends and characters of several bytes.
    Text,
    /// Messages, in batches.
    Json,
}

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Bytes => "application/octet-stream",
            Self::Text => "text/plain",
            Self::Json => "application/json",
        }
    }
}

const BYTES_HEADER: usize = 10;
const JSON_MESSAGES_MAX: u64 = 12;

/// The append as the server stores it.
pub(crate) fn stored(form: Form, seed: u64, key: Key) -> Vec<u8> {
    match form {
        Form::Bytes => bytes(seed, key),
        Form::Text => text(seed, key).into_bytes(),
        Form::Json => {
            messages(seed, key).into_iter().flat_map(|message| (message + ",").into_bytes()).collect()
        }
    }
}

/// The append as it is sent.
pub(crate) fn body(form: Form, seed: u64, key: Key) -> Vec<u8> {
    match form {
        Form::Bytes | Form::Text => stored(form, seed, key),
        Form::Json => match messages(seed, key).as_slice() {
            [one] if key.number.is_multiple_of(2) => one.clone().into_bytes(),
            // White space between messages isn't stored.
            messages if key.number.is_multiple_of(3) => format!("[ {} ]", messages.join(" ,\n")).into_bytes(),
            messages => format!("[{}]", messages.join(",")).into_bytes(),
        },
    }
}

/// The stored form of what a read answered; `None` if it can't be one.
pub(crate) fn stored_form(form: Form, body: &[u8]) -> Option<Vec<u8>> {
    if form != Form::Json {
        return Some(body.to_vec());
    }
    let inner = body.strip_prefix(b"[")?.strip_suffix(b"]")?;
    // A large event has a line for each message, and no message of ours has a line end.
    let mut stored: Vec<u8> = inner.iter().copied().filter(|byte| *byte != b'\n').collect();
    if !stored.is_empty() {
        stored.push(b',');
    }
    Some(stored)
}

/// The append that `stored` begins with, and how many bytes it takes; or why that isn't one.
pub(crate) fn parse(form: Form, seed: u64, stored: &[u8]) -> Result<(Key, usize), String> {
    let key = read_key(form, stored).ok_or_else(|| format!("no append begins with {}", shown(stored)))?;
    let expected = self::stored(form, seed, key);
    if stored.starts_with(&expected) {
        return Ok((key, expected.len()));
    }
    let same = stored.iter().zip(&expected).take_while(|(found, wanted)| found == wanted).count();
    let rest = stored.get(same..).unwrap_or_default();
    Err(match rest {
        [] => format!("of the {} bytes of {key} only the first {same} are there", expected.len()),
        _ => format!("{key} has other bytes from byte {same} of {} on: {}", expected.len(), shown(rest)),
    })
}

/// The number of stored bytes of the first `count` messages or bytes of an append.
pub(crate) fn prefix(form: Form, seed: u64, key: Key, count: usize) -> usize {
    match form {
        Form::Json => messages(seed, key).iter().take(count).map(|message| message.len() + 1).sum(),
        Form::Bytes | Form::Text => count,
    }
}

/// The most of `count` messages or bytes of an append that a fork can begin with, so that every reader sees them as they
/// are: an event stream of text shows a character that was cut as another one.
pub(crate) fn whole_units(form: Form, seed: u64, key: Key, count: usize) -> usize {
    match form {
        Form::Json | Form::Bytes => count,
        Form::Text => text(seed, key).floor_char_boundary(count),
    }
}

/// The number of messages or bytes of an append.
pub(crate) fn units(form: Form, seed: u64, key: Key) -> usize {
    match form {
        Form::Json => messages(seed, key).len(),
        Form::Bytes | Form::Text => stored(form, seed, key).len(),
    }
}

/// The first bytes of something, for people.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let first = bytes.get(..SHOWN).unwrap_or(bytes);
    format!("\"{}\"{}", first.escape_ascii(), if bytes.len() > SHOWN { "..." } else { "" })
}

fn read_key(form: Form, stored: &[u8]) -> Option<Key> {
    match form {
        Form::Bytes => {
            let (writer, rest) = stored.split_first_chunk()?;
            let number = rest.first_chunk()?;
            Some(Key { writer: u16::from_le_bytes(*writer), number: u32::from_le_bytes(*number) })
        }
        Form::Text => hex_key(stored),
        Form::Json => hex_key(stored.strip_prefix(JSON_BEGINS.as_bytes())?),
    }
}

/// `wwww nnnnnnnn`, both in hexadecimal.
fn hex_key(bytes: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(bytes.get(..13)?).ok()?;
    let (writer, number) = text.split_once(' ')?;
    Some(Key { writer: u16::from_str_radix(writer, 16).ok()?, number: u32::from_str_radix(number, 16).ok()? })
}

const JSON_BEGINS: &str = "{\"k\":\"";

fn rng(seed: u64, key: Key) -> Rng {
    random::seeded(seed, &[0x7061_796c, key.writer.into(), key.number.into()])
}

/// Mostly small, now and then larger than what the server reads, caches or logs in one piece.
fn size(rng: &mut Rng) -> usize {
    let bytes = match rng.u64(..1_000) {
        0..750 => rng.u64(BYTES_HEADER as u64..300),
        750..950 => rng.u64(300..20 << 10),
        950..998 => rng.u64(20 << 10..200 << 10),
        _ => rng.u64(2 << 20..3 << 20),
    };
    usize::try_from(bytes).unwrap_or_default()
}

fn bytes(seed: u64, key: Key) -> Vec<u8> {
    let mut rng = rng(seed, key);
    let size = size(&mut rng);
    let mut out = Vec::with_capacity(size + 8);
    out.extend_from_slice(&key.writer.to_le_bytes());
    out.extend_from_slice(&key.number.to_le_bytes());
    out.extend_from_slice(&u32::try_from(size).unwrap_or_default().to_le_bytes());
    while out.len() < size {
        out.extend_from_slice(&rng.u64(..).to_le_bytes());
    }
    out.truncate(size);
    out
}

fn text(seed: u64, key: Key) -> String {
    let mut rng = rng(seed, key);
    let size = size(&mut rng);
    let mut out = format!("{:04x} {:08x} ", key.writer, key.number);
    while out.len() < size {
        let number = rng.u64(..);
        match number % 16 {
            0 => out.push('\n'),
            1 => out.push_str("größer, 更大 "),
            2 => out.push_str(": data:"),
            _ => out.push_str(&format!("{number:x} ")),
        }
    }
    out.push(';');
    out
}

fn messages(seed: u64, key: Key) -> Vec<String> {
    let mut rng = rng(seed, key);
    let size = size(&mut rng);
    let count = rng.u64(1..JSON_MESSAGES_MAX);
    let each = size / usize::try_from(count).unwrap_or(1);
    let message = |at: u64| {
        let mut message =
            format!("{JSON_BEGINS}{:04x} {:08x}\",\"at\":[{at},{count}],\"rest\":\"", key.writer, key.number);
        while message.len() < each {
            let number = rng.u64(..);
            match number % 16 {
                0 => message.push_str("\\n\\u00e9]},"),
                _ => message.push_str(&format!("{number:x}")),
            }
        }
        message + "\"}"
    };
    (0..count).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Form; 3] = [Form::Bytes, Form::Text, Form::Json];

    fn keys() -> impl Iterator<Item = Key> {
        (0..60).map(|number| Key { writer: 7, number })
    }

    #[test]
    fn what_is_written_is_recognised() {
        for form in FORMS {
            let all: Vec<u8> = keys().flat_map(|key| stored(form, 5, key)).collect();
            let mut rest = &all[..];
            for key in keys() {
                let (found, length) = parse(form, 5, rest).unwrap();
                assert_eq!(found, key);
                rest = &rest[length..];
            }
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_changed_or_missing_byte_is_noticed() {
        for form in FORMS {
            for key in keys().take(10) {
                let mut bytes = stored(form, 5, key);
                assert!(parse(form, 5, &bytes[..bytes.len() - 1]).is_err(), "{form:?}");
                assert!(parse(form, 6, &bytes).is_err(), "{form:?}");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                assert!(parse(form, 5, &bytes).is_err(), "{form:?}");
            }
        }
    }

    #[test]
    fn json_is_stored_as_messages_with_commas() {
        for key in keys() {
            let body = body(Form::Json, 5, key);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let count = value.as_array().map_or(1, Vec::len);
            assert_eq!(count, units(Form::Json, 5, key));
            let whole = stored(Form::Json, 5, key);
            assert_eq!(prefix(Form::Json, 5, key, count), whole.len());
            let answered = [b"[", &whole[..whole.len() - 1], b"]"].concat();
            assert_eq!(stored_form(Form::Json, &answered), Some(whole));
        }
        assert_eq!(stored_form(Form::Json, b"[]"), Some(Vec::new()));
        assert_eq!(stored_form(Form::Json, b"x"), None);
    }
}
