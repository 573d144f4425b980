//! Hostile and unusual HTTP: what is no request, what is too much, what never ends, and what other versions do.
//! After each of them the server still answers everybody else.

use std::time::{Duration, Instant};

use crate::case::cases;
use crate::client::Target;
use crate::raw::Connection;

cases! {
    bad_request_lines_are_400_or_the_end: "RELIABILITY.md, hostile: bad HTTP",
    bad_header_lines_are_400_or_the_end: "RELIABILITY.md, hostile: bad headers",
    binary_rubbish_is_the_end: "RELIABILITY.md, hostile: bad HTTP",
    a_tls_greeting_is_the_end: "RELIABILITY.md, hostile: bad HTTP",
    a_request_without_host_is_400: "RFC 9112, 3.2",
    an_absolute_target_is_understood: "RFC 9112, 3.2.2",
    header_names_are_case_insensitive: "RFC 9110, 5.1",
    a_header_of_16_kib_is_taken: "contract, flags: header-max",
    headers_over_the_limit_are_431: "contract, flags: header-max",
    ten_thousand_headers_are_431: "RELIABILITY.md, hostile: bad headers",
    fifty_headers_are_taken: "RELIABILITY.md, hostile: bad headers",
    a_target_over_the_limit_is_refused: "contract, flags: header-max",
    half_a_head_is_cut_off_at_the_timeout: "contract, flags: header-timeout; RELIABILITY.md: slowloris",
    a_head_that_drips_is_cut_off_at_the_timeout: "RELIABILITY.md, hostile: slowloris",
    an_idle_connection_hurts_nobody: "RELIABILITY.md, hostile: idle connections",
    a_body_of_the_limit_is_taken: "contract, flags: body-max",
    a_body_over_the_limit_is_refused_at_the_header: "contract, errors: 413 from Content-Length",
    a_creation_over_the_limit_is_refused_at_the_header: "contract, errors: 413 from Content-Length",
    a_chunked_body_over_the_limit_is_refused_when_it_passes: "contract, errors: 413 for chunked",
    expect_continue_is_answered_before_the_body: "RFC 9110, 10.1.1",
    expect_continue_over_the_limit_is_413_at_once: "RFC 9110, 10.1.1; contract, errors",
    pipelined_requests_are_answered_in_order: "RFC 9112, 9.3.2",
    a_request_in_single_bytes_is_a_request: "RFC 9112, 2",
    a_connection_survives_refusals: "RFC 9112, 9.3",
    connection_close_is_obeyed: "RFC 9112, 9.6",
    head_has_no_body: "RFC 9110, 9.3.2",
    no_content_has_no_body: "RFC 9112, 6.3",
    http_1_0_is_answered_and_ended: "RFC 9112, 9.3",
    http_1_0_gets_no_chunks: "RFC 9112, 6.1",
    a_trace_shows_nobody_the_headers: "RFC 9110, 9.3.8",
    connect_makes_no_tunnel: "RFC 9110, 9.3.6",
    http_2_prior_knowledge_gets_settings: "RFC 9113, 3.3 and 3.4",
    http_2_answers_a_request: "RFC 9113, 8.1",
    http_2_rubbish_after_the_preface_is_the_end: "RFC 9113, 4.1",
    clients_that_vanish_while_waiting_hurt_nobody: "RELIABILITY.md, load: clients that vanish",
    readers_that_stop_reading_hurt_nobody: "RELIABILITY.md, load: readers that stop reading",
    dates_are_there: "RFC 9110, 6.6.1",
}

/// How much later than its timeout a busy server may act.
const SLACK: Duration = Duration::from_secs(3);

/// Sends something that is no request: it is refused, or the connection ends, and nothing else.
#[track_caller]
fn assert_no_request(t: &Target, bytes: &[u8]) {
    let mut connection = t.connect();
    connection.send(bytes).finish_sending();
    if let Some(answer) = connection.try_answer()
        && !matches!(answer.status, 400 | 404 | 405 | 414 | 431 | 501 | 505)
    {
        answer.fail("this is no request");
    }
    t.assert_alive();
}

fn bad_request_lines_are_400_or_the_end(t: &Target) {
    let stream = t.text(&["hello"]);
    let path = &stream.path;
    let lines = [
        "GET".to_owned(),
        "GET ".to_owned(),
        format!("GET {path}"),
        format!("GET {path} "),
        format!("{path} HTTP/1.1"),
        format!("GET {path} HTTP/1.1 x"),
        format!("GET {path} x HTTP/1.1"),
        format!("GET {path} HTTP/9.9"),
        format!("GET {path} HTTP/1"),
        format!("GET {path} HTTP/1.1.1"),
        format!("GET {path} http/1.1"),
        format!("GET {path} FTP/1.1"),
        format!("G\0T {path} HTTP/1.1"),
        format!("GET {path}\0 HTTP/1.1"),
        format!("G(T {path} HTTP/1.1"),
        format!("GET {path}\u{7f} HTTP/1.1"),
        format!(" GET {path} HTTP/1.1"),
        "GET  HTTP/1.1".to_owned(),
        format!("GET {} HTTP/1.1", &path[1..]),
        "GET ? HTTP/1.1".to_owned(),
        format!("GET\t{path}\tHTTP/1.1\tx"),
        format!("{} {path} HTTP/1.1", "A".repeat(5000)),
        "\u{fffd}".to_owned(),
    ];
    for line in lines {
        assert_no_request(t, format!("{line}\r\nHost: {}\r\n\r\n", t.authority).as_bytes());
    }
    stream.read("-1").body_is("hello");
}

fn bad_header_lines_are_400_or_the_end(t: &Target) {
    let stream = t.text(&["hello"]);
    let lines = [
        "no colon",
        ": no name",
        "name : space before the colon",
        " leading: space",
        "na me: x",
        "na(me: x",
        "n\0me: x",
        "name: \0",
        "name: \u{1}",
        "name\r: x",
        "\u{e9}: x",
        "Content-Length : 5",
        "Content\0-Length: 5",
        "name: a\r\n folded",
        "\u{7f}: x",
    ];
    for line in lines {
        let head = stream.raw_head("DELETE", "", &[]);
        let request = head.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        assert_no_request(t, request.as_bytes());
    }
    stream.read("-1").status(200).body_is("hello");
}

fn binary_rubbish_is_the_end(t: &Target) {
    let rubbish: Vec<u8> = (0..=255).collect();
    assert_no_request(t, &rubbish);
    assert_no_request(t, &[0; 4096]);
    assert_no_request(t, &[0xff; 4096]);
    assert_no_request(t, &b"\r\n".repeat(5000));
    assert_no_request(t, b"");
}

fn a_tls_greeting_is_the_end(t: &Target) {
    let mut greeting = vec![0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00, 0xc4, 0x03, 0x03];
    greeting.extend([0x5a; 194]);
    greeting.extend(b"\r\n\r\n");
    assert_no_request(t, &greeting);
}

fn a_request_without_host_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    let path = &stream.path;
    let requests = [
        format!("GET {path} HTTP/1.1\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: {0}\r\nHost: {0}\r\n\r\n", t.authority),
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"),
    ];
    for request in requests {
        t.connect().send(request).answer().status(400);
    }
}

fn an_absolute_target_is_understood(t: &Target) {
    let stream = t.text(&["hello"]);
    let request = format!("GET {}?offset=-1 HTTP/1.1\r\nHost: {}\r\n\r\n", stream.url(), t.authority);
    t.connect().send(request).answer().status(200).body_is("hello");
}

fn header_names_are_case_insensitive(t: &Target) {
    let stream = t.missing("text/plain");
    let headers = [
        ("cONTENT-tYPE", "text/plain"),
        ("content-length", "5"),
        ("sTREAM-ttl", "60"),
        ("STREAM-CLOSED", "true"),
    ];
    t.connect().send(stream.raw_head("PUT", "", &headers)).send("hello").answer().status(201);
    stream.head().has("Stream-TTL", "60").has("Stream-Closed", "true").has("Content-Type", "text/plain");
}

fn a_header_of_16_kib_is_taken(t: &Target) {
    let stream = t.text(&["hello"]);
    let long = "x".repeat(16 << 10);
    let answer = t.connect().send(stream.raw_head("GET", "offset=-1", &[("X-Long", &long)])).answer();
    answer.status(200).body_is("hello");
}

/// Sends a head that may be too long to be taken whole before it is refused.
#[track_caller]
fn refused_head(t: &Target, head: &str) -> Option<u16> {
    let mut connection = t.connect();
    // The server may refuse, and end the connection, before it has all of it.
    let _refused_early = connection.try_send(head);
    let answer = connection.try_answer();
    t.assert_alive();
    answer.map(|answer| answer.status)
}

fn headers_over_the_limit_are_431(t: &Target) {
    let stream = t.text(&["hello"]);
    for size in [64 << 10, 1 << 20] {
        let long = "x".repeat(size);
        let status = refused_head(t, &stream.raw_head("GET", "offset=-1", &[("X-Long", &long)]));
        assert!(matches!(status, Some(431) | None), "{size} bytes were answered with {status:?}");
    }
}

fn ten_thousand_headers_are_431(t: &Target) {
    let stream = t.text(&["hello"]);
    let many: Vec<_> = (0..10_000).map(|_| ("X", "y")).collect();
    let status = refused_head(t, &stream.raw_head("GET", "offset=-1", &many));
    assert!(matches!(status, Some(431) | None), "they were answered with {status:?}");
}

fn fifty_headers_are_taken(t: &Target) {
    let stream = t.text(&["hello"]);
    let many: Vec<_> = (0..50).map(|_| ("X-Some", "value")).collect();
    t.connect().send(stream.raw_head("GET", "offset=-1", &many)).answer().status(200).body_is("hello");
}

fn a_target_over_the_limit_is_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    let query = format!("offset=-1&x={}", "y".repeat(100_000));
    let status = refused_head(t, &stream.raw_head("GET", &query, &[]));
    assert!(matches!(status, Some(400 | 414 | 431) | None), "it was answered with {status:?}");
}

/// Fails unless the server ends the connection around its header timeout.
#[track_caller]
fn assert_cut_off(t: &Target, begin: Instant, ended: bool) {
    let elapsed = begin.elapsed();
    let timeout = t.facts.header_timeout;
    assert!(ended, "still there after {elapsed:?}, with a timeout of {timeout:?}");
    assert!(elapsed + Duration::from_millis(100) >= timeout, "cut off after {elapsed:?} of {timeout:?}");
    t.assert_alive();
}

fn half_a_head_is_cut_off_at_the_timeout(t: &Target) {
    let mut connection = t.connect();
    let begin = Instant::now();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\nX-Unfin");
    let ended = connection.ends_within(t.facts.header_timeout + SLACK);
    assert_cut_off(t, begin, ended);
}

fn a_head_that_drips_is_cut_off_at_the_timeout(t: &Target) {
    let mut connection = t.connect();
    let begin = Instant::now();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\n");
    let deadline = begin + t.facts.header_timeout + SLACK;
    let mut ended = false;
    while !ended && Instant::now() < deadline {
        ended =
            connection.try_send("X: y\r\n").is_err() || connection.ends_within(Duration::from_millis(200));
    }
    assert_cut_off(t, begin, ended);
}

fn an_idle_connection_hurts_nobody(t: &Target) {
    let idle: Vec<Connection> = (0..100).map(|_| t.connect()).collect();
    let stream = t.text(&["hello"]);
    stream.read("-1").status(200).body_is("hello");
    t.assert_alive();
    drop(idle);
}

fn a_body_of_the_limit_is_taken(t: &Target) {
    let stream = t.bytes();
    let body = vec![7; t.facts.body_max];
    let tail = stream.append(&body);
    assert_eq!(crate::offset::position(&tail), body.len() as u64);
    assert!(stream.contents() == body, "other bytes came back");
}

fn a_body_over_the_limit_is_refused_at_the_header(t: &Target) {
    let stream = t.bytes();
    for length in [t.facts.body_max as u64 + 1, 1 << 40, u64::MAX / 2] {
        let length = length.to_string();
        let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
        stream.assert_unchanged_by(|| {
            let answer = t.connect().send(stream.raw_head("POST", "", &headers)).answer();
            answer.refused(413, "body-too-large");
        });
    }
}

fn a_creation_over_the_limit_is_refused_at_the_header(t: &Target) {
    let stream = t.missing("application/octet-stream");
    let length = (t.facts.body_max + 1).to_string();
    let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
    t.connect().send(stream.raw_head("PUT", "", &headers)).answer().refused(413, "body-too-large");
    stream.head().refused(404, "not-found");
}

fn a_chunked_body_over_the_limit_is_refused_when_it_passes(t: &Target) {
    let stream = t.bytes();
    let headers = [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")];
    stream.assert_unchanged_by(|| {
        let mut connection = t.connect();
        connection.send(stream.raw_head("POST", "", &headers));
        let chunk = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
        // No last chunk: a server that waits for it answers never.
        for _ in 0..t.facts.body_max / 0x10000 + 1 {
            if connection.try_send(&chunk).is_err() {
                break;
            }
        }
        if let Some(answer) = connection.try_answer() {
            answer.refused(413, "body-too-large");
        }
    });
    t.assert_alive();
}

fn expect_continue_is_answered_before_the_body(t: &Target) {
    let stream = t.text(&[]);
    let headers = [("Content-Type", "text/plain"), ("Content-Length", "5"), ("Expect", "100-continue")];
    let mut connection = t.connect();
    connection.send(stream.raw_head("POST", "", &headers));
    connection.answer().status(100);
    connection.send("hello").answer().status(204);
    stream.read("-1").body_is("hello");
}

fn expect_continue_over_the_limit_is_413_at_once(t: &Target) {
    let stream = t.text(&[]);
    let length = (t.facts.body_max + 1).to_string();
    let headers =
        [("Content-Type", "text/plain"), ("Content-Length", length.as_str()), ("Expect", "100-continue")];
    t.connect().send(stream.raw_head("POST", "", &headers)).answer().refused(413, "body-too-large");
}

fn pipelined_requests_are_answered_in_order(t: &Target) {
    let stream = t.text(&["a"]);
    let append = [("Content-Type", "text/plain"), ("Content-Length", "1")];
    let requests = [
        stream.raw_head("GET", "offset=-1", &[]),
        stream.raw_head("POST", "", &append) + "b",
        stream.raw_head("GET", "offset=-1", &[]),
        stream.raw_head("GET", "offset=nonsense", &[]),
        stream.raw_head("HEAD", "", &[]),
        stream.raw_head("POST", "", &append) + "c",
        stream.raw_head("GET", "offset=-1", &[]),
    ];
    let mut connection = t.connect();
    // HEAD is answered without a body, which the reader must know; so it knows what it sent.
    let mut answers = Vec::new();
    connection.send(requests[..4].concat());
    for _ in 0..4 {
        answers.push(connection.answer());
    }
    answers[0].status(200).body_is("a");
    answers[1].status(204);
    answers[2].status(200).body_is("ab");
    answers[3].status(400);
    connection.send(&requests[4]);
    connection.answer().status(200).body_is("").has("Stream-Next-Offset", &answers[2].next_offset());
    connection.send(requests[5..].concat());
    connection.answer().status(204);
    connection.answer().status(200).body_is("abc");
}

fn a_request_in_single_bytes_is_a_request(t: &Target) {
    let stream = t.text(&[]);
    let headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")];
    let request = stream.raw_head("POST", "", &headers) + "5\r\nhello\r\n0\r\n\r\n";
    let mut connection = t.connect();
    for byte in request.bytes() {
        connection.send([byte]);
    }
    connection.answer().status(204);
    stream.read("-1").body_is("hello");
}

fn a_connection_survives_refusals(t: &Target) {
    let stream = t.text(&["hello"]);
    let missing = t.missing("text/plain");
    let mut connection = t.connect();
    for (request, status) in [
        (missing.raw_head("GET", "offset=-1", &[]), 404),
        (stream.raw_head("GET", "offset=nonsense", &[]), 400),
        (stream.raw_head("PATCH", "", &[("Content-Length", "0")]), 405),
        (stream.raw_head("POST", "", &[("Content-Length", "0")]), 400),
        (t.at("/elsewhere").raw_head("GET", "", &[]), 404),
        (stream.raw_head("POST", "", &[("Content-Type", "text/html"), ("Content-Length", "1")]) + "x", 409),
    ] {
        connection.send(request).answer().status(status);
        connection.send(stream.raw_head("GET", "offset=-1", &[])).answer().status(200).body_is("hello");
    }
}

fn connection_close_is_obeyed(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(stream.raw_head("GET", "offset=-1", &[("Connection", "close")]));
    let answer = connection.answer();
    answer.status(200).body_is("hello").has("Connection", "close");
    assert!(connection.ends_within(SLACK), "the connection stays");
}

fn head_has_no_body(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    for _ in 0..5 {
        connection.send(stream.raw_head("HEAD", "", &[])).answer().status(200).body_is("");
    }
    connection.send(stream.raw_head("GET", "offset=-1", &[])).answer().status(200).body_is("hello");
}

fn no_content_has_no_body(t: &Target) {
    let stream = t.text(&[]);
    let tail = stream.tail();
    let append =
        stream.raw_head("POST", "", &[("Content-Type", "text/plain"), ("Content-Length", "5")]) + "hello";
    let mut connection = t.connect();
    let answer = connection.send(append).answer();
    answer.status(204).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("OPTIONS", "", &[])).answer().status(204).lacks("Transfer-Encoding");
    let etag = stream.read("-1").etag();
    let not_modified = stream.raw_head("GET", "offset=-1", &[("If-None-Match", &etag)]);
    connection.send(not_modified).answer().status(304).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("DELETE", "", &[])).answer().status(204).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("GET", &format!("offset={tail}"), &[])).answer().status(404);
}

fn http_1_0_is_answered_and_ended(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(format!("GET {}?offset=-1 HTTP/1.0\r\nHost: {}\r\n\r\n", stream.path, t.authority));
    connection.answer().status(200).body_is("hello").lacks("Transfer-Encoding");
    assert!(connection.ends_within(SLACK), "the connection stays");
}

fn http_1_0_gets_no_chunks(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    let query = "offset=-1&live=sse";
    let mut connection = t.connect();
    connection.send(format!("GET {}?{query} HTTP/1.0\r\nHost: {}\r\n\r\n", stream.path, t.authority));
    let answer = connection.answer();
    answer.status(200).lacks("Transfer-Encoding");
    if !answer.text().starts_with("event: data\n") {
        answer.fail("expected events and nothing else");
    }
}

fn a_trace_shows_nobody_the_headers(t: &Target) {
    let stream = t.text(&["hello"]);
    let request = stream.raw_head("TRACE", "", &[("Authorization", "secret-of-the-user")]);
    let answer = t.connect().send(request).answer();
    answer.status(405);
    assert!(!answer.text().contains("secret-of-the-user"), "{answer}");
}

fn connect_makes_no_tunnel(t: &Target) {
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", t.authority);
    if let Some(answer) = t.connect().send(request).finish_sending().try_answer() {
        answer.status_in(&[400, 404, 405, 501]);
    }
    t.assert_alive();
}

/// The preface of an HTTP/2 client and its empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// The types of frames that the cases below look at.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// The type and the payload of the next HTTP/2 frame.
#[track_caller]
fn next_frame(connection: &mut Connection) -> (u8, Vec<u8>) {
    let head = connection.take(9);
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    (head[3], connection.take(length))
}

fn http_2_prior_knowledge_gets_settings(t: &Target) {
    let mut connection = t.connect();
    connection.send(PREFACE);
    let (kind, payload) = next_frame(&mut connection);
    assert_eq!(kind, SETTINGS, "the first frame of a server is SETTINGS");
    assert_eq!(payload.len() % 6, 0, "{payload:?}");
    t.assert_alive();
}

fn http_2_answers_a_request(t: &Target) {
    // :method GET, :scheme http, :path /health and :authority x, the last two as literals.
    let mut block = vec![0x82, 0x86, 0x04, 0x07];
    block.extend(b"/health");
    block.extend([0x01, 0x01, b'x']);
    let mut frame = vec![0, 0, u8::try_from(block.len()).expect("short"), HEADERS, 0x05, 0, 0, 0, 1];
    frame.extend(block);
    let mut connection = t.connect();
    connection.send(PREFACE).send(frame);
    loop {
        let (kind, payload) = next_frame(&mut connection);
        if kind == HEADERS {
            // 0x88 is `:status: 200` of the static table.
            assert_eq!(payload.first(), Some(&0x88), "{payload:?}");
            return;
        }
    }
}

fn http_2_rubbish_after_the_preface_is_the_end(t: &Target) {
    let mut connection = t.connect();
    connection.send(PREFACE);
    let _refused_early = connection.try_send(vec![0xff; 1 << 16]);
    assert!(connection.ends_within(t.facts.header_timeout + SLACK), "the connection stays");
    t.assert_alive();
}

fn clients_that_vanish_while_waiting_hurt_nobody(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    for query in [format!("offset={tail}&live=long-poll"), format!("offset={tail}&live=sse")] {
        for _ in 0..20 {
            t.connect().send(stream.raw_head("GET", &query, &[]));
        }
    }
    stream.append("world");
    stream.read("-1").status(200).body_is("helloworld");
    t.assert_alive();
}

fn readers_that_stop_reading_hurt_nobody(t: &Target) {
    let stream = t.bytes();
    let lazy: Vec<Connection> = (0..10)
        .map(|_| {
            let mut connection = t.connect();
            connection.send(stream.raw_head("GET", "offset=-1&live=sse", &[]));
            connection
        })
        .collect();
    // More than the buffers of a connection hold.
    let block = vec![7; 1 << 20];
    for _ in 0..8 {
        stream.append(&block);
    }
    assert!(stream.contents().len() == 8 << 20, "another reader does not get everything");
    t.assert_alive();
    drop(lazy);
}

fn dates_are_there(t: &Target) {
    let stream = t.text(&["hello"]);
    for answer in [stream.read("-1"), stream.head(), stream.read("nonsense")] {
        if !answer.expect_header("Date").ends_with(" GMT") {
            answer.fail("the date is not an HTTP date");
        }
    }
}
