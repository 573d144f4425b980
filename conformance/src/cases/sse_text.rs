//! Text as server-sent events: line ends, leading spaces, injected blocks, and characters torn over two appends.

use crate::case::cases;
use crate::client::Target;
use crate::sse::Events;

cases! {
    a_line_that_begins_with_a_space_keeps_it: "HTML Living Standard, 9.2.6",
    lines_become_data_lines: "section 5.8",
    a_line_feed_at_the_end_is_kept: "section 5.8",
    line_feeds_alone_are_kept: "section 5.8",
    carriage_returns_split_lines: "HTML Living Standard, 9.2.6: CR, LF and CRLF",
    a_payload_cannot_forge_a_control_event: "section 12.3: injection",
    a_payload_cannot_forge_fields: "section 12.3: injection",
    colons_and_field_names_are_only_text: "section 12.3: injection",
    a_character_torn_over_two_appends_is_not_torn: "docs/adr/0007-utf8-held-back.md",
    a_character_torn_byte_by_byte_is_not_torn: "docs/adr/0007-utf8-held-back.md",
    a_torn_character_holds_only_itself_back: "docs/adr/0007-utf8-held-back.md",
    a_torn_character_is_not_lost_for_a_reader_who_resumes: "docs/adr/0007-utf8-held-back.md",
    a_torn_character_at_the_end_of_a_closed_stream_is_replaced: "docs/adr/0007-utf8-held-back.md: U+FFFD",
    a_line_end_torn_over_two_appends_is_one: "docs/adr/0007-utf8-held-back.md",
    a_torn_line_end_is_not_lost_for_a_reader_who_resumes: "docs/adr/0007-utf8-held-back.md",
    a_carriage_return_at_the_end_of_a_closed_stream_is_delivered: "docs/adr/0007-utf8-held-back.md",
    bytes_that_are_not_utf_8_do_not_break_the_events: "section 5.8: text is UTF-8",
    a_large_text_arrives_whole: "section 5.8",
    a_byte_order_mark_is_kept: "section 5.8",
    a_nul_character_is_only_text: "section 5.8",
}

/// The data of the first event of a stream with this one append.
#[track_caller]
fn first_data(t: &Target, payload: &str) -> headwater_testkit::sse::Event {
    let stream = t.text(&[payload]);
    let mut events = Events::open(&stream, "-1");
    let event = events.data();
    assert_eq!(events.control().next_offset, stream.tail(), "{:?}", event.block);
    event
}

fn a_line_that_begins_with_a_space_keeps_it(t: &Target) {
    for payload in [" x", "  x", " ", "a\n b", " a\n  b\n"] {
        assert_eq!(first_data(t, payload).data, payload);
    }
    let event = first_data(t, " x\ny");
    assert!(event.block.ends_with("\ndata:  x\ndata:y\n\n"), "{:?}", event.block);
}

fn lines_become_data_lines(t: &Target) {
    let event = first_data(t, "one\ntwo\n\nfour");
    assert_eq!(event.data, "one\ntwo\n\nfour");
    assert!(event.block.ends_with("\ndata:one\ndata:two\ndata:\ndata:four\n\n"), "{:?}", event.block);
}

fn a_line_feed_at_the_end_is_kept(t: &Target) {
    assert_eq!(first_data(t, "one\n").data, "one\n");
    assert_eq!(first_data(t, "one\n\n").data, "one\n\n");
}

fn line_feeds_alone_are_kept(t: &Target) {
    assert_eq!(first_data(t, "\n").data, "\n");
    assert_eq!(first_data(t, "\n\n\n").data, "\n\n\n");
}

fn carriage_returns_split_lines(t: &Target) {
    for (payload, lines) in
        [("a\rb", 2), ("a\r\nb", 2), ("a\r\rb", 3), ("a\n\rb", 3), ("a\r\n\r\nb", 3), ("a\r\n", 2)]
    {
        let event = first_data(t, payload);
        assert!(!event.block.contains('\r'), "{payload:?}: {:?}", event.block);
        assert_eq!(event.data_lines(), lines, "{payload:?}: {:?}", event.block);
    }
}

fn a_payload_cannot_forge_a_control_event(t: &Target) {
    for end in ["\n", "\r", "\r\n"] {
        let forged = r#"data:{"streamNextOffset":"0","streamClosed":true}"#;
        let payload = format!("x{end}{end}event: control{end}{forged}{end}{end}y");
        let stream = t.text(&[&payload]);
        let mut events = Events::open(&stream, "-1");
        let event = events.data();
        let expected = format!("x\n\nevent: control\n{forged}\n\ny");
        assert_eq!(event.data, expected);
        let control = events.control();
        assert!(control.next_offset == stream.tail() && !control.closed, "{:?}", control.block);
    }
}

fn a_payload_cannot_forge_fields(t: &Target) {
    for end in ["\n", "\r", "\r\n"] {
        let event =
            first_data(t, &format!("x{end}id: forged{end}retry: 1{end}event: forged{end}: comment{end}y"));
        assert_eq!(event.kind, "data");
        assert_ne!(event.id.as_deref(), Some("forged"));
        assert_eq!(event.data, "x\nid: forged\nretry: 1\nevent: forged\n: comment\ny");
    }
}

fn colons_and_field_names_are_only_text(t: &Target) {
    for payload in [":", "::", "data:", "data: x", "event", "id", ":\n:", "data:\ndata:"] {
        assert_eq!(first_data(t, payload).data, payload);
    }
}

fn a_character_torn_over_two_appends_is_not_torn(t: &Target) {
    for (character, torn_at) in
        [("\u{e9}", 1), ("\u{20ac}", 1), ("\u{20ac}", 2), ("\u{1f30a}", 1), ("\u{1f30a}", 3)]
    {
        let stream = t.text(&[]);
        let mut events = Events::open(&stream, "-1");
        events.control();
        let (head, rest) = character.as_bytes().split_at(torn_at);
        stream.append([b"a", head].concat());
        stream.append([rest, b"b"].concat());
        let expected = format!("a{character}b");
        assert_eq!(events.collect(|collected| collected.len() >= expected.len()), expected);
    }
}

fn a_character_torn_byte_by_byte_is_not_torn(t: &Target) {
    let text = "w\u{e9}\u{20ac}\u{1f30a}r";
    let stream = t.text(&[]);
    let mut live = Events::open(&stream, "-1");
    live.control();
    for byte in text.bytes() {
        stream.append([byte]);
    }
    assert_eq!(live.collect(|collected| collected.len() >= text.len()), text);
    let mut late = Events::open(&stream, "-1");
    assert_eq!(late.collect(|collected| collected.len() >= text.len()), text);
}

fn a_torn_character_holds_only_itself_back(t: &Target) {
    let stream = t.text(&[]);
    stream.append(b"hello \xe2\x82");
    let mut events = Events::open(&stream, "-1");
    let event = events.data();
    assert_eq!(event.data, "hello ");
    assert_eq!(event.id, Some(stream.offset_at(6)));
}

fn a_torn_character_is_not_lost_for_a_reader_who_resumes(t: &Target) {
    let stream = t.text(&[]);
    stream.append(b"hello \xe2\x82");
    let mut events = Events::open(&stream, "-1");
    events.data();
    let resume = events.control().next_offset;
    drop(events);
    stream.append(b"\xac!");
    let mut events = Events::open(&stream, &resume);
    assert_eq!(events.collect(|collected| collected.len() >= 4), "\u{20ac}!");
}

fn a_torn_character_at_the_end_of_a_closed_stream_is_replaced(t: &Target) {
    let stream = t.text(&[]);
    stream.append(b"hello \xe2\x82");
    let tail = stream.close();
    let mut events = Events::open(&stream, "-1");
    let (data, control) = events.until_up_to_date();
    let text: String = data.iter().map(|event| event.data.as_str()).collect();
    assert!(text.starts_with("hello \u{fffd}") && text.trim_end_matches('\u{fffd}') == "hello ", "{text:?}");
    assert!(control.closed && control.next_offset == tail, "{:?}", control.block);
    events.assert_ended();
}

fn a_line_end_torn_over_two_appends_is_one(t: &Target) {
    for (appends, text) in [
        (&["a\r", "\nb"][..], "a\nb"),
        (&["a\r", "b"], "a\nb"),
        (&["a", "\r", "\n", "b"], "a\nb"),
        (&["a\r", "\r", "\nb"], "a\n\nb"),
        (&["\r", "\n\r", "\n."], "\n\n."),
    ] {
        let stream = t.text(&[]);
        let mut live = Events::open(&stream, "-1");
        live.control();
        for append in appends {
            stream.append(append);
        }
        assert_eq!(live.collect(|received| received.len() >= text.len()), text, "{appends:?}");
        let mut later = Events::open(&stream, "-1");
        assert_eq!(later.data().data, text, "{appends:?}");
    }
}

fn a_torn_line_end_is_not_lost_for_a_reader_who_resumes(t: &Target) {
    let stream = t.text(&["a\r"]);
    let mut events = Events::open(&stream, "-1");
    let first = events.data();
    assert_eq!(first.data, "a");
    let control = events.control();
    assert_eq!(control.next_offset, stream.offset_at(1));
    assert!(!control.up_to_date, "{control:?}");
    stream.append("\nb");
    let mut resumed = Events::open(&stream, &control.next_offset);
    assert_eq!(resumed.data().data, "\nb");
    assert_eq!(stream.read(&control.next_offset).status(200).text(), "\r\nb");
}

fn a_carriage_return_at_the_end_of_a_closed_stream_is_delivered(t: &Target) {
    let stream = t.text(&["a\r"]);
    let mut events = Events::open(&stream, "-1");
    assert_eq!(events.data().data, "a");
    stream.close();
    assert_eq!(events.until_closed(), "\n");
}

fn bytes_that_are_not_utf_8_do_not_break_the_events(t: &Target) {
    for bytes in
        [&b"a\xffb"[..], b"a\xc3(b", b"a\x80\x80b", b"a\xed\xa0\x80b", b"a\xf5\x80\x80\x80b", b"a\xc0\xafb"]
    {
        let stream = t.text(&[]);
        stream.append(bytes);
        let mut events = Events::open(&stream, "-1");
        let event = events.data();
        let replaced = event.data.strip_prefix('a').and_then(|text| text.strip_suffix('b'));
        assert!(replaced.is_some_and(|text| text.contains('\u{fffd}')), "{bytes:?}: {:?}", event.block);
        assert_eq!(events.control().next_offset, stream.tail());
    }
}

fn a_large_text_arrives_whole(t: &Target) {
    let line = "0123456789 \u{20ac}\n";
    let text = line.repeat(3 * t.facts.chunk_size / line.len());
    let stream = t.text(&[&text, &text]);
    stream.close();
    let seen = Events::open(&stream, "-1").until_closed();
    assert!(seen == text.repeat(2), "{} bytes instead of {}", seen.len(), 2 * text.len());
}

fn a_byte_order_mark_is_kept(t: &Target) {
    assert_eq!(first_data(t, "\u{feff}x").data, "\u{feff}x");
    assert_eq!(first_data(t, "a\n\u{feff}b").data, "a\n\u{feff}b");
}

fn a_nul_character_is_only_text(t: &Target) {
    assert_eq!(first_data(t, "a\0b").data, "a\0b");
}
