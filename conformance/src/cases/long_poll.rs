//! Long-polls: what is answered at once, what waits, what wakes, and what a timeout may say (section 5.7).

use std::thread::sleep;
use std::time::{Duration, Instant};

use headwater_testkit::Response;
use headwater_testkit::connection::SLACK;

use crate::case::{at_once, cases, meanwhile};
use crate::client::{Stream, Target};
use crate::offset::{advanced, position};

cases! {
    data_that_is_there_is_answered_at_once: "section 5.7",
    an_append_wakes_the_poll: "section 5.7",
    an_append_wakes_a_poll_at_the_beginning_of_an_empty_stream: "section 5.7",
    an_append_of_json_wakes_with_an_array: "section 9.1.5",
    a_poll_at_now_waits_and_gets_only_what_is_new: "section 8, now in long-poll mode",
    a_poll_at_now_times_out_at_the_tail: "section 8, now in long-poll mode",
    a_timeout_is_204_with_the_tail_up_to_date_and_a_cursor: "section 5.7",
    a_timeout_comes_when_it_should: "docs/configuration.md: --long-poll-timeout",
    a_timeout_never_reports_a_tail_it_did_not_deliver: "docs/adr/0005-cached-204.md: looks once more",
    a_chain_of_polls_loses_nothing_and_repeats_nothing: "section 5.7",
    polls_of_one_event_get_the_same_answer: "docs/adr/0004-cursor.md: all viewers of one event",
    idle_polls_are_not_served_one_after_another: "docs/adr/0005-cached-204.md",
    a_close_wakes_the_poll_with_204: "section 5.7",
    a_close_with_data_wakes_the_poll_with_the_data: "section 4.1, atomic with final append",
    a_poll_at_the_tail_of_a_closed_stream_does_not_wait: "section 5.7",
    a_poll_at_now_of_a_closed_stream_does_not_wait: "section 8, now on closed streams",
    a_poll_before_the_tail_of_a_closed_stream_gets_the_rest: "section 5.7",
    a_poll_of_another_stream_does_not_wake: "section 5.7",
    a_refused_append_wakes_nobody: "section 5.2: changes nothing",
    a_deletion_ends_the_wait: "section 5.4",
    a_poll_without_offset_is_400: "section 5.7: must be provided",
    an_unknown_live_mode_is_400: "section 5.7: invalid parameters",
    a_repeated_live_mode_is_400: "docs/ARCHITECTURE.md, extensions: repeated headers and parameters",
    a_poll_of_a_missing_stream_is_404_at_once: "section 5.7",
    a_malformed_offset_does_not_wait: "section 5.6: malformed offset",
    a_timeout_of_the_client_counts_for_nothing: "section 5.7: timeout is a future extension",
}

/// Polls at `from` while `change` happens a little later.
#[track_caller]
fn poll_during(stream: &Stream<'_>, from: &str, change: impl FnOnce()) -> (Response, Duration) {
    let begin = Instant::now();
    let (response, ()) = meanwhile(
        || stream.poll(from),
        || {
            sleep(stream.target.facts.long_poll_timeout / 4);
            change();
        },
    );
    (response, begin.elapsed())
}

/// Runs `ask`, which must not take as long as a poll that waits. A busy machine gets three tries.
#[track_caller]
fn at_once_only(t: &Target, ask: impl Fn() -> Response) -> Response {
    let mut tries = 0;
    loop {
        let begin = Instant::now();
        let response = ask();
        let elapsed = begin.elapsed();
        if elapsed < t.facts.long_poll_timeout {
            return response;
        }
        tries += 1;
        assert!(tries < 3, "it took {elapsed:?}\n{response}");
    }
}

fn data_that_is_there_is_answered_at_once(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let from = stream.offset_at(5);
    let response = at_once_only(t, || stream.poll(&from));
    response.status(200).body_is("world").has("Stream-Next-Offset", &stream.tail());
    response.has("Stream-Up-To-Date", "true").has("Content-Type", "text/plain").lacks("Stream-Closed");
}

fn an_append_wakes_the_poll(t: &Target) {
    let stream = t.text(&["hello"]);
    let (response, _) = poll_during(&stream, &stream.tail(), || {
        stream.append("world");
    });
    response.status(200).body_is("world").has("Stream-Next-Offset", &stream.tail());
    response.has("Stream-Up-To-Date", "true").lacks("Stream-Closed").cursor();
}

fn an_append_wakes_a_poll_at_the_beginning_of_an_empty_stream(t: &Target) {
    for from in ["-1", "0000000000000000_0000000000000000"] {
        let stream = t.text(&[]);
        let (response, _) = poll_during(&stream, from, || {
            stream.append("first");
        });
        response.status(200).body_is("first");
    }
}

fn an_append_of_json_wakes_with_an_array(t: &Target) {
    let stream = t.json(&["[1]"]);
    let (response, _) = poll_during(&stream, &stream.tail(), || {
        stream.append(r#"[{"a":2},3]"#);
    });
    response.status(200).body_is(r#"[{"a":2},3]"#).has("Content-Type", "application/json");
}

fn a_poll_at_now_waits_and_gets_only_what_is_new(t: &Target) {
    let stream = t.text(&["old"]);
    let (response, _) = poll_during(&stream, "now", || {
        stream.append("new");
    });
    response.status(200).body_is("new").has("Stream-Next-Offset", &stream.tail());
}

fn a_poll_at_now_times_out_at_the_tail(t: &Target) {
    let stream = t.text(&["old"]);
    let response = stream.poll("now");
    response.status(204).has("Stream-Next-Offset", &stream.tail()).has("Stream-Up-To-Date", "true").cursor();
}

fn a_timeout_is_204_with_the_tail_up_to_date_and_a_cursor(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.json(&[])] {
        let response = stream.poll(&stream.tail());
        response.status(204).body_is("").has("Stream-Next-Offset", &stream.tail());
        response.has("Stream-Up-To-Date", "true").lacks("Stream-Closed").cursor();
    }
}

fn a_timeout_comes_when_it_should(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let begin = Instant::now();
    stream.poll(&tail).status(204);
    let elapsed = begin.elapsed();
    let timeout = t.facts.long_poll_timeout;
    assert!(elapsed + Duration::from_millis(50) >= timeout, "only {elapsed:?} of {timeout:?}");
    assert!(elapsed < timeout + SLACK, "{elapsed:?} instead of {timeout:?}");
}

fn a_timeout_never_reports_a_tail_it_did_not_deliver(t: &Target) {
    // Sixteen appends as close to the deadline of sixteen polls as can be, on both sides of it.
    let timeout = t.facts.long_poll_timeout;
    let responses = at_once(16, |index| {
        let stream = t.text(&["hello"]);
        let tail = stream.tail();
        let delay = timeout + Duration::from_millis(4 * index as u64) - Duration::from_millis(40);
        let (response, _) = meanwhile(
            || stream.poll(&tail),
            || {
                sleep(delay);
                stream.append("world");
            },
        );
        (tail, response)
    });
    for (tail, response) in responses {
        match response.status {
            200 => response.body_is("world").has("Stream-Next-Offset", &advanced(&tail, 5)),
            _ => response.status(204).has("Stream-Next-Offset", &tail),
        };
    }
}

fn a_chain_of_polls_loses_nothing_and_repeats_nothing(t: &Target) {
    let stream = t.text(&[]);
    let appends = 200;
    let (seen, ()) = meanwhile(
        || {
            let mut from = "-1".to_owned();
            let mut seen = String::new();
            let deadline = Instant::now() + Duration::from_secs(30);
            while seen.len() < appends * 4 && Instant::now() < deadline {
                let response = stream.poll(&from);
                response.status_in(&[200, 204]);
                seen.push_str(response.text());
                from = response.next_offset();
                assert_eq!(position(&from), seen.len() as u64, "bytes and offset part: {response}");
            }
            seen
        },
        || {
            for index in 0..appends {
                stream.append(format!("{index:03};"));
            }
        },
    );
    let expected: String = (0..appends).map(|index| format!("{index:03};")).collect();
    assert_eq!(seen, expected);
}

fn polls_of_one_event_get_the_same_answer(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let (responses, ()) = meanwhile(
        || at_once(20, |_| stream.poll(&tail)),
        || {
            sleep(t.facts.long_poll_timeout / 2);
            stream.append("world");
        },
    );
    let first = &responses[0];
    let names = ["ETag", "Stream-Cursor", "Stream-Next-Offset", "Stream-Up-To-Date", "Cache-Control"];
    for response in &responses {
        response.status(200).body_is("world");
        for name in names {
            response.has(name, first.expect_header(name));
        }
    }
}

fn idle_polls_are_not_served_one_after_another(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let begin = Instant::now();
    for response in at_once(12, |_| stream.poll(&tail)) {
        response.status(204);
    }
    let elapsed = begin.elapsed();
    assert!(elapsed < t.facts.long_poll_timeout + SLACK, "twelve polls took {elapsed:?}");
}

fn a_close_wakes_the_poll_with_204(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&[])] {
        let tail = stream.tail();
        let (response, elapsed) = poll_during(&stream, &tail, || {
            stream.close();
        });
        response.status(204).has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
        response.has("Stream-Next-Offset", &tail).lacks("Stream-Cursor");
        response.has("Cache-Control", "public, max-age=60");
        assert!(elapsed < t.facts.long_poll_timeout + SLACK, "it took {elapsed:?}");
    }
}

fn a_close_with_data_wakes_the_poll_with_the_data(t: &Target) {
    let stream = t.text(&["hello"]);
    let (response, _) = poll_during(&stream, &stream.tail(), || {
        stream.post("the end").closing().send().status(204);
    });
    response.status(200).body_is("the end").has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
    response.has("Stream-Next-Offset", &stream.tail()).lacks("Stream-Cursor");
}

fn a_poll_at_the_tail_of_a_closed_stream_does_not_wait(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let response = at_once_only(t, || stream.poll(&tail));
    response.status(204).body_is("").has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
    response.has("Stream-Next-Offset", &tail).lacks("Stream-Cursor");
}

fn a_poll_at_now_of_a_closed_stream_does_not_wait(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let response = at_once_only(t, || stream.poll("now"));
    response.status(204).has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
    response.has("Stream-Next-Offset", &tail);
}

fn a_poll_before_the_tail_of_a_closed_stream_gets_the_rest(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let tail = stream.close();
    let response = stream.poll(&stream.offset_at(5));
    response.status(200).body_is("world").has("Stream-Next-Offset", &tail).has("Stream-Closed", "true");
}

fn a_poll_of_another_stream_does_not_wake(t: &Target) {
    let stream = t.text(&["hello"]);
    let other = t.text(&["hello"]);
    let tail = stream.tail();
    let (response, _) = poll_during(&stream, &tail, || {
        other.append("world");
        other.close();
    });
    response.status(204).has("Stream-Next-Offset", &tail).lacks("Stream-Closed");
}

fn a_refused_append_wakes_nobody(t: &Target) {
    let stream = t.json(&["[1]"]);
    let tail = stream.tail();
    let (response, _) = poll_during(&stream, &tail, || {
        stream.post("not json").send().malformed();
        stream.post("[]").send().malformed();
        stream.post("1").content_type("text/plain").send().refused(409, "content-type-mismatch");
    });
    response.status(204).has("Stream-Next-Offset", &tail);
}

fn a_deletion_ends_the_wait(t: &Target) {
    let stream = t.text(&["hello"]);
    let (response, elapsed) = poll_during(&stream, &stream.tail(), || {
        stream.delete().status(204);
    });
    response.status_in(&[204, 404, 410]);
    assert!(elapsed < t.facts.long_poll_timeout + SLACK, "it took {elapsed:?}");
    stream.poll("-1").refused(404, "not-found");
}

fn a_poll_without_offset_is_400(t: &Target) {
    t.text(&["hello"]).get("live=long-poll").malformed();
    t.text(&["hello"]).get("live=long-poll&cursor=1").malformed();
}

fn an_unknown_live_mode_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for live in [
        "",
        "true",
        "1",
        "longpoll",
        "long_poll",
        "LONG-POLL",
        "Long-Poll",
        "SSE",
        "sse%20",
        "poll",
        "long-poll,sse",
        "websocket",
        "false",
        "%00",
    ] {
        let response = stream.get(&format!("offset=-1&live={live}"));
        if response.status != 400 {
            response.fail(format_args!("{live:?} was taken for a live mode"));
        }
        response.malformed();
    }
    stream.get("offset=-1&live").malformed();
}

fn a_repeated_live_mode_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for query in ["offset=-1&live=long-poll&live=long-poll", "offset=-1&live=sse&live=long-poll"] {
        stream.get(query).malformed();
    }
}

fn a_poll_of_a_missing_stream_is_404_at_once(t: &Target) {
    for from in ["-1", "now", "0000000000000000_0000000000000000"] {
        at_once_only(t, || t.missing("text/plain").poll(from)).refused(404, "not-found");
    }
}

fn a_malformed_offset_does_not_wait(t: &Target) {
    let stream = t.text(&["hello"]);
    at_once_only(t, || stream.poll("nonsense")).malformed();
    let past = advanced(&stream.tail(), 2);
    at_once_only(t, || stream.poll(&past)).malformed();
}

fn a_timeout_of_the_client_counts_for_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    let begin = Instant::now();
    let query = format!("live=long-poll&offset={}&timeout=3600", stream.tail());
    stream.get(&query).status(204);
    assert!(begin.elapsed() < t.facts.long_poll_timeout + SLACK);
}
