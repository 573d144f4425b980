//! Hostile and unusual HTTP/1.1: what is no request, what comes in pieces or at once, and clients that vanish. After
//! each of them the server still answers everybody else.

use headwater_testkit::connection::{Connection, SLACK};

use crate::case::cases;
use crate::client::Target;

cases! {
    the_root_says_who_is_there: "docs/ARCHITECTURE.md, extensions: GET /",
    browsers_get_a_page: "docs/ARCHITECTURE.md, extensions: GET /",
    bad_request_lines_are_400_or_the_end: "RFC 9112, 3",
    bad_header_lines_are_400_or_the_end: "RFC 9112, 5.1",
    binary_rubbish_is_the_end: "RFC 9112, 2.2: bad HTTP",
    a_tls_greeting_is_the_end: "RFC 9112, 2.2: bad HTTP",
    a_request_without_host_is_400: "RFC 9112, 3.2",
    an_absolute_target_needs_a_host_header_too: "RFC 9112, 3.2",
    a_host_that_is_none_is_400: "RFC 9112, 3.2",
    an_absolute_target_is_understood: "RFC 9112, 3.2.2",
    header_names_are_case_insensitive: "RFC 9110, 5.1",
    pipelined_requests_are_answered_in_order: "RFC 9112, 9.3.2",
    an_answer_does_not_wait_for_the_rest_of_the_next_request: "RFC 9112, 9.3.2",
    a_request_in_single_bytes_is_a_request: "RFC 9112, 2",
    a_connection_survives_refusals: "RFC 9112, 9.3",
    connection_close_is_obeyed: "RFC 9112, 9.6",
    head_has_no_body: "RFC 9110, 9.3.2",
    no_content_has_no_body: "RFC 9112, 6.3",
    a_trace_shows_nobody_the_headers: "RFC 9110, 9.3.8",
    connect_makes_no_tunnel: "RFC 9110, 9.3.6",
    clients_that_vanish_while_waiting_hurt_nobody: "docs/ARCHITECTURE.md, invariants",
    readers_that_stop_reading_hurt_nobody: "docs/ARCHITECTURE.md, bounds",
    dates_are_there: "RFC 9110, 6.6.1",
}

/// Sends something that is no request: it is refused, or the connection ends, and nothing else.
#[track_caller]
fn assert_no_request(t: &Target, bytes: &[u8]) {
    let mut connection = t.connect();
    connection.send(bytes).finish_sending();
    if let Some(response) = connection.try_response()
        && !matches!(response.status, 400 | 404 | 405 | 414 | 431 | 501 | 505)
    {
        response.fail("this is no request");
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
        t.connect().send(request).response().status(400);
    }
}

fn an_absolute_target_needs_a_host_header_too(t: &Target) {
    let stream = t.text(&["hello"]);
    t.connect().send(format!("GET {}?offset=-1 HTTP/1.1\r\n\r\n", stream.url())).response().status(400);
}

fn a_host_that_is_none_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for host in ["bad host", "user@a.example", "a.example/b", "a\\b", "a?b", "\"a\"", "é.example"] {
        let request = format!("GET {}?offset=-1 HTTP/1.1\r\nHost: {host}\r\n\r\n", stream.path);
        t.connect().send(request).response().status(400);
    }
    for host in ["", "a.example", "A.example:80", "[::1]:80", "a_b.example", "127.0.0.1"] {
        let request = format!("GET {}?offset=-1 HTTP/1.1\r\nHost: {host}\r\n\r\n", stream.path);
        t.connect().send(request).response().status(200);
    }
}

fn an_absolute_target_is_understood(t: &Target) {
    let stream = t.text(&["hello"]);
    let request = format!("GET {}?offset=-1 HTTP/1.1\r\nHost: {}\r\n\r\n", stream.url(), t.authority);
    t.connect().send(request).response().status(200).body_is("hello");
}

fn header_names_are_case_insensitive(t: &Target) {
    let stream = t.missing("text/plain");
    let headers = [
        ("cONTENT-tYPE", "text/plain"),
        ("content-length", "5"),
        ("sTREAM-ttl", "60"),
        ("STREAM-CLOSED", "true"),
    ];
    t.connect().send(stream.raw_head("PUT", "", &headers)).send("hello").response().status(201);
    stream.head().has("Stream-TTL", "60").has("Stream-Closed", "true").has("Content-Type", "text/plain");
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
    // HEAD goes alone: only who knows that it was sent knows that its response has no body.
    let mut responses = Vec::new();
    connection.send(requests[..4].concat());
    for _ in 0..4 {
        responses.push(connection.response());
    }
    responses[0].status(200).body_is("a");
    responses[1].status(204);
    responses[2].status(200).body_is("ab");
    responses[3].status(400);
    connection.send(&requests[4]);
    connection.response().status(200).body_is("").has("Stream-Next-Offset", &responses[2].next_offset());
    connection.send(requests[5..].concat());
    connection.response().status(204);
    connection.response().status(200).body_is("abc");
}

fn an_answer_does_not_wait_for_the_rest_of_the_next_request(t: &Target) {
    let stream = t.text(&["a"]);
    let request = stream.raw_head("GET", "offset=-1", &[]);
    let (first, rest) = request.split_at(request.len() / 2);
    let mut connection = t.connect();
    connection.send([&request, first].concat());
    connection.response().status(200).body_is("a");
    connection.send(rest);
    connection.response().status(200).body_is("a");
}

fn a_request_in_single_bytes_is_a_request(t: &Target) {
    let stream = t.text(&[]);
    let headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")];
    let request = stream.raw_head("POST", "", &headers) + "5\r\nhello\r\n0\r\n\r\n";
    let mut connection = t.connect();
    for byte in request.bytes() {
        connection.send([byte]);
    }
    connection.response().status(204);
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
        connection.send(request).response().status(status);
        connection.send(stream.raw_head("GET", "offset=-1", &[])).response().status(200).body_is("hello");
    }
}

fn connection_close_is_obeyed(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(stream.raw_head("GET", "offset=-1", &[("Connection", "close")]));
    let response = connection.response();
    response.status(200).body_is("hello").has("Connection", "close");
    assert!(connection.ends_within(SLACK), "the connection stays");
}

fn head_has_no_body(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    for _ in 0..5 {
        connection.send(stream.raw_head("HEAD", "", &[])).response().status(200).body_is("");
    }
    connection.send(stream.raw_head("GET", "offset=-1", &[])).response().status(200).body_is("hello");
}

fn no_content_has_no_body(t: &Target) {
    let stream = t.text(&[]);
    let tail = stream.tail();
    let append =
        stream.raw_head("POST", "", &[("Content-Type", "text/plain"), ("Content-Length", "5")]) + "hello";
    let mut connection = t.connect();
    let response = connection.send(append).response();
    response.status(204).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("OPTIONS", "", &[])).response().status(204).lacks("Transfer-Encoding");
    let etag = stream.read("-1").etag();
    let not_modified = stream.raw_head("GET", "offset=-1", &[("If-None-Match", &etag)]);
    connection.send(not_modified).response().status(304).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("DELETE", "", &[])).response().status(204).lacks("Transfer-Encoding");
    connection.send(stream.raw_head("GET", &format!("offset={tail}"), &[])).response().status(404);
}

fn a_trace_shows_nobody_the_headers(t: &Target) {
    let stream = t.text(&["hello"]);
    let request = stream.raw_head("TRACE", "", &[("Authorization", "secret-of-the-user")]);
    let response = t.connect().send(request).response();
    response.status(405);
    assert!(!response.text().contains("secret-of-the-user"), "{response}");
}

fn connect_makes_no_tunnel(t: &Target) {
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", t.authority);
    if let Some(response) = t.connect().send(request).finish_sending().try_response() {
        response.status_in(&[400, 404, 405, 501]);
    }
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
    for response in [stream.read("-1"), stream.head(), stream.read("nonsense")] {
        if !response.expect_header("Date").ends_with(" GMT") {
            response.fail("the date is not an HTTP date");
        }
    }
}

fn the_root_says_who_is_there(t: &Target) {
    let root = t.at("/");
    for accept in ["*/*", "application/json", "text/html;q=0"] {
        let response = root.get_with("", &[("Accept", accept)]);
        response
            .status(200)
            .has("Content-Type", "application/json")
            .has("Cache-Control", "no-store")
            .has("Vary", "Accept");
        let document = response.json();
        assert_eq!(document["streams"], format!("http://{}{}/", t.authority, t.base_path));
        assert_eq!(document["server"], "headwater");
    }
    root.head().status(200).body_is("");
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        root.request(method).body("x").send().refused(405, "method-not-allowed");
    }
    root.request("OPTIONS").send().status(204);
}

fn browsers_get_a_page(t: &Target) {
    let accept = [("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];
    let response = t.at("/").get_with("", &accept);
    response
        .status(200)
        .has("Content-Type", "text/html; charset=utf-8")
        .has("X-Content-Type-Options", "nosniff");
    assert!(response.expect_header("Content-Security-Policy").contains("default-src 'none'"), "{response}");
    assert!(response.text().contains(&format!("http://{}{}/hello", t.authority, t.base_path)), "{response}");
    t.at("/?offset=-1").get_with("", &accept).status(200);
    t.at("/favicon.ico").get("").refused(404, "path-unknown");
}
