//! Conditions on writes, and bodies that aren't what they seem: a write that HTTP gives another meaning does nothing.

use serde_json::json;

use super::append::{assert_malformed, assert_refused};
use crate::case::{at_once, cases};
use crate::client::{Stream, Target};
use crate::subscription::Subscription;

cases! {
    a_write_with_the_current_tag_succeeds: "RFC 9110, 13.1.1",
    a_write_with_another_tag_is_412_and_does_nothing: "RFC 9110, 13.2.1",
    every_read_that_reaches_the_tail_names_the_state: "docs/adr/0014-conditions-on-writes.md",
    a_tag_of_a_part_names_no_state: "docs/adr/0014-conditions-on-writes.md",
    a_star_asks_for_a_stream: "RFC 9110, 13.1.1",
    a_creation_with_if_none_match_star_is_the_first: "RFC 9110, 13.1.2",
    one_of_many_creations_with_if_none_match_star_wins: "RFC 9110, 13.1.2",
    a_creation_with_if_match_needs_the_stream: "RFC 9110, 13.1.1",
    none_of_the_tags_may_match: "RFC 9110, 13.1.2",
    weak_tags_never_match_strongly: "RFC 9110, 8.8.3.2",
    both_conditions_must_hold: "RFC 9110, 13.2.2",
    one_of_many_writers_with_one_tag_wins: "RFC 9110, 13.1.1: lost updates",
    what_is_no_list_of_tags_is_400: "RFC 9110, 13.1",
    other_refusals_come_first: "RFC 9110, 13.2.1",
    a_failed_condition_uses_up_no_producer_sequence: "section 5.2.1",
    a_repetition_of_a_producer_has_met_its_condition: "section 5.2.1",
    a_failed_condition_closes_nothing: "section 5.3",
    a_tag_of_an_earlier_stream_is_another: "docs/adr/0002-offsets-with-incarnations.md",
    subscriptions_have_no_tags: "RFC 9110, 13.1",
    an_encoded_body_is_415: "RFC 9110, 8.4, 15.5.16",
    identity_is_no_encoding: "RFC 9110, 12.5.3",
    a_part_is_400: "RFC 9110, 14.5",
    an_expectation_is_met_or_refused: "RFC 9110, 10.1.1",
    dates_and_ranges_of_writes_are_ignored: "RFC 9110, 13.1.4, 13.1.5: no modification date",
}

/// The tag of the whole stream.
fn tag(stream: &Stream<'_>) -> String {
    stream.read("-1").etag()
}

fn a_write_with_the_current_tag_succeeds(t: &Target) {
    for (stream, message) in [(t.text(&["hello"]), "!"), (t.json(&["[1]"]), "2")] {
        for _ in 0..3 {
            stream.post(message).header("If-Match", tag(&stream)).send().status(204);
        }
        stream.post_close().header("If-Match", tag(&stream)).send().status(204);
        stream.request("DELETE").header("If-Match", tag(&stream)).send().status(204);
        stream.read("-1").status(404);
    }
}

fn a_write_with_another_tag_is_412_and_does_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = tag(&stream);
    stream.append("world");
    for stale in [&*old, "\"x\"", "\"x\", \"y\"", "\"\"", "\"0000000000000000:0:10:tail\""] {
        for request in [stream.post("!"), stream.post_close(), stream.request("DELETE"), stream.put()] {
            let response =
                assert_refused(&stream, request.header("If-Match", stale), 412, "precondition-failed");
            response.has("Stream-Next-Offset", &stream.tail()).has("Cache-Control", "no-store");
        }
    }
    stream.read("-1").body_is("helloworld");
}

fn every_read_that_reaches_the_tail_names_the_state(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    for offset in ["-1".to_owned(), stream.offset_at(5), stream.tail()] {
        let tag = stream.read(&offset).etag();
        stream.put().header("If-Match", tag).send().status(200);
    }
}

fn a_tag_of_a_part_names_no_state(t: &Target) {
    let stream = t.bytes();
    stream.append(vec![7; t.facts.chunk_size]);
    stream.append("more");
    let response = stream.read("-1");
    response.lacks("Stream-Up-To-Date");
    let request = stream.post("x").header("If-Match", response.etag());
    assert_refused(&stream, request, 412, "precondition-failed");
}

fn a_star_asks_for_a_stream(t: &Target) {
    let stream = t.missing("text/plain");
    stream
        .put()
        .header("If-Match", "*")
        .send()
        .refused(412, "precondition-failed")
        .lacks("Stream-Next-Offset");
    stream.post("x").header("If-Match", "*").send().refused(404, "not-found");
    stream.request("DELETE").header("If-Match", "*").send().refused(404, "not-found");
    stream.read("-1").status(404);
    stream.put().send().status(201);
    stream.put().header("If-Match", "*").send().status(200);
    stream.post("x").header("If-Match", "*").send().status(204);
    stream.request("DELETE").header("If-Match", "*").send().status(204);
}

fn a_creation_with_if_none_match_star_is_the_first(t: &Target) {
    let stream = t.missing("text/plain");
    stream.put().header("If-None-Match", "*").send().status(201);
    stream.append("hello");
    for value in ["*", " * "] {
        assert_refused(&stream, stream.put().header("If-None-Match", value), 412, "precondition-failed");
    }
    for request in [stream.post("x"), stream.post_close(), stream.request("DELETE")] {
        assert_refused(&stream, request.header("If-None-Match", "*"), 412, "precondition-failed");
    }
}

fn one_of_many_creations_with_if_none_match_star_wins(t: &Target) {
    let stream = t.missing("text/plain");
    let statuses = at_once(8, |_| stream.put().header("If-None-Match", "*").send().status);
    let count = |status| statuses.iter().filter(|got| **got == status).count();
    assert_eq!((count(201), count(412)), (1, 7), "{statuses:?}");
}

fn a_creation_with_if_match_needs_the_stream(t: &Target) {
    let stream = t.missing("text/plain");
    for value in ["\"x\"", "\"0000000000000001:0:0:tail\"", "*"] {
        stream.put().body("first").header("If-Match", value).send().refused(412, "precondition-failed");
        stream.head().status(404);
    }
}

fn none_of_the_tags_may_match(t: &Target) {
    let stream = t.text(&["hello"]);
    let now = tag(&stream);
    for value in [now.clone(), format!("W/{now}"), format!("\"x\", {now}"), format!(",{now} , ")] {
        assert_refused(&stream, stream.post("x").header("If-None-Match", value), 412, "precondition-failed");
    }
    stream.post("!").header("If-None-Match", "\"x\"").send().status(204);
    stream.post("!").header("If-None-Match", now).send().status(204);
    let missing = t.missing("text/plain");
    missing.put().header("If-None-Match", "\"x\"").send().status(201);
}

fn weak_tags_never_match_strongly(t: &Target) {
    let stream = t.text(&["hello"]);
    let weak = format!("W/{}", tag(&stream));
    assert_refused(&stream, stream.post("x").header("If-Match", weak), 412, "precondition-failed");
}

fn both_conditions_must_hold(t: &Target) {
    let stream = t.text(&["hello"]);
    let now = tag(&stream);
    let request = stream.post("x").header("If-Match", &now).header("If-None-Match", "*");
    assert_refused(&stream, request, 412, "precondition-failed");
    let request = stream.post("x").header("If-Match", "\"x\"").header("If-None-Match", "\"x\"");
    assert_refused(&stream, request, 412, "precondition-failed");
    stream.post("x").header("If-Match", &now).header("If-None-Match", "\"x\"").send().status(204);
}

fn one_of_many_writers_with_one_tag_wins(t: &Target) {
    let stream = t.text(&["hello"]);
    let now = tag(&stream);
    let statuses = at_once(8, |_| stream.post("!").header("If-Match", &now).send().status);
    let count = |status| statuses.iter().filter(|got| **got == status).count();
    assert_eq!((count(204), count(412)), (1, 7), "{statuses:?}");
    stream.read("-1").body_is("hello!");
}

fn what_is_no_list_of_tags_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    let now = tag(&stream);
    let unquoted = now.trim_matches('"');
    let values =
        [unquoted, "\"x", "x\"", "*, \"x\"", "\"x\", *", "**", "w/\"x\"", "\"x\" \"y\"", "W/", "W/x"];
    for name in ["If-Match", "If-None-Match"] {
        for value in values {
            for request in [stream.post("x"), stream.post_close(), stream.request("DELETE"), stream.put()] {
                assert_refused(&stream, request.header(name, value), 400, "condition-malformed");
            }
        }
        assert_malformed(&stream, stream.post("x").header(name, "*").header(name, "*"));
        assert_malformed(&stream, stream.post("x").header(name, &now).header(name, "*"));
        t.missing("text/plain").put().header(name, unquoted).send().refused(400, "condition-malformed");
    }
    let long = format!("{}{now}", "\"x\", ".repeat(500));
    stream.post("!").header("If-Match", long).send().status(204);
    let now = tag(&stream);
    stream.post("!").header("If-Match", "\"x\"").header("If-Match", now).send().status(204);
}

fn other_refusals_come_first(t: &Target) {
    let stream = t.text(&["hello"]);
    let stale = "\"x\"";
    assert_refused(
        &stream,
        stream.post("x").content_type("text/html").header("If-Match", stale),
        409,
        "content-type-mismatch",
    );
    assert_refused(
        &stream,
        stream.put().content_type("text/html").header("If-Match", stale),
        409,
        "config-mismatch",
    );
    assert_refused(
        &stream,
        stream.post("x").producer("p", 0, 3).header("If-Match", stale),
        409,
        "producer-gap",
    );
    stream.close();
    assert_refused(&stream, stream.post("x").header("If-Match", stale), 409, "stream-closed");
}

fn a_failed_condition_uses_up_no_producer_sequence(t: &Target) {
    let stream = t.text(&["hello"]);
    let request = stream.post("x").producer("p", 0, 0).header("If-Match", "\"x\"");
    assert_refused(&stream, request, 412, "precondition-failed");
    stream.post("x").producer("p", 0, 0).header("If-Match", tag(&stream)).send().status(200);
}

fn a_repetition_of_a_producer_has_met_its_condition(t: &Target) {
    let stream = t.text(&["hello"]);
    let now = tag(&stream);
    stream.post("x").producer("p", 0, 0).header("If-Match", &now).send().status(200);
    stream.post("x").producer("p", 0, 0).header("If-Match", &now).send().status(204);
    let now = tag(&stream);
    stream.post("y").closing().producer("p", 0, 1).header("If-Match", &now).send().status(200);
    stream.post("y").closing().producer("p", 0, 1).header("If-Match", &now).send().status(204);
    stream.read("-1").body_is("helloxy");
}

fn a_failed_condition_closes_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    let open = tag(&stream);
    assert_refused(
        &stream,
        stream.post("x").closing().header("If-Match", "\"x\""),
        412,
        "precondition-failed",
    );
    stream.post_close().header("If-Match", &open).send().status(204);
    // The stream is closed by now, which is another state.
    assert_refused(&stream, stream.post_close().header("If-Match", &open), 412, "precondition-failed");
    stream.post_close().header("If-Match", tag(&stream)).send().status(204);
}

fn a_tag_of_an_earlier_stream_is_another(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = tag(&stream);
    stream.delete().status(204);
    stream.put().body("hello").send().status(201);
    assert_refused(&stream, stream.request("DELETE").header("If-Match", old), 412, "precondition-failed");
}

fn subscriptions_have_no_tags(t: &Target) {
    let sub = Subscription::new(t);
    let body = sub.webhook_body("https://worker.example/hooks");
    let put = || sub.at("").put().body(body.to_string());
    put().header("If-Match", "*").send().refused(412, "precondition-failed");
    sub.at("").get("").status(404);
    put().header("If-None-Match", "*").send().status(201);
    put().header("If-None-Match", "*").send().refused(412, "precondition-failed");
    put().header("If-Match", "\"x\"").send().refused(412, "precondition-failed");
    put().header("If-Match", "*").send().status(200);
    let link = || sub.at("/streams").post(json!({"streams": ["a"]}).to_string());
    link().header("If-Match", "\"x\"").send().refused(412, "precondition-failed");
    link().header("If-Match", "x").send().refused(400, "condition-malformed");
    assert!(sub.link("a").is_none(), "{}", sub.get());
    for (name, value) in [("If-Match", "\"x\""), ("If-None-Match", "*")] {
        sub.at("").request("DELETE").header(name, value).send().refused(412, "precondition-failed");
    }
    sub.at("").get("").status(200);
    sub.at("").get_with("", &[("If-Match", "x"), ("Content-Encoding", "gzip")]).status(200);
    sub.at("").request("DELETE").header("If-Match", "*").send().status(204);
    sub.at("").request("DELETE").header("If-None-Match", "*").send().status(204);
    sub.at("").request("PATCH").header("If-None-Match", "*").send().refused(405, "method-not-allowed");
}

/// Codings of a body that isn't what it says it is.
const ENCODED: [&str; 8] =
    ["gzip", "br", "zstd", "GZIP", "x-gzip", "identity, gzip", "gzip, identity", "nonsense"];

fn an_encoded_body_is_415(t: &Target) {
    let stream = t.text(&["hello"]);
    for coding in ENCODED {
        for request in [stream.post("x"), stream.post("x").producer("p", 0, 0), stream.put()] {
            let request = request.header("Content-Encoding", coding);
            let response = assert_refused(&stream, request, 415, "content-coding-unsupported");
            response.has("Accept-Encoding", "identity");
        }
        let missing = t.missing("text/plain");
        missing
            .put()
            .body("x")
            .header("Content-Encoding", coding)
            .send()
            .refused(415, "content-coding-unsupported");
        missing.head().status(404);
    }
    let twice = stream.post("x").header("Content-Encoding", "identity").header("Content-Encoding", "gzip");
    assert_refused(&stream, twice, 415, "content-coding-unsupported");
    let sub = Subscription::new(t);
    let body = sub.webhook_body("https://worker.example/hooks").to_string();
    sub.at("")
        .put()
        .body(body)
        .header("Content-Encoding", "gzip")
        .send()
        .refused(415, "content-coding-unsupported");
}

fn identity_is_no_encoding(t: &Target) {
    let stream = t.text(&[]);
    for coding in ["identity", "Identity", "identity, identity", ""] {
        stream.post("x").header("Content-Encoding", coding).send().status(204);
    }
    stream.read("-1").body_is("xxxx");
}

fn a_part_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for range in ["bytes 0-0/5", "bytes 0-0/*", "items 1-2", "", "nonsense"] {
        for request in [stream.post("x"), stream.put()] {
            let request = request.header("Content-Range", range);
            assert_refused(&stream, request, 400, "content-range-unsupported");
        }
        let missing = t.missing("text/plain");
        missing
            .put()
            .body("x")
            .header("Content-Range", range)
            .send()
            .refused(400, "content-range-unsupported");
        missing.head().status(404);
    }
}

fn an_expectation_is_met_or_refused(t: &Target) {
    let stream = t.text(&["hello"]);
    for expectation in ["nonsense", "100-continue, nonsense", "200-ok"] {
        for request in [stream.post("x"), stream.put()] {
            assert_refused(&stream, request.header("Expect", expectation), 417, "expectation-unsupported");
        }
    }
}

fn dates_and_ranges_of_writes_are_ignored(t: &Target) {
    let stream = t.text(&[]);
    for (name, value) in [
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("If-Modified-Since", "Fri, 31 Dec 2100 00:00:00 GMT"),
        ("If-Range", "\"x\""),
        ("Range", "bytes=0-0"),
    ] {
        stream.post("x").header(name, value).send().status(204);
    }
    stream.read("-1").body_is("xxxx");
}
