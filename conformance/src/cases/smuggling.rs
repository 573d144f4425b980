//! Where one request ends and the next begins: lengths, codings and chunks that disagree, and requests hidden in
//! bodies. Nothing that is not a request of its own is ever carried out.

use headwater_testkit::{Connection, Response};

use crate::case::cases;
use crate::client::{Stream, Target};

cases! {
    a_length_beside_chunks_is_400_or_ignored: "RFC 9112, 11.2; RFC 9112, 6.1",
    a_length_beside_chunks_smuggles_nothing: "RFC 9112, 11.2; RFC 9112, 6.1",
    two_different_lengths_are_400: "RFC 9112, 6.3",
    two_equal_lengths_are_one_or_400: "RFC 9112, 6.3",
    malformed_lengths_are_400: "RFC 9110, 8.6",
    unknown_transfer_codings_are_refused: "RFC 9112, 6.1",
    chunked_that_is_not_last_is_refused: "RFC 9112, 6.1",
    malformed_chunk_sizes_are_refused: "RFC 9112, 7.1",
    a_chunk_without_its_line_end_is_refused: "RFC 9112, 7.1",
    a_trailer_is_no_header: "RFC 9110, 6.5.1: trailers change no framing and no routing",
    chunk_extensions_are_ignored: "RFC 9112, 7.1.1",
    a_body_that_stops_is_not_appended: "RFC 9112, 8",
    a_chunked_body_that_stops_is_not_appended: "RFC 9112, 8",
    the_body_of_a_refused_request_is_not_the_next_request: "RFC 9112, 11.2",
    the_body_of_a_get_is_not_the_next_request: "RFC 9110, 9.3.1",
    the_body_of_a_delete_is_not_the_next_request: "RFC 9110, 9.3.5",
    what_follows_an_upgrade_that_is_not_taken_is_not_its_body: "RFC 9110, 7.8",
    a_line_end_in_a_name_makes_no_second_header: "RFC 9112, 11.1",
    a_line_end_in_a_value_makes_no_second_header: "RFC 9112, 11.1",
    a_content_type_comes_back_on_one_line: "RFC 9112, 11.1",
}

const POST_TEXT: (&str, &str) = ("Content-Type", "text/plain");

/// A DELETE of `victim`, as bytes that a server must never take for a request of its own.
fn hidden_delete(victim: &Stream<'_>) -> String {
    victim.raw_head("DELETE", "", &[])
}

/// Sends something that must be refused or lead to the end of the connection, and shows that it changed nothing.
#[track_caller]
fn assert_not_carried_out(stream: &Stream<'_>, bytes: &[u8]) {
    stream.assert_unchanged_by(|| {
        let mut connection = stream.target.connect();
        connection.send(bytes).finish_sending();
        if let Some(response) = connection.try_response() {
            response.status_in(&[400, 411, 413, 431, 501]);
        }
    });
    stream.target.assert_alive();
}

fn a_length_beside_chunks_is_400_or_ignored(t: &Target) {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let length = body.len().to_string();
    for headers in [
        [POST_TEXT, ("Content-Length", &length), ("Transfer-Encoding", "chunked")],
        [POST_TEXT, ("Transfer-Encoding", "chunked"), ("Content-Length", "3")],
        [POST_TEXT, ("Transfer-Encoding", "chunked"), ("Content-Length", "0")],
    ] {
        let stream = t.text(&[]);
        let mut connection = t.connect();
        connection.send(stream.raw_head("POST", "", &headers)).send(body);
        let response = connection.response();
        let expected = if response.status == 204 { "hello" } else { "" };
        response.status_in(&[204, 400]);
        stream.read("-1").status(200).body_is(expected);
    }
}

fn a_length_beside_chunks_smuggles_nothing(t: &Target) {
    let victim = t.text(&["victim"]);
    let stream = t.text(&[]);
    let hidden = hidden_delete(&victim);
    // By its chunks the body is empty and the hidden request follows; by its length the body holds it.
    let body = format!("0\r\n\r\n{hidden}");
    let length = body.len().to_string();
    let headers = [POST_TEXT, ("Content-Length", length.as_str()), ("Transfer-Encoding", "chunked")];
    let mut connection = t.connect();
    connection.send(stream.raw_head("POST", "", &headers)).send(&body).finish_sending();
    if let Some(response) = connection.try_response() {
        response.status(400);
    }
    if let Some(response) = connection.try_response() {
        response.fail("the hidden request was answered");
    }
    victim.read("-1").status(200).body_is("victim");
}

fn two_different_lengths_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for lengths in [["5", "6"], ["0", "5"], ["5", "0"]] {
        let headers = [POST_TEXT, ("Content-Length", lengths[0]), ("Content-Length", lengths[1])];
        let request = stream.raw_head("POST", "", &headers) + "world!";
        assert_not_carried_out(&stream, request.as_bytes());
    }
    let headers = [POST_TEXT, ("Content-Length", "5, 6")];
    assert_not_carried_out(&stream, (stream.raw_head("POST", "", &headers) + "world!").as_bytes());
}

fn two_equal_lengths_are_one_or_400(t: &Target) {
    let stream = t.text(&[]);
    let headers = [POST_TEXT, ("Content-Length", "5"), ("Content-Length", "5")];
    let mut connection = t.connect();
    let response = connection.send(stream.raw_head("POST", "", &headers)).send("hello").response();
    let expected = if response.status == 204 { "hello" } else { "" };
    response.status_in(&[204, 400]);
    stream.read("-1").body_is(expected);
}

fn malformed_lengths_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for length in [
        "-1",
        "-5",
        "+5",
        "5.0",
        "0x5",
        "five",
        "5 5",
        "5;",
        "1e1",
        "\u{665}",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let headers = [POST_TEXT, ("Content-Length", length)];
        let request = stream.raw_head("POST", "", &headers) + "world";
        stream.assert_unchanged_by(|| {
            let response = t.connect().send(&request).finish_sending().try_response();
            if let Some(response) = response
                && !matches!(response.status, 400 | 413)
            {
                response.fail(format_args!("{length:?} was taken for a length"));
            }
        });
    }
    t.assert_alive();
}

fn unknown_transfer_codings_are_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for coding in ["gzip", "xchunked", "chunkedx", "identity", "chunked-", "\"chunked\"", "chunk"] {
        let headers = [POST_TEXT, ("Transfer-Encoding", coding)];
        let request = stream.raw_head("POST", "", &headers) + "5\r\nworld\r\n0\r\n\r\n";
        assert_not_carried_out(&stream, request.as_bytes());
    }
}

fn chunked_that_is_not_last_is_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for codings in ["chunked, gzip", "chunked, identity"] {
        let headers = [POST_TEXT, ("Transfer-Encoding", codings)];
        let request = stream.raw_head("POST", "", &headers) + "5\r\nworld\r\n0\r\n\r\n";
        assert_not_carried_out(&stream, request.as_bytes());
    }
    let twice = [POST_TEXT, ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip")];
    let request = stream.raw_head("POST", "", &twice) + "5\r\nworld\r\n0\r\n\r\n";
    assert_not_carried_out(&stream, request.as_bytes());
}

fn malformed_chunk_sizes_are_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for size in [
        "zz",
        "-5",
        "+5",
        "0x5",
        "5 5",
        "",
        "g",
        "5h",
        "ffffffffffffffffffffffff",
        "10000000000000005",
        "\u{665}",
    ] {
        let headers = [POST_TEXT, ("Transfer-Encoding", "chunked")];
        let request = stream.raw_head("POST", "", &headers) + &format!("{size}\r\nworld\r\n0\r\n\r\n");
        assert_not_carried_out(&stream, request.as_bytes());
    }
}

fn a_chunk_without_its_line_end_is_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for chunks in
        ["5\r\nworldXX0\r\n\r\n", "5\r\nworld0\r\n\r\n", "3\r\nworld\r\n0\r\n\r\n", "9\r\nworld\r\n0\r\n\r\n"]
    {
        let headers = [POST_TEXT, ("Transfer-Encoding", "chunked")];
        let request = stream.raw_head("POST", "", &headers) + chunks;
        assert_not_carried_out(&stream, request.as_bytes());
    }
}

fn a_trailer_is_no_header(t: &Target) {
    let stream = t.text(&[]);
    let headers = [POST_TEXT, ("Transfer-Encoding", "chunked"), ("Trailer", "Stream-Closed")];
    let chunks = "5\r\nhello\r\n0\r\nStream-Closed: true\r\nStream-Seq: 9\r\nProducer-Id: p\r\n\r\n";
    let response = t.connect().send(stream.raw_head("POST", "", &headers)).send(chunks).response();
    response.status_in(&[204, 400]);
    stream.head().status(200).lacks("Stream-Closed");
    stream.post("x").header("Stream-Seq", "1").send().status(204);
}

fn chunk_extensions_are_ignored(t: &Target) {
    let stream = t.text(&[]);
    let headers = [POST_TEXT, ("Transfer-Encoding", "chunked")];
    let chunks = "5;a=b;c=\"d\"\r\nhello\r\n0;last\r\n\r\n";
    t.connect().send(stream.raw_head("POST", "", &headers)).send(chunks).response().status(204);
    stream.read("-1").body_is("hello");
}

/// Sends half a request, ends the connection, and shows that nothing came of it.
#[track_caller]
fn assert_dropped(stream: &Stream<'_>, half: &str) {
    stream.assert_unchanged_by(|| {
        let mut connection = stream.target.connect();
        connection.send(half).finish_sending();
        if let Some(response) = connection.try_response() {
            response.status(400);
        }
        drop(connection);
    });
    stream.target.assert_alive();
}

fn a_body_that_stops_is_not_appended(t: &Target) {
    let stream = t.text(&["hello"]);
    let headers = [POST_TEXT, ("Content-Length", "100")];
    for part in ["", "w", "world"] {
        assert_dropped(&stream, &(stream.raw_head("POST", "", &headers) + part));
    }
    let closing = [POST_TEXT, ("Content-Length", "100"), ("Stream-Closed", "true")];
    assert_dropped(&stream, &(stream.raw_head("POST", "", &closing) + "world"));
    let missing = t.missing("text/plain");
    t.connect().send(missing.raw_head("PUT", "", &headers)).send("world").finish_sending().try_response();
    missing.head().refused(404, "not-found");
}

fn a_chunked_body_that_stops_is_not_appended(t: &Target) {
    let stream = t.text(&["hello"]);
    let headers = [POST_TEXT, ("Transfer-Encoding", "chunked")];
    for part in ["", "5\r\n", "5\r\nwor", "5\r\nworld\r\n", "5\r\nworld\r\n0\r\n"] {
        assert_dropped(&stream, &(stream.raw_head("POST", "", &headers) + part));
    }
}

/// Sends a request with a request hidden in its body, and a GET of `victim` after it. The victim must still be
/// there, and whatever is answered after the first response must be the response to that GET.
#[track_caller]
fn assert_body_is_skipped(t: &Target, victim: &Stream<'_>, request: &str) -> Response {
    let mut connection: Connection = t.connect();
    let first = connection.send(request).response();
    let next = connection.try_send(victim.raw_head("GET", "offset=-1", &[]));
    if next.is_ok()
        && let Some(second) = connection.try_response()
    {
        second.status(200).body_is("victim");
    }
    victim.read("-1").status(200).body_is("victim");
    first
}

fn the_body_of_a_refused_request_is_not_the_next_request(t: &Target) {
    let victim = t.text(&["victim"]);
    let hidden = hidden_delete(&victim);
    let length = hidden.len().to_string();
    let missing = t.missing("text/plain");
    let closed = t.text(&[]);
    closed.close();
    let nul = t.named("a%00", "text/plain");
    for (stream, method, status) in [
        (&missing, "POST", 404),
        (&closed, "POST", 409),
        (&nul, "POST", 400),
        (&nul, "PUT", 400),
        (&missing, "PATCH", 405),
    ] {
        let headers = [POST_TEXT, ("Content-Length", length.as_str())];
        let request = stream.raw_head(method, "", &headers) + &hidden;
        assert_body_is_skipped(t, &victim, &request).status(status);
        let headers = [POST_TEXT, ("Transfer-Encoding", "chunked")];
        let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        let request = stream.raw_head(method, "", &headers) + &chunks;
        assert_body_is_skipped(t, &victim, &request).status(status);
    }
}

fn the_body_of_a_get_is_not_the_next_request(t: &Target) {
    let victim = t.text(&["victim"]);
    let stream = t.text(&["hello"]);
    let hidden = hidden_delete(&victim);
    let length = hidden.len().to_string();
    let request = stream.raw_head("GET", "offset=-1", &[("Content-Length", &length)]) + &hidden;
    let response = assert_body_is_skipped(t, &victim, &request);
    response.status_in(&[200, 400]);
    let head = stream.raw_head("HEAD", "", &[("Content-Length", &length)]) + &hidden;
    assert_body_is_skipped(t, &victim, &head).status_in(&[200, 400]);
}

fn the_body_of_a_delete_is_not_the_next_request(t: &Target) {
    let victim = t.text(&["victim"]);
    let stream = t.text(&["hello"]);
    let hidden = hidden_delete(&victim);
    let length = hidden.len().to_string();
    let request = stream.raw_head("DELETE", "", &[("Content-Length", &length)]) + &hidden;
    assert_body_is_skipped(t, &victim, &request).status_in(&[204, 400]);
}

fn what_follows_an_upgrade_that_is_not_taken_is_not_its_body(t: &Target) {
    let other = t.text(&["other"]);
    for protocol in ["websocket", "h2c"] {
        let stream = t.text(&[]);
        let headers = [POST_TEXT, ("Content-Length", "5"), ("Connection", "Upgrade"), ("Upgrade", protocol)];
        let request = stream.raw_head("POST", "", &headers) + "hello";
        let mut connection = t.connect();
        connection.send(request + &other.raw_head("GET", "offset=-1", &[]));
        connection.response().status(204);
        if let Some(second) = connection.try_response() {
            second.status(200).body_is("other");
        }
        stream.read("-1").body_is("hello");
    }
}

fn a_line_end_in_a_name_makes_no_second_header(t: &Target) {
    for name in ["a%0d%0aSet-Cookie:%20x=1", "a%0aLocation:%20/", "a%0d%0a%0d%0a%3Chtml%3E"] {
        let stream = t.named(name, "text/plain");
        let headers = [POST_TEXT, ("Content-Length", "0")];
        let response = t.connect().send(stream.raw_head("PUT", "", &headers)).response();
        response.malformed().lacks("Set-Cookie").lacks("Location");
    }
}

fn a_line_end_in_a_value_makes_no_second_header(t: &Target) {
    for value in ["60\rSet-Cookie: x=1", "60\nStream-Closed: true", "60\0"] {
        let stream = t.missing("text/plain");
        let headers = [POST_TEXT, ("Content-Length", "0"), ("Stream-TTL", value)];
        let response = t.connect().send(stream.raw_head("PUT", "", &headers)).finish_sending().try_response();
        if let Some(response) = response {
            // A lone line feed may end a line (RFC 9112, 2.2); then there are two headers, and both were sent.
            response.status_in(if value.contains('\n') { &[201, 400] } else { &[400] }).lacks("Set-Cookie");
        }
    }
    t.assert_alive();
}

fn a_content_type_comes_back_on_one_line(t: &Target) {
    let stream = t.created("text/plain; a=\"b, c; d: e\"", &[], &["hello"]);
    for response in [stream.head(), stream.read("-1"), stream.put().send()] {
        response.status(200).has("Content-Type", "text/plain; a=\"b, c; d: e\"");
    }
}
