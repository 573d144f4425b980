//! Delete and create again: the new stream shares nothing with the old one, and no cache can mix them up.

use std::time::{Duration, Instant};

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::offset::{BEGINNING, incarnation, position};
use crate::sse::Events;

cases! {
    a_recreated_stream_has_a_later_incarnation: "docs/adr/0002-offsets-with-incarnations.md: max(last + 1, now)",
    incarnations_grow_however_fast_a_name_is_reused: "docs/adr/0002-offsets-with-incarnations.md: never repeats",
    an_offset_of_the_old_stream_is_410: "docs/adr/0002-offsets-with-incarnations.md",
    an_offset_of_the_old_stream_is_410_even_where_the_new_one_has_as_many_bytes: "docs/adr/0002-offsets-with-incarnations.md",
    the_beginning_of_the_old_stream_is_410: "docs/adr/0002-offsets-with-incarnations.md: another incarnation, whatever the position",
    an_offset_of_a_later_incarnation_is_410: "docs/adr/0002-offsets-with-incarnations.md: another incarnation of this name",
    a_410_tells_the_client_to_start_again_and_it_can: "docs/adr/0002-offsets-with-incarnations.md",
    etags_of_the_old_stream_never_match: "docs/adr/0002-offsets-with-incarnations.md: entity tags",
    the_same_bytes_again_have_another_etag: "docs/adr/0002-offsets-with-incarnations.md: entity tags",
    the_new_stream_is_empty_and_open: "section 5.4",
    the_new_stream_may_be_configured_anew: "section 5.1",
    the_new_stream_forgets_producers_and_sequence: "section 5.2.1: of this stream",
    the_cursor_never_goes_back_over_a_recreation: "section 10.1, monotonic progression",
    an_expired_stream_is_recreated_under_a_later_incarnation: "docs/adr/0002-offsets-with-incarnations.md: never repeats",
    a_waiting_poll_does_not_wake_for_the_new_stream: "docs/adr/0002-offsets-with-incarnations.md: a URL names bytes for ever",
    a_live_reader_sees_nothing_of_the_new_stream: "docs/adr/0002-offsets-with-incarnations.md: a URL names bytes for ever",
    readers_of_the_old_stream_do_not_outlive_it: "section 5.4",
}

/// Deletes and creates with the same configuration.
#[track_caller]
fn recreate(stream: &Stream<'_>) -> String {
    stream.delete().status(204);
    stream.put().send().status(201).next_offset()
}

fn a_recreated_stream_has_a_later_incarnation(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.tail();
    let new = recreate(&stream);
    assert!(incarnation(&new) > incarnation(&old), "{new} comes after {old}");
    assert_eq!(position(&new), 0);
    assert!(new > old, "offsets of the name never go back");
}

fn incarnations_grow_however_fast_a_name_is_reused(t: &Target) {
    let stream = t.text(&[]);
    let mut last = stream.tail();
    for _ in 0..20 {
        let next = recreate(&stream);
        assert!(incarnation(&next) > incarnation(&last), "{next} comes after {last}");
        last = next;
    }
}

fn an_offset_of_the_old_stream_is_410(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.tail();
    recreate(&stream);
    for live in ["", "&live=long-poll", "&live=sse"] {
        stream.get(&format!("offset={old}{live}")).refused(410, "offset-gone");
    }
}

fn an_offset_of_the_old_stream_is_410_even_where_the_new_one_has_as_many_bytes(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let old = stream.offset_at(5);
    recreate(&stream);
    stream.append("hello");
    stream.append("world");
    for live in ["", "&live=long-poll", "&live=sse"] {
        stream.get(&format!("offset={old}{live}")).refused(410, "offset-gone");
    }
    stream.close();
    stream.read(&old).refused(410, "offset-gone");
}

fn the_beginning_of_the_old_stream_is_410(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.offset_at(0);
    recreate(&stream);
    stream.read(&old).refused(410, "offset-gone");
}

fn an_offset_of_a_later_incarnation_is_410(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let later: u64 = incarnation(&tail).parse().expect("16 digits are a number below 2^64");
    for position in [0, 3, 5, 6] {
        stream.read(&format!("{:016}_{position:016}", later + 1)).refused(410, "offset-gone");
    }
}

fn a_410_tells_the_client_to_start_again_and_it_can(t: &Target) {
    let stream = t.text(&["old"]);
    let old = stream.tail();
    recreate(&stream);
    stream.append("new");
    stream.read(&old).refused(410, "offset-gone").lacks("Stream-Next-Offset").lacks("ETag");
    for beginning in ["-1", BEGINNING] {
        stream.read(beginning).status(200).body_is("new");
    }
}

fn etags_of_the_old_stream_never_match(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.read("-1").etag();
    recreate(&stream);
    stream.append("hello");
    for from in ["-1", BEGINNING] {
        let query = format!("offset={from}");
        stream.get_with(&query, &[("If-None-Match", &old)]).status(200).body_is("hello");
    }
}

fn the_same_bytes_again_have_another_etag(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    let old = stream.read("-1").etag();
    recreate(&stream);
    stream.append("hello");
    stream.close();
    assert_ne!(stream.read("-1").etag(), old);
}

fn the_new_stream_is_empty_and_open(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.close();
    let tail = recreate(&stream);
    stream.head().status(200).lacks("Stream-Closed").has("Stream-Next-Offset", &tail);
    stream.read("-1").status(200).body_is("").has("Stream-Up-To-Date", "true").lacks("Stream-Closed");
    stream.append("open again");
    stream.read("-1").body_is("open again");
}

fn the_new_stream_may_be_configured_anew(t: &Target) {
    let stream = t.created("text/plain", &[("Stream-TTL", "3600")], &["hello"]);
    stream.delete().status(204);
    let json = Stream { content_type: "application/json", ..stream };
    json.put().body("[1,2]").send().status(201);
    json.head().status(200).has("Content-Type", "application/json").lacks("Stream-TTL");
    json.read("-1").status(200).body_is("[1,2]");
}

fn the_new_stream_forgets_producers_and_sequence(t: &Target) {
    let stream = t.text(&[]);
    stream.post("one").producer("p", 7, 0).header("Stream-Seq", "zzz").send().status(200);
    recreate(&stream);
    stream.post("two").producer("p", 0, 0).header("Stream-Seq", "aaa").send().status(200);
    stream.read("-1").body_is("two");
}

fn the_cursor_never_goes_back_over_a_recreation(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.read("-1").cursor();
    recreate(&stream);
    let new = stream.read("-1").cursor();
    assert!(new >= old, "{new} is not before {old}");
    let waited = stream.poll_with_cursor(&stream.tail(), old);
    assert!(waited.cursor() > old, "{waited}");
}

fn an_expired_stream_is_recreated_under_a_later_incarnation(t: &Target) {
    let stream = t.created("text/plain", &[("Stream-TTL", "1")], &["hello"]);
    let old = stream.tail();
    let deadline = Instant::now() + Duration::from_secs(5);
    while stream.head().status != 404 {
        assert!(Instant::now() < deadline, "a stream with a TTL of 1 s is still there after 5 s");
        std::thread::sleep(Duration::from_millis(50));
    }
    let new = stream.put().send().status(201).next_offset();
    assert!(incarnation(&new) > incarnation(&old), "{new} comes after {old}");
    stream.head().lacks("Stream-TTL");
    stream.read("-1").status(200).body_is("");
    stream.read(&old).refused(410, "offset-gone");
}

fn a_waiting_poll_does_not_wake_for_the_new_stream(t: &Target) {
    let stream = t.text(&["hello"]);
    let old = stream.tail();
    let (response, _) = crate::case::meanwhile(
        || stream.poll(&old),
        || {
            std::thread::sleep(t.facts.long_poll_timeout / 4);
            recreate(&stream);
            stream.append("of the new stream");
        },
    );
    response.status_in(&[204, 404, 410]);
}

fn a_live_reader_sees_nothing_of_the_new_stream(t: &Target) {
    let stream = t.text(&["old"]);
    let mut events = Events::open(&stream, "-1");
    assert_eq!(events.data().data, "old");
    events.control();
    recreate(&stream);
    stream.append("of the new stream");
    events.assert_ended();
}

fn readers_of_the_old_stream_do_not_outlive_it(t: &Target) {
    let stream = t.text(&["old"]);
    let tail = stream.tail();
    let mut events = Events::open(&stream, &tail);
    assert_eq!(events.control().next_offset, tail);
    stream.delete().status(204);
    events.assert_ended();
    stream.read(&tail).refused(404, "not-found");
    stream.put().send().status(201);
    stream.read(&tail).refused(410, "offset-gone");
}
