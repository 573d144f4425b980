//! JSON and binary streams as server-sent events (section 5.8).

use super::sse::assert_caught_up;
use crate::case::cases;
use crate::client::Target;
use crate::sse::Events;

cases! {
    json_is_one_line_holding_an_array: "section 5.8",
    json_with_line_breaks_is_still_one_line: "section 5.8: JSON on one line",
    json_content_types_with_parameters_are_json: "section 9; RFC 9110, 8.3.1",
    binary_is_base64_in_one_line: "section 5.8",
    a_large_batch_has_a_line_for_each_message: "docs/ARCHITECTURE.md, extensions: lines of events",
    no_line_is_too_long_for_readers_of_lines: "docs/ARCHITECTURE.md, extensions: lines of events",
    text_that_is_not_utf_8_is_base64: "docs/adr/0007-utf8-held-back.md",
    binary_types_say_so_and_text_types_do_not: "section 5.8",
}

fn json_is_one_line_holding_an_array(t: &Target) {
    let stream = t.json(&[r#"[{"a":1},"two"]"#, "3"]);
    let mut events = Events::open(&stream, "-1");
    let (data, _) = events.until_up_to_date();
    let mut messages = Vec::new();
    for event in &data {
        assert_eq!(event.data_lines(), 1, "{:?}", event.block);
        messages.extend(event.json().as_array().cloned().unwrap_or_else(|| panic!("{:?}", event.block)));
    }
    assert_eq!(serde_json::Value::from(messages), serde_json::json!([{"a": 1}, "two", 3]));
    stream.append("[4,5]");
    assert_eq!(events.data().data, "[4,5]");
}

fn json_with_line_breaks_is_still_one_line(t: &Target) {
    for line_end in ["\n", "\r\n", "\r"] {
        let message = format!(r#"{{"a":{line_end}[1,{line_end}{line_end}2]}}"#);
        let stream = t.json(&[&message]);
        let mut events = Events::open(&stream, "-1");
        let event = events.data();
        assert_eq!(event.data_lines(), 1, "{:?}", event.block);
        assert_eq!(event.json(), serde_json::json!([{"a": [1, 2]}]), "{:?}", event.block);
        assert_caught_up(&events.control(), &stream.tail());
    }
}

fn json_content_types_with_parameters_are_json(t: &Target) {
    for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;v=1"] {
        let stream = t.created(content_type, &[], &["[1,2]"]);
        let mut events = Events::open(&stream, "-1");
        events.head.lacks("Stream-SSE-Data-Encoding");
        assert_eq!(events.data().data, "[1,2]", "{content_type}");
    }
}

fn binary_is_base64_in_one_line(t: &Target) {
    for length in [1, 2, 3, 4, 57, 58, 1000] {
        let stream = t.bytes();
        let bytes: Vec<u8> = (0..=255).cycle().skip(200).take(length).collect();
        stream.append(&bytes);
        let mut events = Events::open(&stream, "-1");
        events.head.has("Stream-SSE-Data-Encoding", "base64");
        let event = events.data();
        assert_eq!(event.data_lines(), 1, "{:?}", event.block);
        assert_eq!(event.decoded(), Some(bytes));
    }
}

fn a_large_batch_has_a_line_for_each_message(t: &Target) {
    let message =
        |number: usize| format!(r#"{{"number":{number},"text":",[]{{}}\\\",","list":[1,2,{{"a":[]}}]}}"#);
    let messages: Vec<_> = (0..4_000).map(message).collect();
    let stream = t.json(&[&format!("[{}]", messages.join(","))]);
    let event = Events::open(&stream, "-1").data();
    assert_eq!(event.data, format!("[{}]", messages.join(",\n")));
    assert_eq!(event.json().as_array().map(Vec::len), Some(4_000));
}

fn no_line_is_too_long_for_readers_of_lines(t: &Target) {
    let numbers: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
    let message = format!("[{{\"numbers\":[{}]}}]", numbers.join(","));
    let bytes: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    let (json, binary) = (t.json(&[&message]), t.bytes());
    binary.append(&bytes);
    for stream in [&json, &binary] {
        let event = Events::open(stream, "-1").data();
        let longest = event.data.split('\n').map(str::len).max();
        assert!(longest.is_some_and(|longest| longest < 40_000), "{longest:?}");
        match event.decoded() {
            Some(decoded) if stream.path == binary.path => assert_eq!(decoded, bytes),
            _ => assert_eq!(event.json()[0]["numbers"].as_array().map(Vec::len), Some(100_000)),
        }
    }
}

fn text_that_is_not_utf_8_is_base64(t: &Target) {
    for content_type in [
        "text/plain; charset=iso-8859-1",
        "text/plain;charset=\"UTF-16\"",
        "text/html; x=y; CHARSET=windows-1252",
    ] {
        let stream = t.created(content_type, &[], &[]);
        stream.append([b'c', b'a', b'f', 0xe9, b'\r']);
        let mut events = Events::open(&stream, "-1");
        events.head.has("Stream-SSE-Data-Encoding", "base64");
        assert_eq!(events.data().decoded(), Some(vec![b'c', b'a', b'f', 0xe9, b'\r']), "{content_type}");
    }
    for content_type in
        ["text/plain; charset=UTF-8", "text/plain;charset=\"utf-8\"", "text/plain; charset=us-ascii"]
    {
        let stream = t.created(content_type, &[], &["hi"]);
        let mut events = Events::open(&stream, "-1");
        events.head.lacks("Stream-SSE-Data-Encoding");
        assert_eq!(events.data().data, "hi", "{content_type}");
    }
}

fn binary_types_say_so_and_text_types_do_not(t: &Target) {
    let texts = ["text/plain", "text/html; charset=utf-8", "TEXT/csv", "text/x-anything", "application/json"];
    for content_type in texts {
        let stream = t.created(content_type, &[], &["[1]"]);
        Events::open(&stream, "-1").head.lacks("Stream-SSE-Data-Encoding");
    }
    let binaries = [
        "application/octet-stream",
        "application/x-protobuf",
        "application/ndjson",
        "image/svg+xml",
        "application/vnd.api+json",
        "application/xml",
        "application/jsonp",
        "textual/plain",
    ];
    for content_type in binaries {
        let stream = t.created(content_type, &[], &["[1]"]);
        let mut events = Events::open(&stream, "-1");
        events.head.has("Stream-SSE-Data-Encoding", "base64");
        assert_eq!(events.data().decoded().as_deref(), Some(&b"[1]"[..]), "{content_type}");
    }
}
