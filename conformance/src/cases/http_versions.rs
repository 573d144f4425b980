//! HTTP/1.0 and HTTP/2 with prior knowledge, on the port of HTTP/1.1.

use headwater_testkit::connection::{Connection, SLACK};

use crate::case::cases;
use crate::client::Target;

cases! {
    http_1_0_is_answered_and_ended: "RFC 9112, 9.3",
    http_1_0_gets_no_chunks: "RFC 9112, 6.1",
    http_2_prior_knowledge_gets_settings: "RFC 9113, 3.3 and 3.4",
    http_2_answers_a_request: "RFC 9113, 8.1",
    http_2_rubbish_after_the_preface_is_the_end: "RFC 9113, 4.1",
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

fn http_1_0_is_answered_and_ended(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    connection.send(format!("GET {}?offset=-1 HTTP/1.0\r\nHost: {}\r\n\r\n", stream.path, t.authority));
    connection.response().status(200).body_is("hello").lacks("Transfer-Encoding");
    assert!(connection.ends_within(SLACK), "the connection stays");
}

fn http_1_0_gets_no_chunks(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    let query = "offset=-1&live=sse";
    let mut connection = t.connect();
    connection.send(format!("GET {}?{query} HTTP/1.0\r\nHost: {}\r\n\r\n", stream.path, t.authority));
    let response = connection.response();
    response.status(200).lacks("Transfer-Encoding");
    if !response.text().starts_with("event: data\n") {
        response.fail("expected events and nothing else");
    }
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
    assert!(connection.ends_within(t.facts.idle_timeout + SLACK), "the connection stays");
    t.assert_alive();
}
