//! Bodies and texts: JSON, event streams, patterns.

use headwater_protocol::{
    content_type::SseEncoding,
    json,
    offset::{Incarnation, Offset},
    path::StreamName,
    sse::{DataEncoder, write_data},
    state_event,
    subscription::Pattern,
};
use serde_json::value::RawValue;

/// Splits a body and wraps it again: the array has the same messages, however it is cut.
///
/// # Panics
/// If a property is violated.
pub fn json(data: &[u8]) {
    let Some((&cut, body)) = data.split_first() else { return };
    let Ok(stored) = json::split(body) else { return };
    let array = json::wrap(&stored);
    // Texts, since a number may be larger than any type.
    let messages = |text| serde_json::from_slice::<Vec<&RawValue>>(text);
    let read = messages(&array).expect("it is an array");
    let sent = match messages(body) {
        Ok(sent) => sent,
        Err(_) => vec![serde_json::from_slice(body).expect("it was taken")],
    };
    assert!(read.iter().map(|message| message.get()).eq(sent.iter().map(|message| message.get())));
    let (first, last) = stored.split_at(usize::from(cut) % (stored.len() + 1));
    if !first.is_empty() && !last.is_empty() {
        let pieces = [json::wrap_piece(first, true, false), json::wrap_piece(last, false, true)];
        assert_eq!(pieces.concat(), array);
    }
    let told = state_event::wrap(&stored, &[(stored.len(), offset())]);
    let told = messages(&told).expect("it is still an array");
    assert_eq!(told.len(), read.len());
    assert!(told.iter().zip(&read).all(|(told, read)| told.get().len() >= read.get().len()));
}

fn offset() -> Offset {
    Offset { incarnation: Incarnation::new(7).expect("it is not zero"), position: 5 }
}

/// Encodes a body in pieces: the event is the same as in one piece, and its only one.
///
/// # Panics
/// If a property is violated.
pub fn sse(data: &[u8]) {
    let [choice, cut, body @ ..] = data else { return };
    let encoding = [SseEncoding::Text, SseEncoding::Json, SseEncoding::Base64][usize::from(choice % 3)];
    let next = offset();
    // Large events have several lines.
    let body = &body.repeat(if *choice < 192 { 1 } else { 40_000 / (body.len() + 1) + 1 });
    let mut whole = String::new();
    write_data(&mut whole, encoding, body, next);
    let mut pieces = String::new();
    let mut encoder = DataEncoder::begin(&mut pieces, encoding, next, body.len() as u64);
    for piece in body.chunks(usize::from(*cut).max(1)) {
        encoder.write(&mut pieces, piece);
    }
    encoder.end(&mut pieces);
    assert_eq!(pieces, whole);
    assert_eq!(whole.matches("\n\n").count(), 1, "it is one event");
    assert!(whole.lines().all(|line| line.is_empty() || line.starts_with("data:") || !line.starts_with(':')));
}

/// Parses a pattern and matches a name with it.
///
/// # Panics
/// If a property is violated.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let Ok(name) = StreamName::new(name) else { return };
    if pattern.matches(&name) {
        assert!(name.as_str().starts_with(&pattern.literal_prefix()), "{pattern} {name}");
    }
}
