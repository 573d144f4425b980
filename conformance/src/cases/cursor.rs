//! `Stream-Cursor`: a number that depends on the stream and a coarse clock only, so that all viewers of one event
//! share one next URL.

use std::time::{SystemTime, UNIX_EPOCH};

use headwater_testkit::Response;

use crate::case::{at_once, cases};
use crate::client::{Stream, Target};
use crate::sse::Events;

cases! {
    cursors_are_on_catch_up_answers_that_reach_the_open_tail: "docs/adr/0004-cursor.md: newcomers join the others' key",
    cursors_are_on_long_poll_200_and_204: "section 10.1",
    cursors_are_in_control_events: "section 10.1",
    cursors_are_absent_when_closed: "docs/adr/0004-cursor.md: absent when closed",
    cursors_count_milliseconds_since_october_2024: "docs/adr/0004-cursor.md",
    cursors_depend_on_the_event_and_not_on_the_client: "docs/adr/0004-cursor.md: no jitter per request",
    cursors_of_viewers_with_different_cursors_are_the_same: "docs/adr/0004-cursor.md",
    cursors_are_the_same_in_every_mode: "docs/adr/0004-cursor.md: one next key, whoever they were before",
    cursors_are_strictly_greater_than_the_one_sent: "section 10.1, monotonic progression",
    cursors_repeated_by_a_client_go_up_by_one: "docs/adr/0004-cursor.md: the client's + 1",
    cursors_of_two_clients_with_the_same_future_cursor_are_the_same: "docs/adr/0004-cursor.md: the same response for both",
    cursors_of_clients_from_the_future_are_accepted_up_to_2_53_minus_1: "docs/ARCHITECTURE.md, bounds",
    cursors_that_are_no_numbers_are_ignored: "docs/adr/0004-cursor.md: what no server gave out",
    cursors_that_overflow_are_ignored: "docs/ARCHITECTURE.md, bounds",
    cursors_sent_with_catch_up_reads_count_too: "docs/adr/0004-cursor.md: strictly greater than the cursor sent",
    cursors_sent_with_sse_count_too: "section 10.1",
    cursors_grow_with_every_append: "docs/adr/0004-cursor.md: strictly growing per change",
    cursors_of_a_chain_of_polls_only_grow: "section 10.1, monotonic progression",
    a_repeated_cursor_is_400: "docs/ARCHITECTURE.md, extensions: repeated headers and parameters",
}

/// 2024-10-09T00:00:00Z in milliseconds since 1970.
const EPOCH_MS: u64 = 1_728_432_000_000;

/// The largest integer that every JavaScript client can hold.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// The cursor that a client without one gets at the tail.
#[track_caller]
fn event_cursor(stream: &Stream<'_>) -> u64 {
    stream.read(&stream.tail()).status(200).cursor()
}

/// Looks again if the coarse clock moved on meanwhile, which it does every 20 seconds.
#[track_caller]
fn in_one_interval<T>(stream: &Stream<'_>, look: impl Fn(u64) -> T) -> T {
    for _ in 0..3 {
        let before = event_cursor(stream);
        let seen = look(before);
        if event_cursor(stream) == before {
            return seen;
        }
    }
    look(event_cursor(stream))
}

/// Data at once, with this cursor.
#[track_caller]
fn poll_data(stream: &Stream<'_>, cursor: &str) -> Response {
    let response = stream.poll_with_cursor("-1", cursor);
    response.status(200);
    response
}

fn cursors_are_on_catch_up_answers_that_reach_the_open_tail(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.bytes()] {
        for from in ["-1".to_owned(), stream.tail(), "now".to_owned()] {
            stream.read(&from).status(200).has("Stream-Up-To-Date", "true").cursor();
        }
        stream.get("").status(200).cursor();
    }
}

fn cursors_are_on_long_poll_200_and_204(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.poll("-1").status(200).cursor();
    stream.poll(&stream.tail()).status(204).cursor();
    stream.poll("now").status(204).cursor();
}

fn cursors_are_in_control_events(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut events = Events::open(&stream, "-1");
    events.data();
    assert!(events.control().cursor.is_some());
}

fn cursors_are_absent_when_closed(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let responses = [
        stream.read("-1"),
        stream.read(&tail),
        stream.read("now"),
        stream.get(""),
        stream.poll("-1"),
        stream.poll(&tail),
        stream.poll("now"),
        stream.poll_with_cursor(&tail, 5),
    ];
    for response in responses {
        response.has("Stream-Closed", "true").lacks("Stream-Cursor");
    }
    let (_, control) = Events::open(&stream, "-1").until_up_to_date();
    assert!(control.closed && control.cursor.is_none(), "{:?}", control.block);
}

fn cursors_count_milliseconds_since_october_2024(t: &Target) {
    let hour = 3_600_000;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("the year 584 million is far");
    let cursor = event_cursor(&t.text(&["hello"]));
    let expected = now - EPOCH_MS;
    assert!(cursor.abs_diff(expected) < hour, "{cursor} is not within an hour of {expected}");
}

fn cursors_depend_on_the_event_and_not_on_the_client(t: &Target) {
    let stream = t.text(&["hello"]);
    let cursors = in_one_interval(&stream, |_| at_once(16, |_| stream.poll("-1").status(200).cursor()));
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
}

fn cursors_of_viewers_with_different_cursors_are_the_same(t: &Target) {
    let stream = t.text(&["hello"]);
    let responses = in_one_interval(&stream, |event| {
        let sent = [0, 1, 19_999, event / 2, event - 20_000, event - 1];
        sent.map(|cursor| poll_data(&stream, &cursor.to_string()).cursor())
    });
    assert!(responses.iter().all(|cursor| *cursor == responses[0]), "{responses:?}");
}

fn cursors_are_the_same_in_every_mode(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let cursors = in_one_interval(&stream, |event| {
        let mut events = Events::open(&stream, "-1");
        events.data();
        let sse = events.control().cursor.expect("the stream is open");
        let catch_up = [stream.read("-1").cursor(), stream.read(&tail).cursor(), stream.read("now").cursor()];
        [event, catch_up[0], catch_up[1], catch_up[2], stream.poll("-1").cursor(), sse]
    });
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
}

fn cursors_are_strictly_greater_than_the_one_sent(t: &Target) {
    let stream = t.text(&["hello"]);
    let event = event_cursor(&stream);
    for sent in [0, event - 1, event, event + 1, event + 3_600_000, SAFE_MAX - 1] {
        let response = poll_data(&stream, &sent.to_string());
        assert!(response.cursor() > sent, "sent {sent}: {response}");
    }
}

fn cursors_repeated_by_a_client_go_up_by_one(t: &Target) {
    let stream = t.text(&["hello"]);
    let (event, next) =
        in_one_interval(&stream, |event| (event, poll_data(&stream, &event.to_string()).cursor()));
    assert_eq!(next, event + 1);
}

fn cursors_of_two_clients_with_the_same_future_cursor_are_the_same(t: &Target) {
    let stream = t.text(&["hello"]);
    let sent = event_cursor(&stream) + 100_000_000;
    let tail = stream.tail();
    let cursors = at_once(8, |_| stream.poll_with_cursor(&tail, sent).status(204).cursor());
    assert_eq!(cursors, [sent + 1; 8]);
}

fn cursors_of_clients_from_the_future_are_accepted_up_to_2_53_minus_1(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_eq!(poll_data(&stream, &SAFE_MAX.to_string()).cursor(), SAFE_MAX + 1);
}

fn cursors_that_are_no_numbers_are_ignored(t: &Target) {
    let stream = t.text(&["hello"]);
    let garbage =
        ["abc", "-5", "1e9", "1.5", "0x10", "%2B5", "%205", "5%20", "NaN", "true", "%00", "%D9%A0", "1,2"];
    for sent in garbage {
        let (event, cursor) = in_one_interval(&stream, |event| (event, poll_data(&stream, sent).cursor()));
        assert_eq!(cursor, event, "sent {sent}");
    }
}

fn cursors_that_overflow_are_ignored(t: &Target) {
    let stream = t.text(&["hello"]);
    let large = [
        "9007199254740992",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211455",
    ];
    let longest = "9".repeat(2000);
    for sent in large.into_iter().chain([longest.as_str()]) {
        let (event, cursor) = in_one_interval(&stream, |event| (event, poll_data(&stream, sent).cursor()));
        assert_eq!(cursor, event, "sent {sent}");
    }
}

fn cursors_sent_with_catch_up_reads_count_too(t: &Target) {
    let stream = t.text(&["hello"]);
    let sent = event_cursor(&stream) + 1_000_000;
    let response = stream.get(&format!("cursor={sent}&offset=-1"));
    response.status(200).has("Stream-Cursor", &(sent + 1).to_string());
}

fn cursors_sent_with_sse_count_too(t: &Target) {
    let stream = t.text(&["hello"]);
    let sent = event_cursor(&stream) + 1_000_000;
    let mut events = Events::open_with(&stream, &format!("cursor={sent}&live=sse&offset=-1"), &[]);
    events.data();
    let control = events.control();
    assert!(control.cursor > Some(sent), "{:?}", control.block);
}

fn cursors_grow_with_every_append(t: &Target) {
    let stream = t.text(&[]);
    let mut last = event_cursor(&stream);
    for _ in 0..20 {
        stream.append("x");
        let next = event_cursor(&stream);
        assert!(next > last, "{next} comes after {last}");
        last = next;
    }
}

fn cursors_of_a_chain_of_polls_only_grow(t: &Target) {
    let stream = t.text(&[]);
    let mut offset = stream.tail();
    let mut cursor = 0;
    for round in 0..10 {
        if round % 3 != 2 {
            stream.append("x");
        }
        let response = stream.poll_with_cursor(&offset, cursor);
        response.status(if round % 3 == 2 { 204 } else { 200 });
        assert!(response.cursor() > cursor, "{response}");
        cursor = response.cursor();
        offset = response.next_offset();
    }
}

fn a_repeated_cursor_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.get("offset=-1&live=long-poll&cursor=1&cursor=1").malformed();
    stream.get("cursor=1&cursor=2&offset=-1&live=sse").malformed();
}
