//! The `Cache-Control` of every class of response: each row of the table in `docs/ARCHITECTURE.md`.

use std::time::Duration;

use headwater_testkit::Response;

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::offset::{self, BEGINNING};
use crate::sse::Events;

pub(super) const FINAL: &str = "public, max-age=60, stale-while-revalidate=300";
pub(super) const MINUTE: &str = "public, max-age=60";
pub(super) const SECOND: &str = "public, max-age=1";
pub(super) const NO_STORE: &str = "no-store";

cases! {
    full_chunk_at_an_offset_with_incarnation_is_public_60_revalidate_300: "docs/ARCHITECTURE.md, Cache-Control",
    full_chunk_from_minus_one_is_public_60: "docs/ARCHITECTURE.md, Cache-Control: delete and recreate must not replay for long",
    full_chunk_from_the_zero_offset_is_public_60: "docs/ARCHITECTURE.md, Cache-Control: the zero offset names no incarnation",
    data_that_reaches_the_open_tail_is_public_max_age_1: "docs/ARCHITECTURE.md, Cache-Control",
    a_full_chunk_that_ends_at_the_open_tail_is_public_max_age_1: "docs/ARCHITECTURE.md, Cache-Control: before the tail",
    nothing_new_at_the_open_tail_is_public_max_age_1: "docs/ARCHITECTURE.md, Cache-Control: an append stays visible",
    an_empty_stream_is_public_max_age_1: "docs/ARCHITECTURE.md, Cache-Control",
    data_up_to_the_tail_of_a_closed_stream_is_public_60_revalidate_300: "docs/ARCHITECTURE.md, Cache-Control",
    a_closed_stream_from_its_beginning_is_public_60: "docs/ARCHITECTURE.md, Cache-Control: not stale-while-revalidate",
    nothing_at_the_tail_of_a_closed_stream_is_public_60_revalidate_300: "docs/ARCHITECTURE.md, Cache-Control",
    a_full_chunk_before_the_tail_of_a_closed_stream_is_a_full_chunk: "docs/ARCHITECTURE.md, Cache-Control",
    a_closed_stream_without_content_is_final: "docs/ARCHITECTURE.md, Cache-Control",
    offset_now_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    offset_now_of_a_closed_stream_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    head_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    put_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    post_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    delete_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    options_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    every_refusal_of_a_read_is_no_store: "docs/ARCHITECTURE.md, Cache-Control: 404 and 410 are cached by default",
    read_without_offset_is_no_store: "docs/ARCHITECTURE.md, Cache-Control: it shares its key with HEAD",
    read_without_offset_is_no_store_on_a_closed_stream: "docs/ARCHITECTURE.md, Cache-Control",
    revalidation_without_offset_is_no_store: "docs/ARCHITECTURE.md, Cache-Control",
    long_poll_200_is_public_max_age_5: "docs/ARCHITECTURE.md, Cache-Control",
    long_poll_200_after_waiting_is_public_max_age_5: "docs/ARCHITECTURE.md, Cache-Control",
    long_poll_204_of_an_open_stream_is_public_max_age_1: "docs/ARCHITECTURE.md, Cache-Control",
    long_poll_204_of_a_closed_stream_is_public_max_age_60: "docs/ARCHITECTURE.md, Cache-Control",
    long_poll_at_offset_now_is_no_store: "docs/ARCHITECTURE.md, Cache-Control: now means another place each time",
    sse_is_no_cache_no_transform_and_not_buffered: "docs/ARCHITECTURE.md, Cache-Control",
    revalidation_says_what_the_200_would_have_said: "docs/ARCHITECTURE.md, Cache-Control",
    forks_keep_the_rows_of_the_table: "docs/ARCHITECTURE.md, Cache-Control",
    inherited_offsets_of_a_fork_are_kept_as_its_beginning_is: "docs/adr/0002-offsets-with-incarnations.md: forks",
    reads_carry_no_vary_search: "docs/ARCHITECTURE.md, extensions: No-Vary-Search",
    nothing_varies_on_the_origin: "RFC 9110, 12.5.5: one response for every site",
}

/// A stream of one full chunk and some bytes after it.
pub(super) fn longer_than_a_chunk<'t>(t: &'t Target, headers: &[(&str, &str)]) -> Stream<'t> {
    let stream = t.created("application/octet-stream", headers, &[]);
    stream.append(vec![b'a'; t.facts.chunk_size]);
    stream.append("after the chunk");
    stream
}

#[track_caller]
pub(super) fn assert_cached(response: &Response, status: u16, expected: &str) {
    response.status(status).has("Cache-Control", expected);
}

fn full_chunk_at_an_offset_with_incarnation_is_public_60_revalidate_300(t: &Target) {
    let stream = longer_than_a_chunk(t, &[]);
    for position in [0, 1, t.facts.chunk_size - 1] {
        let response = stream.read(&stream.offset_at(position));
        response.lacks("Stream-Up-To-Date");
        assert_cached(&response, 200, FINAL);
    }
}

fn full_chunk_from_minus_one_is_public_60(t: &Target) {
    let response = longer_than_a_chunk(t, &[]).read("-1");
    response.lacks("Stream-Up-To-Date");
    assert_cached(&response, 200, MINUTE);
}

fn full_chunk_from_the_zero_offset_is_public_60(t: &Target) {
    assert_cached(&longer_than_a_chunk(t, &[]).read(BEGINNING), 200, MINUTE);
}

fn data_that_reaches_the_open_tail_is_public_max_age_1(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    for from in ["-1".to_owned(), BEGINNING.to_owned(), stream.offset_at(0), stream.offset_at(5)] {
        let response = stream.read(&from);
        response.has("Stream-Up-To-Date", "true");
        assert_cached(&response, 200, SECOND);
    }
}

fn a_full_chunk_that_ends_at_the_open_tail_is_public_max_age_1(t: &Target) {
    let stream = t.bytes();
    stream.append(vec![b'a'; t.facts.chunk_size]);
    let response = stream.read(&stream.offset_at(0));
    response.has("Stream-Up-To-Date", "true");
    assert_cached(&response, 200, SECOND);
}

fn nothing_new_at_the_open_tail_is_public_max_age_1(t: &Target) {
    let stream = t.text(&["hello"]);
    let response = stream.read(&stream.tail());
    response.body_is("");
    assert_cached(&response, 200, SECOND);
}

fn an_empty_stream_is_public_max_age_1(t: &Target) {
    let stream = t.json(&[]);
    for from in ["-1".to_owned(), BEGINNING.to_owned(), stream.tail()] {
        let response = stream.read(&from);
        response.body_is("[]");
        assert_cached(&response, 200, SECOND);
    }
}

fn data_up_to_the_tail_of_a_closed_stream_is_public_60_revalidate_300(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    stream.close();
    for from in [stream.offset_at(0), stream.offset_at(5)] {
        let response = stream.read(&from);
        response.has("Stream-Closed", "true");
        assert_cached(&response, 200, FINAL);
    }
}

fn a_closed_stream_from_its_beginning_is_public_60(t: &Target) {
    for stream in [t.text(&["hello", "world"]), t.json(&["[1]"]), t.text(&[])] {
        stream.close();
        for from in ["-1", BEGINNING] {
            let response = stream.read(from);
            response.has("Stream-Closed", "true");
            assert_cached(&response, 200, MINUTE);
        }
    }
}

fn nothing_at_the_tail_of_a_closed_stream_is_public_60_revalidate_300(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let response = stream.read(&tail);
    response.body_is("").has("Stream-Closed", "true");
    assert_cached(&response, 200, FINAL);
}

fn a_full_chunk_before_the_tail_of_a_closed_stream_is_a_full_chunk(t: &Target) {
    let stream = longer_than_a_chunk(t, &[]);
    stream.close();
    assert_cached(&stream.read(&stream.offset_at(0)), 200, FINAL);
    assert_cached(&stream.read("-1"), 200, MINUTE);
}

fn a_closed_stream_without_content_is_final(t: &Target) {
    let stream = t.created("text/plain", &[("Stream-Closed", "true")], &[]);
    assert_cached(&stream.read(&stream.tail()), 200, FINAL);
}

fn offset_now_is_no_store(t: &Target) {
    assert_cached(&t.text(&["hello"]).read("now"), 200, NO_STORE);
    assert_cached(&t.text(&[]).read("now"), 200, NO_STORE);
}

fn offset_now_of_a_closed_stream_is_no_store(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    assert_cached(&stream.read("now"), 200, NO_STORE);
    assert_cached(&stream.poll("now"), 204, NO_STORE);
}

fn head_is_no_store(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_cached(&stream.head(), 200, NO_STORE);
    stream.close();
    assert_cached(&stream.head(), 200, NO_STORE);
    assert_cached(&t.missing("text/plain").head(), 404, NO_STORE);
}

fn put_is_no_store(t: &Target) {
    let stream = t.missing("text/plain");
    assert_cached(&stream.put().send(), 201, NO_STORE);
    assert_cached(&stream.put().send(), 200, NO_STORE);
    assert_cached(&stream.put().content_type("text/html").send(), 409, NO_STORE);
}

fn post_is_no_store(t: &Target) {
    let stream = t.text(&[]);
    assert_cached(&stream.post("hello").send(), 204, NO_STORE);
    assert_cached(&stream.post("hello").producer("p", 0, 0).send(), 200, NO_STORE);
    assert_cached(&stream.post_close().send(), 204, NO_STORE);
    assert_cached(&stream.post("hello").send(), 409, NO_STORE);
}

fn delete_is_no_store(t: &Target) {
    let stream = t.text(&[]);
    assert_cached(&stream.delete(), 204, NO_STORE);
    assert_cached(&stream.delete(), 404, NO_STORE);
}

fn options_is_no_store(t: &Target) {
    assert_cached(&t.text(&[]).request("OPTIONS").send(), 204, NO_STORE);
}

fn every_refusal_of_a_read_is_no_store(t: &Target) {
    let missing = t.missing("text/plain");
    let stream = t.text(&["hello"]);
    let deleted = t.text(&["hello"]);
    let old = deleted.tail();
    deleted.delete().status(204);
    deleted.put().send().status(201);
    for live in ["", "&live=long-poll", "&live=sse"] {
        assert_cached(&missing.get(&format!("offset=-1{live}")), 404, NO_STORE);
        assert_cached(&stream.get(&format!("offset=nonsense{live}")), 400, NO_STORE);
        assert_cached(&deleted.get(&format!("offset={old}{live}")), 410, NO_STORE);
    }
}

fn read_without_offset_is_no_store(t: &Target) {
    assert_cached(&t.text(&["hello"]).get(""), 200, NO_STORE);
    assert_cached(&longer_than_a_chunk(t, &[]).get(""), 200, NO_STORE);
    assert_cached(&t.text(&["hello"]).get("page=1"), 200, NO_STORE);
}

fn read_without_offset_is_no_store_on_a_closed_stream(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    assert_cached(&stream.get(""), 200, NO_STORE);
}

fn revalidation_without_offset_is_no_store(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.get("").etag();
    assert_cached(&stream.get_with("", &[("If-None-Match", &etag)]), 304, NO_STORE);
}

fn long_poll_200_is_public_max_age_5(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    assert_cached(&stream.poll(&stream.offset_at(0)), 200, "public, max-age=5");
    assert_cached(&stream.poll(&stream.offset_at(5)), 200, "public, max-age=5");
}

fn long_poll_200_after_waiting_is_public_max_age_5(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let (response, _) = crate::case::meanwhile(
        || stream.poll(&tail),
        || {
            std::thread::sleep(Duration::from_millis(100));
            stream.append("world");
        },
    );
    response.body_is("world");
    assert_cached(&response, 200, "public, max-age=5");
}

fn long_poll_204_of_an_open_stream_is_public_max_age_1(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_cached(&stream.poll(&stream.tail()), 204, SECOND);
}

fn long_poll_204_of_a_closed_stream_is_public_max_age_60(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    assert_cached(&stream.poll(&tail), 204, MINUTE);
}

fn long_poll_at_offset_now_is_no_store(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_cached(&stream.poll("now"), 204, NO_STORE);
    let (response, _) = crate::case::meanwhile(
        || stream.poll("now"),
        || {
            std::thread::sleep(t.facts.long_poll_timeout / 3);
            stream.append("world");
        },
    );
    assert_cached(&response, 200, NO_STORE);
}

fn sse_is_no_cache_no_transform_and_not_buffered(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&[]), t.bytes()] {
        let events = Events::open(&stream, "-1");
        events.head.has("Cache-Control", "no-cache, no-transform").has("X-Accel-Buffering", "no");
    }
}

fn revalidation_says_what_the_200_would_have_said(t: &Target) {
    let long = longer_than_a_chunk(t, &[]);
    let open = t.text(&["hello"]);
    let closed = t.text(&["hello"]);
    closed.close();
    let reads = [
        (&long, long.offset_at(0)),
        (&long, "-1".to_owned()),
        (&open, "-1".to_owned()),
        (&open, open.tail()),
        (&closed, closed.offset_at(0)),
        (&closed, closed.tail()),
    ];
    for (stream, from) in reads {
        let full = stream.read(&from);
        let not_modified = stream.get_with(&format!("offset={from}"), &[("If-None-Match", &full.etag())]);
        assert_cached(&not_modified, 304, full.expect_header("Cache-Control"));
    }
}

fn forks_keep_the_rows_of_the_table(t: &Target) {
    let source = longer_than_a_chunk(t, &[]);
    let fork = t.created("application/octet-stream", &[("Stream-Forked-From", &source.path)], &[]);
    let own = fork.append("of the fork");
    fork.append(vec![b'a'; t.facts.chunk_size]);
    fork.append("after the chunk");
    assert_cached(&fork.read(&own), 200, FINAL);
    assert_cached(&fork.read("-1"), 200, MINUTE);
    assert_cached(&fork.read(&fork.tail()), 200, SECOND);
    let tail = fork.close();
    assert_cached(&fork.read(&tail), 200, FINAL);
    assert_cached(&source.read(&source.tail()), 200, SECOND);
}

fn inherited_offsets_of_a_fork_are_kept_as_its_beginning_is(t: &Target) {
    let source = longer_than_a_chunk(t, &[]);
    let border = source.tail();
    let fork = t.created("application/octet-stream", &[("Stream-Forked-From", &source.path)], &[]);
    assert_cached(&fork.read(&source.offset_at(0)), 200, MINUTE);
    assert_cached(&fork.read(&source.offset_at(t.facts.chunk_size)), 200, SECOND);
    fork.append("one");
    fork.close();
    let closed = fork.read(&border);
    closed.body_is("one");
    assert_cached(&closed, 200, MINUTE);
    // Why: another fork of that name has the same offset and other bytes after it.
    fork.delete().status(204);
    fork.put().without_content_type().header("Stream-Forked-From", &source.path).send().status(201);
    fork.append("two");
    fork.read(&border).status(200).body_is("two");
    source.read(&source.offset_at(0)).has("Cache-Control", FINAL);
}

fn reads_carry_no_vary_search(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    for response in [stream.read("-1"), stream.read(&tail), stream.poll("-1"), stream.poll(&tail)] {
        response.has("No-Vary-Search", "key-order");
    }
}

fn nothing_varies_on_the_origin(t: &Target) {
    let stream = t.text(&["hello"]);
    let origin = [("Origin", "https://viewer.example")];
    let responses = [
        stream.get_with("offset=-1", &origin),
        stream.get_with("offset=now", &origin),
        stream.get_with("offset=nonsense", &origin),
        stream.get_with("offset=-1&live=long-poll", &origin),
        stream.request("HEAD").headers(&origin).send(),
        stream.request("OPTIONS").headers(&origin).send(),
        stream.post("more").headers(&origin).send(),
    ];
    for response in responses {
        if response.list("Vary").iter().any(|name| name == "origin" || name == "*") {
            response.fail("the response varies on the origin");
        }
        response.has("Access-Control-Allow-Origin", "*");
    }
    assert_eq!(offset::position(&stream.tail()), 9, "the append with an Origin went through");
}
