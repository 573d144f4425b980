//! Where catch-up responses end: at the first append boundary at or after the next multiple of the chunk size,
//! whatever offset they began at, so that readers who join anywhere converge on the same URLs.

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::offset::position;
use crate::sse::Events;

cases! {
    an_answer_ends_at_a_multiple_of_the_chunk_size: "docs/adr/0003-fixed-chunks.md",
    an_answer_ends_at_the_append_boundary_after_the_multiple: "docs/adr/0003-fixed-chunks.md",
    readers_who_begin_anywhere_in_a_chunk_end_together: "docs/adr/0003-fixed-chunks.md: converge on the same URLs",
    a_read_from_the_end_of_a_chunk_gets_the_whole_next_one: "docs/adr/0003-fixed-chunks.md",
    an_append_larger_than_a_chunk_is_answered_whole: "docs/adr/0003-fixed-chunks.md: append boundary",
    a_read_from_inside_of_a_large_append_ends_with_it: "docs/adr/0003-fixed-chunks.md",
    the_chunks_of_a_stream_are_the_stream: "section 5.6",
    a_full_chunk_stays_as_it_is_while_the_stream_grows: "section 4, immutable by position",
    an_unfinished_chunk_grows_until_it_is_full: "docs/adr/0003-fixed-chunks.md: or at the tail",
    only_the_last_chunk_is_up_to_date: "section 5.6",
    only_the_last_chunk_of_a_closed_stream_is_closed: "section 5.6",
    a_full_chunk_carries_no_cursor: "docs/adr/0004-cursor.md: responses that reach the tail",
    json_chunks_end_at_append_boundaries_and_are_arrays: "docs/adr/0003-fixed-chunks.md: whole messages",
    json_chunk_positions_count_a_separator_per_message: "docs/adr/0008-json-stored-as-sent.md: commas included",
    a_first_append_at_creation_is_a_boundary: "docs/adr/0003-fixed-chunks.md",
    long_poll_from_the_past_ends_at_the_same_places: "docs/adr/0003-fixed-chunks.md: never the rest of the stream",
    sse_from_the_past_delivers_every_chunk: "section 5.8",
    forks_end_at_the_same_places_as_their_source: "docs/adr/0003-fixed-chunks.md; section 8, forked streams",
}

/// Bytes that show where they come from: `length` of them from position `begin` on.
fn pattern(begin: usize, length: usize) -> Vec<u8> {
    (begin..begin + length).map(|position| b'a' + u8::try_from(position % 23).expect("below 23")).collect()
}

/// Appends of this size until the stream is at least `total` long; returns its length.
fn fill(stream: &Stream<'_>, append: usize, total: usize) -> usize {
    let mut length = 0;
    while length < total {
        stream.append(pattern(length, append));
        length += append;
    }
    length
}

/// Reads from `begin`, checks the bytes, and returns where the response ends.
#[track_caller]
fn end_of_read(stream: &Stream<'_>, begin: usize) -> usize {
    end_of_read_within(stream, begin, begin)
}

/// Where a read ends that begins within the append at `start`, and so with that append.
fn end_of_read_within(stream: &Stream<'_>, begin: usize, start: usize) -> usize {
    let response = stream.read(&stream.offset_at(begin));
    let end = usize::try_from(position(&response.status(200).next_offset())).expect("fits");
    response.body_is(pattern(start, end - start));
    end
}

fn an_answer_ends_at_a_multiple_of_the_chunk_size(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    fill(&stream, chunk / 4, 3 * chunk);
    assert_eq!(end_of_read(&stream, 0), chunk);
    assert_eq!(end_of_read(&stream, chunk), 2 * chunk);
    assert_eq!(end_of_read_within(&stream, chunk - 1, chunk - chunk / 4), chunk);
    assert_eq!(end_of_read_within(&stream, chunk + 1, chunk), 2 * chunk);
}

fn an_answer_ends_at_the_append_boundary_after_the_multiple(t: &Target) {
    let chunk = t.facts.chunk_size;
    let append = chunk / 4 + 7;
    let stream = t.bytes();
    fill(&stream, append, 3 * chunk);
    let first_end = chunk.div_ceil(append) * append;
    let second_end = (2 * chunk).div_ceil(append) * append;
    assert_eq!(end_of_read(&stream, 0), first_end);
    assert_eq!(end_of_read(&stream, first_end), second_end);
}

fn readers_who_begin_anywhere_in_a_chunk_end_together(t: &Target) {
    let chunk = t.facts.chunk_size;
    let append = chunk / 5 + 3;
    let stream = t.bytes();
    fill(&stream, append, 2 * chunk + append);
    let end = chunk.div_ceil(append) * append;
    for begin in [0, 1, append - 1, append, append + 1, 2 * append, chunk / 2, chunk - 1] {
        let start = begin / append * append;
        assert_eq!(end_of_read_within(&stream, begin, start), end, "of the read from {begin}");
    }
    assert_eq!(stream.read("-1").next_offset(), stream.offset_at(end));
    assert_eq!(stream.get("").next_offset(), stream.offset_at(end));
}

fn a_read_from_the_end_of_a_chunk_gets_the_whole_next_one(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    fill(&stream, chunk, 4 * chunk);
    for index in 0..3 {
        assert_eq!(end_of_read(&stream, index * chunk), (index + 1) * chunk);
    }
}

/// A stream that begins with an append larger than three chunks; and where that ends.
#[track_caller]
fn with_a_large_append(t: &Target) -> (Stream<'_>, usize) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    let large = 3 * chunk + 5;
    stream.append(pattern(0, large));
    stream.append(pattern(large, chunk));
    stream.append(pattern(large + chunk, 1));
    (stream, large)
}

fn an_append_larger_than_a_chunk_is_answered_whole(t: &Target) {
    let (stream, large) = with_a_large_append(t);
    assert_eq!(end_of_read(&stream, 0), large);
    assert_eq!(end_of_read(&stream, large), large + t.facts.chunk_size);
}

fn a_read_from_inside_of_a_large_append_ends_with_it(t: &Target) {
    let chunk = t.facts.chunk_size;
    let (stream, large) = with_a_large_append(t);
    for begin in [1, chunk, chunk + 1, 2 * chunk, 3 * chunk - 1] {
        assert_eq!(end_of_read_within(&stream, begin, 0), large, "of the read from {begin}");
    }
}

fn the_chunks_of_a_stream_are_the_stream(t: &Target) {
    let stream = t.bytes();
    let length = fill(&stream, t.facts.chunk_size / 3 + 1, 5 * t.facts.chunk_size);
    assert!(stream.contents() == pattern(0, length), "the chunks are other bytes than the appends");
}

fn a_full_chunk_stays_as_it_is_while_the_stream_grows(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    let mut length = fill(&stream, chunk / 2, chunk + chunk / 2);
    let begin = stream.offset_at(0);
    let first = stream.read(&begin);
    for _ in 0..3 {
        stream.append(pattern(length, chunk / 2));
        length += chunk / 2;
        let again = stream.read(&begin);
        again.status(200).body_is(&first.body).has("ETag", &first.etag());
        again.has("Cache-Control", first.expect_header("Cache-Control"));
        let query = format!("offset={begin}");
        stream.get_with(&query, &[("If-None-Match", &first.etag())]).status(304);
    }
}

fn an_unfinished_chunk_grows_until_it_is_full(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    let quarter = chunk / 4;
    let mut etags = Vec::new();
    for appends in 1..=6 {
        stream.append(pattern((appends - 1) * quarter, quarter));
        let response = stream.read("-1");
        response.status(200).body_is(pattern(0, quarter * appends.min(4)));
        etags.push(response.etag());
    }
    etags.dedup();
    assert_eq!(etags.len(), 5, "another one for each length, one more when more follows, and then no more");
}

fn only_the_last_chunk_is_up_to_date(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    fill(&stream, chunk / 2, 2 * chunk + chunk / 2);
    for (begin, up_to_date) in
        [(0, None), (chunk, None), (2 * chunk, Some("true")), (2 * chunk + 1, Some("true"))]
    {
        let response = stream.read(&stream.offset_at(begin));
        assert_eq!(response.header("Stream-Up-To-Date"), up_to_date, "from {begin}: {response}");
    }
}

fn only_the_last_chunk_of_a_closed_stream_is_closed(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    fill(&stream, chunk / 2, 2 * chunk + chunk / 2);
    stream.close();
    for (begin, closed) in
        [(0, None), (chunk, None), (2 * chunk, Some("true")), (2 * chunk + chunk / 2, Some("true"))]
    {
        let response = stream.read(&stream.offset_at(begin));
        assert_eq!(response.header("Stream-Closed"), closed, "from {begin}: {response}");
        assert_eq!(response.etag().ends_with(":closed\""), closed.is_some(), "from {begin}: {response}");
    }
}

fn a_full_chunk_carries_no_cursor(t: &Target) {
    let stream = t.bytes();
    fill(&stream, t.facts.chunk_size, 2 * t.facts.chunk_size);
    stream.read("-1").status(200).lacks("Stream-Cursor");
    stream.read(&stream.offset_at(t.facts.chunk_size)).status(200).cursor();
}

fn json_chunks_end_at_append_boundaries_and_are_arrays(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.json(&[]);
    let message = format!("\"{}\"", "m".repeat(chunk / 8));
    let batch = format!("[{message},{message},{message}]");
    let stored = 3 * (message.len() + 1);
    let appends = 3 * chunk / stored + 1;
    for _ in 0..appends {
        stream.append(&batch);
    }
    let mut from = stream.offset_at(0);
    let mut messages = 0;
    loop {
        let response = stream.read(&from);
        let array = response.status(200).json();
        let count = array.as_array().map_or(0, Vec::len);
        messages += count;
        let next = response.next_offset();
        if response.header("Stream-Up-To-Date").is_some() {
            break;
        }
        let begin = usize::try_from(position(&from)).expect("fits");
        let multiple = (begin / chunk + 1) * chunk;
        let expected = multiple.div_ceil(stored) * stored;
        assert_eq!(usize::try_from(position(&next)).expect("fits"), expected, "{response}");
        assert_eq!(count, (expected - begin) / (message.len() + 1), "{response}");
        from = next;
    }
    assert_eq!(messages, 3 * appends);
}

fn json_chunk_positions_count_a_separator_per_message(t: &Target) {
    let stream = t.json(&[]);
    assert_eq!(position(&stream.append("[1,22,333]")), 2 + 3 + 4);
    assert_eq!(position(&stream.append(r#"{"a":1}"#)), 9 + 8);
    stream.read(&stream.offset_at(9)).status(200).body_is(r#"[{"a":1}]"#);
}

fn a_first_append_at_creation_is_a_boundary(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.missing("application/octet-stream");
    stream.put().body(pattern(0, chunk + 11)).send().status(201);
    stream.append(pattern(chunk + 11, chunk));
    stream.append(pattern(2 * chunk + 11, 1));
    assert_eq!(end_of_read(&stream, 0), chunk + 11);
    assert_eq!(end_of_read(&stream, chunk + 11), 2 * chunk + 11);
}

fn long_poll_from_the_past_ends_at_the_same_places(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    fill(&stream, chunk / 4 + 1, 3 * chunk);
    for begin in [0, chunk / 2, chunk + 100] {
        let from = stream.offset_at(begin);
        let catch_up = stream.read(&from);
        let poll = stream.poll(&from);
        poll.status(200).body_is(&catch_up.body).lacks("Stream-Up-To-Date");
        poll.has("Stream-Next-Offset", &catch_up.next_offset());
    }
}

fn sse_from_the_past_delivers_every_chunk(t: &Target) {
    let stream = t.bytes();
    let length = fill(&stream, t.facts.chunk_size / 3 + 1, 4 * t.facts.chunk_size);
    let mut events = Events::open(&stream, "-1");
    let (data, control) = events.until_up_to_date();
    let delivered: Vec<u8> =
        data.iter().filter_map(headwater_testkit::sse::Event::decoded).flatten().collect();
    assert!(delivered == pattern(0, length), "the events are other bytes than the appends");
    assert_eq!(control.next_offset, stream.tail());
}

fn forks_end_at_the_same_places_as_their_source(t: &Target) {
    let chunk = t.facts.chunk_size;
    let source = t.bytes();
    let length = fill(&source, chunk / 4 + 7, 3 * chunk);
    let fork = t.missing("application/octet-stream");
    fork.put().header("Stream-Forked-From", &source.path).send().status(201);
    fork.append(pattern(length, chunk));
    for begin in [0, 1, chunk / 2, chunk + 99] {
        let from = source.offset_at(begin);
        let expected = source.read(&from);
        fork.read(&from)
            .status(200)
            .body_is(&expected.body)
            .has("Stream-Next-Offset", &expected.next_offset());
    }
    assert!(fork.contents() == pattern(0, length + chunk), "the fork is other bytes than both together");
}
