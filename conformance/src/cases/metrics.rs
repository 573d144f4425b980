//! What an operator sees: `/metrics`, and `Cache-Status` on reads.

use crate::case::cases;
use crate::client::Target;
use crate::receiver::Receiver;
use crate::subscription::Subscription;

cases! {
    metrics_are_openmetrics_text_that_no_cache_keeps: "docs/cdn.md, the origin's own metrics",
    metrics_are_no_stream: "docs/ARCHITECTURE.md, extensions: /metrics",
    reads_are_counted_by_what_caches_may_do_with_them: "docs/cdn.md, the origin's own metrics",
    appended_bytes_are_counted: "docs/cdn.md, the origin's own metrics",
    wakes_are_counted: "docs/cdn.md, the origin's own metrics",
    reads_say_where_their_bytes_came_from: "RFC 9211",
    writes_and_refusals_have_no_cache_status: "RFC 9211: it is about responses from a cache",
}

/// The sum of all series of that name with these labels. Other cases run at the same time: it only grows.
fn sum(t: &Target, name: &str, labels: &[&str]) -> u64 {
    let response = t.at("/metrics").get("");
    let series = response
        .status(200)
        .text()
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
    let chosen = series.filter(|line| labels.iter().all(|label| line.contains(label)));
    chosen.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn metrics_are_openmetrics_text_that_no_cache_keeps(t: &Target) {
    let response = t.at("/metrics").get("");
    response
        .status(200)
        .has("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
        .has("Cache-Control", "no-store");
    if !response.text().ends_with("# EOF\n") {
        response.fail("metrics without an end");
    }
}

fn metrics_are_no_stream(t: &Target) {
    let metrics = t.at("/metrics");
    metrics.post("more").send().status(405);
    metrics.delete().status(405);
    metrics.head().status(200);
}

fn reads_are_counted_by_what_caches_may_do_with_them(t: &Target) {
    let name = "headwater_reads_total";
    let stream = t.bytes();
    stream.append(vec![b'x'; t.facts.chunk_size]);
    stream.append("more");
    let from = stream.offset_at(0);
    let classes = [
        ("class=\"cacheable\"", "answer=\"full\""),
        ("class=\"tail\"", "answer=\"full\""),
        ("class=\"live\"", "answer=\"full\""),
        ("class=\"uncacheable\"", "answer=\"full\""),
        ("class=\"cacheable\"", "answer=\"revalidated\""),
    ];
    let before = classes.map(|(class, response)| sum(t, name, &[class, response]));
    let etag = stream.read(&from).status(200).etag();
    stream.read(&stream.tail()).status(200);
    stream.poll(&from).status(200);
    stream.read("now").status(200);
    stream.get_with(&format!("offset={from}"), &[("If-None-Match", &etag)]).status(304);
    for ((class, response), before) in classes.into_iter().zip(before) {
        assert!(sum(t, name, &[class, response]) > before, "{class}, {response}");
    }
}

fn appended_bytes_are_counted(t: &Target) {
    let before = sum(t, "headwater_appended_bytes_total", &[]);
    t.text(&["0123456789"]);
    assert!(sum(t, "headwater_appended_bytes_total", &[]) >= before + 10);
}

fn wakes_are_counted(t: &Target) {
    let receiver = Receiver::new();
    receiver.answer_next(200, r#"{"done":true}"#);
    let done = ["answer=\"done\""];
    let (webhooks, events) =
        (sum(t, "headwater_webhooks_total", &done), sum(t, "headwater_wake_events_total", &[]));
    let hooked = Subscription::webhook(t, &receiver.url());
    let stream = hooked.created("a");
    hooked.wait_for_ack("a", &stream.tail());
    let pulled = Subscription::pull(t, 600_000);
    pulled.created("a");
    pulled.events(1);
    // Waits until the wake is done with.
    pulled.claim("w").status(200);
    assert!(sum(t, "headwater_webhooks_total", &done) > webhooks);
    assert!(sum(t, "headwater_wake_events_total", &[]) > events);
    assert!(sum(t, "headwater_subscriptions", &[]) >= 1);
}

fn reads_say_where_their_bytes_came_from(t: &Target) {
    let stream = t.text(&["hello"]);
    let first = stream.read("-1");
    let said = first.expect_header("Cache-Status");
    if !said.starts_with("headwater; ") {
        first.fail("a Cache-Status of somebody else");
    }
    stream.read("-1").status(200).has("Cache-Status", "headwater; hit");
    let etag = first.etag();
    stream
        .get_with("offset=-1", &[("If-None-Match", &etag)])
        .status(304)
        .has("Cache-Status", "headwater; hit");
}

fn writes_and_refusals_have_no_cache_status(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.post("more").send().status(204).lacks("Cache-Status");
    stream.head().status(200).lacks("Cache-Status");
    stream.read("nonsense").malformed().lacks("Cache-Status");
}
