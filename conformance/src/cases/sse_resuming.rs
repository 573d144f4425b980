//! Where a live reader begins: the offset, `Last-Event-ID`, and resuming from what an event said (section 5.8).

use crate::case::cases;
use crate::client::Target;
use crate::offset::advanced;
use crate::sse::Events;

cases! {
    offsets_of_events_resume_exactly: "section 5.8, connection lifecycle",
    last_event_id_resumes_without_an_offset: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    last_event_id_wins_over_the_offset: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    last_event_id_is_checked_like_an_offset: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    last_event_id_means_nothing_to_other_reads: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    no_offset_and_no_last_event_id_is_400: "section 5.8: offset is required",
    the_id_is_the_offset_after_the_data: "docs/ARCHITECTURE.md, extensions: id",
}

fn offsets_of_events_resume_exactly(t: &Target) {
    let stream = t.text(&["a", "b", "c"]);
    let mut events = Events::open(&stream, "-1");
    let (_, control) = events.until_up_to_date();
    drop(events);
    stream.append("d");
    stream.append("e");
    let mut events = Events::open(&stream, &control.next_offset);
    assert_eq!(events.collect(|collected| collected.len() >= 2), "de");
}

fn last_event_id_resumes_without_an_offset(t: &Target) {
    let stream = t.text(&["hello"]);
    let id = stream.tail();
    stream.append("world");
    let mut events = Events::open_with(&stream, "live=sse", &[("Last-Event-ID", &id)]);
    assert_eq!(events.data().data, "world");
}

fn last_event_id_wins_over_the_offset(t: &Target) {
    let stream = t.text(&["hello"]);
    let id = stream.tail();
    stream.append("world");
    for offset in ["-1", "now", "0000000000000000_0000000000000000"] {
        let query = format!("offset={offset}&live=sse");
        let mut events = Events::open_with(&stream, &query, &[("Last-Event-ID", &id)]);
        assert_eq!(events.data().data, "world", "offset={offset}");
    }
}

fn last_event_id_is_checked_like_an_offset(t: &Target) {
    let stream = t.text(&["hello"]);
    let past = advanced(&stream.tail(), 2);
    for id in ["nonsense", "5", "0_0", &past] {
        stream.get_with("offset=-1&live=sse", &[("Last-Event-ID", id)]).malformed();
    }
    let old = stream.tail();
    stream.delete().status(204);
    stream.put().send().status(201);
    stream.get_with("offset=-1&live=sse", &[("Last-Event-ID", &old)]).refused(410, "offset-gone");
}

fn last_event_id_means_nothing_to_other_reads(t: &Target) {
    let stream = t.text(&["hello"]);
    let id = stream.tail();
    for id in [id.as_str(), "nonsense"] {
        stream.get_with("offset=-1", &[("Last-Event-ID", id)]).status(200).body_is("hello");
        stream.get_with("offset=-1&live=long-poll", &[("Last-Event-ID", id)]).status(200).body_is("hello");
    }
    stream.get_with("live=long-poll", &[("Last-Event-ID", &id)]).malformed();
}

fn no_offset_and_no_last_event_id_is_400(t: &Target) {
    t.text(&["hello"]).get("live=sse").malformed();
    t.text(&["hello"]).get("live=sse&cursor=1").malformed();
}

fn the_id_is_the_offset_after_the_data(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&[r#"["hello"]"#]), t.bytes()] {
        if stream.content_type == "application/octet-stream" {
            stream.append([0, 1, 2]);
        }
        let mut events = Events::open(&stream, "-1");
        let event = events.data();
        assert_eq!(event.id.as_deref(), Some(stream.tail().as_str()), "{:?}", event.block);
        assert_eq!(events.control().next_offset, stream.tail());
    }
}
