//! The two things that change every row of the cache table: who may keep a response, and how long the stream lives.

use std::time::Duration;

use headwater_testkit::Response;

use super::caching::{FINAL, MINUTE, NO_STORE, SECOND, assert_cached, longer_than_a_chunk};
use crate::case::cases;
use crate::client::Target;
use crate::instant::{from_now, spelled};

cases! {
    private_streams_say_private_in_every_row: "docs/ARCHITECTURE.md, Cache-Control: P",
    private_streams_say_no_store_where_public_ones_do: "docs/ARCHITECTURE.md, Cache-Control",
    an_explicitly_public_stream_says_public: "docs/ARCHITECTURE.md, extensions: Stream-Visibility",
    a_ttl_of_three_seconds_caps_every_age: "docs/ARCHITECTURE.md, Cache-Control: capped by the remaining life",
    a_ttl_of_half_a_minute_caps_the_age_of_final_answers: "docs/ARCHITECTURE.md, Cache-Control: capped by the remaining life",
    stale_while_revalidate_ends_with_the_stream: "docs/ARCHITECTURE.md, Cache-Control: ages end with the stream",
    an_expiry_date_caps_every_age: "docs/ARCHITECTURE.md, Cache-Control: capped by the remaining life",
    a_long_life_caps_nothing: "docs/ARCHITECTURE.md, Cache-Control: capped by the remaining life",
}

fn private_streams_say_private_in_every_row(t: &Target) {
    let private = [("Stream-Visibility", "private")];
    let long = longer_than_a_chunk(t, &private);
    assert_cached(&long.read(&long.offset_at(0)), 200, "private, max-age=60, stale-while-revalidate=300");
    assert_cached(&long.read("-1"), 200, "private, max-age=60");
    let stream = t.created("text/plain", &private, &["hello"]);
    let tail = stream.tail();
    assert_cached(&stream.read("-1"), 200, "private, max-age=1");
    assert_cached(&stream.read(&tail), 200, "private, max-age=1");
    assert_cached(&stream.poll("-1"), 200, "private, max-age=5");
    assert_cached(&stream.poll(&tail), 204, "private, max-age=1");
    let etag = stream.read("-1").etag();
    assert_cached(&stream.get_with("offset=-1", &[("If-None-Match", &etag)]), 304, "private, max-age=1");
    stream.close();
    assert_cached(&stream.read(&stream.offset_at(0)), 200, "private, max-age=60, stale-while-revalidate=300");
    assert_cached(&stream.read(&tail), 200, "private, max-age=60, stale-while-revalidate=300");
    assert_cached(&stream.read("-1"), 200, "private, max-age=60");
    assert_cached(&stream.poll(&tail), 204, "private, max-age=60");
}

fn private_streams_say_no_store_where_public_ones_do(t: &Target) {
    let stream = t.missing("text/plain");
    assert_cached(&stream.put().header("Stream-Visibility", "private").send(), 201, NO_STORE);
    assert_cached(&stream.post("hello").send(), 204, NO_STORE);
    assert_cached(&stream.get(""), 200, NO_STORE);
    assert_cached(&stream.read("now"), 200, NO_STORE);
    assert_cached(&stream.head(), 200, NO_STORE);
    assert_cached(&stream.read("nonsense"), 400, NO_STORE);
    assert_cached(&stream.delete(), 204, NO_STORE);
    assert_cached(&stream.read("-1"), 404, NO_STORE);
}

fn an_explicitly_public_stream_says_public(t: &Target) {
    let stream = t.created("text/plain", &[("Stream-Visibility", "public")], &["hello"]);
    assert_cached(&stream.read("-1"), 200, SECOND);
}

/// An age of what is left of a life that this very request renewed: all of it, but for the second that is
/// lost where milliseconds are cut off.
#[track_caller]
fn assert_capped(response: &Response, status: u16, seconds: u64) {
    let age = response.max_age();
    if age != seconds && age + 1 != seconds {
        response.fail(format_args!("expected an age of {seconds} s or just below"));
    }
    assert_cached(response, status, &format!("public, max-age={age}"));
}

fn a_ttl_of_three_seconds_caps_every_age(t: &Target) {
    let ttl = [("Stream-TTL", "3")];
    let long = longer_than_a_chunk(t, &ttl);
    assert_capped(&long.read("-1"), 200, 3);
    assert_capped(&long.poll("-1"), 200, 3);
    assert_cached(&long.read(&long.tail()), 200, SECOND);
    let closed = t.created("text/plain", &ttl, &["hello"]);
    let tail = closed.close();
    assert_capped(&closed.read("-1"), 200, 3);
    assert_capped(&closed.read(&tail), 200, 3);
    assert_capped(&closed.poll(&tail), 204, 3);
}

fn a_ttl_of_half_a_minute_caps_the_age_of_final_answers(t: &Target) {
    let ttl = [("Stream-TTL", "30")];
    let long = longer_than_a_chunk(t, &ttl);
    assert_capped(&long.read(&long.offset_at(0)), 200, 30);
    assert_capped(&long.read("-1"), 200, 30);
    let closed = t.created("text/plain", &ttl, &["hello"]);
    let tail = closed.close();
    assert_capped(&closed.read(&tail), 200, 30);
    assert_capped(&closed.poll(&tail), 204, 30);
    let etag = closed.read(&tail).etag();
    let query = format!("offset={tail}");
    assert_capped(&closed.get_with(&query, &[("If-None-Match", &etag)]), 304, 30);
}

fn stale_while_revalidate_ends_with_the_stream(t: &Target) {
    let closed = t.created("text/plain", &[("Stream-TTL", "100")], &["hello"]);
    let tail = closed.close();
    let response = closed.read(&tail);
    // The read renewed the life of 100 seconds; one may be lost where milliseconds are cut off.
    let expected = [40, 39].map(|rest| format!("public, max-age=60, stale-while-revalidate={rest}"));
    if !expected.iter().any(|value| value == response.status(200).expect_header("Cache-Control")) {
        response.fail(format_args!("expected one of {expected:?}"));
    }
}

fn an_expiry_date_caps_every_age(t: &Target) {
    let expires_at = spelled(from_now(Duration::from_secs(30)));
    let stream = t.created("text/plain", &[("Stream-Expires-At", &expires_at)], &["hello"]);
    assert_cached(&stream.read("-1"), 200, SECOND);
    let tail = stream.close();
    for response in [stream.read("-1"), stream.read(&tail), stream.poll(&tail)] {
        let age = response.max_age();
        if !(20..=30).contains(&age) {
            response.fail("expected an age of what is left of 30 seconds");
        }
        assert_cached(&response, response.status, &format!("public, max-age={age}"));
    }
}

fn a_long_life_caps_nothing(t: &Target) {
    let closed = t.created("text/plain", &[("Stream-TTL", "9007199254740991")], &["hello"]);
    let tail = closed.close();
    assert_cached(&closed.read(&tail), 200, FINAL);
    assert_cached(&closed.poll(&tail), 204, MINUTE);
}
