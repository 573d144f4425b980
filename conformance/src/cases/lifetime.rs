//! TTL and expiry: what ends a stream, what keeps it alive, and what does not (sections 5.1 and 5.5).

use std::thread::sleep;
use std::time::{Duration, Instant};

use headwater_testkit::Response;

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::instant::{from_now, parsed, spelled};
use crate::sse::Events;

cases! {
    an_idle_stream_is_gone_after_its_ttl: "section 5.1, Stream-TTL",
    an_expired_stream_is_404_for_every_verb: "section 5.1, Stream-TTL",
    an_expired_stream_may_be_created_anew: "section 5.1, Stream-TTL: gone is gone",
    an_expired_stream_may_be_created_with_another_configuration: "section 5.1, Stream-TTL: gone is gone",
    a_stream_is_there_until_its_ttl_is_over: "section 5.1, Stream-TTL",
    a_ttl_of_zero_expires_at_once: "section 5.1: a non-negative integer",
    reads_renew_the_ttl: "section 5.1: resets on each read",
    reads_at_the_tail_renew_the_ttl: "section 5.1: resets on each read",
    revalidations_renew_the_ttl: "section 5.1: requests that reach the origin",
    offset_now_renews_the_ttl: "section 5.1: resets on each read",
    long_polls_renew_the_ttl: "section 5.1: when processing begins",
    live_readers_renew_the_ttl: "section 5.1: when processing begins",
    appends_renew_the_ttl: "section 5.1: resets on each write",
    closes_renew_the_ttl: "section 5.1: resets on each write",
    repeated_creations_renew_the_ttl: "docs/adr/0015-repeated-creations-renew.md",
    head_does_not_renew_the_ttl: "section 5.1: HEAD does not",
    head_tells_the_window_and_not_the_rest: "section 5.5: the window",
    closed_streams_expire_too: "section 5.1",
    an_expiry_ends_the_stream: "section 5.1, Stream-Expires-At",
    reads_and_appends_do_not_move_an_expiry: "section 5.1: absolute",
    the_far_future_is_an_expiry: "section 5.1, Stream-Expires-At",
    a_missing_stream_is_404_for_every_verb: "section 5",
    a_deletion_is_204_and_then_404: "section 5.4",
    deletions_at_once_delete_once: "section 5.4",
    a_deletion_has_an_empty_body: "section 5.4",
}

/// The longest time that a stream may outlive its end.
const GRACE: Duration = Duration::from_secs(5);

fn with_ttl<'t>(t: &'t Target, seconds: &str) -> Stream<'t> {
    t.created("text/plain", &[("Stream-TTL", seconds)], &["hello"])
}

/// Waits for the end of the stream, without renewing anything.
#[track_caller]
fn await_end(stream: &Stream<'_>) {
    let deadline = Instant::now() + GRACE;
    loop {
        let response = stream.head();
        if response.status == 404 {
            return;
        }
        response.status(200);
        assert!(Instant::now() < deadline, "{} is immortal: {response}", stream.path);
        sleep(Duration::from_millis(50));
    }
}

/// A stream with a TTL of 2 s lives for 3.6 s if `renew` happens every 1.2 s, and then no longer.
#[track_caller]
fn assert_renewed_by(t: &Target, renew: impl Fn(&Stream<'_>) -> Response, status: u16) {
    let stream = with_ttl(t, "2");
    for _ in 0..3 {
        sleep(Duration::from_millis(1200));
        renew(&stream).status(status);
    }
    await_end(&stream);
}

fn an_idle_stream_is_gone_after_its_ttl(t: &Target) {
    let stream = with_ttl(t, "1");
    await_end(&stream);
    stream.read("-1").refused(404, "not-found");
}

fn an_expired_stream_is_404_for_every_verb(t: &Target) {
    let stream = with_ttl(t, "1");
    let tail = stream.tail();
    await_end(&stream);
    assert_missing(&stream, &tail);
}

#[track_caller]
fn assert_missing(stream: &Stream<'_>, tail: &str) {
    stream.head().refused(404, "not-found");
    for from in ["-1", "now", tail] {
        for live in ["", "&live=long-poll", "&live=sse"] {
            stream.get(&format!("offset={from}{live}")).refused(404, "not-found");
        }
    }
    stream.get("").refused(404, "not-found");
    stream.post("more").send().refused(404, "not-found");
    stream.post_close().send().refused(404, "not-found");
    stream.delete().refused(404, "not-found");
}

fn an_expired_stream_may_be_created_anew(t: &Target) {
    let stream = with_ttl(t, "1");
    await_end(&stream);
    stream.put().header("Stream-TTL", "60").send().status(201).has("Location", &stream.url());
    stream.read("-1").status(200).body_is("");
}

fn an_expired_stream_may_be_created_with_another_configuration(t: &Target) {
    let stream = with_ttl(t, "1");
    await_end(&stream);
    let json = Stream { content_type: "application/json", ..stream };
    json.put().closing().body("[1]").send().status(201);
    json.head().status(200).lacks("Stream-TTL").has("Stream-Closed", "true");
    json.read("-1").status(200).body_is("[1]");
}

fn a_stream_is_there_until_its_ttl_is_over(t: &Target) {
    let stream = t.missing("text/plain");
    let begin = Instant::now();
    stream.put().header("Stream-TTL", "1").send().status(201);
    while begin.elapsed() < Duration::from_millis(800) {
        let response = stream.head();
        if begin.elapsed() < Duration::from_millis(1000) {
            response.status(200);
        }
        sleep(Duration::from_millis(100));
    }
    await_end(&stream);
}

fn a_ttl_of_zero_expires_at_once(t: &Target) {
    let stream = t.missing("text/plain");
    stream.put().header("Stream-TTL", "0").body("hello").send().status(201);
    await_end(&stream);
    stream.read("-1").refused(404, "not-found");
    stream.put().send().status(201);
}

fn reads_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.read("-1"), 200);
}

fn reads_at_the_tail_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.read(&stream.tail()), 200);
}

fn revalidations_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.get_with("offset=-1", &[("If-None-Match", "*")]), 304);
}

fn offset_now_renews_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.read("now"), 200);
}

fn long_polls_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.poll("-1"), 200);
}

fn live_readers_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| Events::open(stream, "-1").head, 200);
}

fn appends_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.post("more").send(), 204);
}

fn closes_renew_the_ttl(t: &Target) {
    let stream = with_ttl(t, "2");
    sleep(Duration::from_millis(1200));
    stream.close();
    sleep(Duration::from_millis(1200));
    stream.head().status(200).has("Stream-Closed", "true");
    await_end(&stream);
}

fn repeated_creations_renew_the_ttl(t: &Target) {
    assert_renewed_by(t, |stream| stream.put().header("Stream-TTL", "2").send(), 200);
}

fn head_does_not_renew_the_ttl(t: &Target) {
    // HEAD every 50 ms is what await_end() does.
    let stream = with_ttl(t, "1");
    let begin = Instant::now();
    await_end(&stream);
    assert!(begin.elapsed() < Duration::from_secs(4), "it lived for {:?}", begin.elapsed());
}

fn head_tells_the_window_and_not_the_rest(t: &Target) {
    let stream = with_ttl(t, "100");
    stream.head().status(200).has("Stream-TTL", "100");
    sleep(Duration::from_millis(1100));
    stream.head().status(200).has("Stream-TTL", "100").lacks("Stream-Expires-At");
}

fn closed_streams_expire_too(t: &Target) {
    let stream = with_ttl(t, "1");
    stream.close();
    await_end(&stream);
}

/// A stream that ends this much later than now.
#[track_caller]
fn ending_in<'t>(t: &'t Target, rest: Duration) -> Stream<'t> {
    let expires_at = spelled(from_now(rest));
    t.created("text/plain", &[("Stream-Expires-At", &expires_at)], &["hello"])
}

fn an_expiry_ends_the_stream(t: &Target) {
    let stream = ending_in(t, Duration::from_millis(1500));
    let tail = stream.tail();
    await_end(&stream);
    assert_missing(&stream, &tail);
    stream.put().send().status(201);
}

fn reads_and_appends_do_not_move_an_expiry(t: &Target) {
    let stream = ending_in(t, Duration::from_millis(1500));
    let deadline = Instant::now() + GRACE;
    loop {
        let read = stream.read("-1");
        stream.post("more").send().status_in(&[204, 404]);
        if read.status_in(&[200, 404]).status == 404 {
            return;
        }
        assert!(Instant::now() < deadline, "reads and appends keep it alive");
        sleep(Duration::from_millis(100));
    }
}

fn the_far_future_is_an_expiry(t: &Target) {
    let far = "9999-12-31T23:59:59Z";
    let stream = t.created("text/plain", &[("Stream-Expires-At", far)], &["hello"]);
    stream.read("-1").status(200).body_is("hello").has("Cache-Control", "public, max-age=1");
    stream.put().header("Stream-Expires-At", far).send().status(200);
    let head = stream.head();
    assert_eq!(parsed(head.expect_header("Stream-Expires-At")), parsed(far), "{head}");
}

fn a_missing_stream_is_404_for_every_verb(t: &Target) {
    assert_missing(&t.missing("text/plain"), "1763715600000000_0000000000000005");
}

fn a_deletion_is_204_and_then_404(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    stream.delete().status(204);
    assert_missing(&stream, &tail);
}

fn deletions_at_once_delete_once(t: &Target) {
    let stream = t.text(&["hello"]);
    let responses = crate::case::at_once(16, |_| stream.delete());
    let deleted = responses.iter().filter(|response| response.status == 204).count();
    assert_eq!(deleted, 1, "{:?}", responses.iter().map(|response| response.status).collect::<Vec<_>>());
    for response in responses.iter().filter(|response| response.status != 204) {
        response.refused(404, "not-found");
    }
}

fn a_deletion_has_an_empty_body(t: &Target) {
    let response = t.text(&["hello"]).delete();
    response.status(204).body_is("").lacks("Stream-Next-Offset").lacks("Content-Type");
}
