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
    the_url_may_have_the_last_event_id: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    an_empty_last_event_id_is_none: "HTML Living Standard, 9.2.4",
    every_event_has_an_id_from_which_to_resume: "docs/ARCHITECTURE.md, extensions: Last-Event-ID",
    an_event_source_at_the_end_of_a_closed_stream_stops: "HTML Living Standard, 9.2.2: 204",
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

fn the_url_may_have_the_last_event_id(t: &Target) {
    let stream = t.text(&["hello"]);
    let id = stream.tail();
    stream.append("world");
    for query in [format!("offset=-1&live=sse&lastEventId={id}"), format!("lastEventId={id}&live=sse")] {
        assert_eq!(Events::open(&stream, "-1").data().data, "helloworld");
        assert_eq!(
            Events::open_with(&stream, &query, &[("Last-Event-ID", "")]).data().data,
            "world",
            "{query}"
        );
        // A browser's own says where it was later on.
        stream.get_with(&query, &[("Last-Event-ID", "nonsense")]).malformed();
    }
    assert_eq!(Events::open_with(&stream, "offset=-1&live=sse&lastEventId=", &[]).data().data, "helloworld");
    stream.get("offset=-1&live=sse&lastEventId=nonsense").malformed();
    stream.get(&format!("offset=-1&live=sse&lastEventId={id}&lastEventId={id}")).malformed();
    for live in ["", "&live=long-poll"] {
        stream.get(&format!("offset=-1{live}&lastEventId={id}")).status(200).body_is("helloworld");
    }
    let end = stream.close();
    stream.get(&format!("offset=-1&live=sse&lastEventId={end}")).status(204);
}

fn an_empty_last_event_id_is_none(t: &Target) {
    let stream = t.text(&["hello"]);
    let mut events = Events::open_with(&stream, "offset=-1&live=sse", &[("Last-Event-ID", "")]);
    assert_eq!(events.data().data, "hello");
    stream.get_with("live=sse", &[("Last-Event-ID", "")]).malformed();
    stream.get_with("offset=-1&live=sse", &[("Last-Event-ID", ""), ("Last-Event-ID", "")]).malformed();
}

fn every_event_has_an_id_from_which_to_resume(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.bytes()] {
        // Nothing has been sent but where the reader is.
        let mut events = Events::open(&stream, "now");
        let first = events.event();
        assert_eq!(first.id.as_deref(), Some(&*stream.tail()), "{:?}", first.block);
        stream.append("2");
        let id = first.id.expect("an id");
        let mut resumed = Events::open_with(&stream, "offset=now&live=sse", &[("Last-Event-ID", &id)]);
        let (data, control) = (resumed.event(), resumed.event());
        assert_eq!((data.kind.as_str(), control.kind.as_str()), ("data", "control"));
        assert_eq!(data.id, control.id);
    }
}

fn an_event_source_at_the_end_of_a_closed_stream_stops(t: &Target) {
    let stream = t.text(&["hello"]);
    let before = stream.offset_at(0);
    let tail = stream.close();
    let resume = |id: &str| stream.get_with("offset=-1&live=sse", &[("Last-Event-ID", id)]);
    let response = resume(&tail);
    response.status(204).body_is("").has("Stream-Closed", "true").has("Cache-Control", "no-store");
    resume(&before).status(200);
    // Who asks with the offset is told by an event, as always.
    let mut events = Events::open(&stream, &tail);
    assert!(events.control().closed);
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
