//! The bytes of event streams (section 5.8; HTML Living Standard, 9.2), safe against injection.
//!
//! A data event carries its lines after `data:` without a space, split on CR, LF and CRLF alike, so that no
//! payload can end an event. A large JSON array has a line for each message, which is the same array to a client that joins
//! lines by LF, and long base64 has line ends that clients drop. A control event follows every data event. The `id:` of each is the offset after it, which a
//! plain EventSource sends back as `Last-Event-ID`.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{content_type::SseEncoding, cursor::Cursor, offset::Offset, progress::Progress};

/// The length after which JSON and base64 go on in another line, in bytes: readers of lines commonly take at most 64 KiB.
const LINE_BYTES: usize = 32 << 10;

/// A comment that keeps idle connections open.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Returns how many of the bytes an event can carry now: all but a UTF-8 sequence that the writer hasn't completed, or a CR
/// that an LF may follow, which is one line end with it. If nothing can complete it any more (`last`), all.
#[must_use]
pub fn complete_bytes(encoding: SseEncoding, bytes: &[u8], last: bool) -> usize {
    if encoding != SseEncoding::Text || last {
        return bytes.len();
    }
    if let [complete @ .., b'\r'] = bytes {
        return complete.len();
    }
    // A sequence has at most four bytes, so its beginning is among the last three.
    let from = bytes.len().saturating_sub(3);
    let start = (from..bytes.len()).rev().find(|&at| bytes.get(at).is_some_and(|&byte| byte & 0xc0 != 0x80));
    let Some(start) = start else { return bytes.len() };
    let tail = bytes.get(start..).unwrap_or_default();
    match std::str::from_utf8(tail) {
        Err(error) if error.error_len().is_none() => start,
        _ => bytes.len(),
    }
}

/// Returns whether an event stream may have ended before `rest`, the last bytes of an append: they are only the beginning of
/// a character or of a line end. Every other offset within an append was never issued.
#[must_use]
pub fn is_held_back(encoding: SseEncoding, rest: &[u8]) -> bool {
    !rest.is_empty() && complete_bytes(encoding, rest, false) == 0
}

/// Appends a data event that ends at `next` and carries the body of a catch-up read: the bytes, or a JSON array. Text that
/// isn't UTF-8 gets U+FFFD.
pub fn write_data(out: &mut String, encoding: SseEncoding, body: &[u8], next: Offset) {
    let mut encoder = DataEncoder::begin(out, encoding, next, body.len() as u64);
    encoder.write(out, body);
    encoder.end(out);
}

/// A data event that is written piece by piece, so that no event has to be in memory whole. However its body is cut,
/// the bytes are those of [`write_data`].
#[derive(Clone, Copy, Debug)]
pub struct DataEncoder {
    encoding: SseEncoding,
    /// The end of what was written that needs more: the beginning of a UTF-8 sequence or of a line end, or of three bytes
    /// for base64.
    held: [u8; 3],
    held_bytes: u8,
    /// Whether the line has its `data:`.
    in_line: bool,
    /// The length of the line, in bytes, of JSON and of base64.
    line_bytes: usize,
    /// Where the lines of a large JSON array end; `None` for one that is a line.
    messages: Option<Messages>,
}

impl DataEncoder {
    /// Begins an event that ends at `next` and whose body has about `body_bytes`.
    #[must_use]
    pub fn begin(out: &mut String, encoding: SseEncoding, next: Offset, body_bytes: u64) -> Self {
        out.push_str("event: data\n");
        let _ = writeln!(out, "id: {next}");
        let is_large = encoding == SseEncoding::Json && body_bytes > LINE_BYTES as u64;
        let messages = is_large.then(Messages::default);
        Self { encoding, held: [0; 3], held_bytes: 0, in_line: false, line_bytes: 0, messages }
    }

    /// Returns a number of bytes that are enough for a piece of the body, the event's beginning and end and the control
    /// event that follows.
    #[must_use]
    pub fn bytes_max(encoding: SseEncoding, piece: &[u8]) -> usize {
        const AROUND: usize = 512;
        const LINE: usize = "data: \n".len();
        let bytes = match encoding {
            SseEncoding::Base64 => {
                let bytes = piece.len().div_ceil(3).saturating_mul(4);
                bytes.saturating_add(bytes.div_ceil(LINE_BYTES).saturating_mul(LINE))
            }
            SseEncoding::Json | SseEncoding::Text => {
                // A byte that is no UTF-8 becomes U+FFFD.
                let longest =
                    if str::from_utf8(piece).is_ok() { 1 } else { char::REPLACEMENT_CHARACTER.len_utf8() };
                let ends = piece.iter().filter(|byte| matches!(byte, b'\r' | b'\n' | b',')).count();
                piece.len().saturating_mul(longest).saturating_add(ends.saturating_mul(LINE))
            }
        };
        bytes.saturating_add(AROUND)
    }

    /// Appends a piece of the body.
    pub fn write(&mut self, out: &mut String, piece: &[u8]) {
        let (held, held_bytes) = (self.held, usize::from(self.held_bytes));
        let joined;
        let bytes = if held_bytes == 0 {
            piece
        } else {
            joined = [held.get(..held_bytes).unwrap_or_default(), piece].concat();
            &joined
        };
        let complete = match self.encoding {
            SseEncoding::Base64 => bytes.len() - bytes.len() % 3,
            SseEncoding::Json | SseEncoding::Text => complete_bytes(SseEncoding::Text, bytes, false),
        };
        let (bytes, rest) = bytes.split_at(complete);
        self.held_bytes = rest.len() as u8;
        self.held.iter_mut().zip(rest).for_each(|(held, byte)| *held = *byte);
        self.write_complete(out, bytes);
    }

    /// Ends the event.
    pub fn end(mut self, out: &mut String) {
        let held = self.held;
        self.write_complete(out, held.get(..usize::from(self.held_bytes)).unwrap_or_default());
        self.end_line(out);
        out.push('\n');
    }

    fn write_complete(&mut self, out: &mut String, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.encoding {
            SseEncoding::Base64 => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    // A line is a multiple of four characters, so that no three bytes are torn.
                    let room = LINE_BYTES.saturating_sub(self.line_bytes) / 4 * 3;
                    let (line, tail) = rest.split_at(room.min(rest.len()));
                    if !line.is_empty() {
                        self.begin_line(out, "");
                        let before = out.len();
                        STANDARD.encode_string(line, out);
                        self.line_bytes += out.len() - before;
                    }
                    if !tail.is_empty() {
                        self.end_line(out);
                    }
                    rest = tail;
                }
            }
            SseEncoding::Json => {
                // Line ends in JSON are white space between tokens: strings have them escaped.
                let text = String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ");
                let mut rest = text.as_str();
                while let Some(end) =
                    self.messages.as_mut().and_then(|messages| messages.line_end(rest, self.line_bytes))
                {
                    let (line, tail) = rest.split_at(end);
                    self.begin_line(out, line);
                    out.push_str(line);
                    self.end_line(out);
                    rest = tail;
                }
                if !rest.is_empty() {
                    self.begin_line(out, rest);
                    out.push_str(rest);
                    self.line_bytes += rest.len();
                }
            }
            SseEncoding::Text => self.write_text(out, &String::from_utf8_lossy(bytes)),
        }
    }

    fn write_text(&mut self, out: &mut String, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['\r', '\n']) {
            let (line, end) = rest.split_at(at);
            self.begin_line(out, line);
            out.push_str(line);
            self.end_line(out);
            let ends = ["\r\n", "\r", "\n"];
            rest = ends.into_iter().find_map(|separator| end.strip_prefix(separator)).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.begin_line(out, rest);
            out.push_str(rest);
        }
    }

    /// Writes the beginning of a line that begins with a text, unless it is written.
    fn begin_line(&mut self, out: &mut String, text: &str) {
        if !std::mem::replace(&mut self.in_line, true) {
            // A parser drops one space after the colon, so a line that begins with one gets another.
            out.push_str(if text.starts_with(' ') { "data: " } else { "data:" });
        }
    }

    fn end_line(&mut self, out: &mut String) {
        self.begin_line(out, "");
        out.push('\n');
        (self.in_line, self.line_bytes) = (false, 0);
    }
}

/// Where the messages of a JSON array end, in a text that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Messages {
    /// The number of open brackets and braces; that of the array is the first.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Messages {
    /// Returns the length of the text up to the next end of a line: after a message, or after any comma of one that makes the
    /// line too long. `line_bytes` is the length of the line before the text.
    fn line_end(&mut self, text: &str, line_bytes: usize) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b',' if self.depth <= 1 || line_bytes + at >= LINE_BYTES => return Some(at + 1),
                _ => {}
            }
        }
        None
    }
}

/// Appends a control event. The cursor is left out if the stream is closed. Its `id:` is the reader's position, so that an
/// EventSource resumes there that has had no data yet. It comes first: some readers look for the data right after the name.
pub fn write_control(out: &mut String, progress: Progress, cursor: Cursor) {
    let next = progress.next;
    let _ = write!(out, "id: {next}\nevent: control\ndata:{{\"streamNextOffset\":\"{next}\"");
    if !progress.closed {
        let _ = write!(out, ",\"streamCursor\":\"{}\"", cursor.get());
    }
    if progress.up_to_date {
        out.push_str(",\"upToDate\":true");
    }
    if progress.closed {
        out.push_str(",\"streamClosed\":true");
    }
    out.push_str("}\n\n");
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::offset::Incarnation;

    fn lines(text: &str) -> impl Iterator<Item = &str> {
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let text = rest?;
            let Some(at) = text.find(['\r', '\n']) else {
                rest = None;
                return Some(text);
            };
            let (line, end) = text.split_at(at);
            let ends = ["\r\n", "\r", "\n"];
            rest = ends.into_iter().find_map(|separator| end.strip_prefix(separator));
            Some(line)
        })
    }

    /// What a client has after parsing.
    fn parse(text: &str) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let (mut name, mut data): (Cow<'_, str>, Option<String>) = (Cow::Borrowed(""), None);
        for line in lines(text) {
            if line.is_empty() {
                if let Some(data) = data.take() {
                    events.push((name.into_owned(), data));
                }
                name = Cow::Borrowed("");
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = Cow::Borrowed(value),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => {}
            }
        }
        events
    }

    fn at(position: u64) -> Offset {
        Offset { incarnation: Incarnation::new(7).unwrap(), position }
    }

    fn data(encoding: SseEncoding, body: &[u8]) -> String {
        let mut out = String::new();
        write_data(&mut out, encoding, body, at(5));
        out
    }

    #[test]
    fn an_event_is_these_bytes() {
        assert_eq!(
            data(SseEncoding::Text, b"one\ntwo"),
            "event: data\nid: 0000000000000007_0000000000000005\ndata:one\ndata:two\n\n"
        );
        assert!(data(SseEncoding::Json, b"[{\"a\":\n1},2]").contains("\ndata:[{\"a\": 1},2]\n\n"));
        assert!(data(SseEncoding::Base64, &[1, 2, 3, 255]).contains("\ndata:AQID/w==\n\n"));
    }

    #[test]
    fn control_events_say_where_the_reader_is() {
        let control = |up_to_date, closed| {
            let mut out = String::new();
            let cursor = Cursor::parse("42").unwrap();
            write_control(&mut out, Progress { next: at(5), up_to_date, closed }, cursor);
            out
        };
        let next = "id: 0000000000000007_0000000000000005\nevent: control\n\
            data:{\"streamNextOffset\":\"0000000000000007_0000000000000005\"";
        assert_eq!(control(false, false), format!("{next},\"streamCursor\":\"42\"}}\n\n"));
        assert_eq!(control(true, false), format!("{next},\"streamCursor\":\"42\",\"upToDate\":true}}\n\n"));
        assert_eq!(control(true, true), format!("{next},\"upToDate\":true,\"streamClosed\":true}}\n\n"));
    }

    #[test]
    fn a_large_array_has_a_line_for_each_message() {
        let messages = [
            format!("{{\"a\":[1,2,{{}}],\"text\":\"{}\"}}", "[x,y\\\",".repeat(10)),
            "[1,2]".to_owned(),
            "\",\"".to_owned(),
            "7".to_owned(),
        ];
        let all: Vec<_> = messages.iter().cycle().take(4_000).map(String::as_str).collect();
        let body = format!("[{}]", all.join(","));
        let events = parse(&data(SseEncoding::Json, body.as_bytes()));
        assert_eq!(events, [("data".to_owned(), format!("[{}]", all.join(",\n")))]);
        let small = format!("[{}]", messages.join(","));
        assert_eq!(parse(&data(SseEncoding::Json, small.as_bytes()))[0].1, small);
    }

    #[test]
    fn long_lines_are_broken_where_clients_join_them() {
        let message = format!(
            "[{{\"list\":[{}], \"text\":\"{}\"}}]",
            vec!["1234567, "; 20_000].join(""),
            ", ".repeat(1_000)
        );
        let message = message.replace(", ]", "]");
        let bytes: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        for (encoding, body, expected, between) in [
            (SseEncoding::Json, message.as_bytes(), message.clone(), "\n"),
            (SseEncoding::Base64, &bytes, STANDARD.encode(&bytes), "\n"),
        ] {
            let events = parse(&data(encoding, body));
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].1.replace(between, ""), expected);
            let longest = events[0].1.split('\n').map(str::len).max().unwrap();
            assert!(longest < LINE_BYTES + 4_096, "{longest}");
        }
        serde_json::from_str::<serde_json::Value>(&parse(&data(SseEncoding::Json, message.as_bytes()))[0].1)
            .unwrap();
    }

    #[test]
    fn no_payload_can_end_its_event() {
        for payload in [
            "a\r\n\r\nevent: control\r\ndata: {}\r\n\r\nb",
            "a\n\nevent: control\ndata:x",
            "a\r\revent: x\rdata:y\r\r",
        ] {
            let events = parse(&data(SseEncoding::Text, payload.as_bytes()));
            assert_eq!(events.len(), 1, "{payload:?}");
            assert_eq!(events[0].1, payload.replace("\r\n", "\n").replace('\r', "\n"));
        }
    }

    #[test]
    fn a_sequence_that_the_writer_has_not_completed_is_held_back() {
        let text = "aé€😀".as_bytes();
        let complete: Vec<usize> =
            (0..=text.len()).map(|cut| complete_bytes(SseEncoding::Text, &text[..cut], false)).collect();
        assert_eq!(complete, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(complete_bytes(SseEncoding::Text, &text[..2], true), 2, "nothing can complete it");
        assert_eq!(complete_bytes(SseEncoding::Base64, &text[..2], false), 2);
        assert_eq!(complete_bytes(SseEncoding::Text, b"a\r", false), 1, "an LF may follow");
        assert_eq!(complete_bytes(SseEncoding::Text, b"\r\r", false), 1);
        assert_eq!(complete_bytes(SseEncoding::Text, b"a\r\n", false), 3);
        assert_eq!(complete_bytes(SseEncoding::Text, b"a\r", true), 2);
        for garbage in [&b"a\xff"[..], b"a\x80", b"\x80\x80\x80\x80", b"\xc3\x28"] {
            assert_eq!(complete_bytes(SseEncoding::Text, garbage, false), garbage.len(), "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn text_arrives_with_its_line_ends_made_lf(text in "[ a-z\r\n:é]{0,40}") {
            let events = parse(&data(SseEncoding::Text, text.as_bytes()));
            prop_assert_eq!(events, vec![("data".to_owned(), text.replace("\r\n", "\n").replace('\r', "\n"))]);
        }

        #[test]
        fn binary_arrives_whole(bytes: Vec<u8>) {
            let events = parse(&data(SseEncoding::Base64, &bytes));
            prop_assert_eq!(STANDARD.decode(&events[0].1).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_make_one_event(bytes: Vec<u8>) {
            for (encoding, expected) in [
                (SseEncoding::Text, String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\r', "\n")),
                (SseEncoding::Json, String::from_utf8_lossy(&bytes).replace(['\r', '\n'], " ")),
                (SseEncoding::Base64, STANDARD.encode(&bytes)),
            ] {
                prop_assert_eq!(parse(&data(encoding, &bytes)), vec![("data".to_owned(), expected)]);
            }
        }

        #[test]
        fn an_event_is_the_same_however_its_body_is_cut(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                "[ a\r\n\u{e9}\u{1f600}]{0,40}".prop_map(String::into_bytes),
                ("[\\[\\]{}\",1 a\\\\]{0,30}", 1_500..2_500usize).prop_map(|(part, count)| part.repeat(count).into_bytes()),
            ],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for encoding in [SseEncoding::Text, SseEncoding::Json, SseEncoding::Base64] {
                let mut out = String::new();
                let mut encoder = DataEncoder::begin(&mut out, encoding, at(5), bytes.len() as u64);
                for piece in cuts.windows(2) {
                    let (before, piece) = (out.len(), &bytes[piece[0]..piece[1]]);
                    encoder.write(&mut out, piece);
                    prop_assert!(out.len() - before <= DataEncoder::bytes_max(encoding, piece));
                }
                encoder.end(&mut out);
                prop_assert_eq!(&out, &data(encoding, &bytes));
            }
        }

        #[test]
        fn what_is_held_back_is_known_again(bytes: Vec<u8>) {
            let complete = complete_bytes(SseEncoding::Text, &bytes, false);
            for at in complete..bytes.len() {
                prop_assert_eq!(is_held_back(SseEncoding::Text, &bytes[complete..=at]), true);
            }
            prop_assert!(!is_held_back(SseEncoding::Base64, &bytes) && !is_held_back(SseEncoding::Json, &bytes));
        }

        #[test]
        fn at_most_three_of_any_bytes_are_held_back(bytes: Vec<u8>) {
            let complete = complete_bytes(SseEncoding::Text, &bytes, false);
            prop_assert!(complete <= bytes.len() && bytes.len() - complete < 4);
            prop_assert_eq!(complete_bytes(SseEncoding::Text, &bytes, true), bytes.len());
        }

        #[test]
        fn any_cut_of_a_text_loses_nothing(text in "\\PC{0,20}", cut in 0..80usize) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let complete = complete_bytes(SseEncoding::Text, &bytes[..cut], false);
            prop_assert!(std::str::from_utf8(&bytes[..complete]).is_ok() && cut - complete < 4);
        }
    }
}
