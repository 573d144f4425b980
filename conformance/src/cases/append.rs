//! Appends and closes: what they answer, and in which order they are refused (sections 5.2 and 5.3).

use headwater_testkit::Response;

use crate::case::{at_once, cases};
use crate::client::{Request, Stream, Target};
use crate::offset::{advanced, position};

cases! {
    an_append_is_204_with_the_new_tail: "section 5.2",
    an_append_is_read_by_whoever_comes_next: "section 4: read your writes",
    every_byte_comes_back_as_it_was_sent: "section 4, byte streams",
    a_chunked_append_is_one_append: "section 5.2: Transfer-Encoding",
    an_empty_append_is_400: "section 5.2",
    an_empty_chunked_append_is_400: "section 5.2",
    an_append_without_type_is_400: "section 5.2, response codes: missing Content-Type",
    an_append_of_another_type_is_409: "section 5.2",
    an_append_of_a_malformed_type_is_refused: "RFC 9110, 8.3.1",
    an_append_of_the_same_type_with_parameters_is_204: "section 9; RFC 9110, 8.3.1: parameters",
    an_append_to_a_missing_stream_is_404: "section 5.2",
    appends_at_once_are_all_there_once_and_whole: "section 8: unique and strictly increasing",
    appends_at_once_get_the_offsets_of_their_bytes: "section 8: unique and strictly increasing",
    a_close_is_204_with_the_unchanged_tail: "section 5.3",
    a_close_repeated_is_204: "section 5.2: close-only is idempotent",
    a_close_ignores_the_type: "section 5.2: must not reject based on Content-Type",
    a_close_of_a_missing_stream_is_404: "section 5.3",
    a_close_with_data_appends_and_closes: "section 5.2: atomic",
    a_close_with_data_repeated_is_409: "section 5.2: not idempotent without a producer",
    an_append_after_the_close_is_409_with_the_final_tail: "section 5.2",
    a_closed_stream_stays_closed: "section 4.1, monotonic",
    a_closed_stream_is_told_before_another_type: "section 5.2, error precedence",
    a_closed_stream_is_told_before_a_sequence_regression: "section 5.2, error precedence",
    another_type_is_told_before_a_sequence_regression: "section 5.2, error precedence",
    a_missing_stream_is_told_before_anything_else: "section 5.2, response codes",
    closes_at_once_all_succeed: "section 4.1, idempotent",
    a_final_append_at_once_with_others_is_the_last: "section 4.1, atomic with final append",
    repeated_headers_are_400: "docs/ARCHITECTURE.md, extensions: repeated headers and parameters",
}

/// Runs a request that must be refused, and shows that the stream is as before.
#[track_caller]
pub(super) fn assert_refused(stream: &Stream<'_>, request: Request<'_>, status: u16, code: &str) -> Response {
    stream.assert_unchanged_by(|| request.send().refused(status, code).clone())
}

/// Checks that an append is refused as malformed.
#[track_caller]
pub(super) fn assert_malformed(stream: &Stream<'_>, request: Request<'_>) -> Response {
    stream.assert_unchanged_by(|| request.send().malformed().clone())
}

fn an_append_is_204_with_the_new_tail(t: &Target) {
    let stream = t.text(&[]);
    let begin = stream.tail();
    let response = stream.post("hello").send();
    response.status(204).body_is("").has("Stream-Next-Offset", &advanced(&begin, 5)).lacks("Stream-Closed");
    response.lacks("Producer-Epoch").lacks("Producer-Seq");
    assert_eq!(stream.tail(), response.next_offset());
}

fn an_append_is_read_by_whoever_comes_next(t: &Target) {
    let stream = t.text(&[]);
    let mut expected = String::new();
    for index in 0..30 {
        let text = format!("{index};");
        expected.push_str(&text);
        let tail = stream.append(&text);
        stream.read("-1").body_is(&expected).has("Stream-Next-Offset", &tail);
    }
}

fn every_byte_comes_back_as_it_was_sent(t: &Target) {
    let stream = t.bytes();
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    stream.append(&bytes);
    stream.read("-1").status(200).body_is(&bytes);
    let text = t.text(&[]);
    text.append(&bytes);
    text.read("-1").status(200).body_is(&bytes);
}

fn a_chunked_append_is_one_append(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    let headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")];
    connection.send(stream.raw_head("POST", "", &headers));
    connection.send("1\r\n \r\n3;ext=1\r\nwor\r\n02\r\nld\r\n0\r\n\r\n");
    let response = connection.response();
    response.status(204).has("Stream-Next-Offset", &stream.offset_at(11));
    stream.read("-1").body_is("hello world");
}

fn an_empty_append_is_400(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.bytes()] {
        assert_malformed(&stream, stream.post(""));
        assert_malformed(&stream, stream.post("").without_content_type());
        assert_malformed(&stream, stream.post("").header("Stream-Closed", "false"));
    }
}

fn an_empty_chunked_append_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    let headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")];
    stream.assert_unchanged_by(|| {
        let mut connection = t.connect();
        connection.send(stream.raw_head("POST", "", &headers)).send("0\r\n\r\n");
        connection.response().malformed();
    });
}

fn an_append_without_type_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_malformed(&stream, stream.post("x").without_content_type());
    assert_malformed(&stream, stream.post("x").without_content_type().closing());
}

fn an_append_of_another_type_is_409(t: &Target) {
    let stream = t.text(&["hello"]);
    for other in
        ["text/html", "text/plainer", "application/json", "application/octet-stream", "text/*", "*/*"]
    {
        assert_refused(&stream, stream.post("1").content_type(other), 409, "content-type-mismatch");
        assert_refused(&stream, stream.post("1").content_type(other).closing(), 409, "content-type-mismatch");
    }
}

fn an_append_of_a_malformed_type_is_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for malformed in ["text", "/plain", "text/", "plain text"] {
        stream.assert_unchanged_by(|| {
            let response = stream.post("x").content_type(malformed).send();
            response.status_in(&[400, 409]).problem(response.status);
        });
    }
}

fn an_append_of_the_same_type_with_parameters_is_204(t: &Target) {
    let stream = t.text(&[]);
    for same in ["text/plain; charset=utf-8", "TEXT/plain", "text/plain;", "text/plain ;a=b;c=\"d;e\""] {
        stream.post("x").content_type(same).send().status(204);
    }
    stream.read("-1").body_is("xxxx").has("Content-Type", "text/plain");
}

fn an_append_to_a_missing_stream_is_404(t: &Target) {
    let stream = t.missing("text/plain");
    stream.post("hello").send().refused(404, "not-found");
    stream.head().status(404);
}

fn appends_at_once_are_all_there_once_and_whole(t: &Target) {
    let stream = t.text(&[]);
    at_once(16, |writer| {
        for index in 0..16 {
            stream.append(format!("<{writer}.{index}>"));
        }
    });
    let contents = String::from_utf8(stream.contents()).expect("the appends are text");
    for writer in 0..16 {
        let mut last = 0;
        for index in 0..16 {
            let mark = format!("<{writer}.{index}>");
            let places: Vec<usize> = contents.match_indices(&mark).map(|(place, _)| place).collect();
            assert_eq!(places.len(), 1, "{mark} in {contents}");
            assert!(index == 0 || places[0] > last, "{mark} comes too early in {contents}");
            last = places[0];
        }
    }
    let expected: usize = (0..16).flat_map(|w| (0..16).map(move |i| format!("<{w}.{i}>").len())).sum();
    assert_eq!(contents.len(), expected, "and nothing else");
}

fn appends_at_once_get_the_offsets_of_their_bytes(t: &Target) {
    let stream = t.text(&[]);
    let ends = at_once(32, |writer| {
        let text = format!("<{writer:02}>");
        (stream.append(&text), text)
    });
    let contents = stream.contents();
    for (end, text) in ends {
        let end = usize::try_from(position(&end)).expect("fits");
        assert_eq!(&contents[end - text.len()..end], text.as_bytes(), "before {end}");
    }
}

fn a_close_is_204_with_the_unchanged_tail(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let response = stream.post_close().send();
    response.status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail).body_is("");
    stream.head().has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
}

fn a_close_repeated_is_204(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    for _ in 0..3 {
        stream.post_close().send().status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
    }
}

fn a_close_ignores_the_type(t: &Target) {
    for content_type in ["text/html", "application/json", "nonsense", ""] {
        let stream = t.text(&["hello"]);
        let request = stream.post_close().content_type(content_type);
        request.send().status(204).has("Stream-Closed", "true");
    }
}

fn a_close_of_a_missing_stream_is_404(t: &Target) {
    let stream = t.missing("text/plain");
    stream.post_close().send().refused(404, "not-found");
    stream.head().status(404);
}

fn a_close_with_data_appends_and_closes(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let response = stream.post("world").closing().send();
    response.status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &advanced(&tail, 5));
    stream.read("-1").body_is("helloworld").has("Stream-Closed", "true");
}

fn a_close_with_data_repeated_is_409(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.post("world").closing().send().status(204);
    let response = assert_refused(&stream, stream.post("world").closing(), 409, "stream-closed");
    response.has("Stream-Closed", "true").has("Stream-Next-Offset", &stream.tail());
}

fn an_append_after_the_close_is_409_with_the_final_tail(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"])] {
        let tail = stream.close();
        let response = assert_refused(&stream, stream.post("2"), 409, "stream-closed");
        response.has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
    }
}

fn a_closed_stream_stays_closed(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    for value in ["false", "no", "0", ""] {
        let request = stream.post("more").header("Stream-Closed", value);
        assert_refused(&stream, request, 409, "stream-closed");
    }
    stream.put().header("Stream-Closed", "false").send().refused(409, "config-mismatch");
    stream.head().has("Stream-Closed", "true");
}

fn a_closed_stream_is_told_before_another_type(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let request = stream.post("1").content_type("application/json");
    let response = assert_refused(&stream, request, 409, "stream-closed");
    response.has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
}

fn a_closed_stream_is_told_before_a_sequence_regression(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").header("Stream-Seq", "b").send().status(204);
    stream.close();
    assert_refused(&stream, stream.post("x").header("Stream-Seq", "a"), 409, "stream-closed");
}

fn another_type_is_told_before_a_sequence_regression(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").header("Stream-Seq", "b").send().status(204);
    let request = stream.post("x").header("Stream-Seq", "a").content_type("text/html");
    assert_refused(&stream, request, 409, "content-type-mismatch");
}

fn a_missing_stream_is_told_before_anything_else(t: &Target) {
    let stream = t.missing("application/json");
    stream.post("not json").content_type("text/html").producer("p", 3, 9).send().refused(404, "not-found");
}

fn closes_at_once_all_succeed(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    for response in at_once(16, |_| stream.post_close().send()) {
        response.status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
    }
}

fn a_final_append_at_once_with_others_is_the_last(t: &Target) {
    let stream = t.text(&[]);
    let responses = at_once(16, |writer| {
        let request = stream.post(format!("<{writer:02}>"));
        if writer == 7 { request.closing().send() } else { request.send() }
    });
    responses[7].status(204).has("Stream-Closed", "true");
    let contents = String::from_utf8(stream.contents()).expect("the appends are text");
    assert!(contents.ends_with("<07>"), "{contents}");
    for (writer, response) in responses.iter().enumerate() {
        let is_there = contents.contains(&format!("<{writer:02}>"));
        if is_there {
            response.status(204);
        } else {
            response.refused(409, "stream-closed").has("Stream-Next-Offset", &stream.tail());
        }
    }
}

fn repeated_headers_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    let repeated = [
        ("Stream-Seq", "1", "2"),
        ("Stream-Seq", "1", "1"),
        ("Stream-Closed", "true", "true"),
        ("Stream-Closed", "true", "false"),
    ];
    for (name, first, second) in repeated {
        assert_malformed(&stream, stream.post("x").header(name, first).header(name, second));
    }
    assert_malformed(&stream, stream.post("x").header("Content-Type", "text/plain"));
    assert_malformed(&stream, stream.post("x").header("Content-Type", "text/html"));
    let names = ["Producer-Id", "Producer-Epoch", "Producer-Seq"];
    for name in names {
        assert_malformed(&stream, stream.post("x").producer("p", 0, 0).header(name, "0"));
    }
}
