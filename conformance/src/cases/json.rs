//! JSON streams: messages, batches, what is JSON and what isn't, and bytes kept as they were sent (section 9.1).

use crate::case::{at_once, cases};
use crate::client::{Stream, Target};
use crate::offset::position;

cases! {
    one_value_is_one_message: "section 9.1.1",
    any_value_may_be_a_message: "section 9.1.1",
    an_array_is_a_batch: "section 9.1.2",
    only_one_level_of_arrays_is_flattened: "section 9.1.2",
    reads_are_arrays_of_all_messages: "section 9.1.5",
    reads_have_the_type_of_the_stream: "section 9.1.5",
    an_empty_range_is_an_empty_array: "section 9.1.5",
    an_empty_batch_is_400: "section 9.1.3",
    reads_begin_between_appends: "docs/adr/0008-json-stored-as-sent.md: offsets at append boundaries",
    offsets_inside_of_a_message_mean_its_append: "docs/adr/0002-offsets-with-incarnations.md",
    numbers_are_kept_as_they_were_sent: "docs/adr/0008-json-stored-as-sent.md: no conversion",
    strings_are_kept_as_they_were_sent: "docs/adr/0008-json-stored-as-sent.md: escapes",
    duplicate_keys_and_their_order_are_kept: "docs/adr/0008-json-stored-as-sent.md: duplicate keys",
    white_space_inside_of_a_message_is_kept: "docs/adr/0008-json-stored-as-sent.md: white space inside",
    white_space_around_messages_is_no_message: "docs/adr/0008-json-stored-as-sent.md: white space around messages",
    commas_and_brackets_in_strings_are_no_borders: "section 9.1.2",
    invalid_json_is_400_and_changes_nothing: "section 9.1.4",
    an_invalid_element_refuses_the_whole_batch: "section 9.1.4",
    bytes_that_are_not_utf_8_are_400: "section 9.1.4; RFC 8259, 8.1",
    white_space_alone_is_400: "section 9.1.4",
    a_depth_of_128_is_the_deepest: "docs/ARCHITECTURE.md, bounds",
    a_depth_of_a_hundred_thousand_is_400_and_harmless: "docs/ARCHITECTURE.md, bounds",
    a_wide_batch_is_taken_whole: "section 9.1.2",
    a_long_string_is_taken_whole: "section 9.1.1",
    a_close_with_data_is_flattened_too: "section 5.2",
    an_invalid_final_append_closes_nothing: "section 5.2, atomic",
    an_empty_final_batch_closes_nothing: "section 9.1.3",
    batches_at_once_are_never_torn: "docs/adr/0008-json-stored-as-sent.md: a batch is one append",
    other_types_are_not_parsed: "section 9: byte streams",
    suffixed_types_are_bytes: "section 9.1: application/json alone",
    names_that_look_dangerous_are_only_names: "docs/adr/0008-json-stored-as-sent.md: no conversion",
}

/// Reads a new stream with these appends.
#[track_caller]
fn assert_reads(t: &Target, appends: &[&str], expected: &str) {
    t.json(appends).read("-1").status(200).body_is(expected);
}

fn one_value_is_one_message(t: &Target) {
    assert_reads(t, &[r#"{"event":"created"}"#], r#"[{"event":"created"}]"#);
}

fn any_value_may_be_a_message(t: &Target) {
    for value in ["1", "-1", "0", "true", "false", "null", "\"\"", "\"text\"", "{}", "1.5e-3"] {
        assert_reads(t, &[value], &format!("[{value}]"));
    }
}

fn an_array_is_a_batch(t: &Target) {
    let stream = t.json(&[r#"[{"event":"a"},{"event":"b"}]"#]);
    stream.read("-1").body_is(r#"[{"event":"a"},{"event":"b"}]"#);
    stream.append("[1,null]");
    stream.read("-1").body_is(r#"[{"event":"a"},{"event":"b"},1,null]"#);
}

fn only_one_level_of_arrays_is_flattened(t: &Target) {
    assert_reads(t, &["[[1,2],[3,4]]"], "[[1,2],[3,4]]");
    assert_reads(t, &["[[[1,2,3]]]"], "[[[1,2,3]]]");
    assert_reads(t, &["[[]]"], "[[]]");
    assert_reads(t, &["[[],{},[]]"], "[[],{},[]]");
    let stream = t.json(&["[[[1,2,3]]]"]);
    assert_eq!(position(&stream.tail()), "[[1,2,3]],".len() as u64, "it is one message");
}

fn reads_are_arrays_of_all_messages(t: &Target) {
    assert_reads(t, &["1", "[2,3]", "4", "[[5]]"], "[1,2,3,4,[5]]");
}

fn reads_have_the_type_of_the_stream(t: &Target) {
    let stream = t.json(&["1"]);
    stream.read("-1").status(200).has("Content-Type", "application/json");
    stream.read(&stream.tail()).status(200).has("Content-Type", "application/json");
    stream.head().status(200).has("Content-Type", "application/json");
}

fn an_empty_range_is_an_empty_array(t: &Target) {
    let stream = t.json(&[]);
    for from in ["-1", "now", &stream.tail()] {
        stream.read(from).status(200).body_is("[]");
    }
    let tail = stream.append("1");
    stream.read(&tail).status(200).body_is("[]");
    stream.close();
    stream.read(&tail).status(200).body_is("[]").has("Stream-Closed", "true");
}

fn an_empty_batch_is_400(t: &Target) {
    let stream = t.json(&["1"]);
    for empty in ["[]", "[ ]", " [\n] ", "[\t\r\n]"] {
        stream.assert_unchanged_by(|| stream.post(empty).send().malformed().clone());
    }
}

fn reads_begin_between_appends(t: &Target) {
    let stream = t.json(&[r#"[1,"two"]"#, r#"{"three":3}"#]);
    let borders = [(0, r#"[1,"two",{"three":3}]"#), (8, r#"[{"three":3}]"#), (20, "[]")];
    for (border, expected) in borders {
        stream.read(&stream.offset_at(border)).status(200).body_is(expected);
    }
}

fn offsets_inside_of_a_message_mean_its_append(t: &Target) {
    let stream = t.json(&[r#"[1,"two",{"three":3}]"#]);
    for inside in [1, 3, 4, 5, 6, 7, 9, 12, 19] {
        let offset = stream.offset_at(inside);
        stream.read(&offset).status(200).body_is(r#"[1,"two",{"three":3}]"#);
        stream.poll(&offset).status(200).body_is(r#"[1,"two",{"three":3}]"#);
    }
}

fn numbers_are_kept_as_they_were_sent(t: &Target) {
    for number in [
        "1.0",
        "1.10",
        "-0",
        "-0.0",
        "1e400",
        "-1E+400",
        "1E5",
        "0.1e-7",
        "1e-400",
        "12345678901234567890",
        "123456789012345678901234567890.123456789012345678901234567890",
        "9007199254740993",
        "0.30000000000000004",
        "3.0e0",
    ] {
        assert_reads(t, &[number], &format!("[{number}]"));
        assert_reads(
            t,
            &[&format!("[{number},{{\"n\":{number}}}]")],
            &format!("[{number},{{\"n\":{number}}}]"),
        );
    }
}

fn strings_are_kept_as_they_were_sent(t: &Target) {
    for string in [
        r#""\u0041\u00e9""#,
        r#""\/""#,
        "\"/\"",
        r#""\b\f\n\r\t\"\\""#,
        r#""\ud83c\udf0a""#,
        "\"\u{1f30a} \u{e9} \u{2028} \u{2029}\"",
        "\"\u{7f}\"",
        r#""\u0000""#,
    ] {
        assert_reads(t, &[string], &format!("[{string}]"));
    }
}

fn duplicate_keys_and_their_order_are_kept(t: &Target) {
    for object in
        [r#"{"a":1,"a":2}"#, r#"{"b":1,"a":2,"b":{"a":1,"a":1}}"#, r#"{"2":0,"10":0,"1":0}"#, r#"{"":0}"#]
    {
        assert_reads(t, &[object], &format!("[{object}]"));
    }
}

fn white_space_inside_of_a_message_is_kept(t: &Target) {
    for message in ["{ \"a\" : [ 1 , 2 ] }", "{\n\t\"a\":\r\n1\n}", "[ [ 1 ] ]"] {
        let stream = t.json(&[&format!("[0,{message},1]")]);
        stream.read("-1").status(200).body_is(format!("[0,{message},1]"));
    }
}

fn white_space_around_messages_is_no_message(t: &Target) {
    let stream = t.json(&[" 1 ", "\n[ 2 , 3\t]\r\n", "\t{\"a\":4}\n"]);
    assert_eq!(stream.read("-1").status(200).json(), serde_json::json!([1, 2, 3, {"a": 4}]));
}

fn commas_and_brackets_in_strings_are_no_borders(t: &Target) {
    let batch = r#"["a,b","]",{"[,":"},{"},"\",","\\",["],["]]"#;
    let stream = t.json(&[batch]);
    stream.read("-1").status(200).body_is(batch);
}

/// Texts that are no JSON.
#[rustfmt::skip]
const INVALID: &[&str] = &[
    "{", "}", "[", "]", "[1", "1]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
    "{a:1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\" 1}", "'a'", "\"", "\"a", "a\"", "nope", "tru", "True",
    "NULL", "undefined", "NaN", "Infinity", "-Infinity", "01", "-01", "+1", "1.", ".5", "-", "-.5", "1e",
    "1e+", "0x1", "1_000", "1 2", "1,2", "{}{}", "[][]", "[1]x", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
    "\"\\", "\"a\nb\"", "\"\t\"", "\"\0\"", "// comment\n1", "1 // comment", "/* comment */ 1", "[1] ,",
    "\u{feff}1", "\u{feff}[1]", "\u{a0}1", "\u{2003}1", "\u{b}1", "1\0", "\u{0}1", "(1)", "<a/>", "a: 1",
    "\"\u{1f}\"", "[\"a\":1]", "{\"a\":1]", "[1}", "--1", "1-1",
];

fn invalid_json_is_400_and_changes_nothing(t: &Target) {
    let stream = t.json(&["[1,2]"]);
    stream.assert_unchanged_by(|| {
        for text in INVALID {
            let response = stream.post(text).send();
            if response.status != 400 {
                response.fail(format_args!("{text:?} was taken for JSON"));
            }
            response.malformed();
        }
    });
}

fn an_invalid_element_refuses_the_whole_batch(t: &Target) {
    let stream = t.json(&["[1,2]"]);
    for text in ["[3,4,nope]", "[nope,3]", "[3,{\"a\":},4]", "[3,4", "[3,4]]", "[3,\"\\x\"]"] {
        stream.assert_unchanged_by(|| stream.post(text).send().malformed().clone());
    }
}

fn bytes_that_are_not_utf_8_are_400(t: &Target) {
    let stream = t.json(&["[1,2]"]);
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xc3(\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\xaf\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\xff\xfe1\0",
        b"{\"\x80\":1}",
        b"[1,\"\xe2\x82\"]",
        b"\"\xe2\x82",
    ] {
        stream.assert_unchanged_by(|| stream.post(bytes).send().malformed().clone());
    }
}

fn white_space_alone_is_400(t: &Target) {
    let stream = t.json(&["[1,2]"]);
    for text in [" ", "\n", "\r\n\t "] {
        stream.assert_unchanged_by(|| stream.post(text).send().malformed().clone());
    }
}

/// Objects in objects, `depth` of them.
fn nested(depth: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
}

fn a_depth_of_128_is_the_deepest(t: &Target) {
    let stream = t.json(&[&nested(127), &nested(128)]);
    stream.read("-1").status(200).body_is(format!("[{},{}]", nested(127), nested(128)));
    for depth in [129, 130, 200, 1000] {
        stream.assert_unchanged_by(|| stream.post(nested(depth)).send().malformed().clone());
    }
}

fn a_depth_of_a_hundred_thousand_is_400_and_harmless(t: &Target) {
    let stream = t.json(&["[1,2]"]);
    let depth = 100_000;
    let texts = [
        "[".repeat(depth),
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        "{\"a\":".repeat(depth),
        nested(depth),
        "[{\"a\":".repeat(depth),
    ];
    for text in texts {
        stream.assert_unchanged_by(|| stream.post(&text).send().malformed().clone());
        let created = t.missing("application/json");
        created.put().body(&text).send().malformed();
        created.head().status(404);
    }
    t.assert_alive();
}

fn a_wide_batch_is_taken_whole(t: &Target) {
    let stream = t.json(&[]);
    let count = 20_000;
    let batch = format!("[{}]", vec!["7"; count].join(","));
    assert_eq!(position(&stream.append(&batch)), 2 * count as u64);
    stream.read("-1").status(200).body_is(&batch);
}

fn a_long_string_is_taken_whole(t: &Target) {
    let stream = t.json(&[]);
    let message = format!("\"{}\"", "\\u00e9\u{e9}".repeat(50_000));
    stream.append(&message);
    stream.read("-1").status(200).body_is(format!("[{message}]"));
}

fn a_close_with_data_is_flattened_too(t: &Target) {
    let stream = t.json(&["1"]);
    stream.post("[2,3]").closing().send().status(204).has("Stream-Closed", "true");
    stream.read("-1").body_is("[1,2,3]").has("Stream-Closed", "true");
}

fn an_invalid_final_append_closes_nothing(t: &Target) {
    let stream = t.json(&["1"]);
    stream.assert_unchanged_by(|| stream.post("nope").closing().send().malformed().clone());
    stream.append("2");
}

fn an_empty_final_batch_closes_nothing(t: &Target) {
    let stream = t.json(&["1"]);
    stream.assert_unchanged_by(|| stream.post("[]").closing().send().malformed().clone());
    stream.append("2");
}

fn batches_at_once_are_never_torn(t: &Target) {
    let stream = t.json(&[]);
    at_once(16, |writer| {
        for index in 0..8 {
            let message = format!("\"{writer}.{index}\"");
            stream.append(format!("[{message},{message},{message}]"));
        }
    });
    let messages = read_all(&stream);
    assert_eq!(messages.len(), 16 * 8 * 3);
    for batch in messages.chunks(3) {
        assert!(batch[0] == batch[1] && batch[1] == batch[2], "a batch was torn: {batch:?}");
    }
}

#[track_caller]
fn read_all(stream: &Stream<'_>) -> Vec<serde_json::Value> {
    let response = stream.read("-1");
    response.status(200).has("Stream-Up-To-Date", "true");
    response.json().as_array().cloned().unwrap_or_else(|| response.fail("not an array"))
}

fn other_types_are_not_parsed(t: &Target) {
    for content_type in
        ["text/plain", "application/ndjson", "application/jsonlines", "application/octet-stream"]
    {
        let stream = t.created(content_type, &[], &["[", "{not json", "[]"]);
        stream.read("-1").status(200).body_is("[{not json[]");
    }
}

fn suffixed_types_are_bytes(t: &Target) {
    for content_type in ["application/vnd.api+json", "application/json5", "application/json-seq", "text/json"]
    {
        let stream = t.created(content_type, &[], &["[1,2]", "nope"]);
        stream.read("-1").status(200).body_is("[1,2]nope");
    }
}

fn names_that_look_dangerous_are_only_names(t: &Target) {
    let message = r#"{"__proto__":{"a":1},"constructor":1,"$serde_json::private::RawValue":"2","$serde_json::private::Number":"3"}"#;
    assert_reads(t, &[message], &format!("[{message}]"));
}
