//! Server-sent events: heads, blocks, closing, and many readers at once (section 5.8).

use std::time::Duration;

use headwater_testkit::sse::Control;

use crate::case::{at_once, cases};
use crate::client::Target;
use crate::offset::{advanced, position};
use crate::sse::Events;

cases! {
    the_head_is_an_event_stream_without_length_and_etag: "section 5.8",
    the_blocks_are_exactly_these_bytes: "section 5.8",
    the_blocks_of_the_end_are_exactly_these: "section 5.8",
    every_data_event_is_followed_by_its_control_event: "section 5.8",
    every_live_append_is_followed_by_its_control_event: "section 5.8",
    an_empty_stream_begins_with_a_control_event: "section 5.8",
    the_tail_begins_with_a_control_event: "section 5.8",
    offset_now_begins_at_the_tail: "section 8, now in SSE mode",
    a_live_append_is_delivered: "section 5.8",
    up_to_date_is_said_only_at_the_tail: "section 5.8",
    a_final_append_comes_before_the_closure: "section 5.8: all data up to the final offset",
    a_final_append_comes_before_the_closure_for_every_reader: "section 5.8: all data up to the final offset",
    a_close_without_data_ends_the_answer: "section 5.8",
    a_closed_stream_is_delivered_and_ended: "section 5.8",
    a_closed_stream_at_the_tail_is_one_control_event: "section 5.8",
    a_closed_stream_at_now_is_one_control_event: "section 8, now on closed streams",
    the_answer_ends_in_order: "RFC 9112, 8",
    other_streams_are_not_delivered: "section 5.8",
    refusals_are_no_event_streams: "section 5.8, response codes",
    many_readers_see_the_same_events: "section 5.8",
    readers_under_concurrent_appends_see_every_byte_once: "section 5.8",
    a_duplicate_of_a_producer_is_not_delivered: "section 5.2.1",
}

/// A control event at the open tail.
#[track_caller]
pub(super) fn assert_caught_up(control: &Control, next_offset: &str) {
    assert_eq!(control.next_offset, next_offset, "{:?}", control.block);
    assert!(control.up_to_date && !control.closed && control.cursor.is_some(), "{:?}", control.block);
}

/// The last control event.
#[track_caller]
fn assert_final(control: &Control, next_offset: &str) {
    assert_eq!(control.next_offset, next_offset, "{:?}", control.block);
    assert!(control.closed && control.up_to_date && control.cursor.is_none(), "{:?}", control.block);
}

fn the_head_is_an_event_stream_without_length_and_etag(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.bytes()] {
        let events = Events::open(&stream, "-1");
        events.head.has("Content-Type", "text/event-stream").has("Cache-Control", "no-cache, no-transform");
        events.head.has("X-Accel-Buffering", "no").lacks("Content-Length").lacks("ETag");
        events.head.has("X-Content-Type-Options", "nosniff").has("Access-Control-Allow-Origin", "*");
    }
}

fn the_blocks_are_exactly_these_bytes(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let mut events = Events::open(&stream, "-1");
    assert_eq!(events.data().block, format!("event: data\nid: {tail}\ndata:hello\n\n"));
    let control = events.control();
    let cursor = control.cursor.expect("the stream is open");
    let fields = format!(r#"{{"streamNextOffset":"{tail}","streamCursor":"{cursor}","upToDate":true}}"#);
    assert_eq!(control.block, format!("id: {tail}\nevent: control\ndata:{fields}\n\n"));
}

fn the_blocks_of_the_end_are_exactly_these(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let mut events = Events::open(&stream, "-1");
    assert_eq!(events.data().block, format!("event: data\nid: {tail}\ndata:hello\n\n"));
    let control = events.control();
    let begin = format!("id: {tail}\nevent: control\ndata:{{");
    assert!(control.block.starts_with(&begin), "{:?}", control.block);
    assert!(control.block.ends_with("}\n\n"), "{:?}", control.block);
    assert_final(&control, &tail);
    events.assert_ended();
}

fn every_data_event_is_followed_by_its_control_event(t: &Target) {
    let stream = t.bytes();
    for _ in 0..20 {
        stream.append(vec![7; t.facts.chunk_size / 3]);
    }
    stream.close();
    let mut events = Events::open(&stream, "-1");
    let mut end = 0;
    loop {
        let event = events.event();
        if let Some(control) = Control::parse(&event) {
            assert_final(&control, &stream.tail());
            break;
        }
        end += event.decoded().expect("base64").len() as u64;
        let control = events.control();
        assert_eq!(position(&control.next_offset), end, "{:?}", control.block);
        assert_eq!(event.id.as_ref(), Some(&control.next_offset));
        if control.closed {
            break;
        }
    }
    assert_eq!(end, position(&stream.tail()));
    events.assert_ended();
}

fn every_live_append_is_followed_by_its_control_event(t: &Target) {
    let stream = t.text(&[]);
    let mut events = Events::open(&stream, "-1");
    events.control();
    for index in 0..20 {
        let tail = stream.append(format!("message {index}"));
        let event = events.data();
        assert_eq!(event.data, format!("message {index}"));
        assert_eq!(event.id.as_ref(), Some(&tail));
        assert_caught_up(&events.control(), &tail);
    }
}

fn an_empty_stream_begins_with_a_control_event(t: &Target) {
    for stream in [t.text(&[]), t.json(&[]), t.bytes()] {
        for from in ["-1", "now", &stream.tail()] {
            assert_caught_up(&Events::open(&stream, from).control(), &stream.tail());
        }
    }
}

fn the_tail_begins_with_a_control_event(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut events = Events::open(&stream, &stream.tail());
    assert_caught_up(&events.control(), &stream.tail());
    events.assert_quiet(Duration::from_millis(200));
}

fn offset_now_begins_at_the_tail(t: &Target) {
    let stream = t.text(&["old"]);
    let mut events = Events::open(&stream, "now");
    assert_caught_up(&events.control(), &stream.tail());
    stream.append("new");
    assert_eq!(events.data().data, "new");
}

fn a_live_append_is_delivered(t: &Target) {
    let stream = t.text(&["old"]);
    let mut events = Events::open(&stream, "-1");
    assert_eq!(events.data().data, "old");
    events.control();
    let tail = stream.append("new");
    assert_eq!(events.data().data, "new");
    assert_caught_up(&events.control(), &tail);
}

fn up_to_date_is_said_only_at_the_tail(t: &Target) {
    let stream = t.bytes();
    for _ in 0..8 {
        stream.append(vec![7; t.facts.chunk_size]);
    }
    let tail = stream.tail();
    let mut events = Events::open(&stream, "-1");
    loop {
        events.data();
        let control = events.control();
        assert_eq!(control.up_to_date, control.next_offset == tail, "{:?}", control.block);
        if control.up_to_date {
            break;
        }
    }
}

fn a_final_append_comes_before_the_closure(t: &Target) {
    let stream = t.text(&[]);
    let mut events = Events::open(&stream, "-1");
    events.control();
    let tail = stream.post("the end").closing().send().status(204).next_offset();
    assert_eq!(events.data().data, "the end");
    assert_final(&events.control(), &tail);
    events.assert_ended();
}

fn a_final_append_comes_before_the_closure_for_every_reader(t: &Target) {
    let stream = t.text(&[]);
    let mut readers: Vec<Events> = (0..20).map(|_| Events::open(&stream, "-1")).collect();
    for reader in &mut readers {
        reader.control();
    }
    let tail = stream.post("the end").closing().send().status(204).next_offset();
    for reader in &mut readers {
        assert_eq!(reader.data().data, "the end");
        assert_final(&reader.control(), &tail);
        reader.assert_ended();
    }
}

fn a_close_without_data_ends_the_answer(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut events = Events::open(&stream, &stream.tail());
    events.control();
    let tail = stream.close();
    assert_final(&events.control(), &tail);
    events.assert_ended();
}

fn a_closed_stream_is_delivered_and_ended(t: &Target) {
    for stream in [t.text(&["hello", "world"]), t.json(&["[1,2]"])] {
        let tail = stream.close();
        let mut events = Events::open(&stream, "-1");
        let (data, control) = events.until_up_to_date();
        assert!(!data.is_empty());
        assert_final(&control, &tail);
        events.assert_ended();
    }
}

fn a_closed_stream_at_the_tail_is_one_control_event(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&[]), t.bytes()] {
        let tail = stream.close();
        let mut events = Events::open(&stream, &tail);
        assert_final(&events.control(), &tail);
        events.assert_ended();
    }
}

fn a_closed_stream_at_now_is_one_control_event(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let mut events = Events::open(&stream, "now");
    assert_final(&events.control(), &tail);
    events.assert_ended();
}

fn the_answer_ends_in_order(t: &Target) {
    // With its last chunk, or with a connection that was said to end; never with a cut.
    let stream = t.text(&["hello"]);
    stream.close();
    let mut events = Events::open(&stream, "-1");
    let is_chunked = events.head.list("Transfer-Encoding") == ["chunked"];
    let says_close = events.head.list("Connection") == ["close"];
    assert!(is_chunked || says_close, "{}", events.head);
    events.until_up_to_date();
    events.assert_ended();
}

fn other_streams_are_not_delivered(t: &Target) {
    let stream = t.text(&[]);
    let other = t.text(&[]);
    let mut events = Events::open(&stream, "-1");
    events.control();
    other.append("not yours");
    other.close();
    events.assert_quiet(Duration::from_millis(200));
    stream.append("yours");
    assert_eq!(events.data().data, "yours");
}

fn refusals_are_no_event_streams(t: &Target) {
    let stream = t.text(&["hello"]);
    t.missing("text/plain").get("offset=-1&live=sse").refused(404, "not-found");
    t.missing("text/plain").get("offset=now&live=sse").refused(404, "not-found");
    stream.get("offset=nonsense&live=sse").malformed();
    stream.get(&format!("offset={}&live=sse", advanced(&stream.tail(), 2))).malformed();
}

fn many_readers_see_the_same_events(t: &Target) {
    let stream = t.text(&["before;"]);
    let opened: Vec<Events> = (0..30).map(|_| Events::open(&stream, "-1")).collect();
    for index in 0..20 {
        stream.append(format!("{index};"));
    }
    stream.close();
    let mut expected = "before;".to_owned();
    expected.extend((0..20).map(|index| format!("{index};")));
    for mut events in opened {
        assert_eq!(events.until_closed(), expected);
        events.assert_ended();
    }
}

fn readers_under_concurrent_appends_see_every_byte_once(t: &Target) {
    let stream = t.text(&[]);
    let writers = 8;
    let appends = 25;
    let mut early = Events::open(&stream, "-1");
    at_once(writers, |writer| {
        for index in 0..appends {
            stream.append(format!("{writer}.{index};"));
        }
    });
    let mut late = Events::open(&stream, "-1");
    stream.close();
    let stored = String::from_utf8(stream.contents()).expect("the appends are text");
    assert_eq!(stored.matches(';').count(), writers * appends);
    let length = stored.len();
    assert_eq!(early.collect(|collected| collected.len() >= length), stored);
    assert_eq!(late.collect(|collected| collected.len() >= length), stored);
}

fn a_duplicate_of_a_producer_is_not_delivered(t: &Target) {
    let stream = t.text(&[]);
    let mut events = Events::open(&stream, "-1");
    events.control();
    let send = |seq: u64, text: &str| stream.post(text).producer("p", 0, seq).send();
    send(0, "first").status(200);
    send(0, "first").status(204);
    send(1, "second").status(200);
    assert_eq!(events.collect(|collected| collected.len() >= "firstsecond".len()), "firstsecond");
    assert!(events.control().up_to_date);
    events.assert_quiet(Duration::from_millis(200));
}
