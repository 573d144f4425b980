//! What clients do with connections: begin and go, stay silent, close a half, reset an upload, send more than is wanted.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use headwater_testkit::connection::{PATIENCE, SLACK};
use headwater_testkit::http2::{END_STREAM, Http2, Kind};

use super::http_limits::assert_cut_off;
use crate::case::cases;
use crate::client::Target;

cases! {
    three_bytes_are_half_a_head: "docs/configuration.md: --header-timeout",
    connections_that_begin_and_go_hurt_nobody: "docs/configuration.md: --connections-max",
    an_idle_http_2_connection_ends: "docs/configuration.md: --idle-timeout",
    a_half_closed_append_is_answered: "RFC 9112, 9.6: a half-close ends no request",
    a_half_closed_read_is_answered: "RFC 9112, 9.6: a half-close ends no request",
    a_half_closed_long_poll_is_answered: "RFC 9112, 9.6: a half-close ends no request",
    a_half_closed_event_stream_gets_what_is_there: "RFC 9112, 9.6: a half-close ends no request",
    an_http_2_upload_that_is_reset_is_no_message: "RFC 9113, 8.1: END_STREAM ends a message, and nothing else",
    an_http_2_upload_that_is_reset_closes_nothing: "RFC 9113, 8.1: END_STREAM ends a message, and nothing else",
    an_http_2_body_shorter_than_declared_is_no_message: "RFC 9113, 8.1.1",
    an_http_2_body_longer_than_declared_is_no_message: "RFC 9113, 8.1.1",
    an_http_2_upload_is_appended: "RFC 9113, 8.1",
    a_refusal_reaches_a_client_that_goes_on_sending: "RFC 9112, 9.6",
    two_transfer_codings_are_refused: "RFC 9112, 6.1",
    a_reader_that_pauses_gets_the_rest: "docs/configuration.md: --send-timeout",
}

const TEXT: (&str, &str) = ("content-type", "text/plain");

fn three_bytes_are_half_a_head(t: &Target) {
    for bytes in ["P", "PRI", "GET"] {
        let mut connection = t.connect();
        let begin = Instant::now();
        connection.send(bytes);
        let ended = connection.ends_within(t.facts.header_timeout + SLACK);
        assert_cut_off(t, begin, t.facts.header_timeout, ended);
    }
}

fn connections_that_begin_and_go_hurt_nobody(t: &Target) {
    for _ in 0..300 {
        t.connect().send("PRI");
    }
    let begin = Instant::now();
    t.assert_alive();
    assert!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
}

fn an_idle_http_2_connection_ends(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = Http2::open(&t.authority, None);
    connection.request(1, "GET", &format!("{}?offset=-1", stream.path), &[], END_STREAM);
    connection.next_of(Kind::Data, 1).expect("a response");
    let begin = Instant::now();
    let ended = connection.0.ends_within(t.facts.idle_timeout + SLACK);
    assert_cut_off(t, begin, t.facts.idle_timeout, ended);
}

fn a_half_closed_append_is_answered(t: &Target) {
    for _ in 0..20 {
        let stream = t.text(&[]);
        let mut connection = t.connect();
        let headers = [TEXT, ("Content-Length", "5")];
        connection.send(stream.raw_head("POST", "", &headers)).send("hello").finish_sending();
        connection.response().status(204);
        stream.read("-1").status(200).body_is("hello");
    }
}

fn a_half_closed_read_is_answered(t: &Target) {
    let stream = t.text(&["hello"]);
    t.connect()
        .send(stream.raw_head("GET", "offset=-1", &[]))
        .finish_sending()
        .response()
        .status(200)
        .body_is("hello");
}

fn a_half_closed_long_poll_is_answered(t: &Target) {
    let stream = t.text(&[]);
    let mut connection = t.connect();
    let tail = stream.tail();
    connection.send(stream.raw_head("GET", &format!("offset={tail}&live=long-poll"), &[])).finish_sending();
    sleep(Duration::from_millis(100));
    stream.append("hello");
    connection.response().status(200).body_is("hello");
}

fn a_half_closed_event_stream_gets_what_is_there(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(stream.raw_head("GET", "offset=-1&live=sse", &[])).finish_sending();
    let response = connection.response();
    let body = String::from_utf8_lossy(&response.body).into_owned();
    assert!(body.contains("data:hello") && body.contains("upToDate"), "{body}");
}

fn an_http_2_upload_that_is_reset_is_no_message(t: &Target) {
    // NO_ERROR, CANCEL, INTERNAL_ERROR, with the length declared or not.
    for code in [0u32, 8, 2] {
        for length in [&[("content-length", "10")][..], &[]] {
            let stream = t.text(&[]);
            let mut connection = Http2::open(&t.authority, None);
            connection.request(1, "POST", &stream.path, &[&[TEXT], length].concat(), 0);
            connection.frame(Kind::Data, 0, 1, b"half");
            sleep(Duration::from_millis(50));
            connection.frame(Kind::RstStream, 0, 1, &code.to_be_bytes());
            // What follows on the connection is answered after it.
            connection.request(3, "HEAD", &stream.path, &[], END_STREAM);
            connection.next_of(Kind::Headers, 3).expect("the connection goes on");
            stream.read("-1").status(200).body_is("");
        }
    }
}

fn an_http_2_upload_that_is_reset_closes_nothing(t: &Target) {
    let stream = t.text(&[]);
    let producer = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    let mut connection = Http2::open(&t.authority, None);
    let headers = [&[TEXT, ("stream-closed", "true")][..], &producer].concat();
    connection.request(1, "POST", &stream.path, &headers, 0);
    sleep(Duration::from_millis(50));
    connection.frame(Kind::RstStream, 0, 1, &0u32.to_be_bytes());
    connection.request(3, "HEAD", &stream.path, &[], END_STREAM);
    connection.next_of(Kind::Headers, 3).expect("the connection goes on");
    stream.head().status(200).lacks("Stream-Closed");
    let first = [("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "0")];
    stream.post("x").headers(&first).send().status(200);
}

fn an_http_2_body_shorter_than_declared_is_no_message(t: &Target) {
    refuses_http_2_body(t, "10", b"half");
}

fn an_http_2_body_longer_than_declared_is_no_message(t: &Target) {
    refuses_http_2_body(t, "2", b"half");
}

fn refuses_http_2_body(t: &Target, length: &str, body: &[u8]) {
    let stream = t.text(&[]);
    let mut connection = Http2::open(&t.authority, None);
    connection.request(1, "POST", &stream.path, &[TEXT, ("content-length", length)], 0);
    connection.frame(Kind::Data, END_STREAM, 1, body);
    connection.request(3, "HEAD", &stream.path, &[], END_STREAM);
    // It may end the connection too.
    let _next = connection.next_of(Kind::Headers, 3);
    stream.read("-1").status(200).body_is("");
}

fn an_http_2_upload_is_appended(t: &Target) {
    let stream = t.text(&[]);
    let mut connection = Http2::open(&t.authority, None);
    connection.request(1, "POST", &stream.path, &[TEXT], 0);
    connection.frame(Kind::Data, 0, 1, b"hel").frame(Kind::Data, END_STREAM, 1, b"lo");
    connection.next_of(Kind::Headers, 1).expect("a response");
    stream.read("-1").status(200).body_is("hello");
}

fn a_refusal_reaches_a_client_that_goes_on_sending(t: &Target) {
    let bytes = t.facts.body_max + (9 << 20);
    let length = bytes.to_string();
    for (method, header, status) in
        [("POST", TEXT, 413), ("POST", ("Producer-Id", "p"), 400), ("PATCH", TEXT, 405)]
    {
        let stream = t.text(&[]);
        let mut connection = t.connect();
        connection.send(stream.raw_head(method, "", &[header, ("Content-Length", &length)]));
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..bytes >> 20 {
            connection.send(&piece);
        }
        // 413 may come before another fault is found.
        connection.response().status_in(&[status, 413]);
        stream.read("-1").status(200).body_is("");
    }
}

fn two_transfer_codings_are_refused(t: &Target) {
    for coding in ["chunked, chunked", "gzip, chunked", "identity, chunked", "gzip"] {
        let stream = t.text(&[]);
        let headers = [TEXT, ("Transfer-Encoding", coding)];
        let mut connection = t.connect();
        connection
            .send(stream.raw_head("POST", "", &headers))
            .send("5\r\nhello\r\n0\r\n\r\n")
            .finish_sending();
        connection.response().status_in(&[400, 501]);
        stream.read("-1").status(200).body_is("");
    }
}

fn a_reader_that_pauses_gets_the_rest(t: &Target) {
    // More than any socket buffers.
    let text = "0123456789abcdef".repeat(1 << 19);
    let stream = t.text(&[&text]);
    let mut connection = t.connect();
    connection.send(stream.raw_head("GET", "offset=-1", &[]));
    thread::sleep(Duration::from_secs(2));
    let begin = Instant::now();
    let response = connection.response();
    assert!(begin.elapsed() < PATIENCE);
    assert!(response.status(200).body == text.as_bytes(), "other bytes");
}
