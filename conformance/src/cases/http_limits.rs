//! Limits: large heads, large bodies, slow requests. After each of them the server still answers
//! everybody else.

use std::time::{Duration, Instant};

use headwater_testkit::connection::{Connection, SLACK};

use crate::case::cases;
use crate::client::Target;
use crate::offset::position;

cases! {
    a_header_of_16_kib_is_taken: "docs/configuration.md: --header-max",
    headers_over_the_limit_are_431: "docs/configuration.md: --header-max",
    ten_thousand_headers_are_431: "docs/configuration.md: --headers-max",
    fifty_headers_are_taken: "docs/configuration.md: --headers-max",
    a_hundred_header_lines_are_taken: "docs/configuration.md: --headers-max",
    a_target_over_the_limit_is_refused: "docs/configuration.md: --header-max",
    half_a_head_is_cut_off_at_the_timeout: "docs/configuration.md: --header-timeout",
    a_head_that_drips_is_cut_off_at_the_timeout: "docs/configuration.md: --header-timeout",
    half_a_second_head_is_cut_off_at_the_timeout: "docs/configuration.md: --header-timeout",
    a_connection_that_says_nothing_is_cut_off_at_the_timeout: "docs/configuration.md: --idle-timeout",
    an_idle_connection_hurts_nobody: "docs/configuration.md: --connections-max",
    a_body_of_the_limit_is_taken: "docs/configuration.md: --body-max",
    a_body_over_the_limit_is_refused_at_the_header: "docs/configuration.md: --body-max, by Content-Length",
    a_creation_over_the_limit_is_refused_at_the_header: "docs/configuration.md: --body-max, by Content-Length",
    a_chunked_body_over_the_limit_is_refused_when_it_passes: "docs/configuration.md: --body-max, while it comes",
    expect_continue_is_answered_before_the_body: "RFC 9110, 10.1.1",
    expect_continue_over_the_limit_is_413_at_once: "RFC 9110, 10.1.1; docs/configuration.md: --body-max",
}

/// Sends a head that may be too long to be taken whole before it is refused.
#[track_caller]
fn refused_head(t: &Target, head: &str) -> Option<u16> {
    let mut connection = t.connect();
    // The server may refuse, and end the connection, before it has all of it.
    let _refused_early = connection.try_send(head);
    let response = connection.try_response();
    t.assert_alive();
    response.map(|response| response.status)
}

/// Fails unless the server ends the connection around a timeout.
#[track_caller]
pub(super) fn assert_cut_off(t: &Target, begin: Instant, timeout: Duration, ended: bool) {
    let elapsed = begin.elapsed();
    assert!(ended, "still there after {elapsed:?}, with a timeout of {timeout:?}");
    assert!(elapsed + Duration::from_millis(100) >= timeout, "cut off after {elapsed:?} of {timeout:?}");
    t.assert_alive();
}

fn a_header_of_16_kib_is_taken(t: &Target) {
    let stream = t.text(&["hello"]);
    let long = "x".repeat(16 << 10);
    let response = t.connect().send(stream.raw_head("GET", "offset=-1", &[("X-Long", &long)])).response();
    response.status(200).body_is("hello");
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
    t.connect().send(stream.raw_head("GET", "offset=-1", &many)).response().status(200).body_is("hello");
}

fn a_hundred_header_lines_are_taken(t: &Target) {
    let stream = t.text(&["hello"]);
    let beside_host: Vec<_> = (0..99).map(|_| ("X-Some", "value")).collect();
    t.connect()
        .send(stream.raw_head("GET", "offset=-1", &beside_host))
        .response()
        .status(200)
        .body_is("hello");
}

fn a_target_over_the_limit_is_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    let query = format!("offset=-1&x={}", "y".repeat(100_000));
    let status = refused_head(t, &stream.raw_head("GET", &query, &[]));
    assert!(matches!(status, Some(400 | 414 | 431) | None), "it was answered with {status:?}");
}

fn half_a_head_is_cut_off_at_the_timeout(t: &Target) {
    let mut connection = t.connect();
    let begin = Instant::now();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\nX-Unfin");
    let ended = connection.ends_within(t.facts.header_timeout + SLACK);
    assert_cut_off(t, begin, t.facts.header_timeout, ended);
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
    assert_cut_off(t, begin, t.facts.header_timeout, ended);
}

fn half_a_second_head_is_cut_off_at_the_timeout(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(stream.raw_head("GET", "offset=-1", &[])).response().status(200);
    let begin = Instant::now();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\nX-Unfin");
    let ended = connection.ends_within(t.facts.header_timeout + SLACK);
    assert_cut_off(t, begin, t.facts.header_timeout, ended);
}

fn a_connection_that_says_nothing_is_cut_off_at_the_timeout(t: &Target) {
    let mut connection = t.connect();
    let begin = Instant::now();
    let ended = connection.ends_within(t.facts.idle_timeout + SLACK);
    assert_cut_off(t, begin, t.facts.idle_timeout, ended);
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
    assert_eq!(position(&tail), body.len() as u64);
    assert!(stream.contents() == body, "other bytes came back");
}

fn a_body_over_the_limit_is_refused_at_the_header(t: &Target) {
    let stream = t.bytes();
    for length in [t.facts.body_max as u64 + 1, 1 << 40, u64::MAX / 2] {
        let length = length.to_string();
        let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
        stream.assert_unchanged_by(|| {
            let response = t.connect().send(stream.raw_head("POST", "", &headers)).response();
            response.refused(413, "body-too-large");
        });
    }
}

fn a_creation_over_the_limit_is_refused_at_the_header(t: &Target) {
    let stream = t.missing("application/octet-stream");
    let length = (t.facts.body_max + 1).to_string();
    let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
    t.connect().send(stream.raw_head("PUT", "", &headers)).response().refused(413, "body-too-large");
    stream.head().refused(404, "not-found");
}

fn a_chunked_body_over_the_limit_is_refused_when_it_passes(t: &Target) {
    let stream = t.bytes();
    let headers = [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")];
    stream.assert_unchanged_by(|| {
        let mut connection = t.connect();
        connection.send(stream.raw_head("POST", "", &headers));
        let chunk = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
        // No last chunk: a server that waits for it never responds.
        for _ in 0..t.facts.body_max / 0x10000 + 1 {
            if connection.try_send(&chunk).is_err() {
                break;
            }
        }
        if let Some(response) = connection.try_response() {
            response.refused(413, "body-too-large");
        }
    });
    t.assert_alive();
}

fn expect_continue_is_answered_before_the_body(t: &Target) {
    let stream = t.text(&[]);
    let headers = [("Content-Type", "text/plain"), ("Content-Length", "5"), ("Expect", "100-continue")];
    let mut connection = t.connect();
    connection.send(stream.raw_head("POST", "", &headers));
    connection.response().status(100);
    connection.send("hello").response().status(204);
    stream.read("-1").body_is("hello");
}

fn expect_continue_over_the_limit_is_413_at_once(t: &Target) {
    let stream = t.text(&[]);
    let length = (t.facts.body_max + 1).to_string();
    let headers =
        [("Content-Type", "text/plain"), ("Content-Length", length.as_str()), ("Expect", "100-continue")];
    t.connect().send(stream.raw_head("POST", "", &headers)).response().refused(413, "body-too-large");
}
