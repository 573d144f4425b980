//! Refusals: one shape for all of them, one type for each reason, and nothing that is taken for the stream.

use headwater_testkit::Response;
use serde_json::Value;

use crate::case::cases;
use crate::client::Target;

cases! {
    a_missing_stream_is_not_found: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_soft_deleted_stream_is_gone: "docs/ARCHITECTURE.md, extensions: problem documents",
    another_incarnation_is_gone: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_closed_stream_is_stream_closed: "docs/ARCHITECTURE.md, extensions: problem documents",
    another_type_is_content_type_mismatch: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_regression_is_stream_seq_regression: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_gap_is_producer_gap: "docs/ARCHITECTURE.md, extensions: problem documents",
    another_configuration_is_config_mismatch: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_stale_epoch_is_stale_epoch: "docs/ARCHITECTURE.md, extensions: problem documents",
    everything_malformed_is_400: "docs/ARCHITECTURE.md, extensions: problem documents",
    a_body_over_the_limit_is_body_too_large: "docs/ARCHITECTURE.md, extensions: problem documents",
    another_method_is_405: "RFC 9110, 15.5.6",
    refusals_of_head_have_no_body: "docs/ARCHITECTURE.md, extensions: problem documents",
    refusals_tell_nothing_of_the_stream: "docs/ARCHITECTURE.md, extensions: problem documents",
    refusals_do_not_repeat_hostile_input: "section 12.3",
    refusals_have_the_length_they_say: "RFC 9112, 6.3",
    refusals_are_the_same_whatever_is_accepted: "docs/ARCHITECTURE.md, extensions: problem documents",
}

/// The members of the problem, which has these and no surprise among them.
#[track_caller]
fn problem(response: &Response, status: u16, code: &str) -> Value {
    let problem = response.refused(status, code).json();
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{member} is no string: {response}");
    }
    assert!(problem["status"].is_u64(), "status is no number: {response}");
    problem
}

fn a_missing_stream_is_not_found(t: &Target) {
    problem(&t.missing("text/plain").read("-1"), 404, "not-found");
}

fn a_soft_deleted_stream_is_gone(t: &Target) {
    let stream = t.text(&["hello"]);
    t.missing("text/plain").put().header("Stream-Forked-From", &stream.path).send().status(201);
    stream.delete().status(204);
    problem(&stream.read("-1"), 410, "gone");
}

fn another_incarnation_is_gone(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.tail();
    stream.delete().status(204);
    stream.put().send().status(201);
    problem(&stream.read(&old), 410, "offset-gone");
}

fn a_closed_stream_is_stream_closed(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let response = stream.post("more").send();
    problem(&response, 409, "stream-closed");
    response.has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
}

fn another_type_is_content_type_mismatch(t: &Target) {
    problem(&t.text(&[]).post("x").content_type("text/html").send(), 409, "content-type-mismatch");
}

fn a_regression_is_stream_seq_regression(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").header("Stream-Seq", "b").send().status(204);
    problem(&stream.post("x").header("Stream-Seq", "a").send(), 409, "stream-seq-regression");
}

fn a_gap_is_producer_gap(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").producer("p", 0, 0).send().status(200);
    let response = stream.post("x").producer("p", 0, 5).send();
    problem(&response, 409, "producer-gap");
    response.has("Producer-Expected-Seq", "1").has("Producer-Received-Seq", "5");
}

fn another_configuration_is_config_mismatch(t: &Target) {
    problem(&t.text(&[]).put().content_type("text/html").send(), 409, "config-mismatch");
}

fn a_stale_epoch_is_stale_epoch(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").producer("p", 2, 0).send().status(200);
    let response = stream.post("x").producer("p", 1, 0).send();
    problem(&response, 403, "stale-epoch");
    response.has("Producer-Epoch", "2");
}

fn everything_malformed_is_400(t: &Target) {
    let stream = t.json(&["1"]);
    let responses = [
        stream.read("nonsense"),
        stream.get("live=sse"),
        stream.get("offset=-1&live=nonsense"),
        stream.post("").send(),
        stream.post("nope").send(),
        stream.post("1").without_content_type().send(),
        stream.post("1").header("Producer-Id", "p").send(),
        stream.post("1").header("Stream-Seq", "").send(),
        t.missing("text/plain").put().header("Stream-TTL", "x").send(),
        t.missing("text/plain").put().header("Stream-Expires-At", "x").send(),
        t.missing("text/plain").put().header("Stream-Fork-Offset", "x").send(),
        t.named("a/../b%00", "text/plain").get(""),
    ];
    for response in responses {
        response.malformed();
    }
}

fn a_body_over_the_limit_is_body_too_large(t: &Target) {
    let stream = t.text(&["hello"]);
    let length = (t.facts.body_max + 1).to_string();
    let headers = [("Content-Type", "text/plain"), ("Content-Length", length.as_str())];
    let mut connection = t.connect();
    // Not one byte of the body: the length alone decides.
    let response = connection.send(stream.raw_head("POST", "", &headers)).response();
    problem(&response, 413, "body-too-large");
    stream.read("-1").body_is("hello");
}

fn another_method_is_405(t: &Target) {
    let response = t.text(&[]).request("PATCH").body("x").send();
    response.problem(405);
    response.expect_header("Allow");
}

fn refusals_of_head_have_no_body(t: &Target) {
    let missing = t.missing("text/plain");
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    // A body would be read as the beginning of the next response.
    for _ in 0..3 {
        connection.send(missing.raw_head("HEAD", "", &[]));
        connection.response().refused(404, "not-found").has("Content-Type", "application/problem+json");
        connection.send(stream.raw_head("GET", "offset=-1", &[]));
        connection.response().status(200).body_is("hello");
    }
}

fn refusals_tell_nothing_of_the_stream(t: &Target) {
    let stream = t.text(&["hello"]);
    for response in [stream.read("nonsense"), stream.post("x").content_type("text/html").send()] {
        response.lacks("Stream-Up-To-Date").lacks("Stream-Cursor").lacks("ETag").lacks("Stream-Closed");
    }
}

fn refusals_do_not_repeat_hostile_input(t: &Target) {
    let stream = t.text(&["hello"]);
    let hostile = "<script>alert(1)</script>";
    let responses = [
        stream.read(hostile),
        stream.get("offset=-1&live=%3Cscript%3Ealert(1)%3C/script%3E"),
        t.missing("text/plain").put().header("Stream-TTL", hostile).send(),
        t.missing("text/plain").put().header("Stream-TTL", "\"},{\"x\":\"").send(),
        stream.post("x").producer("p", "\\\"\u{202e}", 0).send(),
    ];
    for response in responses {
        response.malformed().has("X-Content-Type-Options", "nosniff");
    }
}

fn refusals_have_the_length_they_say(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut connection = t.connect();
    for _ in 0..5 {
        connection.send(stream.raw_head("GET", "offset=nonsense", &[]));
        let response = connection.response();
        response.malformed();
        let length = response.body.len().to_string();
        response.has("Content-Length", &length);
    }
}

fn refusals_are_the_same_whatever_is_accepted(t: &Target) {
    let stream = t.text(&["hello"]);
    for accepted in ["text/html", "application/json", "text/event-stream", "*/*;q=0", "nonsense"] {
        stream.get_with("offset=nonsense", &[("Accept", accepted)]).malformed();
        stream.get_with("offset=-1", &[("Accept", accepted)]).status(200).body_is("hello");
    }
}
