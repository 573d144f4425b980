//! What browsers need: CORS on every response, preflights, and the security headers of section 12.7.

use headwater_testkit::Response;

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::sse::Events;

cases! {
    every_answer_allows_every_origin: "Fetch Standard, CORS protocol",
    every_answer_exposes_our_headers: "Fetch Standard, CORS protocol",
    every_answer_forbids_sniffing: "section 12.7",
    every_answer_may_be_embedded: "section 12.7",
    every_answer_may_be_timed: "Resource Timing, Timing-Allow-Origin",
    every_answer_has_one_cache_control: "docs/ARCHITECTURE.md, invariants: every response has a Cache-Control",
    reads_tell_their_server_timing: "docs/ARCHITECTURE.md, extensions: Server-Timing",
    no_answer_asks_for_credentials: "Fetch Standard, CORS protocol: credentials never go with *",
    a_preflight_is_204_without_a_body: "Fetch Standard, CORS protocol",
    a_preflight_allows_our_methods: "Fetch Standard, CORS protocol",
    a_preflight_allows_our_headers_by_name: "Fetch Standard, CORS protocol: * does not cover Authorization",
    a_preflight_allows_headers_of_others: "Fetch Standard, CORS-preflight fetch",
    a_preflight_is_kept_for_a_while: "Fetch Standard, CORS protocol",
    a_preflight_answers_before_there_is_a_stream: "Fetch Standard, CORS protocol: preflights come first",
    a_preflight_of_a_refused_request_succeeds: "Fetch Standard, CORS protocol: preflights come first",
    an_options_without_an_origin_is_answered_too: "RFC 9110, 9.3.7",
}

const EXPOSED: &[&str] = &[
    "Stream-Next-Offset",
    "Stream-Cursor",
    "Stream-Up-To-Date",
    "Stream-Closed",
    "Stream-TTL",
    "Stream-Expires-At",
    "Stream-SSE-Data-Encoding",
    "Producer-Epoch",
    "Producer-Seq",
    "Producer-Expected-Seq",
    "Producer-Received-Seq",
    "ETag",
    "Location",
    "Age",
    "X-Cache",
    "X-Cache-Hits",
    "Cache-Status",
    "Server-Timing",
    "Retry-After",
];

const ALLOWED: &[&str] = &[
    "If-None-Match",
    "Content-Type",
    "Authorization",
    "Last-Event-ID",
    "Stream-TTL",
    "Stream-Expires-At",
    "Stream-Closed",
    "Stream-Seq",
    "Stream-Visibility",
    "Stream-Forked-From",
    "Stream-Fork-Offset",
    "Stream-Fork-Sub-Offset",
    "Producer-Id",
    "Producer-Epoch",
    "Producer-Seq",
];

/// A response of every kind.
#[track_caller]
fn one_of_each(t: &Target) -> Vec<Response> {
    let stream = t.missing("text/plain");
    let created = stream.put().send();
    let repeated = stream.put().send();
    let appended = stream.post("hello").send();
    let produced = stream.post("hello").producer("p", 0, 0).send();
    let etag = stream.read("-1").etag();
    let tail = stream.tail();
    let fork = t.missing("text/plain");
    let forked = fork.put().header("Stream-Forked-From", &stream.path).send();
    let sse = Events::open(&stream, "-1").head;
    let mut responses = vec![
        created,
        repeated,
        appended,
        produced,
        forked,
        sse,
        stream.head(),
        stream.get(""),
        stream.read("-1"),
        stream.read("now"),
        stream.read(&tail),
        stream.get_with("offset=-1", &[("If-None-Match", &etag)]),
        stream.poll("-1"),
        stream.poll(&tail),
        stream.request("OPTIONS").send(),
        stream.read("nonsense"),
        stream.post("").send(),
        stream.post("x").content_type("text/html").send(),
        stream.post("x").producer("p", 0, 9).send(),
        stream.put().content_type("text/html").send(),
        stream.request("PATCH").body("x").send(),
        t.missing("text/plain").read("-1"),
        t.missing("text/plain").head(),
        t.named("a%00", "text/plain").read("-1"),
        t.named("__ds/x", "text/plain").read("-1"),
        t.at("/elsewhere").get(""),
        t.at("/health").get(""),
    ];
    stream.post("y").producer("p", 1, 0).send().status(200);
    responses.push(stream.post("x").producer("p", 0, 0).send());
    responses.push(stream.post("z").closing().send());
    responses.push(stream.post("x").send());
    responses.push(stream.read(&stream.tail()));
    responses.push(stream.poll(&stream.tail()));
    responses.push(stream.delete());
    responses.push(stream.read("-1"));
    responses.push(fork.delete());
    let statuses: Vec<u16> = responses.iter().map(|response| response.status).collect();
    for status in [200, 201, 204, 304, 400, 403, 404, 405, 409, 410] {
        assert!(statuses.contains(&status), "no response of status {status} among {statuses:?}");
    }
    responses
}

fn every_answer_allows_every_origin(t: &Target) {
    for response in one_of_each(t) {
        response.has("Access-Control-Allow-Origin", "*");
    }
}

fn every_answer_exposes_our_headers(t: &Target) {
    for response in one_of_each(t) {
        let exposed = response.list("Access-Control-Expose-Headers");
        for name in EXPOSED {
            if !exposed.contains(&name.to_ascii_lowercase()) {
                response.fail(format_args!("{name} is not exposed"));
            }
        }
    }
}

fn every_answer_forbids_sniffing(t: &Target) {
    for response in one_of_each(t) {
        response.has("X-Content-Type-Options", "nosniff");
    }
}

fn every_answer_may_be_embedded(t: &Target) {
    for response in one_of_each(t) {
        response.has("Cross-Origin-Resource-Policy", "cross-origin");
    }
}

fn every_answer_may_be_timed(t: &Target) {
    for response in one_of_each(t) {
        response.has("Timing-Allow-Origin", "*");
    }
}

fn every_answer_has_one_cache_control(t: &Target) {
    for response in one_of_each(t) {
        if response.expect_header("Cache-Control").is_empty() {
            response.fail("an empty Cache-Control");
        }
    }
}

fn reads_tell_their_server_timing(t: &Target) {
    let stream = t.text(&["hello"]);
    let responses = [
        stream.read("-1"),
        stream.read("now"),
        stream.poll("-1"),
        stream.poll(&stream.tail()),
        stream.get(""),
    ];
    for response in responses {
        if response.expect_header("Server-Timing").is_empty() {
            response.fail("an empty Server-Timing");
        }
    }
}

fn no_answer_asks_for_credentials(t: &Target) {
    for response in one_of_each(t) {
        response.lacks("Access-Control-Allow-Credentials").lacks("Set-Cookie");
    }
}

/// Asks as a browser does before a request with this method and these headers.
#[track_caller]
fn preflight(stream: &Stream<'_>, method: &str, headers: &str) -> Response {
    let origin = [("Origin", "https://viewer.example"), ("Access-Control-Request-Method", method)];
    let request = stream.request("OPTIONS").headers(&origin);
    request.header("Access-Control-Request-Headers", headers).send()
}

fn a_preflight_is_204_without_a_body(t: &Target) {
    let response = preflight(&t.text(&[]), "POST", "content-type,producer-id");
    response.status(204).body_is("").has("Cache-Control", "no-store").has("Access-Control-Allow-Origin", "*");
}

fn a_preflight_allows_our_methods(t: &Target) {
    let allowed = preflight(&t.text(&[]), "DELETE", "").list("Access-Control-Allow-Methods");
    for method in ["get", "head", "put", "post", "delete", "options"] {
        assert!(allowed.iter().any(|name| name == method), "{method} is not among {allowed:?}");
    }
}

fn a_preflight_allows_our_headers_by_name(t: &Target) {
    // A star would not cover Authorization.
    let response = preflight(&t.text(&[]), "PUT", "authorization");
    let allowed = response.list("Access-Control-Allow-Headers");
    for name in ALLOWED {
        if !allowed.contains(&name.to_ascii_lowercase()) {
            response.fail(format_args!("{name} is not allowed"));
        }
    }
}

fn a_preflight_allows_headers_of_others(t: &Target) {
    let stream = t.text(&[]);
    let allowed = preflight(&stream, "PUT", "traceparent, X-Tenant-Id").list("Access-Control-Allow-Headers");
    for name in ["traceparent", "x-tenant-id", "producer-id"] {
        assert!(allowed.iter().any(|allowed| allowed == name), "{name} is not among {allowed:?}");
    }
    for odd in ["x y", "a:b, ok", ", ,", "x\"", &"x,".repeat(2_000), &"x".repeat(6_000)] {
        let response = preflight(&stream, "PUT", odd);
        let list = response.status(204).header("Access-Control-Allow-Headers").expect("headers");
        assert!(list.len() < 4_096 && !list.contains("x y") && !list.contains(':'), "{response}");
    }
}

fn a_preflight_is_kept_for_a_while(t: &Target) {
    let response = preflight(&t.text(&[]), "POST", "content-type");
    match response.expect_header("Access-Control-Max-Age").parse::<u64>() {
        Ok(seconds) if seconds > 0 => {}
        _ => response.fail("expected a number of seconds"),
    }
}

fn a_preflight_answers_before_there_is_a_stream(t: &Target) {
    let stream = t.missing("text/plain");
    preflight(&stream, "PUT", "content-type").status(204);
    stream.head().refused(404, "not-found");
}

fn a_preflight_of_a_refused_request_succeeds(t: &Target) {
    let stream = t.text(&[]);
    let fork = t.missing("text/plain");
    fork.put().header("Stream-Forked-From", &stream.path).send().status(201);
    stream.delete().status(204);
    preflight(&stream, "GET", "").status(204);
}

fn an_options_without_an_origin_is_answered_too(t: &Target) {
    let response = t.text(&[]).request("OPTIONS").send();
    response.status(204).has("Access-Control-Allow-Origin", "*").has("Cache-Control", "no-store");
    response.expect_header("Access-Control-Allow-Methods");
}
